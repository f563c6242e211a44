// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Import
//!
//! Takes a bundle whose signature was found good into the store. Contents arrive verified; trees are built aside and get
//! their names when they are complete and synced.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use nix::errno::Errno;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use template_bundle::bundle::Bundle;
use template_bundle::digest::Hasher;
use template_bundle::error::IoContext;
use template_bundle::manifest::{Component, Tree};
use template_bundle::pack::Progress;
use template_bundle::scan::WHITEOUT;
use template_bundle::toc::{Entry, Node};
use template_bundle::tree::Sink;
use template_bundle::{Digest, Error, Kind, Result};

use crate::node;
use crate::store::{Record, Store, Stored, sync_dir, write_file};

/// What an import did.
pub struct Imported {
    /// The template as it is in the store now.
    pub stored: Stored,
    /// It was there already.
    pub present: bool,
    /// The name and version meant this template before.
    pub replaced: Option<Digest>,
    /// Bytes of files that were written.
    pub bytes_written: u64,
    /// Bytes of files that the store had already.
    pub bytes_shared: u64,
}

/// Imports a verified bundle.
pub fn import(
    store: &Store,
    bundle: &Bundle,
    imported_at: &str,
    progress: &dyn Progress,
) -> Result<Imported> {
    let accepted = bundle
        .accepted
        .as_ref()
        .ok_or_else(|| Error::new(Kind::Internal, "a bundle that was not verified cannot be imported"))?;
    let lock = store.lock_import(&bundle.digest)?;
    let old = store.get_ref(&bundle.manifest.name, &bundle.manifest.template_version)?;
    let replaced = old.filter(|old| *old != bundle.digest);
    if let Some(stored) = store.get(&bundle.digest)? {
        store.set_ref(&bundle.manifest, &bundle.digest)?;
        return Ok(Imported { stored, present: true, replaced, bytes_written: 0, bytes_shared: 0 });
    }
    let mut counts = Counts::default();
    for component in &bundle.manifest.components {
        import_tree(store, bundle, component, &component.tree, false, progress, &mut counts)?;
        if let Some(finish) = &component.finish {
            import_tree(store, bundle, component, finish, true, progress, &mut counts)?;
        }
    }
    let record = Record {
        version: 1,
        digest: bundle.digest,
        signer: accepted.identity.clone(),
        fingerprint: accepted.fingerprint.clone(),
        imported: imported_at.to_string(),
    };
    let dir = store.template_dir(&bundle.digest);
    fs::create_dir_all(&dir).doing("creating", &dir)?;
    let json = serde_json::to_vec_pretty(&record).map_err(|e| Error::new(Kind::Internal, e.to_string()))?;
    // the record comes last: a template without it is not there
    for (name, content) in [
        ("index.json", &bundle.index_bytes),
        ("manifest.json", &bundle.manifest_bytes),
        ("record.json", &json),
    ] {
        write_file(&store.tmp(), &dir.join(name), content)?;
    }
    sync_dir(&store.path().join("templates"))?;
    store.set_ref(&bundle.manifest, &bundle.digest)?;
    drop(lock);
    let stored = Stored { record, manifest: bundle.manifest.clone() };
    Ok(Imported {
        stored,
        present: false,
        replaced,
        bytes_written: counts.written,
        bytes_shared: counts.shared,
    })
}

#[derive(Default)]
struct Counts {
    written: u64,
    shared: u64,
}

fn import_tree(
    store: &Store,
    bundle: &Bundle,
    component: &Component,
    tree: &Tree,
    finish: bool,
    progress: &dyn Progress,
    counts: &mut Counts,
) -> Result<()> {
    let target = store.tree_dir(tree);
    if target.exists() {
        log::info!("component '{}' is in the store already", component.name);
        return Ok(());
    }
    let toc = bundle.toc(component, tree)?;
    progress.begin(&component.name, tree.raw_size);
    let scratch = store.scratch()?;
    let root = scratch.path().join("tree/root");
    fs::create_dir_all(&root).doing("creating", &root)?;

    let builder = Builder { store, root: &root, state: Mutex::default() };
    for entry in &toc.entries {
        match entry.node {
            Node::Directory if !entry.path.0.is_empty() => node::make_dir(&node::path(&root, entry))?,
            Node::File { size: 0, .. } if finish && whiteout_of(entry).is_some() => {}
            // an empty file has no content that would come by
            Node::File { size: 0, .. } => builder.file(0, entry, &[])?,
            _ => node::make_special(&root, entry)?,
        }
    }
    if finish {
        make_whiteouts(&root, &toc.entries)?;
    }
    bundle.read_tree(component, tree, &toc, false, &builder, &|n| progress.advance(n))?;
    for entry in &toc.entries {
        if let Node::Hardlink { target } = &entry.node {
            let path = node::path(&root, entry);
            fs::hard_link(root.join(target.as_path()), &path).doing("linking", &path)?;
        }
    }
    // what is made in a directory changes its time, so innermost first
    for entry in toc.entries.iter().rev().filter(|e| e.node == Node::Directory) {
        node::set_metadata(&node::path(&root, entry), entry)?;
    }
    let toc_path = scratch.path().join("tree/toc");
    let out = io::BufWriter::new(File::create(&toc_path).doing("creating", &toc_path)?);
    bundle.copy_toc(tree, out)?;

    sync_filesystem(scratch.path())?;
    let new = builder.finish();
    counts.written += new.written;
    counts.shared += new.shared;
    for (key, path) in &new.objects {
        name_object(store, key, path)?;
    }
    match fs::rename(scratch.path().join("tree"), &target) {
        Ok(()) => {}
        // another template with the same component was imported meanwhile
        Err(e) if matches!(e.raw_os_error(), Some(nix::libc::ENOTEMPTY | nix::libc::EEXIST)) => {}
        Err(e) => return Err(Error::io("naming tree", target, e)),
    }
    sync_filesystem(store.path())
}

