// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Removing what nothing needs any more
//!
//! Kept is a template that a name and version mean, that a root keeps, or that somebody reads at this moment; and every
//! tree of such a template. What a killed gc leaves is a store that works: first a template loses its name and its record,
//! then trees go, each with one rename, and then objects. A template without a record is not there, a tree without a
//! template is what the next gc finds, and an object is only a further name of a file: trees have names of their own for
//! their files and never look at objects, so an object without a tree (a link count of one) can always go, and one that an
//! import links at the same moment only loses its name.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use template_bundle::error::IoContext;
use template_bundle::pack::Progress;
use template_bundle::{Error, Result};

use crate::files::{list_dir, sync_dir};
use crate::find::{self, Stored};
use crate::found::Found;
use crate::freed::Freed;
use crate::import::waiting;
use crate::results;
use crate::roots;
use crate::scratch::{self, Scratch};
use crate::store::{Store, TOC, require_root};

/// What is asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct GcOptions {
    /// Keep this many versions of each name, the newest; all when absent.
    pub keep: Option<usize>,
    /// Change nothing.
    pub dry_run: bool,
}

/// Why a template goes or stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Its name and version mean another one.
    Replaced,
    /// There are enough newer versions.
    Old,
    /// No name means it.
    Unnamed,
    /// Its name and version mean it.
    Named,
    /// A root keeps it.
    Rooted,
    /// Somebody reads it.
    InUse,
}

impl Why {
    /// The word in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Why::Replaced => "replaced",
            Why::Old => "old",
            Why::Unnamed => "unnamed",
            Why::Named => "named",
            Why::Rooted => "rooted",
            Why::InUse => "in-use",
        }
    }
}

/// A template, and why it goes or stays.
#[derive(Debug)]
pub struct Judged {
    /// The template.
    pub template: Stored,
    /// Why; one reason when it goes.
    pub why: Vec<Why>,
    /// Files that keep it.
    pub roots: Vec<PathBuf>,
}

/// What a gc did, or would do.
#[derive(Debug, Default)]
pub struct Collected {
    /// Templates that went.
    pub removed: Vec<Judged>,
    /// Templates that stayed.
    pub kept: Vec<Judged>,
    /// Files that are gone, and keep nothing any more.
    pub forgotten: Vec<PathBuf>,
    /// Trees that went.
    pub trees: u64,
    /// Results of transactions that went.
    pub results: u64,
    /// Objects that went.
    pub objects: u64,
    /// Things that processes left that were killed.
    pub leftovers: u64,
    /// Bytes on disk that are free now.
    pub bytes_freed: u64,
}

impl Collected {
    /// Whether nothing was there to be removed.
    pub fn is_nothing(&self) -> bool {
        self.removed.is_empty()
            && self.forgotten.is_empty()
            && (self.trees, self.results, self.objects, self.leftovers) == (0, 0, 0, 0)
    }
}

/// Removes what nothing needs any more.
pub fn gc(store: &Store, options: &GcOptions, progress: &dyn Progress) -> Result<Collected> {
    require_root("gc")?;
    let removing = store.lock_removing(&mut waiting("waiting for imports to end", progress))?;
    let roots = roots::read(store)?;
    let mut found = Found::read(store, options, &roots)?;
    let mut out = Collected {
        removed: std::mem::take(&mut found.removed),
        kept: std::mem::take(&mut found.kept),
        forgotten: roots.iter().filter(|root| !root.alive).map(|root| root.file.clone()).collect(),
        trees: found.trees.len() as u64,
        results: found.results.len() as u64,
        leftovers: found.leftovers,
        ..Collected::default()
    };
    out.forgotten.dedup();
    let mut freed = Freed::default();
    if options.dry_run {
        // nobody waits while this counts
        drop((std::mem::take(&mut found.locks), removing));
        estimate(store, &found, &mut freed, &mut out, progress)?;
    } else {
        roots::forget(store, roots.iter().filter(|root| !root.alive))?;
        let aside = set_aside(store, found, &mut freed)?;
        // what is left to do needs nobody to wait
        drop(removing);
        remove(store, aside, &mut freed, &mut out, progress)?;
    }
    out.bytes_freed = freed.bytes;
    Ok(out)
}

