// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # push: a bundle into a registry

use std::fmt::Write as _;

use anyhow::Result;
use clap::Args;
use serde_json::json;
use template_bundle::bundle::Bundle;
use template_bundle::{Error, Kind};
use template_registry::{Reference, Registry};

use crate::cli::{Cli, Registries};
use crate::progress::Progress;
use crate::{output, source};

/// Put a bundle into a registry
///
/// Reads the bundle, writes nothing here, and needs no privilege but the login. It gets the tag of its version, and the
/// runnable image VERSION-rootfs, for podman and others. Blobs that the repository has are not sent again. Signatures go along, in both forms that OCI 1.1 knows: as referrers, and in the list with the tag
/// of the digest. A tag that means something else already is left alone, unless --force is given. Logins are those of podman,
/// skopeo and docker.
///
/// A bundle that install has derived leaves most layers to its parent: the repository has them, or --parent says which one does.
/// A repository of the same registry passes them on without sending them.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  isar-template push platform-1.0 oci://registry.example.com/team/platform
  isar-template push --parent oci://registry.example.com/team/platform product-1.0 \\
      oci://registry.example.com/team/product")]
pub struct PushOpts {
    /// Replace what the tags mean
    #[arg(long)]
    force: bool,
    /// The repository of the template that this one was made from: its layers are taken from there
    #[arg(long, value_name = "oci://HOST[:PORT]/REPOSITORY")]
    parent: Option<String>,
    /// The bundle
    bundle: String,
    /// oci://HOST[:PORT]/REPOSITORY[:VERSION]
    reference: String,
    #[command(flatten)]
    registry: Registries,
}

/// What to do when nobody has the layers of the parent.
fn without_parent(e: Error, bundle: &Bundle, given: bool) -> Error {
    match &bundle.manifest.parent {
        Some(parent) if e.kind == Kind::BlobMissing && !given => {
            e.within(format!("the bundle leaves it to its parent {parent}")).hint(
                "push the parent to the same repository first, or say where it is: --parent oci://HOST/REPOSITORY",
            )
        }
        _ => e,
    }
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
    let mut registry = Registry::new(&reference, opts.registry.plain_http)?;
    let parent = match &opts.parent {
        Some(parent) => Some(Registry::new(&parent.parse()?, opts.registry.plain_http)?),
        None => None,
    };
    if let Some(parent) = &parent {
        registry = registry.mounting(parent);
    }
    let waiting = template_chroot::watch::waiting(None);
    let pushed =
        template_registry::push(&registry, &reference, &bundle, parent.as_ref(), opts.force, &progress)
            .map_err(|e| without_parent(e, &bundle, opts.parent.is_some()))?;
    drop(waiting);
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
        let signatures = output::count(pushed.signatures, "signature");
        let (moved, present) = (output::size(pushed.traffic.moved), output::size(pushed.traffic.present));
        let _ = writeln!(out, "{signatures}; {moved} pushed, {present} were there");
    })?;
    Ok(0)
}
