// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Making files from entries
//!
//! All of it happens below a directory that nobody else can enter yet, and entries have passed the checks of the
//! table of contents: every parent is a directory made here.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{Mode, SFlag, UtimensatFlags, futimens, makedev, mknod, utimensat};
use nix::sys::time::TimeSpec;
use template_bundle::error::IoContext;
use template_bundle::toc::{Entry, Node};
use template_bundle::{Error, Kind, Result, device, ids};

/// Where an entry goes.
pub fn path(root: &Path, entry: &Entry) -> PathBuf {
    if entry.path.0.is_empty() { root.to_path_buf() } else { root.join(entry.path.as_path()) }
}

/// Creates a directory, still closed to others.
pub fn make_dir(path: &Path) -> Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(Error::io("creating", path, e)),
        _ => Ok(()),
    }
}

/// Creates what is neither directory, file nor hard link, with its metadata.
pub fn make_special(root: &Path, entry: &Entry) -> Result<()> {
    let path = path(root, entry);
    let device = |kind, major, minor| match ids::map() {
        None => mknod(&path, kind, Mode::S_IRUSR, makedev(major, minor)).doing("creating device", &path),
        Some(_) => make_stand_in(&path, &entry.node),
    };
    match &entry.node {
        Node::Symlink { target } => {
            std::os::unix::fs::symlink(OsStr::from_bytes(&target.0), &path)
                .doing("creating symlink", &path)?;
        }
        Node::CharDevice { major, minor } => device(SFlag::S_IFCHR, *major, *minor)?,
        Node::BlockDevice { major, minor } => device(SFlag::S_IFBLK, *major, *minor)?,
        Node::Fifo => nix::unistd::mkfifo(&path, Mode::S_IRUSR).doing("creating pipe", &path)?,
        Node::Directory | Node::File { .. } | Node::Hardlink { .. } => return Ok(()),
    }
    set_metadata(&path, entry)
}

/// Creates a file that stands for a device.
fn make_stand_in(path: &Path, node: &Node) -> Result<()> {
    make_file(path)?;
    let value = device::describe(node).unwrap_or_default();
    match xattr::set(path, device::ATTRIBUTE, value.as_bytes()) {
        Err(e) if e.raw_os_error() == Some(nix::libc::EOPNOTSUPP) => Err(Error::new(
            Kind::Privilege,
            format!(
                "'{}' is a device, and its file system has no attributes to keep that in",
                path.display()
            ),
        )
        .hint("take a directory on another file system, or run it with sudo")),
        other => other.doing("setting an attribute of", path),
    }
}

/// Takes away what a new directory has inherited, so that nothing made in it inherits it: access control lists of the
/// place are not those of the tree.
pub fn forget_acl(dir: &Path) -> Result<()> {
    for name in ["system.posix_acl_default", "system.posix_acl_access"] {
        match xattr::remove(dir, name) {
            Ok(()) => {}
            Err(e) if matches!(e.raw_os_error(), Some(nix::libc::ENODATA | nix::libc::EOPNOTSUPP)) => {}
            Err(e) => return Err(Error::io("removing the access control list of", dir, e)),
        }
    }
    Ok(())
}

/// Creates a file to be filled.
pub fn make_file(path: &Path) -> Result<File> {
    File::options().write(true).create_new(true).mode(0o600).open(path).doing("creating", path)
}

/// Whether a path is the file of an entry, as far as can be seen without reading it.
pub fn looks_like(path: &Path, entry: &Entry) -> Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(meta) => Ok(meta.is_file()
            && meta.len() == entry.size()
            && (meta.mtime(), meta.mtime_nsec()) == (entry.mtime.0, i64::from(entry.mtime.1))
            && (meta.uid(), meta.gid(), meta.mode() & 0o7777) == (entry.uid, entry.gid, entry.mode)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(Error::io("reading", path, e)),
    }
}

