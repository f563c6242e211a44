// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # What changed in a tree
//!
//! As an OCI layer over it. Only what may have changed is looked at, so that this takes as long as the change is large.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::checker::parent;
use crate::error::{Error, IoContext, Result};
use crate::scan::Scan;
use crate::toc::{Entry, Node, path_order};
use crate::tree::{OnDisk, hash_contents};
use crate::whiteout;

/// What changed.
pub struct Changes {
    /// Entries of the OCI layer.
    pub entries: Vec<Entry>,
    /// Sockets, which are left out.
    pub sockets: Vec<PathBuf>,
}

/// Compares a directory with the tree that it was made from, at these paths. Nobody else may be writing to it.
pub fn between(base: &[Entry], root: &Path, touched: &BTreeSet<Vec<u8>>) -> Result<Changes> {
    let known: HashMap<&[u8], &Entry> = base.iter().map(|entry| (&entry.path.0[..], entry)).collect();
    let links = Links::of(base);
    let mut paths: Vec<&[u8]> = touched.iter().map(|path| &path[..]).collect();
    // one name of a file cannot change alone
    paths.extend(touched.iter().flat_map(|path| links.with(path)));
    paths.sort_by(|a, b| path_order(a, b));
    paths.dedup();

    let top = fs::metadata(root).doing("reading", root)?;
    let mut look = Look { root, scan: Scan::of(&top), directories: HashMap::new() };
    let (mut found, mut gone) = (Vec::new(), Vec::new());
    for path in paths {
        // what is no directory any more takes with it what was in it
        if !look.is_directory(parent(path))? {
            continue;
        }
        match look.at(path)? {
            Some(entry) => found.push(entry),
            None if known.contains_key(path) => gone.push(path),
            None => {}
        }
    }
    hash_contents(&mut found, &OnDisk(root))?;
    let targets: HashSet<Vec<u8>> = found
        .iter()
        .filter_map(|entry| match &entry.node {
            Node::Hardlink { target } => Some(target.0.clone()),
            _ => None,
        })
        .collect();
    let is_same = |entry: &Entry| {
        known.get(&entry.path.0[..]) == Some(&entry)
            && links.with(&entry.path.0).is_empty()
            && !targets.contains(&entry.path.0)
    };
    found.retain(|entry| !is_same(entry));
    found.extend(gone.into_iter().map(whiteout::of));
    look.add_parents(&mut found)?;
    found.sort_by(|a, b| path_order(&a.path.0, &b.path.0));
    Ok(Changes { entries: found, sockets: look.scan.notes.sockets })
}

/// Names of files that have several.
struct Links<'a> {
    first: HashMap<&'a [u8], &'a [u8]>,
    all: HashMap<&'a [u8], Vec<&'a [u8]>>,
}

impl<'a> Links<'a> {
    fn of(entries: &'a [Entry]) -> Self {
        let mut links = Links { first: HashMap::new(), all: HashMap::new() };
        for entry in entries {
            if let Node::Hardlink { target } = &entry.node {
                let (path, target) = (&entry.path.0[..], &target.0[..]);
                links.first.insert(target, target);
                links.first.insert(path, target);
                links.all.entry(target).or_insert_with(|| vec![target]).push(path);
            }
        }
        links
    }

    /// All names of a file that has more than this one.
    fn with(&self, path: &[u8]) -> &[&'a [u8]] {
        self.first.get(path).and_then(|first| self.all.get(first)).map_or(&[], Vec::as_slice)
    }
}

/// A tree that is looked at without following symlinks.
struct Look<'a> {
    root: &'a Path,
    scan: Scan,
    directories: HashMap<Vec<u8>, bool>,
}

