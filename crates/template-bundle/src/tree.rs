// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Trees as OCI layers
//!
//! Writes a tree as a compressed tar and its table of contents, and reads it back, both frame by frame on all cores.
//! The reader hands out content only after its digest was found right, and refuses a stream that is not the
//! canonical one of its table. Frames without anything new are not read.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rayon::prelude::*;

use crate::canon;
use crate::digest::{Digest, Hasher, Hashing};
use crate::error::{Error, IoContext, Kind, Result};
use crate::frames::{Compression, Frame, Piece, cut};
use crate::layout::Blob;
use crate::limits::MAX_FRAME;
use crate::needed::{self, Needed};
use crate::pipeline;
use crate::toc::{Entry, Node, Toc};

/// Uncompressed bytes that are worked on at once; up to three times this, with the compressed form, bounds the memory.
const BATCH: u64 = 32 << 20;

/// Hears of uncompressed bytes done, and may end the work.
pub type Advance<'a> = dyn Fn(u64) -> Result<()> + 'a;

/// Where the contents of files come from.
pub trait Contents: Sync {
    /// Reads `buf.len()` bytes of a file from this offset.
    fn read_at(&self, entry: &Entry, offset: u64, buf: &mut [u8]) -> Result<()>;
}

/// Contents from a directory, or from a single file.
pub struct OnDisk<'a>(pub &'a Path);

impl Contents for OnDisk<'_> {
    fn read_at(&self, entry: &Entry, offset: u64, buf: &mut [u8]) -> Result<()> {
        let path = if self.0.is_dir() { self.0.join(entry.path.as_path()) } else { self.0.to_path_buf() };
        let file = File::open(&path).doing("reading", &path)?;
        file.read_exact_at(buf, offset)
            .map_err(|e| Error::io("reading", &path, format!("{e} (did the file change meanwhile?)")))
    }
}

/// What was written.
#[derive(Debug, Clone)]
pub struct Written {
    /// The table of contents, digests filled in.
    pub toc: Toc,
    /// Digest of the compressed stream.
    pub digest: Digest,
    /// Length of the compressed stream.
    pub size: u64,
    /// Digest of the uncompressed stream, which OCI calls the diff ID.
    pub diff_id: Digest,
    /// Length of the uncompressed stream.
    pub raw_size: u64,
}

/// Writes the tar stream of these entries. Files that are `fresh` have frames of their own. `progress` hears of uncompressed
/// bytes done.
pub fn write(
    mut entries: Vec<Entry>,
    fresh: &[bool],
    contents: &dyn Contents,
    compression: Compression,
    out: impl Write,
    progress: &Advance,
) -> Result<Written> {
    let frames = cut(&entries, &|index| fresh.get(index).copied().unwrap_or(false))?;
    let mut out = Hashing::new(out);
    let mut diff_id = Hasher::default();
    let mut lengths = Vec::with_capacity(frames.len());
    let mut digests = Vec::new();
    let mut raw_size = 0;
    let mut open: Option<(usize, Hasher)> = None;
    let mut left = batches(&frames, |f| f.len).into_iter();
    pipeline::run(
        || Ok(left.next()),
        |batch| batch.par_iter().map(|frame| build(frame, &entries, contents, compression)).collect(),
        |batch, built: Vec<Built>| {
            for (frame, built) in batch.iter().zip(built) {
                diff_id.update(&built.raw);
                out.write_all(&built.compressed).doing("writing", "OCI layer")?;
                lengths.push((built.compressed.len() as u64, frame.len));
                raw_size += frame.len;
                digests.extend(built.digests);
                if let [Piece::Content { entry, offset, len, .. }] = frame.pieces[..] {
                    // part of a large file: its digest runs over several frames
                    let size = entries[entry].size();
                    let (_, hasher) = open.get_or_insert_with(|| (entry, Hasher::default()));
                    hasher.update(&built.raw[..len as usize]);
                    if offset + len == size
                        && let Some((entry, hasher)) = open.take()
                    {
                        digests.push((entry, hasher.finish()));
                    }
                }
                progress(frame.len)?;
            }
            Ok(())
        },
    )?;
    for (index, found) in digests {
        set_digest(&mut entries[index], found);
    }
    out.flush().doing("writing", "OCI layer")?;
    let (_, digest, size) = out.finish();
    Ok(Written { toc: Toc { frames: lengths, entries }, digest, size, diff_id: diff_id.finish(), raw_size })
}

struct Built {
    raw: Vec<u8>,
    compressed: Vec<u8>,
    digests: Vec<(usize, Digest)>,
}

fn build(
    frame: &Frame,
    entries: &[Entry],
    contents: &dyn Contents,
    compression: Compression,
) -> Result<Built> {
    let mut raw = Vec::with_capacity(frame.len as usize);
    let mut digests = Vec::new();
    for piece in &frame.pieces {
        match piece {
            Piece::Header(index) => raw.extend_from_slice(&canon::header(&entries[*index])?),
            Piece::Trailer => raw.extend_from_slice(&canon::TRAILER),
            Piece::Content { entry, offset, len, padding } => {
                let start = raw.len();
                raw.resize(start + *len as usize, 0);
                contents.read_at(&entries[*entry], *offset, &mut raw[start..])?;
                if *len == entries[*entry].size() {
                    digests.push((*entry, Digest::of(&raw[start..])));
                }
                raw.resize(raw.len() + *padding as usize, 0);
            }
        }
    }
    let compressed = compression.compress(&raw).doing("compressing", "OCI layer")?;
    Ok(Built { raw, compressed, digests })
}

