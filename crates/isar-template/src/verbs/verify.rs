// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # verify: check a bundle without importing it

use std::fmt::Write as _;

use anyhow::Result;
use clap::Args;
use serde_json::json;
use template_bundle::bundle::Bundle;
use template_bundle::pack::Progress as _;

use crate::cli::{Cli, Trust};
use crate::progress::Progress;
use crate::{output, source};

/// Verify a bundle: signature, digests, structure and contents
///
/// Reads all of the bundle and writes nothing. Needs no privilege. What fails is said by the message: no signature,
/// unknown key, wrong digest, and so on, all with exit code 3.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  isar-template verify --allowed-signers keys --identity platform@example.com platform-1.0.tar")]
pub struct VerifyOpts {
    #[command(flatten)]
    trust: Trust,
    /// The bundle
    bundle: String,
}

/// Runs the verb.
pub fn run(cli: &Cli, opts: &VerifyOpts) -> Result<u8> {
    let policy = opts.trust.policy()?;
    let path = source::bundle_path(&opts.bundle)?;
    let bundle = Bundle::open(&path, &policy, opts.trust.pin()?.as_ref())?;
    let progress = Progress::new(&cli.global, "verify");
    progress.begin("contents", bundle.raw_size());
    bundle.verify_contents(&|n| progress.advance(n))?;
    progress.finish();
    let manifest = &bundle.manifest;
    let accepted = bundle.accepted.as_ref();
    let signer = accepted.map(|a| a.identity.clone()).unwrap_or_default();
    let fingerprint = accepted.map(|a| a.fingerprint.clone()).unwrap_or_default();
    let fields = json!({
        "name": manifest.name,
        "templateVersion": manifest.template_version,
        "digest": bundle.digest,
        "signer": signer,
        "fingerprint": fingerprint,
    });
    output::result(cli, fields, |out| {
        let _ = writeln!(out, "{}:{} {}", manifest.name, manifest.template_version, bundle.digest);
        let _ = writeln!(out, "good signature by '{signer}' with {fingerprint}; all contents are as signed");
    })?;
    Ok(0)
}
