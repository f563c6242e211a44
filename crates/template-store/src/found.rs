// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # What gc finds
//!
//! Which templates and trees are needed, and why.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;

use template_bundle::versions::compare_versions;
use template_bundle::{Digest, Error, Kind, Result};

use crate::files::list_dir;
use crate::find::Stored;
use crate::gc::{GcOptions, Judged, Why};
use crate::lock::{Lock, Mode};
use crate::roots::Root;
use crate::scratch;
use crate::store::Store;

/// What is in the store, and what of it is to go.
#[derive(Default)]
pub(crate) struct Found {
    /// Templates that go.
    pub removed: Vec<Judged>,
    /// Templates that stay.
    pub kept: Vec<Judged>,
    /// What killed processes have left: templates without a record, names of what is not there, half-written files.
    pub leftovers: u64,
    /// Half-written files.
    pub files: Vec<PathBuf>,
    /// Directories of templates that go, and of what was never complete.
    pub templates: Vec<PathBuf>,
    /// Keep everybody from beginning to read what goes.
    pub locks: Vec<Lock>,
    /// Names that go.
    pub refs: Vec<PathBuf>,
    /// Trees that go.
    pub trees: Vec<PathBuf>,
    /// Results of transactions that go.
    pub results: Vec<PathBuf>,
}

impl Found {
    /// Looks at everything. Nothing may be added meanwhile.
    pub fn read(store: &Store, options: &GcOptions, roots: &[Root]) -> Result<Found> {
        let mut out = Found::default();
        let names = Names::read(store, options.keep)?;
        out.refs.extend(names.dangling.iter().cloned());
        out.files = scratch::unlocked(&store.tmp())?;
        out.leftovers = (out.refs.len() + out.files.len()) as u64;
        for hex in list_dir(&store.path().join("templates"))? {
            let dir = store.path().join("templates").join(&hex);
            let Ok(digest) = format!("sha256:{hex}").parse::<Digest>() else {
                log::warn!("'{}' is nothing that belongs into the store", dir.display());
                continue;
            };
            let keeping: Vec<&Root> = roots.iter().filter(|r| r.alive && r.digest == digest).collect();
            let template = match store.get(&digest) {
                Ok(Some(template)) => template,
                // its import was killed before the record was written
                Ok(None) => {
                    out.leftovers += 1;
                    out.templates.push(dir);
                    continue;
                }
                Err(e)
                    if e.kind == Kind::Damaged && keeping.is_empty() && !names.all.contains_key(&digest) =>
                {
                    log::warn!("{e}");
                    out.leftovers += 1;
                    out.templates.push(dir);
                    continue;
                }
                Err(e) => return Err(unknown(e)),
            };
            let mut why = Vec::new();
            let named = names.all.get(&digest);
            why.extend(named.is_some_and(|named| named.kept).then_some(Why::Named));
            why.extend((!keeping.is_empty()).then_some(Why::Rooted));
            if why.is_empty() {
                match Lock::attempt(&store.use_lock(&digest), Mode::Exclusive)? {
                    Some(lock) => out.locks.push(lock),
                    None => why.push(Why::InUse),
                }
            }
            if why.is_empty() {
                let why = vec![names.why_gone(&template)];
                out.refs.extend(named.map(|named| named.path.clone()));
                out.templates.push(dir);
                out.removed.push(Judged { template, why, roots: vec![] });
            } else {
                let roots = keeping.iter().map(|root| root.file.clone()).collect();
                out.kept.push(Judged { template, why, roots });
            }
        }
        let order = |a: &Judged, b: &Judged| {
            let (a, b) = (&a.template, &b.template);
            let versions = (&a.manifest.template_version, &b.manifest.template_version);
            a.manifest
                .name
                .cmp(&b.manifest.name)
                .then_with(|| compare_versions(versions.0, versions.1))
                .then_with(|| a.record.digest.cmp(&b.record.digest))
        };
        out.removed.sort_by(order);
        out.kept.sort_by(order);
        let needed: HashSet<PathBuf> = out
            .kept
            .iter()
            .flat_map(|kept| &kept.template.manifest.components)
            .flat_map(|component| component.parts())
            .map(|(part, tree)| store.tree_dir(part, tree))
            .collect();
        let templates: Vec<Digest> = out.kept.iter().map(|kept| kept.template.record.digest).collect();
        for (dir, lock) in store.idle_results(&templates)? {
            out.results.push(dir);
            out.locks.push(lock);
        }
        let trees = store.path().join("trees");
        let all = list_dir(&trees)?.into_iter().map(|name| trees.join(name));
        out.trees = all.filter(|tree| !needed.contains(tree)).collect();
        Ok(out)
    }
}

/// What a damaged template needs is not known: nothing can be removed.
fn unknown(e: Error) -> Error {
    match e.kind {
        Kind::Damaged => e.within("what a template needs is not known, so nothing is removed"),
        _ => e,
    }
}

/// What names mean.
struct Names {
    all: BTreeMap<Digest, Named>,
    /// Names of templates that are not there.
    dangling: Vec<PathBuf>,
}

struct Named {
    path: PathBuf,
    /// Whether it is one of the newest that are asked for.
    kept: bool,
}

impl Names {
    fn read(store: &Store, keep: Option<usize>) -> Result<Names> {
        let mut out = Names { all: BTreeMap::new(), dangling: vec![] };
        for name in list_dir(&store.refs())? {
            let mut newer = 0;
            for version in store.versions(&name)?.into_iter().rev() {
                let path = store.refs().join(&name).join(&version);
                let Some(digest) = store.get_ref(&name, &version)? else { continue };
                if !store.template_dir(&digest).join("record.json").exists() {
                    out.dangling.push(path);
                    continue;
                }
                out.all.insert(digest, Named { path, kept: keep.is_none_or(|keep| newer < keep) });
                newer += 1;
            }
        }
        Ok(out)
    }

    fn why_gone(&self, template: &Stored) -> Why {
        let manifest = &template.manifest;
        let tail = PathBuf::from(&manifest.name).join(&manifest.template_version);
        if self.all.contains_key(&template.record.digest) {
            Why::Old
        } else if self.all.values().any(|named| named.path.ends_with(&tail)) {
            Why::Replaced
        } else {
            Why::Unnamed
        }
    }
}
