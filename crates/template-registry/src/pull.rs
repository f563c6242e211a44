// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # From elsewhere to a layout
//!
//! First come the documents: the image index, its signatures and what else refers to it, and the manifests that it
//! names. They say how much the contents are, and whether somebody trusted has signed them; contents come after that.

use std::collections::BTreeSet;
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use template_bundle::documents::{find_template, image_of, tagged};
use template_bundle::error::IoContext;
use template_bundle::json::parse;
use template_bundle::layout::{Layout, MARKER, blob_name};
use template_bundle::limits::{
    MAX_ANCESTOR_DOCUMENTS, MAX_ANCESTORS, MAX_DOCUMENT, MAX_SIGNATURE, MAX_SIGNATURES, MAX_UNSIGNED,
};
use template_bundle::manifest::{ANCESTOR_TYPE, ARTIFACT_TYPE, SIGNATURE_TYPE};
use template_bundle::names::ROOTFS_TAG_SUFFIX;
use template_bundle::oci::{Descriptor, INDEX, Index, MANIFEST, Manifest, VERSION, to_bytes};
use template_bundle::pack::Progress;
use template_bundle::{Digest, Error, Kind, Result};

use crate::reference::Reference;
use crate::registry::Registry;
use crate::remote::{Document, Remote};
use crate::transfer::{Traffic, each};
use crate::web::{Extent, Found, Web};

/// What is to be fetched of a blob.
#[derive(Debug, Clone)]
pub enum Wanted {
    /// It is there, or nobody needs it.
    Nothing,
    /// These bytes.
    Parts(Vec<Range<u64>>),
    /// All of it, unless the server does not have it.
    IfThere,
    /// All of it.
    Whole,
}

/// The documents of a bundle, which are in a layout now.
#[derive(Debug)]
pub struct Documents {
    /// Of the image index.
    pub digest: Digest,
    /// What else belongs to the bundle.
    contents: Vec<Descriptor>,
    /// Bytes of what else has come with the documents: all there is.
    pub fetched: u64,
}

impl Documents {
    /// Bytes of what is still to be fetched.
    pub fn size(&self) -> u64 {
        size_of(&self.contents)
    }
}

/// Fetches the documents of a bundle, and makes a layout of them in an empty directory.
pub fn documents(
    remote: &mut Remote,
    layout: &Path,
    wanted: Extent,
    progress: &dyn Progress,
) -> Result<Documents> {
    let blobs = layout.join("blobs/sha256");
    fs::create_dir_all(&blobs).doing("creating", &blobs)?;
    let start = match remote {
        Remote::Registry(registry, reference) => Start::of_reference(registry, reference)?,
        Remote::Web(web) => match web.look(layout, wanted, progress)? {
            Found::Index(bytes) => Start::of_web(web, &bytes)?,
            Found::All(fetched) => {
                let top = Layout::open(layout)?.index()?;
                let digest = find_template(&top, Path::new(&web.name()))?.digest;
                return Ok(Documents { digest, contents: vec![], fetched });
            }
        },
    };
    let Start { mut top, index_bytes, digest, referring } = start;
    let remote = &*remote;
    let target = Target { remote, layout };
    let index = parse::<Index>("the image index", &index_bytes)?;
    // two, so that nobody has us fetch any number of them
    image_of(&index)?;
    target.write(&digest, &index_bytes)?;
    let mut contents = Vec::new();
    let mut seen = BTreeSet::new();
    for descriptor in &index.manifests {
        let manifest = target.manifest("manifest", descriptor, MAX_DOCUMENT)?;
        target.blob(&manifest.config, MAX_DOCUMENT)?;
        contents.extend(manifest.layers.into_iter().filter(|layer| seen.insert(layer.digest)));
    }
    let referring = match (referring, remote) {
        (None, Remote::Registry(registry, _)) => registry.referrers(&digest)?,
        (referring, _) => referring.unwrap_or_default(),
    };
    top.manifests.extend(target.referrers(&referring)?);
    write(&layout.join(MARKER.0), MARKER.1.as_bytes())?;
    write(&layout.join("index.json"), &to_bytes(&top)?)?;
    Ok(Documents { digest, contents, fetched: 0 })
}

