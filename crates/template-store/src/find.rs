// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Finding templates in the store

use std::io;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use template_bundle::ancestors::{self, Ancestor, Evidence};
use template_bundle::manifest::{Parent, TemplateManifest};
use template_bundle::names;
use template_bundle::signature::{Accepted, Policy};
use template_bundle::versions::compare_versions;
use template_bundle::{Digest, Error, Kind, Result};

use crate::files::{list_dir, make_dirs, read_file, read_text, sync_dir, unreadable, write_file};
use crate::lock::{Lock, Mode};
use crate::sealed;
use crate::store::Store;

/// What is noted about an imported template.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Version of this document.
    pub version: u32,
    /// Digest of the image index.
    pub digest: Digest,
    /// As whom the signer is trusted.
    pub signer: String,
    /// Fingerprint of the signing key.
    pub fingerprint: String,
    /// When it was imported, RFC 3339.
    pub imported: String,
    /// The templates that it was made from, the nearest first, and who signed them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ancestors: Vec<RecordedAncestor>,
}

/// What is noted about a template that an imported one was made from.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordedAncestor {
    /// What it is.
    #[serde(flatten)]
    pub template: Parent,
    /// As whom the signer was trusted.
    pub signer: String,
    /// Fingerprint of the signing key.
    pub fingerprint: String,
}

impl RecordedAncestor {
    /// What was found good about an ancestor.
    pub fn of(ancestor: &Ancestor) -> Result<Self> {
        let Some(accepted) = &ancestor.accepted else {
            return Err(Error::new(Kind::Internal, "an ancestor is used that was not verified"));
        };
        Ok(RecordedAncestor {
            template: ancestor.template.clone(),
            signer: accepted.identity.clone(),
            fingerprint: accepted.fingerprint.clone(),
        })
    }
}

/// What proves a template and those that it was made from: what others that derive from it have to carry.
#[derive(Serialize, Deserialize)]
struct EvidenceFile {
    version: u32,
    templates: Vec<Evidence>,
}

/// The version of that file which is written and read.
const EVIDENCE_VERSION: u32 = 1;
const EVIDENCE: &str = "evidence.json";
/// What makes a template be there.
pub(crate) const RECORD: &str = "record.json";

/// A template in the store.
#[derive(Debug, Clone)]
pub struct Stored {
    /// What was noted at import.
    pub record: Record,
    /// The template manifest.
    pub manifest: TemplateManifest,
    /// Keeps gc away as long as it is held.
    pub(crate) _in_use: Option<Arc<Lock>>,
}

/// A template in the store whose signatures were verified again.
pub struct Proven {
    /// It.
    pub stored: Stored,
    /// The signature that was accepted.
    pub accepted: Accepted,
    /// The templates that it was made from.
    pub ancestors: Vec<Ancestor>,
}

impl Stored {
    /// `NAME:VERSION`.
    pub fn reference(&self) -> String {
        format!("{}:{}", self.manifest.name, self.manifest.template_version)
    }
}

impl Store {
    /// Gives a template its name.
    pub(crate) fn set_ref(&self, manifest: &TemplateManifest, digest: &Digest) -> Result<()> {
        let refs = self.path().join("refs");
        let dir = refs.join(&manifest.name);
        make_dirs(&dir)?;
        sync_dir(&refs)?;
        write_file(&self.tmp(), &dir.join(&manifest.template_version), format!("{digest}\n").as_bytes())
    }

    /// What a name and version mean at present.
    pub fn get_ref(&self, name: &str, version: &str) -> Result<Option<Digest>> {
        let path = self.path().join("refs").join(name).join(version);
        match read_text(&path) {
            Ok(text) => text.trim().parse().map(Some).map_err(|_| {
                Error::damaged(format!("store: '{}' holds no digest", path.display()))
                    .hint("the store is damaged: remove this file, and import the bundle again")
            }),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(unreadable(&path, e)),
        }
    }

