// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! Runs a command in a tree: `sandbox [--network] TREE COMMAND...`

use std::process::ExitCode;

use template_chroot::{Root, Sandbox, watch};

fn main() -> ExitCode {
    template_chroot::sandbox_entry();
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let network = args.first().is_some_and(|first| first == "--network");
    args.drain(..usize::from(network));
    let Some((tree, command)) = args.split_first().filter(|(_, command)| !command.is_empty()) else {
        eprintln!("usage: sandbox [--network] TREE COMMAND...");
        return ExitCode::from(2);
    };
    let result = watch::handle_signals().and_then(|()| {
        Sandbox::new(Root::Tree(tree.into())).network(network).inherit_stdin(true).run(command)
    });
    match result {
        Ok(exit) => ExitCode::from(exit.code as u8),
        Err(e) => {
            eprintln!("error: {e}");
            if let Some(hint) = e.hint() {
                eprintln!("hint: {hint}");
            }
            ExitCode::from(e.exit_code())
        }
    }
}
