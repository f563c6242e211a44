// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Records that packages share
//!
//! Accounts, services, alternatives, diversions and statoverrides. Their files change whatever happens to them; what they
//! say is compared.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::report::{Finding, Kind, Step};
use crate::error::Result;
use crate::system::{
    Accounts, Alternative, Diversion, Enablement, How, StatOverride, Tree, accounts, alternatives,
    diversions, enabled_units, plain, stat_overrides,
};

/// What the records of a system say.
#[derive(Debug, Clone, Default)]
pub(super) struct Registered {
    pub accounts: Accounts,
    pub alternatives: BTreeMap<String, Alternative>,
    pub diversions: Vec<Diversion>,
    overrides: Vec<StatOverride>,
    units: Vec<Enablement>,
}

impl Registered {
    pub fn read(tree: &Tree) -> Result<Self> {
        Ok(Self {
            accounts: accounts(tree)?,
            alternatives: alternatives(tree)?,
            diversions: diversions(tree)?,
            overrides: stat_overrides(tree)?,
            units: enabled_units(tree)?,
        })
    }

    /// What a package has registered and not taken back.
    pub fn left(&self, before: &Self, package: &str, step: Step) -> Vec<Finding> {
        let mut found = Vec::new();
        let mut say = |kind, detail: String, path: Option<String>| {
            let finding = Finding::new(kind, package, step, detail);
            found.push(match path {
                Some(path) => finding.at(path),
                None => finding,
            });
        };
        for (name, user) in &self.accounts.users {
            if !before.accounts.users.contains_key(name) {
                say(Kind::UserLeft, format!("user '{name}' ({}) is left", user.uid), None);
            }
        }
        for (name, group) in &self.accounts.groups {
            if !before.accounts.groups.contains_key(name) {
                say(Kind::GroupLeft, format!("group '{name}' ({}) is left", group.gid), None);
            }
        }
        for unit in self.units.iter().filter(|u| !before.units.iter().any(|b| b.link == u.link)) {
            let how = match unit.how {
                How::Masked => "still masked",
                _ => "still enabled",
            };
            let there = if unit.present || unit.how == How::Masked { "" } else { ", and not there" };
            let detail = format!("'{}' is {how}{there}", unit.unit);
            say(Kind::ServiceLeftEnabled, detail, Some(unit.link.display().to_string()));
        }
        for (name, now) in &self.alternatives {
            let known: &[_] = before.alternatives.get(name).map_or(&[], |old| &old.choices);
            for choice in now.choices.iter().filter(|choice| !known.contains(choice)) {
                let detail = format!("'{}' still stands for '{name}'", choice.display());
                say(Kind::AlternativeLeft, detail, Some(now.link.display().to_string()));
            }
        }
        for diversion in self.diversions.iter().filter(|d| !before.diversions.contains(d)) {
            let by = diversion.package.as_ref().map(|p| format!(" by '{p}'")).unwrap_or_default();
            let detail = format!("still diverted to '{}'{by}", diversion.to.display());
            say(Kind::DiversionLeft, detail, Some(diversion.from.display().to_string()));
        }
        for entry in self.overrides.iter().filter(|o| !before.overrides.contains(o)) {
            let detail = format!("still overridden: {} {} {}", entry.user, entry.group, entry.mode);
            say(Kind::StatoverrideLeft, detail, Some(entry.path.display().to_string()));
        }
        found.extend(self.changed(before, package, step));
        found
    }

    /// What others had registered, and is not as it was.
    fn changed(&self, before: &Self, package: &str, step: Step) -> Vec<Finding> {
        let mut found = Vec::new();
        let mut say = |kind, path: &str, detail: String| {
            found.push(Finding::new(kind, package, step, detail).at(path));
        };
        for (name, old) in &before.accounts.users {
            match self.accounts.users.get(name) {
                None => say(Kind::ForeignFileRemoved, "/etc/passwd", format!("user '{name}' is gone")),
                Some(now) if now != old => {
                    say(Kind::ForeignFileChanged, "/etc/passwd", format!("user '{name}' is not as it was"));
                }
                Some(_) => {}
            }
        }
        for (name, old) in &before.accounts.groups {
            let Some(now) = self.accounts.groups.get(name) else {
                say(Kind::ForeignFileRemoved, "/etc/group", format!("group '{name}' is gone"));
                continue;
            };
            // a user that is left is told of already
            let known = |m: &&String| before.accounts.users.contains_key(*m);
            let members = |list: &[String]| list.iter().filter(known).cloned().collect::<BTreeSet<_>>();
            if now.gid != old.gid || members(&now.members) != members(&old.members) {
                say(Kind::ForeignFileChanged, "/etc/group", format!("group '{name}' is not as it was"));
            }
        }
        for (name, old) in &before.alternatives {
            let now = self.alternatives.get(name);
            let kept = |choice| now.is_some_and(|now| now.choices.contains(choice));
            if !old.choices.iter().all(kept) {
                say(
                    Kind::ForeignFileRemoved,
                    &old.link.display().to_string(),
                    format!("alternatives of '{name}' are gone"),
                );
            } else if now.is_some_and(|now| {
                now.choices.len() == old.choices.len()
                    && (now.current != old.current || now.automatic != old.automatic)
            }) {
                let link = old.link.display().to_string();
                say(Kind::ForeignFileChanged, &link, format!("another alternative stands for '{name}'"));
            }
        }
        for gone in before.diversions.iter().filter(|d| !self.diversions.contains(d)) {
            let from = gone.from.display().to_string();
            say(Kind::ForeignFileRemoved, &from, "its diversion is gone".to_owned());
        }
        for gone in before.overrides.iter().filter(|o| !self.overrides.contains(o)) {
            let path = gone.path.display().to_string();
            say(Kind::ForeignFileRemoved, &path, "its statoverride is gone".to_owned());
        }
        found
    }

