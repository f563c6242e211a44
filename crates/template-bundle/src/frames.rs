// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Frames
//!
//! The tar stream is cut into pieces that are compressed on their own, so that they can be written and read in
//! parallel, and fetched alone. A file over [`GROUP_MAX`] has frames of its own; smaller ones share a frame until it
//! holds [`GROUP_MIN`] and a directory ends, or [`GROUP_MAX`].

use std::io::{Read, Write};

use serde::{Deserialize, Serialize};

use crate::canon;
use crate::error::{Error, Result};
use crate::limits::MAX_FRAME;
use crate::toc::Entry;

/// Compression level of both algorithms: what peers use by default.
const ZSTD_LEVEL: i32 = 3;
/// A frame of small files ends with a directory once it holds this much.
const GROUP_MIN: u64 = 256 << 10;
/// A frame of small files never holds more.
const GROUP_MAX: u64 = 1 << 20;

/// How the frames are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compression {
    /// Concatenated zstd frames.
    Zstd,
    /// Concatenated gzip members, for consumers that cannot read zstd.
    Gzip,
    /// A plain tar.
    None,
}

impl Compression {
    /// The OCI media type of a tar layer compressed like this.
    pub fn layer_media_type(self) -> &'static str {
        match self {
            Compression::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
            Compression::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
            Compression::None => "application/vnd.oci.image.layer.v1.tar",
        }
    }

    /// Compresses one frame.
    pub fn compress(self, raw: &[u8]) -> std::io::Result<Vec<u8>> {
        match self {
            Compression::Zstd => zstd::bulk::compress(raw, ZSTD_LEVEL),
            Compression::Gzip => {
                // no name and no time in the header: reproducible
                let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
                gz.write_all(raw)?;
                gz.finish()
            }
            Compression::None => Ok(raw.to_vec()),
        }
    }

    /// Decompresses one frame, which must be exactly as long as declared.
    pub fn decompress(self, frame: &[u8], raw_len: u64) -> Result<Vec<u8>> {
        let wrong =
            |why: &dyn std::fmt::Display| Error::damaged(format!("a compressed frame is damaged: {why}"));
        let len = usize::try_from(raw_len.min(MAX_FRAME)).map_err(|e| wrong(&e))?;
        let mut raw = Vec::with_capacity(len + 1);
        match self {
            Compression::Zstd => {
                let n = zstd::zstd_safe::find_frame_compressed_size(frame)
                    .map_err(|_| wrong(&"no zstd frame"))?;
                if n != frame.len() {
                    return Err(wrong(&"its length is not the declared one"));
                }
                zstd::bulk::Decompressor::new()
                    .and_then(|mut d| d.decompress_to_buffer(frame, &mut raw))
                    .map_err(|e| wrong(&e))?;
            }
            Compression::Gzip => {
                let mut gz = flate2::bufread::GzDecoder::new(frame);
                (&mut gz).take(raw_len + 1).read_to_end(&mut raw).map_err(|e| wrong(&e))?;
                if !gz.into_inner().is_empty() {
                    return Err(wrong(&"its length is not the declared one"));
                }
            }
            Compression::None => raw.extend_from_slice(frame),
        }
        if raw.len() as u64 != raw_len {
            return Err(wrong(&"its content is not as long as declared"));
        }
        Ok(raw)
    }
}

/// A piece of the tar stream.
#[derive(Debug, Clone, PartialEq)]
pub enum Piece {
    /// The header blocks of an entry.
    Header(usize),
    /// Part of an entry's content, padding included: index, offset in the content, bytes of it, padding.
    Content {
        /// Index of the entry.
        entry: usize,
        /// Where the part begins in the content.
        offset: u64,
        /// Bytes of content.
        len: u64,
        /// Zero bytes after it.
        padding: u64,
    },
    /// The end of the archive.
    Trailer,
}

/// The pieces of one frame and their length together.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Frame {
    /// In order.
    pub pieces: Vec<Piece>,
    /// Uncompressed length.
    pub len: u64,
}

impl Frame {
    fn push(&mut self, piece: Piece, len: u64) {
        self.pieces.push(piece);
        self.len += len;
    }
}

fn parent(path: &[u8]) -> &[u8] {
    path.iter().rposition(|c| *c == b'/').map_or(&[], |at| &path[..at])
}

