// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Packages
//!
//! By name, version, state, and by content: a package that was built again may have the version that it had.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Serialize;

use crate::diff::dpkg::{Database, Installed};
use crate::diff::side::{Side, same_content};
use crate::versions::compare_versions;

/// Where dpkg keeps the digests of what a package brought. When these differ, so does the package.
const INFO: &[u8] = b"var/lib/dpkg/info/";
const MD5SUMS: &[u8] = b".md5sums";

/// What has become of a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// Only on the right.
    Added,
    /// Only on the left.
    Removed,
    /// A newer version.
    Upgraded,
    /// An older version.
    Downgraded,
    /// The same version with another content or architecture.
    Rebuilt,
    /// The same package in another state, such as held.
    State,
}

impl Fate {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Fate; 6] =
        [Fate::Added, Fate::Removed, Fate::Upgraded, Fate::Downgraded, Fate::Rebuilt, Fate::State];

    /// For people.
    pub fn word(self) -> &'static str {
        match self {
            Fate::Added => "added",
            Fate::Removed => "removed",
            Fate::Upgraded => "upgraded",
            Fate::Downgraded => "downgraded",
            Fate::Rebuilt => "rebuilt",
            Fate::State => "state changed",
        }
    }
}

/// A package as it is on one side.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Facts {
    /// Version.
    pub version: String,
    /// Architecture.
    pub architecture: String,
    /// Declared size in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// As in `install ok installed`; not known without a package database.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Of a self-built package: digest of the .deb.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Of a self-built package: its recipe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipe: Option<String>,
}

/// A package that differs.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PackageChange {
    /// Its name.
    pub package: String,
    /// What has become of it.
    pub change: Fate,
    /// On the left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<Facts>,
    /// On the right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<Facts>,
}

/// Whether the content of this file tells packages apart.
pub fn is_evidence(path: &[u8]) -> bool {
    path.starts_with(INFO) && path.ends_with(MD5SUMS)
}

/// Name and architecture, and what is known.
type Packages = BTreeMap<String, BTreeMap<String, Facts>>;

fn collect((side, database): (&Side, &Database)) -> Packages {
    let installed = database.by_name();
    let mut out = Packages::new();
    let mut add = |name: &str, facts: Facts| {
        out.entry(name.to_string()).or_default().insert(facts.architecture.clone(), facts);
    };
    if side.listed.is_empty() {
        database.packages.iter().for_each(|p| add(&p.name, facts_of(p)));
    }
    for p in &side.listed {
        let known = installed.get(&(&p.package[..], &p.architecture[..]));
        let facts = Facts {
            version: p.version.clone(),
            architecture: p.architecture.clone(),
            size: known.and_then(|k| k.size),
            state: known.map(|k| k.state.clone()),
            sha256: p.sha256.clone(),
            recipe: p.recipe.clone(),
        };
        add(&p.package, facts);
    }
    out
}

fn facts_of(p: &Installed) -> Facts {
    Facts {
        version: p.version.clone(),
        architecture: p.architecture.clone(),
        size: p.size,
        state: Some(p.state.clone()),
        sha256: None,
        recipe: None,
    }
}

/// Compares packages.
pub fn compare(left: (&Side, &Database), right: (&Side, &Database)) -> Vec<PackageChange> {
    let (old, new) = (collect(left), collect(right));
    let rebuilt = rebuilt(left.0, right.0);
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let mut out = Vec::new();
    for name in names {
        for (old, new) in pairs(old.get(name), new.get(name)) {
            if let Some(change) = fate(name, old, new, &rebuilt) {
                let change =
                    PackageChange { package: name.clone(), change, old: old.cloned(), new: new.cloned() };
                out.push(change);
            }
        }
    }
    out
}

