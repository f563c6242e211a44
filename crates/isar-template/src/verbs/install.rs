// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # install: packages on a template

use std::fmt::Write as _;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{ArgGroup, Args};
use serde_json::json;
use template_bundle::aside::NewFile;
use template_bundle::bundle::path_of;
use template_bundle::frames::Compression;
use template_bundle::inroot::InRoot;
use template_bundle::pack::Packed;
use template_bundle::pack::Progress as _;
use template_bundle::scan::scan;
use template_bundle::toc::Entry;
use template_bundle::tree::{self, OnDisk};
use template_bundle::{Error, finish};
use template_chroot::apt::{Plan, Transaction};
use template_chroot::overlay::Merged;
use template_chroot::{ChrootError, Leftover};
use template_registry::Place;

use super::derive::Derived;
use super::reuse::{self, Plans};
use super::transaction::{Change, Instance, announce, show_events};
use crate::cli::Cli;
use crate::progress::Progress;
use crate::{output, provenance};

/// Install and remove packages on a template, in one transaction
///
/// Plans, shows the plan, and does exactly that, or nothing. Package scripts run in namespaces of their own, without
/// network. The result is a finished system at --output, which must not exist and is not there before it is
/// complete; the template itself never changes. The result names the template in its os-release. Needs root, or sub-ids:
/// a tar is then the same, while in a directory owners are sub-ids and device nodes are empty files with an attribute.
///
/// With --plan, what a plan that was saved says is done, if it still is what would happen: the same template, the same
/// package files and repositories, the same candidates. Else it is refused, and what differs is told.
///
/// The result is kept in the store. The same plan on the same template starts from it the next time, unless --no-reuse is
/// given; gc removes results that nobody uses.
///
/// With --output oci:, the result is a template of its own, in a bundle that names the one it was made from and holds what
/// changed: one OCI layer, and the layer that finishes the system. Whoever imports it needs the parent in the store; a
/// registry gives both, where push finds the parent's layers.
///
/// With --root, the transaction happens in a raw checkout that the caller owns (as bitbake does), and is not
/// finished; when it fails, that tree is to be thrown away.
#[derive(Debug, Args)]
#[command(disable_version_flag = true, group = ArgGroup::new("where").required(true), after_help = "\
Examples:
  sudo isar-template install platform --add htop --remove nano --output product
  sudo isar-template install platform:1.0 --add ./hello_1.0_amd64.deb --output product.tar.zst
  sudo isar-template install platform:1.0 --plan plan.json --output product
  sudo isar-template install platform:1.0 --add htop --name product --version 1.0 \\
      --sign ~/.ssh/release --output oci:product-1.0")]
pub struct InstallOpts {
    /// Where the product goes: a directory, or a tar when the name ends in .tar, .tar.zst or .tar.gz; with oci: a bundle
    #[arg(long, value_name = "[oci:]DIR|FILE.tar[.zst|.gz]", group = "where")]
    output: Option<PathBuf>,
    /// A raw checkout of the template to work in
    #[arg(long, value_name = "DIR", group = "where")]
    root: Option<PathBuf>,
    /// Do what this saved plan says, exactly that or nothing; it carries the request
    #[arg(long, value_name = "FILE", conflicts_with_all = ["add", "remove", "mark_auto", "auto_remove", "allow_upgrade",
        "allow_suite", "allow_orphaned_modules", "repo", "sources", "preferences", "keyring", "binds", "update"])]
    plan: Option<PathBuf>,
    /// Do it anew, also when the store has the result of the same plan on the same template
    #[arg(long)]
    no_reuse: bool,
    #[command(flatten)]
    change: Change,
    #[command(flatten)]
    derived: Derived,
}

/// What the output is to be.
enum Form {
    /// A template of its own.
    Bundle,
    Product(Product),
}

enum Product {
    Directory,
    Tar(Compression),
}

