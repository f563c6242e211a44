// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Reading a bundle
//!
//! From `index.json`, which nobody signed, to the image index, whose bytes are signed, to the template manifest and
//! the blobs, each by the digest that the document before it declares.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::ancestors::{self, Ancestor, Evidence, artifact_of, check_identity};
use crate::chosen;
use crate::digest::Digest;
use crate::documents::{check_artifact, check_image, check_tags, find_template, image_of};
use crate::error::{Error, Kind, Result};
use crate::json::parse;
use crate::layout::Layout;
use crate::limits::MAX_TOC;
use crate::manifest::{CONFIG_TYPE, Component, Part, TOC_TYPE, TemplateManifest, Tree};
use crate::oci::{Descriptor, Index, Manifest};
use crate::referrers::{find_signatures, signature_documents};
use crate::signature::{Accepted, Policy};
use crate::toc::Toc;
use crate::tree::{self, Advance, Expected, Sink};
use crate::writer::append;

/// A bundle whose documents were read. Whether they are trusted, `accepted` tells.
pub struct Bundle {
    layout: Layout,
    /// The template manifest.
    pub manifest: TemplateManifest,
    /// The bytes of the template manifest.
    pub manifest_bytes: Vec<u8>,
    /// Digest of the image index: what is signed, and what a pin names.
    pub digest: Digest,
    /// The bytes of the image index.
    pub index_bytes: Vec<u8>,
    /// Signatures that claim to be over it.
    pub signatures: Vec<String>,
    /// The signature that was found good.
    accepted: Option<Accepted>,
    artifact_bytes: Vec<u8>,
    ancestors: Vec<(Ancestor, Evidence)>,
    /// Blobs that were not fetched, as somebody has what is in them.
    left_out: BTreeSet<Digest>,
    /// Blobs that the templates have which it was made from: a derived bundle need not hold them.
    inherited: BTreeSet<Digest>,
}

/// The path in `BUNDLE` or `oci:BUNDLE`.
pub fn path_of(argument: &str) -> PathBuf {
    PathBuf::from(argument.strip_prefix("oci:").unwrap_or(argument))
}

impl Bundle {
    /// Reads the documents without trusting them: for `inspect`, `diff` and `sign`.
    pub fn open_unverified(path: &Path) -> Result<Bundle> {
        Self::open_with(path, None, None)
    }

    /// Reads and verifies: signature, pin, then every document by its digest. Contents are verified when they are read.
    pub fn open(path: &Path, policy: &Policy, pin: Option<&Digest>) -> Result<Bundle> {
        Self::open_with(path, Some(policy), pin)
    }

    fn open_with(path: &Path, policy: Option<&Policy>, pin: Option<&Digest>) -> Result<Bundle> {
        let layout = Layout::open(path)?;
        let top = layout.index()?;
        let tagged = find_template(&top, path)?;
        if let Some(pin) = pin
            && *pin != tagged.digest
        {
            return Err(Error::new(
                Kind::DigestDiffers,
                format!("the bundle is {}, but {pin} was asked for", tagged.digest),
            )
            .hint("either this is another release than the pinned one, or the pin (--digest, TEMPLATE_DIGEST) must be updated"));
        }
        let index_bytes = layout.read("image index", tagged)?;
        let (signatures, elsewhere) = find_signatures(&layout, &top, &tagged.digest)?;
        let accepted = match policy {
            Some(_) if signatures.is_empty() && elsewhere => {
                return Err(Error::new(
                    Kind::SignatureWrong,
                    "the bundle holds a signature, but it is for another image index",
                )
                .hint("the image index was altered after it was signed, or the signature was taken from another bundle"));
            }
            Some(policy) => Some(policy.verify(&signatures, &index_bytes)?),
            None => None,
        };

        // from here on the digests are what the signer meant
        let index: Index = parse("the image index", &index_bytes)?;
        let artifact_bytes = layout.read("artifact manifest", artifact_of(&index)?)?;
        let artifact: Manifest = parse("the artifact manifest", &artifact_bytes)?;
        if artifact.config.media_type != CONFIG_TYPE {
            return Err(Error::damaged("the artifact manifest has no template manifest"));
        }
        let manifest_bytes = layout.read("template manifest", &artifact.config)?;
        let manifest = TemplateManifest::parse(&manifest_bytes)?;
        check_identity(&index, &manifest)?;
        check_artifact(&artifact, &manifest)?;
        let image = image_of(&index)?;
        check_image(&layout, image, &manifest)?;
        check_tags(&top, tagged, image, &manifest)?;
        let parent = manifest.parent.as_ref();
        let ancestors = match ancestors::read(&layout, &top, &tagged.digest, parent, policy) {
            // what was not verified is only shown
            Err(e) if policy.is_none() => {
                log::warn!("{e}");
                vec![]
            }
            other => other?,
        };
        let inherited = match parent {
            Some(_) => inherited(&ancestors, &manifest)?,
            None => BTreeSet::new(),
        };
        Ok(Bundle {
            inherited,
            layout,
            manifest,
            ancestors,
            artifact_bytes,
            manifest_bytes,
            digest: tagged.digest,
            index_bytes,
            signatures,
            accepted,
            left_out: BTreeSet::new(),
        })
    }

