// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Configuration files
//!
//! Those that a package brought and somebody changed. dpkg's status file has the MD5 of what the package brought; it
//! is no proof of anything, only what dpkg itself goes by.

use std::collections::{BTreeMap, BTreeSet};

use md5::{Digest as _, Md5};
use serde::Serialize;

use crate::bytes::Bytes;
use crate::diff::dpkg::Shipped;
use crate::diff::side::{Side, same_content};
use crate::error::Result;
use crate::toc::{Entry, Node};

/// How a configuration file is, compared with what its package brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// As its package brought it.
    AsShipped,
    /// Changed.
    Changed,
    /// Removed, or not a file any more.
    Missing,
}

impl State {
    /// For people.
    pub fn word(self) -> &'static str {
        match self {
            State::AsShipped => "as shipped",
            State::Changed => "changed",
            State::Missing => "missing",
        }
    }
}

/// A configuration file that is not as its package has it, on one side at least, and differs.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConffileChange {
    /// The path.
    pub path: Bytes,
    /// Whose it is.
    pub package: String,
    /// How it is on the left; none where no package has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<State>,
    /// How it is on the right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<State>,
    /// Whether the package brings another one than before.
    pub shipped_differs: bool,
}

type Conffiles = BTreeMap<Vec<u8>, Shipped>;

/// Compares the configuration files of packages. Those that are as shipped on both sides are not of interest.
pub fn compare(left: (&Side, &Conffiles), right: (&Side, &Conffiles)) -> Result<Vec<ConffileChange>> {
    let same_md5 = |path: &[u8]| left.1.get(path).map(|s| &s.md5) == right.1.get(path).map(|s| &s.md5);
    let same_file = |path: &[u8]| match (left.0.get(path), right.0.get(path)) {
        (Some(a), Some(b)) => same_content(a, b),
        (a, b) => a.is_none() && b.is_none(),
    };
    let all: BTreeSet<&[u8]> = left.1.keys().chain(right.1.keys()).map(|path| &path[..]).collect();
    let paths: Vec<&[u8]> = all.into_iter().filter(|path| !same_md5(path) || !same_file(path)).collect();
    let (old, new) = (states(left, &paths)?, states(right, &paths)?);
    let mut out = Vec::new();
    for path in paths {
        let (old, new) = (old.get(path).copied(), new.get(path).copied());
        let untouched = |state: Option<State>| state.is_none_or(|s| s == State::AsShipped);
        let Some(shipped) = right.1.get(path).or(left.1.get(path)) else { continue };
        if !(untouched(old) && untouched(new)) {
            out.push(ConffileChange {
                path: path.into(),
                package: shipped.package.clone(),
                old,
                new,
                shipped_differs: !same_md5(path),
            });
        }
    }
    Ok(out)
}

fn states((side, conffiles): (&Side, &Conffiles), paths: &[&[u8]]) -> Result<BTreeMap<Vec<u8>, State>> {
    let mut out = BTreeMap::new();
    let mut wanted: Vec<&Entry> = Vec::new();
    for path in paths.iter().filter(|path| conffiles.contains_key(**path)) {
        let state = match side.get(path) {
            // what is too large to be read was not brought by a package
            Some(entry) if matches!(entry.node, Node::File { .. }) => {
                wanted.push(entry);
                State::Changed
            }
            // a link to a configuration file is still one
            Some(_) => State::Changed,
            None => State::Missing,
        };
        out.insert(path.to_vec(), state);
    }
    side.read_all(&wanted, &mut |path, content| {
        let md5: String = Md5::digest(content).iter().map(|b| format!("{b:02x}")).collect();
        if conffiles.get(path).is_some_and(|shipped| shipped.md5.eq_ignore_ascii_case(&md5)) {
            out.insert(path.to_vec(), State::AsShipped);
        }
        Ok(())
    })?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diff::side::tests::{memory, side};

    #[test]
    fn what_somebody_changed_is_told() {
        let md5 = |text: &str| Md5::digest(text).iter().map(|b| format!("{b:02x}")).collect::<String>();
        let status = |conffiles: &[(&str, &str)]| {
            let lines: String =
                conffiles.iter().map(|(path, text)| format!(" {path} {}\n", md5(text))).collect();
            format!(
                "Package: p\nStatus: install ok installed\nArchitecture: all\nVersion: 1\nConffiles:\n{lines}"
            )
        };
        let all = ["/etc/kept", "/etc/changed", "/etc/gone", "/etc/new-default", "/etc/both"];
        let old: Vec<_> = all.iter().map(|path| (*path, "a")).collect();
        let new: Vec<_> =
            all.iter().map(|path| (*path, if path.ends_with("default") { "b" } else { "a" })).collect();
        let (old, new) = (status(&old), status(&new));
        let left = memory(&[
            ("var/lib/dpkg/status", &old[..]),
            ("etc/kept", "a"),
            ("etc/changed", "a"),
            ("etc/gone", "a"),
            ("etc/new-default", "a"),
            ("etc/both", "mine"),
        ]);
        let right = memory(&[
            ("var/lib/dpkg/status", &new[..]),
            ("etc/kept", "a"),
            ("etc/changed", "x"),
            ("etc/new-default", "b"),
            ("etc/both", "mine"),
        ]);
        let (left, right) = (side(&left, &[]), side(&right, &[]));
        let conffiles = |side: &Side| side.database().unwrap().conffiles(side);
        let changes = compare((&left, &conffiles(&left)), (&right, &conffiles(&right))).unwrap();
        let told: Vec<String> = changes.iter().map(|c| format!("{} {:?}", c.path.display(), c.new)).collect();
        assert_eq!(told, ["etc/changed Some(Changed)", "etc/gone Some(Missing)"]);
    }
}
