// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Results that are kept
//!
//! What a transaction has written over a tree, the upper directory of an overlay, under a key of all that decides over it.
//! Who asks for the same again lays it between the tree and a new upper directory, instead of doing it again. A result
//! is complete when it has its name: it is made aside, synced and renamed. It goes with its template, or when nobody has
//! used it for a while.

use std::fs::{self};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use template_bundle::error::IoContext;
use template_bundle::pack::Progress;
use template_bundle::{Digest, Result};

use crate::files::{list_dir, make_dir_for_root, open_file, read_file, sync_dir, sync_filesystem};
use crate::fsck::{Checked, What, digest_of_tree};
use crate::lock::{Lock, Mode};
use crate::scratch::Scratch;
use crate::sealed;
use crate::store::Store;

/// The version of the record, and with it of what the results are like.
const VERSION: u32 = 2;
pub(crate) const RECORD: &str = "record.json";
const UPPER: &str = "upper";
/// In the scratch directory of who makes it.
const ASIDE: &str = "result";

/// How long a result is kept that nobody uses.
pub const UNUSED_DAYS: u64 = 30;

/// What is noted about a result.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    version: u32,
    /// The template that it is over.
    template: Digest,
    /// Of what is in it.
    content: Digest,
    /// Whatever the maker wants to know of it.
    details: serde_json::Value,
}

/// A result that is held: gc keeps away from it.
#[derive(Debug)]
pub struct Kept {
    dir: PathBuf,
    details: serde_json::Value,
    in_use: Lock,
}

impl Kept {
    /// To be laid over the tree; never to be written to.
    pub fn upper(&self) -> PathBuf {
        self.dir.join(UPPER)
    }

    /// What its maker noted.
    pub fn details(&self) -> &serde_json::Value {
        &self.details
    }
}

/// Moves what a transaction has written to where it becomes a result, and returns its place.
pub fn set_result_aside(scratch: &Scratch, upper: &Path) -> Result<PathBuf> {
    let aside = scratch.path().join(ASIDE);
    fs::create_dir(&aside).doing("creating", &aside)?;
    let to = aside.join(UPPER);
    fs::rename(upper, &to).doing("setting aside", upper)?;
    Ok(to)
}

impl Store {
    fn results(&self) -> PathBuf {
        self.path().join("results")
    }

    fn result_lock(&self, key: &Digest) -> PathBuf {
        self.tmp().join(format!("result-{}.lock", key.hex()))
    }

    /// The result of that key, if there is one. It counts as used.
    pub fn find_result(&self, key: &Digest) -> Result<Option<Kept>> {
        let dir = self.results().join(key.hex());
        if !dir.exists() {
            return Ok(None);
        }
        let in_use = Lock::wait(&self.result_lock(key), Mode::Shared, &mut || Ok(()))?;
        let Some(record) = read_record(&dir) else { return Ok(None) };
        let path = dir.join(RECORD);
        open_file(&path).and_then(|f| f.set_modified(SystemTime::now())).doing("noting the use of", &path)?;
        Ok(Some(Kept { dir, details: record.details, in_use }))
    }

    /// Gives a result that was set aside its name. When somebody else was faster, theirs is as good.
    pub fn keep_result(
        &self,
        key: &Digest,
        template: &Digest,
        scratch: &Scratch,
        details: serde_json::Value,
    ) -> Result<Kept> {
        let aside = scratch.path().join(ASIDE);
        let content = digest_of_tree(&aside.join(UPPER))?;
        let record = Record { version: VERSION, template: *template, content, details };
        let path = aside.join(RECORD);
        fs::write(&path, sealed::write(&record)?).doing("writing", &path)?;
        sync_filesystem(&aside)?;
        let (results, dir) = (self.results(), self.results().join(key.hex()));
        make_dir_for_root(&results)?;
        // before it has its name, so that nothing can fail after that but what leaves it there
        let in_use = Lock::wait(&self.result_lock(key), Mode::Shared, &mut || Ok(()))?;
        match fs::rename(&aside, &dir) {
            Err(e) if matches!(e.raw_os_error(), Some(nix::libc::ENOTEMPTY | nix::libc::EEXIST)) => {
                if read_record(&dir).is_none() {
                    let to = scratch.path().join("broken");
                    fs::rename(&dir, &to).doing("setting aside", &dir)?;
                    fs::rename(&aside, &dir).doing("naming result", &dir)?;
                }
            }
            other => other.doing("naming result", &dir)?,
        }
        if let Err(e) = sync_dir(&results) {
            log::warn!("{e}");
        }
        Ok(Kept { dir, details: record.details, in_use })
    }

    /// Removes a result that turned out not to be what its record says, unless somebody else is using it.
    pub fn forget_result(&self, kept: Kept, scratch: &Scratch) -> Result<()> {
        if !kept.in_use.alone()? {
            return Ok(());
        }
        let to = scratch.path().join("forgotten");
        match fs::rename(&kept.dir, &to) {
            // somebody else has done so
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.doing("setting aside", &kept.dir),
        }
    }

