// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Table of contents of a tree
//!
//! JSON lines, compressed with zstd. The first line is the [`Head`]; then comes one [`Entry`] per path, parents
//! before children, siblings in byte order. The tar stream is a function of these entries and the contents of the
//! files (see [`crate::canon`]), so whoever holds the verified table never has to believe a tar header.
//!
//! A table that passes [`Checker`] describes a tree that cannot reach outside itself: every parent is a
//! directory that came before, no path occurs twice, and hard links point to earlier files.

use std::io::{BufRead, BufReader, Read, Write};

use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;
use crate::digest::Digest;
use crate::error::{Error, IoContext, Kind, Result};
use crate::manifest::Part;
use crate::scan::WHITEOUT;

/// Longest line: a path and a link target of 4 KiB each, and all extended attributes, base64 encoded.
const MAX_LINE: u64 = 1 << 20;
/// More entries than any Debian system has; bounds the memory that a bundle can ask for.
const MAX_ENTRIES: usize = 5_000_000;
/// Longest path: what the kernel takes.
const MAX_PATH: usize = 4095;
/// Longest name: what every file system takes.
const MAX_NAME: usize = 255;
/// Extended attributes of one file: what the kernel lists at most, and more than ext4 can hold.
const MAX_XATTRS: usize = 65536;
/// The largest frame we write or accept, before compression: bounds the memory of a worker.
pub const MAX_FRAME: u64 = 4 << 20;
/// The version of this format that is written and read.
pub const TOC_VERSION: u32 = 0;

/// First line of the table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Head {
    /// Version of the format.
    pub version: u32,
    /// Number of entries that follow.
    pub entries: usize,
    /// The frames of the OCI layer in order: compressed and uncompressed length in bytes.
    pub frames: Vec<(u64, u64)>,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Node {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// Length in bytes, holes included.
        size: u64,
        /// Digest of the content.
        digest: Digest,
        /// Holes: offset and length in bytes, ascending.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        holes: Vec<(u64, u64)>,
    },
    /// A symbolic link.
    Symlink {
        /// Where it points.
        target: Bytes,
    },
    /// Another name of an earlier entry. Its metadata are those of that entry: some readers of tar apply them again.
    Hardlink {
        /// Path of the earlier entry.
        target: Bytes,
    },
    /// A character device.
    CharDevice {
        /// Major number.
        major: u64,
        /// Minor number.
        minor: u64,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u64,
        /// Minor number.
        minor: u64,
    },
    /// A named pipe.
    Fifo,
}

/// One path of the tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Path below the root, without a leading slash; empty for the root itself.
    pub path: Bytes,
    /// What it is.
    #[serde(flatten)]
    pub node: Node,
    /// Permission bits (07777).
    #[serde(default)]
    pub mode: u32,
    /// Owner.
    #[serde(default)]
    pub uid: u32,
    /// Group.
    #[serde(default)]
    pub gid: u32,
    /// Modification time: seconds since 1970 and nanoseconds.
    #[serde(default)]
    pub mtime: (i64, u32),
    /// Extended attributes in byte order of their names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub xattrs: Vec<(Bytes, Bytes)>,
}

impl Entry {
    /// Length of the content in the tar stream.
    pub fn size(&self) -> u64 {
        match self.node {
            Node::File { size, .. } => size,
            _ => 0,
        }
    }
}

/// A whole table.
#[derive(Debug, Clone, PartialEq)]
pub struct Toc {
    /// Compressed and uncompressed length of each frame.
    pub frames: Vec<(u64, u64)>,
    /// The entries in order.
    pub entries: Vec<Entry>,
}

/// The order of paths: by names, so that parents come first and a directory's entries stay together.
pub fn path_order(a: &[u8], b: &[u8]) -> std::cmp::Ordering {
    // '/' sorts before every other byte
    let key = |c: &u8| if *c == b'/' { 0u16 } else { u16::from(*c) + 1 };
    a.iter().map(key).cmp(b.iter().map(key))
}

fn parent(path: &[u8]) -> &[u8] {
    path.iter().rposition(|c| *c == b'/').map_or(&[], |at| &path[..at])
}

/// What a file and all its names have in common.
#[derive(PartialEq)]
struct Metadata {
    mode: u32,
    owner: (u32, u32),
    mtime: (i64, u32),
    xattrs: Vec<(Bytes, Bytes)>,
}

impl Metadata {
    fn of(entry: &Entry) -> Self {
        let owner = (entry.uid, entry.gid);
        Metadata { mode: entry.mode, owner, mtime: entry.mtime, xattrs: entry.xattrs.clone() }
    }
}