fn form_of(output: &Path) -> Result<Form> {
    let name = output.to_string_lossy();
    if Place::is_one(&name) {
        return Err(Error::usage(format!("'{name}' is remote, and products are made on disk"))
            .hint("write --output oci:DIR, and push that")
            .into());
    }
    if name.starts_with("oci:") {
        return Ok(Form::Bundle);
    }
    let unknown =
        [".tgz", ".txz", ".tbz2", ".tzst", ".tar.xz", ".tar.bz2", ".tar.lz4", ".zip", ".img", ".wic"];
    if let Some(ending) = unknown.iter().find(|ending| name.ends_with(**ending)) {
        return Err(Error::usage(format!("'{name}': products are not written as '{ending}'"))
            .hint("a name that ends in .tar, .tar.zst or .tar.gz gives a tar, any other a directory")
            .into());
    }
    Ok(Form::Product(match () {
        () if name.ends_with(".tar") => Product::Tar(Compression::None),
        () if name.ends_with(".tar.zst") => Product::Tar(Compression::Zstd),
        () if name.ends_with(".tar.gz") => Product::Tar(Compression::Gzip),
        () => Product::Directory,
    }))
}

/// Runs the verb.
pub fn run(cli: &Cli, opts: &InstallOpts) -> Result<u8> {
    template_store::require_root("install")?;
    let progress = Progress::new(&cli.global, "install");
    let form = opts.output.as_deref().map(form_of).transpose()?;
    let is_bundle = matches!(form, Some(Form::Bundle));
    opts.derived.check(is_bundle)?;
    let output = opts.output.as_ref().map(|output| path_of(&output.to_string_lossy()));
    if let Some(output) = &output {
        check_output(output)?;
    }
    let saved = opts.plan.as_deref().map(Plan::read).transpose()?;
    let from = saved.as_ref().map(|(_, template, request)| (template, request));
    let mut instance = opts.change.open(cli, opts.root.as_deref(), true, from, &progress)?;
    if is_bundle {
        opts.derived.check_parent(&instance.stored)?;
    }
    let mut show = show_events(cli, &progress);
    let (root, request) = (instance.root.clone(), instance.request.clone());
    let mut transaction = match &opts.plan {
        Some(plan) => Transaction::open_saved(plan, root, request, &mut show)?,
        None => Transaction::open(root, request, &mut show)?,
    };
    let planned = saved.as_ref().map(|(plan, ..)| plan);
    let plans = if opts.no_reuse { Plans::Unused } else { Plans::Kept };
    let mut plan = reuse::plan(&instance, &mut transaction, planned, plans)?;
    announce(cli, &progress, &plan);
    reuse::keep_caches(&instance, &transaction);
    let key = |instance: &Instance, plan: &Plan| match opts.no_reuse {
        true => None,
        false => reuse::key(instance, plan),
    };
    let kept = match key(&instance, &plan) {
        Some(key) => reuse::find(&mut instance, &mut transaction, &plan, &key)?,
        None => None,
    };
    let applied = match kept {
        Some(report) => Ok(report),
        None => transaction.apply(&plan),
    };
    let report = match applied {
        // nothing was installed yet
        Err(outdated @ ChrootError::ListsOutdated { .. }) => {
            log::warn!("{outdated}");
            if !transaction.refresh_outdated()? {
                return Err(outdated.into());
            }
            plan = reuse::resolve(&mut transaction, planned)?;
            announce(cli, &progress, &plan);
            transaction.apply(&plan)?
        }
        other => other?,
    };
    drop(transaction);
    // a request that cannot be noted is no reason to fail after everything was done
    let plan = instance.describe(plan.clone()).unwrap_or(plan);
    if let (Some(key), false) = (key(&instance, &plan), report.reused) {
        reuse::keep(&mut instance, &report, &key)?;
    }
    let packed = match (&output, &form) {
        (Some(output), Some(Form::Bundle)) => Some(opts.derived.write(&instance, &plan, output, &progress)?),
        (Some(output), Some(Form::Product(form))) => {
            write_product(&instance, output, form, &progress)
                .with_context(|| format!("writing '{}'", output.display()))?;
            None
        }
        _ => None,
    };
    progress.finish();
    print(cli, opts, &instance, &plan, &report, packed.as_ref())?;
    Ok(0)
}