/// The path that a whiteout of an OCI layer removes.
fn whiteout_of(entry: &Entry) -> Option<Vec<u8>> {
    let path = &entry.path.0;
    let at = path.iter().rposition(|c| *c == b'/').map_or(0, |at| at + 1);
    let name = path[at..].strip_prefix(WHITEOUT.as_bytes())?;
    Some([&path[..at], name].concat())
}

/// Turns the whiteouts of an OCI layer into those of overlayfs, so that the tree can lie over another.
fn make_whiteouts(root: &Path, entries: &[Entry]) -> Result<()> {
    for path in entries.iter().filter_map(whiteout_of) {
        let path = root.join(OsStr::from_bytes(&path));
        mknod(&path, SFlag::S_IFCHR, Mode::empty(), makedev(0, 0)).doing("creating whiteout", path)?;
    }
    Ok(())
}

fn sync_filesystem(path: &Path) -> Result<()> {
    let dir = File::open(path).doing("syncing", path)?;
    nix::unistd::syncfs(&dir).doing("syncing", path)
}

/// Makes a synced file of a tree available to other trees.
fn name_object(store: &Store, key: &Digest, path: &Path) -> Result<()> {
    let object = store.object(key);
    if let Some(dir) = object.parent() {
        fs::create_dir_all(dir).doing("creating", dir)?;
    }
    match fs::hard_link(path, &object) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(Error::io("naming object", object, e)),
        _ => Ok(()),
    }
}

/// The key of the inode that an entry needs.
fn object_key(entry: &Entry) -> Option<Digest> {
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

/// Builds the files of a tree from verified contents.
struct Builder<'a> {
    store: &'a Store,
    root: &'a Path,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Large files that are being written.
    open: HashMap<usize, File>,
    /// Keys that this tree has used: an inode serves one path of a tree.
    used: HashSet<Digest>,
    /// Files to be named as objects.
    new: Vec<(Digest, PathBuf)>,
    written: u64,
    shared: u64,
}

struct New {
    objects: Vec<(Digest, PathBuf)>,
    written: u64,
    shared: u64,
}

impl Builder<'_> {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn finish(self) -> New {
        let state = self.state.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
        New { objects: state.new, written: state.written, shared: state.shared }
    }

    /// Claims the key of an entry for this tree; none if another path has it.
    fn claim(&self, entry: &Entry) -> Option<Digest> {
        object_key(entry).filter(|key| self.state().used.insert(*key))
    }

    /// Links an object that the store has.
    fn link(&self, key: &Digest, path: &Path, entry: &Entry) -> Result<bool> {
        match fs::hard_link(self.store.object(key), path) {
            Ok(()) => {
                self.state().shared += entry.size();
                Ok(true)
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            // an inode has a limited number of links
            Err(e) if e.raw_os_error() == Some(Errno::EMLINK as i32) => Ok(false),
            Err(e) => Err(Error::io("linking", path, e)),
        }
    }

    fn complete(&self, path: PathBuf, entry: &Entry, key: Option<Digest>) -> Result<()> {
        node::set_metadata(&path, entry)?;
        let mut state = self.state();
        state.written += entry.size();
        if let Some(key) = key {
            state.new.push((key, path));
        }
        Ok(())
    }
}

impl Sink for Builder<'_> {
    fn file(&self, _: usize, entry: &Entry, content: &[u8]) -> Result<()> {
        let path = node::path(self.root, entry);
        let key = self.claim(entry);
        if let Some(key) = &key
            && self.link(key, &path, entry)?
        {
            return Ok(());
        }
        let file = node::make_file(&path)?;
        if matches!(&entry.node, Node::File { holes, .. } if !holes.is_empty()) {
            file.set_len(entry.size()).doing("writing", &path)?;
        }
        node::write_part(&file, &path, entry, 0, content)?;
        self.complete(path, entry, key)
    }

    fn part(&self, index: usize, entry: &Entry, offset: u64, content: &[u8]) -> Result<()> {
        let path = node::path(self.root, entry);
        if offset == 0 {
            let file = node::make_file(&path)?;
            file.set_len(entry.size()).doing("writing", &path)?;
            self.state().open.insert(index, file);
        }
        let state = self.state();
        let file = state.open.get(&index).ok_or_else(|| {
            Error::new(Kind::Internal, format!("part of '{}' out of order", entry.path.display()))
        })?;
        node::write_part(file, &path, entry, offset, content)
    }

    fn end(&self, index: usize, entry: &Entry) -> Result<()> {
        self.state().open.remove(&index);
        let path = node::path(self.root, entry);
        let key = self.claim(entry);
        if let Some(key) = &key
            && self.store.object(key).exists()
        {
            fs::remove_file(&path).doing("removing", &path)?;
            if self.link(key, &path, entry)? {
                return Ok(());
            }
            return Err(Error::io("linking", path, "the object vanished meanwhile"));
        }
        self.complete(path, entry, key)
    }
}
