// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # completion: the command line as shells want it

use std::io::{self, Write as _};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use clap_complete::Shell;

use crate::codes;

/// Print what makes a shell complete verbs and options
///
/// Reads and writes nothing else, and needs no privilege. Packages bring it along; else put it where the shell looks for completions.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  isar-template completion bash > ~/.local/share/bash-completion/completions/isar-template
  isar-template completion zsh > ~/.zfunc/_isar-template
  isar-template completion fish > ~/.config/fish/completions/isar-template.fish")]
pub struct CompletionOpts {
    /// The shell
    #[arg(value_enum)]
    shell: ShellArg,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ShellArg {
    Bash,
    Zsh,
    Fish,
}

/// Runs the verb.
pub fn run(opts: &CompletionOpts) -> Result<u8> {
    let shell = match opts.shell {
        ShellArg::Bash => Shell::Bash,
        ShellArg::Zsh => Shell::Zsh,
        ShellArg::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut codes::command(), "isar-template", &mut script);
    match io::stdout().write_all(&script) {
        // whoever reads it has enough
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(0),
        other => other.context("writing the script").map(|()| 0),
    }
}
