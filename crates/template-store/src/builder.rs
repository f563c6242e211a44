// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Building trees of verified contents
//!
//! Files that the store has are linked, others are written.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use nix::errno::Errno;
use rayon::prelude::*;
use template_bundle::digest::Hasher;
use template_bundle::error::IoContext;
use template_bundle::toc::{Entry, Node, Toc};
use template_bundle::tree::Sink;
use template_bundle::{Digest, Error, Kind, Result, needed};

use crate::known::Known;
use crate::node;
use crate::store::Store;

/// The key of the inode that an entry needs.
pub(crate) fn object_key(entry: &Entry) -> Option<Digest> {
    let Node::File { digest, .. } = &entry.node else { return None };
    let mut hasher = Hasher::default();
    hasher.update(
        format!(
            "{digest} {:o} {} {} {}.{:09}",
            entry.mode, entry.uid, entry.gid, entry.mtime.0, entry.mtime.1
        )
        .as_bytes(),
    );
    for (name, value) in &entry.xattrs {
        // lengths keep names and values apart
        hasher.update(format!(" {} {} ", name.0.len(), value.0.len()).as_bytes());
        hasher.update(&name.0);
        hasher.update(&value.0);
    }
    Some(hasher.finish())
}

/// Keys by entry. An inode serves one path of a tree, so the first one has it.
pub(crate) fn keys(entries: &[Entry]) -> Vec<Option<Digest>> {
    let keys: Vec<Option<Digest>> = entries.par_iter().with_min_len(64).map(object_key).collect();
    let mut used = HashSet::new();
    keys.into_iter().map(|key| key.filter(|key| used.insert(*key))).collect()
}

/// The bytes of an OCI layer that a store needs to build its tree; none when that is all of them, or nearly.
pub(crate) fn lacking(store: &Store, name: &str, toc: &Toc) -> Result<Option<Vec<Range<u64>>>> {
    let keys = keys(&toc.entries);
    let known = known(store, name, &toc.entries, &keys)?;
    needed::ranges(toc, &|index, entry| Ok(is_object(store, &keys[index], entry)? || known.has(entry)))
}

fn is_object(store: &Store, key: &Option<Digest>, entry: &Entry) -> Result<bool> {
    match key {
        Some(key) => node::looks_like(&store.object(key), entry),
        None => Ok(false),
    }
}

/// Contents that the store has of files that are no objects.
fn known(store: &Store, name: &str, entries: &[Entry], keys: &[Option<Digest>]) -> Result<Known> {
    let wanted = |(entry, key): (&Entry, &Option<Digest>)| match &entry.node {
        Node::File { digest, size, .. } if *size > 0 => {
            Ok((!is_object(store, key, entry)?).then_some(*digest))
        }
        _ => Ok(None),
    };
    let wanted: Vec<Option<Digest>> =
        entries.par_iter().zip(keys).with_min_len(64).map(wanted).collect::<Result<_>>()?;
    Known::find(store, name, &wanted.into_iter().flatten().collect())
}

/// Builds the files of a tree from verified contents.
pub(crate) struct Builder<'a> {
    store: &'a Store,
    root: &'a Path,
    keys: Vec<Option<Digest>>,
    known: Known,
    /// Files of the trees before this one, which have no names as objects yet.
    made: &'a HashMap<Digest, PathBuf>,
    state: Mutex<State>,
}

/// What was built.
#[derive(Default)]
pub(crate) struct State {
    /// Large files that are being written.
    open: HashMap<usize, Arc<File>>,
    /// Files that will be objects.
    pub(crate) new: Vec<(Digest, PathBuf)>,
    pub(crate) written: u64,
    pub(crate) shared: u64,
}

impl<'a> Builder<'a> {
    pub(crate) fn new(
        store: &'a Store,
        name: &str,
        root: &'a Path,
        entries: &[Entry],
        made: &'a HashMap<Digest, PathBuf>,
    ) -> Result<Self> {
        let keys = keys(entries);
        let known = known(store, name, entries, &keys)?;
        Ok(Builder { store, root, keys, known, made, state: Mutex::default() })
    }

    /// What was built, when all contents came by.
    pub(crate) fn finish(self) -> State {
        self.state.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Links a file that the store or an earlier tree has. Its content is not read, but what looks damaged is left alone.
    fn link(&self, key: &Digest, path: &Path, entry: &Entry) -> Result<bool> {
        for source in [Some(&self.store.object(key)), self.made.get(key)].into_iter().flatten() {
            if !node::looks_like(source, entry)? {
                continue;
            }
            match fs::hard_link(source, path) {
                Ok(()) => {
                    self.state().shared += entry.size();
                    return Ok(true);
                }
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                // an inode has a limited number of links
                Err(e) if e.raw_os_error() == Some(Errno::EMLINK as i32) => {}
                Err(e) => return Err(Error::io("linking", path, e)),
            }
        }
        Ok(false)
    }

    fn complete(&self, index: usize, path: PathBuf, entry: &Entry, file: &File) -> Result<()> {
        node::set_metadata_of(file, &path, entry)?;
        let mut state = self.state();
        state.written += entry.size();
        if let Some(key) = self.keys[index] {
            state.new.push((key, path));
        }
        Ok(())
    }
}

fn out_of_order(entry: &Entry) -> Error {
    Error::new(Kind::Internal, format!("part of '{}' out of order", entry.path.display()))
}

impl Sink for Builder<'_> {
    fn has(&self, index: usize, entry: &Entry) -> Result<bool> {
        let path = node::path(self.root, entry);
        if let Some(key) = &self.keys[index]
            && self.link(key, &path, entry)?
        {
            return Ok(true);
        }
        match self.known.copy(entry, &path)? {
            Some(file) => self.complete(index, path, entry, &file).map(|()| true),
            None => Ok(false),
        }
    }

    fn file(&self, index: usize, entry: &Entry, content: &[u8]) -> Result<()> {
        let path = node::path(self.root, entry);
        let file = node::make_file(&path)?;
        if matches!(&entry.node, Node::File { holes, .. } if !holes.is_empty()) {
            file.set_len(entry.size()).doing("writing", &path)?;
        }
        node::write_part(&file, &path, entry, 0, content)?;
        self.complete(index, path, entry, &file)
    }

    fn part(&self, index: usize, entry: &Entry, offset: u64, content: &[u8]) -> Result<()> {
        let path = node::path(self.root, entry);
        if offset == 0 {
            let file = node::make_file(&path)?;
            file.set_len(entry.size()).doing("writing", &path)?;
            self.state().open.insert(index, Arc::new(file));
        }
        // others may build files meanwhile
        let file = self.state().open.get(&index).cloned().ok_or_else(|| out_of_order(entry))?;
        node::write_part(&file, &path, entry, offset, content)
    }

    fn end(&self, index: usize, entry: &Entry) -> Result<()> {
        let file = self.state().open.remove(&index).ok_or_else(|| out_of_order(entry))?;
        self.complete(index, node::path(self.root, entry), entry, &file)
    }
}