    /// Reads a template by its digest.
    pub fn get(&self, digest: &Digest) -> Result<Option<Stored>> {
        let dir = self.template_dir(digest);
        let read = |name: &str| read_file(&dir.join(name));
        let record = match read(RECORD) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(unreadable(&dir.join(RECORD), e)),
        };
        let record: Record = sealed::read(&record).map_err(|e| {
            e.within(format!("store: {}", dir.join(RECORD).display()))
                .hint("the store is damaged: import the bundle again; fsck tells what else is")
        })?;
        let bytes = match read("manifest.json") {
            Ok(bytes) => bytes,
            // it was removed while it was read
            Err(e) if e.kind() == io::ErrorKind::NotFound && !dir.exists() => return Ok(None),
            Err(e) => return Err(unreadable(&dir.join("manifest.json"), e)),
        };
        let manifest =
            TemplateManifest::parse(&bytes).map_err(|e| e.within(format!("store: {}", dir.display())))?;
        Ok(Some(Stored { record, manifest, _in_use: None }))
    }

    /// Whether it is known what proves a template. Older helpers did not note it.
    pub(crate) fn has_evidence(&self, digest: &Digest) -> bool {
        self.template_dir(digest).join(EVIDENCE).exists()
    }

    /// Notes what proves a template.
    pub(crate) fn set_evidence(&self, digest: &Digest, templates: Vec<Evidence>) -> Result<()> {
        let file = EvidenceFile { version: EVIDENCE_VERSION, templates };
        write_file(&self.tmp(), &self.template_dir(digest).join(EVIDENCE), &sealed::write(&file)?)
    }

    /// What proves a template, and then those that it was made from.
    pub fn evidence(&self, stored: &Stored) -> Result<Vec<Evidence>> {
        let path = self.template_dir(&stored.record.digest).join(EVIDENCE);
        let what = stored.reference();
        let bytes = match read_file(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(Error::new(
                    Kind::NotFound,
                    format!("the store has no signatures of '{what}': an older helper imported it"),
                )
                .hint("import its bundle again"));
            }
            other => other.map_err(|e| unreadable(&path, e))?,
        };
        let wrong = |why: String| {
            Error::damaged(format!("store: {}: {why}", path.display()))
                .hint("the store is damaged: import the bundle again")
        };
        let file: EvidenceFile = sealed::read(&bytes).map_err(|e| wrong(e.message))?;
        if file.version != EVIDENCE_VERSION {
            return Err(wrong(format!("version {} is not known", file.version)));
        }
        if file.templates.first().map(Evidence::digest) != Some(stored.record.digest) {
            return Err(wrong(format!("it is not about '{what}'")));
        }
        ancestors::check(&file.templates).map_err(|e| wrong(e.message))?;
        Ok(file.templates)
    }

    /// A template by its digest, with what its documents in the store prove to this policy.
    pub fn prove(&self, digest: &Digest, policy: &Policy) -> Result<Option<Proven>> {
        let in_use = self.hold(digest)?;
        let Some(stored) = self.get(digest)?.filter(|_| self.has_evidence(digest)) else { return Ok(None) };
        let evidence = self.evidence(&stored)?;
        let Some((own, parents)) = evidence.split_first() else { return Ok(None) };
        let (accepted, ancestors) = ancestors::verify(own, parents, policy)?;
        let manifest = own.manifest()?;
        Ok(Some(Proven { stored: Stored { manifest, _in_use: in_use, ..stored }, accepted, ancestors }))
    }

    /// Finds `NAME`, `NAME:VERSION`, or `sha256:…`; the newest version when none is given. As long as the result lives,
    /// gc removes nothing of the template.
    pub fn find(&self, reference: &str) -> Result<Stored> {
        let mut found = self.resolve(reference)?;
        loop {
            let (digest, what) = &found;
            let in_use = self.hold(digest)?;
            if let Some(stored) = self.get(digest)? {
                return Ok(Stored { _in_use: in_use, ..stored });
            }
            // a gc may have removed it before it was held, because the name means another one now
            let again = self.resolve(reference)?;
            if again.0 == *digest {
                return Err(self.missing(what));
            }
            found = again;
        }
    }

    /// Holds a template. Who is not root reads no trees, and needs no lock.
    pub(crate) fn hold(&self, digest: &Digest) -> Result<Option<Arc<Lock>>> {
        if !nix::unistd::geteuid().is_root() {
            return Ok(None);
        }
        // what stands in the way is gc, and only for the moment in which it moves the template away
        let lock = self.held(|| Lock::wait(&self.use_lock(digest), Mode::Shared, &mut || Ok(())))?;
        Ok(lock.map(Arc::new))
    }

    /// The digest that is meant, and what to call it.
    fn resolve(&self, reference: &str) -> Result<(Digest, String)> {
        if reference.starts_with("sha256:") {
            let digest: Digest = reference.parse()?;
            return Ok((digest, format!("template {digest}")));
        }
        let (name, version) = names::parse_reference(reference)?;
        let version = match version {
            Some(version) => version.to_string(),
            None => self.versions(name)?.pop().ok_or_else(|| self.missing(&format!("template '{name}'")))?,
        };
        let what = format!("template '{name}:{version}'");
        let digest = self.get_ref(name, &version)?.ok_or_else(|| self.missing(&what))?;
        Ok((digest, format!("{what} ({digest})")))
    }

    fn missing(&self, what: &str) -> Error {
        let all: Vec<String> = self.list().unwrap_or_default().iter().map(Stored::reference).collect();
        let hint = if all.is_empty() {
            "the store is empty: import a bundle first".to_string()
        } else {
            format!("it has {}", all.join(", "))
        };
        Error::new(Kind::NotFound, format!("{what} is not in store '{}'", self.path().display())).hint(hint)
    }

    /// Versions of a name, oldest first.
    pub(crate) fn versions(&self, name: &str) -> Result<Vec<String>> {
        let mut versions = list_dir(&self.path().join("refs").join(name))?;
        versions.sort_by(|a, b| compare_versions(a, b).then_with(|| a.cmp(b)));
        Ok(versions)
    }

    /// All named templates, by name and version.
    pub fn list(&self) -> Result<Vec<Stored>> {
        self.each()?.collect()
    }

    /// The same without those that are damaged.
    pub(crate) fn list_sound(&self) -> Result<Vec<Stored>> {
        let is_sound = |stored: &Result<Stored>| match stored {
            Err(e) if e.kind == Kind::Damaged => {
                log::debug!("{e}");
                false
            }
            _ => true,
        };
        self.each()?.filter(is_sound).collect()
    }

    fn each(&self) -> Result<impl Iterator<Item = Result<Stored>>> {
        let mut references = Vec::new();
        for name in self.names()? {
            references.extend(self.versions(&name)?.into_iter().map(|version| (name.clone(), version)));
        }
        Ok(references.into_iter().filter_map(|(name, version)| self.named(&name, &version).transpose()))
    }

    fn names(&self) -> Result<Vec<String>> {
        let mut all = list_dir(&self.path().join("refs"))?;
        all.sort();
        Ok(all)
    }

    fn named(&self, name: &str, version: &str) -> Result<Option<Stored>> {
        match self.get_ref(name, version)? {
            Some(digest) => self.get(&digest),
            None => Ok(None),
        }
    }
}
