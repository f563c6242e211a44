// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Scratch directories
//!
//! A directory below tmp and a lock beside it that its maker holds. When the maker dies, however suddenly, the lock is
//! free, and the next one who needs a scratch directory removes both.

use std::fs::{self, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use template_bundle::error::IoContext;
use template_bundle::{Error, Result};

use crate::lock::is_named;
use crate::node;

const LOCK: &str = "lock";
const PREFIX: &str = "scratch-";

/// A directory that vanishes with its owner.
pub struct Scratch {
    dir: PathBuf,
    lock: PathBuf,
    _held: Flock<File>,
}

impl Scratch {
    pub(crate) fn new(tmp: &Path) -> Result<Scratch> {
        loop {
            let temp = tempfile::Builder::new()
                .prefix(PREFIX)
                .suffix(&format!(".{LOCK}"))
                .tempfile_in(tmp)
                .doing("creating", tmp)?;
            let (file, lock) = temp.keep().doing("creating", tmp)?;
            let held = Flock::lock(file, FlockArg::LockExclusive)
                .map_err(|(_, e)| Error::io("locking", &lock, e))?;
            // a sweep may have come between creating and locking
            if !is_named(&held, &lock)? {
                continue;
            }
            let dir = lock.with_extension("");
            // from here on it vanishes with its owner, also when it fails
            let scratch = Scratch { dir, lock, _held: held };
            fs::DirBuilder::new().mode(0o700).create(&scratch.dir).doing("creating", &scratch.dir)?;
            node::forget_acl(&scratch.dir)?;
            return Ok(scratch);
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        remove(&self.dir, &self.lock);
    }
}

fn remove(dir: &Path, lock: &Path) {
    if let Err(e) = fs::remove_dir_all(dir)
        && e.kind() != std::io::ErrorKind::NotFound
    {
        // the lock stays, so that the next sweep tries again
        log::warn!("removing '{}': {e}", dir.display());
        return;
    }
    let _ = fs::remove_file(lock);
}

/// What a dead process has left: a lock that was free until we took it, and perhaps the directory it stands for.
pub(crate) struct Dead {
    lock: PathBuf,
    _held: Flock<File>,
}

impl Dead {
    /// The directory.
    pub(crate) fn dir(&self) -> PathBuf {
        self.lock.with_extension("")
    }

    pub(crate) fn remove(self) {
        log::info!("removing '{}', left by a process that died", self.dir().display());
        remove(&self.dir(), &self.lock);
    }
}

/// Finds what dead processes have left.
pub(crate) fn dead(tmp: &Path) -> Result<Vec<Dead>> {
    let mut out = Vec::new();
    for entry in fs::read_dir(tmp).doing("reading", tmp)? {
        let lock = entry.doing("reading", tmp)?.path();
        if lock.extension().is_none_or(|e| e != LOCK) {
            continue;
        }
        let Ok(file) = File::open(&lock) else { continue };
        if let Ok(held) = Flock::lock(file, FlockArg::LockExclusiveNonblock)
            && is_named(&held, &lock)?
        {
            out.push(Dead { lock, _held: held });
        }
    }
    Ok(out)
}

/// Removes what dead processes have left.
pub(crate) fn sweep(tmp: &Path) -> Result<()> {
    dead(tmp)?.into_iter().for_each(Dead::remove);
    Ok(())
}

/// Small files below tmp that were being written when the machine or their writer died. They have no lock, so nobody
/// may be writing any while this is asked.
pub(crate) fn unlocked(tmp: &Path) -> Result<Vec<PathBuf>> {
    let mut out = Vec::new();
    for entry in fs::read_dir(tmp).doing("reading", tmp)? {
        let entry = entry.doing("reading", tmp)?;
        let is_file = entry.file_type().doing("reading", entry.path())?.is_file();
        if is_file && entry.path().extension().is_none_or(|e| e != LOCK) {
            out.push(entry.path());
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sweep_removes_what_is_not_held() {
        let tmp = tempfile::tempdir().unwrap();
        let held = Scratch::new(tmp.path()).unwrap();
        let dead = tmp.path().join("scratch-dead");
        fs::create_dir(&dead).unwrap();
        fs::write(dead.join("file"), "").unwrap();
        fs::write(tmp.path().join("scratch-dead.lock"), "").unwrap();
        sweep(tmp.path()).unwrap();
        assert!(!dead.exists() && held.path().exists());
        drop(held);
        assert_eq!(fs::read_dir(tmp.path()).unwrap().count(), 0);
    }
}
