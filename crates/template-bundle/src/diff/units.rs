// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Units
//!
//! What starts at boot, as the links say it: systemd's in `/etc` (what was enabled or masked) and in `/usr/lib` (what
//! packages enable for good), and those of the runlevels.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::bytes::Bytes;
use crate::diff::Change;
use crate::diff::side::Side;
use crate::toc::{Entry, Node};

/// Where systemd looks for links, and whether packages own them.
const PLACES: [(&str, bool); 6] = [
    ("etc/systemd/system", false),
    ("etc/systemd/user", false),
    ("lib/systemd/system", true),
    ("lib/systemd/user", true),
    ("usr/lib/systemd/system", true),
    ("usr/lib/systemd/user", true),
];
const RUNLEVELS: [&str; 8] = ["rc0.d", "rc1.d", "rc2.d", "rc3.d", "rc4.d", "rc5.d", "rc6.d", "rcS.d"];

/// What a link does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Another unit starts it.
    Enabled,
    /// It cannot be started.
    Masked,
    /// It is another name of a unit.
    Alias,
    /// A runlevel starts or stops it.
    Runlevel,
}

impl Kind {
    /// For people.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Enabled => "enabled",
            Kind::Masked => "masked",
            Kind::Alias => "alias",
            Kind::Runlevel => "runlevel",
        }
    }
}

/// A link that differs.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UnitChange {
    /// The unit.
    pub unit: Bytes,
    /// How the link differs.
    pub change: Change,
    /// What the link does.
    pub kind: Kind,
    /// The unit or runlevel that starts it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<Bytes>,
    /// Whether it came with a package, rather than being somebody's decision.
    pub vendor: bool,
    /// The link.
    pub path: Bytes,
    /// Where it leads on the left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<Bytes>,
    /// Where it leads on the right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<Bytes>,
}

type Links = BTreeMap<Vec<u8>, (Bytes, bool)>;

fn links(side: &Side) -> Links {
    let target = |entry: &Entry| match &entry.node {
        Node::Symlink { target } => Some(target.clone()),
        _ => None,
    };
    let mut out = Links::new();
    for (place, vendor) in PLACES {
        for (path, entry) in side.below(place.as_bytes()) {
            if let Some(target) = target(entry) {
                out.insert(path.to_vec(), (target, vendor));
            }
        }
    }
    for level in RUNLEVELS {
        for (path, entry) in side.below(format!("etc/{level}").as_bytes()) {
            if let Some(target) = target(entry) {
                out.insert(path.to_vec(), (target, false));
            }
        }
    }
    out
}

/// Compares the links.
pub fn compare(left: &Side, right: &Side) -> Vec<UnitChange> {
    let (old, new) = (links(left), links(right));
    let paths: BTreeSet<&Vec<u8>> = old.keys().chain(new.keys()).collect();
    let mut out: Vec<UnitChange> = paths
        .into_iter()
        .filter(|path| old.get(*path) != new.get(*path))
        .filter_map(|path| {
            let (before, after) = (old.get(path), new.get(path));
            let (target, vendor) = after.or(before)?;
            Some(told(path, target, *vendor, before.map(|l| l.0.clone()), after.map(|l| l.0.clone())))
        })
        .collect();
    // what somebody decided comes first
    out.sort_by(|a, b| (a.vendor, &a.unit, &a.path).cmp(&(b.vendor, &b.unit, &b.path)));
    out
}

fn told(path: &[u8], target: &Bytes, vendor: bool, old: Option<Bytes>, new: Option<Bytes>) -> UnitChange {
    let mut names = path.rsplit(|c| *c == b'/');
    let (unit, directory) = (names.next().unwrap_or_default(), names.next().unwrap_or_default());
    let starter = [&b".wants"[..], b".requires", b".upholds"].iter().find_map(|s| directory.strip_suffix(*s));
    let (kind, by) = match starter {
        Some(by) => (Kind::Enabled, Some(by.into())),
        None if directory.starts_with(b"rc") && directory.ends_with(b".d") => {
            (Kind::Runlevel, Some(directory.into()))
        }
        None if target.0 == b"/dev/null" => (Kind::Masked, None),
        None => (Kind::Alias, None),
    };
    UnitChange {
        unit: unit.into(),
        change: Change::of(&old, &new),
        kind,
        by,
        vendor,
        path: path.into(),
        old,
        new,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diff::side::tests::{memory, side};

    #[test]
    fn links_are_told_as_what_they_do() {
        let nothing = memory(&[]);
        let left = side(
            &nothing,
            &[
                (
                    "etc/systemd/system/multi-user.target.wants/gone.service",
                    "/lib/systemd/system/gone.service",
                ),
                ("etc/systemd/system/default.target", "/lib/systemd/system/graphical.target"),
                ("etc/systemd/system/same.service", "/x"),
            ],
        );
        let right = side(
            &nothing,
            &[
                ("etc/systemd/system/default.target", "/lib/systemd/system/multi-user.target"),
                ("etc/systemd/system/same.service", "/x"),
                ("etc/systemd/system/off.service", "/dev/null"),
                ("usr/lib/systemd/system/sockets.target.wants/a.socket", "../a.socket"),
                ("etc/rc3.d/S01app", "../init.d/app"),
            ],
        );
        let told: Vec<String> = compare(&left, &right)
            .iter()
            .map(|c| {
                let by = c.by.as_ref().map(Bytes::display).unwrap_or_default();
                format!("{} {} {} {by} {}", c.change.word(), c.kind.word(), c.unit.display(), c.vendor)
            })
            .collect();
        assert_eq!(
            told,
            [
                "added runlevel S01app rc3.d false",
                "changed alias default.target  false",
                "removed enabled gone.service multi-user.target false",
                "added masked off.service  false",
                "added enabled a.socket sockets.target true",
            ]
        );
    }
}
