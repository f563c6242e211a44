// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Import
//!
//! Takes a bundle whose signature was found good into the store. Contents arrive verified; trees are built aside and get
//! their names when they are complete and synced.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use template_bundle::ancestors::Ancestor;
use template_bundle::bundle::Bundle;
use template_bundle::error::IoContext;
use template_bundle::manifest::{Component, Part, TemplateManifest, Tree};
use template_bundle::pack::Progress;
use template_bundle::signature::{Accepted, Policy};
use template_bundle::toc::{Entry, Node};
use template_bundle::tree::Sink;
use template_bundle::whiteout::{is_whiteout, removed_by};
use template_bundle::{Digest, Error, Kind, Result};

use crate::builder::{self, Builder};
use crate::files::{make_dirs, sync_dir, sync_filesystem, write_file};
use crate::find::{Proven, RECORD, Record, RecordedAncestor, Stored};
use crate::flusher::Flusher;
use crate::lock::Lock;
use crate::node;
use crate::roots;
use crate::scratch::Scratch;
use crate::sealed;
use crate::store::Store;

/// What an import did.
pub struct Imported {
    /// The template as it is in the store now.
    pub stored: Stored,
    /// The signature that was accepted this time.
    pub accepted: Accepted,
    /// The templates that it was made from, as they were accepted this time.
    pub ancestors: Vec<Ancestor>,
    /// It was there already.
    pub present: bool,
    /// The name and version meant this template before.
    pub replaced: Option<Digest>,
    /// Bytes of OCI layers that were read.
    pub bytes_read: u64,
    /// Bytes of files that were written.
    pub bytes_written: u64,
    /// Bytes of files that the store had already.
    pub bytes_shared: u64,
}

/// Imports a verified bundle: everything aside first, and names only when all of it is verified and synced. The template
/// is kept as long as the file `gc_root` exists.
pub fn import(
    store: &Store,
    bundle: &Bundle,
    imported_at: &str,
    gc_root: Option<&Path>,
    progress: &dyn Progress,
) -> Result<Imported> {
    let accepted = bundle.accepted()?.clone();
    let gc_root = gc_root.map(roots::place).transpose()?;
    let _gate = close_gate(store, progress)?;
    let mut waiting = waiting("waiting for another import of the same template", progress);
    let _lock = store.lock_import(&bundle.digest, &mut waiting)?;
    let replaced = check_name(store, &bundle.manifest, &bundle.digest, &accepted)?;
    // what is damaged is made again, and so is a record in which an older helper did not note all of it
    let known = sound(store.get(&bundle.digest))?.filter(|_| store.has_evidence(&bundle.digest));
    let mut making = Making {
        store,
        scratch: store.scratch()?,
        trees: vec![],
        files: HashMap::new(),
        counts: Counts::default(),
    };
    let flusher = Flusher::start(making.scratch.path());
    for component in &bundle.manifest.components {
        for (part, tree) in component.parts() {
            making.tree(bundle, component, part, tree, progress)?;
        }
    }
    flusher.finish()?;
    let present = known.is_some() && making.trees.is_empty();
    let counts = making.finish()?;
    let stored = match known {
        Some(stored) => {
            // the bundle may have more signatures by now
            store.set_evidence(&bundle.digest, bundle.evidence()?)?;
            stored
        }
        None => note(store, bundle, &accepted, imported_at)?,
    };
    store.set_ref(&bundle.manifest, &bundle.digest)?;
    if let Some(file) = gc_root {
        roots::register(store, file, bundle.digest)?;
    }
    Ok(Imported {
        stored: Stored { _in_use: store.hold(&bundle.digest)?, ..stored },
        accepted,
        ancestors: bundle.ancestors().cloned().collect(),
        present,
        replaced,
        bytes_read: counts.read,
        bytes_written: counts.written,
        bytes_shared: counts.shared,
    })
}

/// The same without a bundle, for a template that the store has completely: its documents there are verified again.
pub fn import_again(
    store: &Store,
    digest: &Digest,
    policy: &Policy,
    gc_root: Option<&Path>,
    progress: &dyn Progress,
) -> Result<Option<Imported>> {
    let gc_root = gc_root.map(roots::place).transpose()?;
    let _gate = close_gate(store, progress)?;
    let Some(Proven { stored, accepted, ancestors }) = store.prove(digest, policy)? else { return Ok(None) };
    let manifest = &stored.manifest;
    if !manifest.components.iter().flat_map(Component::parts).all(|(part, tree)| store.has_tree(part, tree)) {
        return Ok(None);
    }
    let replaced = check_name(store, manifest, digest, &accepted)?;
    store.set_ref(manifest, digest)?;
    if let Some(file) = gc_root {
        roots::register(store, file, *digest)?;
    }
    Ok(Some(Imported {
        stored,
        accepted,
        ancestors,
        present: true,
        replaced,
        bytes_read: 0,
        bytes_written: 0,
        bytes_shared: 0,
    }))
}

