// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # qa: what packages break and leave behind

use std::cell::RefCell;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::{Args, ValueEnum};
use serde_json::json;
use template_bundle::manifest::{Package, ROOTFS};
use template_bundle::{Digest, Error};
use template_chroot::apt::TransactionRequest;
use template_chroot::qa::{
    self, AllowList, Outcome, PackageReport, QaReport, QaRequest, Severity, TemplateId,
};
use template_store::{Store, Stored};

use super::repositories::Repositories;
use super::reuse::Shelf;
use super::transaction::show_events;
use crate::cli::{Cli, Trust};
use crate::progress::Progress;
use crate::{junit, output, source};

/// The component with the packages that the build made.
const ISAR_APT: &str = "isar-apt";

/// Check what packages break and leave behind
///
/// Installs each package on the template, reinstalls, upgrades, removes and purges it and installs it again, in throw-away
/// layers; nothing of the template or the host changes. Tells of scripts that fail or want the network, of files,
/// accounts, services, alternatives and diversions that are left, and of what it does to other packages. Needs root, or sub-ids.
/// What packages need is installed once, and kept in the store for the next run; gc removes what nobody uses.
/// Exit code 7 when something is found that --fail-on counts and --allow does not allow.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sudo isar-template qa platform ./hello_1.0_amd64.deb
  sudo isar-template qa platform build/isar-apt --allow qa-allow.txt --junit qa.xml
  sudo isar-template qa platform                # the packages that its build made")]
pub struct QaOpts {
    /// Allow the version of this package of the template to change when a package needs it
    #[arg(long, value_name = "PKG")]
    allow_upgrade: Vec<String>,
    /// Allow packages from this other release of the distribution when a package needs them
    #[arg(long, value_name = "CODENAME")]
    allow_suite: Vec<String>,
    /// What is allowed: a file with lines PACKAGE KIND [PATH] # REASON
    #[arg(long, value_name = "FILE")]
    allow: Option<PathBuf>,
    /// What makes the exit code 7
    #[arg(long, value_enum, default_value_t = FailOn::Error, value_name = "SEVERITY")]
    fail_on: FailOn,
    /// Write the outcome to this file as JUnit XML, too
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Seconds that one call of dpkg with its scripts may take
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=86400))]
    timeout: u64,
    /// Install what packages need anew, also when the store has it
    #[arg(long)]
    no_reuse: bool,
    /// End with this process
    #[arg(long, value_name = "PID")]
    die_with: Option<i32>,
    /// NAME[:VERSION] or sha256:… of the store; or a bundle: a path with a slash in it or ending in .tar, oci:PATH, oci://… or
    /// https://…
    template: String,
    /// Packages, or folders of them [default: those that the template's build made]
    #[arg(value_name = "FILE.deb|DIR")]
    packages: Vec<PathBuf>,
    #[command(flatten)]
    repositories: Repositories,
    #[command(flatten)]
    trust: Trust,
}

/// From which severity on a finding counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FailOn {
    Error,
    Warning,
}

impl From<FailOn> for Severity {
    fn from(on: FailOn) -> Self {
        match on {
            FailOn::Error => Severity::Error,
            FailOn::Warning => Severity::Warning,
        }
    }
}

/// Runs the verb.
pub fn run(cli: &Cli, opts: &QaOpts) -> Result<u8> {
    template_store::require_root("working on a root filesystem")?;
    if let Some(pid) = opts.die_with {
        template_chroot::watch::die_with(pid)?;
    }
    let allow = match &opts.allow {
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|e| {
                Error::usage(format!("--allow: {}: {e}", path.display()))
                    .hint("check the path, and that you may read it")
            })?;
            AllowList::parse(&path.display().to_string(), &text)?
        }
        None => AllowList::default(),
    };
    let progress = Progress::new(&cli.global, "qa");
    let given = expand(&opts.packages)?;
    let (store, stored) = source::find(cli, &opts.template, &opts.trust, &progress)?;
    let (files, skip_foreign) = match opts.packages.is_empty() {
        true => (self_built(&store, &stored)?, true),
        false => (given, opts.packages.iter().any(|p| p.is_dir())),
    };
    let scratch = store.scratch()?;
    let mut needs = TransactionRequest {
        allow_upgrade: opts.allow_upgrade.clone(),
        allow_suite: opts.allow_suite.clone(),
        ..TransactionRequest::default()
    };
    opts.repositories.put_into(&mut needs)?;
    let request = QaRequest {
        template: TemplateId {
            name: stored.manifest.name.clone(),
            version: stored.manifest.template_version.clone(),
            digest: stored.record.digest.to_string(),
        },
        layers: store.lowers(stored.manifest.component(ROOTFS)?, true)?,
        files,
        skip_foreign,
        needs,
        allow,
        limit: opts.timeout,
        scratch: scratch.path().to_owned(),
    };
    let show = RefCell::new(show_events(cli, &progress));
    let shelf = Shelf::new(&store, &stored, opts.no_reuse || !request.needs.binds.is_empty());
    let report = qa::check(&request, &shelf, &|event| (*show.borrow_mut())(event))?;
    progress.finish();
    for entry in &report.unused_allowances {
        log::warn!("nothing needs this entry of the allow-list: {entry}");
    }
    if let Some(path) = &opts.junit {
        std::fs::write(path, junit::render(&report, opts.fail_on.into()))
            .map_err(|e| Error::io("writing", path, e))?;
    }
    output::result(cli, json!({ "qa": report }), |out| show_report(out, &report))?;
    Ok(if report.fails(opts.fail_on.into()) { 7 } else { 0 })
}

