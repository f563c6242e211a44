// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # From a layout to a registry
//!
//! Contents first, then what names them, the tags last: whoever finds a tag finds all of it. Signatures are pushed twice: as
//! what refers to the image index, and in the list that has the tag of its digest, for registries and tools that
//! know nothing of the former.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use template_bundle::bundle::Bundle;
use template_bundle::documents::image_of;
use template_bundle::json::parse;
use template_bundle::limits::MAX_UNSIGNED;
use template_bundle::manifest::{ANCESTOR_TYPE, SIGNATURE_TYPE};
use template_bundle::names::ROOTFS_TAG_SUFFIX;
use template_bundle::oci::{Descriptor, INDEX, Index, MANIFEST, Manifest, to_bytes};
use template_bundle::pack::Progress;
use template_bundle::{Digest, Error, Kind, Result};
use ureq::http::header;

use crate::client::{Payload, Right};
use crate::pull::tag_of;
use crate::reference::Reference;
use crate::registry::Registry;
use crate::transfer::{Source, Traffic, each};

/// What was pushed.
#[derive(Debug)]
pub struct Pushed {
    /// Its tags.
    pub tags: Vec<String>,
    /// How many signatures.
    pub signatures: usize,
    /// How much of it was moved.
    pub traffic: Traffic,
}

/// Pushes a bundle. Tags that mean something else are left alone, unless `force` is given. What a derived bundle leaves to
/// its parent is taken from there.
pub fn push(
    registry: &Registry,
    reference: &Reference,
    bundle: &Bundle,
    parent: Option<&Registry>,
    force: bool,
    progress: &dyn Progress,
) -> Result<Pushed> {
    let version = &bundle.manifest.template_version;
    if let Some(tag) = &reference.tag
        && tag != version
    {
        return Err(Error::usage(format!(
            "'{reference}' has the tag '{tag}', but the bundle is version '{version}'"
        ))
        .hint("the tag of a template is its version: leave it out"));
    }
    if reference.digest.is_some() {
        return Err(Error::usage(format!("'{reference}' names a digest"))
            .hint("leave it out: what is pushed has its own"));
    }
    let layout = bundle.layout();
    let index: Index = parse("the image index", &bundle.index_bytes)?;
    let referring: Vec<Descriptor> = layout
        .index()?
        .manifests
        .into_iter()
        .filter(|d| matches!(d.artifact_type.as_deref(), Some(SIGNATURE_TYPE | ANCESTOR_TYPE)))
        .collect();
    let image = image_of(&index)?;
    let runnable = format!("{version}{ROOTFS_TAG_SUFFIX}");
    if !force {
        refuse_other(registry, version, &bundle.digest)?;
        refuse_other(registry, &runnable, &image.digest)?;
    }

    let mut manifests = Vec::new();
    let mut blobs = Vec::new();
    let mut seen = BTreeSet::new();
    for descriptor in index.manifests.iter().chain(&referring) {
        let bytes = layout.read("manifest", descriptor)?;
        let manifest: Manifest = parse("a manifest", &bytes)?;
        if descriptor.artifact_type.as_deref() == Some(SIGNATURE_TYPE)
            && manifest.subject.as_ref().map(|subject| subject.digest) != Some(bundle.digest)
        {
            continue;
        }
        let parts = std::iter::once(manifest.config).chain(manifest.layers);
        blobs.extend(parts.filter(|blob| seen.insert(blob.digest)));
        manifests.push((descriptor, bytes));
    }
    let traffic = give_all(registry, &blobs, &Source { layout, parent }, progress)?;
    for (descriptor, bytes) in &manifests {
        registry.put_manifest(&descriptor.digest.to_string(), MANIFEST, bytes)?;
    }
    let referring: Vec<Descriptor> = referring
        .iter()
        .filter(|d| manifests.iter().any(|(pushed, _)| pushed.digest == d.digest))
        .cloned()
        .collect();
    list_referring(registry, &bundle.digest, &referring)?;
    // the tags come last: what has one is complete, with its signatures
    registry.put_manifest(&runnable, MANIFEST, &layout.read("manifest", image)?)?;
    registry.put_manifest(version, INDEX, &bundle.index_bytes)?;
    let tags = vec![version.clone(), runnable];
    let signatures = referring.iter().filter(|d| d.artifact_type.as_deref() == Some(SIGNATURE_TYPE)).count();
    Ok(Pushed { tags, signatures, traffic })
}

fn give_all(
    registry: &Registry,
    blobs: &[Descriptor],
    source: &Source<'_>,
    progress: &dyn Progress,
) -> Result<Traffic> {
    progress.begin("pushing", blobs.iter().map(|blob| blob.size).fold(0, u64::saturating_add));
    let (moved, present) = (AtomicU64::new(0), AtomicU64::new(0));
    each(blobs, &|blob| {
        let counter = if registry.give(blob, source, progress)? { &moved } else { &present };
        counter.fetch_add(blob.size, Ordering::Relaxed);
        Ok(())
    })?;
    Ok(Traffic { moved: moved.into_inner(), present: present.into_inner() })
}

/// A release that others may have pinned is not replaced by the way.
fn refuse_other(registry: &Registry, tag: &str, digest: &Digest) -> Result<()> {
    match registry.manifest("tag", tag, &[INDEX, MANIFEST], MAX_UNSIGNED)? {
        Some((_, found)) if found != *digest => Err(Error::new(
            Kind::Refused,
            format!("tag '{tag}' of {} means {found} already", registry.name()),
        )
        .hint("give the template another version, or --force to replace what the tag means")),
        _ => Ok(()),
    }
}

/// Adds to the list that has the tag of the digest.
fn list_referring(registry: &Registry, subject: &Digest, referring: &[Descriptor]) -> Result<()> {
    if referring.is_empty() {
        return Ok(());
    }
    let tag = tag_of(subject);
    let there = registry.manifest("list of signatures", &tag, &[INDEX], MAX_UNSIGNED)?;
    let mut list = match there {
        Some((bytes, _)) => parse::<Index>("the list of signatures", &bytes).unwrap_or_else(|e| {
            log::warn!("what has the tag '{tag}' is replaced: {e}");
            Index::new()
        }),
        None => Index::new(),
    };
    let before = list.manifests.len();
    for descriptor in referring {
        if !list.manifests.iter().any(|known| known.digest == descriptor.digest) {
            list.manifests.push(descriptor.clone());
        }
    }
    match list.manifests.len() > before {
        true => registry.put_manifest(&tag, INDEX, &to_bytes(&list)?),
        false => Ok(()),
    }
}

impl Registry {
    fn put_manifest(&self, name: &str, media_type: &str, bytes: &[u8]) -> Result<()> {
        let doing = format!("pushing manifest '{name}' to {}", self.name());
        let address = self.address(&format!("manifests/{name}"));
        let headers = [(header::CONTENT_TYPE, media_type)];
        let response =
            self.client.send(&doing, Right::Push, "PUT", &address, &headers, &Payload::Bytes(bytes))?;
        match response.status().as_u16() {
            200..=202 => Ok(()),
            _ => Err(self.client.refused(&doing, response)),
        }
    }
}
