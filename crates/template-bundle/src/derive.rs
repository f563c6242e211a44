// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Derived bundles
//!
//! A template that was changed, as one OCI layer over those of the template that it was made from. What the layers below hold
//! is named and not written: whoever has the parent has them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::ancestors::{Evidence, check_parents};
use crate::anchors::note_built;
use crate::changes;
use crate::debian;
use crate::error::{Error, Kind, Result};
use crate::finish;
use crate::inroot::InRoot;
use crate::limits::MAX_CHANGES;
use crate::manifest::{Component, FORMAT_VERSION, Package, ROOTFS, TemplateManifest};
use crate::names;
use crate::pack::{Packed, Progress, created, packed_by, seal, warn_of_secrets, write_tree};
use crate::stack::stack;
use crate::toc::Entry;
use crate::tree::OnDisk;
use crate::writer::Writer;

/// What to make.
pub struct Derivation<'a> {
    /// Name of the new template.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What proves the template that it was made from, and those before it.
    pub parents: Vec<Evidence>,
    /// The raw root filesystem of that one.
    pub base: Vec<Entry>,
    /// The same, changed.
    pub root: &'a Path,
    /// Where it may have changed.
    pub touched: BTreeSet<Vec<u8>>,
    /// What is known of packages that were built and not fetched.
    pub built: Vec<Package>,
    /// Key to sign with.
    pub key: Option<PathBuf>,
}

/// Whether these are a name and a version for a template that is made from this one.
pub fn check(parent: &TemplateManifest, name: &str, version: &str) -> Result<()> {
    names::check_name(name)?;
    names::check_version(version)?;
    if parent.component(ROOTFS)?.changes.len() >= MAX_CHANGES {
        return Err(Error::new(
            Kind::Refused,
            format!(
                "'{}:{}' has {MAX_CHANGES} layers of changes already",
                parent.name, parent.template_version
            ),
        )
        .hint("install to a directory, and pack it: that is one layer again"));
    }
    Ok(())
}

/// Writes the bundle. Nothing is at the output until it is complete.
pub fn derive(input: Derivation<'_>, output: &Path, progress: &dyn Progress) -> Result<Packed> {
    let parent = input.parents.first().ok_or_else(|| Error::new(Kind::Internal, "there is no parent"))?;
    let of = parent.manifest()?;
    check(&of, &input.name, &input.version)?;
    let below = of.component(ROOTFS)?;
    let writer = Writer::new(output)?;

    let changes = changes::between(&input.base, input.root, &input.touched)?;
    let sockets = changes.sockets.iter();
    let mut warnings: Vec<String> =
        sockets.map(|path| format!("socket '{}' is left out", path.display())).collect();
    warn_of_secrets(&changes.entries, &mut warnings);
    let newest = changes.entries.iter().map(|entry| entry.mtime).max().unwrap_or_default();
    let created = created(newest)?;
    let (_, mut packages) = debian::read(input.root)?;
    let built = of.packages.iter().chain(&input.built).filter(|package| package.sha256.is_some());
    note_built(&mut packages, built.cloned());

    let root = InRoot::open(input.root)?;
    let steps = finish::steps(&root)?;
    let finish = match steps.is_empty() {
        true => None,
        false => {
            let all = stack([&input.base[..], &changes.entries])?;
            let all: Vec<Entry> = all.into_iter().map(|(entry, _)| entry).collect();
            let mut layer = finish::layer(&root, &steps, &all)?;
            let entries = std::mem::take(&mut layer.entries);
            Some(write_tree(&writer, entries, &[], &layer, below.tree.compression, &|_| Ok(()))?)
        }
    };
    progress.begin(ROOTFS, changes.entries.iter().map(Entry::size).sum());
    let contents = OnDisk(input.root);
    let tree = write_tree(&writer, changes.entries, &[], &contents, below.tree.compression, &|n| {
        progress.advance(n)
    })?;
    let changes = below.changes.iter().cloned().chain([tree]).collect();
    let component = Component { name: ROOTFS.into(), tree: below.tree.clone(), changes, finish };
    let manifest = TemplateManifest {
        version: FORMAT_VERSION,
        name: input.name,
        template_version: input.version,
        created,
        packed_by: packed_by(),
        parent: check_parents(&input.parents)?,
        components: vec![component],
        packages,
        // they tie the parent to its layers, and it has them
        anchors: None,
        ..of
    };
    seal(writer, manifest, &input.parents, input.key.as_deref(), warnings)
}