/// Folders stand for the packages in them.
fn expand(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            let found = debs_below(path)?;
            if found.is_empty() {
                return Err(Error::usage(format!("'{}' has no packages in it", path.display()))
                    .hint("give .deb files, or a folder such as that of an isar-apt repository")
                    .into());
            }
            files.extend(found);
        } else {
            files.push(path.clone());
        }
    }
    Ok(files)
}

/// All .deb files below a folder, sorted; links are not followed.
fn debs_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut todo = vec![folder.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in std::fs::read_dir(&dir).map_err(|e| Error::io("reading", &dir, e))? {
            let entry = entry.map_err(|e| Error::io("reading", &dir, e))?;
            let kind = entry.file_type().map_err(|e| Error::io("reading", entry.path(), e))?;
            if kind.is_dir() {
                todo.push(entry.path());
            } else if kind.is_file() && entry.path().extension().is_some_and(|e| e == "deb") {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The packages that the build of a template made, from its component isar-apt.
fn self_built(store: &Store, stored: &Stored) -> Result<Vec<PathBuf>> {
    let manifest = &stored.manifest;
    let wanted: Vec<(&Package, &str)> =
        manifest.packages.iter().filter_map(|p| Some((p, p.sha256.as_deref()?))).collect();
    if wanted.is_empty() {
        return Err(Error::usage(format!(
            "template '{}' names no packages that its build made",
            stored.reference()
        ))
        .hint("name the packages to check")
        .into());
    }
    let Ok(component) = manifest.component(ISAR_APT) else {
        return Err(Error::usage(format!("template '{}' has no component '{ISAR_APT}'", stored.reference()))
            .hint("name the packages to check, or the isar-apt folder of the build")
            .into());
    };
    let mut debs = Vec::new();
    for tree in store.lowers(component, true)? {
        debs.extend(debs_below(&tree)?);
    }
    let mut files = Vec::new();
    for (package, sha256) in wanted {
        let start = format!("{}_", package.package);
        let named = debs
            .iter()
            .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&start)));
        let mut found = None;
        for path in named {
            let bytes = std::fs::read(path).map_err(|e| Error::io("reading", path, e))?;
            if Digest::of(&bytes).hex() == sha256.trim_start_matches("sha256:") {
                found = Some(path.clone());
                break;
            }
        }
        match found {
            Some(path) => files.push(path),
            None => log::warn!(
                "'{}' {} was made by the build of the template, and is not in its component '{ISAR_APT}': it is not checked",
                package.package,
                package.version
            ),
        }
    }
    if files.is_empty() {
        return Err(Error::usage(format!(
            "component '{ISAR_APT}' of '{}' has none of the packages that its build made",
            stored.reference()
        ))
        .hint("name the packages to check")
        .into());
    }
    Ok(files)
}

fn show_report(out: &mut String, report: &QaReport) {
    let mut rows =
        vec![vec!["PACKAGE".to_owned(), "VERSION".to_owned(), "STEPS".to_owned(), "TIME".to_owned()]];
    rows.extend(report.packages.iter().map(|p| {
        let seconds: f64 = p.steps.iter().map(|s| s.seconds).sum();
        vec![output::plain(&p.package), output::plain(&p.version), steps_of(p), format!("{seconds:.1} s")]
    }));
    output::table(out, &rows);
    for package in report.packages.iter().filter(|p| !p.findings.is_empty()) {
        let _ = writeln!(out, "\n{} {}", output::plain(&package.package), output::plain(&package.version));
        for finding in &package.findings {
            let path = finding.path.as_ref().map(|p| format!(" {}", output::plain(p))).unwrap_or_default();
            let whose = finding.package.as_str();
            let whose = if whose == package.package {
                String::new()
            } else {
                format!(" ('{}')", output::plain(whose))
            };
            let (severity, allowed) = match &finding.allowed {
                Some(reason) => ("allowed", format!(" [{}]", output::plain(reason))),
                None => (finding.severity.word(), String::new()),
            };
            let _ = writeln!(
                out,
                "  {severity}: {}: {}{path}{whose}: {}{allowed}",
                finding.step.word(),
                finding.kind,
                output::plain(&finding.detail.replace('\n', " "))
            );
        }
    }
    let s = &report.summary;
    let _ = writeln!(
        out,
        "\n{}: {}, {}, {} allowed",
        output::count(s.packages, "package"),
        output::count(s.errors, "error"),
        output::count(s.warnings, "warning"),
        s.allowed
    );
}

/// The steps that were not good, or that all were.
fn steps_of(package: &PackageReport) -> String {
    let list = |outcome: Outcome, word: &str| {
        let steps: Vec<&str> =
            package.steps.iter().filter(|s| s.outcome == outcome).map(|s| s.step.word()).collect();
        (!steps.is_empty()).then(|| format!("{word}: {}", steps.join(", ")))
    };
    let parts: Vec<String> =
        [list(Outcome::Ok, "ok"), list(Outcome::Failed, "failed"), list(Outcome::Skipped, "skipped")]
            .into_iter()
            .flatten()
            .collect();
    parts.join("; ")
}