impl Look<'_> {
    fn full(&self, path: &[u8]) -> PathBuf {
        self.root.join(OsStr::from_bytes(path))
    }

    /// Whether it is a directory that no symlink leads to.
    fn is_directory(&mut self, path: &[u8]) -> Result<bool> {
        if path.is_empty() {
            return Ok(true);
        }
        if let Some(known) = self.directories.get(path) {
            return Ok(*known);
        }
        let is = self.is_directory(parent(path))? && {
            let full = self.full(path);
            match fs::symlink_metadata(&full) {
                Ok(meta) => meta.is_dir(),
                Err(e) if e.kind() == io::ErrorKind::NotFound => false,
                Err(e) => return Err(Error::io("reading", full, e)),
            }
        };
        self.directories.insert(path.to_vec(), is);
        Ok(is)
    }

    /// What is there, in a directory that is one.
    fn at(&mut self, path: &[u8]) -> Result<Option<Entry>> {
        let full = self.full(path);
        match fs::symlink_metadata(&full) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            _ => self.scan.look(&full, path.to_vec()),
        }
    }

    /// An OCI layer names the directories above what it changes.
    fn add_parents(&mut self, entries: &mut Vec<Entry>) -> Result<()> {
        let mut there: HashSet<Vec<u8>> = entries.iter().map(|entry| entry.path.0.clone()).collect();
        let mut missing: BTreeSet<Vec<u8>> = BTreeSet::from([vec![]]);
        for entry in entries.iter() {
            let mut path = &entry.path.0[..];
            while !path.is_empty() {
                path = parent(path);
                missing.insert(path.to_vec());
            }
        }
        for path in missing {
            if there.insert(path.clone()) {
                entries.extend(self.at(&path)?);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::scan;
    use crate::stack::stack;
    use std::os::unix::fs::symlink;

    fn put(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn hashed(root: &Path) -> Vec<Entry> {
        let (mut entries, _) = scan(root).unwrap();
        hash_contents(&mut entries, &OnDisk(root)).unwrap();
        entries
    }

    fn names(changes: &Changes) -> Vec<String> {
        changes.entries.iter().map(|entry| entry.path.display()).collect()
    }

    #[test]
    fn the_layer_over_the_tree_gives_the_changed_tree() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for path in ["a/same", "a/changed", "a/gone", "dir/was/deep", "dir/file", "links/one"] {
            put(root, path, path);
        }
        for name in ["links/two", "links/three"] {
            fs::hard_link(root.join("links/one"), root.join(name)).unwrap();
        }
        let base = hashed(root);

        put(root, "a/changed", "now");
        fs::remove_file(root.join("a/gone")).unwrap();
        fs::remove_dir_all(root.join("dir")).unwrap();
        put(root, "dir", "a file");
        put(root, "new/inside", "new");
        fs::remove_file(root.join("links/two")).unwrap();
        put(root, "links/two", "alone");
        let all = |tree: &[Entry]| tree.iter().map(|entry| entry.path.0.clone()).collect::<Vec<_>>();
        let touched = all(&base).into_iter().chain(all(&hashed(root))).collect();
        let changes = between(&base, root, &touched).unwrap();
        let stacked = stack([&base[..], &changes.entries]).unwrap();
        let stacked: Vec<Entry> = stacked.into_iter().map(|(entry, _)| entry).collect();
        assert_eq!(stacked, hashed(root));
        assert!(!names(&changes).contains(&"a/same".to_owned()));
        // all names of a file of which one changed
        let links = ["links", "links/one", "links/three", "links/two"];
        assert!(links.iter().all(|name| names(&changes).contains(&name.to_string())));
    }

    #[test]
    fn nothing_changed_is_a_layer_without_files() {
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), "a/b", "c");
        let base = hashed(dir.path());
        let touched = BTreeSet::from([b"a".to_vec(), b"a/b".to_vec()]);
        assert_eq!(names(&between(&base, dir.path(), &touched).unwrap()), [""]);
    }

    #[test]
    fn no_symlink_leads_out_of_the_tree() {
        let (dir, host) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        put(host.path(), "secret", "of the host");
        put(dir.path(), "dir/secret", "of the tree");
        let base = hashed(dir.path());
        fs::remove_dir_all(dir.path().join("dir")).unwrap();
        symlink(host.path(), dir.path().join("dir")).unwrap();
        let touched = BTreeSet::from([b"dir".to_vec(), b"dir/secret".to_vec()]);
        let changes = between(&base, dir.path(), &touched).unwrap();
        assert_eq!(names(&changes), ["", "dir"]);
        assert!(matches!(changes.entries[1].node, Node::Symlink { .. }));
    }
}
