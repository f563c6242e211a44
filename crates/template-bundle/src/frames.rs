// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Frames
//!
//! The tar stream is cut into pieces that are compressed on their own, so that they can be written and read in
//! parallel, and fetched alone. A file over [`GROUP_MAX`] has frames of its own; smaller ones share a frame until it
//! holds [`GROUP_MIN`] and a directory ends, or [`GROUP_MAX`], and those that an earlier version has not do so among
//! themselves. Readers take any frames that end between files.

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

/// What is in one frame whole.
enum Atom {
    /// The header of an entry, with its content if that is small; and how long all of the entry is in the stream.
    Entry { index: usize, header: u64, content: u64, total: u64 },
    /// Part of the content of a large file, which has a frame to itself, and its length.
    Part(Piece, u64),
    /// The end of the archive.
    Trailer,
}

impl Atom {
    /// Whose it is.
    fn entry(&self) -> Option<usize> {
        match self {
            Atom::Entry { index, .. } | Atom::Part(Piece::Content { entry: index, .. }, _) => Some(*index),
            _ => None,
        }
    }
}

/// Walks through the tar stream of these entries.
fn walk(entries: &[Entry], mut visit: impl FnMut(Atom) -> Result<()>) -> Result<()> {
    for (index, entry) in entries.iter().enumerate() {
        let size = entry.size();
        let header = canon::length(entry)? - size.next_multiple_of(512);
        let total = header + size.next_multiple_of(512);
        if total <= GROUP_MAX {
            visit(Atom::Entry { index, header, content: size, total })?;
            continue;
        }
        // the header stays apart, so that the frames of the content depend on the content alone
        visit(Atom::Entry { index, header, content: 0, total })?;
        let mut offset = 0;
        while offset < size {
            let len = (size - offset).min(MAX_FRAME);
            let padding = if offset + len == size { canon::padding(size) } else { 0 };
            visit(Atom::Part(Piece::Content { entry: index, offset, len, padding }, len + padding))?;
            offset += len;
        }
    }
    visit(Atom::Trailer)
}

/// Frames, of which the last one is open.
#[derive(Default)]
struct Frames {
    done: Vec<Frame>,
    open: Frame,
}

impl Frames {
    fn close(&mut self) {
        if !self.open.pieces.is_empty() {
            self.done.push(std::mem::take(&mut self.open));
        }
    }

    fn push(&mut self, atom: Atom) {
        match atom {
            Atom::Entry { index, header, content, .. } => {
                self.open.push(Piece::Header(index), header);
                if content > 0 {
                    let padding = canon::padding(content);
                    let piece = Piece::Content { entry: index, offset: 0, len: content, padding };
                    self.open.push(piece, content + padding);
                }
            }
            Atom::Part(piece, len) => self.open.push(piece, len),
            Atom::Trailer => self.open.push(Piece::Trailer, canon::TRAILER.len() as u64),
        }
    }
}

/// Cuts the tar stream of these entries into frames. Files that are fresh share none with others, so that whoever has the
/// others needs none of theirs.
pub fn cut(entries: &[Entry], fresh: &dyn Fn(usize) -> bool) -> Result<Vec<Frame>> {
    let mut frames = Frames::default();
    let mut directory: &[u8] = &[];
    // of the files in the open frame; there may be none
    let mut kind = None;
    walk(entries, |atom| {
        match &atom {
            Atom::Entry { index, content, total, .. } => {
                let here = parent(&entries[*index].path.0);
                let leaves = here != directory;
                directory = here;
                let other = (*content > 0).then(|| fresh(*index));
                let len = frames.open.len;
                if len + total > GROUP_MAX
                    || (leaves && len >= GROUP_MIN)
                    || (other.is_some() && kind.is_some_and(|kind| Some(kind) != other))
                {
                    frames.close();
                    kind = None;
                }
                kind = other.or(kind);
            }
            Atom::Part(..) => {
                frames.close();
                kind = None;
            }
            Atom::Trailer if frames.open.len + canon::TRAILER.len() as u64 > MAX_FRAME => frames.close(),
            Atom::Trailer => {}
        }
        let alone = matches!(atom, Atom::Part(..));
        frames.push(atom);
        if alone {
            frames.close();
        }
        Ok(())
    })?;
    frames.close();
    Ok(frames.done)
}

