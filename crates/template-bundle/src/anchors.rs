// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # The anchors file
//!
//! What the layer recorded of the build: it goes into the manifest whole, and some of it is understood here.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::error::{Error, IoContext, Kind, Result};
use crate::json::parse;
use crate::limits::MAX_ANCHORS;
use crate::manifest::Package;

/// The part of the anchors file that we understand.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Anchors {
    version: Option<u32>,
    pub distro: Option<String>,
    pub codename: Option<String>,
    pub architecture: Option<String>,
    pub machine: Option<String>,
    #[serde(default)]
    pub self_built: Vec<SelfBuilt>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SelfBuilt {
    package: String,
    version: String,
    architecture: String,
    sha256: Option<String>,
    recipe: Option<String>,
    task_hash: Option<String>,
}

impl From<SelfBuilt> for Package {
    fn from(of: SelfBuilt) -> Self {
        let SelfBuilt { package, version, architecture, sha256, recipe, task_hash } = of;
        Package { package, version, architecture, sha256, recipe, task_hash }
    }
}

/// Reads the file: what is understood of it, and all of it.
pub(crate) fn read_anchors(path: Option<&Path>) -> Result<(Anchors, Option<Value>)> {
    let Some(path) = path else {
        return Ok((Anchors::default(), None));
    };
    let wrong = |why: String| {
        Error::usage(format!("anchors file '{}': {why}", path.display()))
            .hint("the layer writes it; its form is described in docs/bundle-format.md")
    };
    let size = std::fs::metadata(path).map_err(|e| wrong(e.to_string()))?.len();
    if size > MAX_ANCHORS {
        return Err(wrong(format!("it is larger than {MAX_ANCHORS} bytes")));
    }
    let bytes = std::fs::read(path).doing("reading", path)?;
    let value: Value = parse("it", &bytes).map_err(|e| wrong(e.message))?;
    let known: Anchors = serde_json::from_value(value.clone()).map_err(|e| wrong(e.to_string()))?;
    match known.version {
        Some(0) => Ok((known, Some(value))),
        Some(other) => {
            Err(Error::new(Kind::Unsupported, format!("anchors version {other} is not known, only 0 is"))
                .hint("make it with the layer that belongs to this version of isar-template"))
        }
        None => Err(wrong("it has no version".into())),
    }
}

/// Notes of packages that are installed what is known of those that were built and not fetched.
pub(crate) fn note_built(packages: &mut [Package], built: impl IntoIterator<Item = Package>) {
    for built in built {
        let same = packages.iter_mut().find(|p| {
            p.package == built.package && p.version == built.version && p.architecture == built.architecture
        });
        if let Some(package) = same {
            *package = built;
        }
    }
}