fn set_digest(entry: &mut Entry, found: Digest) {
    if let Node::File { digest, .. } = &mut entry.node {
        *digest = found;
    }
}

/// Takes the verified contents of files.
pub trait Sink: Sync {
    /// Whether it has the content of a file already, which need not come then. Asked once for each file that is not
    /// empty, before any comes, from several threads.
    fn has(&self, _index: usize, _entry: &Entry) -> Result<bool> {
        Ok(false)
    }
    /// A whole file, its digest verified. Called from several threads, in no particular order.
    fn file(&self, index: usize, entry: &Entry, content: &[u8]) -> Result<()>;
    /// A part of a large file, in order, not verified yet.
    fn part(&self, index: usize, entry: &Entry, offset: u64, content: &[u8]) -> Result<()>;
    /// All parts came and the digest is right.
    fn end(&self, index: usize, entry: &Entry) -> Result<()>;
}

/// A sink that only wants to see the stream verified.
pub struct Discard;

impl Sink for Discard {
    fn file(&self, _: usize, _: &Entry, _: &[u8]) -> Result<()> {
        Ok(())
    }
    fn part(&self, _: usize, _: &Entry, _: u64, _: &[u8]) -> Result<()> {
        Ok(())
    }
    fn end(&self, _: usize, _: &Entry) -> Result<()> {
        Ok(())
    }
}

/// What the signed documents say of the stream that is read.
#[derive(Debug, Clone)]
pub struct Expected {
    /// How it is compressed.
    pub compression: Compression,
    /// Digest of the compressed stream.
    pub digest: Digest,
    /// Length of the compressed stream.
    pub size: u64,
    /// Digest of the uncompressed stream; checking it costs a pass over all bytes on one core.
    pub diff_id: Option<Digest>,
}

/// Reads a tar stream, verifies it against its table of contents and hands out the contents of files: how many bytes were
/// read. Frames in which there is nothing new to the sink are left out; the digest of the stream, which is over all of
/// them, is verified when none is.
pub fn read(
    toc: &Toc,
    mut input: Blob,
    expected: &Expected,
    sink: &dyn Sink,
    progress: &Advance,
) -> Result<u64> {
    let frames = needed::frames(toc)?;
    if toc.frames.iter().map(|(c, _)| c).sum::<u64>() != expected.size {
        return Err(Error::damaged(
            "the table of contents and the manifest disagree on the size of the OCI layer",
        ));
    }
    let needed = Needed::find(&frames, &toc.entries, &|index, entry| sink.has(index, entry))?;
    let mut hash = needed.whole.then(Hasher::default);
    let mut raw_hash = expected.diff_id.filter(|_| needed.whole).map(|_| Hasher::default());
    let mut large: HashMap<usize, Hasher> = HashMap::new();
    let (mut parts, mut skipped, mut left_out) = (Vec::new(), 0, 0);
    for ((frame, (len, _)), needed) in frames.iter().zip(&toc.frames).zip(&needed.frames) {
        if *needed {
            parts.push(Part { frame, len: *len, skipped: std::mem::take(&mut skipped) });
        } else {
            skipped += len;
            left_out += frame.len;
        }
    }
    progress(left_out)?;
    let mut bytes_read = 0;
    let mut left = batches(&parts, |part| part.frame.len).into_iter();
    let get = || {
        let Some(batch) = left.next() else { return Ok(None) };
        let mut compressed = Vec::with_capacity(batch.len());
        for part in batch {
            let mut frame = vec![0; part.len as usize];
            input.skip(part.skipped);
            input
                .read_exact(&mut frame)
                .map_err(|e| Error::damaged(format!("the OCI layer ends early: {e}")))?;
            if let Some(hash) = &mut hash {
                hash.update(&frame);
            }
            bytes_read += part.len;
            compressed.push(frame);
        }
        Ok(Some((batch, compressed)))
    };
    let unpack = |(batch, compressed): &(&[Part], Vec<Vec<u8>>)| {
        batch
            .par_iter()
            .zip(compressed)
            .map(|(part, bytes)| {
                let raw = expected.compression.decompress(bytes, part.frame.len)?;
                check_frame(part.frame, &toc.entries, &needed.files, &raw, sink)?;
                Ok(raw)
            })
            .collect::<Result<Vec<Vec<u8>>>>()
    };
    pipeline::run(get, unpack, |(batch, _), raws| {
        for (Part { frame, .. }, raw) in batch.iter().zip(&raws) {
            if let Some(hash) = &mut raw_hash {
                hash.update(raw);
            }
            if let [Piece::Content { entry: index, offset, len, .. }] = frame.pieces[..] {
                let entry = &toc.entries[index];
                let content = &raw[..len as usize];
                large.entry(index).or_default().update(content);
                check_holes(entry, offset, content)?;
                if needed.files[index] {
                    sink.part(index, entry, offset, content)?;
                }
                if offset + len == entry.size()
                    && let Some(hasher) = large.remove(&index)
                {
                    check_content(entry, hasher.finish())?;
                    if needed.files[index] {
                        sink.end(index, entry)?;
                    }
                }
            }
            progress(frame.len)?;
        }
        Ok(())
    })?;
    if let Some(digest) = hash.map(Hasher::finish)
        && digest != expected.digest
    {
        return Err(differs("OCI layer", &expected.digest, &digest));
    }
    if let (Some(hash), Some(diff_id)) = (raw_hash, expected.diff_id) {
        let found = hash.finish();
        if found != diff_id {
            return Err(differs("uncompressed OCI layer", &diff_id, &found));
        }
    }
    Ok(bytes_read)
}