/// The error for frames that cannot be, with the entry at which that shows.
fn other_frames(at: Option<&Entry>) -> Error {
    let place = at.map_or("the end".to_owned(), |entry| format!("'{}'", entry.path.display()));
    Error::damaged(format!("the table of contents declares other frames than its entries have, at {place}"))
}

/// Finds what is in frames of these uncompressed lengths. A frame ends between two entries, and parts of large files are
/// alone; fails before it takes memory for more than was declared.
pub fn declared(entries: &[Entry], lengths: impl Iterator<Item = u64>) -> Result<Vec<Frame>> {
    let mut lengths = lengths.peekable();
    let mut frames = Frames::default();
    walk(entries, |atom| {
        let alone = matches!(atom, Atom::Part(..));
        let at = atom.entry().and_then(|index| entries.get(index));
        let length = match lengths.peek() {
            Some(length) if !alone || frames.open.pieces.is_empty() => *length,
            _ => return Err(other_frames(at)),
        };
        frames.push(atom);
        if frames.open.len > length || (alone && frames.open.len < length) {
            return Err(other_frames(at));
        }
        if frames.open.len == length {
            lengths.next();
            frames.close();
        }
        Ok(())
    })?;
    match frames.open.pieces.is_empty() && lengths.next().is_none() {
        true => Ok(frames.done),
        false => Err(other_frames(None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, size: u64) -> Entry {
        Entry::plain(path, size, b"")
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
        let frames = cut(&entries, &|_| false).unwrap();
        let total: u64 = entries.iter().map(|e| canon::length(e).unwrap()).sum::<u64>() + 1024;
        let lengths: Vec<u64> = frames.iter().map(|frame| frame.len).collect();
        assert_eq!(declared(&entries, lengths.iter().copied()).unwrap(), frames);
        // others that hold the same
        let mut others = lengths.clone();
        let first = others.remove(0);
        others[0] += first;
        assert_eq!(declared(&entries, others.iter().copied()).unwrap().len(), frames.len() - 1);
        for wrong in
            [&lengths[1..], &lengths[..lengths.len() - 1], &[&lengths[..], &[512]].concat(), &[u64::MAX], &[]]
        {
            assert!(declared(&entries, wrong.iter().copied()).is_err(), "{wrong:?}");
        }
        assert!(declared(&[file("huge", 1 << 60)], [512, MAX_FRAME].into_iter()).is_err());
        assert_eq!(frames.iter().map(|f| f.len).sum::<u64>(), total);
        assert!(frames.iter().all(|f| f.len <= MAX_FRAME && f.len > 0));
        assert!(frames.len() >= 7, "directories and large files cut: {}", frames.len());
        let large: Vec<_> =
            frames.iter().filter(|f| matches!(f.pieces[0], Piece::Content { entry: 3, .. })).collect();
        assert_eq!(large.len(), 3);
        assert!(large.iter().all(|f| f.pieces.len() == 1));
    }

    #[test]
    fn fresh_files_have_frames_of_their_own() {
        let entries: Vec<Entry> =
            (0..9).map(|number| file(&format!("a/{number}"), 1000 * (number % 3))).collect();
        let frames = cut(&entries, &|index| index == 4 || index == 5).unwrap();
        let files = |frame: &Frame| {
            let content = |piece: &Piece| match piece {
                Piece::Content { entry, .. } => Some(*entry),
                _ => None,
            };
            frame.pieces.iter().filter_map(content).collect::<Vec<_>>()
        };
        assert_eq!(frames.iter().map(files).collect::<Vec<_>>(), [vec![1, 2], vec![4, 5], vec![7, 8]]);
        let lengths: Vec<u64> = frames.iter().map(|frame| frame.len).collect();
        assert_eq!(declared(&entries, lengths.into_iter()).unwrap(), frames);
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