    /// Compares results with their records. Those without one do not count, and are left to gc.
    pub(crate) fn check_results(&self, out: &mut Checked, progress: &dyn Progress) -> Result<()> {
        progress.begin("checking results", 0);
        for name in list_dir(&self.results())? {
            let dir = self.results().join(name);
            let record = match read_file(&dir.join(RECORD)).map(|bytes| sealed::read::<Record>(&bytes)) {
                Ok(Ok(record)) if record.version == VERSION => record,
                Ok(Err(e)) => {
                    out.found(What::Result, dir, format!("its record: {}", e.message));
                    continue;
                }
                _ => continue,
            };
            out.results += 1;
            let detail = match digest_of_tree(&dir.join(UPPER)) {
                Ok(digest) if digest == record.content => continue,
                Ok(_) => "it is not what it was when it was made".to_owned(),
                Err(e) => e.message,
            };
            out.found(What::Result, dir, detail);
            progress.advance(0)?;
        }
        Ok(())
    }

    /// Keeps everybody from beginning to use the result in a directory; none while somebody is using it.
    pub(crate) fn hold_result(&self, dir: &Path) -> Result<Option<Lock>> {
        let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Lock::attempt(&self.tmp().join(format!("result-{name}.lock")), Mode::Exclusive)
    }

    /// Results that can go: they are over none of these templates, or nobody has used them for long. With the locks
    /// that keep everybody from beginning to use them.
    pub(crate) fn idle_results(&self, templates: &[Digest]) -> Result<Vec<(PathBuf, Lock)>> {
        let mut out = Vec::new();
        for name in list_dir(&self.results())? {
            let dir = self.results().join(&name);
            let Ok(key) = format!("sha256:{name}").parse::<Digest>() else {
                log::warn!("'{}' is nothing that belongs into the store", dir.display());
                continue;
            };
            let needed = read_record(&dir).is_some_and(|record| templates.contains(&record.template));
            if needed && !is_old(&dir) {
                continue;
            }
            if let Some(lock) = Lock::attempt(&self.result_lock(&key), Mode::Exclusive)? {
                out.push((dir, lock));
            }
        }
        Ok(out)
    }
}

/// None for one that is not complete, or of another version.
fn read_record(dir: &Path) -> Option<Record> {
    let record: Record = sealed::read(&read_file(&dir.join(RECORD)).ok()?).ok()?;
    (record.version == VERSION && dir.join(UPPER).is_dir()).then_some(record)
}

fn is_old(dir: &Path) -> bool {
    let used = fs::metadata(dir.join(RECORD)).and_then(|meta| meta.modified());
    let age = used.ok().and_then(|used| SystemTime::now().duration_since(used).ok());
    age.is_some_and(|age| age > Duration::from_secs(UNUSED_DAYS * 24 * 60 * 60))
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    /// Without root: what it takes of a store.
    fn store(dir: &Path) -> Store {
        fs::create_dir(dir.join("tmp")).unwrap();
        fs::write(dir.join("format"), "isar-template store 0\n").unwrap();
        Store::open(dir).unwrap()
    }

    fn keep(store: &Store, key: &Digest, template: &Digest) -> Kept {
        let scratch = store.scratch().unwrap();
        let upper = scratch.path().join("upper");
        fs::create_dir(&upper).unwrap();
        fs::write(upper.join("file"), "x").unwrap();
        set_result_aside(&scratch, &upper).unwrap();
        store.keep_result(key, template, &scratch, serde_json::json!({"a": 1})).unwrap()
    }

    #[test]
    fn results_are_found_again_and_go_with_their_template() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        let (key, template) = (Digest::of(b"key"), Digest::of(b"template"));
        assert!(store.find_result(&key).unwrap().is_none());
        let kept = keep(&store, &key, &template);
        assert!(kept.upper().join("file").exists() && kept.details()["a"] == 1);
        // one that is made twice is kept once
        drop(keep(&store, &key, &template));
        assert!(store.idle_results(&[template]).unwrap().is_empty());
        assert!(store.idle_results(&[]).unwrap().is_empty(), "it is in use");
        drop(kept);
        assert_eq!(store.idle_results(&[]).unwrap().len(), 1);
        // not used for long
        let record = File::open(store.results().join(key.hex()).join(RECORD)).unwrap();
        record.set_modified(SystemTime::now() - Duration::from_secs((UNUSED_DAYS + 1) * 86_400)).unwrap();
        assert_eq!(store.idle_results(&[template]).unwrap().len(), 1);
        assert!(store.find_result(&key).unwrap().is_some());
        assert!(store.idle_results(&[template]).unwrap().is_empty(), "it was used just now");
    }

    #[test]
    fn a_result_that_somebody_uses_is_not_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        let (key, template) = (Digest::of(b"key"), Digest::of(b"template"));
        let (ours, scratch) = (keep(&store, &key, &template), store.scratch().unwrap());
        let theirs = store.find_result(&key).unwrap().unwrap();
        store.forget_result(theirs, &scratch).unwrap();
        assert!(ours.upper().join("file").exists());
        store.forget_result(ours, &scratch).unwrap();
        assert!(store.find_result(&key).unwrap().is_none());
    }

    #[test]
    fn what_is_not_complete_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        let (key, template) = (Digest::of(b"key"), Digest::of(b"template"));
        drop(keep(&store, &key, &template));
        fs::write(store.results().join(key.hex()).join(RECORD), "{").unwrap();
        assert!(store.find_result(&key).unwrap().is_none());
        assert_eq!(store.idle_results(&[template]).unwrap().len(), 1);
        // and gives way to one that is
        drop(keep(&store, &key, &template));
        assert!(store.find_result(&key).unwrap().is_some());
    }
}