/// What a bundle is found by. Nobody has verified any of it.
struct Start {
    /// The index.json of a layout, but for what refers to the template.
    top: Index,
    index_bytes: Vec<u8>,
    /// Of the image index.
    digest: Digest,
    /// What is said to refer to it, where that has to be asked for no more.
    referring: Option<Vec<Descriptor>>,
}

impl Start {
    fn of_reference(registry: &Registry, reference: &Reference) -> Result<Self> {
        let name = match (&reference.digest, &reference.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => {
                return Err(Error::usage(format!("'{reference}' names no version"))
                    .hint("append :VERSION, or @sha256:DIGEST of the image index"));
            }
        };
        let found = registry.manifest("template", &name, &[INDEX, MANIFEST], MAX_UNSIGNED)?;
        let (index_bytes, digest) = found.ok_or_else(|| {
            Error::new(Kind::NotFound, format!("{} has no '{name}'", registry.name()))
                .hint("check repository and version; 'skopeo list-tags' shows what there is")
        })?;
        if let Some(expected) = &reference.digest
            && *expected != digest
        {
            return Err(differs("template", expected, &digest));
        }
        let index = parse::<Index>("the image index", &index_bytes);
        let Some(index) = index.ok().filter(|index| index.artifact_type.as_deref() == Some(ARTIFACT_TYPE))
        else {
            return Err(Error::damaged(format!("'{reference}' is no template"))
                .hint("it is something that isar-template has not made, such as an image; templates have the tag of their version"));
        };
        let version = index.annotations.get(VERSION).cloned().unwrap_or_default();
        if let (None, Some(tag)) = (&reference.digest, &reference.tag)
            && *tag != version
        {
            return Err(Error::new(
                Kind::TagDiffers,
                format!("tag '{tag}' of {} is version '{}'", registry.name(), version.escape_debug()),
            )
            .hint("the tag of a template is its version: somebody has tagged it anew; to want it all the same, name its digest"));
        }
        let mut image = image_of(&index)?.clone();
        image.annotations.clear();
        let mut template = Descriptor::new(INDEX, digest, index_bytes.len() as u64);
        template.artifact_type = index.artifact_type.clone();
        let mut top = Index::new();
        top.manifests.push(tagged(template, &version));
        top.manifests.push(tagged(image, &format!("{version}{ROOTFS_TAG_SUFFIX}")));
        Ok(Start { top, index_bytes, digest, referring: None })
    }

    fn of_web(web: &Web, index_json: &[u8]) -> Result<Self> {
        let mut top: Index = parse("index.json", index_json)?;
        let template = find_template(&top, Path::new(&web.name()))?.clone();
        check_size("image index", &template, MAX_UNSIGNED)?;
        let found = web.document("image index", &template.digest, template.size)?;
        let index_bytes = expected("image index", &template, found)?;
        let (referring, others) = top.manifests.into_iter().partition(is_referring);
        top.manifests = others;
        Ok(Start { top, index_bytes, digest: template.digest, referring: Some(referring) })
    }
}

fn is_referring(descriptor: &Descriptor) -> bool {
    matches!(descriptor.artifact_type.as_deref(), Some(SIGNATURE_TYPE | ANCESTOR_TYPE))
}

