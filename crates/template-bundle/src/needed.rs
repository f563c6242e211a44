// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # What of an OCI layer has to be read
//!
//! Whoever has the content of a file already needs none of the frames in which there is nothing else. The table of
//! contents, which is signed, says what is in a frame.

use std::ops::Range;

use rayon::prelude::*;

use crate::error::Result;
use crate::frames::{Frame, Piece, declared};
use crate::toc::{Entry, Node, Toc};

/// Ranges that are no farther apart are one: to ask for what is between costs less than to ask twice.
const GAP: u64 = 64 << 10;

/// Says whether somebody has the content of an entry.
pub type Has<'a> = dyn Fn(usize, &Entry) -> Result<bool> + Sync + 'a;

/// What is needed.
pub(crate) struct Needed {
    /// By entry: whether its content is.
    pub files: Vec<bool>,
    /// By frame: whether anything in it is.
    pub frames: Vec<bool>,
    /// Nothing can be left out.
    pub whole: bool,
}

impl Needed {
    /// Asks for each file that is not empty.
    pub fn find(frames: &[Frame], entries: &[Entry], has: &Has) -> Result<Self> {
        let files: Vec<bool> = entries
            .par_iter()
            .enumerate()
            .with_min_len(64)
            .map(|(index, entry)| match entry.node {
                Node::File { size, .. } if size > 0 => Ok(!has(index, entry)?),
                _ => Ok(false),
            })
            .collect::<Result<_>>()?;
        let contents = |frame: &Frame| {
            frame
                .pieces
                .iter()
                .filter_map(|piece| match piece {
                    Piece::Content { entry, .. } => Some(*entry),
                    _ => None,
                })
                .collect::<Vec<_>>()
        };
        let whole = frames
            .iter()
            .map(contents)
            .all(|inside| inside.is_empty() || inside.iter().any(|entry| files[*entry]));
        let frames =
            frames.iter().map(|frame| whole || contents(frame).iter().any(|entry| files[*entry])).collect();
        Ok(Self { files, frames, whole })
    }
}

/// The frames of a table of contents, if it declares those that its entries have.
pub(crate) fn frames(toc: &Toc) -> Result<Vec<Frame>> {
    declared(&toc.entries, toc.frames.iter().map(|(_, raw)| *raw))
}

/// The bytes of an OCI layer that are needed; none when that is all of them, or nearly.
pub fn ranges(toc: &Toc, has: &Has) -> Result<Option<Vec<Range<u64>>>> {
    let needed = Needed::find(&frames(toc)?, &toc.entries, has)?;
    if needed.whole {
        return Ok(None);
    }
    let mut out: Vec<Range<u64>> = Vec::new();
    let mut at = 0;
    for ((len, _), needed) in toc.frames.iter().zip(&needed.frames) {
        let end = at + len;
        match out.last_mut() {
            _ if !needed => {}
            Some(last) if at - last.end <= GAP => last.end = end,
            _ => out.push(at..end),
        }
        at = end;
    }
    let sum: u64 = out.iter().map(|range| range.end - range.start).sum();
    Ok((sum < at / 4 * 3).then_some(out))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::cut;

    fn toc(sizes: &[u64]) -> Toc {
        let file =
            |(index, size): (usize, &u64)| Entry::plain(&format!("f{index}"), *size, &index.to_le_bytes());
        let entries: Vec<Entry> = sizes.iter().enumerate().map(file).collect();
        // compressed to nothing
        let frames = cut(&entries, &|_| false).unwrap().iter().map(|frame| (frame.len, frame.len)).collect();
        Toc { frames, entries }
    }

    #[test]
    fn only_frames_with_something_unknown_are_needed() {
        const LARGE: u64 = 8 << 20;
        let toc = toc(&[LARGE, 10, 20, LARGE, LARGE, 0]);
        let of = |known: &[usize]| ranges(&toc, &|index, _| Ok(known.contains(&index))).unwrap();
        assert_eq!(of(&[]), None);
        // a small file beside an unknown one saves nothing
        assert_eq!(of(&[1]), None);
        assert_eq!(of(&[0, 1, 2, 3, 4]), Some(vec![]));
        let found = of(&[0, 1, 2, 4]).unwrap();
        assert_eq!(found.len(), 1);
        let bytes = found[0].end - found[0].start;
        assert!((LARGE..LARGE + 4096).contains(&bytes), "{found:?}");
        // what is near is asked for at once
        assert_eq!(of(&[0, 3, 4]).unwrap().len(), 1);
        assert_eq!(of(&[1, 2, 3]).unwrap().len(), 2);
        // nearly everything
        assert_eq!(of(&[1, 2]), None);
    }
}