    /// Whether a path is that of an alternative, or of what is diverted, or to where.
    pub fn redirects(&self, path: &Path) -> bool {
        let path = plain(path);
        let is = |other: &Path| plain(other) == path;
        self.alternatives.values().any(|a| is(&a.link))
            || self.diversions.iter().any(|d| is(&d.from) || is(&d.to))
    }

    /// In what records of two runs differ, in words.
    pub fn differs(&self, other: &Self) -> Vec<String> {
        let mut what = Vec::new();
        let mut check = |same: bool, name: &str| {
            if !same {
                what.push(name.to_owned());
            }
        };
        check(self.accounts.users.keys().eq(other.accounts.users.keys()), "users");
        let members = |r: &Self| -> Vec<_> {
            let groups = r.accounts.groups.iter();
            groups
                .map(|(name, g)| (name.clone(), g.members.iter().cloned().collect::<BTreeSet<_>>()))
                .collect()
        };
        check(members(self) == members(other), "groups");
        check(self.alternatives == other.alternatives, "alternatives");
        check(self.diversions == other.diversions, "diversions");
        check(self.overrides == other.overrides, "statoverrides");
        check(self.units == other.units, "enabled services");
        what
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::of_files;

    fn registered(files: &[(&str, &str)]) -> Registered {
        Registered::read(&of_files(files).1).unwrap()
    }

    const BEFORE: &[(&str, &str)] = &[
        ("etc/passwd", "root:x:0:0:root:/root:/bin/bash\n"),
        ("etc/group", "root:x:0:\ndialout:x:20:\n"),
        ("var/lib/dpkg/alternatives/editor", "auto\n/usr/bin/editor\n\n/bin/nano\n40\n\n"),
    ];

    #[test]
    fn what_is_left_is_found() {
        let before = registered(BEFORE);
        let after = registered(&[
            ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\napp:x:999:999::/:/bin/false\n"),
            ("etc/group", "root:x:0:\ndialout:x:20:app\napp:x:999:\n"),
            (
                "etc/systemd/system/multi-user.target.wants/app.service",
                "-> /usr/lib/systemd/system/app.service",
            ),
            ("var/lib/dpkg/alternatives/editor", "auto\n/usr/bin/editor\n\n/bin/nano\n40\n/opt/ed\n1\n\n"),
            ("var/lib/dpkg/diversions", "/bin/x\n/bin/x.real\napp\n"),
            ("var/lib/dpkg/statoverride", "root adm 2750 /var/x\n"),
        ]);
        let kinds: Vec<Kind> = after.left(&before, "app", Step::Purge).iter().map(|f| f.kind).collect();
        assert_eq!(
            kinds,
            [
                Kind::UserLeft,
                Kind::GroupLeft,
                Kind::ServiceLeftEnabled,
                Kind::AlternativeLeft,
                Kind::DiversionLeft,
                Kind::StatoverrideLeft,
                // the shell of root
                Kind::ForeignFileChanged
            ]
        );
        assert!(before.left(&before, "app", Step::Purge).is_empty());
        assert_eq!(before.differs(&after).len(), 6);
        assert!(after.redirects("/bin/x.real".as_ref()) && after.redirects("/usr/bin/editor".as_ref()));
    }

    #[test]
    fn what_is_gone_is_found() {
        let gone = registered(&[("etc/passwd", ""), ("etc/group", "root:x:1:\n")]);
        let found = gone.left(&registered(BEFORE), "app", Step::Purge);
        let kinds: Vec<Kind> = found.iter().map(|f| f.kind).collect();
        assert_eq!(
            kinds,
            [
                Kind::ForeignFileRemoved,
                Kind::ForeignFileRemoved,
                Kind::ForeignFileChanged,
                Kind::ForeignFileRemoved
            ]
        );
    }
}
