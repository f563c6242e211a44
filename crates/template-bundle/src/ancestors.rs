// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Ancestors
//!
//! A derived template names the template that it was made from by the digest of its image index. Its bundle carries what
//! proves that template, and the one that it was made from in turn: documents and signatures, no contents. Nothing of
//! this is trusted for where it lies: each document is reached by its digest, and each image index needs a signature.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::{Error, Kind, Result};
use crate::json::parse;
use crate::layout::Layout;
use crate::limits::{MAX_ANCESTOR_DOCUMENTS, MAX_ANCESTORS, MAX_SIGNATURE, MAX_SIGNATURES, MAX_UNSIGNED};
use crate::manifest::{
    ANCESTOR_INDEX_TYPE, ANCESTOR_MANIFEST_TYPE, ANCESTOR_TYPE, ARTIFACT_TYPE, CONFIG_TYPE, NAME, Parent,
    SSHSIG_TYPE, TemplateManifest,
};
use crate::oci::{Descriptor, EMPTY, INDEX, Index, MANIFEST, Manifest, VERSION, to_bytes};
use crate::signature::{Accepted, Policy};

/// What to do about a bundle that does not hold what it says.
const AGAIN: &str =
    "the bundle was altered or damaged: fetch it again, and ask its publisher if that does not help";

/// What proves a template, as it is carried by those that derive from it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// The image index, whose bytes are signed.
    pub index: String,
    /// The artifact manifest, which the image index names.
    pub artifact: String,
    /// The template manifest, which the artifact manifest names.
    pub manifest: String,
    /// Signatures over the image index.
    pub signatures: Vec<String>,
}

/// A template that another one was made from.
#[derive(Debug, Clone, PartialEq)]
pub struct Ancestor {
    /// What it is.
    pub template: Parent,
    /// The signature that was found good.
    pub accepted: Option<Accepted>,
}

impl Evidence {
    /// Digest of the image index.
    pub fn digest(&self) -> Digest {
        Digest::of(self.index.as_bytes())
    }

    /// Goes from the image index to the template manifest by their digests.
    pub fn manifest(&self) -> Result<TemplateManifest> {
        let index: Index = parse("the image index", self.index.as_bytes())?;
        let artifact = artifact_of(&index)?;
        if artifact.digest != Digest::of(self.artifact.as_bytes()) {
            return Err(Error::damaged("the artifact manifest is not the one that the image index names"));
        }
        let artifact: Manifest = parse("the artifact manifest", self.artifact.as_bytes())?;
        if artifact.config.media_type != CONFIG_TYPE
            || artifact.config.digest != Digest::of(self.manifest.as_bytes())
        {
            return Err(Error::damaged(
                "the template manifest is not the one that the artifact manifest names",
            ));
        }
        let manifest = TemplateManifest::parse(self.manifest.as_bytes())?;
        check_identity(&index, &manifest)?;
        Ok(manifest)
    }

    /// What a template that derives from this one says of it.
    pub fn as_parent(&self) -> Result<Parent> {
        let manifest = self.manifest()?;
        Ok(Parent { name: manifest.name, version: manifest.template_version, digest: self.digest() })
    }

    fn size(&self) -> u64 {
        let texts = [&self.index, &self.artifact, &self.manifest];
        texts.into_iter().chain(&self.signatures).map(|text| text.len() as u64).sum()
    }

    /// The blobs of an ancestor in the bundle whose image index is the subject, and the descriptor of their manifest.
    pub(crate) fn documents(&self, subject: &Digest, size: u64) -> Result<(Vec<Vec<u8>>, Descriptor)> {
        let empty = b"{}".to_vec();
        let mut manifest = Manifest::new(Descriptor::new(EMPTY, Digest::of(&empty), empty.len() as u64));
        manifest.artifact_type = Some(ANCESTOR_TYPE.into());
        manifest.subject = Some(Descriptor::new(INDEX, *subject, size));
        let mut blobs = vec![empty];
        let parts = [
            (ANCESTOR_INDEX_TYPE, &self.index),
            (ANCESTOR_MANIFEST_TYPE, &self.artifact),
            (CONFIG_TYPE, &self.manifest),
        ];
        for (media_type, text) in
            parts.into_iter().chain(self.signatures.iter().map(|text| (SSHSIG_TYPE, text)))
        {
            let bytes = text.as_bytes();
            manifest.layers.push(Descriptor::new(media_type, Digest::of(bytes), bytes.len() as u64));
            blobs.push(bytes.to_vec());
        }
        let bytes = to_bytes(&manifest)?;
        let mut descriptor = Descriptor::new(MANIFEST, Digest::of(&bytes), bytes.len() as u64);
        descriptor.artifact_type = Some(ANCESTOR_TYPE.into());
        blobs.push(bytes);
        Ok((blobs, descriptor))
    }
}

