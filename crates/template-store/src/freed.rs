// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # What removing files frees
//!
//! A file is gone when the last of its names is: objects, trees and what is being made are names of the same files.

use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use template_bundle::Result;
use template_bundle::error::IoContext;

/// Bytes of a block as stat(2) counts them, whatever the file system.
const BLOCK: u64 = 512;

/// Counts names that go.
#[derive(Default)]
pub(crate) struct Freed {
    /// Names that are left of files with several.
    left: HashMap<(u64, u64), u64>,
    /// Bytes on disk of files without a name.
    pub bytes: u64,
}

impl Freed {
    /// Everything below a directory goes, or a file.
    pub(crate) fn tree(&mut self, path: &Path) -> Result<()> {
        let meta = match fs::symlink_metadata(path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            other => other.doing("reading", path)?,
        };
        if !meta.is_dir() {
            self.name(&meta);
            return Ok(());
        }
        let mut open = vec![path.to_path_buf()];
        while let Some(dir) = open.pop() {
            for entry in fs::read_dir(&dir).doing("reading", &dir)? {
                let entry = entry.doing("reading", &dir)?;
                let meta = entry.metadata().doing("reading", entry.path())?;
                if meta.is_dir() {
                    open.push(entry.path());
                } else {
                    self.name(&meta);
                }
            }
        }
        Ok(())
    }

    /// A name of this file goes.
    pub(crate) fn name(&mut self, meta: &Metadata) {
        let left = self.left.entry((meta.dev(), meta.ino())).or_insert(meta.nlink());
        *left = left.saturating_sub(1);
        if *left == 0 {
            self.bytes += meta.blocks() * BLOCK;
        }
    }

    /// Names that were counted are gone by now: what the file system says of the others is right again.
    pub(crate) fn settle(&mut self) {
        self.left.clear();
    }

    /// Whether this is the only name that is left of a file.
    pub(crate) fn is_last(&self, meta: &Metadata) -> bool {
        self.left.get(&(meta.dev(), meta.ino())).copied().unwrap_or(meta.nlink()) == 1
    }
}
