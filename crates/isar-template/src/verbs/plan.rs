// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # plan: what an install would do

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde_json::json;
use template_bundle::aside;
use template_chroot::apt::{Transaction, render_table};

use super::reuse::{self, Plans};
use super::transaction::{Change, show_events};
use crate::cli::Cli;
use crate::output;
use crate::progress::Progress;

/// Show what installing and removing packages would do
///
/// Resolves with the template's own apt, in a throw-away instance; changes nothing, neither the template nor the tree
/// given with --root. Needs root, or sub-ids. What policy refuses is listed with the way out, and gives exit code 4.
///
/// With --save the plan goes to a file, together with the request; install --plan does exactly that, or fails.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  sudo isar-template plan platform --add htop --add ./hello_1.0_amd64.deb --remove nano \\
      --save plan.json")]
pub struct PlanOpts {
    /// Plan for this tree instead of the template as it is
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Write the plan to this file (JSON)
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    #[command(flatten)]
    change: Change,
}

/// Runs the verb.
pub fn run(cli: &Cli, opts: &PlanOpts) -> Result<u8> {
    let progress = Progress::new(&cli.global, "plan");
    let instance = opts.change.open(cli, opts.root.as_deref(), false, None, &progress)?;
    let mut show = show_events(cli, &progress);
    let mut transaction = Transaction::open(instance.root.clone(), instance.request.clone(), &mut show)?;
    let plan = reuse::plan(&instance, &mut transaction, None, Plans::Taken)?;
    reuse::keep_caches(&instance, &transaction);
    drop(transaction);
    let plan = instance.describe(plan)?;
    progress.finish();
    if let Some(path) = &opts.save {
        aside::write(path, &serde_json::to_vec_pretty(&plan)?)?;
    }
    let fields = json!({
        "name": instance.stored.manifest.name,
        "templateVersion": instance.stored.manifest.template_version,
        "digest": instance.stored.record.digest,
        "nothingToDo": plan.nothing_to_do,
        "refused": !plan.refusals.is_empty(),
        "plan": plan,
    });
    let table = |out: &mut String| out.push_str(&render_table(&plan));
    match plan.ensure_allowed() {
        Ok(()) => output::result(cli, fields, table).map(|()| 0),
        // what is refused is the answer to the question: it comes with the whole plan
        Err(refusal) => output::refused(cli, &refusal.into(), fields, table),
    }
}
