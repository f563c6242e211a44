// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Checkout
//!
//! Makes a writable tree of real files from the store: nobody who writes to it can reach an object.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use rustix::fs::ioctl_ficlone;
use template_bundle::aside::NewDir;
use template_bundle::error::IoContext;
use template_bundle::manifest::Component;
use template_bundle::pack::Progress;
use template_bundle::toc::{Entry, Node};
use template_bundle::writer::parent_of;
use template_bundle::{Error, Result, device, ids};

use crate::files;
use crate::node;
use crate::store::{Store, require_root};

/// Checks out a component at a directory that does not exist or is empty.
pub fn checkout(
    store: &Store,
    component: &Component,
    raw: bool,
    target: &Path,
    progress: &dyn Progress,
) -> Result<u64> {
    require_root("checkout")?;
    check_target(target)?;
    let entries = store.entries(component, raw)?;
    materialize(&component.name, &entries, target, progress)?;
    Ok(entries.len() as u64)
}

/// Copies entries, each from the tree it is in, to a directory that gets its name when it is complete.
pub fn materialize(
    what: &str,
    entries: &[(Entry, PathBuf)],
    target: &Path,
    progress: &dyn Progress,
) -> Result<()> {
    at_target(target, |root| copy_tree(what, entries, root, progress))?;
    tell_limits(entries, target);
    Ok(())
}

/// Says what a tree lacks that was made in a user namespace.
pub(crate) fn tell_limits<T>(entries: &[(Entry, T)], target: &Path) {
    let Some(map) = ids::map() else { return };
    let devices = entries.iter().filter(|(entry, _)| device::describe(&entry.node).is_some()).count();
    let outside = map.uids.iter().find(|range| range.inside == 1).map_or(0, |range| range.outside);
    log::warn!(
        "'{}' was made without root: its owners are your sub-ids (user 1 is {outside} outside, and so on), and {devices} \
         devices are empty files with an attribute '{}'",
        target.display(),
        device::ATTRIBUTE
    );
}

/// The same, into an empty directory.
pub(crate) fn copy_tree(
    what: &str,
    entries: &[(Entry, PathBuf)],
    root: &Path,
    progress: &dyn Progress,
) -> Result<()> {
    progress.begin(what, entries.iter().map(|(e, _)| e.size()).sum());
    begin_tree(entries, root)?;
    let clones = can_clone(entries, root)?;
    match clones {
        true => log::info!("files share their blocks with the store (reflink)"),
        false => log::info!("files are copied, by {} threads", rayon::current_num_threads()),
    }
    files(entries).try_for_each(|(entry, from)| {
        copy_file(entry, &node::path(from, entry), &node::path(root, entry), clones)?;
        progress.advance(entry.size())
    })?;
    end_tree(entries, root)
}

/// Whether files in a directory can share blocks with those of the store, as on xfs and btrfs.
fn can_clone(entries: &[(Entry, PathBuf)], dir: &Path) -> Result<bool> {
    let Some((entry, from)) = entries.iter().find(|(entry, _)| entry.size() > 0) else { return Ok(false) };
    let input = open_file(entry, &node::path(from, entry))?;
    // without a name
    let output = tempfile::tempfile_in(dir).doing("creating a file in", dir)?;
    Ok(ioctl_ficlone(&output, &input).is_ok())
}

/// The entries that have a content, for several threads.
pub(crate) fn files(entries: &[(Entry, PathBuf)]) -> impl ParallelIterator<Item = &(Entry, PathBuf)> {
    entries.par_iter().with_min_len(64).filter(|(entry, _)| matches!(entry.node, Node::File { .. }))
}

/// Fills a directory beside the target, which gets its name when it is complete.
pub(crate) fn at_target(target: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    // an empty directory may be named by a link, or be the current one
    let filling = NewDir::new(&target.canonicalize().unwrap_or_else(|_| target.to_path_buf()))?;
    node::forget_acl(filling.path())?;
    fill(filling.path())?;
    // the time and mode of the top were set before, a rename does not change them
    filling.keep()
}

/// Makes all that is neither a file nor a hard link; directories are still closed.
pub(crate) fn begin_tree<T>(entries: &[(Entry, T)], root: &Path) -> Result<()> {
    for (entry, _) in entries {
        match entry.node {
            Node::Directory if !entry.path.0.is_empty() => node::make_dir(&node::path(root, entry))?,
            _ => node::make_special(root, entry)?,
        }
    }
    Ok(())
}

