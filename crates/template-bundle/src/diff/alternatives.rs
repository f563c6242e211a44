// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Alternatives
//!
//! The links of update-alternatives, and whether somebody has chosen them.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::bytes::Bytes;
use crate::diff::Change;
use crate::diff::side::Side;
use crate::error::Result;
use crate::toc::{Entry, Node};

const LINKS: &[u8] = b"etc/alternatives";
/// A file for each that has `auto` or `manual` in its first line.
const STATES: &[u8] = b"var/lib/dpkg/alternatives";

/// An alternative that differs.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AlternativeChange {
    /// Its name.
    pub name: Bytes,
    /// How it differs.
    pub change: Change,
    /// On the left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<Choice>,
    /// On the right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<Choice>,
}

/// What an alternative is at present.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Choice {
    /// Where it leads.
    pub target: Bytes,
    /// `auto`, or `manual` when somebody has chosen it. Not known of links that follow another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
}

fn read(side: &Side) -> Result<BTreeMap<Vec<u8>, Choice>> {
    let mut out: BTreeMap<Vec<u8>, Choice> = BTreeMap::new();
    for (path, entry) in side.below(LINKS) {
        if let Node::Symlink { target } = &entry.node {
            out.insert(path[LINKS.len() + 1..].to_vec(), Choice { target: target.clone(), mode: None });
        }
    }
    let states: Vec<&Entry> =
        side.below(STATES).map(|(_, entry)| entry).filter(|e| matches!(e.node, Node::File { .. })).collect();
    side.read_all(&states, &mut |path, content| {
        let mode = content.split(|c| *c == b'\n').next().unwrap_or_default();
        if let Some(choice) = out.get_mut(&path[STATES.len() + 1..])
            && (mode == b"auto" || mode == b"manual")
        {
            choice.mode = Some(String::from_utf8_lossy(mode).into_owned());
        }
        Ok(())
    })?;
    Ok(out)
}

/// Compares alternatives.
pub fn compare(left: &Side, right: &Side) -> Result<Vec<AlternativeChange>> {
    let (old, new) = (read(left)?, read(right)?);
    let names: BTreeSet<&Vec<u8>> = old.keys().chain(new.keys()).collect();
    Ok(names
        .into_iter()
        .filter(|name| old.get(*name) != new.get(*name))
        .map(|name| {
            let (old, new) = (old.get(name).cloned(), new.get(name).cloned());
            AlternativeChange { name: Bytes(name.clone()), change: Change::of(&old, &new), old, new }
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diff::side::tests::{memory, side};

    #[test]
    fn links_and_choices_are_compared() {
        let left = memory(&[
            ("var/lib/dpkg/alternatives/editor", "auto\n/usr/bin/editor\n"),
            ("etc/alternatives/README", ""),
        ]);
        let right = memory(&[("var/lib/dpkg/alternatives/editor", "manual\n/usr/bin/editor\n")]);
        let left = side(
            &left,
            &[("etc/alternatives/editor", "/bin/nano"), ("etc/alternatives/awk", "/usr/bin/mawk")],
        );
        let right = side(
            &right,
            &[("etc/alternatives/editor", "/bin/nano"), ("etc/alternatives/pager", "/bin/less")],
        );
        let told: Vec<String> = compare(&left, &right)
            .unwrap()
            .iter()
            .map(|c| {
                format!(
                    "{} {} {:?}",
                    c.change.word(),
                    c.name.display(),
                    c.new.as_ref().and_then(|n| n.mode.clone())
                )
            })
            .collect();
        assert_eq!(told, ["removed awk None", "changed editor Some(\"manual\")", "added pager None"]);
    }
}
