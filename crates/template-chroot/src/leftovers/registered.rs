// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Entries in the registries of a system that are left: units, alternatives, diversions, overrides, shells

use std::collections::BTreeMap;
use std::path::Path;

use super::LeftoverKind::{Alternative, Diversion, Enablement, Shell, StatOverride};
use super::{Leaving, Leftover};
use crate::error::Result;
use crate::system::{
    How, Kind, Tree, accounts, alternatives, diversions, enabled_units, plain, stat_overrides,
};

pub(super) fn find(tree: &Tree, gone: &[Leaving], found: &mut Vec<Leftover>) -> Result<()> {
    units(tree, gone, found)?;
    let whose = |path: &Path| gone.iter().find(|leaving| leaving.had(&plain(path)));
    for (name, alternative) in alternatives(tree)? {
        let link = format!("/etc/alternatives/{name}");
        if let Some(current) = alternative.current.filter(|_| !alternative.present)
            && let Some(leaving) = whose(&current)
        {
            found.push(leaving.leftover(Alternative, link, format!("leads to {}", current.display())));
            continue;
        }
        for choice in alternative.choices {
            if let Some(leaving) = whose(&choice)
                && !tree.leads_somewhere(&choice)?
            {
                found.push(leaving.leftover(Alternative, &link, format!("can be {}", choice.display())));
            }
        }
    }
    for diversion in diversions(tree)? {
        if let Some(leaving) = gone.iter().find(|l| diversion.package.as_ref() == Some(&l.package)) {
            let detail = format!("goes to {}", diversion.to.display());
            found.push(leaving.leftover(Diversion, diversion.from, detail));
        }
    }
    let now = accounts(tree)?;
    for entry in stat_overrides(tree)? {
        let made = |name: &String, there: bool| gone.iter().find(|l| !there && l.accounts.contains(name));
        let leaving = match tree.kind(&entry.path)? {
            // dpkg refuses to work with records that have a user that is not there
            Some(_) => made(&entry.user, now.users.contains_key(&entry.user))
                .or_else(|| made(&entry.group, now.groups.contains_key(&entry.group))),
            None => whose(&entry.path),
        };
        if let Some(leaving) = leaving {
            let detail = format!("{}:{} {}", entry.user, entry.group, entry.mode);
            found.push(leaving.leftover(StatOverride, entry.path, detail));
        }
    }
    for line in tree.text("/etc/shells")?.lines().filter(|line| line.starts_with('/')) {
        if let Some(leaving) = whose(Path::new(line))
            && !tree.leads_somewhere(line)?
        {
            found.push(leaving.leftover(Shell, line, "in /etc/shells"));
        }
    }
    Ok(())
}

/// Symlinks that enable, mask or rename units that are gone, and what deb-systemd-helper remembers of them.
fn units(tree: &Tree, gone: &[Leaving], found: &mut Vec<Leftover>) -> Result<()> {
    let mut by_unit: BTreeMap<String, &Leaving> = BTreeMap::new();
    for leaving in gone {
        for (path, kind) in &leaving.files {
            let dir = path.parent().unwrap_or(path);
            let holds_units =
                ["systemd/system", "systemd/user", "init.d"].iter().any(|end| dir.ends_with(end));
            if let Some(name) = path.file_name().filter(|_| holds_units && *kind != Kind::Directory) {
                by_unit.insert(name.to_string_lossy().into_owned(), leaving);
            }
        }
    }
    if by_unit.is_empty() {
        return Ok(());
    }
    for entry in enabled_units(tree)?.into_iter().filter(|entry| !entry.present) {
        let template = entry.unit.split_once('@').map(|(name, rest)| {
            let (_, kind) = rest.rsplit_once('.').unwrap_or_default();
            format!("{name}@.{kind}")
        });
        let leaving = by_unit.get(&entry.unit).or_else(|| by_unit.get(template.as_ref()?));
        if let Some(leaving) = leaving {
            let what = match entry.how {
                How::Wanted => "enables",
                How::Alias => "is another name of",
                How::Masked => "masks",
                How::Runlevel => "starts or stops",
            };
            found.push(leaving.leftover(Enablement, entry.link, format!("{what} {}", entry.unit)));
        }
    }
    for state in
        ["deb-systemd-helper-enabled", "deb-systemd-helper-masked", "deb-systemd-user-helper-enabled"]
    {
        let top = Path::new("/var/lib/systemd").join(state);
        for (name, kind) in tree.list(&top)? {
            let path = top.join(name);
            let entries = match kind {
                Kind::Directory => tree.list(&path)?.into_iter().map(|(name, _)| path.join(name)).collect(),
                _ => vec![path],
            };
            for path in entries {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                let unit = name.strip_suffix(".dsh-also").unwrap_or(&name);
                if let Some(leaving) = by_unit.get(unit) {
                    let detail = format!("deb-systemd-helper remembers {unit}");
                    found.push(leaving.leftover(Enablement, &path, detail));
                }
            }
        }
    }
    Ok(())
}
