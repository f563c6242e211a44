// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # The canonical tar stream
//!
//! The one tar stream that belongs to a list of entries: ustar headers, with PAX records only where ustar cannot
//! hold a value. Readers rebuild the headers and compare, so a stream that other tools would understand
//! differently than its table of contents says is noticed.

use tar::{EntryType, Header};

use crate::error::{Error, Result};
use crate::toc::{Entry, Node};

/// The end of the stream.
pub const TRAILER: [u8; 1024] = [0; 1024];

/// Zero bytes that follow a content of this size.
pub fn padding(size: u64) -> u64 {
    size.next_multiple_of(512) - size
}

/// The header blocks of an entry, as they stand before its content.
pub fn header(entry: &Entry) -> Result<Vec<u8>> {
    let mut pax = Pax::default();
    let mut head = Header::new_ustar();
    let kind = match &entry.node {
        Node::Directory => EntryType::Directory,
        Node::File { .. } => EntryType::Regular,
        Node::Symlink { .. } => EntryType::Symlink,
        Node::Hardlink { .. } => EntryType::Link,
        Node::CharDevice { .. } => EntryType::Char,
        Node::BlockDevice { .. } => EntryType::Block,
        Node::Fifo => EntryType::Fifo,
    };
    head.set_entry_type(kind);
    head.set_mode(entry.mode);

    let mut path = if entry.path.0.is_empty() { b".".to_vec() } else { entry.path.0.clone() };
    if kind == EntryType::Directory {
        path.push(b'/');
    }
    set_path(&mut head, &path, &mut pax);
    if let Node::Symlink { target } | Node::Hardlink { target } = &entry.node {
        set_link(&mut head, &target.0, &mut pax);
    }
    // seven octal digits
    let id = |id: u32, key: &str, pax: &mut Pax| {
        if id <= 0o7_777_777 {
            return u64::from(id);
        }
        pax.add(key, id.to_string().as_bytes());
        0
    };
    head.set_uid(id(entry.uid, "uid", &mut pax));
    head.set_gid(id(entry.gid, "gid", &mut pax));
    // eleven octal digits
    const FIELD: u64 = 0o77_777_777_777;
    let size = entry.size();
    if size > FIELD {
        pax.add("size", size.to_string().as_bytes());
    }
    head.set_size(if size > FIELD { 0 } else { size });
    let (seconds, nanos) = entry.mtime;
    match u64::try_from(seconds) {
        Ok(seconds) if nanos == 0 && seconds <= FIELD => head.set_mtime(seconds),
        other => {
            pax.add("mtime", pax_time(seconds, nanos).as_bytes());
            head.set_mtime(other.ok().filter(|s| *s <= FIELD).unwrap_or(0));
        }
    }
    if let Node::CharDevice { major, minor } | Node::BlockDevice { major, minor } = entry.node {
        let number = |n: u64| u32::try_from(n).map_err(|_| Error::damaged("device number out of range"));
        // both fit into seven octal digits, see the checks of the table
        head.set_device_major(number(major)?).map_err(|e| Error::damaged(e.to_string()))?;
        head.set_device_minor(number(minor)?).map_err(|e| Error::damaged(e.to_string()))?;
    }
    for (name, value) in &entry.xattrs {
        let key = [b"SCHILY.xattr.", &name.0[..]].concat();
        pax.add_bytes(&key, &value.0);
    }
    head.set_cksum();

    let mut out = pax.blocks();
    out.extend_from_slice(head.as_bytes());
    Ok(out)
}

/// Length of the header blocks and the padded content.
pub fn length(entry: &Entry) -> Result<u64> {
    Ok(header(entry)?.len() as u64 + entry.size().next_multiple_of(512))
}

fn set_path(head: &mut Header, path: &[u8], pax: &mut Pax) {
    let Some(ustar) = head.as_ustar_mut() else { return };
    if path.len() <= 100 {
        ustar.name[..path.len()].copy_from_slice(path);
        return;
    }
    // the first slash that leaves a short enough name; directories end in a slash, which is none to split at
    let split = path[..path.len() - 1]
        .iter()
        .enumerate()
        .find(|(at, c)| **c == b'/' && path.len() - at - 1 <= 100 && *at > 0)
        .map(|(at, _)| at)
        .filter(|at| *at <= 155);
    if let Some(at) = split {
        ustar.prefix[..at].copy_from_slice(&path[..at]);
        let name = &path[at + 1..];
        ustar.name[..name.len()].copy_from_slice(name);
        return;
    }
    pax.add_text("path", path);
    ustar.name.copy_from_slice(&path[..100]);
}

fn set_link(head: &mut Header, target: &[u8], pax: &mut Pax) {
    let Some(ustar) = head.as_ustar_mut() else { return };
    let n = target.len().min(100);
    ustar.linkname[..n].copy_from_slice(&target[..n]);
    if target.len() > 100 {
        pax.add_text("linkpath", target);
    }
}

/// Seconds with a fraction, rounded towards nothing: -1.5 for one and a half second before 1970.
fn pax_time(seconds: i64, nanos: u32) -> String {
    let (sign, whole, nanos) = match (seconds < 0, nanos) {
        (true, 0) => ("-", seconds.unsigned_abs(), 0),
        (true, n) => ("-", seconds.unsigned_abs() - 1, 1_000_000_000 - n),
        (false, n) => ("", seconds.unsigned_abs(), n),
    };
    if nanos == 0 {
        return format!("{sign}{whole}");
    }
    format!("{sign}{whole}.{}", format!("{nanos:09}").trim_end_matches('0'))
}