/// Makes the hard links, and gives directories their metadata: innermost first, as what is made in one changes its time.
pub(crate) fn end_tree<T>(entries: &[(Entry, T)], root: &Path) -> Result<()> {
    for (entry, _) in entries {
        if let Node::Hardlink { target } = &entry.node {
            let path = node::path(root, entry);
            fs::hard_link(root.join(target.as_path()), &path).doing("linking", &path)?;
        }
    }
    for (entry, _) in entries.iter().rev().filter(|(e, _)| e.node == Node::Directory) {
        node::set_metadata(&node::path(root, entry), entry)?;
    }
    Ok(())
}

/// Refuses a target that holds something.
pub fn check_target(target: &Path) -> Result<()> {
    match fs::read_dir(target) {
        Ok(mut dir) => match dir.next() {
            None if is_mount_point(target)? => Err(Error::usage(format!(
                "'{}' is a mount point, which a finished tree cannot replace",
                target.display()
            ))
            .hint("give a directory below it")),
            None => Ok(()),
            Some(_) => Err(Error::usage(format!("directory '{}' is not empty", target.display()))
                .hint("give a directory that does not exist, or an empty one")),
        },
        Err(e) if e.kind() == io::ErrorKind::NotFound => match target.parent() {
            Some(parent) if !parent.as_os_str().is_empty() && !parent.is_dir() => {
                Err(Error::usage(format!("directory '{}' does not exist", parent.display()))
                    .hint("make it first, or check out to another place"))
            }
            _ => Ok(()),
        },
        Err(e) if e.raw_os_error() == Some(nix::libc::ENOTDIR) => {
            Err(Error::usage(format!("'{}' exists and is no directory", target.display()))
                .hint("remove it, or choose another name"))
        }
        Err(e) => Err(Error::io("reading", target, e)),
    }
}

fn is_mount_point(dir: &Path) -> Result<bool> {
    let dir = dir.canonicalize().doing("reading", dir)?;
    let device = |path: &Path| fs::metadata(path).map(|m| m.dev()).doing("reading", path);
    Ok(device(&dir)? != device(parent_of(&dir))?)
}

/// Smaller contents are copied faster by hand, where the kernel would set up a pipe for each.
const SMALL: u64 = 256 << 10;

/// Copies a content, or shares its blocks, and keeps its holes.
fn copy_file(entry: &Entry, from: &Path, to: &Path, clone: bool) -> Result<()> {
    let mut input = open_file(entry, from)?;
    let mut output = node::make_file(to)?;
    if !(clone && entry.size() > 0 && ioctl_ficlone(&output, &input).is_ok()) {
        copy_content(entry, (&mut input, from), (&mut output, to))?;
    }
    node::set_metadata_of(&output, to, entry)
}

fn copy_content(
    entry: &Entry,
    (input, from): (&mut File, &Path),
    (output, to): (&mut File, &Path),
) -> Result<()> {
    let segments = node::data_segments(entry);
    let sparse = !matches!(segments[..], [(0, len)] if len == entry.size()) && entry.size() > 0;
    if sparse {
        output.set_len(entry.size()).doing("writing", to)?;
    }
    for (offset, len) in segments {
        if sparse {
            input.seek(SeekFrom::Start(offset)).doing("reading", from)?;
            output.seek(SeekFrom::Start(offset)).doing("writing", to)?;
        }
        let copied = if len <= SMALL {
            let mut content = Vec::with_capacity(usize::try_from(len).unwrap_or_default());
            input.take(len).read_to_end(&mut content).doing("reading", from)?;
            output.write_all(&content).doing("writing", to)?;
            content.len() as u64
        } else {
            io::copy(&mut input.take(len), output).doing("copying", from)?
        };
        if copied != len {
            return Err(damaged(from, "it is shorter than it was"));
        }
    }
    Ok(())
}

/// Opens a file that has to be as its entry says.
fn open_file(entry: &Entry, from: &Path) -> Result<File> {
    let file = match files::open_file(from) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(damaged(from, "it is not there")),
        Err(e) if e.kind() == io::ErrorKind::InvalidData => return Err(damaged(from, &e.to_string())),
        other => other.doing("reading", from)?,
    };
    let meta = file.metadata().doing("reading", from)?;
    if meta.len() != entry.size() {
        return Err(damaged(from, &format!("it has {} bytes instead of {}", meta.len(), entry.size())));
    }
    Ok(file)
}

fn damaged(path: &Path, why: &str) -> Error {
    Error::damaged(format!("'{}': {why}", path.display())).hint(
        "when it is of the store: isar-template fsck --repair discards what is damaged, then import the bundle again",
    )
}