/// Fetches what the documents have named and is wanted. Of a blob, parts may do.
pub fn contents(
    remote: &Remote,
    documents: &Documents,
    wanted: &dyn Fn(&Digest) -> Wanted,
    layout: &Path,
    progress: &dyn Progress,
) -> Result<Traffic> {
    if documents.fetched > 0 {
        return Ok(Traffic::default());
    }
    let (mut whole, mut parts, mut perhaps) = (Vec::new(), Vec::new(), BTreeSet::new());
    for blob in &documents.contents {
        match wanted(&blob.digest) {
            Wanted::Nothing => {}
            Wanted::Whole => whole.push(blob.clone()),
            Wanted::IfThere => {
                perhaps.insert(blob.digest);
                whole.push(blob.clone());
            }
            Wanted::Parts(ranges) => parts.push((blob, ranges)),
        }
    }
    let of_parts: u64 =
        parts.iter().flat_map(|(_, ranges)| ranges).map(|range| range.end - range.start).sum();
    progress.begin("fetching", size_of(&whole).saturating_add(of_parts));
    let mut moved = 0;
    for (blob, ranges) in parts {
        match remote.fetch_parts(blob, &ranges, layout, progress)? {
            Some(bytes) => moved += bytes,
            None => whole.push(blob.clone()),
        }
    }
    let of_whole = AtomicU64::new(0);
    each(&whole, &|blob| match remote.fetch(blob, layout, progress) {
        Err(e) if e.kind == Kind::BlobMissing && perhaps.contains(&blob.digest) => {
            let path = layout.join(blob_name(&blob.digest));
            fs::remove_file(&path).doing("removing", &path)
        }
        other => {
            of_whole.fetch_add(blob.size, Ordering::Relaxed);
            other
        }
    })?;
    moved += of_whole.into_inner();
    Ok(Traffic { moved, present: documents.size().saturating_sub(moved) })
}

fn size_of(blobs: &[Descriptor]) -> u64 {
    blobs.iter().map(|blob| blob.size).fold(0, u64::saturating_add)
}

/// Where documents go to.
struct Target<'a> {
    remote: &'a Remote,
    layout: &'a Path,
}

impl Target<'_> {
    fn write(&self, digest: &Digest, bytes: &[u8]) -> Result<()> {
        write(&self.layout.join(blob_name(digest)), bytes)
    }

    /// A manifest that another document names.
    fn manifest(&self, what: &str, descriptor: &Descriptor, limit: u64) -> Result<Manifest> {
        parse(what, &self.fetch(what, descriptor, Document::Manifest, limit)?)
    }

    /// A small blob.
    fn blob(&self, descriptor: &Descriptor, limit: u64) -> Result<()> {
        self.fetch("document", descriptor, Document::Blob, limit).map(drop)
    }

    fn fetch(&self, what: &str, descriptor: &Descriptor, kind: Document, limit: u64) -> Result<Vec<u8>> {
        check_size(what, descriptor, limit)?;
        let bytes = expected(what, descriptor, self.remote.document(what, descriptor, kind)?)?;
        self.write(&descriptor.digest, &bytes)?;
        Ok(bytes)
    }

    /// Signatures and ancestors. Whoever may push to the repository can add to them, so only so much is looked at.
    fn referrers(&self, found: &[Descriptor]) -> Result<Vec<Descriptor>> {
        let mut out: Vec<Descriptor> = Vec::new();
        let mut budget = MAX_ANCESTOR_DOCUMENTS;
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
    /// Descriptors of what refers to an image index: what the registry says, and what the tag for registries without such an
    /// answer lists.
    pub(crate) fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        let doing = format!("asking for signatures of {subject}");
        let answered = match self.client.document(
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
        None => Err(Error::new(
            Kind::BlobMissing,
            format!("{what} {} is not where the bundle is", descriptor.digest),
        )
        .hint("it is there in part: its publisher has to put all of it there again")),
    }
}

pub(crate) fn differs(what: &str, expected: &Digest, found: &Digest) -> Error {
    Error::new(Kind::DigestDiffers, format!("{found} came as {what} {expected}"))
        .hint("the server, or a proxy before it, gives something else than was published")
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).doing("writing", path)
}
