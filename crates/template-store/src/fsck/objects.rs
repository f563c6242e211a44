// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Objects, compared with their keys
//!
//! An import links what the store has without reading it, so a damaged object would come into trees to come.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;
use template_bundle::bytes::Bytes;
use template_bundle::error::IoContext;
use template_bundle::pack::Progress;
use template_bundle::scan;
use template_bundle::toc::Node;
use template_bundle::{Digest, Kind, Result};

use super::content::Contents;
use super::{Checked, What};
use crate::builder::object_key;
use crate::files::list_dir;
use crate::store::Store;

pub(super) fn check(
    store: &Store,
    contents: &Contents,
    out: &mut Checked,
    progress: &dyn Progress,
) -> Result<()> {
    progress.begin("checking objects", 0);
    let objects = store.path().join("objects");
    let shelves = list_dir(&objects)?;
    let (wrong, count) = (Mutex::new(Vec::new()), AtomicU64::new(0));
    shelves.par_iter().try_for_each(|shelf| -> Result<()> {
        for name in list_dir(&objects.join(shelf))? {
            count.fetch_add(1, Ordering::Relaxed);
            let path = objects.join(shelf).join(&name);
            let found = key(&path, contents, progress);
            let detail = match found {
                Ok(Some(key)) if store.object(&key) == path => continue,
                // a gc that had begun before may still remove some
                _ if fs::symlink_metadata(&path).is_err_and(|e| e.kind() == io::ErrorKind::NotFound) => {
                    continue;
                }
                Ok(_) => "it is not what its name says".to_owned(),
                Err(e) if matches!(e.kind, Kind::Io | Kind::Refused) => e.message,
                Err(e) => return Err(e),
            };
            wrong.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push((path, detail));
        }
        Ok(())
    })?;
    out.objects = count.into_inner();
    for (path, detail) in wrong.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()) {
        out.found(What::Object, path, detail);
    }
    Ok(())
}

/// The key of what a file is now; none for what is no file.
fn key(path: &PathBuf, contents: &Contents, progress: &dyn Progress) -> Result<Option<Digest>> {
    let meta = fs::symlink_metadata(path).doing("reading", path)?;
    if !meta.is_file() {
        return Ok(None);
    }
    let mut entry = scan::entry(path, Bytes::default())?;
    if let Node::File { digest, .. } = &mut entry.node {
        *digest = contents.digest(path, &meta, progress)?;
    }
    Ok(object_key(&entry))
}
