// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # The template manifest
//!
//! The document that says what a template is: the configuration blob of the artifact manifest that the signed image
//! index points to.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::digest::Digest;
use crate::error::{Error, Kind, Result};
use crate::frames::Compression;
use crate::json::parse;
use crate::limits::{MAX_CHANGES, MAX_COMPONENTS};
use crate::names;

/// Type of the template artifact.
pub const ARTIFACT_TYPE: &str = "application/vnd.isar.template.v1";
/// Media type of the template manifest.
pub const CONFIG_TYPE: &str = "application/vnd.isar.template.config.v1+json";
/// Media type of a table of contents.
pub const TOC_TYPE: &str = "application/vnd.isar.template.toc.v1.jsonl+zstd";
/// Type of a signature artifact.
pub const SIGNATURE_TYPE: &str = "application/vnd.isar.template.signature.v1";
/// Media type of the signature itself, as `ssh-keygen -Y sign` writes it.
pub const SSHSIG_TYPE: &str = "application/vnd.isar.template.sshsig.v1";
/// Type of the artifact that holds the documents of an ancestor.
pub const ANCESTOR_TYPE: &str = "application/vnd.isar.template.ancestor.v1";
/// Media type of the image index of an ancestor. Not that of an image index: nothing that it names is there.
pub const ANCESTOR_INDEX_TYPE: &str = "application/vnd.isar.template.ancestor.index.v1+json";
/// Media type of the artifact manifest of an ancestor.
pub const ANCESTOR_MANIFEST_TYPE: &str = "application/vnd.isar.template.ancestor.manifest.v1+json";
/// Annotation with the name of the template.
pub const NAME: &str = "org.isar.template.name";
/// Annotation with the component that a blob belongs to.
pub const COMPONENT: &str = "org.isar.template.component";
/// Version of this format. It becomes 1 when it is promised to stay.
pub const FORMAT_VERSION: u32 = 0;
/// The component that every template has.
pub const ROOTFS: &str = "rootfs";

/// A template.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TemplateManifest {
    /// Version of the format.
    pub version: u32,
    /// Name of the template.
    pub name: String,
    /// Version of the template.
    pub template_version: String,
    /// RFC 3339 time: SOURCE_DATE_EPOCH, else the newest modification time of the input.
    pub created: String,
    /// Version of the helper that packed it.
    pub packed_by: String,
    /// Distribution: DISTRO of Isar, else ID of os-release.
    pub distro: String,
    /// Code name of the release.
    pub codename: String,
    /// Debian architecture.
    pub architecture: String,
    /// MACHINE of Isar.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// The template that it was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Parent>,
    /// The parts.
    pub components: Vec<Component>,
    /// What is installed in the root filesystem.
    pub packages: Vec<Package>,
    /// What ties the template to the layers it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anchors: Option<Value>,
}

/// The template that another one was made from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Parent {
    /// Name of the template.
    pub name: String,
    /// Version of the template.
    pub version: String,
    /// Digest of its image index.
    pub digest: Digest,
}

impl std::fmt::Display for Parent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "'{}:{}' ({})", self.name, self.version, self.digest)
    }
}

/// A part of a template.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Component {
    /// Name.
    pub name: String,
    /// The tree.
    pub tree: Tree,
    /// What changed in it since, one OCI layer over the other (root filesystem only).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Tree>,
    /// What makes a finished system out of it (root filesystem only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish: Option<Tree>,
}

/// Which of the trees of a component.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// What was packed.
    Base,
    /// What changed in it since.
    Changes,
    /// What makes a finished system of it.
    Finish,
}

impl Part {
    /// Whether it lies over another, and has whiteouts.
    pub fn is_over(self) -> bool {
        self != Self::Base
    }
}

/// A tree as an OCI layer and its table of contents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tree {
    /// Compression of the OCI layer.
    pub compression: Compression,
    /// Digest of the OCI layer.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Digest of the uncompressed tar.
    pub diff_id: Digest,
    /// Size of the uncompressed tar in bytes.
    pub raw_size: u64,
    /// Digest of the table of contents.
    pub toc_digest: Digest,
    /// Its size in bytes.
    pub toc_size: u64,
    /// Number of entries.
    pub entries: u64,
}

/// An installed package.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Package {
    /// Name.
    pub package: String,
    /// Version.
    #[serde(rename = "packageVersion")]
    pub version: String,
    /// Architecture.
    pub architecture: String,
    /// Of a self-built package: digest of the .deb.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Of a self-built package: its recipe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipe: Option<String>,
    /// Of a self-built package: signature hash of the task that built it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_hash: Option<String>,
}

impl TemplateManifest {
    /// Parses a manifest and checks what every user of it relies on.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct VersionOnly {
            version: u32,
            #[serde(default)]
            packed_by: Option<serde_json::Value>,
        }
        let version: VersionOnly = parse("the template manifest", bytes)?;
        if version.version != FORMAT_VERSION {
            return Err(Error::new(
                Kind::Unsupported,
                format!("the bundle has format version {}, only {FORMAT_VERSION} is known", version.version),
            )
            .hint(match version.packed_by.as_ref().and_then(|by| by.as_str()) {
                Some(by) => format!(
                    "'{}' made the bundle: use that version, or a newer one; this is {}",
                    by.escape_debug(),
                    env!("CARGO_PKG_VERSION")
                ),
                None => "use a helper of the version that made the bundle, or newer".to_owned(),
            }));
        }
        let manifest: TemplateManifest = parse("the template manifest", bytes)?;
        let wrong = |e: Error| Error::damaged(format!("the template manifest is not valid: {}", e.message));
        names::check_name(&manifest.name).map_err(wrong)?;
        names::check_version(&manifest.template_version).map_err(wrong)?;
        if let Some(parent) = &manifest.parent {
            names::check_name(&parent.name).map_err(wrong)?;
            names::check_version(&parent.version).map_err(wrong)?;
        }
        if manifest.components.len() > MAX_COMPONENTS {
            return Err(Error::damaged(format!("the template has more than {MAX_COMPONENTS} components")));
        }
        for (at, component) in manifest.components.iter().enumerate() {
            names::check_component(&component.name).map_err(wrong)?;
            if manifest.components[..at].iter().any(|c| c.name == component.name) {
                return Err(Error::damaged(format!("component '{}' occurs twice", component.name)));
            }
            if component.changes.len() > MAX_CHANGES {
                return Err(Error::damaged(format!(
                    "component '{}' has more than {MAX_CHANGES} layers of changes",
                    component.name
                )));
            }
        }
        if !manifest.components.iter().any(|c| c.name == ROOTFS) {
            return Err(Error::damaged("the template has no component 'rootfs'"));
        }
        Ok(manifest)
    }

    /// A component by its name.
    pub fn component(&self, name: &str) -> Result<&Component> {
        self.components.iter().find(|c| c.name == name).ok_or_else(|| {
            let names: Vec<_> = self.components.iter().map(|c| c.name.as_str()).collect();
            Error::new(
                Kind::NotFound,
                format!(
                    "template '{}:{}' has no component '{}'",
                    self.name,
                    self.template_version,
                    name.escape_debug()
                ),
            )
            .hint(format!("it has {}", names.join(", ")))
        })
    }
}
