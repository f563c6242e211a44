// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Any tar of a root filesystem
//!
//! Unlike an OCI layer of a bundle it has no table of contents, so it is read as a whole, and again for the contents of
//! some files. Nothing of it is written anywhere; names that lead out of it are refused all the same.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use tar::EntryType;

use crate::bytes::Bytes;
use crate::chosen::MAX_CHOSEN;
use crate::diff::Reader;
use crate::diff::side::Take;
use crate::digest::{Digest, Hashing};
use crate::error::{Error, IoContext, Result};
use crate::layout::MARKER;
use crate::toc::{Entry, Node};

/// More than any Debian system has; bounds the memory that a tar can ask for.
const MAX_ENTRIES: usize = 5_000_000;
const XATTR: &str = "SCHILY.xattr.";
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
    let mut archive = tar::Archive::new(File::open(path).doing("reading", path)?);
    let Ok(members) = archive.entries_with_seek() else { return Ok(false) };
    for member in members {
        // what is damaged is told by whoever reads it
        let Ok(member) = member else { break };
        if *name(path, &member.path_bytes())? == *MARKER.0.as_bytes() {
            return Ok(false);
        }
    }
    Ok(true)
}

fn open(path: &Path) -> Result<tar::Archive<Box<dyn Read>>> {
    let start = beginning(path)?;
    let file = BufReader::with_capacity(1 << 16, File::open(path).doing("reading", path)?);
    let plain: Box<dyn Read> = match () {
        () if start.starts_with(GZIP) => Box::new(flate2::bufread::MultiGzDecoder::new(file)),
        () if start.starts_with(ZSTD) => Box::new(zstd::Decoder::with_buffer(file).doing("reading", path)?),
        () => Box::new(file),
    };
    Ok(tar::Archive::new(plain))
}

fn damaged(path: &Path, why: impl std::fmt::Display) -> Error {
    Error::damaged(format!("'{}' is no tar that can be read: {why}", path.display()))
        .hint("give an uncompressed tar, or one compressed with gzip or zstd")
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
        let wrong = |e: std::io::Error| damaged(path, e);
        let mut links = HashMap::new();
        let mut entries = Vec::new();
        let mut archive = open(path)?;
        for member in archive.entries().map_err(wrong)? {
            let mut member = member.map_err(wrong)?;
            if let Some(entry) = read_entry(path, &mut member)? {
                match &entry.node {
                    Node::Hardlink { target } => {
                        let first = links.get(&target.0).unwrap_or(&target.0).clone();
                        links.insert(entry.path.0.clone(), first);
                    }
                    _ => {
                        links.remove(&entry.path.0);
                    }
                }
                entries.push(entry);
            }
            if entries.len() > MAX_ENTRIES {
                return Err(damaged(path, format!("it has more than {MAX_ENTRIES} entries")));
            }
        }
        Ok((entries, Tarball { path: path.to_path_buf(), links }))
    }
}

fn read_entry(path: &Path, member: &mut tar::Entry<Box<dyn Read>>) -> Result<Option<Entry>> {
    let wrong = |e: std::io::Error| damaged(path, e);
    let full = name(path, &member.path_bytes())?;
    let mut xattrs: Vec<(Bytes, Bytes)> = Vec::new();
    let mut mtime = None;
    if let Some(extensions) = member.pax_extensions().map_err(wrong)? {
        for extension in extensions {
            let extension = extension.map_err(wrong)?;
            match extension.key() {
                Ok("mtime") => mtime = extension.value().ok().and_then(parse_time),
                Ok(key) => {
                    if let Some(attribute) = key.strip_prefix(XATTR) {
                        xattrs.push((attribute.into(), extension.value_bytes().into()));
                    }
                }
                Err(_) => {}
            }
        }
    }
    xattrs.sort();
    let header = member.header().clone();
    let target = |member: &tar::Entry<Box<dyn Read>>| -> Bytes {
        Bytes(member.link_name_bytes().map(|l| l.into_owned()).unwrap_or_default())
    };
    let number = |n: std::io::Result<Option<u32>>| n.map(|n| u64::from(n.unwrap_or(0))).map_err(wrong);
    let node = match header.entry_type() {
        EntryType::Directory => Node::Directory,
        EntryType::Symlink => Node::Symlink { target: target(member) },
        EntryType::Link => Node::Hardlink { target: Bytes(name(path, &target(member).0)?) },
        EntryType::Fifo => Node::Fifo,
        kind @ (EntryType::Char | EntryType::Block) => {
            let (major, minor) = (number(header.device_major())?, number(header.device_minor())?);
            match kind {
                EntryType::Char => Node::CharDevice { major, minor },
                _ => Node::BlockDevice { major, minor },
            }
        }
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
            let mut content = Hashing::new(&mut *member);
            std::io::copy(&mut content, &mut std::io::sink()).map_err(wrong)?;
            let (_, digest, size) = content.finish();
            Node::File { size, digest, holes: vec![] }
        }
        // headers about the archive as a whole
        _ => return Ok(None),
    };
    let id = |id: std::io::Result<u64>| -> Result<u32> {
        u32::try_from(id.map_err(wrong)?).map_err(|e| damaged(path, format!("an owner is impossible: {e}")))
    };
    let seconds = i64::try_from(header.mtime().map_err(wrong)?).unwrap_or(i64::MAX);
    Ok(Some(Entry {
        path: Bytes(full),
        node,
        mode: header.mode().map_err(wrong)? & 0o7777,
        uid: id(header.uid())?,
        gid: id(header.gid())?,
        mtime: mtime.unwrap_or((seconds, 0)),
        xattrs,
    }))
}

/// `1700000000.123456789`, or without a fraction.
fn parse_time(text: &str) -> Option<(i64, u32)> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let nanos: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    Some((seconds.parse().ok()?, nanos.parse().ok()?))
}

impl Reader for Tarball {
    fn read(&self, wanted: &[&Entry], take: &mut Take) -> Result<()> {
        let wrong = |e: std::io::Error| damaged(&self.path, e);
        let mut paths: BTreeMap<&[u8], Vec<&Entry>> = BTreeMap::new();
        for entry in wanted {
            let path = self.links.get(&entry.path.0).unwrap_or(&entry.path.0);
            paths.entry(path).or_default().push(entry);
        }
        let mut archive = open(&self.path)?;
        for member in archive.entries().map_err(wrong)? {
            let mut member = member.map_err(wrong)?;
            let name = name(&self.path, &member.path_bytes())?;
            let Some(entries) = paths.get(&name[..]) else { continue };
            if member.size() > MAX_CHOSEN {
                continue;
            }
            let mut content = Vec::new();
            (&mut member).take(MAX_CHOSEN).read_to_end(&mut content).map_err(wrong)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_below_the_root() {
        let name = |raw: &str| name(Path::new("x"), raw.as_bytes());
        for (raw, expected) in [("./a/b", "a/b"), ("/a//b/", "a/b"), (".", ""), ("a/..b", "a/..b")] {
            assert_eq!(name(raw).unwrap(), expected.as_bytes(), "{raw}");
        }
        assert!(name("a/../../b").is_err() && name("..").is_err());
    }

    #[test]
    fn times_have_fractions() {
        assert_eq!(parse_time("12"), Some((12, 0)));
        assert_eq!(parse_time("12.5"), Some((12, 500_000_000)));
        assert_eq!(parse_time("12.0000000019"), Some((12, 1)));
        assert_eq!(parse_time("x"), None);
    }
}