/// What an import needs of an OCI layer.
pub struct Lacking {
    /// The OCI layer.
    pub blob: Digest,
    /// The bytes of it; none when that is all of them, or nearly.
    pub ranges: Option<Vec<Range<u64>>>,
}

/// Keeps what the store has, so that what is found to be lacking is all that an import needs.
pub struct Gate {
    _lock: Lock,
}

/// Waits until nothing is being removed; nothing will be as long as the gate is there.
pub fn close_gate(store: &Store, progress: &dyn Progress) -> Result<Gate> {
    Ok(Gate { _lock: store.lock_adding(&mut waiting("waiting for a gc to end", progress))? })
}

/// Looks what the store lacks of a bundle whose tables of contents are there. OCI layers of trees that it has are left out.
pub fn lacking(store: &Store, bundle: &Bundle, _gate: &Gate) -> Result<Vec<Lacking>> {
    let mut out: Vec<Lacking> = Vec::new();
    for component in &bundle.manifest.components {
        for (part, tree) in component.parts().filter(|(part, tree)| !store.has_tree(*part, tree)) {
            let toc = bundle.toc(component, part, tree)?;
            let ranges = builder::lacking(store, &bundle.manifest.name, &toc)?;
            match out.iter_mut().find(|lacking| lacking.blob == tree.digest) {
                // two trees of one OCI layer
                Some(known) => known.ranges = None,
                None => out.push(Lacking { blob: tree.digest, ranges }),
            }
        }
    }
    Ok(out)
}

/// Says what is waited for, once, and lets an interrupt end it.
pub(crate) fn waiting(what: &'static str, progress: &dyn Progress) -> impl FnMut() -> Result<()> {
    let mut told = false;
    move || {
        if !std::mem::replace(&mut told, true) {
            progress.begin(what, 0);
        }
        progress.advance(0)
    }
}

/// What the store has, if that is not damaged.
fn sound<T>(found: Result<Option<T>>) -> Result<Option<T>> {
    match found {
        Err(e) if e.kind == Kind::Damaged => {
            log::warn!("{e}");
            Ok(None)
        }
        other => other,
    }
}

/// What the name and version mean until now. A name belongs to who was the first to sign a version of it.
fn check_name(
    store: &Store,
    manifest: &TemplateManifest,
    digest: &Digest,
    accepted: &Accepted,
) -> Result<Option<Digest>> {
    let (name, version) = (&manifest.name, &manifest.template_version);
    let known = store.list_sound()?;
    let of_another = known.iter().find(|stored| {
        stored.manifest.name == *name
            && stored.record.digest != *digest
            && stored.record.signer != accepted.identity
    });
    if let Some(stored) = of_another {
        return Err(Error::new(
            Kind::Refused,
            format!(
                "'{}' in the store is signed by '{}', this '{name}:{version}' by '{}'",
                stored.reference(),
                stored.record.signer,
                accepted.identity
            ),
        )
        .hint("give templates of different publishers different names, or keep them in different stores"));
    }
    Ok(sound(store.get_ref(name, version))?.filter(|old| old != digest))
}

/// Notes the template. The record comes last: a template without it is not there.
fn note(store: &Store, bundle: &Bundle, accepted: &Accepted, imported_at: &str) -> Result<Stored> {
    let record = Record {
        version: 1,
        digest: bundle.digest,
        signer: accepted.identity.clone(),
        fingerprint: accepted.fingerprint.clone(),
        imported: imported_at.to_string(),
        ancestors: bundle.ancestors().map(RecordedAncestor::of).collect::<Result<_>>()?,
    };
    let dir = store.template_dir(&bundle.digest);
    make_dirs(&dir)?;
    for (name, content) in [("index.json", &bundle.index_bytes), ("manifest.json", &bundle.manifest_bytes)] {
        write_file(&store.tmp(), &dir.join(name), content)?;
    }
    store.set_evidence(&bundle.digest, bundle.evidence()?)?;
    write_file(&store.tmp(), &dir.join(RECORD), &sealed::write(&record)?)?;
    sync_dir(&store.path().join("templates"))?;
    Ok(Stored { record, manifest: bundle.manifest.clone(), _in_use: None })
}

#[derive(Default)]
struct Counts {
    read: u64,
    written: u64,
    shared: u64,
}

