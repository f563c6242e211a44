// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Some files of an OCI layer
//!
//! Reads the frames that hold them and leaves out all others. Files are named by the digest of their content, and are
//! verified by it; the OCI layer as a whole is not.

use std::collections::BTreeSet;
use std::io::Read;

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::frames::{Compression, Frame, Piece};
use crate::layout::Blob;
use crate::limits::MAX_CHOSEN;
use crate::needed;
use crate::toc::{Entry, Node, Toc};
use crate::tree::differs;

/// Takes the digest of a file, and its content.
pub type Take<'a> = dyn FnMut(&Digest, &[u8]) -> Result<()> + 'a;

fn wanted_digest(entry: &Entry, wanted: &BTreeSet<Digest>) -> Option<Digest> {
    match entry.node {
        Node::File { digest, size, .. } if size <= MAX_CHOSEN && wanted.contains(&digest) => Some(digest),
        _ => None,
    }
}

/// Hands out the contents of these files, each as often as it occurs.
pub fn read(
    toc: &Toc,
    mut blob: Blob,
    compression: Compression,
    wanted: &BTreeSet<Digest>,
    take: &mut Take,
) -> Result<()> {
    let frames = needed::frames(toc)?;
    // what has come of a file that has frames of its own
    let mut large = Vec::new();
    for (frame, (compressed, raw_len)) in frames.iter().zip(&toc.frames) {
        if !holds(frame, &toc.entries, wanted) {
            blob.skip(*compressed);
            continue;
        }
        // frames have a largest size, which was checked with the table of contents
        let mut bytes = vec![0; *compressed as usize];
        blob.read_exact(&mut bytes).map_err(|e| Error::damaged(format!("the OCI layer ends early: {e}")))?;
        let raw = compression.decompress(&bytes, *raw_len)?;
        let mut at = 0;
        for piece in &frame.pieces {
            match piece {
                Piece::Header(index) => at += crate::canon::header(&toc.entries[*index])?.len(),
                Piece::Trailer => at += crate::canon::TRAILER.len(),
                Piece::Content { entry, offset, len, padding } => {
                    let part = &raw[at..at + *len as usize];
                    at += (len + padding) as usize;
                    let entry = &toc.entries[*entry];
                    let Some(digest) = wanted_digest(entry, wanted) else { continue };
                    if *len == entry.size() {
                        hand_out(entry, digest, part, take)?;
                        continue;
                    }
                    if *offset == 0 {
                        large.clear();
                    }
                    large.extend_from_slice(part);
                    if large.len() as u64 == entry.size() {
                        hand_out(entry, digest, &large, take)?;
                    }
                }
            }
        }
    }
    Ok(())
}

fn holds(frame: &Frame, entries: &[Entry], wanted: &BTreeSet<Digest>) -> bool {
    frame.pieces.iter().any(|piece| match piece {
        Piece::Content { entry, .. } => wanted_digest(&entries[*entry], wanted).is_some(),
        _ => false,
    })
}

fn hand_out(entry: &Entry, digest: Digest, content: &[u8], take: &mut Take) -> Result<()> {
    let found = Digest::of(content);
    if found != digest {
        return Err(differs(&format!("content of '{}'", entry.path.display()), &digest, &found));
    }
    take(&digest, content)
}
