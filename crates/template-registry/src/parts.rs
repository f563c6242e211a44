// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Parts of blobs
//!
//! Of an OCI layer, an import needs the frames with files that the store lacks. They are fetched to where they are in the
//! blob; what is between them is a hole. The digest of the blob says nothing about its parts: whoever reads
//! them verifies each file by the digest that the signed table of contents has.

use std::fs::{self, File};
use std::io::Read;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use template_bundle::error::IoContext;
use template_bundle::layout::blob_name;
use template_bundle::oci::Descriptor;
use template_bundle::pack::Progress;
use template_bundle::{Error, Kind, Result};

use crate::client::{ATTEMPTS, pause};
use crate::remote::Remote;
use crate::transfer::{BUFFER, at_once};

/// The most that is asked for at once, so that several connections have something to do.
const LARGEST: u64 = 8 << 20;

/// A blob of which parts are fetched.
struct Target<'a> {
    blob: &'a Descriptor,
    file: File,
    path: &'a Path,
    progress: &'a dyn Progress,
    moved: AtomicU64,
    /// The server gives no parts.
    whole: AtomicBool,
}

impl Remote {
    /// Fetches parts of a blob into a layout: how many bytes they are. Nothing, when the server has no parts to give.
    pub(crate) fn fetch_parts(
        &self,
        blob: &Descriptor,
        ranges: &[Range<u64>],
        layout: &Path,
        progress: &dyn Progress,
    ) -> Result<Option<u64>> {
        let path = layout.join(blob_name(&blob.digest));
        let file = File::create_new(&path).doing("creating", &path)?;
        file.set_len(blob.size).doing("writing", &path)?;
        let (moved, whole) = (AtomicU64::new(0), AtomicBool::new(false));
        let target = Target { blob, file, path: &path, progress, moved, whole };
        let pieces: Vec<Range<u64>> = ranges.iter().flat_map(pieces).collect();
        at_once(pieces.iter().collect(), &|piece| match target.whole.load(Ordering::Relaxed) {
            true => Ok(()),
            false => self.fetch_part(&target, piece),
        })?;
        if target.whole.into_inner() {
            log::info!("{} gives no parts of blobs: all of {} is fetched", self.client().host, blob.digest);
            fs::remove_file(&path).doing("removing", &path)?;
            return Ok(None);
        }
        Ok(Some(target.moved.into_inner()))
    }

    fn fetch_part(&self, target: &Target, part: &Range<u64>) -> Result<()> {
        let doing = format!("fetching a part of blob {} of {}", target.blob.digest, self.name());
        let (mut at, mut attempt) = (part.start, 1);
        while at < part.end {
            let before = at;
            let response = self.blob(&doing, target.blob, Some((at, Some(part.end))))?;
            if response.status() != 206 {
                target.whole.store(true, Ordering::Relaxed);
                return Ok(());
            }
            // whatever comes, no more than was asked for is read
            let mut reader =
                response.into_body().into_with_config().limit(u64::MAX).reader().take(part.end - at);
            let mut buffer = vec![0; BUFFER];
            let failure = loop {
                match reader.read(&mut buffer) {
                    Ok(0) => break "it ended early".to_owned(),
                    Ok(n) => {
                        target.file.write_all_at(&buffer[..n], at).doing("writing", target.path)?;
                        at += n as u64;
                        target.moved.fetch_add(n as u64, Ordering::Relaxed);
                        target.progress.advance(n as u64)?;
                    }
                    Err(e) => break e.to_string(),
                }
            };
            if at == part.end {
                return Ok(());
            }
            attempt = if at > before { 1 } else { attempt };
            if attempt == ATTEMPTS {
                return Err(Error::new(Kind::Network, format!("{doing}: {failure}")).hint("try again"));
            }
            log::info!("{doing}: {failure}; going on");
            pause(attempt, None);
            attempt += 1;
        }
        Ok(())
    }
}

fn pieces(range: &Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let end = range.end;
    (range.start..end).step_by(LARGEST as usize).map(move |start| start..end.min(start + LARGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_parts_are_asked_for_in_pieces() {
        let of = |start, end| pieces(&(start..end)).map(|part| (part.start, part.end)).collect::<Vec<_>>();
        assert_eq!(of(5, 10), [(5, 10)]);
        assert_eq!(of(5, LARGEST + 6), [(5, LARGEST + 5), (LARGEST + 5, LARGEST + 6)]);
        assert!(of(5, 5).is_empty());
    }
}
