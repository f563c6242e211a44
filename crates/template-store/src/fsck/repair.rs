// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Discarding what is damaged
//!
//! In the order of gc: names first, then records, then trees, then objects. What somebody is using stays, and is told.

use std::fs;
use std::path::{Path, PathBuf};

use template_bundle::error::IoContext;
use template_bundle::{Digest, Result};

use super::trees::Needed;
use super::{Checked, Template, What};
use crate::files::{list_dir, sync_dir};
use crate::lock::{Lock, Mode};
use crate::scratch::Scratch;
use crate::store::Store;

pub(super) fn discard(
    store: &Store,
    templates: &[Template],
    needed: &[Needed],
    out: &mut Checked,
) -> Result<()> {
    let aside = Aside { scratch: Scratch::new(&store.tmp())?, count: std::cell::Cell::new(0) };
    let damaged = |needed: &&Needed| {
        out.findings.iter().any(|f| f.what == What::Tree && f.path.starts_with(&needed.dir))
    };
    let trees: Vec<&Needed> = needed.iter().filter(damaged).collect();
    let mut gone: Vec<Digest> = templates
        .iter()
        .filter(|template| trees.iter().any(|tree| tree.is_of(template)))
        .map(|template| template.digest)
        .collect();
    let documents = out.findings.iter().filter(|f| f.what == What::Document);
    gone.extend(
        documents.filter_map(|f| format!("sha256:{}", f.path.file_name()?.to_str()?).parse::<Digest>().ok()),
    );
    // nobody begins to read them any more
    let mut locks = Vec::new();
    for digest in &gone {
        match Lock::attempt(&store.use_lock(digest), Mode::Exclusive)? {
            Some(lock) => locks.push(lock),
            None => {
                log::warn!("template {digest} is in use: nothing is discarded; run it again when it is not");
                return Ok(());
            }
        }
    }
    remove_names(store, &gone, &aside)?;
    for digest in &gone {
        aside.take(&store.template_dir(digest))?;
    }
    sync_dir(&store.path().join("templates"))?;
    for tree in &trees {
        aside.take(&tree.dir)?;
    }
    for finding in &mut out.findings {
        match finding.what {
            // only roots are left of them
            What::Document if finding.path.starts_with(store.roots()) => aside.take(&finding.path)?,
            What::Document | What::Tree => {}
            What::Object => aside.take(&finding.path)?,
            What::Shared => {
                let Some(tree) = needed.iter().find(|tree| finding.path.starts_with(&tree.dir)) else {
                    continue;
                };
                let _alone = store.lock_shared(&tree.tree, &mut || Ok(()))?;
                aside.take(&tree.dir.join(crate::share::COPY))?;
            }
            What::Result => {
                let Some(_alone) = store.hold_result(&finding.path)? else {
                    log::warn!("result '{}' is in use, and stays", finding.path.display());
                    continue;
                };
                aside.take(&finding.path)?;
            }
        }
        finding.discarded = true;
    }
    sync_dir(&store.path().join("trees"))
}

/// Removes the names of templates that go.
fn remove_names(store: &Store, gone: &[Digest], aside: &Aside) -> Result<()> {
    for name in list_dir(&store.refs())? {
        let dir = store.refs().join(&name);
        for version in list_dir(&dir)? {
            let path = dir.join(&version);
            // one that is not readable means nothing
            let means = store.get_ref(&name, &version).ok().flatten();
            if means.is_none_or(|digest| gone.contains(&digest) || !store.is_recorded(&digest)) {
                aside.take(&path)?;
                sync_dir(&dir)?;
            }
        }
        // another version may still be there
        let _ = fs::remove_dir(&dir);
    }
    Ok(())
}

/// A place that vanishes with this process.
struct Aside {
    scratch: Scratch,
    count: std::cell::Cell<u32>,
}

impl Aside {
    fn take(&self, path: &Path) -> Result<()> {
        self.count.set(self.count.get() + 1);
        let to: PathBuf = self.scratch.path().join(self.count.get().to_string());
        match fs::rename(path, &to) {
            // several findings may be of one thing
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
            other => other.doing("setting aside", path),
        }
    }
}
