// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # What makes a table of contents safe to build a tree from
//!
//! A table whose entries pass the [`Checker`] describes a tree that cannot reach outside itself: every parent is a
//! directory that came before, no path occurs twice, and hard links point to earlier files.

use crate::bytes::Bytes;
use crate::device;
use crate::digest::{Digest, Hasher};
use crate::error::{Error, Result};
use crate::limits::{MAX_KEPT, MAX_NAME, MAX_PATH, MAX_XATTRS};
use crate::toc::{Entry, Node, path_order};

/// Attributes in which overlayfs keeps its own state. They belong to the host and not to the tree: in a tree over which an
/// overlay is mounted they would hide files, or show others in their place.
pub const OVERLAY_XATTRS: [&[u8]; 2] = [b"trusted.overlay.", b"user.overlay."];
/// An owner that system calls take for "leave it as it is".
const NO_OWNER: u32 = u32::MAX;

/// The directory that a path is in.
pub(crate) fn parent(path: &[u8]) -> &[u8] {
    path.iter().rposition(|c| *c == b'/').map_or(&[], |at| &path[..at])
}

/// What a file and all its names have in common.
#[derive(PartialEq)]
struct Metadata {
    mode: u32,
    owner: (u32, u32),
    mtime: (i64, u32),
    xattrs: Option<Digest>,
}

impl Metadata {
    fn of(entry: &Entry) -> Self {
        let owner = (entry.uid, entry.gid);
        let xattrs = (!entry.xattrs.is_empty()).then(|| {
            let mut hasher = Hasher::default();
            for bytes in entry.xattrs.iter().flat_map(|(name, value)| [&name.0, &value.0]) {
                hasher.update(&bytes.len().to_le_bytes());
                hasher.update(bytes);
            }
            hasher.finish()
        });
        Metadata { mode: entry.mode, owner, mtime: entry.mtime, xattrs }
    }
}

/// Checks entries as they come.
#[derive(Default)]
pub struct Checker {
    last: Option<Vec<u8>>,
    directories: Vec<Vec<u8>>,
    linkable: std::collections::HashMap<Vec<u8>, Metadata>,
    kept: usize,
}

impl Checker {
    /// Accepts the next entry or says what is wrong with it.
    pub fn check(&mut self, entry: &Entry) -> Result<()> {
        self.check_inner(entry).map_err(|e| e.within(format!("entry '{}'", entry.path.display())))
    }

    fn check_inner(&mut self, entry: &Entry) -> Result<()> {
        let path = &entry.path.0;
        check_path(path)?;
        match &self.last {
            None if path.is_empty() => {}
            None => return Err(Error::damaged("the first entry must be the root directory")),
            Some(last) if path_order(last, path).is_ge() => {
                return Err(Error::damaged(if last == path { "occurs twice" } else { "is out of order" }));
            }
            Some(_) => {}
        }
        // entries come in depth-first order, so the open directories are a stack
        while self.directories.last().is_some_and(|dir| dir != parent(path) && !path.is_empty()) {
            self.directories.pop();
        }
        if !path.is_empty() && self.directories.is_empty() {
            return Err(Error::damaged("its parent is not a directory of the tree"));
        }
        if entry.mode > 0o7777 || entry.mtime.1 > 999_999_999 {
            return Err(Error::damaged("mode or time out of range"));
        }
        if entry.uid == NO_OWNER || entry.gid == NO_OWNER {
            return Err(Error::damaged("owner out of range"));
        }
        check_xattrs(&entry.xattrs)?;
        if !matches!(entry.node, Node::Directory | Node::File { .. } | Node::Hardlink { .. })
            && let Some((name, _)) = entry.xattrs.iter().find(|(name, _)| name.0.starts_with(b"user."))
        {
            let name = name.display();
            return Err(Error::damaged(format!(
                "has the attribute '{name}', which only files and directories have"
            )));
        }
        self.kept += entry.memory();
        if self.kept > MAX_KEPT {
            let limit = MAX_KEPT >> 20;
            return Err(Error::damaged(format!(
                "names and attributes up to here take more than {limit} MiB"
            )));
        }
        match &entry.node {
            Node::Directory => self.directories.push(path.clone()),
            _ if path.is_empty() => return Err(Error::damaged("the root must be a directory")),
            Node::File { size, digest, holes } => {
                check_holes(*size, holes)?;
                if *size == 0 && *digest != Digest::of(b"") {
                    return Err(Error::damaged("an empty file cannot have this digest"));
                }
            }
            Node::Symlink { target } => {
                if target.0.is_empty() || target.0.len() > MAX_PATH || target.0.contains(&0) {
                    return Err(Error::damaged("link target is empty, too long or holds NUL"));
                }
            }
            Node::Hardlink { target } => {
                let Some(metadata) = self.linkable.get(&target.0) else {
                    return Err(Error::damaged("is a hard link to something that is no earlier file"));
                };
                if *metadata != Metadata::of(entry) {
                    return Err(Error::damaged("is a hard link with other metadata than its target"));
                }
            }
            Node::CharDevice { major, minor } | Node::BlockDevice { major, minor } => {
                // what the kernel holds in a dev_t
                if *major > 0xfff || *minor > 0xf_ffff {
                    return Err(Error::damaged("device number out of range"));
                }
                if matches!(entry.node, Node::CharDevice { major: 0, minor: 0 }) {
                    return Err(Error::damaged("is a device by which overlayfs marks deletions"));
                }
            }
            Node::Fifo => {}
        }
        if !matches!(entry.node, Node::Directory | Node::Hardlink { .. }) {
            self.linkable.insert(path.clone(), Metadata::of(entry));
        }
        self.last = Some(path.clone());
        Ok(())
    }
}