/// Checks entries as they come.
#[derive(Default)]
pub struct Checker {
    last: Option<Vec<u8>>,
    directories: Vec<Vec<u8>>,
    linkable: std::collections::HashMap<Vec<u8>, Metadata>,
}

impl Checker {
    /// Accepts the next entry or says what is wrong with it.
    pub fn check(&mut self, entry: &Entry) -> Result<()> {
        self.check_inner(entry).map_err(|e| e.within(format!("entry '{}'", entry.path.display())))
    }

    fn check_inner(&mut self, entry: &Entry) -> Result<()> {
        let path = &entry.path.0;
        check_path(path)?;
        match &self.last {
            None if path.is_empty() => {}
            None => return Err(Error::damaged("the first entry must be the root directory")),
            Some(last) if path_order(last, path).is_ge() => {
                return Err(Error::damaged(if last == path { "occurs twice" } else { "is out of order" }));
            }
            Some(_) => {}
        }
        // entries come in depth-first order, so the open directories are a stack
        while self.directories.last().is_some_and(|dir| dir != parent(path) && !path.is_empty()) {
            self.directories.pop();
        }
        if !path.is_empty() && self.directories.is_empty() {
            return Err(Error::damaged("its parent is not a directory of the tree"));
        }
        if entry.mode > 0o7777 || entry.mtime.1 > 999_999_999 {
            return Err(Error::damaged("mode or time out of range"));
        }
        check_xattrs(&entry.xattrs)?;
        match &entry.node {
            Node::Directory => self.directories.push(path.clone()),
            _ if path.is_empty() => return Err(Error::damaged("the root must be a directory")),
            Node::File { size, digest, holes } => {
                check_holes(*size, holes)?;
                if *size == 0 && *digest != Digest::of(b"") {
                    return Err(Error::damaged("an empty file cannot have this digest"));
                }
            }
            Node::Symlink { target } => {
                if target.0.is_empty() || target.0.len() > MAX_PATH || target.0.contains(&0) {
                    return Err(Error::damaged("link target is empty, too long or holds NUL"));
                }
            }
            Node::Hardlink { target } => {
                let Some(metadata) = self.linkable.get(&target.0) else {
                    return Err(Error::damaged("is a hard link to something that is no earlier file"));
                };
                if *metadata != Metadata::of(entry) {
                    return Err(Error::damaged("is a hard link with other metadata than its target"));
                }
            }
            Node::CharDevice { major, minor } | Node::BlockDevice { major, minor } => {
                // what the kernel holds in a dev_t
                if *major > 0xfff || *minor > 0xf_ffff {
                    return Err(Error::damaged("device number out of range"));
                }
                if matches!(entry.node, Node::CharDevice { major: 0, minor: 0 }) {
                    return Err(Error::damaged("is a device by which overlayfs marks deletions"));
                }
            }
            Node::Fifo => {}
        }
        if !matches!(entry.node, Node::Directory | Node::Hardlink { .. }) {
            self.linkable.insert(path.clone(), Metadata::of(entry));
        }
        self.last = Some(path.clone());
        Ok(())
    }
}

fn check_path(path: &[u8]) -> Result<()> {
    if path.is_empty() {
        return Ok(());
    }
    if path.len() > MAX_PATH {
        return Err(Error::damaged(format!("path is longer than {MAX_PATH} bytes")));
    }
    for name in path.split(|c| *c == b'/') {
        if name.is_empty() || name == b"." || name == b".." || name.contains(&0) || name.len() > MAX_NAME {
            return Err(Error::damaged("path holds an empty, overlong, '.' or '..' name, or NUL"));
        }
    }
    Ok(())
}

fn check_xattrs(xattrs: &[(Bytes, Bytes)]) -> Result<()> {
    let mut total = 0;
    for (i, (name, value)) in xattrs.iter().enumerate() {
        total += name.0.len() + value.0.len() + 1;
        let ordered = i == 0 || xattrs[i - 1].0 < *name;
        if !ordered
            || name.0.is_empty()
            || name.0.len() > MAX_NAME
            || name.0.contains(&0)
            || name.0.contains(&b'=')
        {
            return Err(Error::damaged("extended attributes are out of order or badly named"));
        }
    }
    if total > MAX_XATTRS {
        return Err(Error::damaged(format!("has more than {MAX_XATTRS} bytes of extended attributes")));
    }
    Ok(())
}

