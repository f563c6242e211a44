// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Roots
//!
//! A file somewhere on the host, and a template that is kept as long as this file exists. One file may keep several
//! templates, and a template may be kept by several files.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use template_bundle::bytes::Bytes;
use template_bundle::digest::Hasher;
use template_bundle::error::IoContext;
use template_bundle::{Digest, Error, Kind, Result};

use crate::files::{list_dir, read_file, sync_dir, unreadable, write_file};
use crate::store::Store;

/// The version of the document that is written and read.
const ROOT_VERSION: u32 = 1;

/// What stands in the store about a root.
#[derive(Debug, Serialize, Deserialize)]
struct Document {
    version: u32,
    file: Bytes,
    digest: Digest,
}

/// A root that was registered.
#[derive(Debug)]
pub(crate) struct Root {
    /// The file that keeps the template.
    pub file: PathBuf,
    /// The template.
    pub digest: Digest,
    /// Whether the file still exists.
    pub alive: bool,
    document: PathBuf,
}

/// The place of a file that is to be a root, wherever this program is started next.
pub(crate) fn place(file: &Path) -> Result<PathBuf> {
    let wrong = |e: io::Error| {
        Error::usage(format!("--gc-root '{}': {e}", file.display()))
            .hint("the template is kept as long as this file exists, so it has to exist before")
    };
    fs::metadata(file).map_err(wrong)?;
    match (file.parent(), file.file_name()) {
        // a link is the name that somebody removes, not what it points to
        (Some(parent), Some(name)) => {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            Ok(parent.canonicalize().map_err(wrong)?.join(name))
        }
        _ => file.canonicalize().map_err(wrong),
    }
}

/// Notes a root; again is no change.
pub(crate) fn register(store: &Store, file: PathBuf, digest: Digest) -> Result<()> {
    let file = Bytes(file.as_os_str().as_bytes().to_vec());
    let document = Document { version: ROOT_VERSION, file, digest };
    let json = serde_json::to_vec(&document).map_err(|e| Error::new(Kind::Internal, e.to_string()))?;
    write_file(&store.tmp(), &store.roots().join(document.key()), &json)
}

impl Document {
    /// The name of its file.
    fn key(&self) -> String {
        let mut name = Hasher::default();
        name.update(&self.file.0);
        name.update(format!("\0{}", self.digest).as_bytes());
        name.finish().hex()
    }
}

/// All roots, by file.
pub(crate) fn read(store: &Store) -> Result<Vec<Root>> {
    let mut out = Vec::new();
    for name in list_dir(&store.roots())? {
        out.push(read_one(store.roots().join(name))?);
    }
    out.sort_by(|a, b| (&a.file, a.digest).cmp(&(&b.file, b.digest)));
    Ok(out)
}

/// Documents of roots that cannot be read, and why.
pub(crate) fn damaged(store: &Store) -> Result<Vec<(PathBuf, String)>> {
    let mut out = Vec::new();
    for name in list_dir(&store.roots())? {
        let path = store.roots().join(name);
        match read_one(path.clone()) {
            Err(e) if e.kind == Kind::Damaged => out.push((path, e.message)),
            other => drop(other?),
        }
    }
    Ok(out)
}

fn read_one(path: PathBuf) -> Result<Root> {
    let bytes = read_file(&path).map_err(|e| unreadable(&path, e))?;
    let document: Document = serde_json::from_slice(&bytes).map_err(|e| unknown(&path, &e.to_string()))?;
    if document.version != ROOT_VERSION {
        return Err(unknown(&path, &format!("version {} is not known", document.version)));
    }
    if !path.ends_with(document.key()) {
        return Err(unknown(&path, "it is not what its name says"));
    }
    let file = document.file.as_path().to_path_buf();
    let alive = exists(&file);
    Ok(Root { file, digest: document.digest, alive, document: path })
}

/// What cannot be read might keep any template, so nothing can be removed.
fn unknown(path: &Path, why: &str) -> Error {
    Error::damaged(format!("store: root '{}': {why}", path.display()))
        .hint("what it keeps is not known: remove it, and import with --gc-root again what is to be kept")
}

/// Only what is known to be gone is gone: a disk that fails must not cost a template.
fn exists(file: &Path) -> bool {
    match fs::metadata(file) {
        Err(e) => !matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory),
        Ok(_) => true,
    }
}

/// Forgets roots.
pub(crate) fn forget<'a>(store: &Store, roots: impl Iterator<Item = &'a Root>) -> Result<()> {
    let mut any = false;
    for root in roots {
        fs::remove_file(&root.document).doing("removing", &root.document)?;
        any = true;
    }
    if any { sync_dir(&store.roots()) } else { Ok(()) }
}
