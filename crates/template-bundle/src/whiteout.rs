// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Whiteouts
//!
//! How an OCI layer removes what the one below it has: by an empty file of a name that begins with [`PREFIX`].

use crate::bytes::Bytes;
use crate::digest::Digest;
use crate::toc::{Entry, Node};

/// How names of whiteouts begin.
pub const PREFIX: &str = ".wh.";

fn name_of(path: &[u8]) -> (&[u8], &[u8]) {
    path.split_at(path.iter().rposition(|c| *c == b'/').map_or(0, |at| at + 1))
}

/// Whether a path is that of a whiteout, of whatever kind.
pub fn is_whiteout(path: &[u8]) -> bool {
    name_of(path).1.starts_with(PREFIX.as_bytes())
}

/// The path that a whiteout removes. Whatever else a whiteout may mean to other tools has none.
pub fn removed_by(path: &[u8]) -> Option<Vec<u8>> {
    let (dir, name) = name_of(path);
    let name = name.strip_prefix(PREFIX.as_bytes())?;
    let one = !matches!(name, b"" | b"." | b"..") && !name.starts_with(PREFIX.as_bytes());
    one.then(|| [dir, name].concat())
}

/// The whiteout of a path.
pub fn of(path: &[u8]) -> Entry {
    let (dir, name) = name_of(path);
    let path = Bytes([dir, PREFIX.as_bytes(), name].concat());
    let node = Node::File { size: 0, digest: Digest::of(b""), holes: vec![] };
    Entry { path, node, mode: 0, uid: 0, gid: 0, mtime: (0, 0), xattrs: vec![] }
}