/// The artifact manifest that an image index names.
pub(crate) fn artifact_of(index: &Index) -> Result<&Descriptor> {
    let mut artifacts = index.manifests.iter().filter(|d| d.artifact_type.as_deref() == Some(ARTIFACT_TYPE));
    match (artifacts.next(), artifacts.next()) {
        (Some(artifact), None) => Ok(artifact),
        _ => Err(Error::damaged("the image index does not name exactly one template")),
    }
}

/// Name and version stand in two signed documents.
pub(crate) fn check_identity(index: &Index, manifest: &TemplateManifest) -> Result<()> {
    for (key, value) in [(NAME, &manifest.name), (VERSION, &manifest.template_version)] {
        if index.annotations.get(key) != Some(value) {
            return Err(Error::damaged(
                "the image index and the template manifest disagree on name or version",
            ));
        }
    }
    Ok(())
}

/// Goes from a template to the one that it was made from, and on. `find` gives the evidence of a parent.
fn climb(
    parent: Option<&Parent>,
    policy: Option<&Policy>,
    mut find: impl FnMut(&Parent) -> Result<Evidence>,
) -> Result<Vec<(Ancestor, Evidence)>> {
    let mut out = Vec::new();
    let mut next = parent.cloned();
    while let Some(template) = next {
        let (accepted, evidence, parent) = if out.len() < MAX_ANCESTORS {
            find(&template).and_then(|evidence| step(&template, policy, evidence))
        } else {
            Err(Error::damaged(format!("a template has at most {MAX_ANCESTORS} ancestors")))
        }
        .map_err(|e| explain(e, &template))?;
        out.push((Ancestor { template, accepted }, evidence));
        next = parent;
    }
    Ok(out)
}

/// Checks one ancestor; gives what it was signed by, and its own parent.
fn step(
    template: &Parent,
    policy: Option<&Policy>,
    evidence: Evidence,
) -> Result<(Option<Accepted>, Evidence, Option<Parent>)> {
    let found = evidence.digest();
    if found != template.digest {
        let what = format!("its image index has digest {found}");
        return Err(Error::new(Kind::DigestDiffers, what).hint(AGAIN));
    }
    let manifest = evidence.manifest()?;
    let (name, version) = (&manifest.name, &manifest.template_version);
    if (name, version) != (&template.name, &template.version) {
        return Err(Error::damaged(format!("what is signed is '{name}:{version}'")));
    }
    let accepted = policy
        .map(|policy| policy.verify_ancestor(&evidence.signatures, evidence.index.as_bytes()))
        .transpose()
        .map_err(unsigned)?;
    Ok((accepted, evidence, manifest.parent))
}

/// Names the ancestor, and says what to do.
fn explain(e: Error, template: &Parent) -> Error {
    let e = e.within(format!("ancestor {template}"));
    match (e.kind, &e.hint) {
        (Kind::Damaged, None) => e.hint(AGAIN),
        _ => e,
    }
}

/// A bundle cannot be signed by whoever derives from it.
fn unsigned(e: Error) -> Error {
    match e.kind {
        Kind::SignatureMissing => Error::new(e.kind, "it is not signed")
            .hint("its publisher has to sign it; then import it, and pack what derives from it again"),
        _ => e,
    }
}

