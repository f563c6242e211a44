// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Contents that the store has
//!
//! Objects are inodes: files with the same content and another owner, mode or time are others. A package that was built again has many
//! such files. Their contents are copied from what the store has, and need not be read from a bundle or fetched.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use template_bundle::digest::Hasher;
use template_bundle::error::IoContext;
use template_bundle::manifest::{Component, Part, Tree};
use template_bundle::toc::{Entry, Node};
use template_bundle::{Digest, Error, Result};

use crate::files;
use crate::node;
use crate::store::Store;

/// Trees whose tables of contents are looked at: the newest of templates of the same name, then of others.
const TREES: usize = 16;
const BUFFER: usize = 1 << 20;

/// Where contents are.
#[derive(Default)]
pub(crate) struct Known(HashMap<Digest, PathBuf>);

impl Known {
    /// Looks for these contents in the trees of a store.
    pub fn find(store: &Store, name: &str, wanted: &HashSet<Digest>) -> Result<Self> {
        if wanted.is_empty() {
            return Ok(Self::default());
        }
        let found: Vec<HashMap<Digest, PathBuf>> = trees(store, name)?
            .par_iter()
            .map(|(part, tree)| {
                // one that is damaged has nothing for us
                let Ok((toc, root)) =
                    store.toc(*part, tree).and_then(|toc| Ok((toc, store.tree_root(*part, tree)?)))
                else {
                    return HashMap::new();
                };
                let of = |entry: &Entry| match &entry.node {
                    Node::File { digest, size, .. } if *size > 0 && wanted.contains(digest) => {
                        Some((*digest, node::path(&root, entry)))
                    }
                    _ => None,
                };
                toc.entries.iter().filter_map(of).collect()
            })
            .collect();
        Ok(Self(found.into_iter().flatten().collect()))
    }

    /// Whether a content is there, as far as can be seen without reading it.
    pub fn has(&self, entry: &Entry) -> bool {
        let Node::File { digest, size, .. } = &entry.node else { return false };
        let path = self.0.get(digest);
        path.is_some_and(|path| {
            fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file() && meta.len() == *size)
        })
    }

    /// Makes a file with the content of an entry, if it is there; what is damaged is left alone.
    pub fn copy(&self, entry: &Entry, to: &Path) -> Result<Option<File>> {
        let Node::File { digest, size, .. } = &entry.node else { return Ok(None) };
        let Some(from) = self.0.get(digest).filter(|_| self.has(entry)) else { return Ok(None) };
        let mut input = match files::open_file(from) {
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) => {
                return Ok(None);
            }
            other => other.doing("reading", from)?.take(*size),
        };
        let output = node::make_file(to)?;
        output.set_len(*size).doing("writing", to)?;
        let mut hasher = Hasher::default();
        let mut buffer = vec![0; BUFFER.min(usize::try_from(*size).unwrap_or(BUFFER))];
        let mut at = 0;
        loop {
            let read = match input.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(Error::io("reading", from, e)),
            };
            hasher.update(&buffer[..read]);
            node::write_part(&output, to, entry, at, &buffer[..read])?;
            at += read as u64;
        }
        if at == *size && hasher.finish() == *digest {
            return Ok(Some(output));
        }
        log::warn!("'{}' of the store is damaged: fsck tells what else is", from.display());
        fs::remove_file(to).doing("removing", to)?;
        Ok(None)
    }
}

fn trees(store: &Store, name: &str) -> Result<Vec<(Part, Tree)>> {
    let mut templates = store.list_sound()?;
    templates.sort_by_key(|stored| (stored.manifest.name == name, stored.record.imported.clone()));
    let mut seen = BTreeMap::new();
    let parts = templates
        .iter()
        .rev()
        .flat_map(|stored| stored.manifest.components.iter().flat_map(Component::parts));
    Ok(parts
        .filter(|(part, tree)| seen.insert(store.tree_dir(*part, tree), ()).is_none())
        .take(TREES)
        .map(|(part, tree)| (part, tree.clone()))
        .collect())
}
