// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Small files and directories of the store

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use template_bundle::error::IoContext;
use template_bundle::{Error, Result};

/// Makes a directory and those above it, for others to enter and not to write to, whatever the umask.
pub(crate) fn make_dirs(path: &Path) -> Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o755).create(path).doing("creating", path)
}

/// Makes a directory that only root enters, if it is not there.
pub(crate) fn make_dir_for_root(path: &Path) -> Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(Error::io("creating", path, e)),
        _ => Ok(()),
    }
}

/// The names in a directory, none when it is not there.
pub(crate) fn list_dir(dir: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        Err(e) => return Err(Error::io("reading", dir, e)),
    };
    let mut out = Vec::new();
    for entry in entries {
        out.push(entry.doing("reading", dir)?.file_name().to_string_lossy().into_owned());
    }
    Ok(out)
}

/// Writes a small file: aside, synced, renamed.
pub(crate) fn write_file(tmp: &Path, path: &Path, content: &[u8]) -> Result<()> {
    let mut temp = tempfile::NamedTempFile::new_in(tmp).doing("creating", tmp)?;
    temp.write_all(content).doing("writing", path)?;
    temp.as_file().set_permissions(fs::Permissions::from_mode(0o644)).doing("writing", path)?;
    temp.as_file().sync_all().doing("writing", path)?;
    temp.persist(path).map_err(|e| Error::io("writing", path, e.error))?;
    sync_dir(path.parent().unwrap_or(Path::new("/")))
}

/// Makes the names in a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir).and_then(|d| d.sync_all()).doing("syncing", dir)
}

/// Syncs all that was written to the file system that a path is on.
pub(crate) fn sync_filesystem(path: &Path) -> Result<()> {
    let dir = File::open(path).doing("syncing", path)?;
    nix::unistd::syncfs(&dir).doing("syncing", path)
}
