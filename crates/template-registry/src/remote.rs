// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Bundles that are elsewhere

use std::fmt;
use std::str::FromStr;

use template_bundle::oci::Descriptor;
use template_bundle::{Digest, Error, Result};
use ureq::Body;
use ureq::http::Response;

use crate::address::Address;
use crate::client::Client;
use crate::reference::Reference;
use crate::registry::Registry;
use crate::web::Web;

/// Where a bundle is, when it is not on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In a registry.
    Registry(Reference),
    /// On a web server. The digest is that of the image index that is meant.
    Web(Address, Option<Digest>),
}

impl Place {
    /// Whether an argument means one.
    pub fn is_one(argument: &str) -> bool {
        Reference::is_one(argument) || Address::is_one(argument)
    }

    /// Of the image index that is meant, if that was said.
    pub fn digest(&self) -> Option<&Digest> {
        match self {
            Place::Registry(reference) => reference.digest.as_ref(),
            Place::Web(_, digest) => digest.as_ref(),
        }
    }

    /// Says which image index is meant.
    pub fn pin(&mut self, pin: Digest) {
        match self {
            Place::Registry(reference) => reference.digest = Some(pin),
            Place::Web(_, digest) => *digest = Some(pin),
        }
    }

    /// How a directory for the bundle would be called.
    pub fn file_name(&self) -> Option<String> {
        match self {
            Place::Registry(reference) => {
                let last = reference.repository.rsplit('/').next().unwrap_or_default();
                reference.tag.as_ref().map(|tag| format!("{last}-{tag}"))
            }
            Place::Web(address, _) => address.file_name(),
        }
    }
}

impl FromStr for Place {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match Address::is_one(text) {
            true => Ok(Place::Web(text.parse()?, None)),
            false => Ok(Place::Registry(text.parse()?)),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Registry(reference) => reference.fmt(f),
            Place::Web(address, _) => address.fmt(f),
        }
    }
}

/// A place, and how it is spoken to.
pub enum Remote {
    /// A repository, and what of it is meant.
    Registry(Box<Registry>, Reference),
    /// A directory or a tar on a web server.
    Web(Web),
}

impl Remote {
    /// Nothing is sent yet.
    pub fn new(place: &Place, plain_http: bool) -> Result<Self> {
        Ok(match place {
            Place::Registry(reference) => {
                Remote::Registry(Box::new(Registry::new(reference, plain_http)?), reference.clone())
            }
            Place::Web(address, _) => Remote::Web(Web::new(address, plain_http)?),
        })
    }

    pub(crate) fn client(&self) -> &Client {
        match self {
            Remote::Registry(registry, _) => &registry.client,
            Remote::Web(web) => web.client(),
        }
    }

    /// How messages call it.
    pub(crate) fn name(&self) -> String {
        match self {
            Remote::Registry(registry, _) => registry.name(),
            Remote::Web(web) => web.name(),
        }
    }

    /// A document, if it is there: whatever comes, with its digest.
    pub(crate) fn document(
        &self,
        what: &str,
        descriptor: &Descriptor,
        kind: Document,
    ) -> Result<Option<(Vec<u8>, Digest)>> {
        let Descriptor { digest, size, media_type, .. } = descriptor;
        match (self, kind) {
            (Remote::Registry(registry, _), Document::Manifest) => {
                registry.manifest(what, &digest.to_string(), &[media_type], *size)
            }
            (Remote::Registry(registry, _), Document::Blob) => {
                let doing = format!("fetching {what} {digest}");
                let address = registry.address(&format!("blobs/{digest}"));
                registry.client.document(&doing, &address, "*/*", *size)
            }
            (Remote::Web(web), _) => web.document(what, digest, *size),
        }
    }

    /// A blob, or what begins at an offset of it and ends before another. The whole of it may come nevertheless.
    pub(crate) fn blob(
        &self,
        doing: &str,
        blob: &Descriptor,
        part: Option<(u64, Option<u64>)>,
    ) -> Result<Response<Body>> {
        match self {
            Remote::Registry(registry, _) => registry.blob(doing, blob, part),
            Remote::Web(web) => web.blob(doing, blob, part),
        }
    }
}

/// Registries give both in ways of their own.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Document {
    Manifest,
    Blob,
}