    /// Says that some blobs are not there, and need not be.
    pub fn leave_out(&mut self, blobs: BTreeSet<Digest>) {
        self.left_out = blobs;
    }

    /// Whether it names the OCI layer of a tree and leaves it to the bundle of its parent.
    pub fn leaves_to_parent(&self, tree: &Tree) -> bool {
        [tree.digest, tree.toc_digest].iter().any(|blob| self.is_elsewhere(blob))
    }

    /// Whether it need not have a blob, as its parent has it.
    pub fn may_lack(&self, blob: &Digest) -> bool {
        self.inherited.contains(blob)
    }

    fn is_elsewhere(&self, blob: &Digest) -> bool {
        self.inherited.contains(blob) && !self.layout.has_blob(blob)
    }

    /// What to do where that matters.
    fn explained(&self, e: Error, tree: &Tree) -> Error {
        match &self.manifest.parent {
            Some(parent) if e.kind == Kind::BlobMissing && self.leaves_to_parent(tree) => Error::new(
                e.kind,
                format!(
                    "'{}' holds what changed since {parent}, and not what that has",
                    self.path().display()
                ),
            )
            .hint(
                "import the parent, and then this bundle; or push both to a registry, and pull it from there",
            ),
            _ => e,
        }
    }

    /// The signature that was found good. A bundle that was opened unverified has none, and must not be used.
    pub fn accepted(&self) -> Result<&Accepted> {
        self.accepted
            .as_ref()
            .ok_or_else(|| Error::new(Kind::Internal, "a bundle is used that was not verified"))
    }

    /// The templates that it was made from, the nearest first.
    pub fn ancestors(&self) -> impl Iterator<Item = &Ancestor> {
        self.ancestors.iter().map(|(ancestor, _)| ancestor)
    }

    /// What proves this template, and then those that it was made from.
    pub fn evidence(&self) -> Result<Vec<Evidence>> {
        let text = |bytes: &[u8]| {
            String::from_utf8(bytes.to_vec())
                .map_err(|_| Error::damaged("a document of the bundle is no text"))
        };
        let own = Evidence {
            index: text(&self.index_bytes)?,
            artifact: text(&self.artifact_bytes)?,
            manifest: text(&self.manifest_bytes)?,
            signatures: self.signatures.clone(),
        };
        Ok(std::iter::once(own).chain(self.ancestors.iter().map(|(_, evidence)| evidence.clone())).collect())
    }

