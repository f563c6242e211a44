// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # What a plan does to one package

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What happens to one package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Action {
    /// What happens.
    pub operation: Operation,
    /// To which package.
    pub package: String,
    /// Of which architecture.
    pub architecture: String,
    /// What is installed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_version: Option<String>,
    /// What will be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_version: Option<String>,
    /// Why.
    pub asked_by: AskedBy,
    /// Other packages of the plan because of which it happens: what needs it, or what goes that it needs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub due_to: Vec<String>,
    /// The packages that come and cannot be together with this one, which goes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replaced_by: Vec<String>,
    /// The package, or the one that goes, was built by the platform or the product and not by the distribution.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub self_built: bool,
    /// Where the new version is from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// Of the archive, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Of what it installs, in bytes, by its own account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installed_size: Option<u64>,
    /// Of the archive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

#[cfg(test)]
impl Action {
    /// One that was asked for, from version 1 or to version 2, for tests to change.
    pub(crate) fn example(operation: Operation, package: &str) -> Self {
        Self {
            operation,
            package: package.into(),
            architecture: "amd64".into(),
            old_version: (operation != Operation::Install).then(|| "1".to_owned()),
            new_version: (operation != Operation::Remove).then(|| "2".to_owned()),
            asked_by: AskedBy::Request,
            due_to: vec![],
            replaced_by: vec![],
            self_built: false,
            origin: None,
            size: None,
            installed_size: None,
            sha256: None,
        }
    }
}

/// What happens to a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// It goes, with its configuration.
    Remove,
    /// It comes.
    Install,
    /// A newer version replaces it.
    Upgrade,
    /// An older version replaces it.
    Downgrade,
    /// The same version replaces it.
    Reinstall,
}

impl Operation {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Remove => "remove",
            Self::Install => "install",
            Self::Upgrade => "upgrade",
            Self::Downgrade => "downgrade",
            Self::Reinstall => "reinstall",
        }
    }
}

/// Why something happens to a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AskedBy {
    /// It was named.
    Request,
    /// Something that comes needs it.
    Dependency,
    /// Nothing needs it any more.
    AutoRemove,
    /// Something else that happens makes it go.
    Consequence,
}

impl AskedBy {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Request => "you",
            Self::Dependency => "dependency",
            Self::AutoRemove => "not needed",
            Self::Consequence => "consequence",
        }
    }
}

/// Where a package is from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "kind")]
pub enum Origin {
    /// A repository that the tree knows.
    Repository {
        /// In apt's words: `Debian:12.5/stable`.
        label: String,
    },
    /// A repository folder of the request.
    Folder {
        /// On the host.
        path: PathBuf,
    },
    /// A file of the request.
    File {
        /// On the host.
        path: PathBuf,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Repository { label } if label.is_empty() => f.write_str("repository"),
            // several repositories may have it; the first is used
            Self::Repository { label } => f.write_str(label.split(',').next().unwrap_or(label)),
            Self::Folder { path } | Self::File { path } => write!(f, "{}", path.display()),
        }
    }
}

/// A change of what counts as asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mark {
    /// The package.
    pub package: String,
    /// Whether it may go when nothing needs it.
    pub auto: bool,
}