/// Takes names, records and trees away, in this order. Everything goes to a place that vanishes with this process, if there
/// is room for one.
fn set_aside(store: &Store, found: Found, freed: &mut Freed) -> Result<Option<Scratch>> {
    for path in &found.refs {
        fs::remove_file(path).doing("removing", path)?;
        if let Some(dir) = path.parent() {
            sync_dir(dir)?;
            // another version may still be there
            let _ = fs::remove_dir(dir);
        }
    }
    for path in &found.files {
        freed.tree(path)?;
        fs::remove_file(path).doing("removing", path)?;
    }
    let moved = [
        ("templates", &found.templates, find::RECORD),
        ("results", &found.results, results::RECORD),
        ("trees", &found.trees, TOC),
    ];
    if moved.iter().all(|(_, paths, _)| paths.is_empty()) {
        return Ok(None);
    }
    let aside = match Scratch::new(&store.tmp()) {
        Ok(aside) => Some(aside),
        Err(e) => {
            log::info!("removing in place: {e}");
            None
        }
    };
    for (dir, paths, mark) in moved.into_iter().filter(|(_, paths, _)| !paths.is_empty()) {
        for (number, path) in paths.iter().enumerate() {
            match &aside {
                Some(aside) => {
                    let to = aside.path().join(format!("{dir}-{number}"));
                    fs::rename(path, &to).doing("setting aside", path)?;
                }
                None => remove_in_place(path, mark, freed)?,
            }
        }
        // a record must not outlive a tree when the machine fails
        sync_dir(&store.path().join(dir))?;
    }
    Ok(aside)
}

/// Removes what counts as complete because of a file in it. What is left when this process is killed is not complete.
fn remove_in_place(path: &Path, mark: &str, freed: &mut Freed) -> Result<()> {
    freed.tree(path)?;
    match fs::remove_file(path.join(mark)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(Error::io("removing", path, e)),
        _ => sync_dir(path)?,
    }
    fs::remove_dir_all(path).doing("removing", path)
}

/// Removes what was set aside, what the dead have left, and then the objects that no tree has any more.
fn remove(
    store: &Store,
    aside: Option<Scratch>,
    freed: &mut Freed,
    out: &mut Collected,
    progress: &dyn Progress,
) -> Result<()> {
    progress.begin("removing", 0);
    if let Some(aside) = aside {
        for entry in list_dir(aside.path())? {
            let path = aside.path().join(entry);
            freed.tree(&path)?;
            fs::remove_dir_all(&path).doing("removing", &path)?;
            progress.advance(0)?;
        }
    }
    for dead in scratch::dead(&store.tmp())? {
        out.leftovers += u64::from(dead.dir().exists());
        freed.tree(&dead.dir())?;
        dead.remove();
        progress.advance(0)?;
    }
    freed.settle();
    each_object(store, progress, &mut |path, meta| {
        if meta.nlink() == 1 {
            match fs::remove_file(&path) {
                // another gc was faster
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
                other => other.doing("removing", &path)?,
            }
            freed.name(meta);
            out.objects += 1;
        }
        Ok(())
    })
}

/// Counts what would go.
fn estimate(
    store: &Store,
    found: &Found,
    freed: &mut Freed,
    out: &mut Collected,
    progress: &dyn Progress,
) -> Result<()> {
    progress.begin("counting", 0);
    for path in found.files.iter().chain(&found.templates).chain(&found.results).chain(&found.trees) {
        freed.tree(path)?;
        progress.advance(0)?;
    }
    for dead in scratch::dead(&store.tmp())? {
        out.leftovers += u64::from(dead.dir().exists());
        freed.tree(&dead.dir())?;
    }
    each_object(store, progress, &mut |_, meta| {
        if freed.is_last(meta) {
            freed.name(meta);
            out.objects += 1;
        }
        Ok(())
    })
}

/// What is done with an object.
type Visit<'a> = dyn FnMut(PathBuf, &fs::Metadata) -> Result<()> + 'a;

fn each_object(store: &Store, progress: &dyn Progress, visit: &mut Visit) -> Result<()> {
    let objects = store.path().join("objects");
    for shelf in list_dir(&objects)? {
        let shelf = objects.join(shelf);
        for name in list_dir(&shelf)? {
            let path = shelf.join(name);
            match fs::symlink_metadata(&path) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                meta => visit(path.clone(), &meta.doing("reading", &path)?)?,
            }
        }
        progress.advance(0)?;
    }
    Ok(())
}
