// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # What a package of the template has left in there already
//!
//! A package that the template has is purged first. What stays behind of it would be there before and after every step,
//! and so nothing that differs. It is found by name: accounts that the scripts of the package speak of, and nobody else's;
//! paths that have its name. Other paths that scripts speak of may be anybody's, and are for information.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::course::State;
use super::noise::is_noise_after_purge;
use super::report::{Finding, Kind, Severity, Step};
use super::view::View;
use crate::apt::status::Package;
use crate::error::Result;
use crate::system::{Records, accounts, plain};

/// Scripts that may create something.
const SCRIPTS: [&str; 4] = ["preinst", "postinst", "prerm", "postrm"];

/// Accounts that every Debian system has.
const MASTERS: [&str; 2] = ["/usr/share/base-passwd/passwd.master", "/usr/share/base-passwd/group.master"];

/// Where a package usually keeps something under its own name.
const USUAL: [&str; 5] = ["/etc", "/opt", "/srv", "/var/lib", "/var/spool"];

/// What systemd makes accounts and files of.
const LISTS: [&str; 2] = ["sysusers.d", "tmpfiles.d"];

/// What is left of a package that was purged from the template.
pub(super) fn left(template: &View, without: &State, package: &Package) -> Result<Vec<Finding>> {
    let records = Records::open(template)?;
    let mut text = String::new();
    for script in SCRIPTS {
        text.push_str(&records.text(&package.name, &package.architecture, script)?);
    }
    for path in records.files(&package.name, &package.architecture)? {
        if path.parent().is_some_and(|dir| LISTS.iter().any(|list| dir.ends_with(list))) {
            text.push_str(&template.text(&path)?);
        }
    }
    let mut others = String::new();
    let remaining = Records::open(&without.view)?;
    for script in ["preinst", "postinst"] {
        for (_, content) in remaining.all(script)? {
            others.push_str(&String::from_utf8_lossy(&content));
        }
    }
    for master in MASTERS {
        others.push_str(&without.view.text(master)?.replace(':', " "));
    }
    for dir in LISTS.iter().flat_map(|list| [format!("/etc/{list}"), format!("/usr/lib/{list}")]) {
        for (name, _) in without.view.list(&dir)? {
            others.push_str(&without.view.text(Path::new(&dir).join(name))?);
            others.push('\n');
        }
    }
    let (own, others) = (words(&text), words(&others));
    let spoken: BTreeSet<&str> = own.difference(&others).copied().collect();

    let mut found = Vec::new();
    let say = |kind, detail: String| Finding::new(kind, &package.name, Step::Purge, detail);
    let now = accounts(&without.view)?;
    for name in now.users.keys().filter(|name| spoken.contains(name.as_str())) {
        found.push(say(Kind::UserLeft, format!("user '{name}' is left in the template")));
    }
    for name in now.groups.keys().filter(|name| spoken.contains(name.as_str())) {
        found.push(say(Kind::GroupLeft, format!("group '{name}' is left in the template")));
    }
    let named = spoken.iter().filter(|word| word.starts_with('/') && word[1..].contains('/'));
    let mut paths: BTreeSet<PathBuf> = named.map(|path| plain(Path::new(path))).collect();
    paths.extend(USUAL.iter().map(|dir| Path::new(dir).join(&package.name)));
    let owned = remaining.owners(&paths)?;
    let mut told: Option<PathBuf> = None;
    for path in paths.into_iter().filter(|path| !owned.contains_key(path)) {
        let shown = path.to_string_lossy().into_owned();
        let below = told.as_ref().is_some_and(|dir| path.starts_with(dir));
        let is_there = |source: &Path| Ok(without.view.kind(source)?.is_some());
        if below || is_noise_after_purge(&shown, is_there)? || without.view.kind(&path)?.is_none() {
            continue;
        }
        if has_name(&path, &package.name) {
            found.push(say(Kind::FileLeft, "is left in the template".to_owned()).at(shown));
            told = Some(path);
        } else {
            let detail = "a script of the package names it, and no package owns it".to_owned();
            found.push(say(Kind::FileLeft, detail).severity(Severity::Info).at(shown));
        }
    }
    Ok(found)
}

/// Whether a package gave something in a path its name: `/etc/app.conf`, `/var/lib/my-app`, but no `/var/lib/apps`.
fn has_name(path: &Path, package: &str) -> bool {
    let outside = |c: Option<char>| c.is_none_or(|c| !c.is_ascii_alphanumeric());
    path.iter().map(|part| part.to_string_lossy()).any(|part| {
        part.match_indices(package).any(|(at, _)| {
            outside(part[..at].chars().next_back()) && outside(part[at + package.len()..].chars().next())
        })
    })
}

/// Names and paths in a script.
fn words(text: &str) -> BTreeSet<&str> {
    let part = |c: char| !(c.is_ascii_alphanumeric() || "_-./+@".contains(c));
    text.lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .flat_map(|line| line.split(part))
        .map(|word| word.trim_end_matches(['/', '.']))
        .filter(|word| !word.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_names() {
        for path in ["/etc/app", "/etc/app.conf", "/var/lib/my-app/x", "/srv/app_1"] {
            assert!(has_name(Path::new(path), "app"), "{path}");
        }
        for path in ["/etc/machine-id", "/var/lib/apps", "/etc/xapp"] {
            assert!(!has_name(Path::new(path), "app"), "{path}");
        }
    }

    #[test]
    fn scripts_are_cut_into_words() {
        let found =
            words("#!/bin/sh\nadduser --system \"app\"; mkdir -p '/var/lib/app/'.\n# about nothing\n");
        let found: Vec<&str> = found.into_iter().collect();
        assert_eq!(found, ["--system", "-p", "/var/lib/app", "adduser", "app", "mkdir"]);
    }
}
