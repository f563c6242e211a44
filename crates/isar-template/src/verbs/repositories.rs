// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Where packages come from
//!
//! The options of all verbs that resolve packages.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use template_bundle::Error;
use template_chroot::Bind;
use template_chroot::apt::{TransactionRequest, UpdateMode};

use super::exec::resolve_binds;

/// What there is besides the sources of the template.
#[derive(Debug, Args)]
#[command(next_help_heading = "Package sources")]
pub struct Repositories {
    /// Repository folder on the host (with Packages, or with dists/), trusted for this run only
    #[arg(long, value_name = "DIR")]
    repo: Vec<PathBuf>,
    /// Package sources of the product (.list or .sources), for this run only; they go before the template's
    #[arg(long, value_name = "FILE")]
    sources: Vec<PathBuf>,
    /// Preferences of the product, see apt_preferences(5), for this run only; they go before the template's
    #[arg(long, value_name = "FILE")]
    preferences: Vec<PathBuf>,
    /// OpenPGP keys for those of --sources that name none, or a file of this name; for no others
    #[arg(long, value_name = "FILE", requires = "sources")]
    keyring: Vec<PathBuf>,
    /// Show a directory of the host inside, read-only: where sources of the template expect a repository
    #[arg(long = "bind", value_name = "SRC:DST")]
    binds: Vec<Bind>,
    /// Lists of the template's sources to refresh: local are those of file: sources; auto is local, or all when
    /// there are no others and they are needed
    #[arg(long, value_name = "auto|local|all|none", default_value = "auto")]
    update: UpdateMode,
}

impl Repositories {
    /// Puts them into a request.
    pub fn put_into(&self, request: &mut TransactionRequest) -> Result<()> {
        if let Some(bind) = self.binds.iter().find(|b| b.writable) {
            let target = bind.target.display();
            return Err(Error::usage(format!(
                "--bind for '{target}': package scripts cannot be given a directory to write to"
            ))
            .hint("leave out :rw")
            .into());
        }
        request.repos = self.repo.clone();
        request.sources = self.sources.clone();
        request.preferences = self.preferences.clone();
        request.keyrings = self.keyring.clone();
        request.binds = resolve_binds(&self.binds)?;
        request.update = self.update;
        Ok(())
    }
}
