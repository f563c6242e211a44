// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Table of contents of a tree
//!
//! JSON lines, compressed with zstd. The first line is the [`Head`]; then comes one [`Entry`] per path, parents
//! before children, siblings in byte order. The tar stream is a function of these entries and the contents of the
//! files (see [`crate::canon`]), so whoever holds the verified table never has to believe a tar header.
//!
//! What a table must be like is in [`crate::checker`].

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read, Write};

use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;
use crate::canon;
use crate::checker::Checker;
use crate::digest::Digest;
use crate::error::{Error, IoContext, Kind, Result};
use crate::limits::{
    MAX_ENTRIES, MAX_FRAME, MAX_HEAD, MAX_LINE, MAX_TOC_WINDOW_LOG, MAX_TREE, max_compressed,
};
use crate::manifest::Part;
use crate::whiteout::{is_whiteout, removed_by};

/// What an attribute takes besides its bytes.
const PER_XATTR: usize = 80;
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

    /// Memory that its names, attributes and holes take.
    pub fn memory(&self) -> usize {
        let node = match &self.node {
            Node::Symlink { target } | Node::Hardlink { target } => target.0.len(),
            Node::File { holes, .. } => std::mem::size_of_val(&holes[..]),
            _ => 0,
        };
        let xattrs = self.xattrs.iter().map(|(name, value)| name.0.len() + value.0.len() + PER_XATTR);
        self.path.0.len() + node + xattrs.sum::<usize>()
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

impl Toc {
    /// Refuses what would make another tree of it than was packed, here or in the hands of other tools.
    pub fn check_part(&self, part: Part) -> Result<()> {
        let mut paths = None;
        for entry in self.entries.iter().filter(|e| is_whiteout(&e.path.0)) {
            let wrong = |why: &str| {
                Err(Error::damaged(format!("entry '{}' is a whiteout {why}", entry.path.display())))
            };
            if !part.is_over() {
                return wrong("in a tree that lies over no other");
            }
            let Some(path) = removed_by(&entry.path.0) else {
                return wrong("that does not remove one file or directory");
            };
            if !matches!(entry.node, Node::File { size: 0, .. }) {
                return wrong("that is no empty file");
            }
            let paths: &HashSet<&[u8]> =
                paths.get_or_insert_with(|| self.entries.iter().map(|e| &e.path.0[..]).collect());
            if paths.contains(&path[..]) {
                return wrong("of something that is there");
            }
        }
        Ok(())
    }

    /// Length of the tar stream.
    pub fn raw_size(&self) -> u64 {
        self.frames.iter().map(|(_, raw)| raw).sum()
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
            if line.len() as u64 > MAX_LINE {
                let path = entry.path.display();
                return Err(refused(&format!("entry '{path}' has more metadata than {MAX_LINE} bytes")));
            }
            zstd.write_all(&line).map_err(|e| doing(&e))?;
        }
        zstd.finish().map_err(|e| doing(&e))?;
        Ok(())
    }

    /// Reads and checks a table.
    pub fn read(input: impl Read) -> Result<Toc> {
        let mut zstd = zstd::Decoder::new(input).doing("reading", "table of contents")?;
        zstd.window_log_max(MAX_TOC_WINDOW_LOG).doing("reading", "table of contents")?;
        Self::read_lines(BufReader::with_capacity(1 << 16, zstd))
    }

    /// The same of one that is not compressed.
    pub fn read_lines(mut lines: impl BufRead) -> Result<Toc> {
        let head =
            read_line(&mut lines, MAX_HEAD)?.ok_or_else(|| Error::damaged("table of contents is empty"))?;
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
        let possible =
            |(c, r): &(u64, u64)| (1..=MAX_FRAME).contains(r) && (1..=max_compressed(*r)).contains(c);
        if let Some(bad) = head.frames.iter().find(|frame| !possible(frame)) {
            return Err(Error::damaged(format!("table of contents declares an impossible frame {bad:?}")));
        }
        if head.frames.iter().map(|(_, raw)| raw).sum::<u64>() > MAX_TREE {
            return Err(Error::damaged(format!("the tree is larger than {MAX_TREE} bytes")));
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

/// Checks what is to be written as readers will: a bundle that nobody can read must not be made.
pub fn check_writable(entries: &[Entry]) -> Result<()> {
    if entries.len() > MAX_ENTRIES {
        return Err(refused(&format!("it has more than {MAX_ENTRIES} entries")));
    }
    let mut size = 0u64;
    let mut checker = Checker::default();
    entries.iter().try_for_each(|entry| {
        checker.check(entry).map_err(|e| refused(&e.message))?;
        size = size.saturating_add(canon::length(entry)?);
        match size <= MAX_TREE {
            true => Ok(()),
            false => {
                Err(refused(&format!("with '{}' it has more than {MAX_TREE} bytes", entry.path.display())))
            }
        }
    })
}

fn refused(why: &str) -> Error {
    Error::new(Kind::Refused, format!("cannot be packed: {why}"))
        .hint("remove the file, or what is special about it")
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
impl Entry {
    /// A plain file, for tests.
    pub(crate) fn plain(path: &str, size: u64, content: &[u8]) -> Self {
        Self {
            path: path.into(),
            node: Node::File { size, digest: Digest::of(content), holes: vec![] },
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: (0, 0),
            xattrs: vec![],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::tests::{dir, file, link, node};

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
    fn whiteouts_belong_to_finish_layers() {
        let empty = |name: &str| node(name, Node::File { size: 0, digest: Digest::of(b""), holes: vec![] });
        let toc = |entry: Entry| Toc { frames: vec![], entries: vec![dir(""), dir("a"), entry] };
        for (name, plain) in [("a/.wh.b", false), ("a/b.wh.c", true), ("a/.who", true)] {
            assert_eq!(toc(empty(name)).check_part(Part::Base).is_ok(), plain, "{name}");
            assert!(toc(empty(name)).check_part(Part::Finish).is_ok());
        }
        for name in ["a/.wh.", "a/.wh..", "a/.wh...", "a/.wh..wh..opq", ".wh.a"] {
            assert!(toc(empty(name)).check_part(Part::Finish).is_err(), "{name}");
        }
        for entry in [file("a/.wh.b"), dir("a/.wh.b")] {
            assert!(toc(entry).check_part(Part::Finish).is_err());
        }
    }

    #[test]
    fn frames_are_possible() {
        let with = |frames: Vec<(u64, u64)>| {
            let mut out = Vec::new();
            Toc { frames, entries: vec![dir("")] }.write(&mut out).unwrap();
            Toc::read(&out[..])
        };
        assert!(with(vec![(1600, 512), (MAX_FRAME, MAX_FRAME)]).is_ok());
        for bad in [(0, 512), (512, 0), (1, MAX_FRAME + 1), (1601, 512), (u64::MAX, 512)] {
            assert!(with(vec![bad]).unwrap_err().message.contains("impossible frame"), "{bad:?}");
        }
        let many = vec![(1, MAX_FRAME); (MAX_TREE / MAX_FRAME) as usize];
        assert!(with(many.clone()).is_ok());
        assert!(with([&many[..], &[(1, 1)]].concat()).unwrap_err().message.contains("larger"));
    }

    #[test]
    fn what_readers_would_refuse_is_not_written() {
        let mut entry = file("a");
        entry.xattrs = vec![("user.x".into(), Bytes(vec![0; 70_000]))];
        assert_eq!(check_writable(&[dir(""), entry]).unwrap_err().kind, Kind::Refused);
        let write = |entry| Toc { frames: vec![], entries: vec![dir(""), entry] }.write(std::io::sink());
        let holes = (0..80_000).map(|n| (n * 4096, 1024)).collect();
        let node = Node::File { size: 1 << 40, digest: Digest::of(b""), holes };
        assert_eq!(write(Entry { node, ..file("a") }).unwrap_err().kind, Kind::Refused);
        let node = Node::File { size: MAX_TREE, digest: Digest::of(b""), holes: vec![] };
        assert_eq!(check_writable(&[dir(""), Entry { node, ..file("a") }]).unwrap_err().kind, Kind::Refused);
        assert!(check_writable(&[dir(""), file("a")]).is_ok() && write(file("a")).is_ok());
    }
}
