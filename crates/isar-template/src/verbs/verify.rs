// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # verify: check a bundle without importing it

use std::fmt::Write as _;

use anyhow::Result;
use clap::Args;
use serde_json::json;
use template_bundle::pack::Progress as _;
use template_bundle::signature::Accepted;

use crate::chain::{self, Link};
use crate::cli::{Cli, Trusted};
use crate::progress::Progress;
use crate::{output, source};

/// Verify a bundle: signature, digests, structure and contents
///
/// Reads all of the bundle and writes nothing. Needs no privilege. What fails is said by the message: no signature,
/// unknown key, wrong digest, and so on, all with exit code 3.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  isar-template verify --allowed-signers keys --identity platform-team@example.org platform-1.0.tar")]
pub struct VerifyOpts {
    /// The bundle
    bundle: String,
    #[command(flatten)]
    trusted: Trusted,
}

/// Runs the verb.
pub fn run(cli: &Cli, opts: &VerifyOpts) -> Result<u8> {
    let bundle = source::open_bundle(&opts.bundle, &opts.trusted)?;
    let progress = Progress::new(&cli.global, "verify");
    progress.begin("contents", bundle.raw_size());
    let elsewhere = bundle.verify_contents(&|n| progress.advance(n))?;
    progress.finish();
    let manifest = &bundle.manifest;
    let Accepted { identity, fingerprint } = bundle.accepted()?;
    let chain: Vec<Link> = bundle.ancestors().map(Link::from).collect();
    let fields = json!({
        "name": manifest.name,
        "templateVersion": manifest.template_version,
        "digest": bundle.digest,
        "signer": identity,
        "fingerprint": fingerprint,
        "chain": chain::to_json(&chain),
        "layersOfParent": elsewhere,
    });
    output::result(cli, fields, |out| {
        let _ = writeln!(out, "{}:{} {}", manifest.name, manifest.template_version, bundle.digest);
        let _ =
            writeln!(out, "good signature by '{identity}' with {fingerprint}; all contents are as signed");
        if elsewhere > 0 {
            let _ = writeln!(
                out,
                "{elsewhere} layers are those of its parent: they are not in this bundle, and were not looked at"
            );
        }
        chain::to_text(&chain, out);
    })?;
    Ok(0)
}
