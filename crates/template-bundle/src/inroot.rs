// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Paths inside a tree
//!
//! Trees hold what strangers' scripts have left there. Every path is resolved by the kernel as if the tree were the
//! root directory (`RESOLVE_IN_ROOT`), so that no symlink leads to the host.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::NixPath;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, open, openat2, renameat};
use nix::sys::stat::{FileStat, Mode, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::error::{Error, IoContext, Result};

/// Largest configuration file that is read whole.
const MAX_FILE: u64 = 16 << 20;

/// Opens a path as if the directory were the root of everything.
pub fn open_within<P: ?Sized + NixPath>(root: impl AsFd, path: &P, flags: OFlag) -> nix::Result<OwnedFd> {
    let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(ResolveFlag::RESOLVE_IN_ROOT);
    loop {
        match openat2(&root, path, how) {
            // something on this machine was renamed while the kernel looked for '..'
            Err(Errno::EAGAIN | Errno::EINTR) => continue,
            other => return other,
        }
    }
}

/// A tree whose paths are resolved within it.
pub struct InRoot {
    path: PathBuf,
    fd: OwnedFd,
}

impl InRoot {
    /// Opens the tree.
    pub fn open(path: &Path) -> Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let fd = open(path, flags, Mode::empty()).doing("opening tree", path)?;
        // what the kernel calls it: `/` for a mount that is in no namespace
        let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
        let path = fs::read_link(&link).doing("reading", &link)?;
        Ok(InRoot { path, fd })
    }

    fn at(&self, path: &[u8], flags: OFlag) -> Result<Option<OwnedFd>> {
        let path = if path.is_empty() { b"." } else { path };
        match open_within(&self.fd, path, flags) {
            Ok(fd) => Ok(Some(fd)),
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => Ok(None),
            Err(e) => Err(Error::io("opening", self.path.join(OsStr::from_bytes(path)), e)),
        }
    }

    /// The directory that holds this path, and its last name.
    fn parent<'a>(&self, path: &'a [u8]) -> Result<Option<(OwnedFd, &'a [u8])>> {
        let (dir, name) = match path.iter().rposition(|c| *c == b'/') {
            Some(at) => (&path[..at], &path[at + 1..]),
            None => (&[][..], path),
        };
        Ok(self.at(dir, OFlag::O_PATH | OFlag::O_DIRECTORY)?.map(|fd| (fd, name)))
    }

    /// The same place without symlinks in its directory, as it stands in the tree.
    pub fn canonical(&self, path: &[u8]) -> Result<Option<Vec<u8>>> {
        let Some((dir, name)) = self.parent(path)? else {
            return Ok(None);
        };
        let link = format!("/proc/self/fd/{}", dir.as_raw_fd());
        let real = fs::read_link(&link).doing("reading", &link)?;
        let Ok(inside) = real.strip_prefix(&self.path) else {
            return Ok(None);
        };
        Ok(Some(inside.join(OsStr::from_bytes(name)).into_os_string().into_vec()))
    }

    /// Metadata of a path itself, if it exists.
    pub fn lstat(&self, path: &[u8]) -> Result<Option<FileStat>> {
        let Some((dir, name)) = self.parent(path)? else {
            return Ok(None);
        };
        match fstatat(&dir, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::ENOENT) => Ok(None),
            Err(e) => Err(Error::io("reading", self.path.join(OsStr::from_bytes(path)), e)),
        }
    }

    /// Whether it is a regular file.
    pub fn is_file(&self, path: &[u8]) -> Result<bool> {
        Ok(self.lstat(path)?.is_some_and(|s| s.st_mode & nix::libc::S_IFMT == nix::libc::S_IFREG))
    }

    /// Content of a regular file, if there is one.
    pub fn read(&self, path: &[u8]) -> Result<Option<Vec<u8>>> {
        let Some(fd) = self.at(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK)? else {
            return Ok(None);
        };
        let file = File::from(fd);
        let meta = file.metadata().doing("reading", self.path.join(OsStr::from_bytes(path)))?;
        if !meta.is_file() || meta.size() > MAX_FILE {
            return Ok(None);
        }
        let mut out = Vec::new();
        file.take(MAX_FILE)
            .read_to_end(&mut out)
            .doing("reading", self.path.join(OsStr::from_bytes(path)))?;
        Ok(Some(out))
    }

    /// Names in a directory, sorted; none if it is not there.
    pub fn list(&self, path: &[u8]) -> Result<Vec<OsString>> {
        let Some(fd) = self.at(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY)? else {
            return Ok(vec![]);
        };
        let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
        let mut names = fs::read_dir(&link)
            .and_then(|dir| dir.map(|e| e.map(|e| e.file_name())).collect::<std::io::Result<Vec<_>>>())
            .doing("reading", self.path.join(OsStr::from_bytes(path)))?;
        names.sort();
        Ok(names)
    }

    /// Overwrites the content of a regular file that exists, keeping its owner and mode.
    pub fn overwrite(&self, path: &[u8], content: &[u8]) -> Result<()> {
        let shown = self.path.join(OsStr::from_bytes(path));
        let fd = self
            .at(path, OFlag::O_WRONLY | OFlag::O_TRUNC | OFlag::O_NONBLOCK)?
            .ok_or_else(|| Error::io("writing", &shown, "it does not exist"))?;
        File::from(fd).write_all(content).doing("writing", &shown)
    }

    /// Removes a file, or a directory with all below it. What is not there is fine.
    pub fn remove(&self, path: &[u8]) -> Result<()> {
        let shown = self.path.join(OsStr::from_bytes(path));
        let Some((dir, name)) = self.parent(path)? else {
            return Ok(());
        };
        match unlinkat(&dir, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(Errno::EISDIR | Errno::EPERM) => {
                for child in self.list(path)? {
                    self.remove(&[path, b"/", child.as_bytes()].concat())?;
                }
                unlinkat(&dir, name, UnlinkatFlags::RemoveDir).doing("removing", shown)
            }
            Err(e) => Err(Error::io("removing", shown, e)),
        }
    }

    /// Renames a file, replacing what is there.
    pub fn rename(&self, from: &[u8], to: &[u8]) -> Result<()> {
        let shown = self.path.join(OsStr::from_bytes(from));
        match (self.parent(from)?, self.parent(to)?) {
            (Some((from_dir, from)), Some((to_dir, to))) => {
                renameat(&from_dir, from, &to_dir, to).doing("renaming", shown)
            }
            _ => Err(Error::io("renaming", shown, "it does not exist")),
        }
    }

    /// Where the tree is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn symlinks_do_not_lead_out_of_the_tree() {
        let outer = tempfile::tempdir().unwrap();
        let tree = outer.path().join("tree");
        fs::create_dir_all(tree.join("usr/sbin")).unwrap();
        fs::write(outer.path().join("secret"), "host").unwrap();
        fs::write(tree.join("usr/sbin/x"), "tree").unwrap();
        symlink("usr/sbin", tree.join("sbin")).unwrap();
        symlink("../../..", tree.join("up")).unwrap();
        symlink(outer.path(), tree.join("abs")).unwrap();
        let root = InRoot::open(&tree).unwrap();
        assert_eq!(root.canonical(b"/sbin/x").unwrap().unwrap(), b"usr/sbin/x");
        assert_eq!(root.read(b"up/secret").unwrap(), None);
        assert_eq!(root.read(b"abs/secret").unwrap(), None);
        root.remove(b"abs/secret").unwrap();
        root.remove(b"up/secret").unwrap();
        assert!(outer.path().join("secret").exists());
        root.remove(b"abs").unwrap();
        root.remove(b"usr").unwrap();
        assert!(!tree.join("usr").exists());
    }
}
