// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # From a registry to a layout
//!
//! First come the documents: the image index, its signatures and what else refers to it, and the manifests that it
//! names. They say how much the contents are, and whether somebody trusted has signed them; contents come after that.

use std::collections::BTreeSet;
use std::fs;
use std::ops::Range;
use std::path::Path;

use template_bundle::bundle::{image_of, tagged};
use template_bundle::error::IoContext;
use template_bundle::json::parse;
use template_bundle::layout::{MARKER, blob_name};
use template_bundle::limits::{
    MAX_ANCESTOR_DOCUMENTS, MAX_ANCESTORS, MAX_DOCUMENT, MAX_SIGNATURE, MAX_SIGNATURES, MAX_UNSIGNED,
};
use template_bundle::manifest::{ANCESTOR_TYPE, ARTIFACT_TYPE, SIGNATURE_TYPE};
use template_bundle::names::ROOTFS_TAG_SUFFIX;
use template_bundle::oci::{Descriptor, INDEX, Index, MANIFEST, Manifest, VERSION, to_bytes};
use template_bundle::pack::Progress;
use template_bundle::{Digest, Error, Kind, Result};

use crate::client::Registry;
use crate::reference::Reference;
use crate::transfer::{Traffic, each};

/// What is to be fetched of a blob.
#[derive(Debug, Clone)]
pub enum Wanted {
    /// It is there, or nobody needs it.
    Nothing,
    /// These bytes.
    Parts(Vec<Range<u64>>),
    /// All of it.
    Whole,
}

/// The documents of a bundle, which are in a layout now.
#[derive(Debug)]
pub struct Documents {
    /// Of the image index.
    pub digest: Digest,
    /// What the image index says. Nobody has verified it yet.
    pub version: String,
    /// What else belongs to the bundle.
    contents: Vec<Descriptor>,
}

impl Documents {
    /// Bytes of what is still to be fetched.
    pub fn size(&self) -> u64 {
        size_of(&self.contents)
    }
}

/// Fetches the documents of a bundle, and makes a layout of them in an empty directory.
pub fn documents(registry: &Registry, reference: &Reference, layout: &Path) -> Result<Documents> {
    let name = match (&reference.digest, &reference.tag) {
        (Some(digest), _) => digest.to_string(),
        (None, Some(tag)) => tag.clone(),
        (None, None) => {
            return Err(Error::usage(format!("'{reference}' names no version"))
                .hint("append :VERSION, or @sha256:DIGEST of the image index"));
        }
    };
    let blobs = layout.join("blobs/sha256");
    fs::create_dir_all(&blobs).doing("creating", &blobs)?;
    let place = Place { registry, layout };

    let found = registry.manifest("template", &name, &[INDEX, MANIFEST], MAX_UNSIGNED)?;
    let (index_bytes, digest) = found.ok_or_else(|| {
        Error::new(Kind::NotFound, format!("{}/{} has no '{name}'", registry.host, registry.repository))
            .hint("check repository and version; 'skopeo list-tags' shows what there is")
    })?;
    if let Some(expected) = &reference.digest
        && *expected != digest
    {
        return Err(differs("template", expected, &digest));
    }
    let index = parse::<Index>("the image index", &index_bytes);
    let Some(index) = index.ok().filter(|index| index.artifact_type.as_deref() == Some(ARTIFACT_TYPE)) else {
        return Err(Error::damaged(format!("'{reference}' is no template"))
            .hint("it is something that isar-template has not made, such as an image; templates have the tag of their version"));
    };
    let version = index.annotations.get(VERSION).cloned().unwrap_or_default();
    if let (None, Some(tag)) = (&reference.digest, &reference.tag)
        && *tag != version
    {
        return Err(Error::new(
            Kind::TagDiffers,
            format!("tag '{tag}' of {}/{} is version '{}'", registry.host, registry.repository, version.escape_debug()),
        )
        .hint("the tag of a template is its version: somebody has tagged it anew; to want it all the same, name its digest"));
    }
    let mut image = image_of(&index)?.clone();
    place.write(&digest, &index_bytes)?;

    let mut contents = Vec::new();
    let mut seen = BTreeSet::new();
    for descriptor in &index.manifests {
        let manifest = place.manifest("manifest", descriptor, MAX_DOCUMENT)?;
        place.blob(&manifest.config, MAX_DOCUMENT)?;
        contents.extend(manifest.layers.into_iter().filter(|layer| seen.insert(layer.digest)));
    }
    let mut top = Index::new();
    let mut template = Descriptor::new(INDEX, digest, index_bytes.len() as u64);
    template.artifact_type = index.artifact_type.clone();
    top.manifests.push(tagged(template, &version));
    image.annotations.clear();
    top.manifests.push(tagged(image, &format!("{version}{ROOTFS_TAG_SUFFIX}")));
    top.manifests.extend(place.referrers(&digest)?);
    write(&layout.join(MARKER.0), MARKER.1.as_bytes())?;
    write(&layout.join("index.json"), &to_bytes(&top)?)?;
    Ok(Documents { digest, version, contents })
}