fn check_path(path: &[u8]) -> Result<()> {
    if path.is_empty() {
        return Ok(());
    }
    if path.len() > MAX_PATH {
        return Err(Error::damaged(format!("path is longer than {MAX_PATH} bytes")));
    }
    for name in path.split(|c| *c == b'/') {
        if name.is_empty() || name == b"." || name == b".." || name.contains(&0) || name.len() > MAX_NAME {
            return Err(Error::damaged("path holds an empty, overlong, '.' or '..' name, or NUL"));
        }
    }
    Ok(())
}

fn check_xattrs(xattrs: &[(Bytes, Bytes)]) -> Result<()> {
    let mut total = 0;
    for (i, (name, value)) in xattrs.iter().enumerate() {
        total += name.0.len() + value.0.len() + 1;
        let ordered = i == 0 || xattrs[i - 1].0 < *name;
        if !ordered
            || name.0.is_empty()
            || name.0.len() > MAX_NAME
            || name.0.contains(&0)
            || name.0.contains(&b'=')
        {
            return Err(Error::damaged("extended attributes are out of order or badly named"));
        }
    }
    let overlay = |name: &Bytes| OVERLAY_XATTRS.iter().any(|prefix| name.0.starts_with(prefix));
    if let Some((name, _)) = xattrs.iter().find(|(name, _)| overlay(name)) {
        let name = name.display();
        return Err(Error::damaged(format!(
            "has the attribute '{name}', in which overlayfs keeps its own state"
        )));
    }
    if xattrs.iter().any(|(name, _)| name.0 == device::ATTRIBUTE.as_bytes()) {
        return Err(Error::damaged(format!(
            "has the attribute '{}', which is for devices in stores of ordinary users",
            device::ATTRIBUTE
        )));
    }
    if total > MAX_XATTRS {
        return Err(Error::damaged(format!("has more than {MAX_XATTRS} bytes of extended attributes")));
    }
    Ok(())
}

