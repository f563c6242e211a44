// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # What decides over a plan
//!
//! Besides the tree: the request, with the content of all files that it names, and the package lists that were fetched for
//! it. Whoever asks the same of the same tree gets the same plan.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::debs::index_files;
use super::saved::SavedRequest;
use super::transaction::{LISTS, Transaction};
use crate::error::{ChrootError, Result};

impl Transaction<'_> {
    /// Names all of it, in lines; nothing where the tree sees folders of the host, in which anything may be.
    pub fn question(&self) -> Result<Option<String>> {
        if !self.request.binds.is_empty() {
            return Ok(None);
        }
        let request = &self.request;
        let saved = serde_json::to_string(&SavedRequest::of(request)?)
            .map_err(|e| ChrootError::Internal(format!("noting a request: {e}")))?;
        let mut lines = vec![format!("request {saved}")];
        lines.push(format!("more {:?}", (&request.reinstall, request.no_recommends, request.keep_debs)));
        // the plan names it as the request does
        lines.extend(self.debs.iter().map(|deb| format!("file {:?} {}", deb.source, deb.sha256)));
        lines.extend(self.notes.iter().map(|note| format!("note {note}")));
        let given = self.given.files.iter().map(|file| format!("{} {}", file.name, file.text));
        lines.extend(given.chain(self.given.preferences.clone()).map(|text| format!("given {text:?}")));
        hash_all(&self.keyrings_dir(), &mut lines)?;
        // of those of the tree there are symlinks, and also of the folders' where they can be used as they are
        hash_all(&self.scratch(LISTS), &mut lines)?;
        for repo in &request.repos {
            let indexes = index_files(repo)?.into_iter().filter(|name| is_index(name));
            // a pipe would be waited for
            for path in indexes.map(|name| repo.join(name)).filter(|path| path.is_file()) {
                hash_into(&path, &mut lines)?;
            }
        }
        Ok(Some(lines.join("\n")))
    }
}

fn is_index(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.starts_with("Packages") || name.starts_with("Release") || name == "InRelease"
}

/// Each file of a directory by its digest, and each symlink by its target.
fn hash_all(directory: &Path, lines: &mut Vec<String>) -> Result<()> {
    let failed = |e| ChrootError::io("reading", directory, e);
    let mut entries: Vec<_> =
        fs::read_dir(directory).and_then(Iterator::collect::<io::Result<_>>).map_err(failed)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let kind = entry.file_type().map_err(failed)?;
        if kind.is_symlink() {
            let target = fs::read_link(entry.path()).map_err(failed)?;
            lines.push(format!("link {:?} {target:?}", entry.file_name()));
        } else if kind.is_file() {
            hash_into(&entry.path(), lines)?;
        }
    }
    Ok(())
}

fn hash_into(path: &Path, lines: &mut Vec<String>) -> Result<()> {
    let mut hash = Sha256::new();
    File::open(path)
        .and_then(|mut file| io::copy(&mut file, &mut hash))
        .map_err(|e| ChrootError::io("reading", path, e))?;
    let name = path.file_name().unwrap_or_default();
    lines.push(format!("content {name:?} {:x}", hash.finalize()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::OWN_DIR;

    #[test]
    fn contents_and_targets_count() {
        let dir = tempfile::tempdir().unwrap();
        let lines = || {
            let mut lines = Vec::new();
            hash_all(dir.path(), &mut lines).unwrap();
            lines
        };
        fs::write(dir.path().join("b"), "x").unwrap();
        std::os::unix::fs::symlink(format!("{OWN_DIR}/repo/0/Packages"), dir.path().join("a")).unwrap();
        fs::create_dir(dir.path().join("partial")).unwrap();
        let before = lines();
        assert_eq!(before.len(), 2);
        assert_eq!(before[0], format!("link \"a\" \"{OWN_DIR}/repo/0/Packages\""));
        fs::write(dir.path().join("b"), "y").unwrap();
        assert_ne!(lines()[1], before[1]);
    }

    #[test]
    fn indexes_are_told_from_packages() {
        for name in ["Packages", "dists/x/main/binary-amd64/Packages.gz", "dists/x/InRelease", "Release.gpg"]
        {
            assert!(is_index(name), "{name}");
        }
        for name in ["hello_1.0_amd64.deb", "Sources", "Contents-amd64"] {
            assert!(!is_index(name), "{name}");
        }
    }
}