/// Fetches what the documents have named and is wanted. Of a blob, parts may do.
pub fn contents(
    registry: &Registry,
    documents: &Documents,
    wanted: &dyn Fn(&Digest) -> Wanted,
    layout: &Path,
    progress: &dyn Progress,
) -> Result<Traffic> {
    let (mut whole, mut parts) = (Vec::new(), Vec::new());
    for blob in &documents.contents {
        match wanted(&blob.digest) {
            Wanted::Nothing => {}
            Wanted::Whole => whole.push(blob.clone()),
            Wanted::Parts(ranges) => parts.push((blob, ranges)),
        }
    }
    let of_parts: u64 =
        parts.iter().flat_map(|(_, ranges)| ranges).map(|range| range.end - range.start).sum();
    progress.begin("fetching", size_of(&whole).saturating_add(of_parts));
    let mut moved = 0;
    for (blob, ranges) in parts {
        match registry.fetch_parts(blob, &ranges, layout, progress)? {
            Some(bytes) => moved += bytes,
            None => whole.push(blob.clone()),
        }
    }
    each(&whole, &|blob| registry.fetch(blob, layout, progress))?;
    moved += size_of(&whole);
    Ok(Traffic { moved, present: documents.size().saturating_sub(moved) })
}

fn size_of(blobs: &[Descriptor]) -> u64 {
    blobs.iter().map(|blob| blob.size).fold(0, u64::saturating_add)
}

/// A repository, and the layout that it goes to.
struct Place<'a> {
    registry: &'a Registry,
    layout: &'a Path,
}