/// A frame that is read.
struct Part<'a> {
    frame: &'a Frame,
    /// Compressed bytes of it.
    len: u64,
    /// Compressed bytes before it that are left out.
    skipped: u64,
}

/// The error for a digest that is not the expected one.
pub fn differs(what: &str, expected: &Digest, found: &Digest) -> Error {
    Error::new(Kind::DigestDiffers, format!("{what} has digest {found}, {expected} is expected")).hint(
        "the bundle was altered or damaged: fetch it again, and ask its publisher if that does not help",
    )
}

fn check_content(entry: &Entry, found: Digest) -> Result<()> {
    match entry.node {
        Node::File { digest, .. } if digest != found => {
            Err(differs(&format!("content of '{}'", entry.path.display()), &digest, &found))
        }
        _ => Ok(()),
    }
}

/// What is said to be a hole must be zero: whoever makes the file leaves it out.
fn check_holes(entry: &Entry, offset: u64, content: &[u8]) -> Result<()> {
    let Node::File { holes, .. } = &entry.node else { return Ok(()) };
    let end = offset + content.len() as u64;
    for (hole, len) in holes {
        let (from, to) = ((*hole).clamp(offset, end), (hole + len).clamp(offset, end));
        if content[(from - offset) as usize..(to - offset) as usize].iter().any(|b| *b != 0) {
            let path = entry.path.display();
            return Err(Error::damaged(format!("'{path}' has data where a hole is declared")));
        }
    }
    Ok(())
}

fn check_frame(frame: &Frame, entries: &[Entry], needed: &[bool], raw: &[u8], sink: &dyn Sink) -> Result<()> {
    let alone = frame.pieces.len() == 1;
    let mut at = 0;
    let mut take = |n: u64| {
        let part = &raw[at..at + n as usize];
        at += n as usize;
        part
    };
    for piece in &frame.pieces {
        match piece {
            Piece::Header(index) => {
                let wanted = canon::header(&entries[*index])?;
                if take(wanted.len() as u64) != wanted {
                    return Err(Error::damaged(format!(
                        "the OCI layer describes '{}' differently than its table of contents",
                        entries[*index].path.display()
                    )));
                }
            }
            Piece::Trailer => {
                if take(canon::TRAILER.len() as u64) != canon::TRAILER {
                    return Err(Error::damaged("the OCI layer does not end as a tar archive"));
                }
            }
            Piece::Content { entry, len, padding, .. } => {
                let content = take(*len);
                if !alone {
                    check_content(&entries[*entry], Digest::of(content))?;
                    check_holes(&entries[*entry], 0, content)?;
                    if needed[*entry] {
                        sink.file(*entry, &entries[*entry], content)?;
                    }
                }
                if take(*padding).iter().any(|b| *b != 0) {
                    return Err(Error::damaged("the OCI layer hides bytes between its files"));
                }
            }
        }
    }
    Ok(())
}

/// Cuts a list into runs of about [`BATCH`] bytes.
fn batches<T>(items: &[T], len: impl Fn(&T) -> u64) -> Vec<&[T]> {
    const { assert!(BATCH >= MAX_FRAME) };
    let mut out = Vec::new();
    let (mut start, mut total) = (0, 0);
    for (at, item) in items.iter().enumerate() {
        if total + len(item) > BATCH && at > start {
            out.push(&items[start..at]);
            (start, total) = (at, 0);
        }
        total += len(item);
    }
    if start < items.len() {
        out.push(&items[start..]);
    }
    out
}

/// Fills in the digests of scanned entries, for comparing a directory with something else.
pub fn hash_contents(entries: &mut [Entry], contents: &dyn Contents) -> Result<()> {
    entries.par_iter_mut().with_min_len(16).try_for_each(|entry| {
        let size = entry.size();
        let mut hasher = Hasher::default();
        let mut offset = 0;
        while offset < size {
            let mut buf = vec![0; (size - offset).min(MAX_FRAME) as usize];
            contents.read_at(entry, offset, &mut buf)?;
            hasher.update(&buf);
            offset += buf.len() as u64;
        }
        set_digest(entry, hasher.finish());
        Ok(())
    })
}
