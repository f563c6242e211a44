//! # plan
use crate::cli::Cli;
use clap::Args;
/// Plan
#[derive(Debug, Args)]
pub struct PlanOpts {}
/// Runs the verb.
pub fn run(_: &Cli, _: &PlanOpts) -> anyhow::Result<u8> {
    anyhow::bail!("not there yet")
}
