// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # A repository of a registry

use template_bundle::oci::Descriptor;
use template_bundle::{Digest, Error, Kind, Result};
use ureq::Body;
use ureq::http::Response;

use crate::client::{Client, Right};
use crate::reference::Reference;

/// Where templates are pushed to and fetched from, by the OCI distribution protocol.
pub struct Registry {
    pub(crate) client: Client,
    pub(crate) repository: String,
    /// Another repository of the registry, whose blobs this one may take over.
    mounts: Option<String>,
}

impl Registry {
    /// The one that a reference names. Nothing is sent yet.
    pub fn new(reference: &Reference, plain_http: bool) -> Result<Self> {
        let Reference { host, repository, .. } = reference;
        let mut client = Client::new("registry", host, repository, plain_http)?;
        client.scopes.insert(Right::Pull, vec![format!("repository:{repository}:pull")]);
        client.scopes.insert(Right::Push, vec![format!("repository:{repository}:pull,push")]);
        Ok(Self { client, repository: repository.clone(), mounts: None })
    }

    /// Has it take over blobs of another repository, if that is of the same registry.
    pub fn mounting(mut self, other: &Registry) -> Self {
        if other.client.host == self.client.host {
            let scopes = self.client.scopes.entry(Right::Push).or_default();
            scopes.push(format!("repository:{}:pull", other.repository));
            self.mounts = Some(other.repository.clone());
        }
        self
    }

    /// The repository whose blobs it may take over.
    pub(crate) fn mounts(&self) -> Option<&str> {
        self.mounts.as_deref()
    }

    /// Host and repository.
    pub(crate) fn name(&self) -> String {
        format!("{}/{}", self.client.host, self.repository)
    }

    /// The address of something in the repository.
    pub(crate) fn address(&self, path: &str) -> String {
        self.client.address(&format!("/v2/{}/{path}", self.repository))
    }

    /// Reads a manifest by tag or digest: its bytes and their digest; none when it is not there.
    pub(crate) fn manifest(
        &self,
        what: &str,
        name: &str,
        media_types: &[&str],
        limit: u64,
    ) -> Result<Option<(Vec<u8>, Digest)>> {
        let doing = format!("fetching {what} '{name}' of {}", self.name());
        let address = self.address(&format!("manifests/{name}"));
        self.client.document(&doing, &address, &media_types.join(", "), limit)
    }

    /// A blob, or a part of it.
    pub(crate) fn blob(
        &self,
        doing: &str,
        blob: &Descriptor,
        part: Option<(u64, Option<u64>)>,
    ) -> Result<Response<Body>> {
        let address = self.address(&format!("blobs/{}", blob.digest));
        self.client.part(doing, &address, part)?.ok_or_else(|| {
            Error::new(Kind::BlobMissing, format!("{doing}: the registry does not have it"))
                .hint("push the bundle again: the registry has lost it, or another repository has it")
        })
    }
}
