// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # A tree to read from
//!
//! Every path is resolved by the kernel as if the tree were the root directory, so that no symlink that a package script
//! has left leads to the host.
//!
//! Paths below `/usr` are those of merged systems. Where a tree has directories of its own in `/bin`, `/sbin` or `/lib`, what
//! is not below `/usr` is looked for there.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno as NixErrno;
use nix::fcntl::OFlag;
use rustix::fs::{Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use template_bundle::inroot::open_within;

use super::dpkg::ALIASES;
use crate::error::{ChrootError, Result};

/// The largest file that is read; larger ones are none of a package manager.
const MAX_FILE: u64 = 64 << 20;

/// What something in a tree is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symlink, wherever it points.
    Symlink,
    /// A device, pipe or socket.
    Other,
}

impl From<FileType> for Kind {
    fn from(of: FileType) -> Self {
        match of {
            FileType::RegularFile => Self::File,
            FileType::Directory => Self::Directory,
            FileType::Symlink => Self::Symlink,
            _ => Self::Other,
        }
    }
}

/// A tree whose paths are resolved within it.
#[derive(Debug)]
pub struct Tree {
    fd: OwnedFd,
    path: PathBuf,
    /// Directories at the top that are not below `/usr`, with where they would be.
    unmerged: Vec<(&'static str, &'static str)>,
}

impl Tree {
    /// Opens the tree at a path of this process.
    pub fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|e| ChrootError::io("opening tree", path, e))?;
        let mut tree = Self { fd, path: path.to_owned(), unmerged: Vec::new() };
        for (top, merged) in ALIASES {
            if tree.kind(top)? == Some(Kind::Directory) {
                tree.unmerged.push((top, merged));
            }
        }
        Ok(tree)
    }

    /// Where the tree has what a merged one has at this path.
    pub fn place(&self, path: &Path) -> Result<PathBuf> {
        let elsewhere = match self.exactly_at(path, OFlags::PATH | OFlags::NOFOLLOW)? {
            Some(_) => None,
            None => self.elsewhere(path).filter(|other| self.stat(other).is_ok_and(|stat| stat.is_some())),
        };
        Ok(elsewhere.unwrap_or_else(|| path.to_owned()))
    }

    /// Where a tree that is not merged may have what is not at this path.
    fn elsewhere(&self, path: &Path) -> Option<PathBuf> {
        let inside = path.strip_prefix("/").unwrap_or(path);
        self.unmerged
            .iter()
            .find_map(|(top, merged)| Some(Path::new("/").join(top).join(inside.strip_prefix(merged).ok()?)))
    }

    fn at(&self, path: &Path, flags: OFlags) -> Result<Option<OwnedFd>> {
        match (self.exactly_at(path, flags)?, self.elsewhere(path)) {
            (None, Some(other)) => self.exactly_at(&other, flags),
            (found, _) => Ok(found),
        }
    }

    fn exactly_at(&self, path: &Path, flags: OFlags) -> Result<Option<OwnedFd>> {
        let flags = OFlag::from_bits_retain(flags.bits().cast_signed());
        match open_within(&self.fd, path, flags) {
            Ok(fd) => Ok(Some(fd)),
            Err(NixErrno::ENOENT | NixErrno::ENOTDIR | NixErrno::ELOOP | NixErrno::ENAMETOOLONG) => Ok(None),
            Err(e) => Err(self.failed("opening", path, e)),
        }
    }

    fn failed(&self, doing: &str, path: &Path, cause: impl Into<std::io::Error>) -> ChrootError {
        let inside = path.strip_prefix("/").unwrap_or(path);
        ChrootError::io(doing, self.path.join(inside), cause)
    }

    /// Metadata of a path itself, if it is there.
    pub fn stat(&self, path: impl AsRef<Path>) -> Result<Option<Stat>> {
        let path = path.as_ref();
        let Some(fd) = self.at(path, OFlags::PATH | OFlags::NOFOLLOW)? else { return Ok(None) };
        rustix::fs::fstat(&fd).map(Some).map_err(|e| self.failed("reading", path, e))
    }

    /// What a path itself is, if it is there.
    pub fn kind(&self, path: impl AsRef<Path>) -> Result<Option<Kind>> {
        Ok(self.stat(path)?.map(|stat| FileType::from_raw_mode(stat.st_mode).into()))
    }

    /// Whether a path leads to something, also by symlinks.
    pub fn leads_somewhere(&self, path: impl AsRef<Path>) -> Result<bool> {
        Ok(self.at(path.as_ref(), OFlags::PATH)?.is_some())
    }

    /// Where a symlink points, in its own words.
    pub fn link(&self, path: impl AsRef<Path>) -> Result<Option<PathBuf>> {
        let path = path.as_ref();
        let Some(fd) = self.at(path, OFlags::PATH | OFlags::NOFOLLOW)? else { return Ok(None) };
        match rustix::fs::readlinkat(&fd, "", Vec::new()) {
            Ok(target) => Ok(Some(OsString::from_vec(target.into_bytes()).into())),
            // no symlink
            Err(Errno::INVAL | Errno::NOENT) => Ok(None),
            Err(e) => Err(self.failed("reading", path, e)),
        }
    }

    /// A regular file to read from, if there is one.
    pub(crate) fn file(&self, path: impl AsRef<Path>) -> Result<Option<File>> {
        let path = path.as_ref();
        let failed = |e: std::io::Error| self.failed("reading", path, e);
        // looked at before it is opened: a pipe would be waited for, and a device may do something
        let Some(fd) = self.at(path, OFlags::PATH)? else { return Ok(None) };
        let stat = rustix::fs::fstat(&fd).map_err(|e| failed(e.into()))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Ok(None);
        }
        let same = format!("/proc/self/fd/{}", fd.as_raw_fd());
        File::open(same).map(Some).map_err(failed)
    }

    /// The content of a regular file, if there is one.
    pub fn read(&self, path: impl AsRef<Path>) -> Result<Option<Vec<u8>>> {
        let path = path.as_ref();
        let Some(file) = self.file(path)? else { return Ok(None) };
        let mut content = Vec::new();
        file.take(MAX_FILE + 1).read_to_end(&mut content).map_err(|e| self.failed("reading", path, e))?;
        Ok((content.len() as u64 <= MAX_FILE).then_some(content))
    }

    /// A text file, nothing if there is none.
    pub fn text(&self, path: impl AsRef<Path>) -> Result<String> {
        let content = self.read(path)?.unwrap_or_default();
        Ok(String::from_utf8_lossy(&content).into_owned())
    }

    /// Names in a directory and what they are, sorted; nothing if it is not there.
    pub fn list(&self, path: impl AsRef<Path>) -> Result<Vec<(OsString, Kind)>> {
        let path = path.as_ref();
        let Some(fd) = self.at(path, OFlags::RDONLY | OFlags::DIRECTORY)? else { return Ok(Vec::new()) };
        let failed = |e: Errno| self.failed("reading", path, e);
        let mut names = Vec::new();
        for entry in Dir::new(fd).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let name = OsString::from_vec(name.to_vec());
            let kind = match entry.file_type() {
                FileType::Unknown => self.kind(path.join(&name))?.unwrap_or(Kind::Other),
                known => known.into(),
            };
            names.push((name, kind));
        }
        names.sort_by(|a, b| a.0.as_bytes().cmp(b.0.as_bytes()));
        Ok(names)
    }
}