/// Reads the ancestors that a bundle carries, and verifies them when there is a policy. The nearest comes first.
pub(crate) fn read(
    layout: &Layout,
    top: &Index,
    subject: &Digest,
    parent: Option<&Parent>,
    policy: Option<&Policy>,
) -> Result<Vec<(Ancestor, Evidence)>> {
    if parent.is_none() {
        return Ok(vec![]);
    }
    let mut carried = Vec::new();
    let candidates = top.manifests.iter().filter(|d| d.artifact_type.as_deref() == Some(ANCESTOR_TYPE));
    for descriptor in candidates.take(MAX_ANCESTORS) {
        let bytes = layout.read_up_to("manifest of an ancestor", descriptor, MAX_UNSIGNED)?;
        let manifest: Manifest = parse("the manifest of an ancestor", &bytes)?;
        if manifest.subject.as_ref().map(|s| &s.digest) == Some(subject) {
            carried.push(manifest);
        }
    }
    let mut left = MAX_ANCESTOR_DOCUMENTS;
    climb(parent, policy, |template| {
        let index = |manifest: &&Manifest| {
            manifest.layers.iter().any(|l| l.media_type == ANCESTOR_INDEX_TYPE && l.digest == template.digest)
        };
        let carried = carried.iter().find(index).ok_or_else(|| {
            Error::new(Kind::BlobMissing, "the bundle does not carry its documents").hint(AGAIN)
        })?;
        read_evidence(layout, carried, &mut left)
    })
}

fn read_evidence(layout: &Layout, carried: &Manifest, left: &mut u64) -> Result<Evidence> {
    let mut text = |what: &str, descriptor: &Descriptor, limit: u64| {
        *left = left.checked_sub(descriptor.size).ok_or_else(|| {
            Error::damaged(format!(
                "the documents of all ancestors have more than {MAX_ANCESTOR_DOCUMENTS} bytes"
            ))
        })?;
        let bytes = layout.read_up_to(what, descriptor, limit)?;
        String::from_utf8(bytes).map_err(|_| Error::damaged(format!("the {what} is no text")))
    };
    let of = |media_type: &'static str| carried.layers.iter().filter(move |l| l.media_type == media_type);
    let mut one = |what: &str, media_type| match of(media_type).next() {
        Some(descriptor) => text(what, descriptor, MAX_ANCESTOR_DOCUMENTS),
        None => {
            Err(Error::new(Kind::BlobMissing, format!("the bundle does not carry its {what}")).hint(AGAIN))
        }
    };
    let index = one("image index", ANCESTOR_INDEX_TYPE)?;
    let artifact = one("artifact manifest", ANCESTOR_MANIFEST_TYPE)?;
    let manifest = one("template manifest", CONFIG_TYPE)?;
    let signatures = of(SSHSIG_TYPE)
        .take(MAX_SIGNATURES)
        .map(|descriptor| text("signature", descriptor, MAX_SIGNATURE))
        .collect::<Result<_>>()?;
    Ok(Evidence { index, artifact, manifest, signatures })
}

/// Checks that each of these is the parent of the one before it, and that nothing is missing at the end.
pub fn check(chain: &[Evidence]) -> Result<()> {
    let Some((first, rest)) = chain.split_first() else { return Ok(()) };
    climb_along(first, rest, None)?;
    Ok(())
}

/// The same, and verifies the signatures of a template and of those that it was made from.
pub fn verify(own: &Evidence, parents: &[Evidence], policy: &Policy) -> Result<(Accepted, Vec<Ancestor>)> {
    let accepted = policy.verify(&own.signatures, own.index.as_bytes())?;
    let ancestors = climb_along(own, parents, Some(policy))?;
    Ok((accepted, ancestors.into_iter().map(|(ancestor, _)| ancestor).collect()))
}

fn climb_along(
    own: &Evidence,
    parents: &[Evidence],
    policy: Option<&Policy>,
) -> Result<Vec<(Ancestor, Evidence)>> {
    let mut parents = parents.iter();
    climb(own.manifest()?.parent.as_ref(), policy, |_| {
        parents.next().cloned().ok_or_else(|| Error::new(Kind::BlobMissing, "its documents are missing"))
    })
}

/// Checks what a new template is to carry, the nearest first; returns what it says of its parent.
pub(crate) fn check_parents(parents: &[Evidence]) -> Result<Option<Parent>> {
    let Some(parent) = parents.first() else { return Ok(None) };
    check(parents)?;
    let refused = |why: String| {
        Error::new(Kind::Refused, why)
            .hint("pack it without --parent: a template is complete without its ancestors")
    };
    if parents.len() > MAX_ANCESTORS {
        return Err(refused(format!(
            "a template has at most {MAX_ANCESTORS} ancestors, this one would have more"
        )));
    }
    if parents.iter().map(Evidence::size).sum::<u64>() > MAX_ANCESTOR_DOCUMENTS {
        return Err(refused(format!(
            "the documents of the ancestors have more than {MAX_ANCESTOR_DOCUMENTS} bytes"
        )));
    }
    parent.as_parent().map(Some)
}
