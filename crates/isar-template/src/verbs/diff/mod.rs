// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # diff: what differs between two systems

mod load;
mod page;
mod report;
mod text;
mod words;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, ValueEnum};
use template_bundle::diff::{Options, Rules, Section, Side, compare};
use template_bundle::manifest::ROOTFS;

use crate::cli::Cli;
use crate::{html, output, source};
use load::About;

/// Show in what two systems differ
///
/// Compares packages, users and groups, enabled units, alternatives, configuration files that were changed, and all files.
/// Each side is a template of the store, a bundle (which is not verified), or a directory or tar with a root filesystem.
/// Templates count as finished systems unless --raw is given. Reads only; exit code 7 when something differs.
///
/// Modification times are not compared unless --times is given, and caches, logs and other files that every build writes
/// anew are not reported: docs/manual.md lists the rules. --all switches them off.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sudo isar-template diff platform:1.0 platform:1.1
  isar-template diff --only packages,units ./platform-1.0.tar ./platform-1.1.tar
  sudo isar-template diff --html release-notes.html platform:1.0 platform:1.1")]
pub struct DiffOpts {
    /// Component of templates to compare
    #[arg(long, default_value = ROOTFS)]
    component: String,
    /// Without the finish layer
    #[arg(long)]
    raw: bool,
    /// Compare these only (repeatable, or with commas)
    #[arg(long, value_enum, value_delimiter = ',', value_name = "WHAT")]
    only: Vec<Only>,
    /// Report what the rules keep out as well; times count only with --times
    #[arg(long, conflicts_with_all = ["no_ignore", "ignore"])]
    all: bool,
    /// Switch these rules off (repeatable, or with commas)
    #[arg(long, value_delimiter = ',', value_name = "RULE")]
    no_ignore: Vec<String>,
    /// Do not report files with such a path, like '/var/lib/app/**' (repeatable)
    #[arg(long, value_name = "PATTERN")]
    ignore: Vec<String>,
    /// Compare modification times as well
    #[arg(long)]
    times: bool,
    /// List the files of packages that differ as well, instead of counting them
    #[arg(long)]
    long: bool,
    /// Write a page for people to this file as well: release notes, without scripts and complete in itself
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Left side
    #[arg(value_name = "A")]
    left: String,
    /// Right side
    #[arg(value_name = "B")]
    right: String,
}

/// What can be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Only {
    /// Installed packages
    Packages,
    /// Users and groups
    Users,
    /// Links that enable, mask or rename units
    Units,
    /// Links of update-alternatives
    Alternatives,
    /// Configuration files that are not as their package has them
    Conffiles,
    /// All files
    Files,
}

impl Only {
    fn section(self) -> Section {
        match self {
            Only::Packages => Section::Packages,
            Only::Users => Section::Users,
            Only::Units => Section::Units,
            Only::Alternatives => Section::Alternatives,
            Only::Conffiles => Section::Conffiles,
            Only::Files => Section::Files,
        }
    }
}

impl DiffOpts {
    fn sections(&self) -> Vec<Section> {
        let wanted: Vec<Section> = self.only.iter().map(|only| only.section()).collect();
        Section::ALL.into_iter().filter(|s| wanted.is_empty() || wanted.contains(s)).collect()
    }
}

impl DiffOpts {
    /// Whether a side may be a template of the store.
    pub fn names_stored(&self) -> bool {
        [&self.left, &self.right].iter().any(|side| !source::is_bundle(side))
    }
}

/// Runs the verb.
pub fn run(cli: &Cli, opts: &DiffOpts) -> Result<u8> {
    let rules = if opts.all { Rules::none() } else { Rules::new(&opts.no_ignore, &opts.ignore)? };
    let options = Options { sections: opts.sections(), rules, times: opts.times };
    if let Some(path) = &opts.html {
        html::check_target(path)?;
    }
    let (left, right) = (load::load(cli, opts, &opts.left)?, load::load(cli, opts, &opts.right)?);
    let sides: [About; 2] = [left.about, right.about];
    let mut old = Side::new(left.entries, left.packages, &*left.reader);
    let mut new = Side::new(right.entries, right.packages, &*right.reader);
    let diff = compare(&mut old, &mut new, &options)?;
    if let Some(path) = &opts.html {
        html::write(path, &page::page(&sides, &diff))?;
    }
    output::result(cli, report::fields(&sides, &options, &diff), |out| {
        text::text(out, &sides, &diff, opts.long);
    })?;
    Ok(if diff.is_empty() { 0 } else { 7 })
}
