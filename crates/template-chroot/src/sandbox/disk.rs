// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # The disk that a sandbox writes to
//!
//! Package scripts may write as much as they want, so the helper watches the file system below and ends the sandbox before
//! others cannot write any more. A quota would need a file system that has them.

use std::io;
use std::path::{Path, PathBuf};

use super::Root;
use crate::error::ChrootError;

/// What is left for others, unless there was little from the beginning: more than a script can write between two looks.
const RESERVE: u64 = 1 << 30;

/// Of what is free at the beginning, at most this part is left for others.
const PART: u64 = 10;

pub(super) struct Disk {
    path: PathBuf,
    bytes: u64,
    files: u64,
}

impl Disk {
    /// The disk below a root.
    pub(super) fn of(root: &Root) -> Self {
        let path = match root {
            Root::Tree(tree) => tree,
            Root::Overlay { upper, .. } => upper,
        };
        let (bytes, files) = free(path).unwrap_or_default();
        Self { path: path.clone(), bytes: RESERVE.min(bytes / PART), files: files / PART }
    }

    pub(super) fn is_nearly_full(&self) -> bool {
        free(&self.path).is_some_and(|(bytes, files)| bytes < self.bytes || files < self.files)
    }

    /// Why the sandbox was ended.
    pub(super) fn full(&self) -> ChrootError {
        let text = format!("ended what runs inside when only {} MiB were free", self.bytes >> 20);
        ChrootError::io("filling the disk", &self.path, io::Error::new(io::ErrorKind::StorageFull, text))
    }
}

/// Bytes and files; no number of files where the file system has no such limit.
fn free(path: &Path) -> Option<(u64, u64)> {
    let found = rustix::fs::statvfs(path).ok()?;
    Some((found.f_bavail * found.f_frsize, found.f_favail))
}