fn check_holes(size: u64, holes: &[(u64, u64)]) -> Result<()> {
    let mut end = 0;
    for (i, (offset, len)) in holes.iter().enumerate() {
        let starts = if i == 0 { *offset >= end } else { *offset > end };
        let stop = offset.checked_add(*len);
        match stop {
            Some(stop) if starts && *len > 0 && stop <= size => end = stop,
            _ => return Err(Error::damaged("holes are out of order or outside of the file")),
        }
    }
    if size > i64::MAX as u64 / 2 {
        return Err(Error::damaged("size is out of range"));
    }
    Ok(())
}

impl Toc {
    /// Refuses what would make another tree of it than was packed.
    pub fn check_part(&self, part: Part) -> Result<()> {
        let whiteout = |e: &&Entry| {
            let at = e.path.0.iter().rposition(|c| *c == b'/').map_or(0, |at| at + 1);
            e.path.0[at..].starts_with(WHITEOUT.as_bytes())
        };
        match self.entries.iter().find(whiteout) {
            Some(entry) if part == Part::Base => Err(Error::damaged(format!(
                "entry '{}' is a whiteout outside of a finish layer",
                entry.path.display()
            ))),
            _ => Ok(()),
        }
    }

    /// Checks what is to be written as readers will: a bundle that nobody can read must not be made.
    pub fn check_writable(&self) -> Result<()> {
        let mut checker = Checker::default();
        let mut line = Vec::new();
        for entry in &self.entries {
            let refuse = |why: &str| {
                Err(Error::new(Kind::Refused, format!("cannot be packed: {why}"))
                    .hint("remove the file, or what is special about it"))
            };
            if let Err(e) = checker.check(entry) {
                return refuse(&e.message);
            }
            line.clear();
            let size = serde_json::to_writer(&mut line, entry).map(|()| line.len() as u64 + 1);
            if !size.is_ok_and(|size| size <= MAX_LINE) {
                return refuse(&format!(
                    "entry '{}' has more metadata than {MAX_LINE} bytes",
                    entry.path.display()
                ));
            }
        }
        Ok(())
    }

    /// Writes the table, compressed.
    pub fn write(&self, out: impl Write) -> Result<()> {
        let doing =
            |e: &dyn std::fmt::Display| Error::new(Kind::Io, format!("writing a table of contents: {e}"));
        let mut zstd = zstd::Encoder::new(out, 3).map_err(|e| doing(&e))?;
        let head = Head { version: TOC_VERSION, entries: self.entries.len(), frames: self.frames.clone() };
        let mut line = serde_json::to_vec(&head).map_err(|e| doing(&e))?;
        line.push(b'\n');
        zstd.write_all(&line).map_err(|e| doing(&e))?;
        for entry in &self.entries {
            line.clear();
            serde_json::to_writer(&mut line, entry).map_err(|e| doing(&e))?;
            line.push(b'\n');
            zstd.write_all(&line).map_err(|e| doing(&e))?;
        }
        zstd.finish().map_err(|e| doing(&e))?;
        Ok(())
    }

    /// Reads and checks a table.
    pub fn read(input: impl Read) -> Result<Toc> {
        let mut zstd = zstd::Decoder::new(input).doing("reading", "table of contents")?;
        // 8 MiB, what level 3 needs at most and every decoder supports
        zstd.window_log_max(23).doing("reading", "table of contents")?;
        let mut lines = BufReader::with_capacity(1 << 16, zstd);
        // the frame list is one line: 24 bytes for at least 256 KiB of tree each
        let head =
            read_line(&mut lines, 64 << 20)?.ok_or_else(|| Error::damaged("table of contents is empty"))?;
        let version: VersionOnly = parse(&head)?;
        if version.version != TOC_VERSION {
            return Err(Error::new(
                Kind::Unsupported,
                format!(
                    "table of contents has format version {}, only {TOC_VERSION} is known",
                    version.version
                ),
            )
            .hint("use a helper of the version that made the bundle, or newer"));
        }
        let head: Head = parse(&head)?;
        if head.entries > MAX_ENTRIES {
            return Err(Error::damaged(format!(
                "table of contents declares more than {MAX_ENTRIES} entries"
            )));
        }
        if let Some(bad) =
            head.frames.iter().find(|(c, r)| *r == 0 || *r > MAX_FRAME || *c == 0 || *c > 2 * MAX_FRAME)
        {
            return Err(Error::damaged(format!("table of contents declares an impossible frame {bad:?}")));
        }
        let mut entries = Vec::with_capacity(head.entries.min(65536));
        let mut checker = Checker::default();
        while let Some(line) = read_line(&mut lines, MAX_LINE)? {
            if entries.len() == head.entries {
                return Err(Error::damaged("table of contents has more entries than it declares"));
            }
            let entry: Entry = parse(&line)?;
            checker.check(&entry)?;
            entries.push(entry);
        }
        if entries.len() != head.entries {
            return Err(Error::damaged("table of contents has fewer entries than it declares"));
        }
        Ok(Toc { frames: head.frames, entries })
    }
}