#[derive(Default)]
struct Pax {
    records: Vec<u8>,
    binary: bool,
}

impl Pax {
    fn add(&mut self, key: &str, value: &[u8]) {
        self.add_bytes(key.as_bytes(), value);
    }

    fn add_text(&mut self, key: &str, value: &[u8]) {
        if std::str::from_utf8(value).is_err() && !self.binary {
            // tells readers that paths are bytes; must stand before them
            self.binary = true;
            self.add("hdrcharset", b"BINARY");
        }
        self.add(key, value);
    }

    /// `LENGTH KEY=VALUE\n`, where LENGTH counts itself.
    fn add_bytes(&mut self, key: &[u8], value: &[u8]) {
        let rest = key.len() + value.len() + 3;
        let mut len = rest + 1;
        while rest + len.to_string().len() != len {
            len = rest + len.to_string().len();
        }
        self.records.extend_from_slice(len.to_string().as_bytes());
        self.records.push(b' ');
        self.records.extend_from_slice(key);
        self.records.push(b'=');
        self.records.extend_from_slice(value);
        self.records.push(b'\n');
    }

    fn blocks(self) -> Vec<u8> {
        if self.records.is_empty() {
            return Vec::new();
        }
        let mut head = Header::new_ustar();
        head.set_entry_type(EntryType::XHeader);
        if let Some(ustar) = head.as_ustar_mut() {
            let name = b"././@PaxHeader";
            ustar.name[..name.len()].copy_from_slice(name);
        }
        head.set_mode(0o644);
        head.set_uid(0);
        head.set_gid(0);
        head.set_mtime(0);
        head.set_size(self.records.len() as u64);
        head.set_cksum();
        let mut out = head.as_bytes().to_vec();
        out.extend_from_slice(&self.records);
        out.resize(out.len().next_multiple_of(512), 0);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::Bytes;
    use crate::digest::Digest;
    use std::io::Read;

    fn entry(path: &[u8], node: Node) -> Entry {
        Entry {
            path: path.into(),
            node,
            mode: 0o4755,
            uid: 1000,
            gid: 5,
            mtime: (1_700_000_000, 0),
            xattrs: vec![],
        }
    }

    #[test]
    fn tar_reads_back_what_was_meant() {
        let long = [b"d/".repeat(60), b"x".repeat(200)].concat();
        let file = |size| Node::File { size, digest: Digest::of(b""), holes: vec![] };
        let mut special = entry(b"special", file(0));
        special.uid = 3_000_000;
        special.mtime = (-2, 500_000_000);
        special.xattrs = vec![("security.capability".into(), Bytes(vec![1, 0, b'=', 0xff]))];
        let entries = [
            entry(b"", Node::Directory),
            entry(b"bin", Node::Symlink { target: "usr/bin".into() }),
            entry(b"caf\xe9", file(0)),
            entry(&long, file(0)),
            special,
        ];
        let mut stream: Vec<u8> = entries.iter().flat_map(|e| header(e).unwrap()).collect();
        stream.extend_from_slice(&TRAILER);
        let mut archive = tar::Archive::new(&stream[..]);
        let mut read = archive.entries().unwrap().map(|e| e.unwrap());
        assert_eq!(read.next().unwrap().path_bytes(), &b"./"[..]);
        let link = read.next().unwrap();
        assert_eq!(link.link_name_bytes().unwrap(), &b"usr/bin"[..]);
        assert_eq!(link.header().mode().unwrap(), 0o4755);
        assert_eq!(read.next().unwrap().path_bytes(), &b"caf\xe9"[..]);
        assert_eq!(read.next().unwrap().path_bytes(), &long[..]);
        let mut last = read.next().unwrap();
        let pax: Vec<(Vec<u8>, Vec<u8>)> = last
            .pax_extensions()
            .unwrap()
            .unwrap()
            .map(|e| e.unwrap())
            .map(|e| (e.key_bytes().to_vec(), e.value_bytes().to_vec()))
            .collect();
        assert!(pax.contains(&(b"uid".to_vec(), b"3000000".to_vec())));
        assert!(pax.contains(&(b"mtime".to_vec(), b"-1.5".to_vec())));
        assert_eq!(pax.last().unwrap().1, vec![1, 0, b'=', 0xff]);
        let mut content = Vec::new();
        last.read_to_end(&mut content).unwrap();
    }

    #[test]
    fn paths_are_split_as_ustar_wants() {
        let path = [b"a".repeat(100), b"b".repeat(90)].join(&b'/');
        let head = header(&entry(&path, Node::Fifo)).unwrap();
        assert_eq!(head.len(), 512, "fits without PAX");
        assert_eq!(Header::from_byte_slice(&head).path_bytes(), &path[..]);
    }

    #[test]
    fn pax_times() {
        for (time, text) in [
            ((5, 1), "5.000000001"),
            ((-1, 0), "-1"),
            ((-1, 999_999_999), "-0.000000001"),
            ((0, 120_000_000), "0.12"),
        ] {
            assert_eq!(pax_time(time.0, time.1), text);
        }
    }
}
