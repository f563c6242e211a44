// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # fsck: whether the store is as it was verified

use std::fmt::Write as _;

use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};
use template_bundle::Error;
use template_store::{Checked, Finding, Store};

use crate::cli::Cli;
use crate::output;
use crate::progress::Progress;

/// Check whether the store is as it was verified
///
/// Reads all of it: documents, trees, objects and results of install are compared with the digests that they had when they
/// were verified or made. Changes nothing, unless --repair is given: that discards what is damaged, and templates
/// that have something damaged in them; importing their bundles again makes what is missing. Needs root, or sub-ids; others may read
/// and import meanwhile, but gc waits. Exit code 3 when something is damaged still.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sudo isar-template fsck
  sudo isar-template fsck --repair")]
pub struct FsckOpts {
    /// Discard what is damaged
    #[arg(long)]
    repair: bool,
}

/// Runs the verb.
pub fn run(cli: &Cli, opts: &FsckOpts) -> Result<u8> {
    template_store::require_root("fsck")?;
    let store = Store::open(&cli.global.store()?)?;
    let progress = Progress::new(&cli.global, "fsck");
    let checked = template_store::fsck(&store, opts.repair, &progress)?;
    progress.finish();
    let fields = json!({
        "store": store.path().to_string_lossy(),
        "templates": checked.templates,
        "trees": checked.trees,
        "objects": checked.objects,
        "results": checked.results,
        "bytes": checked.bytes,
        "findings": checked.findings.iter().map(finding).collect::<Vec<_>>(),
    });
    let human = |out: &mut String| describe(out, &checked);
    match checked.damaged() {
        0 => output::result(cli, fields, human).map(|()| 0),
        damaged => {
            let error = Error::damaged(format!("the store is damaged in {damaged} place(s)")).hint(
                "isar-template fsck --repair discards what is damaged; then import the bundles again; look after the disk",
            );
            output::refused(cli, &error.into(), fields, human)
        }
    }
}

fn finding(finding: &Finding) -> Value {
    json!({
        "what": finding.what.name(),
        "templates": finding.templates,
        "path": finding.path.to_string_lossy(),
        "detail": finding.detail,
        "discarded": finding.discarded,
    })
}

fn describe(out: &mut String, checked: &Checked) {
    for finding in &checked.findings {
        let of: Vec<&str> = finding.templates.iter().map(String::as_str).collect();
        let of = if of.is_empty() { String::new() } else { format!(" of {}", of.join(", ")) };
        let done = if finding.discarded { "; discarded" } else { "" };
        let (what, path) = (finding.what.name(), finding.path.display());
        let _ = writeln!(out, "{what}{of}: '{path}': {}{done}", finding.detail);
    }
    let _ = writeln!(
        out,
        "checked {} template(s), {} tree(s), {} object(s), {} result(s), {}: {}",
        checked.templates,
        checked.trees,
        checked.objects,
        checked.results,
        output::size(checked.bytes),
        match (checked.findings.len(), checked.damaged()) {
            (0, _) => "all is as it was verified".to_owned(),
            (found, 0) => format!("{found} finding(s), all discarded"),
            (found, _) => format!("{found} finding(s)"),
        }
    );
}
