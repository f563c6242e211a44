// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Checking the store
//!
//! Reads everything that templates are made of, and compares it with what was verified when they were imported: documents
//! with the digest of their template, trees with their tables of contents, objects with their keys, results with their
//! records. Each inode is read once, however many trees have it.
//!
//! What is damaged can be discarded: the file loses its name as an object, a tree that has it goes, and so does a template
//! that has such a tree. Importing its bundle again makes what is missing, and takes the rest from where it is.

mod content;
mod documents;
mod objects;
mod repair;
mod trees;

use std::collections::BTreeSet;
use std::path::PathBuf;

use template_bundle::pack::Progress;
use template_bundle::{Digest, Result};

use self::content::Contents;
use crate::import::waiting;
use crate::store::{Store, require_root};

pub(crate) use self::content::digest_of_tree;

/// What is wrong with something.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// What it is part of.
    pub what: What,
    /// Templates that have it (`NAME:VERSION`, or a digest where that is not known).
    pub templates: BTreeSet<String>,
    /// Where, in the store.
    pub path: PathBuf,
    /// What is wrong.
    pub detail: String,
    /// It was discarded.
    pub discarded: bool,
}

/// Parts of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// A document of a template.
    Document,
    /// Something in a tree, or its table of contents.
    Tree,
    /// The copy of a tree that checkouts share.
    Shared,
    /// A file that trees to come would link.
    Object,
    /// What a transaction has written.
    Result,
}

impl What {
    /// The word in JSON.
    pub fn name(self) -> &'static str {
        match self {
            What::Document => "document",
            What::Tree => "tree",
            What::Shared => "shared",
            What::Object => "object",
            What::Result => "result",
        }
    }
}

/// What was checked, and what was found.
#[derive(Debug, Default)]
pub struct Checked {
    /// Templates.
    pub templates: u64,
    /// Trees that templates need.
    pub trees: u64,
    /// Objects.
    pub objects: u64,
    /// Results of transactions.
    pub results: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// What is wrong, in order.
    pub findings: Vec<Finding>,
}

impl Checked {
    /// Findings that are still there.
    pub fn damaged(&self) -> usize {
        self.findings.iter().filter(|finding| !finding.discarded).count()
    }
}

/// Checks all of the store, and discards what is damaged when asked to. Nothing is removed from the store meanwhile, and
/// when discarding, nothing is added either.
pub fn fsck(store: &Store, discard: bool, progress: &dyn Progress) -> Result<Checked> {
    require_root("fsck")?;
    let mut wait = waiting("waiting for others to end", progress);
    let _gate = match discard {
        true => Some(store.lock_removing(&mut wait)?),
        false => store.held(|| store.lock_adding(&mut wait))?,
    };
    let mut out = Checked::default();
    let templates = documents::check(store, &mut out)?;
    let contents = Contents::default();
    let needed = trees::needed(store, &templates);
    for tree in &needed {
        trees::check(store, tree, &contents, &mut out, progress)?;
    }
    out.trees = needed.len() as u64;
    objects::check(store, &contents, &mut out, progress)?;
    store.check_results(&mut out, progress)?;
    out.templates = templates.len() as u64;
    out.bytes = contents.bytes();
    out.findings.sort();
    if discard && !out.findings.is_empty() {
        repair::discard(store, &templates, &needed, &mut out)?;
    }
    Ok(out)
}

/// A template as far as its documents are good.
pub(crate) struct Template {
    pub digest: Digest,
    pub reference: String,
    pub manifest: template_bundle::manifest::TemplateManifest,
}

impl Checked {
    pub(crate) fn found(&mut self, what: What, path: PathBuf, detail: impl Into<String>) {
        let templates = BTreeSet::new();
        self.findings.push(Finding { what, templates, path, detail: detail.into(), discarded: false });
    }
}
