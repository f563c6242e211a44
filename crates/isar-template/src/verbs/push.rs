// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # push: a bundle into a registry

use std::fmt::Write as _;

use anyhow::Result;
use clap::Args;
use serde_json::json;
use template_bundle::Error;
use template_bundle::bundle::Bundle;
use template_registry::{Reference, Registry};

use crate::cli::{Cli, Registries};
use crate::progress::Progress;
use crate::{output, source};

/// Put a bundle into a registry
///
/// Under the tag of its version, and the runnable image under VERSION-rootfs, for podman and others. Blobs that the repository has
/// are not sent again. Signatures go along, in both forms that OCI 1.1 knows: as referrers, and in the list with the tag
/// of the digest. A tag that means something else already is left alone, unless --force is given. Logins are those of podman,
/// skopeo and docker.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  isar-template push platform-1.0 oci://registry.example.com/team/platform")]
pub struct PushOpts {
    /// Replace what the tags mean
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    registry: Registries,
    /// The bundle
    bundle: String,
    /// oci://HOST[:PORT]/REPOSITORY[:VERSION]
    reference: String,
}

/// Runs the verb.
pub fn run(cli: &Cli, opts: &PushOpts) -> Result<u8> {
    if !source::is_bundle(&opts.bundle) && !std::path::Path::new(&opts.bundle).exists() {
        return Err(Error::usage(format!("'{}' is no bundle on disk", opts.bundle.escape_debug()))
            .hint("the store keeps trees, not what was signed: push the bundle that was packed, or one that pull has fetched")
            .into());
    }
    let progress = Progress::new(&cli.global, "push");
    let bundle = Bundle::open_unverified(&source::bundle_path(&opts.bundle)?)?;
    if bundle.signatures.is_empty() {
        log::warn!("'{}' is not signed: nobody can import it", opts.bundle);
    }
    let reference: Reference = opts.reference.parse()?;
    let registry = Registry::new(&reference, opts.registry.plain_http)?;
    let pushed = template_registry::push(&registry, &reference, &bundle, opts.force, &progress)?;
    progress.finish();
    let manifest = &bundle.manifest;
    let fields = json!({
        "name": manifest.name,
        "templateVersion": manifest.template_version,
        "digest": bundle.digest,
        "tags": pushed.tags,
        "signatures": pushed.signatures,
        "bytesPushed": pushed.traffic.moved,
        "bytesPresent": pushed.traffic.present,
    });
    output::result(cli, fields, |out| {
        let Reference { host, repository, .. } = &reference;
        let _ = writeln!(out, "{}:{} {}", manifest.name, manifest.template_version, bundle.digest);
        for tag in &pushed.tags {
            let _ = writeln!(out, "oci://{host}/{repository}:{tag}");
        }
        let (moved, present) = (output::size(pushed.traffic.moved), output::size(pushed.traffic.present));
        let _ = writeln!(out, "{} signatures; {moved} pushed, {present} were there", pushed.signatures);
    })?;
    Ok(0)
}
