// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Blobs as a whole
//!
//! A download goes on where it broke off, when the server gives parts; what has arrived counts only when
//! size and digest are those that were declared.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use template_bundle::digest::Hasher;
use template_bundle::error::IoContext;
use template_bundle::layout::blob_name;
use template_bundle::oci::Descriptor;
use template_bundle::pack::Progress;
use template_bundle::{Error, Kind, Result};

use crate::client::{ATTEMPTS, pause};
use crate::pull::differs;
use crate::remote::Remote;
use crate::transfer::BUFFER;

impl Remote {
    /// Fetches a blob into a layout.
    pub(crate) fn fetch(&self, blob: &Descriptor, layout: &Path, progress: &dyn Progress) -> Result<()> {
        let path = layout.join(blob_name(&blob.digest));
        let doing = format!("fetching blob {} of {}", blob.digest, self.name());
        let mut file = File::create_new(&path).doing("creating", &path)?;
        let mut hasher = Hasher::default();
        let (mut done, mut attempt) = (0u64, 1);
        while done < blob.size {
            let before = done;
            let response = self.blob(&doing, blob, (done > 0).then_some((done, None)))?;
            if response.status() != 206 && done > 0 {
                // the whole of it again
                (done, hasher) = (0, Hasher::default());
                file.seek(SeekFrom::Start(0)).and_then(|_| file.set_len(0)).doing("writing", &path)?;
            }
            let mut reader = response.into_body().into_with_config().limit(u64::MAX).reader();
            let mut buffer = vec![0; BUFFER];
            let failure = loop {
                match reader.read(&mut buffer) {
                    Ok(0) => break None,
                    Ok(n) => {
                        done += n as u64;
                        if done > blob.size {
                            return Err(Error::damaged(format!("{doing}: it is larger than declared")));
                        }
                        hasher.update(&buffer[..n]);
                        file.write_all(&buffer[..n]).doing("writing", &path)?;
                        progress.advance(n as u64)?;
                    }
                    Err(e) => break Some(e.to_string()),
                }
            };
            if done == blob.size {
                break;
            }
            if done > before {
                attempt = 1;
            }
            let why = failure.unwrap_or_else(|| "it ended early".to_owned());
            if attempt == ATTEMPTS {
                return Err(Error::new(
                    Kind::Network,
                    format!("{doing}: {why} after {done} of {} bytes", blob.size),
                )
                .hint("try again"));
            }
            log::info!("{doing}: {why} after {done} of {} bytes; going on", blob.size);
            pause(attempt, None);
            attempt += 1;
        }
        let found = hasher.finish();
        if found != blob.digest {
            return Err(differs("blob", &blob.digest, &found));
        }
        Ok(())
    }
}