/// Sets owner, attributes, mode and time, in the order in which they do not undo each other.
pub fn set_metadata(path: &Path, entry: &Entry) -> Result<()> {
    if let Some(map) = ids::map() {
        map.check(entry.path.display(), entry.uid, entry.gid)?;
    }
    std::os::unix::fs::lchown(path, Some(entry.uid), Some(entry.gid)).doing("setting the owner of", path)?;
    for (name, value) in &entry.xattrs {
        match xattr::set(path, OsStr::from_bytes(&name.0), &value.0) {
            // some have a form of their own, such as capabilities
            Err(e) if e.raw_os_error() == Some(nix::libc::EINVAL) => {
                let path = entry.path.display();
                return Err(Error::damaged(format!("'{path}' has an attribute {name:?} that is impossible")));
            }
            Err(e) if e.raw_os_error() == Some(nix::libc::EPERM) && ids::map().is_some() => {
                return Err(Error::new(
                    Kind::Privilege,
                    format!("'{}' has an attribute {name:?} that only root can set", entry.path.display()),
                )
                .hint("run it with sudo"));
            }
            other => other.doing(&format!("setting attribute {name:?} of"), path)?,
        }
    }
    if !matches!(entry.node, Node::Symlink { .. }) {
        fs::set_permissions(path, fs::Permissions::from_mode(entry.mode))
            .doing("setting the mode of", path)?;
    }
    let time = TimeSpec::new(entry.mtime.0, i64::from(entry.mtime.1));
    utimensat(AT_FDCWD, path, &time, &time, UtimensatFlags::NoFollowSymlink)
        .doing("setting the time of", path)
}

/// The same for a file that is open.
pub fn set_metadata_of(file: &File, path: &Path, entry: &Entry) -> Result<()> {
    if !entry.xattrs.is_empty() {
        return set_metadata(path, entry);
    }
    if let Some(map) = ids::map() {
        map.check(entry.path.display(), entry.uid, entry.gid)?;
    }
    std::os::unix::fs::fchown(file, Some(entry.uid), Some(entry.gid)).doing("setting the owner of", path)?;
    file.set_permissions(fs::Permissions::from_mode(entry.mode)).doing("setting the mode of", path)?;
    let time = TimeSpec::new(entry.mtime.0, i64::from(entry.mtime.1));
    futimens(file, &time, &time).doing("setting the time of", path)
}

/// Gives a directory the owner, mode, attributes and time of another one.
pub fn copy_metadata(from: &Path, to: &Path) -> Result<()> {
    set_metadata(to, &template_bundle::scan::top(from)?)
}

/// The parts of a content that are no holes: offset and length.
pub fn data_segments(entry: &Entry) -> Vec<(u64, u64)> {
    let Node::File { size, holes, .. } = &entry.node else { return vec![] };
    let mut out = Vec::new();
    let mut at = 0;
    for (offset, len) in holes {
        if *offset > at {
            out.push((at, offset - at));
        }
        at = offset + len;
    }
    if *size > at {
        out.push((at, size - at));
    }
    out
}

/// Writes a part of a content, leaving its holes.
pub fn write_part(file: &File, path: &Path, entry: &Entry, offset: u64, content: &[u8]) -> Result<()> {
    let Node::File { holes, .. } = &entry.node else { return Ok(()) };
    let end = offset + content.len() as u64;
    let slice = |from: u64, to: u64| &content[(from - offset) as usize..(to - offset) as usize];
    let mut at = offset;
    for (hole, len) in holes {
        let (from, to) = ((*hole).clamp(at, end), (hole + len).clamp(at, end));
        file.write_all_at(slice(at, from), at).doing("writing", path)?;
        at = to;
    }
    file.write_all_at(slice(at, end), at).doing("writing", path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use template_bundle::Digest;

    #[test]
    fn parts_are_written_around_holes() {
        let content: Vec<u8> = [vec![1; 10], vec![0; 20], vec![2; 10], vec![0; 10]].concat();
        let node = Node::File { size: 50, digest: Digest::of(&content), holes: vec![(10, 20), (40, 10)] };
        let entry = Entry { path: "f".into(), node, mode: 0, uid: 0, gid: 0, mtime: (0, 0), xattrs: vec![] };
        assert_eq!(data_segments(&entry), [(0, 10), (30, 10)]);
        let dir = tempfile::tempdir().unwrap();
        for cuts in [vec![0, 50], vec![0, 5, 15, 30, 45, 50]] {
            let path = dir.path().join(format!("{}", cuts.len()));
            let file = make_file(&path).unwrap();
            file.set_len(50).unwrap();
            for part in cuts.windows(2) {
                write_part(&file, &path, &entry, part[0], &content[part[0] as usize..part[1] as usize])
                    .unwrap();
            }
            assert_eq!(fs::read(&path).unwrap(), content);
        }
    }
}
