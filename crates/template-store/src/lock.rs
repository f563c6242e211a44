// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Locks
//!
//! Files below tmp that processes lock. A lock is free when its holder is gone, however suddenly; the file vanishes with
//! the holder, or with the next sweep.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use template_bundle::error::IoContext;
use template_bundle::{Error, Result};

/// How long between two looks at a lock that somebody holds.
const PATIENCE: Duration = Duration::from_millis(100);

/// A lock file that vanishes with its holder, or with the next sweep.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    held: Flock<File>,
}

impl Lock {
    /// Waits for it. `waiting` is called now and then, and may end it.
    pub(crate) fn wait(path: &Path, waiting: &mut dyn FnMut() -> Result<()>) -> Result<Lock> {
        let mut file = None;
        loop {
            let lock = match file.take() {
                Some(file) => file,
                None => File::options()
                    .create(true)
                    .truncate(false)
                    .write(true)
                    .mode(0o600)
                    .open(path)
                    .doing("locking", path)?,
            };
            match Flock::lock(lock, FlockArg::LockExclusiveNonblock) {
                // else the one before has removed it after we opened it
                Ok(held) if is_named(&held, path)? => return Ok(Lock { path: path.to_path_buf(), held }),
                Ok(_) => {}
                Err((lock, Errno::EWOULDBLOCK)) => {
                    waiting()?;
                    std::thread::sleep(PATIENCE);
                    file = Some(lock);
                }
                Err((_, e)) => return Err(Error::io("locking", path, e)),
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if is_named(&self.held, &self.path).unwrap_or(false) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Whether a lock file still is what is at its path.
pub(crate) fn is_named(file: &File, path: &Path) -> Result<bool> {
    let ours = file.metadata().doing("reading", path)?;
    Ok(fs::metadata(path).is_ok_and(|found| (found.dev(), found.ino()) == (ours.dev(), ours.ino())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::sweep;

    #[test]
    fn a_lock_is_held_by_one_and_leaves_nothing() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("import-x.lock");
        let held = Lock::wait(&path, &mut || panic!("nobody has it")).unwrap();
        let mut looks = 0;
        let mut impatient = || {
            looks += 1;
            if looks < 3 { Ok(()) } else { Err(Error::usage("enough")) }
        };
        assert_eq!(Lock::wait(&path, &mut impatient).unwrap_err().message, "enough");
        sweep(tmp.path()).unwrap();
        assert!(path.exists(), "a sweep leaves what is held");
        drop(held);
        assert!(!path.exists());
        // left by one that was killed
        fs::write(&path, "").unwrap();
        sweep(tmp.path()).unwrap();
        assert!(!path.exists());
    }
}
