// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Exit codes in the help
//!
//! The help of the program has all of them, that of a verb those that it can end with.

use clap::{Command, CommandFactory};

use crate::cli::Cli;

const MEANINGS: [(u8, &str); 10] = [
    (0, "done, or nothing to do (the report says which)"),
    (1, "internal error, input or output failed"),
    (2, "wrong usage or configuration"),
    (3, "not trusted or damaged: the message says which"),
    (4, "refused: policy, plan not solvable, wrong distribution or architecture"),
    (5, "missing privilege or host tool"),
    (6, "a package operation failed"),
    (7, "diff or qa found something"),
    (8, "network or repository failure: a retry may help"),
    (130, "interrupted"),
];
/// Beside 0, 1 and 2, which any can end with.
const OF_VERBS: [(&str, &[u8]); 18] = [
    ("pack", &[3, 4, 5, 8, 130]),
    ("sign", &[3, 5, 130]),
    ("verify", &[3, 5, 130]),
    ("inspect", &[3, 4, 5, 8, 130]),
    ("import", &[3, 4, 5, 8, 130]),
    ("list", &[3, 5]),
    ("gc", &[3, 5, 130]),
    ("fsck", &[3, 5, 130]),
    ("push", &[3, 4, 5, 8, 130]),
    ("pull", &[3, 4, 5, 8, 130]),
    ("checkout", &[3, 4, 5, 8, 130]),
    ("plan", &[3, 4, 5, 8, 130]),
    ("install", &[3, 4, 5, 6, 8, 130]),
    ("exec", &[3, 4, 5, 8, 130]),
    ("diff", &[3, 5, 7, 130]),
    ("qa", &[3, 4, 5, 6, 7, 8, 130]),
    ("completion", &[]),
    ("man", &[]),
];

fn list(codes: impl Iterator<Item = u8>) -> String {
    let meaning = |code: u8| MEANINGS.iter().find(|(known, _)| *known == code).map_or("", |(_, text)| text);
    let lines: Vec<String> = codes.map(|code| format!("  {code:3}  {}", meaning(code))).collect();
    format!("Exit codes:\n{}", lines.join("\n"))
}

/// The command line with exit codes in its help.
pub fn command() -> Command {
    let all = list(MEANINGS.iter().map(|(code, _)| *code));
    let help = |command: &Command| command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let of_verb = |verb: Command| match OF_VERBS.iter().find(|(name, _)| *name == verb.get_name()) {
        Some((_, more)) => {
            let codes = list([0, 1, 2].into_iter().chain(more.iter().copied()));
            let text = format!("{}\n\n{codes}", help(&verb));
            verb.after_help(text)
        }
        None => verb,
    };
    let program = Cli::command().mut_subcommands(of_verb);
    let text = format!("{all}\n\n{}", help(&program));
    program.after_help(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_says_how_it_can_end() {
        for verb in command().get_subcommands() {
            let help = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Exit codes:\n    0  done"), "{}", verb.get_name());
        }
    }
}