    /// Where its blobs are.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.layout.path()
    }

    /// Reads the table of contents of a tree.
    pub fn toc(&self, component: &Component, part: Part, tree: &Tree) -> Result<Toc> {
        Ok(self.toc_and_bytes(component, part, tree)?.0)
    }

    /// The same with its bytes. They are verified before they are looked at.
    pub fn toc_and_bytes(&self, component: &Component, part: Part, tree: &Tree) -> Result<(Toc, Vec<u8>)> {
        let inner = || {
            let descriptor = Descriptor::new(TOC_TYPE, tree.toc_digest, tree.toc_size);
            let bytes = self
                .layout
                .read_up_to("table of contents", &descriptor, MAX_TOC)
                .map_err(|e| self.explained(e, tree))?;
            let toc = Toc::read(&bytes[..])?;
            if toc.entries.len() as u64 != tree.entries {
                return Err(Error::damaged(
                    "the table of contents has another length than the manifest says",
                ));
            }
            if toc.raw_size() != tree.raw_size {
                return Err(Error::damaged(
                    "the table of contents has another uncompressed size than the manifest says",
                ));
            }
            toc.check_part(part)?;
            Ok((toc, bytes))
        };
        inner().map_err(|e: Error| e.within(format!("component '{}'", component.name)))
    }

    /// Whether the OCI layer of a tree is there in its declared size; its content is not looked at.
    pub fn check_presence(&self, component: &Component, tree: &Tree) -> Result<()> {
        let blobs = [(&tree.digest, tree.size), (&tree.toc_digest, tree.toc_size)];
        let needed = |digest: &Digest| !self.left_out.contains(digest) && !self.is_elsewhere(digest);
        for (digest, size) in blobs.into_iter().filter(|(digest, _)| needed(digest)) {
            self.layout
                .blob(digest, size)
                .map_err(|e| e.within(format!("component '{}'", component.name)))?;
        }
        Ok(())
    }

    /// Reads a tree and hands out its verified contents: how many bytes were read.
    pub fn read_tree(
        &self,
        component: &Component,
        tree: &Tree,
        toc: &Toc,
        check_diff_id: bool,
        sink: &dyn Sink,
        progress: &Advance,
    ) -> Result<u64> {
        let expected = Expected {
            compression: tree.compression,
            digest: tree.digest,
            size: tree.size,
            diff_id: check_diff_id.then_some(tree.diff_id),
        };
        self.layout
            .blob(&tree.digest, tree.size)
            .and_then(|blob| tree::read(toc, blob, &expected, sink, progress))
            .map_err(|e| self.explained(e, tree).within(format!("component '{}'", component.name)))
    }

    /// Reads some files of a tree, each verified by its own digest; see [`chosen::read`].
    pub fn read_chosen(
        &self,
        component: &Component,
        tree: &Tree,
        toc: &Toc,
        wanted: &BTreeSet<Digest>,
        take: &mut chosen::Take,
    ) -> Result<()> {
        self.layout
            .blob(&tree.digest, tree.size)
            .and_then(|blob| chosen::read(toc, blob, tree.compression, wanted, take))
            .map_err(|e| self.explained(e, tree).within(format!("component '{}'", component.name)))
    }

    /// Verifies every blob to the last bit, without writing anything: how many OCI layers are left to the parent's bundle.
    pub fn verify_contents(&self, progress: &Advance) -> Result<u64> {
        let mut elsewhere = 0;
        for component in &self.manifest.components {
            for (part, tree) in component.parts() {
                if self.leaves_to_parent(tree) {
                    elsewhere += 1;
                    continue;
                }
                let toc = self.toc(component, part, tree)?;
                self.read_tree(component, tree, &toc, true, &tree::Discard, progress)?;
            }
        }
        Ok(elsewhere)
    }

    /// Uncompressed bytes of all trees.
    pub fn raw_size(&self) -> u64 {
        self.manifest.components.iter().flat_map(Component::trees).map(|t| t.raw_size).sum()
    }

    /// Adds a signature to the bundle on disk.
    pub fn add_signature(&self, signature: &str) -> Result<Digest> {
        let (blobs, descriptor) =
            signature_documents(signature, &self.digest, self.index_bytes.len() as u64)?;
        append(self.path(), &blobs, |index| {
            index.manifests.retain(|m| m.digest != descriptor.digest);
            index.manifests.push(descriptor.clone());
        })?;
        Ok(descriptor.digest)
    }
}

/// Blobs of a template's trees that those have which it was made from.
fn inherited(ancestors: &[(Ancestor, Evidence)], manifest: &TemplateManifest) -> Result<BTreeSet<Digest>> {
    let blobs = |manifest: &TemplateManifest| -> BTreeSet<Digest> {
        manifest.components.iter().flat_map(Component::descriptors).map(|blob| blob.digest).collect()
    };
    let own = blobs(manifest);
    let mut out = BTreeSet::new();
    for (_, evidence) in ancestors {
        out.extend(blobs(&evidence.manifest()?).intersection(&own));
    }
    Ok(out)
}