impl Place<'_> {
    fn write(&self, digest: &Digest, bytes: &[u8]) -> Result<()> {
        write(&self.layout.join(blob_name(digest)), bytes)
    }

    /// A manifest that another document names.
    fn manifest(&self, what: &str, descriptor: &Descriptor, limit: u64) -> Result<Manifest> {
        check_size(what, descriptor, limit)?;
        let name = descriptor.digest.to_string();
        let found = self.registry.manifest(what, &name, &[MANIFEST], descriptor.size)?;
        let bytes = expected(what, descriptor, found)?;
        let manifest = parse(what, &bytes)?;
        self.write(&descriptor.digest, &bytes)?;
        Ok(manifest)
    }

    /// A small blob.
    fn blob(&self, descriptor: &Descriptor, limit: u64) -> Result<()> {
        check_size("document", descriptor, limit)?;
        let doing = format!("fetching document {}", descriptor.digest);
        let address = self.registry.address(&format!("blobs/{}", descriptor.digest));
        let found = self.registry.document(&doing, &address, "*/*", descriptor.size)?;
        self.write(&descriptor.digest, &expected("document", descriptor, found)?)
    }

    /// Signatures and ancestors: what the registry says refers to the image index, and what the tag for registries without
    /// such an answer lists. Whoever may push to the repository can add to them, so only so much is looked at.
    fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        let mut out: Vec<Descriptor> = Vec::new();
        let mut budget = MAX_ANCESTOR_DOCUMENTS;
        let found = self.registry.referrers(subject)?;
        for (kind, most, largest) in
            [(SIGNATURE_TYPE, MAX_SIGNATURES, MAX_SIGNATURE), (ANCESTOR_TYPE, MAX_ANCESTORS, MAX_DOCUMENT)]
        {
            let mut seen = BTreeSet::new();
            let of_kind = found.iter().filter(|d| d.artifact_type.as_deref() == Some(kind));
            for descriptor in of_kind.filter(|d| seen.insert(d.digest)).take(most) {
                let size = descriptor.size;
                let parts = match size <= MAX_UNSIGNED.min(budget) {
                    true => self.manifest("what refers to the template", descriptor, MAX_UNSIGNED)?,
                    false => continue,
                };
                let parts: Vec<Descriptor> = std::iter::once(parts.config).chain(parts.layers).collect();
                let all = size_of(&parts).saturating_add(size);
                if all > budget
                    || parts.len() > MAX_SIGNATURES + 4
                    || parts.iter().any(|part| part.size > largest)
                {
                    log::warn!(
                        "{}, which refers to the template, is too large and left out",
                        descriptor.digest
                    );
                    continue;
                }
                budget -= all;
                parts.iter().try_for_each(|part| self.blob(part, largest))?;
                let mut descriptor = Descriptor::new(MANIFEST, descriptor.digest, size);
                descriptor.artifact_type = Some(kind.to_owned());
                out.push(descriptor);
            }
        }
        Ok(out)
    }
}

impl Registry {
    /// Descriptors of what refers to an image index. Nobody has verified any of it.
    pub(crate) fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        let doing = format!("asking for signatures of {subject}");
        let answered = match self.document(
            &doing,
            &self.address(&format!("referrers/{subject}")),
            INDEX,
            MAX_UNSIGNED,
        ) {
            // registries from before OCI 1.1 answer in many ways
            Err(e) if e.kind != Kind::Network => {
                log::debug!("{e}");
                None
            }
            other => other?,
        };
        let listed = self.manifest("list of signatures", &tag_of(subject), &[INDEX], MAX_UNSIGNED)?;
        let mut out = Vec::new();
        for (bytes, _) in answered.into_iter().chain(listed) {
            match parse::<Index>("the list of signatures", &bytes) {
                Ok(index) => out.extend(index.manifests),
                Err(e) => log::debug!("{e}"),
            }
        }
        Ok(out)
    }
}

/// Where registries without an answer for referrers have them, as the distribution specification says.
pub(crate) fn tag_of(subject: &Digest) -> String {
    format!("sha256-{}", subject.hex())
}

fn check_size(what: &str, descriptor: &Descriptor, limit: u64) -> Result<()> {
    match descriptor.size <= limit {
        true => Ok(()),
        false => Err(Error::damaged(format!("{what} {} is larger than {limit} bytes", descriptor.digest))),
    }
}

/// What has come, if it is what a document names.
fn expected(what: &str, descriptor: &Descriptor, found: Option<(Vec<u8>, Digest)>) -> Result<Vec<u8>> {
    match found {
        Some((bytes, digest)) if digest == descriptor.digest => Ok(bytes),
        Some((_, digest)) => Err(differs(what, &descriptor.digest, &digest)),
        None => {
            Err(Error::new(Kind::BlobMissing, format!("the registry lacks {what} {}", descriptor.digest))
                .hint("push the bundle again"))
        }
    }
}

pub(crate) fn differs(what: &str, expected: &Digest, found: &Digest) -> Error {
    Error::new(Kind::DigestDiffers, format!("the registry gives {found} as {what} {expected}"))
        .hint("the registry, or a proxy before it, gives something else than was pushed")
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).doing("writing", path)
}
