// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Differences between two systems
//!
//! Packages by name and version, files by content and metadata.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::bytes::Bytes;
use crate::manifest::Package;
use crate::toc::{Entry, Node, path_order};

/// What differs.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Diff {
    /// Packages.
    pub packages: Vec<PackageChange>,
    /// Files.
    pub files: Vec<FileChange>,
}

impl Diff {
    /// Nothing differs.
    pub fn is_empty(&self) -> bool {
        self.packages.is_empty() && self.files.is_empty()
    }
}

/// A package that is on one side only, or has another version.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PackageChange {
    /// Name and architecture.
    pub package: String,
    /// Version on the left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<String>,
    /// Version on the right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<String>,
}

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
    /// Another content, target or device.
    Content,
    /// Another mode.
    Mode,
    /// Another owner or group.
    Owner,
    /// Another modification time.
    Time,
    /// Other extended attributes.
    Attributes,
}

/// A path that differs.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FileChange {
    /// The path.
    pub path: Bytes,
    /// In what it differs.
    pub what: Vec<What>,
}

/// Compares packages.
pub fn packages(old: &[Package], new: &[Package]) -> Vec<PackageChange> {
    let map = |list: &[Package]| -> BTreeMap<String, String> {
        list.iter().map(|p| (format!("{}:{}", p.package, p.architecture), p.version.clone())).collect()
    };
    let (old, new) = (map(old), map(new));
    let mut names: Vec<&String> = old.keys().chain(new.keys()).collect();
    names.sort();
    names.dedup();
    names
        .into_iter()
        .filter(|name| old.get(*name) != new.get(*name))
        .map(|name| PackageChange {
            package: name.clone(),
            old: old.get(name).cloned(),
            new: new.get(name).cloned(),
        })
        .collect()
}

/// Compares files. Modification times count only with `times`.
pub fn files(old: &[Entry], new: &[Entry], times: bool) -> Vec<FileChange> {
    let map = |list: &[Entry]| -> BTreeMap<Vec<u8>, Entry> {
        let mut out: BTreeMap<Vec<u8>, Entry> = BTreeMap::new();
        for entry in list {
            // a hard link counts as the file it is, which always comes before
            let resolved = match &entry.node {
                Node::Hardlink { target } => out.get(&target.0).cloned().unwrap_or_else(|| entry.clone()),
                _ => entry.clone(),
            };
            out.insert(entry.path.0.clone(), resolved);
        }
        out
    };
    let (old, new) = (map(old), map(new));
    let mut paths: Vec<&Vec<u8>> = old.keys().chain(new.keys()).collect();
    paths.sort_by(|a, b| path_order(a, b));
    paths.dedup();
    paths
        .into_iter()
        .filter_map(|path| {
            let what = match (old.get(path), new.get(path)) {
                (Some(old), Some(new)) => compare(old, new, times),
                (Some(_), None) => vec![What::Removed],
                _ => vec![What::Added],
            };
            (!what.is_empty()).then(|| FileChange { path: Bytes(path.clone()), what })
        })
        .collect()
}

fn compare(old: &Entry, new: &Entry, times: bool) -> Vec<What> {
    let same_content = match (&old.node, &new.node) {
        // holes are how a content is stored, not what it is
        (Node::File { digest: a, .. }, Node::File { digest: b, .. }) => a == b,
        (a, b) => a == b,
    };
    let checks = [
        (std::mem::discriminant(&old.node) != std::mem::discriminant(&new.node), What::Type),
        (!same_content, What::Content),
        (old.mode != new.mode, What::Mode),
        ((old.uid, old.gid) != (new.uid, new.gid), What::Owner),
        (times && old.mtime != new.mtime, What::Time),
        (old.xattrs != new.xattrs, What::Attributes),
    ];
    let mut what: Vec<What> =
        checks.into_iter().filter(|(differs, _)| *differs).map(|(_, what)| what).collect();
    if what.contains(&What::Type) {
        what.retain(|w| *w != What::Content);
    }
    what
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    fn file(path: &str, content: &[u8], mode: u32) -> Entry {
        let node = Node::File { size: content.len() as u64, digest: Digest::of(content), holes: vec![] };
        Entry { path: path.into(), node, mode, uid: 0, gid: 0, mtime: (0, 0), xattrs: vec![] }
    }

    #[test]
    fn every_kind_of_change_is_named() {
        let old = [file("a", b"1", 0o644), file("b", b"1", 0o644), file("c", b"1", 0o644)];
        let link = Entry { node: Node::Symlink { target: "x".into() }, ..file("c", b"", 0o644) };
        let new = [file("a", b"2", 0o600), file("a.b", b"", 0o644), link];
        let changes: Vec<_> =
            files(&old, &new, true).into_iter().map(|c| (c.path.display(), c.what)).collect();
        assert_eq!(
            changes,
            [
                ("a".to_string(), vec![What::Content, What::Mode]),
                ("a.b".to_string(), vec![What::Added]),
                ("b".to_string(), vec![What::Removed]),
                ("c".to_string(), vec![What::Type]),
            ]
        );
        assert!(files(&old, &old, true).is_empty());
    }
}
