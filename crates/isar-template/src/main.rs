// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # isar-template
//!
//! The command line: parse, run one verb, print its result, return its exit code.

mod chain;
mod cli;
mod codes;
mod html;
mod junit;
mod output;
mod progress;
mod provenance;
mod remote;
mod source;
mod verbs;

use std::process::ExitCode;

use clap::FromArgMatches;

fn main() -> ExitCode {
    // takes over when this process is the inside of a sandbox
    template_chroot::sandbox_entry();
    let cli = match codes::command().try_get_matches().and_then(|given| cli::Cli::from_arg_matches(&given)) {
        Ok(cli) => cli,
        Err(error) => return output::usage_error(error),
    };
    output::init_log(&cli.global);
    // first, as only a process with a single thread can
    if cli.handles_owners()
        && let Err(error) = template_chroot::userns::enter(cli.verb.name())
    {
        return output::failure(&cli, &error.into());
    }
    // an interrupt ends sandboxes and long work in order, so that nothing is left behind
    let deferred = template_chroot::watch::defer();
    let result =
        template_chroot::watch::handle_signals().map_err(anyhow::Error::from).and_then(|()| verbs::run(&cli));
    drop(deferred);
    match result {
        Ok(code) => ExitCode::from(code),
        // a child that the same Ctrl-C has ended is not what went wrong
        Err(error) => match template_chroot::watch::check() {
            Ok(()) => output::failure(&cli, &error),
            Err(interrupted) => output::failure(&cli, &interrupted.into()),
        },
    }
}
