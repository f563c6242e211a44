// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Blobs on their way
//!
//! Several at a time.

use std::collections::VecDeque;
use std::io::Read;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use template_bundle::layout::Layout;
use template_bundle::oci::Descriptor;
use template_bundle::pack::Progress;
use template_bundle::{Error, Kind, Result};
use ureq::http::header;

use crate::answers::may_pass;
use crate::client::{ATTEMPTS, Payload, Right, pause};
use crate::registry::Registry;

/// How many blobs are on their way at a time.
const AT_ONCE: usize = 4;
pub(crate) const BUFFER: usize = 256 << 10;

/// What was moved.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes of blobs that went over the network.
    pub moved: u64,
    /// Bytes of blobs that were there already.
    pub present: u64,
}

/// Does something with each of them, several at a time; the first error ends it.
pub(crate) fn each(blobs: &[Descriptor], work: &(dyn Fn(&Descriptor) -> Result<()> + Sync)) -> Result<()> {
    // the largest first, so that none of them is left for the end
    let mut sorted: Vec<&Descriptor> = blobs.iter().collect();
    sorted.sort_by_key(|blob| std::cmp::Reverse(blob.size));
    at_once(sorted, work)
}

/// The same for anything, in its order.
pub(crate) fn at_once<T: Send + Sync>(
    items: Vec<&T>,
    work: &(dyn Fn(&T) -> Result<()> + Sync),
) -> Result<()> {
    let count = items.len();
    let queue = Mutex::new(VecDeque::from(items));
    let next = || queue.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).pop_front();
    let run = || -> Result<()> {
        while let Some(blob) = next() {
            if let Err(e) = work(blob) {
                queue.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clear();
                return Err(e);
            }
        }
        Ok(())
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..AT_ONCE.min(count)).map(|_| scope.spawn(run)).collect();
        let results = threads.into_iter().map(|thread| {
            thread.join().unwrap_or_else(|_| Err(Error::new(Kind::Internal, "a transfer has panicked")))
        });
        // all of them are waited for
        results.collect::<Vec<_>>().into_iter().collect()
    })
}

impl Registry {
    /// Whether the repository has a blob.
    pub(crate) fn has(&self, blob: &Descriptor) -> Result<bool> {
        let doing = format!("looking for blob {}", blob.digest);
        let address = self.address(&format!("blobs/{}", blob.digest));
        let response = self.client.send(&doing, Right::Push, "HEAD", &address, &[], &Payload::None)?;
        match response.status().as_u16() {
            200 => Ok(true),
            404 => Ok(false),
            _ => Err(self.client.refused(&doing, response)),
        }
    }

    /// Gives a blob to the repository, unless it has it: whether it went over the network.
    pub(crate) fn give(
        &self,
        blob: &Descriptor,
        source: &Source<'_>,
        progress: &dyn Progress,
    ) -> Result<bool> {
        if self.has(blob)? {
            progress.advance(blob.size)?;
            return Ok(false);
        }
        let doing = format!("pushing blob {} to {}", blob.digest, self.name());
        let mut attempt = 1;
        loop {
            let Some(address) = self.begin_upload(&doing, blob)? else {
                log::info!("blob {} is taken over from {}", blob.digest, self.mounts().unwrap_or_default());
                progress.advance(blob.size)?;
                return Ok(false);
            };
            let separator = if address.contains('?') { '&' } else { '?' };
            let address = format!("{address}{separator}digest={}", blob.digest);
            let sent = AtomicU64::new(0);
            let open = || -> Result<Box<dyn Read + '_>> {
                sent.store(0, Ordering::Relaxed);
                let reader = source.open(&doing, blob)?;
                Ok(Box::new(Counted { reader, sent: &sent, progress }))
            };
            let headers = [(header::CONTENT_TYPE, "application/octet-stream")];
            let payload = Payload::Reader(&open, blob.size);
            let response = self.client.send_to(&address, &headers, &payload)?;
            let why = match response {
                Ok(response) if response.status() == 201 => return Ok(true),
                // the upload is gone
                Ok(response) if response.status() != 404 && !response.status().is_server_error() => {
                    return Err(self.client.refused(&doing, response));
                }
                Ok(response) => response.status().to_string(),
                Err(e) if may_pass(&e) => e.to_string(),
                Err(e) => return Err(self.client.unreachable(&doing, &e)),
            };
            if attempt == ATTEMPTS {
                return Err(Error::new(Kind::Network, format!("{doing}: {why}")).hint("try again"));
            }
            log::info!("{doing}: {why} after {} of {} bytes; again", sent.load(Ordering::Relaxed), blob.size);
            pause(attempt, None);
            attempt += 1;
        }
    }

    /// Where to send a blob; nowhere when the registry has taken it over from the other repository.
    fn begin_upload(&self, doing: &str, blob: &Descriptor) -> Result<Option<String>> {
        let mut address = self.address("blobs/uploads/");
        if let Some(other) = self.mounts() {
            address = format!("{address}?mount={}&from={other}", blob.digest);
        }
        let response = self.client.send(doing, Right::Push, "POST", &address, &[], &Payload::Bytes(b""))?;
        match response.status().as_u16() {
            201 if self.mounts().is_some() => return Ok(None),
            // it does not do that, or may not
            202 => {}
            _ => return Err(self.client.refused(doing, response)),
        }
        let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
        let location = location.ok_or_else(|| {
            Error::new(Kind::Network, format!("{doing}: the registry does not say where to send it"))
        })?;
        Ok(Some(self.client.address(location)))
    }
}

/// Where blobs that are pushed come from.
pub(crate) struct Source<'a> {
    /// The bundle.
    pub layout: &'a Layout,
    /// The repository of what the bundle was made from: it has what the bundle leaves to its parent.
    pub parent: Option<&'a Registry>,
}

impl Source<'_> {
    fn open(&self, doing: &str, blob: &Descriptor) -> Result<Box<dyn Read + '_>> {
        match self.parent {
            Some(parent) if !self.layout.has_blob(&blob.digest) => {
                let body = parent.blob(doing, blob, None)?.into_body();
                Ok(Box::new(body.into_with_config().limit(u64::MAX).reader()))
            }
            _ => Ok(Box::new(self.layout.blob(&blob.digest, blob.size)?)),
        }
    }
}

/// Tells how far it was read.
struct Counted<'a, R> {
    reader: R,
    sent: &'a AtomicU64,
    progress: &'a dyn Progress,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.reader.read(buffer)?;
        self.sent.fetch_add(n as u64, Ordering::Relaxed);
        self.progress.advance(n as u64).map_err(|e| std::io::Error::other(e.message))?;
        Ok(n)
    }
}
