// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Something to mount on
//!
//! A tree need not have what is mounted on: /isar-apt, or a policy-rc.d. What is made for it is empty, is taken
//! away again by the outer process, and is recognised by the next run should a kill have prevented that.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use nix::mount::{MntFlags, umount2};
use serde::{Deserialize, Serialize};

use super::mounts::{InStep, OWN_MOUNTS, Step};

/// What we had to make in the tree to have something to mount on; it is taken away again afterwards.
#[derive(Debug, Default)]
pub(super) struct Placeholders(pub Vec<Placeholder>);

/// Something made in the tree, and the times of the directory it is in, which are to be restored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Placeholder {
    path: PathBuf,
    before: Option<Times>,
    after: Option<Times>,
}

/// Access and modification, seconds and nanoseconds.
type Times = [(i64, i64); 2];

fn times(path: &Path) -> Option<Times> {
    let m = fs::symlink_metadata(path).ok()?;
    Some([(m.atime(), m.atime_nsec()), (m.mtime(), m.mtime_nsec())])
}

fn parent_times(path: &Path) -> Option<Times> {
    times(path.parent()?)
}

impl Placeholders {
    /// Makes sure that something is there to mount a directory or a file on, and returns where it really is.
    pub(super) fn ensure(&mut self, target: &Path, directory: bool) -> Step<PathBuf> {
        let target = follow(target).step("resolving", target)?;
        if let Some(parent) = target.parent().filter(|p| !p.exists()) {
            self.make_parents(parent)?;
        }
        match fs::metadata(&target) {
            Ok(found) if found.is_dir() == directory => {
                if is_placeholder(&found) {
                    self.note(&target, None);
                }
                Ok(target)
            }
            Ok(_) => {
                let kind = if directory { io::ErrorKind::NotADirectory } else { io::ErrorKind::IsADirectory };
                Err(io::Error::from(kind)).step("mounting on", target)
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let before = parent_times(&target);
                if directory {
                    fs::DirBuilder::new().mode(PLACEHOLDER_MODE).create(&target)
                } else {
                    fs::OpenOptions::new()
                        .write(true)
                        .create_new(true)
                        .mode(PLACEHOLDER_MODE)
                        .open(&target)
                        .map(drop)
                }
                .step("making a place to mount on", &target)?;
                self.note(&target, before);
                Ok(target)
            }
            Err(e) => Err(e).step("mounting on", target),
        }
    }

    /// These are not mounted on, so what is below must be open to everybody.
    fn make_parents(&mut self, path: &Path) -> Step<()> {
        if let Some(parent) = path.parent().filter(|p| !p.exists()) {
            self.make_parents(parent)?;
        }
        let before = parent_times(path);
        fs::DirBuilder::new().mode(0o755).create(path).step("making a place to mount on", path)?;
        self.note(path, before);
        Ok(())
    }

    fn note(&mut self, target: &Path, before: Option<Times>) {
        // what is on a file system of our own vanishes with it
        if !OWN_MOUNTS.iter().any(|own| target.starts_with(own) && target != Path::new(own)) {
            self.0.push(Placeholder { path: target.to_owned(), before, after: parent_times(target) });
        }
    }
}

/// What is made to mount on looks like this: empty, and nobody may read it.
const PLACEHOLDER_MODE: u32 = 0o000;

/// Also what an earlier run, killed before it could clean up, has left.
fn is_placeholder(metadata: &fs::Metadata) -> bool {
    let empty = metadata.is_dir() || (metadata.is_file() && metadata.len() == 0);
    empty && metadata.mode() & 0o7777 == PLACEHOLDER_MODE
}

