// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # sign: add a signature to a bundle

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde_json::json;
use template_bundle::bundle::Bundle;
use template_bundle::{Error, signature, ssh_keygen};

use crate::cli::Cli;
use crate::{output, source};

/// Add a signature to a bundle
///
/// Signs the bytes of the image index with ssh-keygen and adds the signature to the bundle, beside those that are there.
/// Needs no privilege but write access to the bundle. A signature that was made elsewhere, with
/// `ssh-keygen -Y sign -n isar-template`, is added with --signature; --print-index prints the bytes to sign.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  isar-template sign --key ~/.ssh/release platform-1.0.tar
  isar-template sign --print-index platform-1.0.tar | \\
      ssh-keygen -Y sign -n isar-template -f KEY > sig
  isar-template sign --signature sig platform-1.0.tar")]
pub struct SignOpts {
    /// A private key, or a public key whose private half ssh-agent or a token holds
    #[arg(long, value_name = "KEY", required_unless_present_any = ["signature", "print_index"])]
    key: Option<PathBuf>,
    /// Add this signature instead of making one
    #[arg(long, value_name = "FILE", conflicts_with = "key")]
    signature: Option<PathBuf>,
    /// Print the bytes that are signed, and change nothing
    #[arg(long, conflicts_with_all = ["key", "signature"])]
    print_index: bool,
    /// The bundle
    bundle: String,
}

/// Runs the verb.
pub fn run(cli: &Cli, opts: &SignOpts) -> Result<u8> {
    let path = source::bundle_path(&opts.bundle)?;
    let bundle = Bundle::open_unverified(&path)?;
    if opts.print_index {
        use std::io::Write as _;
        std::io::stdout().lock().write_all(&bundle.index_bytes)?;
        return Ok(0);
    }
    let text = match (&opts.key, &opts.signature) {
        (_, Some(file)) => std::fs::read_to_string(file).map_err(|e| {
            Error::usage(format!("reading signature: {}: {e}", file.display()))
                .hint("give a file that 'ssh-keygen -Y sign' has written")
        })?,
        (Some(key), None) => ssh_keygen::sign(key, &bundle.index_bytes)?,
        (None, None) => {
            return Err(Error::usage("a key or a signature is needed")
                .hint("give --key FILE, or --signature FILE")
                .into());
        }
    };
    let signer = signature::check_form(&text, &bundle.index_bytes).map_err(|e| match &opts.signature {
        Some(file) => e.within(format!("'{}'", file.display())).hint(
            "give what 'ssh-keygen -Y sign -n isar-template' has written for the bytes of --print-index",
        ),
        None => e,
    })?;
    bundle.add_signature(&text)?;
    let manifest = &bundle.manifest;
    let fields = json!({
        "name": manifest.name,
        "templateVersion": manifest.template_version,
        "digest": bundle.digest,
        "fingerprint": signer,
    });
    output::result(cli, fields, |out| {
        let _ = writeln!(out, "{}:{} {}", manifest.name, manifest.template_version, bundle.digest);
        let _ = writeln!(out, "signed by {signer}");
        let _ = writeln!(out, "consumers need this digest, and the public key in their allowed signers file");
    })?;
    Ok(0)
}
