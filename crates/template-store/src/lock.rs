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

/// A lock file that vanishes with its last holder, or with the next sweep.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    held: Flock<File>,
}

/// Who may hold a lock besides.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Mode {
    /// Others that share it.
    Shared,
    /// Nobody.
    Exclusive,
}

impl Lock {
    /// Waits for it. `waiting` is called now and then, and may end it.
    pub(crate) fn wait(path: &Path, mode: Mode, waiting: &mut dyn FnMut() -> Result<()>) -> Result<Lock> {
        loop {
            if let Some(lock) = Lock::attempt(path, mode)? {
                return Ok(lock);
            }
            waiting()?;
            std::thread::sleep(PATIENCE);
        }
    }

    /// Takes it when it is free.
    pub(crate) fn attempt(path: &Path, mode: Mode) -> Result<Option<Lock>> {
        let how = match mode {
            Mode::Shared => FlockArg::LockSharedNonblock,
            Mode::Exclusive => FlockArg::LockExclusiveNonblock,
        };
        loop {
            let file = File::options()
                .create(true)
                .truncate(false)
                .write(true)
                .mode(0o600)
                .open(path)
                .doing("locking", path)?;
            match Flock::lock(file, how) {
                // else the one before has removed it after we opened it
                Ok(held) if is_named(&held, path)? => {
                    return Ok(Some(Lock { path: path.to_path_buf(), held }));
                }
                Ok(_) => {}
                Err((_, Errno::EWOULDBLOCK)) => return Ok(None),
                Err((_, e)) => return Err(Error::io("locking", path, e)),
            }
        }
    }
}

impl Lock {
    /// Whether nobody shares it; then nobody can from now on.
    pub(crate) fn alone(&self) -> Result<bool> {
        match self.held.relock(FlockArg::LockExclusiveNonblock) {
            Ok(()) => Ok(true),
            Err(Errno::EWOULDBLOCK) => Ok(false),
            Err(e) => Err(Error::io("locking", &self.path, e)),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // one that is shared is removed by who holds it last
        if self.held.relock(FlockArg::LockExclusiveNonblock).is_ok()
            && is_named(&self.held, &self.path).unwrap_or(false)
        {
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
        let held = Lock::wait(&path, Mode::Exclusive, &mut || panic!("nobody has it")).unwrap();
        let mut looks = 0;
        let mut impatient = || {
            looks += 1;
            if looks < 3 { Ok(()) } else { Err(Error::usage("enough")) }
        };
        assert_eq!(Lock::wait(&path, Mode::Exclusive, &mut impatient).unwrap_err().message, "enough");
        sweep(tmp.path()).unwrap();
        assert!(path.exists(), "a sweep leaves what is held");
        drop(held);
        assert!(!path.exists());
        // left by one that was killed
        fs::write(&path, "").unwrap();
        sweep(tmp.path()).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_shared_lock_goes_with_its_last_holder() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("use-x.lock");
        let one = Lock::attempt(&path, Mode::Shared).unwrap().unwrap();
        let two = Lock::attempt(&path, Mode::Shared).unwrap().unwrap();
        assert!(Lock::attempt(&path, Mode::Exclusive).unwrap().is_none());
        drop(one);
        assert!(path.exists() && Lock::attempt(&path, Mode::Exclusive).unwrap().is_none());
        drop(two);
        assert!(!path.exists());
        let alone = Lock::attempt(&path, Mode::Exclusive).unwrap().unwrap();
        assert!(Lock::attempt(&path, Mode::Shared).unwrap().is_none());
        drop(alone);
        assert!(!path.exists());
    }
}
