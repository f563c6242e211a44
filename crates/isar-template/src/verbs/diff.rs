// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # diff: what differs between two systems

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;
use clap::Args;
use serde_json::json;
use template_bundle::bundle::Bundle;
use template_bundle::diff::{Diff, What, files, packages};
use template_bundle::manifest::{Package, Part, ROOTFS};
use template_bundle::scan::scan;
use template_bundle::toc::Entry;
use template_bundle::tree::{OnDisk, hash_contents};
use template_bundle::{Kind, debian, finish};
use template_store::Store;

use crate::cli::Cli;
use crate::{output, source};

/// Show in which packages and files two systems differ
///
/// Each side is a template of the store, a bundle (which is not verified), or a directory with a root filesystem.
/// Templates count as finished systems unless --raw is given. Reads only; exit code 7 when something differs.
#[derive(Debug, Args)]
pub struct DiffOpts {
    /// Component of templates to compare
    #[arg(long, default_value = ROOTFS)]
    component: String,
    /// Without the finish layer
    #[arg(long)]
    raw: bool,
    /// Compare modification times as well
    #[arg(long)]
    times: bool,
    /// Only packages
    #[arg(long)]
    packages_only: bool,
    /// Left side
    #[arg(value_name = "A")]
    left: String,
    /// Right side
    #[arg(value_name = "B")]
    right: String,
}

struct Side {
    packages: Vec<Package>,
    entries: Vec<Entry>,
}

fn load(cli: &Cli, opts: &DiffOpts, what: &str) -> Result<Side> {
    let found = match source::is_bundle(what) {
        true => None,
        false => match Store::open(&cli.global.store()).and_then(|store| Ok((store.find(what)?, store))) {
            Ok(found) => Some(found),
            Err(e) if e.kind == Kind::NotFound && Path::new(what).exists() => None,
            Err(e) => return Err(e.into()),
        },
    };
    if let Some((stored, store)) = found {
        let entries = if opts.packages_only {
            vec![]
        } else {
            let component = stored.manifest.component(&opts.component)?;
            store.entries(component, opts.raw)?.into_iter().map(|(e, _)| e).collect()
        };
        return Ok(Side { packages: stored.manifest.packages, entries });
    }
    let path = source::bundle_path(what)?;
    if path.is_dir() && !path.join("oci-layout").exists() {
        return load_tree(opts, &path);
    }
    let bundle = Bundle::open_unverified(&path)?;
    log::warn!("bundle '{}' is compared without verifying it", path.display());
    let component = bundle.manifest.component(&opts.component)?;
    let base = bundle.toc(component, Part::Base, &component.tree)?.entries;
    let entries = match &component.finish {
        Some(tree) if !opts.raw => {
            let over = bundle.toc(component, Part::Finish, tree)?.entries;
            finish::merge(&base, &over)?.into_iter().map(|(e, _)| e).collect()
        }
        _ => base,
    };
    Ok(Side { packages: bundle.manifest.packages.clone(), entries })
}

fn load_tree(opts: &DiffOpts, path: &Path) -> Result<Side> {
    let packages = match debian::read(path) {
        Ok((_, packages)) => packages,
        Err(e) => {
            log::info!("no packages are compared: {e}");
            vec![]
        }
    };
    let mut entries = vec![];
    if !opts.packages_only {
        (entries, _) = scan(path)?;
        hash_contents(&mut entries, &OnDisk(path))?;
    }
    Ok(Side { packages, entries })
}

/// Runs the verb.
pub fn run(cli: &Cli, opts: &DiffOpts) -> Result<u8> {
    let (left, right) = (load(cli, opts, &opts.left)?, load(cli, opts, &opts.right)?);
    let diff = Diff {
        packages: packages(&left.packages, &right.packages),
        files: files(&left.entries, &right.entries, opts.times),
    };
    let fields = json!({ "differs": !diff.is_empty(), "packages": diff.packages, "files": diff.files });
    output::result(cli, fields, |out| {
        for p in &diff.packages {
            let _ = match (&p.old, &p.new) {
                (Some(old), Some(new)) => writeln!(out, "package ~ {} {old} -> {new}", p.package),
                (Some(old), None) => writeln!(out, "package - {} {old}", p.package),
                (None, new) => writeln!(out, "package + {} {}", p.package, new.clone().unwrap_or_default()),
            };
        }
        for f in &diff.files {
            let sign = match f.what[..] {
                [What::Added] => "+",
                [What::Removed] => "-",
                _ => "~",
            };
            let words: Vec<_> = f.what.iter().map(|w| format!("{w:?}").to_lowercase()).collect();
            let words = if sign == "~" { format!(" ({})", words.join(", ")) } else { String::new() };
            let _ = writeln!(out, "file {sign} /{}{words}", f.path.display());
        }
        if diff.is_empty() {
            out.push_str("no differences\n");
        }
    })?;
    Ok(if diff.is_empty() { 0 } else { 7 })
}