fn check_output(output: &Path) -> Result<()> {
    if std::fs::symlink_metadata(output).is_ok() {
        return Err(Error::usage(format!("'{}' exists already", output.display()))
            .hint("remove it, or choose another name")
            .into());
    }
    match output.parent() {
        Some(parent) if !parent.as_os_str().is_empty() && !parent.is_dir() => {
            Err(Error::usage(format!("directory '{}' does not exist", parent.display()))
                .hint("make it first, or write to another place")
                .into())
        }
        _ => Ok(()),
    }
}

/// Finishes the system and copies it out of the overlay.
fn write_product(instance: &Instance, output: &Path, form: &Product, progress: &Progress) -> Result<()> {
    let merged = Merged::of(&instance.root)?;
    let root = InRoot::open(merged.path())?;
    finish::apply(&root, &finish::steps(&root)?)?;
    provenance::mark(&root, &instance.stored)?;
    let (entries, notes) = scan(merged.path())?;
    for socket in notes.sockets {
        log::warn!("socket '{}' is left out", socket.display());
    }
    match form {
        Product::Directory => {
            let entries: Vec<(Entry, PathBuf)> =
                entries.into_iter().map(|e| (e, merged.path().to_path_buf())).collect();
            template_store::materialize("product", &entries, output, progress)?;
        }
        Product::Tar(compression) => {
            let new = NewFile::new(output)?;
            progress.begin("product", entries.iter().map(Entry::size).sum());
            let out = BufWriter::with_capacity(1 << 20, new.file());
            tree::write(entries, &[], &OnDisk(merged.path()), *compression, out, &|n| progress.advance(n))?;
            new.keep()?;
        }
    }
    Ok(())
}

fn print(
    cli: &Cli,
    opts: &InstallOpts,
    instance: &Instance,
    plan: &Plan,
    report: &template_chroot::apt::Report,
    packed: Option<&Packed>,
) -> Result<()> {
    let place = opts.output.as_ref().or(opts.root.as_ref());
    let mut fields = json!({
        "name": instance.stored.manifest.name,
        "templateVersion": instance.stored.manifest.template_version,
        "digest": instance.stored.record.digest,
        "nothingToDo": report.nothing_to_do,
        "output": place.map(|p| p.to_string_lossy()),
        "plan": plan,
        "report": report,
    });
    if let Some(packed) = packed {
        fields["derived"] = json!({
            "name": packed.manifest.name,
            "templateVersion": packed.manifest.template_version,
            "digest": packed.digest,
            "signed": packed.signed,
        });
    }
    output::result(cli, fields, |out| {
        let what = instance.stored.reference();
        let place = place.map(|p| p.display().to_string()).unwrap_or_default();
        if report.nothing_to_do {
            let _ = writeln!(
                out,
                "nothing to do: {what} is as asked for; {} at {place}",
                output::count(report.packages, "package")
            );
        } else {
            let reused = if report.reused { ", from a result of the store" } else { "" };
            let _ = writeln!(
                out,
                "{} on {what}{reused}; {} at {place}",
                output::count(report.actions.len(), "change"),
                output::count(report.packages, "package")
            );
        }
        if let Some(packed) = packed {
            let manifest = &packed.manifest;
            let _ = writeln!(out, "{}:{} {}", manifest.name, manifest.template_version, packed.digest);
            if !packed.signed {
                let _ = writeln!(out, "not signed yet: isar-template sign --key KEY {place}");
            }
        }
        list_leftovers(out, &report.leftovers);
    })
}

/// What removed packages have left, for people.
fn list_leftovers(out: &mut String, leftovers: &[Leftover]) {
    const SHOWN: usize = 40;
    if leftovers.is_empty() {
        return;
    }
    let _ = writeln!(out, "left by removed packages:");
    for Leftover { package, kind, path, detail } in leftovers.iter().take(SHOWN) {
        let detail = if detail.is_empty() { String::new() } else { format!(" ({detail})") };
        let _ = writeln!(out, "  {package}: {} {path}{detail}", kind.word());
    }
    if let more @ 1.. = leftovers.len().saturating_sub(SHOWN) {
        let _ = writeln!(out, "  and {more} more, which --format json tells");
    }
}
