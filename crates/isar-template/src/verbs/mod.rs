// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # The verbs
//!
//! One file each: its options, and a function that returns the exit code.

pub mod checkout;
pub mod completion;
mod derive;
pub mod diff;
pub mod exec;
pub mod fsck;
pub mod gc;
pub mod import;
pub mod inspect;
pub mod install;
pub mod list;
pub mod man;
pub mod pack;
pub mod plan;
pub mod pull;
pub mod push;
pub mod qa;
mod repositories;
mod reuse;
pub mod sign;
mod transaction;
pub mod verify;

use anyhow::Result;

use crate::cli::{Cli, Verb};

/// Runs the verb.
pub fn run(cli: &Cli) -> Result<u8> {
    match &cli.verb {
        Verb::Pack(opts) => pack::run(cli, opts),
        Verb::Sign(opts) => sign::run(cli, opts),
        Verb::Verify(opts) => verify::run(cli, opts),
        Verb::Inspect(opts) => inspect::run(cli, opts),
        Verb::Import(opts) => import::run(cli, opts),
        Verb::List(opts) => list::run(cli, opts),
        Verb::Gc(opts) => gc::run(cli, opts),
        Verb::Fsck(opts) => fsck::run(cli, opts),
        Verb::Push(opts) => push::run(cli, opts),
        Verb::Pull(opts) => pull::run(cli, opts),
        Verb::Checkout(opts) => checkout::run(cli, opts),
        Verb::Plan(opts) => plan::run(cli, opts),
        Verb::Install(opts) => install::run(cli, opts),
        Verb::Exec(opts) => exec::run(cli, opts),
        Verb::Diff(opts) => diff::run(cli, opts),
        Verb::Qa(opts) => qa::run(cli, opts),
        Verb::Completion(opts) => completion::run(opts),
        Verb::Man(opts) => man::run(opts),
    }
}
