// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Writing back meanwhile
//!
//! Files are on disk when the file system was synced, at the end. That takes long when the kernel begins to write only then.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use template_bundle::{Error, Kind, Result};

use crate::files::sync_filesystem;

/// How long nothing is done between: what takes less time than this is not worth it.
const PAUSE: Duration = Duration::from_millis(400);

/// Syncs a file system again and again, until it is dropped.
pub(crate) struct Flusher {
    running: Option<(Sender<()>, JoinHandle<Result<()>>)>,
}

impl Flusher {
    /// Begins.
    pub(crate) fn start(path: &Path) -> Self {
        let path = PathBuf::from(path);
        let (stop, stopped) = channel::<()>();
        let run = move || {
            while stopped.recv_timeout(PAUSE) == Err(RecvTimeoutError::Timeout) {
                sync_filesystem(&path)?;
            }
            Ok(())
        };
        Self { running: Some((stop, thread::spawn(run))) }
    }

    /// Ends it. The kernel tells of a failure once, so that nobody else would hear of one that is told here.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        let Some((stop, thread)) = self.running.take() else { return Ok(()) };
        drop(stop);
        thread.join().unwrap_or_else(|_| Err(Error::new(Kind::Internal, "writing back has panicked")))
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        // whoever drops it has failed already
        let _ = self.end();
    }
}
