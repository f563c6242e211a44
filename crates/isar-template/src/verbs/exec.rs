// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # exec: a command in a throw-away instance

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use template_bundle::Error;
use template_bundle::manifest::ROOTFS;
use template_chroot::{Bind, Root, Sandbox};

use crate::cli::{Cli, Trust};
use crate::progress::Progress;
use crate::source;

/// Run a command in a throw-away instance of a component
///
/// The instance lies over the pristine tree, copy on write, in namespaces of its own; what it writes vanishes with it,
/// except in directories that --bind gives it to write to. Needs root, or sub-ids. The exit code is that of the command, or
/// 128 and the number of the signal that ended it.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  sudo isar-template exec --component buildchroot-target --bind \"$PWD:/src:rw\" platform -- \\
      sh -c 'cd /src/hello && dpkg-buildpackage -b -us -uc'")]
pub struct ExecOpts {
    /// Component
    #[arg(long, default_value = ROOTFS)]
    component: String,
    /// Without the finish layer
    #[arg(long)]
    raw: bool,
    /// Show a file or directory of the host inside, read-only unless :rw is added
    #[arg(long = "bind", value_name = "SRC:DST[:rw]")]
    binds: Vec<Bind>,
    /// With the network of the host
    #[arg(long)]
    network: bool,
    /// Working directory inside
    #[arg(long, value_name = "DIR", default_value = "/")]
    cwd: PathBuf,
    /// End with this process
    #[arg(long, value_name = "PID")]
    die_with: Option<i32>,
    /// NAME[:VERSION] or sha256:… of the store; or a bundle: a path with a slash in it or ending in .tar, oci:PATH, oci://… or
    /// https://…
    template: String,
    /// The command and its arguments
    #[arg(last = true, required = true)]
    command: Vec<String>,
    #[command(flatten)]
    trust: Trust,
}

/// Runs the verb.
pub fn run(cli: &Cli, opts: &ExecOpts) -> Result<u8> {
    template_store::require_root("exec")?;
    if let Some(pid) = opts.die_with {
        template_chroot::watch::die_with(pid)?;
    }
    let progress = Progress::new(&cli.global, "exec");
    let (store, stored) = source::find(cli, &opts.template, &opts.trust, &progress)?;
    progress.finish();
    let component = stored.manifest.component(&opts.component)?;
    let scratch = store.scratch()?;
    let sandbox = Sandbox::new(overlay(&scratch, store.lowers(component, opts.raw)?)?)
        .binds(resolve_binds(&opts.binds)?)
        .network(opts.network)
        .cwd(&opts.cwd)
        .inherit_stdin(true);
    let exit = sandbox.run(&opts.command)?;
    Ok(u8::try_from(exit.code).unwrap_or(1))
}

/// Makes the sources of binds absolute, and refuses those that are not there.
pub fn resolve_binds(binds: &[Bind]) -> Result<Vec<Bind>> {
    let resolve = |bind: &Bind| match std::fs::canonicalize(&bind.source) {
        Ok(source) => Ok(Bind { source, ..bind.clone() }),
        Err(e) => Err(Error::usage(format!("--bind: '{}': {e}", bind.source.display()))
            .hint("the directory or file has to exist on this machine, and be readable")
            .into()),
    };
    binds.iter().map(resolve).collect()
}

/// A root over pristine trees that vanishes with the scratch directory.
pub fn overlay(scratch: &template_store::Scratch, lowers: Vec<PathBuf>) -> Result<Root> {
    overlay_in(scratch.path(), lowers)
}

/// The same, below a directory.
pub fn overlay_in(dir: &Path, lowers: Vec<PathBuf>) -> Result<Root> {
    let (upper, work) = (dir.join("upper"), dir.join("work"));
    for dir in [&upper, &work] {
        std::fs::create_dir(dir).map_err(|e| Error::io("creating", dir, e))?;
    }
    // the root of an overlay has the metadata of its upper directory
    if let Some(top) = lowers.first() {
        template_store::copy_metadata(top, &upper)?;
    }
    Ok(Root::Overlay { lowers, upper, work })
}