#[cfg(test)]
pub(crate) fn of_files(files: &[(&str, &str)]) -> (tempfile::TempDir, Tree) {
    let dir = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        match content.strip_prefix("-> ") {
            Some(target) => std::os::unix::fs::symlink(target, path).unwrap(),
            None => std::fs::write(path, content).unwrap(),
        }
    }
    let tree = Tree::open(dir.path()).unwrap();
    (dir, tree)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_need_not_be_merged() {
        let (_dir, tree) = of_files(&[
            ("bin/own", "own\n"),
            ("bin/both", "not this\n"),
            ("usr/bin/both", "both\n"),
            ("usr/lib/x", "x\n"),
            ("lib", "-> usr/lib"),
            ("lib64/ld.so", "-> /nothing"),
        ]);
        assert_eq!(tree.text("/usr/bin/own").unwrap(), "own\n");
        assert_eq!(tree.text("usr/bin/both").unwrap(), "both\n");
        assert_eq!(tree.kind("/usr/lib64/ld.so").unwrap(), Some(Kind::Symlink));
        assert_eq!(tree.kind("/usr/bin/none").unwrap(), None);
        for (path, place) in [
            ("/usr/bin/own", "/bin/own"),
            ("/usr/bin/both", "/usr/bin/both"),
            ("/usr/lib64/ld.so", "/lib64/ld.so"),
            ("/usr/lib/x", "/usr/lib/x"),
            ("/usr/lib/none", "/usr/lib/none"),
        ] {
            assert_eq!(tree.place(Path::new(path)).unwrap(), Path::new(place));
        }
    }

    #[test]
    fn symlinks_stay_in_the_tree() {
        let (_dir, tree) = of_files(&[
            ("etc/hostname", "inside\n"),
            ("etc/absolute", "-> /etc/hostname"),
            ("etc/up", "-> ../../../../etc/hostname"),
            ("etc/loop", "-> loop"),
            ("etc/dangling", "-> /usr/bin/nothing"),
        ]);
        for path in ["/etc/absolute", "etc/up"] {
            assert_eq!(tree.text(path).unwrap(), "inside\n", "{path}");
        }
        assert_eq!(tree.link("/etc/up").unwrap().unwrap(), Path::new("../../../../etc/hostname"));
        assert_eq!(tree.link("/etc/hostname").unwrap(), None);
        assert_eq!(tree.kind("/etc/loop").unwrap(), Some(Kind::Symlink));
        for path in ["/etc/loop", "/etc/dangling", "/nothing", "/etc/hostname/below"] {
            assert!(!tree.leads_somewhere(path).unwrap(), "{path}");
            assert_eq!(tree.read(path).unwrap(), None);
        }
        let names: Vec<_> = tree.list("/etc").unwrap().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["absolute", "dangling", "hostname", "loop", "up"]);
        assert!(tree.list("/etc/hostname").unwrap().is_empty());
    }
}
