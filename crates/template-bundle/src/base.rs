// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # What an earlier version has
//!
//! Whoever has that version needs only files that are fresh. These get frames of their own, so that nothing else has to be
//! fetched with them. What the earlier version has changes nothing but where frames begin, so nobody need trust it.

use std::collections::{BTreeMap, HashMap};

use crate::bundle::Bundle;
use crate::error::Result;
use crate::manifest::{Component, Part};
use crate::toc::{Entry, Node};

/// Known files between fresh ones that are no more bytes than this stay with them: a frame of its own costs about as much.
const ABSORBED: u64 = 16 << 10;

/// By component and path: what the files are.
pub struct Base {
    components: BTreeMap<String, HashMap<Vec<u8>, Entry>>,
}

impl Base {
    /// Reads the tables of contents of a bundle.
    pub fn read(bundle: &Bundle) -> Result<Self> {
        let of = |component: &Component| {
            let toc = bundle.toc(component, Part::Base, &component.tree)?;
            let files = toc.entries.into_iter().filter(|entry| matches!(entry.node, Node::File { .. }));
            Ok((component.name.clone(), files.map(|entry| (entry.path.0.clone(), entry)).collect()))
        };
        Ok(Self { components: bundle.manifest.components.iter().map(of).collect::<Result<_>>()? })
    }

    /// Which of these entries, whose digests are known, are fresh.
    pub fn fresh(&self, component: &str, entries: &[Entry]) -> Vec<bool> {
        let Some(known) = self.components.get(component) else { return vec![false; entries.len()] };
        let is_fresh = |entry: &Entry| entry.size() > 0 && known.get(&entry.path.0) != Some(entry);
        let mut fresh: Vec<bool> = entries.iter().map(is_fresh).collect();
        let mut last = None;
        let mut between = 0;
        for index in 0..entries.len() {
            if !fresh[index] {
                between += entries[index].size();
                continue;
            }
            if let Some(last) = last
                && between <= ABSORBED
            {
                fresh[last..index].fill(true);
            }
            (last, between) = (Some(index), 0);
        }
        fresh
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, size: u64, content: &str) -> Entry {
        Entry::plain(path, size, content.as_bytes())
    }

    #[test]
    fn little_between_fresh_files_goes_with_them() {
        let old = [
            file("a", 9, "a"),
            file("b", 9, "b"),
            file("c", 9, "c"),
            file("d", 1 << 20, "d"),
            file("f", 9, "f"),
        ];
        let files = old.iter().map(|entry| (entry.path.0.clone(), entry.clone())).collect();
        let base = Base { components: [("rootfs".to_owned(), files)].into() };
        let mut new = old.to_vec();
        new[0] = file("a", 9, "other");
        new[2].mode = 0o755;
        new[4] = file("f", 9, "other");
        assert_eq!(base.fresh("rootfs", &new), [true, true, true, false, true]);
        assert_eq!(base.fresh("rootfs", &old), [false; 5]);
        assert_eq!(base.fresh("sdk", &new), [false; 5]);
    }
}