/// What stands for what on the other side: the same architecture, or the only one that there is.
fn pairs<'a>(
    old: Option<&'a BTreeMap<String, Facts>>,
    new: Option<&'a BTreeMap<String, Facts>>,
) -> Vec<(Option<&'a Facts>, Option<&'a Facts>)> {
    let empty = BTreeMap::new();
    let list = |side: Option<&'a BTreeMap<String, Facts>>| side.map(|s| s.values().collect::<Vec<_>>());
    let (olds, news) = (list(old).unwrap_or_default(), list(new).unwrap_or_default());
    if let ([old], [new]) = (&olds[..], &news[..]) {
        return vec![(Some(*old), Some(*new))];
    }
    let keys: BTreeSet<&String> = old.unwrap_or(&empty).keys().chain(new.unwrap_or(&empty).keys()).collect();
    let find = |side: &[&'a Facts], key: &str| side.iter().find(|f| f.architecture == key).copied();
    keys.into_iter().map(|key| (find(&olds, key), find(&news, key))).collect()
}

fn fate(
    name: &str,
    old: Option<&Facts>,
    new: Option<&Facts>,
    rebuilt: &BTreeSet<(String, String)>,
) -> Option<Fate> {
    let (old, new) = match (old, new) {
        (Some(old), Some(new)) => (old, new),
        (None, _) => return Some(Fate::Added),
        (_, None) => return Some(Fate::Removed),
    };
    // what says the same in other words is another build of it
    let other = || {
        old.version != new.version
            || old.architecture != new.architecture
            || differ(&old.sha256, &new.sha256)
            || ["", &new.architecture].iter().any(|a| rebuilt.contains(&(name.into(), (*a).into())))
    };
    match compare_versions(&old.version, &new.version) {
        Ordering::Less => Some(Fate::Upgraded),
        Ordering::Greater => Some(Fate::Downgraded),
        Ordering::Equal if other() => Some(Fate::Rebuilt),
        Ordering::Equal => differ(&old.state, &new.state).then_some(Fate::State),
    }
}

/// Both are known, and are not the same.
fn differ<T: PartialEq>(a: &Option<T>, b: &Option<T>) -> bool {
    matches!((a, b), (Some(a), Some(b)) if a != b)
}

/// Packages whose digests of files differ: name, and architecture where dpkg adds it.
fn rebuilt(left: &Side, right: &Side) -> BTreeSet<(String, String)> {
    let directory = &INFO[..INFO.len() - 1];
    left.below(directory)
        .filter(|(path, old)| is_evidence(path) && right.get(path).is_some_and(|new| !same_content(old, new)))
        .map(|(path, _)| {
            let name = String::from_utf8_lossy(&path[INFO.len()..path.len() - MD5SUMS.len()]).into_owned();
            match name.split_once(':') {
                Some((name, architecture)) => (name.into(), architecture.into()),
                None => (name, String::new()),
            }
        })
        .collect()
}

/// How many packages there are of each fate; none of those that do not occur.
pub fn counts(changes: &[PackageChange]) -> Vec<(Fate, usize)> {
    let mut out: HashMap<Fate, usize> = HashMap::new();
    changes.iter().for_each(|c| *out.entry(c.change).or_default() += 1);
    Fate::ALL.into_iter().filter_map(|fate| Some((fate, *out.get(&fate)?))).collect()
}

/// How much more the packages take than before, in bytes, as they declare it; none when one of them does not.
pub fn size_change(changes: &[PackageChange]) -> Option<i64> {
    let size = |facts: &Option<Facts>| match facts {
        None => Some(0),
        Some(facts) => i64::try_from(facts.size?).ok(),
    };
    changes
        .iter()
        .map(|c| size(&c.new)?.checked_sub(size(&c.old)?))
        .try_fold(0i64, |sum, n| sum.checked_add(n?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diff::side::tests::{memory, side};

    fn status(packages: &[(&str, &str, &str)]) -> String {
        let one = |(name, version, architecture): &(&str, &str, &str)| {
            format!(
                "Package: {name}\nStatus: install ok installed\nArchitecture: {architecture}\nVersion: {version}\nInstalled-Size: 1\n\n"
            )
        };
        packages.iter().map(one).collect()
    }

    #[test]
    fn every_fate_is_told() {
        let old = [
            ("gone", "1", "all"),
            ("up", "1.0-1", "amd64"),
            ("down", "2:1", "all"),
            ("arch", "1", "all"),
            ("same", "1", "all"),
            ("again", "1", "amd64"),
            ("multi", "1", "amd64"),
        ];
        let new = [
            ("come", "1", "all"),
            ("up", "1.0+b1-1", "amd64"),
            ("down", "3", "all"),
            ("arch", "1", "amd64"),
            ("same", "1", "all"),
            ("again", "1", "amd64"),
            ("multi", "1", "amd64"),
            ("multi", "1", "i386"),
        ];
        let (old, new) = (status(&old), status(&new));
        let info = "var/lib/dpkg/info/again.md5sums";
        let (left, right) = (
            memory(&[("var/lib/dpkg/status", &old[..]), (info, "a")]),
            memory(&[("var/lib/dpkg/status", &new[..]), (info, "b")]),
        );
        let (left, right) = (side(&left, &[]), side(&right, &[]));
        let databases = (left.database().unwrap(), right.database().unwrap());
        let changes = compare((&left, &databases.0), (&right, &databases.1));
        let told: Vec<String> =
            changes.iter().map(|c| format!("{} {}", c.package, c.change.word())).collect();
        assert_eq!(
            told,
            [
                "again rebuilt",
                "arch rebuilt",
                "come added",
                "down downgraded",
                "gone removed",
                "multi added",
                "up upgraded"
            ]
        );
        assert_eq!(size_change(&changes), Some(1024));
        assert_eq!(counts(&changes)[0], (Fate::Added, 2));
        assert_eq!(compare((&left, &databases.0), (&left, &databases.0)), []);
    }
}
