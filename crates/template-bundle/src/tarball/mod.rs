// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Any tar of a root filesystem
//!
//! Unlike an OCI layer of a bundle it has no table of contents, so it is read as a whole, and again for the contents of
//! some files. Nothing of it is written anywhere; names that lead out of it are refused all the same.

pub(crate) mod members;
pub(crate) mod pax;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use tar::EntryType;

use crate::bytes::Bytes;
use crate::diff::Reader;
use crate::diff::side::Take;
use crate::digest::{Digest, Hashing};
use crate::error::{Error, IoContext, Kind, Result};
use crate::layout::MARKER;
use crate::limits::{MAX_CHOSEN, MAX_ENTRIES, MAX_KEPT};
use crate::toc::{Entry, Node};
use members::{Member, Members, Seekable, Source};

const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// Where a tar has the name of its format, in its first header.
const USTAR: (usize, &[u8]) = (257, b"ustar");

/// A tar, perhaps compressed with gzip or zstd.
pub struct Tarball {
    path: PathBuf,
    /// The files that hard links name.
    links: HashMap<Vec<u8>, Vec<u8>>,
}

fn beginning(path: &Path) -> Result<Vec<u8>> {
    let mut start = Vec::new();
    File::open(path).and_then(|file| file.take(512).read_to_end(&mut start)).doing("reading", path)?;
    Ok(start)
}

/// Whether a file is a tar, but not one of a bundle.
pub fn is_tarball(path: &Path) -> Result<bool> {
    let start = beginning(path)?;
    if start.starts_with(GZIP) || start.starts_with(ZSTD) {
        return Ok(true);
    }
    if !start.get(USTAR.0..).is_some_and(|rest| rest.starts_with(USTAR.1)) {
        return Ok(false);
    }
    let mut members = open(path)?;
    // what is damaged is told by whoever reads it
    while let Ok(Some(member)) = members.next() {
        if *name(path, &member.path)? == *MARKER.0.as_bytes() {
            return Ok(false);
        }
    }
    Ok(true)
}

fn open(path: &Path) -> Result<Members> {
    let start = beginning(path)?;
    let file: Box<dyn Seekable> = Box::new(File::open(path).doing("reading", path)?);
    let file = BufReader::with_capacity(1 << 16, file);
    Ok(Members::new(match () {
        () if start.starts_with(GZIP) => {
            Source::Compressed(Box::new(flate2::bufread::MultiGzDecoder::new(file)))
        }
        () if start.starts_with(ZSTD) => {
            Source::Compressed(Box::new(zstd::Decoder::with_buffer(file).doing("reading", path)?))
        }
        () => Source::Plain(file),
    }))
}

fn damaged(path: &Path, why: impl std::fmt::Display) -> Error {
    Error::damaged(format!("'{}' is no tar that can be read: {why}", path.display()))
        .hint("give an uncompressed tar, or one compressed with gzip or zstd")
}

fn wrong(path: &Path, e: io::Error) -> Error {
    match e.kind() {
        io::ErrorKind::Unsupported => {
            Error::new(Kind::Unsupported, format!("'{}' cannot be read: {e}", path.display()))
                .hint("make it again with --sparse-version=1.0, or without --sparse")
        }
        _ => damaged(path, e),
    }
}

/// A name below the root.
fn name(path: &Path, raw: &[u8]) -> Result<Vec<u8>> {
    let names: Vec<&[u8]> = raw.split(|c| *c == b'/').filter(|n| !n.is_empty() && *n != b".").collect();
    if names.contains(&&b".."[..]) {
        return Err(damaged(path, format!("the name '{}' leads out of it", Bytes::from(raw).display())));
    }
    Ok(names.join(&b'/'))
}

impl Tarball {
    /// Reads all of it. The order is that of the tar, in which a later entry of the same name counts.
    pub fn scan(path: &Path) -> Result<(Vec<Entry>, Tarball)> {
        scan(path, open(path)?, MAX_KEPT)
    }

    /// Reads the entries of one that is not in a file.
    #[cfg(fuzzing)]
    pub fn entries(stream: impl Read + 'static) -> Result<Vec<Entry>> {
        let members = Members::new(Source::Compressed(Box::new(stream)));
        scan(Path::new("stream"), members, MAX_KEPT).map(|(entries, _)| entries)
    }
}

