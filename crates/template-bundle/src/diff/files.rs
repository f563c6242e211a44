// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Files
//!
//! By kind, content and metadata.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::bytes::Bytes;
use crate::diff::Change;
use crate::diff::capabilities;
use crate::diff::rules::{Ignored, Rules, Scope};
use crate::diff::side::{Side, same_content};
use crate::toc::{Entry, Node, path_order};

/// How a file differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum What {
    /// Only on the right.
    Added,
    /// Only on the left.
    Removed,
    /// Another kind of file.
    Type,
    /// Another content.
    Content,
    /// A link that leads elsewhere.
    Target,
    /// Another device.
    Device,
    /// Another mode.
    Mode,
    /// Another owner or group.
    Owner,
    /// Other capabilities.
    Capabilities,
    /// Other extended attributes.
    Attributes,
    /// Another modification time.
    Time,
}

impl What {
    /// For people.
    pub fn word(self) -> &'static str {
        match self {
            What::Added => "added",
            What::Removed => "removed",
            What::Type => "type",
            What::Content => "content",
            What::Target => "target",
            What::Device => "device",
            What::Mode => "mode",
            What::Owner => "owner",
            What::Capabilities => "capabilities",
            What::Attributes => "attributes",
            What::Time => "time",
        }
    }
}

/// A file as it is on one side.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Facts {
    /// What it is.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Permission bits, octal.
    pub mode: String,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes of a regular file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Where a symlink leads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Bytes>,
    /// Major and minor number of a device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Capabilities as getcap prints them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<String>,
    /// Names of the other extended attributes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<Bytes>,
    /// Seconds since 1970, where times are compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtime: Option<i64>,
}

/// A path that differs.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FileChange {
    /// The path.
    pub path: Bytes,
    /// In what it differs.
    pub what: Vec<What>,
    /// The package that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub package: Option<String>,
    /// On the left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<Facts>,
    /// On the right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<Facts>,
}

impl FileChange {
    /// Added, removed or changed.
    pub fn change(&self) -> Change {
        Change::of(&self.old, &self.new)
    }

    /// How many bytes more than before.
    pub fn size_change(&self) -> i64 {
        let size = |facts: &Option<Facts>| {
            facts.as_ref().and_then(|f| f.size).map_or(0, |size| i64::try_from(size).unwrap_or(i64::MAX))
        };
        size(&self.new).saturating_sub(size(&self.old))
    }
}

/// Compares files, in the order of a table of contents. Modification times count only with `times`.
pub fn compare(left: &Side, right: &Side, rules: &Rules, times: bool) -> (Vec<FileChange>, Vec<Ignored>) {
    let mut paths: Vec<&[u8]> = left
        .entries()
        .chain(right.entries())
        .map(|(path, _)| path)
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    paths.sort_by(|a, b| path_order(a, b));
    let mut out = Vec::new();
    let mut ignored: BTreeMap<&str, usize> = BTreeMap::new();
    for path in paths {
        let (old, new) = (left.get(path), right.get(path));
        let mut what = match (old, new) {
            (Some(old), Some(new)) => differences(old, new, times),
            (Some(_), None) => vec![What::Removed],
            _ => vec![What::Added],
        };
        if what.is_empty() {
            continue;
        }
        if let Some((rule, scope)) = rules.about(path) {
            match scope {
                Scope::All => what.clear(),
                Scope::Content => what.retain(|w| *w != What::Content),
            }
            if what.is_empty() {
                *ignored.entry(rule).or_default() += 1;
                continue;
            }
        }
        let facts = |entry: Option<&Entry>| entry.map(|e| facts(e, times));
        out.push(FileChange { path: path.into(), what, package: None, old: facts(old), new: facts(new) });
    }
    let ignored = ignored.into_iter().map(|(rule, files)| Ignored { rule: rule.into(), files }).collect();
    (out, ignored)
}

fn differences(old: &Entry, new: &Entry, times: bool) -> Vec<What> {
    let content = match old.node {
        Node::Symlink { .. } => What::Target,
        Node::CharDevice { .. } | Node::BlockDevice { .. } => What::Device,
        _ => What::Content,
    };
    let other_kind = std::mem::discriminant(&old.node) != std::mem::discriminant(&new.node);
    let (old_caps, old_rest) = attributes(old);
    let (new_caps, new_rest) = attributes(new);
    let checks = [
        (other_kind, What::Type),
        (!other_kind && !same_content(old, new), content),
        (old.mode != new.mode, What::Mode),
        ((old.uid, old.gid) != (new.uid, new.gid), What::Owner),
        (old_caps != new_caps, What::Capabilities),
        (old_rest != new_rest, What::Attributes),
        (times && old.mtime != new.mtime, What::Time),
    ];
    checks.into_iter().filter(|(differs, _)| *differs).map(|(_, what)| what).collect()
}

