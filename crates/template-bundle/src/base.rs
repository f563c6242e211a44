// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # What an earlier version has
//!
//! Whoever has that version needs only files that are fresh. These get frames of their own, so that nothing else has to be
//! fetched with them. What the earlier version has changes nothing but where frames begin, so nobody need trust it.

use std::collections::HashSet;

use crate::bundle::Bundle;
use crate::digest::Digest;
use crate::error::Result;
use crate::toc::{Entry, Node};

/// Known files between fresh ones that are no more bytes than this stay with them: a frame of its own costs about as much.
const ABSORBED: u64 = 16 << 10;

/// The contents of its files, whatever their metadata.
pub struct Base {
    contents: HashSet<Digest>,
}

impl Base {
    /// Reads the tables of contents of a bundle.
    pub fn read(bundle: &Bundle) -> Result<Self> {
        let mut contents = HashSet::new();
        for component in &bundle.manifest.components {
            for (part, tree) in component.parts_of(true) {
                contents.extend(bundle.toc(component, part, tree)?.entries.iter().filter_map(content));
            }
        }
        Ok(Self { contents })
    }

    /// Which of these entries, whose digests are known, are fresh.
    pub fn fresh(&self, entries: &[Entry]) -> Vec<bool> {
        let is_fresh = |entry: &Entry| content(entry).is_some_and(|digest| !self.contents.contains(&digest));
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

fn content(entry: &Entry) -> Option<Digest> {
    match &entry.node {
        Node::File { digest, size, .. } if *size > 0 => Some(*digest),
        _ => None,
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
        let base = Base { contents: old.iter().filter_map(content).collect() };
        let mut new = old.to_vec();
        new[0] = file("a", 9, "other");
        // another mode is no other content
        new[2].mode = 0o755;
        new[4] = file("f", 9, "another");
        assert_eq!(base.fresh(&new), [true, false, false, false, true]);
        new[2] = file("c", 9, "new");
        assert_eq!(base.fresh(&new), [true, true, true, false, true]);
        assert_eq!(base.fresh(&old), [false; 5]);
    }
}
