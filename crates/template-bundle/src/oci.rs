// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # OCI documents
//!
//! The few types of the OCI image specification (1.1) that bundles are made of. Maps are ordered, so that the same
//! document always has the same bytes, and thereby the same digest.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::{Error, Result};

/// Media type of an image index.
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Media type of an image manifest.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of an image configuration.
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Media type of the empty JSON object.
pub const EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// Annotation that tags a manifest in `index.json`.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Annotation with the version.
pub const VERSION: &str = "org.opencontainers.image.version";
/// Annotation with the time of creation.
pub const CREATED: &str = "org.opencontainers.image.created";
/// Annotation, "true", on the descriptor of an image that has layers in zstd: skopeo and podman set it where it is not.
pub const HAS_ZSTD: &str = "io.github.containers.compression.zstd";

/// Annotations.
pub type Annotations = BTreeMap<String, String>;

/// Points to a blob. The fields are written in the order that the Go types of the specification have: tools that are told to
/// leave an index as it is write it anew, and compare.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the blob is.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Remarks.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: Annotations,
    /// What it runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// What an artifact is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
}

impl Descriptor {
    /// A bare descriptor.
    pub fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        Descriptor {
            media_type: media_type.into(),
            digest,
            size,
            annotations: Annotations::new(),
            platform: None,
            artifact_type: None,
        }
    }
}

/// What an image runs on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Platform {
    /// In Go's words, as OCI wants.
    pub architecture: String,
    /// Always linux here.
    pub os: String,
    /// Variant of the architecture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Platform {
    /// The platform of a Debian architecture.
    pub fn of_debian(architecture: &str) -> Self {
        let (name, variant) = match architecture {
            "i386" => ("386", None),
            "armhf" => ("arm", Some("v7")),
            "armel" => ("arm", Some("v5")),
            "ppc64el" => ("ppc64le", None),
            "mipsel" => ("mipsle", None),
            "mips64el" => ("mips64le", None),
            "loong64" => ("loong64", None),
            other => (other, None),
        };
        Platform { architecture: name.into(), os: "linux".into(), variant: variant.map(Into::into) }
    }
}

/// An image index; also `index.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// Its own media type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// What an artifact is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// What it points to.
    pub manifests: Vec<Descriptor>,
    /// Remarks.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: Annotations,
}

impl Index {
    /// An index without manifests.
    pub fn new() -> Self {
        Index {
            schema_version: 2,
            media_type: Some(INDEX.into()),
            artifact_type: None,
            manifests: vec![],
            annotations: Annotations::new(),
        }
    }
}

impl Default for Index {
    fn default() -> Self {
        Index::new()
    }
}

/// An image manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// Its own media type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// What an artifact is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The configuration.
    pub config: Descriptor,
    /// The OCI layers, or the parts of an artifact.
    pub layers: Vec<Descriptor>,
    /// What it refers to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Remarks.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: Annotations,
}

impl Manifest {
    /// A manifest without OCI layers.
    pub fn new(config: Descriptor) -> Self {
        Manifest {
            schema_version: 2,
            media_type: Some(MANIFEST.into()),
            artifact_type: None,
            config,
            layers: vec![],
            subject: None,
            annotations: Annotations::new(),
        }
    }
}

/// The bytes of a document.
pub fn to_bytes(document: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(document)
        .map_err(|e| Error::new(crate::error::Kind::Internal, format!("writing JSON: {e}")))
}
