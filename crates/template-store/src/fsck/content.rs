// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # What is in files
//!
//! Each inode is read once.

use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use template_bundle::digest::{Hasher, Hashing};
use template_bundle::error::IoContext;
use template_bundle::pack::Progress;
use template_bundle::{Digest, Result};

use crate::files::{open_file, unreadable};

/// Digests by inode.
#[derive(Default)]
pub(super) struct Contents {
    known: Mutex<HashMap<(u64, u64), Digest>>,
    bytes: AtomicU64,
}

impl Contents {
    /// The digest of what a file holds.
    pub fn digest(&self, path: &Path, meta: &Metadata, progress: &dyn Progress) -> Result<Digest> {
        let inode = (meta.dev(), meta.ino());
        let known = |contents: &Self| {
            let known = contents.known.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            known.get(&inode).copied()
        };
        if let Some(digest) = known(self) {
            return Ok(digest);
        }
        let digest = read(path)?;
        self.bytes.fetch_add(meta.len(), Ordering::Relaxed);
        self.known.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).insert(inode, digest);
        progress.advance(meta.len())?;
        Ok(digest)
    }

    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

fn read(path: &Path) -> Result<Digest> {
    let mut file = Hashing::new(open_file(path).map_err(|e| unreadable(path, e))?);
    io::copy(&mut file, &mut io::sink()).doing("reading", path)?;
    let (_, digest, _) = file.finish();
    Ok(digest)
}

/// One digest over all that is below a directory: names, metadata, contents, as they are on disk.
pub fn digest_of_tree(root: &Path) -> Result<Digest> {
    let mut hasher = Hasher::default();
    let mut open = vec![root.to_path_buf()];
    while let Some(dir) = open.pop() {
        let mut paths: Vec<_> = fs::read_dir(&dir)
            .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect())
            .doing("reading", &dir)?;
        paths.sort();
        for path in paths {
            let meta = fs::symlink_metadata(&path).doing("reading", &path)?;
            let name = path.strip_prefix(root).unwrap_or(&path).as_os_str().as_bytes();
            add(&mut hasher, name);
            // directories have the size and time that the file system gives them
            let size = if meta.is_dir() { 0 } else { meta.len() };
            let device = if meta.file_type().is_char_device() || meta.file_type().is_block_device() {
                meta.rdev()
            } else {
                0
            };
            let (mode, uid, gid) = (meta.mode(), meta.uid(), meta.gid());
            let (mtime, nsec) = (meta.mtime(), meta.mtime_nsec());
            add(&mut hasher, format!("{mode:o} {uid} {gid} {mtime}.{nsec} {size} {device}").as_bytes());
            let mut attributes: Vec<_> = xattr::list(&path).doing("reading attributes", &path)?.collect();
            attributes.sort();
            for attribute in attributes {
                add(&mut hasher, attribute.as_bytes());
                let value = xattr::get(&path, &attribute).doing("reading attributes", &path)?;
                add(&mut hasher, &value.unwrap_or_default());
            }
            if meta.is_dir() {
                open.push(path);
            } else if meta.is_symlink() {
                add(&mut hasher, fs::read_link(&path).doing("reading", &path)?.as_os_str().as_bytes());
            } else if meta.is_file() {
                add(&mut hasher, read(&path)?.to_string().as_bytes());
            }
        }
    }
    Ok(hasher.finish())
}

/// Lengths keep parts apart.
fn add(hasher: &mut Hasher, part: &[u8]) {
    hasher.update(&(part.len() as u64).to_le_bytes());
    hasher.update(part);
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn anything_that_changes_in_a_tree_changes_its_digest() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("a")).unwrap();
        fs::write(at("a/file"), "content").unwrap();
        std::os::unix::fs::symlink("file", at("a/link")).unwrap();
        let mut seen = vec![digest_of_tree(dir.path()).unwrap()];
        assert_eq!(digest_of_tree(dir.path()).unwrap(), seen[0]);
        let time = fs::metadata(at("a/file")).unwrap().modified().unwrap();
        let changes: [&dyn Fn(); 4] = [
            &|| {
                fs::write(at("a/file"), "c0ntent").unwrap();
                File::options().write(true).open(at("a/file")).unwrap().set_modified(time).unwrap();
            },
            &|| fs::set_permissions(at("a/file"), fs::Permissions::from_mode(0o600)).unwrap(),
            &|| fs::rename(at("a/file"), at("a/file2")).unwrap(),
            &|| {
                fs::remove_file(at("a/link")).unwrap();
                std::os::unix::fs::symlink("fil2", at("a/link")).unwrap();
            },
        ];
        for (number, change) in changes.iter().enumerate() {
            change();
            let now = digest_of_tree(dir.path()).unwrap();
            assert!(!seen.contains(&now), "change {number}");
            seen.push(now);
        }
    }
}
