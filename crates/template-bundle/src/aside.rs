// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Files and directories that get their name when they are complete
//!
//! A new file has no name at all until then, where the file system knows such files (`O_TMPFILE`): when its writer is
//! killed, nothing is left. A directory, a file on another file system, and for a moment a file that replaces one have a
//! name beside their target, and are held by who makes them; whoever makes the same target the next time removes those
//! that nobody holds.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, Flock, FlockArg};
use nix::libc;

use crate::error::{IoContext, Result};
use crate::writer::{parent_of, sync_parent, umask};

/// After a dot and the name of the target, in the name of what is being made for it.
const MARK: &str = ".isar-template-";
/// How much of the name of the target: names have 255 bytes.
const NAME_BYTES: usize = 200;

/// A file that is being written.
pub struct NewFile {
    target: PathBuf,
    file: File,
    /// Its name until it is complete, if it needs one.
    name: Option<tempfile::TempPath>,
    _held: Option<Flock<File>>,
}

impl NewFile {
    /// Begins one. Only its owner may read it until it is complete.
    pub fn new(target: &Path) -> Result<NewFile> {
        let parent = parent_of(target);
        sweep(parent, &prefix_of(target));
        let nameless =
            File::options().read(true).write(true).custom_flags(libc::O_TMPFILE).mode(0o600).open(parent);
        let (file, name) = match nameless {
            Ok(file) if handle(&file).exists() => (file, None),
            _ => {
                let temp = tempfile::Builder::new().prefix(&prefix_of(target)).tempfile_in(parent);
                let (file, name) = temp.doing("creating", parent)?.into_parts();
                (file, Some(name))
            }
        };
        let held = hold(file.try_clone().doing("creating", target)?).unwrap_or(None);
        Ok(NewFile { target: target.to_path_buf(), file, name, _held: held })
    }

    /// To write to.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Syncs it and gives it its name.
    pub fn keep(self) -> Result<()> {
        let target = self.target.clone();
        self.keep_as(&target)
    }

    /// The same with another name in the same directory. Who may read it is up to the umask, as for any new file.
    pub fn keep_as(mut self, target: &Path) -> Result<()> {
        let mode = fs::Permissions::from_mode(0o666 & !umask());
        self.file.set_permissions(mode).and_then(|()| self.file.sync_all()).doing("writing", target)?;
        let name = match self.name.take() {
            Some(name) => name,
            None => match link(&self.file, target) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                    // only a rename replaces a name
                    let linked = tempfile::Builder::new()
                        .prefix(&prefix_of(&self.target))
                        .make_in(parent_of(target), |name| link(&self.file, name));
                    linked.doing("writing", target)?.into_temp_path()
                }
                other => {
                    other.doing("writing", target)?;
                    return sync_parent(target);
                }
            },
        };
        name.persist(target).map_err(|e| e.error).doing("writing", target)?;
        sync_parent(target)
    }
}

/// Writes a small file.
pub fn write(target: &Path, bytes: &[u8]) -> Result<()> {
    let new = NewFile::new(target)?;
    io::Write::write_all(&mut new.file(), bytes).doing("writing", target)?;
    new.keep()
}

/// A directory that is being filled. Only its owner may enter it.
pub struct NewDir {
    target: PathBuf,
    dir: tempfile::TempDir,
    _held: Option<Flock<File>>,
}

impl NewDir {
    /// Begins one.
    pub fn new(target: &Path) -> Result<NewDir> {
        let (parent, prefix) = (parent_of(target), prefix_of(target));
        sweep(parent, &prefix);
        loop {
            let dir =
                tempfile::Builder::new().prefix(&prefix).tempdir_in(parent).doing("creating", parent)?;
            // where there are no locks nobody sweeps; elsewhere a sweep may have come before
            let held = File::open(dir.path()).and_then(hold);
            match dir.path().exists() {
                true if !matches!(held, Ok(None)) => {
                    return Ok(NewDir { target: target.to_path_buf(), dir, _held: held.unwrap_or(None) });
                }
                _ => {}
            }
        }
    }

    /// To fill.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Gives it its name, which may be that of an empty directory.
    pub fn keep(self) -> Result<()> {
        fs::rename(self.dir.path(), &self.target).doing("naming", &self.target)?;
        // the name is gone already, there is nothing left to remove
        let _ = self.dir.keep();
        Ok(())
    }
}

