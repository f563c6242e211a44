// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Reading a tree from disk
//!
//! Walks a directory without following symlinks and without leaving its file system, and notes all metadata. The
//! contents of files are not read here; their digests come in when they are packed.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::{Whence, lseek};

use crate::bytes::Bytes;
use crate::checker::OVERLAY_XATTRS;
use crate::device;
use crate::digest::Digest;
use crate::error::{Error, IoContext, Kind, Result};
use crate::toc::{Entry, Node};
use crate::whiteout::{PREFIX, is_whiteout};

type Attributes = Vec<(Bytes, Bytes)>;

/// What a walk has to tell besides the entries.
#[derive(Debug, Default)]
pub struct Notes {
    /// Sockets, which no archive can hold. They are left out.
    pub sockets: Vec<PathBuf>,
}

/// More holes of one file than this are not noted: each costs a line in the table of contents some bytes.
const MAX_HOLES: usize = 4096;

/// Reads a directory tree. A single file is read as a tree that holds it alone. A link is followed, what is in the
/// tree is not.
pub fn scan(path: &Path) -> Result<(Vec<Entry>, Notes)> {
    let meta = fs::metadata(path).doing("reading", path)?;
    let mut scan = Scan::of(&meta);
    if meta.is_dir() {
        scan.add(path, Vec::new(), &meta)?;
        scan.children(path, &[])?;
    } else if meta.is_file() {
        let name = path.file_name().unwrap_or(OsStr::new("file")).as_bytes().to_vec();
        let root = with_metadata(Bytes::default(), Node::Directory, &meta, vec![]);
        scan.entries.push(Entry { mode: 0o755, ..root });
        // by its real path, as the attributes are those of the file
        scan.add(&path.canonicalize().doing("reading", path)?, name, &meta)?;
    } else {
        return Err(Error::usage(format!("'{}' is neither a directory nor a file", path.display()))
            .hint("give a directory, or a file"));
    }
    Ok((scan.entries, scan.notes))
}

/// A directory as the top of a tree, without what is in it.
pub fn top(path: &Path) -> Result<Entry> {
    let meta = fs::metadata(path).doing("reading", path)?;
    Ok(with_metadata(Bytes::default(), Node::Directory, &meta, read_xattrs(path)?))
}

/// A single file of any kind, under a name of the caller's; a hard link is a file here.
pub fn entry(path: &Path, name: Bytes) -> Result<Entry> {
    let meta = fs::symlink_metadata(path).doing("reading", path)?;
    let mut scan = Scan::of(&meta);
    scan.entry(path, name.0, &meta)
}

/// A walk, or a look at some files of a tree.
pub(crate) struct Scan {
    entries: Vec<Entry>,
    pub notes: Notes,
    /// First name of an inode with several, and its attributes.
    links: HashMap<(u64, u64), (Bytes, Attributes)>,
    device: u64,
}

impl Scan {
    /// One of a tree whose top is this.
    pub fn of(top: &fs::Metadata) -> Self {
        Self { entries: Vec::new(), notes: Notes::default(), links: HashMap::new(), device: top.dev() }
    }

    fn children(&mut self, dir: &Path, prefix: &[u8]) -> Result<()> {
        let mut names = Vec::new();
        for child in fs::read_dir(dir).doing("reading", dir)? {
            names.push(child.doing("reading", dir)?.file_name());
        }
        names.sort_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
        for name in names {
            let path = dir.join(&name);
            let mut full = prefix.to_vec();
            if !full.is_empty() {
                full.push(b'/');
            }
            full.extend_from_slice(name.as_bytes());
            let Some(entry) = self.look(&path, full.clone())? else { continue };
            let is_dir = entry.node == Node::Directory;
            self.entries.push(entry);
            if is_dir {
                self.children(&path, &full)?;
            }
        }
        Ok(())
    }

    /// A file and its path in the tree; none of a socket.
    pub fn look(&mut self, path: &Path, full: Vec<u8>) -> Result<Option<Entry>> {
        if is_whiteout(&full) {
            return Err(Error::new(
                Kind::Refused,
                format!(
                    "'{}' cannot be packed: OCI layers use the prefix '{PREFIX}' for deletions",
                    path.display()
                ),
            )
            .hint("remove or rename the file"));
        }
        let meta = fs::symlink_metadata(path).doing("reading", path)?;
        if meta.dev() != self.device {
            return Err(Error::new(
                Kind::Refused,
                format!("'{}' is on another file system", path.display()),
            )
            .hint("unmount what is mounted inside of the tree before packing it; the layers of an overlay must be on one file system"));
        }
        if meta.file_type().is_socket() {
            self.notes.sockets.push(path.to_path_buf());
            return Ok(None);
        }
        self.entry(path, full, &meta).map(Some)
    }

