// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Trees, compared with their tables of contents

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rayon::prelude::*;
use template_bundle::error::IoContext;
use template_bundle::manifest::{Part, Tree};
use template_bundle::pack::Progress;
use template_bundle::scan;
use template_bundle::toc::{Entry, Node};
use template_bundle::whiteout::removed_by;
use template_bundle::{Error, Kind, Result};

use super::content::Contents;
use super::{Checked, Template, What};
use crate::import::waiting;
use crate::node;
use crate::share;
use crate::store::Store;

/// A tree that templates need.
pub(super) struct Needed {
    pub dir: PathBuf,
    part: Part,
    pub tree: Tree,
    /// Templates that have it, with the component.
    by: BTreeSet<String>,
}

/// The trees of templates, each once.
pub(super) fn needed(store: &Store, templates: &[Template]) -> Vec<Needed> {
    let mut out: BTreeMap<PathBuf, Needed> = BTreeMap::new();
    for template in templates {
        for component in &template.manifest.components {
            for (part, tree) in component.parts() {
                let dir = store.tree_dir(part, tree);
                let needed = out.entry(dir.clone()).or_insert_with(|| Needed {
                    dir,
                    part,
                    tree: tree.clone(),
                    by: BTreeSet::new(),
                });
                needed.by.insert(template.reference.clone());
            }
        }
    }
    out.into_values().collect()
}

impl Needed {
    /// Whether a template has it.
    pub fn is_of(&self, template: &Template) -> bool {
        self.by.contains(&template.reference)
    }
}

/// Compares a tree, and the copy that checkouts share, with the table of contents.
pub(super) fn check(
    store: &Store,
    needed: &Needed,
    contents: &Contents,
    out: &mut Checked,
    progress: &dyn Progress,
) -> Result<()> {
    let first = out.findings.len();
    progress.begin("checking trees", needed.tree.raw_size);
    match store.toc(needed.part, &needed.tree) {
        Ok(toc) => {
            let root = needed.dir.join("root");
            compare(&toc.entries, needed.part, &root, What::Tree, contents, out, progress)?;
            let copy = needed.dir.join(share::COPY);
            if fs::symlink_metadata(&copy).is_ok() {
                // a checkout may replace it
                let mut wait = waiting("waiting for a checkout", progress);
                let _alone = store.held(|| store.lock_shared(&needed.tree, &mut wait))?;
                compare(&toc.entries, needed.part, &copy, What::Shared, contents, out, progress)?;
            }
        }
        Err(e) if e.kind == Kind::Privilege => return Err(e),
        Err(e) => out.found(What::Tree, needed.dir.join("toc"), e.message),
    }
    for finding in &mut out.findings[first..] {
        finding.templates = needed.by.clone();
    }
    Ok(())
}

fn compare(
    entries: &[Entry],
    part: Part,
    root: &Path,
    what: What,
    contents: &Contents,
    out: &mut Checked,
    progress: &dyn Progress,
) -> Result<()> {
    let wrong = Mutex::new(Vec::new());
    entries.par_iter().with_min_len(64).try_for_each(|entry| -> Result<()> {
        let removed = if part.is_over() { removed_by(&entry.path.0) } else { None };
        let is_whiteout = removed.is_some();
        let path = match removed {
            Some(removed) => root.join(std::ffi::OsStr::from_bytes(&removed)),
            None => node::path(root, entry),
        };
        let found = match is_whiteout {
            true => check_whiteout(&path),
            false => check_entry(root, entry, &path, contents, progress),
        };
        let detail = match found {
            Ok(None) => return Ok(()),
            Ok(Some(detail)) => detail,
            // a disk that cannot read it any more is what this looks for
            Err(e) if matches!(e.kind, Kind::Io | Kind::Refused) => e.message,
            Err(e) => return Err(e),
        };
        wrong.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push((path, detail));
        Ok(())
    })?;
    for (path, detail) in wrong.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()) {
        out.found(what, path, detail);
    }
    let found = count(root)?;
    if found > entries.len() {
        let more = found - entries.len();
        out.found(
            what,
            root.to_path_buf(),
            format!("it has {more} files that the table of contents has not"),
        );
    }
    Ok(())
}

/// What is wrong with a file, if something is.
fn check_entry(
    root: &Path,
    entry: &Entry,
    path: &Path,
    contents: &Contents,
    progress: &dyn Progress,
) -> Result<Option<String>> {
    let meta = match fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Some("it is missing".to_owned())),
        Err(e) => return Err(Error::io("reading", path, e)),
    };
    if let Node::Hardlink { target } = &entry.node {
        let other = root.join(target.as_path());
        let same = fs::symlink_metadata(&other).is_ok_and(|m| (m.dev(), m.ino()) == (meta.dev(), meta.ino()));
        return Ok((!same).then(|| format!("it is no link to '{}'", target.display())));
    }
    let found = scan::entry(path, entry.path.clone())?;
    let wrong = match (&entry.node, &found.node) {
        (Node::File { size, .. }, Node::File { size: now, .. }) if size != now => {
            Some(format!("it has {now} bytes instead of {size}"))
        }
        (Node::File { digest, .. }, Node::File { .. }) => {
            (contents.digest(path, &meta, progress)? != *digest).then(|| "it has another content".to_owned())
        }
        (then, now) if then != now => Some("it is of another kind, or points elsewhere".to_owned()),
        _ => None,
    };
    Ok(wrong.or_else(|| metadata(entry, &found)))
}

fn metadata(entry: &Entry, found: &Entry) -> Option<String> {
    // nobody can set the mode of a link
    let mode = |e: &Entry| if matches!(e.node, Node::Symlink { .. }) { 0 } else { e.mode };
    let differ = [
        ("mode", mode(entry) != mode(found)),
        ("owner", (entry.uid, entry.gid) != (found.uid, found.gid)),
        ("time", entry.mtime != found.mtime),
        ("attributes", entry.xattrs != found.xattrs),
    ];
    let names: Vec<&str> = differ.iter().filter(|(_, differs)| *differs).map(|(name, _)| *name).collect();
    (!names.is_empty()).then(|| format!("it has another {}", names.join(", ")))
}

fn check_whiteout(path: &Path) -> Result<Option<String>> {
    let good =
        fs::symlink_metadata(path).is_ok_and(|meta| meta.rdev() == 0 && !meta.is_file() && !meta.is_dir());
    Ok((!good).then(|| "it is no mark for a removed file any more".to_owned()))
}

/// How many files and directories there are, with the top.
fn count(root: &Path) -> Result<usize> {
    let mut open = vec![root.to_path_buf()];
    let mut count = 1;
    while let Some(dir) = open.pop() {
        let entries = match fs::read_dir(&dir) {
            // that was told
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            other => other.doing("reading", &dir)?,
        };
        for entry in entries {
            let entry = entry.doing("reading", &dir)?;
            count += 1;
            if entry.file_type().doing("reading", entry.path())?.is_dir() {
                open.push(entry.path());
            }
        }
    }
    Ok(count)
}