/// The capabilities, and all other attributes.
fn attributes(entry: &Entry) -> (Option<&Bytes>, Vec<&(Bytes, Bytes)>) {
    let caps =
        entry.xattrs.iter().find(|(name, _)| name.0 == capabilities::ATTRIBUTE).map(|(_, value)| value);
    (caps, entry.xattrs.iter().filter(|(name, _)| name.0 != capabilities::ATTRIBUTE).collect())
}

fn facts(entry: &Entry, times: bool) -> Facts {
    let (kind, size, target, device) = match &entry.node {
        Node::Directory => ("directory", None, None, None),
        Node::File { size, .. } => ("file", Some(*size), None, None),
        Node::Symlink { target } => ("symlink", None, Some(target.clone()), None),
        // only where the file that it names is not there
        Node::Hardlink { target } => ("hardlink", None, Some(target.clone()), None),
        Node::CharDevice { major, minor } => ("char-device", None, None, Some(format!("{major}:{minor}"))),
        Node::BlockDevice { major, minor } => ("block-device", None, None, Some(format!("{major}:{minor}"))),
        Node::Fifo => ("fifo", None, None, None),
    };
    let (caps, rest) = attributes(entry);
    Facts {
        kind,
        mode: format!("{:04o}", entry.mode),
        uid: entry.uid,
        gid: entry.gid,
        size,
        target,
        device,
        capabilities: caps
            .map(|value| capabilities::text(&value.0).unwrap_or_else(|| "of an unknown form".to_string())),
        attributes: rest.into_iter().map(|(name, _)| name.clone()).collect(),
        mtime: times.then_some(entry.mtime.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diff::side::tests::{entry, file, link, memory};

    #[test]
    fn every_kind_of_change_is_named() {
        let nothing = memory(&[]);
        let caps = |value: &[u8]| vec![(Bytes::from(capabilities::ATTRIBUTE), Bytes::from(value))];
        let device = |minor| entry("dev/x", Node::CharDevice { major: 1, minor });
        let old = vec![
            file("a", "1"),
            file("b", "1"),
            file("c", "1"),
            file("cap", "1"),
            device(1),
            entry("hard", Node::Hardlink { target: "a".into() }),
            link("link", "x"),
        ];
        let new = vec![
            Entry { mode: 0o600, ..file("a", "2") },
            file("a.b", ""),
            link("c", "x"),
            Entry { xattrs: caps(b"x"), uid: 1, ..file("cap", "1") },
            device(2),
            file("hard", "1"),
            link("link", "y"),
        ];
        let side = |list: &[Entry]| Side::new(list.to_vec(), vec![], &nothing);
        let told: Vec<String> = compare(&side(&old), &side(&new), &Rules::none(), true)
            .0
            .into_iter()
            .map(|c| {
                let words: Vec<&str> = c.what.iter().map(|w| w.word()).collect();
                format!("{} {}", c.path.display(), words.join(","))
            })
            .collect();
        assert_eq!(
            told,
            [
                "a content,mode",
                "a.b added",
                "b removed",
                "c type",
                "cap owner,capabilities",
                "dev/x device",
                "link target",
            ]
        );
        assert!(compare(&side(&old), &side(&old), &Rules::none(), true).0.is_empty());
    }

    #[test]
    fn rules_keep_files_out_and_are_counted() {
        let nothing = memory(&[]);
        let old = vec![file("etc/machine-id", "1"), file("var/log/x", "1"), file("etc/ld.so.cache", "1")];
        let new = vec![Entry { mode: 0o600, ..file("etc/machine-id", "2") }, file("etc/ld.so.cache", "2")];
        let side = |list: &[Entry]| Side::new(list.to_vec(), vec![], &nothing);
        let rules = Rules::new(&[], &[]).unwrap();
        let (changes, ignored) = compare(&side(&old), &side(&new), &rules, false);
        assert_eq!(changes.len(), 1);
        assert_eq!(changes[0].what, [What::Mode]);
        let ignored: Vec<(&str, usize)> = ignored.iter().map(|i| (&i.rule[..], i.files)).collect();
        assert_eq!(ignored, [("generated", 1), ("logs", 1)]);
    }
}