/// How the names begin of what is made for a target.
fn prefix_of(target: &Path) -> OsString {
    let name = target.file_name().unwrap_or_default().as_bytes();
    let parts = [b".", &name[..name.len().min(NAME_BYTES)], MARK.as_bytes()];
    OsStr::from_bytes(&parts.concat()).to_os_string()
}

/// Where the kernel shows an open file.
fn handle(file: &File) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}

/// Names a file that is open.
fn link(file: &File, name: &Path) -> io::Result<()> {
    Ok(nix::unistd::linkat(AT_FDCWD, &handle(file), AT_FDCWD, name, AtFlags::AT_SYMLINK_FOLLOW)?)
}

/// Holds what is being made; none when somebody else does.
fn hold(file: File) -> io::Result<Option<Flock<File>>> {
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(held) => Ok(Some(held)),
        Err((_, Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, e)) => Err(e.into()),
    }
}

/// Removes what was being made for a target by somebody who was killed.
fn sweep(parent: &Path, prefix: &OsStr) {
    // where nothing can be listed, making something will tell
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten().filter(|e| e.file_name().as_bytes().starts_with(prefix.as_bytes())) {
        let path = entry.path();
        // what vanishes meanwhile has got its name, or somebody else sweeps; what stays is in nobody's way
        match sweep_one(&path) {
            Ok(true) => log::info!("removed '{}', left by a process that died", path.display()),
            Ok(false) => {}
            Err(e) if !path.exists() => log::debug!("'{}': {e}", path.display()),
            Err(e) => log::warn!("removing '{}', left by a process that died: {e}", path.display()),
        }
    }
}

fn sweep_one(path: &Path) -> io::Result<bool> {
    let meta = fs::symlink_metadata(path)?;
    if meta.uid() != nix::unistd::geteuid().as_raw() || !(meta.is_dir() || meta.is_file()) {
        return Ok(false);
    }
    let file = File::options().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
    // where there are no locks nobody can tell
    let Ok(Some(held)) = hold(file) else { return Ok(false) };
    let now = fs::symlink_metadata(path)?;
    let found = held.metadata()?;
    if (now.dev(), now.ino()) != (found.dev(), found.ino()) {
        return Ok(false);
    }
    if meta.is_dir() {
        fs::remove_dir_all(path)?
    } else {
        fs::remove_file(path)?
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_there_when_it_is_complete() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("plan.json");
        for content in ["one", "two"] {
            let before = names(dir.path());
            let new = NewFile::new(&target).unwrap();
            io::Write::write_all(&mut new.file(), content.as_bytes()).unwrap();
            // one more, which is given up
            drop(NewFile::new(&target).unwrap());
            assert!(new.name.is_some() || names(dir.path()) == before);
            new.keep().unwrap();
            assert_eq!(fs::read_to_string(&target).unwrap(), content);
            assert_eq!(names(dir.path()), ["plan.json"]);
        }
    }

    #[test]
    fn what_the_dead_have_left_goes_and_what_is_held_stays() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("out.tar");
        fs::write(dir.path().join(".out.tar.isar-template-dead"), "x").unwrap();
        fs::create_dir_all(dir.path().join(".out.tar.isar-template-gone/blobs")).unwrap();
        fs::write(dir.path().join(".other.tar.isar-template-dead"), "x").unwrap();
        std::os::unix::fs::symlink("/", dir.path().join(".out.tar.isar-template-link")).unwrap();
        let filling = NewDir::new(&target).unwrap();
        let left = [".other.tar.isar-template-dead", ".out.tar.isar-template-link"];
        let ours = filling.path().file_name().unwrap().to_str().unwrap().to_owned();
        let mut expected = [left[0], left[1], &ours].map(str::to_owned).to_vec();
        expected.sort();
        assert_eq!(names(dir.path()), expected);
        write(&target, b"complete").unwrap();
        assert!(filling.path().is_dir());
        drop(filling);
        assert_eq!(names(dir.path()), [left[0], left[1], "out.tar"]);
    }

    #[test]
    fn a_directory_takes_the_place_of_an_empty_one() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("n".repeat(255));
        fs::create_dir(&target).unwrap();
        let filling = NewDir::new(&target).unwrap();
        fs::write(filling.path().join("file"), "x").unwrap();
        filling.keep().unwrap();
        assert!(target.join("file").exists() && names(dir.path()).len() == 1);
    }
}
