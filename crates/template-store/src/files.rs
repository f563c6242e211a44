// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Small files and directories of the store

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use nix::libc;
use template_bundle::error::IoContext;
use template_bundle::{Error, Kind, Result, ids};

/// Makes a directory and those above it, for others to enter and not to write to, whatever the umask.
pub(crate) fn make_dirs(path: &Path) -> Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o755).create(path).doing("creating", path)
}

/// The same for the top of a store. That of an ordinary user is his alone.
pub(crate) fn make_top(path: &Path) -> Result<()> {
    let mode = if ids::map().is_some() { 0o700 } else { 0o755 };
    fs::DirBuilder::new().recursive(true).mode(mode).create(path).doing("creating", path)
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

/// Opens a file to read. What is none (any more) is invalid data: neither is a link followed, nor waits
/// anybody for the other end of a pipe.
pub(crate) fn open_file(path: &Path) -> io::Result<File> {
    let wrong = |why| io::Error::new(io::ErrorKind::InvalidData, why);
    let options = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = match File::options().read(true).custom_flags(options).open(path) {
        Err(e) if e.raw_os_error() == Some(libc::ELOOP) => return Err(wrong("it is a symlink")),
        other => other?,
    };
    if !file.metadata()?.is_file() {
        return Err(wrong("it is no file"));
    }
    Ok(file)
}

/// The content of a small file.
pub(crate) fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    open_file(path)?.read_to_end(&mut content)?;
    Ok(content)
}

/// The content of a small file of text.
pub(crate) fn read_text(path: &Path) -> io::Result<String> {
    io::read_to_string(open_file(path)?)
}

/// Why a file of the store could not be read.
pub(crate) fn unreadable(path: &Path, e: io::Error) -> Error {
    let import = "the store is damaged: import the bundle again; fsck tells what else is";
    match e.kind() {
        io::ErrorKind::PermissionDenied => {
            Error::new(Kind::Privilege, format!("reading '{}': {e}", path.display())).hint("run it with sudo")
        }
        io::ErrorKind::NotFound => {
            Error::damaged(format!("the store lacks '{}'", path.display())).hint(import)
        }
        io::ErrorKind::InvalidData => {
            Error::damaged(format!("store: '{}': {e}", path.display())).hint(import)
        }
        _ => Error::io("reading", path, e),
    }
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
