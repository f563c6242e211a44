// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # gc: remove what nothing needs from the store

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};
use template_store::{GcOptions, Judged, Store, Why};

use crate::cli::Cli;
use crate::output;
use crate::progress::Progress;

/// Remove what nothing needs any more from the store
///
/// Kept are templates that a name and version mean (of each name the newest N with --keep), those that a root keeps (see
/// import --gc-root), and those that are in use at this moment. What they share with others stays as it is. Also removed
/// are results of install that nobody has used for 30 days, or whose template is gone, and what processes have left
/// that were killed. Needs root, or sub-ids; waits until no import runs.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  sudo isar-template gc --keep 3 --dry-run -v")]
pub struct GcOpts {
    /// Keep the newest N versions of each name instead of all
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    keep: Option<u32>,
    /// Change nothing, and tell what would be done
    #[arg(long)]
    dry_run: bool,
}

/// Runs the verb.
pub fn run(cli: &Cli, opts: &GcOpts) -> Result<u8> {
    template_store::require_root("gc")?;
    let store = Store::open(&cli.global.store()?)?;
    let progress = Progress::new(&cli.global, "gc");
    // a number of versions that does not fit is more than there are
    let keep = opts.keep.map(|keep| usize::try_from(keep).unwrap_or(usize::MAX));
    let options = GcOptions { keep, dry_run: opts.dry_run };
    let done = template_store::gc(&store, &options, &progress)?;
    progress.finish();
    let forgotten: Vec<_> = done.forgotten.iter().map(|file| file.to_string_lossy()).collect();
    let fields = json!({
        "store": store.path().to_string_lossy(),
        "dryRun": opts.dry_run,
        "nothingToDo": done.is_nothing(),
        "removed": done.removed.iter().map(removed).collect::<Vec<_>>(),
        "kept": done.kept.iter().map(kept).collect::<Vec<_>>(),
        "forgottenRoots": forgotten,
        "trees": done.trees,
        "results": done.results,
        "objects": done.objects,
        "leftovers": done.leftovers,
        "bytesFreed": done.bytes_freed,
    });
    let (would, is) = if opts.dry_run { ("would remove", "would be freed") } else { ("removed", "freed") };
    output::result(cli, fields, |out| {
        for judged in &done.removed {
            let why = judged.why.iter().map(|why| describe(*why)).collect::<Vec<_>>().join(", ");
            let digest = judged.template.record.digest;
            let _ = writeln!(out, "{would} {} {digest}: {why}", judged.template.reference());
        }
        for file in &forgotten {
            let _ = writeln!(out, "{would} root '{file}': it does not exist any more");
        }
        if cli.global.verbose > 0 {
            for judged in &done.kept {
                let why = judged.why.iter().map(|why| describe(*why)).collect::<Vec<_>>().join(", ");
                let digest = judged.template.record.digest;
                let _ = writeln!(
                    out,
                    "kept {} {digest}: {why}{}",
                    judged.template.reference(),
                    by(&judged.roots)
                );
            }
        }
        if done.is_nothing() {
            out.push_str("nothing to do: everything is needed\n");
            return;
        }
        let _ = writeln!(
            out,
            "{would} {} template(s), {} result(s), {} tree(s), {} object(s), {} leftover(s); {} {is}",
            done.removed.len(),
            done.results,
            done.trees,
            done.objects,
            done.leftovers,
            output::size(done.bytes_freed)
        );
    })?;
    Ok(0)
}

fn template(judged: &Judged) -> Value {
    let manifest = &judged.template.manifest;
    json!({
        "name": manifest.name,
        "templateVersion": manifest.template_version,
        "digest": judged.template.record.digest,
    })
}

fn removed(judged: &Judged) -> Value {
    let mut value = template(judged);
    value["why"] = json!(judged.why.first().map(|why| why.name()));
    value
}

fn kept(judged: &Judged) -> Value {
    let mut value = template(judged);
    value["why"] = json!(judged.why.iter().map(|why| why.name()).collect::<Vec<_>>());
    value["roots"] = json!(judged.roots.iter().map(|file| file.to_string_lossy()).collect::<Vec<_>>());
    value
}

fn describe(why: Why) -> &'static str {
    match why {
        Why::Replaced => "another release has its name and version",
        Why::Old => "there are enough newer versions",
        Why::Unnamed => "no name means it",
        Why::Named => "its name means it",
        Why::Rooted => "a root keeps it",
        Why::InUse => "it is in use",
    }
}

fn by(roots: &[PathBuf]) -> String {
    match roots {
        [] => String::new(),
        roots => {
            let files: Vec<_> = roots.iter().map(|file| format!("'{}'", file.display())).collect();
            format!(" ({})", files.join(", "))
        }
    }
}
