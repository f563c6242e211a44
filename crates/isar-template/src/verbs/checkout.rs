// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # checkout: a component as a writable tree

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde_json::json;
use template_bundle::manifest::ROOTFS;

use crate::cli::{Cli, Trust};
use crate::progress::Progress;
use crate::{output, source};

/// Make a writable tree of a component
///
/// Writes real files at DIR, which must not exist or be empty; the store cannot be reached through them. Needs root.
/// The root filesystem comes as a finished system; --raw gives the state that Isar goes on working with.
#[derive(Debug, Args)]
pub struct CheckoutOpts {
    /// Component
    #[arg(long, default_value = ROOTFS)]
    component: String,
    /// Without the finish layer
    #[arg(long)]
    raw: bool,
    #[command(flatten)]
    trust: Trust,
    /// NAME[:VERSION] or sha256:… of the store, or a bundle
    template: String,
    /// Where the tree goes
    #[arg(value_name = "DIR")]
    target: PathBuf,
}

/// Runs the verb.
pub fn run(cli: &Cli, opts: &CheckoutOpts) -> Result<u8> {
    template_store::require_root("checkout")?;
    let progress = Progress::new(&cli.global, "checkout");
    template_store::check_target(&opts.target)?;
    let (store, stored) = source::find(cli, &opts.template, &opts.trust, &progress)?;
    let component = stored.manifest.component(&opts.component)?;
    let entries = template_store::checkout(&store, component, opts.raw, &opts.target, &progress)?;
    progress.finish();
    let fields = json!({
        "name": stored.manifest.name,
        "templateVersion": stored.manifest.template_version,
        "digest": stored.record.digest,
        "component": component.name,
        "raw": opts.raw,
        "output": opts.target.to_string_lossy(),
        "entries": entries,
    });
    output::result(cli, fields, |out| {
        let what = stored.reference();
        let _ = writeln!(out, "{} of {what}: {entries} entries at {}", component.name, opts.target.display());
    })?;
    Ok(0)
}
