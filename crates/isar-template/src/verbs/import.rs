// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # import: take a bundle into the store

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde_json::json;
use template_registry::Traffic;

use crate::chain::{self, Link};
use crate::cli::{Cli, Trust};
use crate::progress::Progress;
use crate::{output, source};

/// Verify a bundle and take it into the store
///
/// Unpacks the components into the store, each file once. Nothing gets a name there before it is verified, and an
/// import that is interrupted leaves nothing behind. Needs root, or sub-ids, since owners, devices and capabilities are kept.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sudo isar-template import --allowed-signers keys --identity platform-team@example.org \\
      platform-1.0.tar
  sudo isar-template import --allowed-signers keys --identity platform-team@example.org \\
      oci://registry.example.com/team/platform:1.0
  sudo isar-template import --allowed-signers keys --identity platform-team@example.org \\
      https://example.com/releases/platform-1.0.tar")]
pub struct ImportOpts {
    /// Keep the template as long as this file exists, whatever gc is told; it has to exist
    #[arg(long, value_name = "FILE")]
    gc_root: Option<PathBuf>,
    /// The bundle: on disk, in a registry (oci://HOST[:PORT]/REPOSITORY:VERSION), or on a web server (https://HOST[:PORT]/PATH.tar, or the address of its directory)
    bundle: String,
    #[command(flatten)]
    trust: Trust,
}

/// Runs the verb.
pub fn run(cli: &Cli, opts: &ImportOpts) -> Result<u8> {
    let progress = Progress::new(&cli.global, "import");
    let (store, imported, traffic) =
        source::import(cli, &opts.bundle, &opts.trust, opts.gc_root.as_deref(), &progress)?;
    progress.finish();
    let (record, accepted) = (&imported.stored.record, &imported.accepted);
    let manifest = &imported.stored.manifest;
    let chain: Vec<Link> = imported.ancestors.iter().map(Link::from).collect();
    let fields = json!({
        "name": manifest.name,
        "templateVersion": manifest.template_version,
        "digest": record.digest,
        "signer": accepted.identity,
        "fingerprint": accepted.fingerprint,
        "chain": chain::to_json(&chain),
        "nothingToDo": imported.present,
        "replaced": imported.replaced,
        "bytesFetched": traffic.moved,
        "bytesRead": imported.bytes_read,
        "bytesWritten": imported.bytes_written,
        "bytesShared": imported.bytes_shared,
        "gcRoot": opts.gc_root.as_ref().map(|file| file.to_string_lossy()),
        "store": store.path().to_string_lossy(),
    });
    output::result(cli, fields, |out| {
        let _ = writeln!(out, "{} {}", imported.stored.reference(), record.digest);
        let _ = writeln!(out, "good signature by '{}' with {}", accepted.identity, accepted.fingerprint);
        chain::to_text(&chain, out);
        if traffic != Traffic::default() {
            let (moved, present) = (output::size(traffic.moved), output::size(traffic.present));
            let _ = writeln!(out, "fetched: {moved}; {present} were here already");
        }
        if imported.present {
            let _ = writeln!(out, "nothing to do: it is in the store already");
        } else {
            let (written, shared) =
                (output::size(imported.bytes_written), output::size(imported.bytes_shared));
            let read = output::size(imported.bytes_read);
            let _ = writeln!(
                out,
                "imported into {}: {read} read, {written} written, {shared} shared",
                store.path().display()
            );
        }
    })?;
    Ok(0)
}
