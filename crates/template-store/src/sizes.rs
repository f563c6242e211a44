// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # What templates take
//!
//! Counted by the tables of contents: a file that several templates have is in the store once.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use template_bundle::manifest::{Component, Part, Tree};
use template_bundle::{Digest, Result};

use crate::builder::keys;
use crate::find::Stored;
use crate::store::Store;

/// Bytes of the files of a template.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Of all its files, as they are in a checkout.
    pub apparent: u64,
    /// Of those in the store that no other template has: what removing it would free.
    pub unique: u64,
    /// Of those that another one has, too.
    pub shared: u64,
}

/// Files of a tree: the key of each, none for one that has no object, and its size.
type Files = Vec<(Option<Digest>, u64)>;

/// How many templates use something.
#[derive(Default)]
struct Users {
    objects: HashMap<Digest, usize>,
    trees: HashMap<PathBuf, usize>,
}

/// What each of these templates takes, among themselves.
pub fn sizes(store: &Store, templates: &[Stored]) -> Result<Vec<Sizes>> {
    let mut known: HashMap<PathBuf, Files> = HashMap::new();
    let mut users = Users::default();
    for template in templates {
        let (mut objects, mut trees) = (HashSet::new(), HashSet::new());
        for (part, tree) in parts(template) {
            let dir = store.tree_dir(part, tree);
            let files = match known.entry(dir.clone()) {
                Entry::Occupied(there) => there.into_mut(),
                Entry::Vacant(place) => place.insert(files(store, part, tree)?),
            };
            objects.extend(files.iter().filter_map(|(key, _)| *key));
            trees.insert(dir);
        }
        objects.into_iter().for_each(|key| *users.objects.entry(key).or_default() += 1);
        trees.into_iter().for_each(|dir| *users.trees.entry(dir).or_default() += 1);
    }
    let of = |template: &Stored| {
        let (mut sizes, mut counted) = (Sizes::default(), HashSet::new());
        for (part, tree) in parts(template) {
            let dir = store.tree_dir(part, tree);
            for (key, size) in known.get(&dir).into_iter().flatten() {
                sizes.apparent += size;
                let users = match key {
                    Some(key) if !counted.insert(*key) => continue,
                    Some(key) => users.objects.get(key),
                    None => users.trees.get(&dir),
                };
                match users {
                    Some(1) => sizes.unique += size,
                    _ => sizes.shared += size,
                }
            }
        }
        sizes
    };
    Ok(templates.iter().map(of).collect())
}

fn parts(template: &Stored) -> impl Iterator<Item = (Part, &Tree)> {
    template.manifest.components.iter().flat_map(Component::parts)
}

fn files(store: &Store, part: Part, tree: &Tree) -> Result<Files> {
    let toc = store.toc(part, tree)?;
    let keys = keys(&toc.entries);
    Ok(keys
        .into_iter()
        .zip(&toc.entries)
        .map(|(key, entry)| (key, entry.size()))
        .filter(|(_, size)| *size > 0)
        .collect())
}
