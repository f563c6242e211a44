// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Checkouts that share their files
//!
//! A build chroot is a lower directory of overlays: it is read, and nothing is written to its files. Its checkouts have
//! directories of their own, and files that are hard links of one copy, which the store keeps beside the tree for them.
//! Whoever does write to such a file reaches the other checkouts, but never the tree and its objects; and the next
//! checkout finds it by size, time, owner or mode, and begins with a new copy.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use rayon::prelude::*;
use template_bundle::error::IoContext;
use template_bundle::manifest::{Component, Part};
use template_bundle::pack::Progress;
use template_bundle::toc::Entry;
use template_bundle::{Error, Result};

use crate::checkout::{at_target, begin_tree, check_target, copy_tree, end_tree, files, tell_limits};
use crate::files::{sync_dir, sync_filesystem};
use crate::import::waiting;
use crate::node;
use crate::store::{Store, require_root};

/// The copy, in the directory of the tree: it goes when the tree goes.
pub(crate) const COPY: &str = "shared";

type Entries = [(Entry, PathBuf)];

/// Checks out a component in its raw state, with files that all such checkouts have in common where the file system
/// allows it. Returns the number of entries, and whether files are shared.
pub fn checkout_shared(
    store: &Store,
    component: &Component,
    target: &Path,
    progress: &dyn Progress,
) -> Result<(u64, bool)> {
    require_root("checkout")?;
    check_target(target)?;
    let entries = store.entries(component, true)?;
    let tree = store.tree_dir(Part::Base, &component.tree);
    let mut shared = false;
    at_target(target, |root| {
        // the copy is of one tree
        if !component.changes.is_empty() {
            return copy_tree(&component.name, &entries, root, progress);
        }
        shared = can_link(&tree.join("toc"), root)?;
        if !shared {
            log::info!("'{}' is on another file system than the store: files are copied", target.display());
            return copy_tree(&component.name, &entries, root, progress);
        }
        // nobody replaces the copy while it is linked
        let _alone =
            store.lock_shared(&component.tree, &mut waiting("waiting for another checkout", progress))?;
        let copy = prepare(store, &component.name, &tree, &entries, progress)?;
        begin_tree(&entries, root)?;
        files(&entries).try_for_each(|(entry, _)| {
            let to = node::path(root, entry);
            fs::hard_link(node::path(&copy, entry), &to).doing("linking", &to)
        })?;
        end_tree(&entries, root)
    })?;
    tell_limits(&entries, target);
    Ok((entries.len() as u64, shared))
}

/// Whether a file of the store can have another name in a directory.
fn can_link(file: &Path, dir: &Path) -> Result<bool> {
    let probe = dir.join(".probe");
    match fs::hard_link(file, &probe) {
        Ok(()) => fs::remove_file(&probe).doing("removing", &probe).map(|()| true),
        Err(e) if matches!(e.raw_os_error().map(Errno::from_raw), Some(Errno::EXDEV | Errno::EPERM)) => {
            Ok(false)
        }
        Err(e) => Err(Error::io("linking", probe, e)),
    }
}

/// The copy, which is made where there is none that is as it was made.
fn prepare(
    store: &Store,
    what: &str,
    tree: &Path,
    entries: &Entries,
    progress: &dyn Progress,
) -> Result<PathBuf> {
    let copy = tree.join(COPY);
    if fs::symlink_metadata(&copy).is_ok() {
        let Some(changed) = changed(entries, &copy)? else { return Ok(copy) };
        log::warn!(
            "'{}' of {what} was changed through a checkout that shares it: the checkouts made so far have this change, \
             this one has not",
            changed.display()
        );
    }
    let scratch = store.scratch()?;
    let new = scratch.path().join("new");
    node::make_dir(&new)?;
    copy_tree(what, entries, &new, progress)?;
    sync_filesystem(&new)?;
    match fs::rename(&copy, scratch.path().join("old")) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(Error::io("setting aside", &copy, e)),
        _ => {}
    }
    fs::rename(&new, &copy).doing("naming", &copy)?;
    sync_dir(tree)?;
    Ok(copy)
}

/// A file that is not as it was made, if there is one.
fn changed(entries: &Entries, copy: &Path) -> Result<Option<PathBuf>> {
    let is_changed = |entry: &Entry| node::looks_like(&node::path(copy, entry), entry).map(|same| !same);
    files(entries)
        .map(|(entry, _)| Ok(is_changed(entry)?.then(|| entry.path.as_path().to_path_buf())))
        .find_any(|found| !matches!(found, Ok(None)))
        .unwrap_or(Ok(None))
}