/// Cuts the tar stream of these entries into frames. A function of the entries alone; fails when the stream is longer
/// than `limit`, before it takes memory for it.
pub fn cut(entries: &[Entry], limit: u64) -> Result<Vec<Frame>> {
    let mut left = limit;
    let mut frames = Vec::new();
    let mut open = Frame::default();
    let close = |open: &mut Frame, frames: &mut Vec<Frame>| {
        if !open.pieces.is_empty() {
            frames.push(std::mem::take(open));
        }
    };
    let mut directory: &[u8] = &[];
    for (index, entry) in entries.iter().enumerate() {
        let size = entry.size();
        let header = canon::length(entry)? - size.next_multiple_of(512);
        let total = header + size.next_multiple_of(512);
        left = left.checked_sub(total).ok_or_else(|| {
            Error::damaged(format!("the tree is larger than is declared, at '{}'", entry.path.display()))
        })?;
        let here = parent(&entry.path.0);
        let leaves = here != directory;
        directory = here;
        if open.len + total > GROUP_MAX || (leaves && open.len >= GROUP_MIN) {
            close(&mut open, &mut frames);
        }
        open.push(Piece::Header(index), header);
        if size == 0 {
            continue;
        }
        if total <= GROUP_MAX {
            let padding = canon::padding(size);
            open.push(Piece::Content { entry: index, offset: 0, len: size, padding }, size + padding);
            continue;
        }
        // the header stays apart, so that the frames of the content depend on the content alone
        close(&mut open, &mut frames);
        let mut offset = 0;
        while offset < size {
            let len = (size - offset).min(MAX_FRAME);
            let padding = if offset + len == size { canon::padding(size) } else { 0 };
            let piece = Piece::Content { entry: index, offset, len, padding };
            frames.push(Frame { pieces: vec![piece], len: len + padding });
            offset += len;
        }
    }
    if open.len + canon::TRAILER.len() as u64 > MAX_FRAME {
        close(&mut open, &mut frames);
    }
    open.push(Piece::Trailer, canon::TRAILER.len() as u64);
    close(&mut open, &mut frames);
    Ok(frames)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::toc::Node;

    fn file(path: &str, size: u64) -> Entry {
        Entry {
            path: path.into(),
            node: Node::File { size, digest: Digest::of(b""), holes: vec![] },
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: (0, 0),
            xattrs: vec![],
        }
    }

    #[test]
    fn frames_hold_every_byte_once_and_keep_their_limit() {
        let entries: Vec<Entry> = [
            ("a/1", 100),
            ("a/2", 300_000),
            ("b/1", 5),
            ("b/2", 9_000_000),
            ("b/3", 0),
            ("b/4", 700_000),
            ("b/5", 700_000),
        ]
        .iter()
        .map(|(p, s)| file(p, *s))
        .collect();
        let frames = cut(&entries, u64::MAX).unwrap();
        let total: u64 = entries.iter().map(|e| canon::length(e).unwrap()).sum::<u64>() + 1024;
        assert!(cut(&entries, total - 1025).is_err() && cut(&[file("huge", 1 << 60)], 1 << 40).is_err());
        assert_eq!(frames.iter().map(|f| f.len).sum::<u64>(), total);
        assert!(frames.iter().all(|f| f.len <= MAX_FRAME && f.len > 0));
        assert!(frames.len() >= 7, "directories and large files cut: {}", frames.len());
        let large: Vec<_> =
            frames.iter().filter(|f| matches!(f.pieces[0], Piece::Content { entry: 3, .. })).collect();
        assert_eq!(large.len(), 3);
        assert!(large.iter().all(|f| f.pieces.len() == 1));
    }

    #[test]
    fn frames_that_lie_about_their_length_are_refused() {
        for how in [Compression::Zstd, Compression::Gzip, Compression::None] {
            let raw = vec![7; 100_000];
            let frame = how.compress(&raw).unwrap();
            assert_eq!(how.decompress(&frame, 100_000).unwrap(), raw);
            for (bytes, len) in [
                (&frame[..], 99_999),
                (&frame[..], 100_001),
                (&frame[..frame.len() - 1], 100_000),
                (&[&frame[..], b"x"].concat()[..], 100_000),
            ] {
                assert!(how.decompress(bytes, len).is_err(), "{how:?} {len}");
            }
        }
    }
}