/// Takes the placeholders away, unless a package has made something of them.
pub(super) fn remove_placeholders(placeholders: &[Placeholder]) -> Vec<(PathBuf, io::Error)> {
    let mut failed = Vec::new();
    for Placeholder { path, before, after } in placeholders.iter().rev() {
        while umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW).is_ok() {}
        // only if nobody else has changed the directory meanwhile
        let restore = before.filter(|_| {
            let modified = |times: &Option<Times>| times.map(|t| t[1]);
            modified(after).is_some() && modified(after) == modified(&parent_times(path))
        });
        let removed = match fs::symlink_metadata(path) {
            Ok(m) if m.is_dir() => match fs::remove_dir(path) {
                Err(e) if e.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
                other => other,
            },
            Ok(m) if is_placeholder(&m) => fs::remove_file(path),
            Ok(_) => Ok(()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(e),
        };
        let removed = removed.and_then(|()| restore_times(path, restore));
        if let Err(e) = removed {
            failed.push((path.clone(), e));
        }
    }
    failed
}

fn restore_times(path: &Path, times: Option<Times>) -> io::Result<()> {
    let (Some(parent), Some([access, modification])) = (path.parent(), times) else { return Ok(()) };
    let spec = |(seconds, nanoseconds)| nix::sys::time::TimeSpec::new(seconds, nanoseconds);
    nix::sys::stat::utimensat(
        nix::fcntl::AT_FDCWD,
        parent,
        &spec(access),
        &spec(modification),
        nix::sys::stat::UtimensatFlags::NoFollowSymlink,
    )
    .map_err(Into::into)
}

/// Follows symbolic links, also where the last ones lead to something that is not there (yet).
fn follow(path: &Path) -> io::Result<PathBuf> {
    /// As many as the kernel follows.
    const LINK_LIMIT: usize = 40;
    let mut links = 0;
    let mut todo: Vec<std::ffi::OsString> =
        path.components().rev().map(|c| c.as_os_str().to_owned()).collect();
    let mut done = PathBuf::from("/");
    while let Some(part) = todo.pop() {
        match Path::new(&part).components().next() {
            Some(Component::RootDir) => done = PathBuf::from("/"),
            Some(Component::ParentDir) => {
                done.pop();
            }
            Some(Component::Normal(name)) => {
                let next = done.join(name);
                match fs::read_link(&next) {
                    Ok(link) => {
                        links += 1;
                        if links > LINK_LIMIT {
                            return Err(io::Error::other("too many levels of symbolic links"));
                        }
                        todo.extend(link.components().rev().map(|c| c.as_os_str().to_owned()));
                    }
                    Err(_) => done = next,
                }
            }
            _ => {}
        }
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::super::mounts::write_file;
    use super::*;

    #[test]
    fn links_are_followed_to_what_is_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap();
        fs::create_dir(root.join("etc")).unwrap();
        std::os::unix::fs::symlink("../run/stub/resolv.conf", root.join("etc/resolv.conf")).unwrap();
        assert_eq!(follow(&root.join("etc/resolv.conf")).unwrap(), root.join("run/stub/resolv.conf"));
        std::os::unix::fs::symlink("loop", root.join("loop")).unwrap();
        assert!(follow(&root.join("loop")).is_err());
    }

    #[test]
    fn placeholders_are_taken_away_but_not_what_has_become_of_them() {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap();
        // a temporary directory may be below /tmp, which is the sandbox's own: so note by hand
        let (a, b) = (root.join("a"), root.join("b"));
        fs::create_dir(&a).unwrap();
        write_file(&b, b"", PLACEHOLDER_MODE).unwrap();
        let kept = root.join("kept");
        write_file(&kept, b"", 0o755).unwrap();
        let full = root.join("full");
        fs::create_dir_all(full.join("x")).unwrap();
        let made = |path: &PathBuf| Placeholder { path: path.clone(), before: None, after: None };
        let failed = remove_placeholders(&[&a, &b, &kept, &full].map(made));
        assert!(failed.is_empty(), "{failed:?}");
        assert!(!a.exists() && !b.exists() && kept.exists() && full.exists());
    }
}