fn scan(path: &Path, mut members: Members, max_kept: usize) -> Result<(Vec<Entry>, Tarball)> {
    let (mut links, mut entries, mut kept) = (HashMap::new(), Vec::new(), 0);
    while let Some(member) = members.next().map_err(|e| wrong(path, e))? {
        let Some(entry) = read_entry(path, &mut members, member)? else { continue };
        kept += entry.memory();
        match &entry.node {
            Node::Hardlink { target } => {
                // this may be a longer name than that of the target
                let first: Vec<u8> = links.get(&target.0).unwrap_or(&target.0).clone();
                kept += entry.path.0.len() + first.len();
                links.insert(entry.path.0.clone(), first);
            }
            _ => {
                links.remove(&entry.path.0);
            }
        }
        entries.push(entry);
        if entries.len() > MAX_ENTRIES {
            return Err(damaged(path, format!("it has more than {MAX_ENTRIES} entries")));
        }
        if kept > max_kept {
            let why = format!("its names and extended attributes take more than {} MiB", max_kept >> 20);
            return Err(damaged(path, why));
        }
    }
    Ok((entries, Tarball { path: path.to_path_buf(), links }))
}

fn read_entry(path: &Path, members: &mut Members, member: Member) -> Result<Option<Entry>> {
    let wrong = |e: io::Error| wrong(path, e);
    let full = name(path, &member.path)?;
    let number = |n: io::Result<Option<u32>>| n.map(|n| u64::from(n.unwrap_or(0))).map_err(wrong);
    let header = &member.header;
    let node = match header.entry_type() {
        EntryType::Directory => Node::Directory,
        EntryType::Symlink => Node::Symlink { target: Bytes(member.link.clone()) },
        EntryType::Link => Node::Hardlink { target: Bytes(name(path, &member.link)?) },
        EntryType::Fifo => Node::Fifo,
        kind @ (EntryType::Char | EntryType::Block) => {
            let (major, minor) = (number(header.device_major())?, number(header.device_minor())?);
            match kind {
                EntryType::Char => Node::CharDevice { major, minor },
                _ => Node::BlockDevice { major, minor },
            }
        }
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
            let mut content = Hashing::new(io::sink());
            members.content(&member, &mut content).map_err(wrong)?;
            let (_, digest, size) = content.finish();
            Node::File { size, digest, holes: vec![] }
        }
        // headers about the archive as a whole
        _ => return Ok(None),
    };
    let id = |id: u64| -> Result<u32> {
        u32::try_from(id).map_err(|e| damaged(path, format!("an owner is impossible: {e}")))
    };
    Ok(Some(Entry {
        path: Bytes(full),
        node,
        mode: header.mode().map_err(wrong)? & 0o7777,
        uid: id(member.uid)?,
        gid: id(member.gid)?,
        mtime: member.mtime,
        xattrs: member.xattrs,
    }))
}

impl Reader for Tarball {
    fn read(&self, wanted: &[&Entry], take: &mut Take) -> Result<()> {
        let wrong = |e: io::Error| wrong(&self.path, e);
        let mut paths: BTreeMap<&[u8], Vec<&Entry>> = BTreeMap::new();
        for entry in wanted {
            let path = self.links.get(&entry.path.0).unwrap_or(&entry.path.0);
            paths.entry(path).or_default().push(entry);
        }
        let mut members = open(&self.path)?;
        while let Some(member) = members.next().map_err(wrong)? {
            let name = name(&self.path, &member.path)?;
            let Some(entries) = paths.get(&name[..]) else { continue };
            if member.size > MAX_CHOSEN {
                continue;
            }
            let mut content = Vec::new();
            members.content(&member, &mut content).map_err(wrong)?;
            let found = Digest::of(&content);
            for entry in entries {
                // an earlier entry of the same name, or a file that has changed meanwhile
                if matches!(entry.node, Node::File { digest, .. } if digest == found) {
                    take(&entry.path.0, &content)?;
                }
            }
        }
        Ok(())
    }
}
