// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Checkout without a store
//!
//! Takes one component straight from a verified bundle. Without root this works for trees of plain files and
//! directories, which then belong to the caller; whatever else only root can make is refused before anything is written.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

use template_bundle::bundle::Bundle;
use template_bundle::error::IoContext;
use template_bundle::manifest::Component;
use template_bundle::pack::Progress;
use template_bundle::stack::stack;
use template_bundle::toc::{Entry, Node};
use template_bundle::tree::Sink;
use template_bundle::{Error, Kind, Result};

use crate::checkout::{at_target, begin_tree, check_target, end_tree};
use crate::node;

/// Mode bits by which a program gets the rights of somebody else.
const SET_ID: u32 = 0o6000;

/// Checks out a component of a verified bundle at a directory that does not exist or is empty.
pub fn checkout_bundle(
    bundle: &Bundle,
    component: &Component,
    raw: bool,
    target: &Path,
    progress: &dyn Progress,
) -> Result<u64> {
    bundle.accepted()?;
    check_target(target)?;
    let parts: Vec<_> = component.parts_of(raw).collect();
    let tocs =
        parts.iter().map(|(part, tree)| bundle.toc(component, *part, tree)).collect::<Result<Vec<_>>>()?;
    let mut entries = stack(tocs.iter().map(|toc| &toc.entries[..]))?;
    if !nix::unistd::geteuid().is_root() {
        as_caller(&component.name, &mut entries)?;
    }
    at_target(target, |root| {
        progress.begin(&component.name, parts.iter().map(|(_, tree)| tree.raw_size).sum());
        begin_tree(&entries, root)?;
        // an empty file has no content that would come by
        for (entry, _) in entries.iter().filter(|(e, _)| matches!(e.node, Node::File { size: 0, .. })) {
            let path = node::path(root, entry);
            node::make_file(&path)?;
            node::set_metadata(&path, entry)?;
        }
        for (number, ((_, tree), toc)) in parts.iter().zip(&tocs).enumerate() {
            let filler = Filler { root, places: places(number, &toc.entries, &entries) };
            bundle.read_tree(component, tree, toc, true, &filler, &|n| progress.advance(n))?;
        }
        end_tree(&entries, root)
    })?;
    Ok(entries.len() as u64)
}

/// Makes the caller the owner of everything, or says what takes root.
fn as_caller(component: &str, entries: &mut [(Entry, usize)]) -> Result<()> {
    let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    for (entry, _) in entries {
        if let Some(what) = needs_root(entry) {
            return Err(Error::new(
                Kind::Privilege,
                format!("checkout of component '{component}' needs root: '/{}' {what}", entry.path.display()),
            )
            .hint("run it with sudo; without root only plain files and directories are made"));
        }
        (entry.uid, entry.gid) = (uid, gid);
    }
    Ok(())
}

fn needs_root(entry: &Entry) -> Option<&'static str> {
    match &entry.node {
        Node::CharDevice { .. } | Node::BlockDevice { .. } => Some("is a device"),
        Node::Fifo => Some("is a named pipe"),
        Node::Symlink { .. } => Some("is a symlink"),
        _ if entry.mode & SET_ID != 0 => Some("has the setuid or setgid bit"),
        _ if !entry.xattrs.is_empty() => Some("has extended attributes"),
        Node::Directory | Node::File { .. } | Node::Hardlink { .. } => None,
    }
}

/// Where the contents of a tree go: which entry of the result a file of its table of contents became.
fn places<'a>(number: usize, toc: &[Entry], result: &'a [(Entry, usize)]) -> HashMap<usize, &'a Entry> {
    let at: HashMap<&[u8], usize> =
        toc.iter().enumerate().map(|(index, entry)| (&entry.path.0[..], index)).collect();
    let mut out = HashMap::new();
    for (entry, of) in result {
        if *of != number || !matches!(entry.node, Node::File { .. }) {
            continue;
        }
        let Some(index) = at.get(&entry.path.0[..]) else { continue };
        // a hard link whose first name what lies over it removes stands in for it
        let source = match &toc[*index].node {
            Node::Hardlink { target } => at.get(&target.0[..]),
            _ => Some(index),
        };
        out.extend(source.map(|index| (*index, entry)));
    }
    out
}

/// Writes verified contents to their places.
struct Filler<'a> {
    root: &'a Path,
    places: HashMap<usize, &'a Entry>,
}

impl Sink for Filler<'_> {
    fn file(&self, index: usize, _: &Entry, content: &[u8]) -> Result<()> {
        let Some(entry) = self.places.get(&index) else { return Ok(()) };
        let path = node::path(self.root, entry);
        let file = node::make_file(&path)?;
        file.set_len(entry.size()).doing("writing", &path)?;
        node::write_part(&file, &path, entry, 0, content)?;
        node::set_metadata(&path, entry)
    }

    fn part(&self, index: usize, _: &Entry, offset: u64, content: &[u8]) -> Result<()> {
        let Some(entry) = self.places.get(&index) else { return Ok(()) };
        let path = node::path(self.root, entry);
        let file = match offset {
            0 => {
                let file = node::make_file(&path)?;
                file.set_len(entry.size()).doing("writing", &path)?;
                file
            }
            _ => File::options().write(true).open(&path).doing("writing", &path)?,
        };
        node::write_part(&file, &path, entry, offset, content)
    }

    fn end(&self, index: usize, _: &Entry) -> Result<()> {
        let Some(entry) = self.places.get(&index) else { return Ok(()) };
        node::set_metadata(&node::path(self.root, entry), entry)
    }
}
