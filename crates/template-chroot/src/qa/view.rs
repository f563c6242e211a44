// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Looking at a system from outside
//!
//! A stack of layers as the kernel merges them, read only.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Deref;
use std::path::{Path, PathBuf};

use crate::error::{ChrootError, Result};
use crate::overlay::Merged;
use crate::system::{Kind, Tree};

/// Contents are compared in pieces of this size.
const PIECE: usize = 256 << 10;

/// A system.
pub(super) struct View {
    tree: Tree,
    _merged: Merged,
}

impl Deref for View {
    type Target = Tree;

    fn deref(&self) -> &Tree {
        &self.tree
    }
}

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    pub kind: Kind,
    mode: u32,
    owner: (u32, u32),
    size: i64,
    /// Seconds and nanoseconds.
    mtime: (i64, u64),
    /// Of a device, with its type.
    device: (u32, u64),
    /// Of a symlink.
    target: Option<PathBuf>,
}

impl View {
    /// Layers, the uppermost first.
    pub fn of(layers: &[PathBuf]) -> Result<Self> {
        let merged = Merged::read_only(layers)?;
        Ok(Self { tree: Tree::open(merged.path())?, _merged: merged })
    }

    /// What is at a path, itself.
    pub fn node(&self, path: &Path) -> Result<Option<Node>> {
        let Some(stat) = self.stat(path)? else { return Ok(None) };
        let kind = Kind::from(rustix::fs::FileType::from_raw_mode(stat.st_mode));
        Ok(Some(Node {
            kind,
            mode: stat.st_mode & 0o7777,
            owner: (stat.st_uid, stat.st_gid),
            size: stat.st_size,
            mtime: (stat.st_mtime, stat.st_mtime_nsec),
            device: (stat.st_mode & 0o170_000, stat.st_rdev),
            target: if kind == Kind::Symlink { self.link(path)? } else { None },
        }))
    }
}

/// In what two things at one path differ; in nothing when they are the same.
pub(super) fn differences(
    path: &Path,
    old: (&View, &Node),
    new: (&View, &Node),
) -> Result<Vec<&'static str>> {
    let ((old_view, old), (new_view, new)) = (old, new);
    if old.kind != new.kind {
        return Ok(vec!["type"]);
    }
    let mut what = Vec::new();
    match new.kind {
        // what was copied up, or unpacked again, has the time of the original
        Kind::File if old.size != new.size => what.push("content"),
        Kind::File if old.mtime != new.mtime && !same_content(path, old_view, new_view)? => {
            what.push("content");
        }
        Kind::Symlink if old.target != new.target => what.push("target"),
        Kind::Other if old.device != new.device => what.push("device"),
        _ => {}
    }
    if old.mode != new.mode && new.kind != Kind::Symlink {
        what.push("mode");
    }
    if old.owner != new.owner {
        what.push("owner");
    }
    Ok(what)
}

fn same_content(path: &Path, old: &View, new: &View) -> Result<bool> {
    let (Some(mut a), Some(mut b)) = (old.file(path)?, new.file(path)?) else {
        return Ok(false);
    };
    let failed = |e| ChrootError::io("comparing", Path::new("/").join(path), e);
    let (mut left, mut right) = (vec![0; PIECE], vec![0; PIECE]);
    loop {
        let got = fill(&mut a, &mut left).map_err(failed)?;
        let other = fill(&mut b, &mut right).map_err(failed)?;
        if left[..got] != right[..other] {
            return Ok(false);
        }
        if got == 0 {
            return Ok(true);
        }
    }
}

fn fill(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(got) => filled += got,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}