    fn add(&mut self, path: &Path, full: Vec<u8>, meta: &fs::Metadata) -> Result<()> {
        let entry = self.entry(path, full, meta)?;
        self.entries.push(entry);
        Ok(())
    }

    fn entry(&mut self, path: &Path, full: Vec<u8>, meta: &fs::Metadata) -> Result<Entry> {
        let full = Bytes(full);
        let inode = (meta.dev(), meta.ino());
        let linked = !meta.is_dir() && meta.nlink() > 1;
        if linked && let Some((first, xattrs)) = self.links.get(&inode) {
            let node = Node::Hardlink { target: first.clone() };
            return Ok(with_metadata(full, node, meta, xattrs.clone()));
        }
        let mut xattrs = read_xattrs(path)?;
        let stands_for = match meta.is_file() {
            true => device::take(&path.display().to_string(), &mut xattrs)?,
            false => None,
        };
        if linked {
            self.links.insert(inode, (full.clone(), xattrs.clone()));
        }
        let kind = meta.file_type();
        let (major, minor) = (nix::sys::stat::major(meta.rdev()), nix::sys::stat::minor(meta.rdev()));
        let node = if let Some(device) = stands_for {
            device
        } else if kind.is_dir() {
            Node::Directory
        } else if kind.is_symlink() {
            Node::Symlink {
                target: Bytes(fs::read_link(path).doing("reading", path)?.as_os_str().as_bytes().to_vec()),
            }
        } else if kind.is_char_device() && (major, minor) == (0, 0) {
            return Err(Error::new(
                Kind::Refused,
                format!("'{}' cannot be packed: it is overlayfs's mark for a deleted file", path.display()),
            )
            .hint("pack the merged tree, not the upper directory of an overlay"));
        } else if kind.is_char_device() {
            Node::CharDevice { major, minor }
        } else if kind.is_block_device() {
            Node::BlockDevice { major, minor }
        } else if kind.is_fifo() {
            Node::Fifo
        } else {
            let holes = if meta.blocks() * 512 < meta.size() { holes(path, meta.size())? } else { vec![] };
            Node::File { size: meta.size(), digest: Digest::of(b""), holes }
        };
        Ok(with_metadata(full, node, meta, xattrs))
    }
}

fn with_metadata(path: Bytes, node: Node, meta: &fs::Metadata, xattrs: Attributes) -> Entry {
    Entry {
        path,
        node,
        mode: meta.mode() & 0o7777,
        uid: meta.uid(),
        gid: meta.gid(),
        mtime: (meta.mtime(), u32::try_from(meta.mtime_nsec()).unwrap_or(0)),
        xattrs,
    }
}

/// All extended attributes that belong to the tree, in byte order of their names.
fn read_xattrs(path: &Path) -> Result<Attributes> {
    let names = match xattr::list(path) {
        Ok(names) => names,
        Err(e) if e.raw_os_error() == Some(Errno::EOPNOTSUPP as i32) => return Ok(vec![]),
        Err(e) => return Err(Error::io("reading attributes", path, e)),
    };
    let mut out = Vec::new();
    for name in names {
        let bytes = name.as_bytes();
        if OVERLAY_XATTRS.iter().any(|foreign| bytes.starts_with(foreign)) {
            continue;
        }
        if bytes.contains(&b'=') || bytes.iter().any(u8::is_ascii_control) {
            let name = Bytes::from(bytes).display();
            let path = path.display();
            return Err(Error::new(
                Kind::Refused,
                format!("attribute '{name}' of '{path}' cannot be packed: a tar cannot hold its name"),
            )
            .hint("remove the attribute: setfattr -x"));
        }
        if let Some(value) = xattr::get(path, &name).doing("reading attributes", path)? {
            out.push((bytes.into(), Bytes(value)));
        }
    }
    out.sort();
    Ok(out)
}

fn holes(path: &Path, size: u64) -> Result<Vec<(u64, u64)>> {
    let file = File::open(path).doing("reading", path)?;
    let size = i64::try_from(size).doing("reading", path)?;
    let mut out = Vec::new();
    let mut at = 0;
    while at < size {
        let hole = lseek(&file, at, Whence::SeekHole).doing("seeking", path)?;
        if hole >= size {
            break;
        }
        let data = match lseek(&file, hole, Whence::SeekData) {
            Ok(data) => data,
            Err(Errno::ENXIO) => size,
            Err(e) => return Err(Error::io("seeking", path, e)),
        };
        out.push((hole.unsigned_abs(), (data - hole).unsigned_abs()));
        at = data;
    }
    if out.len() > MAX_HOLES {
        // the largest are worth most
        out.sort_by_key(|(_, len)| std::cmp::Reverse(*len));
        out.truncate(MAX_HOLES);
        out.sort();
    }
    Ok(out)
}
