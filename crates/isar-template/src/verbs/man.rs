// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # man: the manual pages of all verbs

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Command};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};
use template_bundle::error::IoContext;

use crate::codes;

/// Write the manual pages of all verbs
///
/// One file for each, into a directory that you may write to: for those who make packages. `make install` does.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  isar-template man share/man/man1")]
pub struct ManOpts {
    /// A directory, which is made
    dir: PathBuf,
}

/// Runs the verb.
pub fn run(opts: &ManOpts) -> Result<u8> {
    let dir = &opts.dir;
    std::fs::create_dir_all(dir).doing("creating", dir)?;
    // how wide the terminal is does not matter
    let mut program = codes::command().disable_help_subcommand(true).term_width(80);
    program.build();
    for command in std::iter::once(&program).chain(program.get_subcommands()) {
        let mut page = Vec::new();
        write_page(&mut page, command.clone())?;
        let path = dir.join(Man::new(command.clone()).get_filename());
        std::fs::write(&path, page).doing("writing", &path)?;
    }
    Ok(0)
}

fn write_page(page: &mut dyn Write, mut command: Command) -> io::Result<()> {
    let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let has_verbs = command.has_subcommands();
    // the synopsis with what options take, as the help has it
    let usage = command.render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ").to_owned();
    let man = Man::new(command.override_usage(usage));
    man.render_title(page)?;
    // options that are not torn apart to fill lines
    page.write_all(b".ad l\n")?;
    man.render_name_section(page)?;
    man.render_synopsis_section(page)?;
    man.render_description_section(page)?;
    man.render_options_section(page)?;
    if has_verbs {
        man.render_subcommands_section(page)?;
    }
    let mut sections = Roff::default();
    for (heading, lines) in split(&after) {
        sections.control("SH", [heading.to_uppercase().as_str()]);
        // lines as they are: examples are copied, codes stand below each other
        sections.control("nf", []);
        for line in lines {
            sections.text([roman(line)]);
        }
        sections.control("fi", []);
    }
    sections.to_writer(page)?;
    man.render_version_section(page)
}

/// The parts of what stands below the options: a heading that ends in a colon, and indented lines.
fn split(text: &str) -> Vec<(&str, Vec<&str>)> {
    let mut parts: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        match (line.strip_suffix(':').filter(|_| !line.starts_with(' ')), parts.last_mut()) {
            (Some(heading), _) => parts.push((heading, Vec::new())),
            (None, Some((_, lines))) => lines.push(line.strip_prefix("  ").unwrap_or(line)),
            (None, None) => {}
        }
    }
    parts
}
