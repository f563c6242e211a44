//! # install
use crate::cli::Cli;
use clap::Args;
/// Install
#[derive(Debug, Args)]
pub struct InstallOpts {}
/// Runs the verb.
pub fn run(_: &Cli, _: &InstallOpts) -> anyhow::Result<u8> {
    anyhow::bail!("not there yet")
}