fn check_holes(size: u64, holes: &[(u64, u64)]) -> Result<()> {
    let mut end = 0;
    for (i, (offset, len)) in holes.iter().enumerate() {
        let starts = if i == 0 { *offset >= end } else { *offset > end };
        let stop = offset.checked_add(*len);
        match stop {
            Some(stop) if starts && *len > 0 && stop <= size => end = stop,
            _ => return Err(Error::damaged("holes are out of order or outside of the file")),
        }
    }
    if size > i64::MAX as u64 / 2 {
        return Err(Error::damaged("size is out of range"));
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::error::Kind;

    pub(crate) fn dir(path: &str) -> Entry {
        Entry {
            path: path.into(),
            node: Node::Directory,
            mode: 0o755,
            uid: 0,
            gid: 0,
            mtime: (1, 2),
            xattrs: vec![],
        }
    }

    pub(crate) fn node(path: &str, node: Node) -> Entry {
        Entry { node, mode: 0o644, ..dir(path) }
    }

    pub(crate) fn link(path: &str, target: &str) -> Entry {
        node(path, Node::Hardlink { target: target.into() })
    }

    pub(crate) fn file(path: &str) -> Entry {
        node(path, Node::File { size: 10, digest: Digest::of(b""), holes: vec![] })
    }

    fn with(mut entry: Entry, name: &str, length: usize) -> Entry {
        entry.xattrs = vec![(name.into(), Bytes(vec![b'y'; length]))];
        entry
    }

    fn check(entries: &[Entry]) -> Result<()> {
        let mut checker = Checker::default();
        entries.iter().try_for_each(|e| checker.check(e))
    }

    #[test]
    fn trees_that_reach_outside_themselves_are_refused() {
        let sym = |path: &str| node(path, Node::Symlink { target: "/etc".into() });
        let cases: &[(&str, Vec<Entry>)] = &[
            ("no root", vec![dir("a")]),
            ("dot dot", vec![dir(""), dir("..")]),
            ("dot dot inside", vec![dir(""), dir("a"), file("a/../b")]),
            ("absolute", vec![dir(""), file("/etc")]),
            ("through a symlink", vec![dir(""), sym("a"), file("a/b")]),
            ("through a file", vec![dir(""), file("a"), file("a/b")]),
            ("no parent", vec![dir(""), file("a/b")]),
            ("parent closed", vec![dir(""), dir("a"), dir("b"), file("a/c")]),
            ("twice", vec![dir(""), file("a"), file("a")]),
            ("out of order", vec![dir(""), file("b"), file("a")]),
            ("forward hard link", vec![dir(""), link("a", "b"), file("b")]),
            ("hard link to a directory", vec![dir(""), dir("a"), link("b", "a")]),
            ("hard link of another mode", vec![dir(""), file("a"), Entry { mode: 0o4755, ..link("b", "a") }]),
            ("overlayfs's deletion", vec![dir(""), node("a", Node::CharDevice { major: 0, minor: 0 })]),
            ("nul", vec![dir(""), file("a\0b")]),
            ("trailing slash", vec![dir(""), dir("a/")]),
            ("no owner", vec![dir(""), Entry { uid: u32::MAX, ..file("a") }]),
            ("overlayfs's attribute", vec![with(dir(""), "trusted.overlay.opaque", 1)]),
            ("a device without root", vec![with(dir(""), device::ATTRIBUTE, 1)]),
            ("a user's attribute of a symlink", vec![dir(""), with(sym("a"), "user.x", 1)]),
        ];
        for (what, entries) in cases {
            assert_eq!(check(entries).unwrap_err().kind, Kind::Damaged, "{what}");
        }
        assert!(check(&[dir(""), dir("a"), file("a/b"), file("a.c"), link("b", "a/b")]).is_ok());
    }

    #[test]
    fn memory_is_bounded() {
        let mut checker = Checker::default();
        checker.check(&dir("")).unwrap();
        let mut entries = (0..10_000).map(|n| with(file(&format!("{n:05}")), "trusted.x", 60_000));
        assert!(entries.try_for_each(|e| checker.check(&e)).unwrap_err().message.contains("512 MiB"));
        assert!(checker.kept > MAX_KEPT && checker.kept < MAX_KEPT + 70_000);
    }

    #[test]
    fn holes_lie_within_the_file() {
        for (holes, good) in [
            (vec![(0, 4), (6, 4)], true),
            (vec![(0, 4), (4, 2)], false),
            (vec![(0, 11)], false),
            (vec![(u64::MAX, 2)], false),
            (vec![(0, 0)], false),
        ] {
            assert_eq!(check_holes(10, &holes).is_ok(), good, "{holes:?}");
        }
    }
}