/// A tree that was made aside.
struct Made {
    path: PathBuf,
    part: Part,
    tree: Tree,
}

/// Trees that are made aside, and the files in them that will be objects.
struct Making<'a> {
    store: &'a Store,
    scratch: Scratch,
    trees: Vec<Made>,
    files: HashMap<Digest, PathBuf>,
    counts: Counts,
}

impl Making<'_> {
    fn tree(
        &mut self,
        bundle: &Bundle,
        component: &Component,
        part: Part,
        tree: &Tree,
        progress: &dyn Progress,
    ) -> Result<()> {
        let target = self.store.tree_dir(part, tree);
        let made = |made: &Made| self.store.tree_dir(made.part, &made.tree) == target;
        if self.store.has_tree(part, tree) || self.trees.iter().any(made) {
            log::info!("component '{}' is in the store already", component.name);
            return bundle.check_presence(component, tree);
        }
        let (toc, toc_bytes) = bundle.toc_and_bytes(component, part, tree)?;
        progress.begin(&component.name, tree.raw_size);
        let path = self.scratch.path().join(self.trees.len().to_string());
        let root = path.join("root");
        fs::create_dir_all(&root).doing("creating", &root)?;

        let builder = Builder::new(self.store, &bundle.manifest.name, &root, &toc.entries, &self.files)?;
        for (index, entry) in toc.entries.iter().enumerate() {
            match entry.node {
                Node::Directory if !entry.path.0.is_empty() => node::make_dir(&node::path(&root, entry))?,
                Node::File { size: 0, .. } if part.is_over() && is_whiteout(&entry.path.0) => {}
                // an empty file has no content that would come by
                Node::File { size: 0, .. } if builder.has(index, entry)? => {}
                Node::File { size: 0, .. } => builder.file(index, entry, &[])?,
                _ => node::make_special(&root, entry)?,
            }
        }
        if part.is_over() {
            make_whiteouts(&root, &toc.entries)?;
        }
        self.counts.read +=
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
        let toc_path = path.join("toc");
        fs::write(&toc_path, toc_bytes).doing("writing", &toc_path)?;
        let state = builder.finish();
        self.counts.written += state.written;
        self.counts.shared += state.shared;
        self.files.extend(state.new);
        self.trees.push(Made { path, part, tree: tree.clone() });
        Ok(())
    }

    /// Gives everything its name, now that all of it was found good.
    fn finish(self) -> Result<Counts> {
        if self.trees.is_empty() {
            return Ok(self.counts);
        }
        sync_filesystem(self.scratch.path())?;
        for (key, path) in &self.files {
            name_object(self.store, key, path, &self.scratch)?;
        }
        for Made { path, part, tree } in &self.trees {
            let target = self.store.tree_dir(*part, tree);
            match fs::rename(path, &target) {
                Err(e) if matches!(e.raw_os_error(), Some(nix::libc::ENOTEMPTY | nix::libc::EEXIST)) => {
                    if self.store.has_tree(*part, tree) {
                        // another template with the same component was imported meanwhile
                        continue;
                    }
                    fs::rename(&target, path.with_extension("damaged")).doing("setting aside", &target)?;
                    fs::rename(path, &target).doing("naming tree", &target)?;
                }
                other => other.doing("naming tree", &target)?,
            }
        }
        sync_filesystem(self.store.path())?;
        Ok(self.counts)
    }
}

/// Turns the whiteouts of an OCI layer into those of overlayfs, so that the tree can lie over another.
fn make_whiteouts(root: &Path, entries: &[Entry]) -> Result<()> {
    for path in entries.iter().filter_map(|entry| removed_by(&entry.path.0)) {
        let path = root.join(OsStr::from_bytes(&path));
        mknod(&path, SFlag::S_IFCHR, Mode::empty(), makedev(0, 0)).doing("creating whiteout", path)?;
    }
    Ok(())
}

/// Makes a synced file of a tree available to other trees.
fn name_object(store: &Store, key: &Digest, path: &Path, scratch: &Scratch) -> Result<()> {
    let object = store.object(key);
    if let Some(dir) = object.parent() {
        make_dirs(dir)?;
    }
    let link = || fs::hard_link(path, &object);
    match link() {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            // one that was damaged is the reason why there is another one
            fs::rename(&object, scratch.path().join(format!("damaged-{}", key.hex())))
                .and_then(|()| link())
                .or_else(|e| match e.kind() {
                    // somebody else has done so
                    io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists => Ok(()),
                    _ => Err(e),
                })
                .doing("replacing object", object)
        }
        other => other.doing("naming object", object),
    }
}
