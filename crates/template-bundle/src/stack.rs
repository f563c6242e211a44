// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Trees over each other
//!
//! A component is one tree, or several of which each changes the ones below it: what it adds or replaces it has, what it
//! removes it has a whiteout of.

use std::collections::{BTreeMap, HashMap};

use crate::bytes::Bytes;
use crate::checker::Checker;
use crate::error::Result;
use crate::toc::{Entry, Node, path_order};
use crate::whiteout::removed_by;

/// The entries of the whole, and by number the tree that each is of, the lowest first. All tables have passed their checks,
/// and so does what is made of them.
pub fn stack<'a>(trees: impl IntoIterator<Item = &'a [Entry]>) -> Result<Vec<(Entry, usize)>> {
    let mut out: Vec<(Entry, usize)> = Vec::new();
    for (number, tree) in trees.into_iter().enumerate() {
        out = match number {
            0 => tree.iter().map(|entry| (entry.clone(), 0)).collect(),
            _ => over(out, tree, number)?,
        };
    }
    Ok(out)
}

/// Lays one tree over those below.
fn over(below: Vec<(Entry, usize)>, tree: &[Entry], number: usize) -> Result<Vec<(Entry, usize)>> {
    let mut removed = Vec::new();
    let mut new: BTreeMap<&[u8], &Entry> = BTreeMap::new();
    for entry in tree {
        if let Some(path) = removed_by(&entry.path.0) {
            removed.push(path);
            continue;
        }
        if entry.node != Node::Directory {
            // with all that is in a directory of this name
            removed.push(entry.path.0.clone());
        }
        new.insert(&entry.path.0[..], entry);
    }
    removed.sort();
    let is_removed = |path: &[u8]| {
        let mut ends =
            path.iter().enumerate().filter(|(_, c)| **c == b'/').map(|(at, _)| at).chain([path.len()]);
        ends.any(|at| removed.binary_search_by(|r| r[..].cmp(&path[..at])).is_ok())
    };
    // files below that go or change, and the other name that stands for them from then on
    let mut gone: HashMap<Bytes, (Node, Option<Bytes>)> = HashMap::new();
    let mut out: Vec<(Entry, usize)> = Vec::with_capacity(below.len() + new.len());
    for (mut entry, from) in below {
        if let Some(other) = new.remove(&entry.path.0[..]) {
            if other.node != entry.node {
                gone.insert(entry.path, (entry.node, None));
            }
            out.push((other.clone(), number));
        } else if is_removed(&entry.path.0) {
            gone.insert(entry.path, (entry.node, None));
        } else {
            if let Node::Hardlink { target } = &mut entry.node
                && let Some((first, stands_in)) = gone.get_mut(target)
            {
                match stands_in {
                    Some(other) => *target = other.clone(),
                    None => {
                        *stands_in = Some(entry.path.clone());
                        entry.node = first.clone();
                    }
                }
            }
            out.push((entry, from));
        }
    }
    out.extend(new.into_values().map(|entry| (entry.clone(), number)));
    out.sort_by(|(a, _), (b, _)| path_order(&a.path.0, &b.path.0));
    let mut checker = Checker::default();
    out.iter()
        .try_for_each(|(entry, _)| checker.check(entry))
        .map_err(|e| e.within("with what lies over it"))?;
    Ok(out)
}