#[derive(Deserialize)]
struct VersionOnly {
    version: u32,
}

fn parse<'a, T: Deserialize<'a>>(line: &'a [u8]) -> Result<T> {
    serde_json::from_slice(line).map_err(|e| Error::damaged(format!("table of contents: {e}")))
}

fn read_line(input: &mut impl BufRead, max: u64) -> Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let n = input
        .take(max)
        .read_until(b'\n', &mut line)
        .map_err(|e| Error::damaged(format!("table of contents does not decompress: {e}")))?;
    if n == 0 {
        return Ok(None);
    }
    if line.pop() != Some(b'\n') {
        return Err(Error::damaged(format!("table of contents has a line without end or over {max} bytes")));
    }
    Ok(Some(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dir(path: &str) -> Entry {
        Entry {
            path: path.into(),
            node: Node::Directory,
            mode: 0o755,
            uid: 0,
            gid: 0,
            mtime: (1, 2),
            xattrs: vec![],
        }
    }

    fn node(path: &str, node: Node) -> Entry {
        Entry { node, mode: 0o644, ..dir(path) }
    }

    fn link(path: &str, target: &str) -> Entry {
        node(path, Node::Hardlink { target: target.into() })
    }

    fn file(path: &str) -> Entry {
        node(path, Node::File { size: 10, digest: Digest::of(b""), holes: vec![] })
    }

    fn check(entries: &[Entry]) -> Result<()> {
        let mut checker = Checker::default();
        entries.iter().try_for_each(|e| checker.check(e))
    }

    #[test]
    fn table_round_trips() {
        let toc = Toc {
            frames: vec![(10, 20)],
            entries: vec![
                dir(""),
                dir("a"),
                file("a/f"),
                link("a/g", "a/f"),
                node("a.b", Node::Symlink { target: Bytes(vec![0xff]) }),
            ],
        };
        let mut out = Vec::new();
        toc.write(&mut out).unwrap();
        assert_eq!(Toc::read(&out[..]).unwrap(), toc);
        assert!(Toc::read(&out[..out.len() - 4]).is_err());
    }

    #[test]
    fn trees_that_reach_outside_themselves_are_refused() {
        let sym = |path: &str| node(path, Node::Symlink { target: "/etc".into() });
        let cases: &[(&str, Vec<Entry>)] = &[
            ("no root", vec![dir("a")]),
            ("dot dot", vec![dir(""), dir("..")]),
            ("dot dot inside", vec![dir(""), dir("a"), file("a/../b")]),
            ("absolute", vec![dir(""), file("/etc")]),
            ("through a symlink", vec![dir(""), sym("a"), file("a/b")]),
            ("through a file", vec![dir(""), file("a"), file("a/b")]),
            ("no parent", vec![dir(""), file("a/b")]),
            ("parent closed", vec![dir(""), dir("a"), dir("b"), file("a/c")]),
            ("twice", vec![dir(""), file("a"), file("a")]),
            ("out of order", vec![dir(""), file("b"), file("a")]),
            ("forward hard link", vec![dir(""), link("a", "b"), file("b")]),
            ("hard link to a directory", vec![dir(""), dir("a"), link("b", "a")]),
            ("hard link of another mode", vec![dir(""), file("a"), Entry { mode: 0o4755, ..link("b", "a") }]),
            ("nul", vec![dir(""), file("a\0b")]),
            ("trailing slash", vec![dir(""), dir("a/")]),
        ];
        for (what, entries) in cases {
            assert_eq!(check(entries).unwrap_err().kind, Kind::Damaged, "{what}");
        }
        assert!(check(&[dir(""), dir("a"), file("a/b"), file("a.c"), link("b", "a/b")]).is_ok());
    }

    #[test]
    fn holes_lie_within_the_file() {
        for (holes, good) in [
            (vec![(0, 4), (6, 4)], true),
            (vec![(0, 4), (4, 2)], false),
            (vec![(0, 11)], false),
            (vec![(u64::MAX, 2)], false),
            (vec![(0, 0)], false),
        ] {
            assert_eq!(check_holes(10, &holes).is_ok(), good, "{holes:?}");
        }
    }
}
