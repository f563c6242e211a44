// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # What plan and install have in common
//!
//! The options that say what is to change, and the instance of the template on which it is resolved.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use clap::Args;
use serde_json::Value;
use template_bundle::Error;
use template_bundle::manifest::{ROOTFS, TemplateManifest};
use template_chroot::Root;
use template_chroot::apt::{
    Add, Event, Plan, PlannedFor, SavedRequest, SelfBuilt, TransactionRequest, render_table,
};
use template_store::{Kept, Scratch, Store, Stored};

use super::exec::overlay;
use super::repositories::Repositories;
use super::reuse;
use crate::cli::{Cli, Trust};
use crate::output;
use crate::progress::Progress;
use crate::source;

/// What is to change.
#[derive(Debug, Args)]
#[command(next_help_heading = "Packages")]
struct Packages {
    /// Install a package: of a repository, in this version, or a .deb file; may be given several times
    #[arg(long, value_name = "PKG[=VER]|FILE.deb")]
    add: Vec<Add>,
    /// Remove a package with its configuration; may be given several times
    #[arg(long, value_name = "PKG")]
    remove: Vec<String>,
    /// Mark a package as one that is kept only while something needs it
    #[arg(long, value_name = "PKG")]
    mark_auto: Vec<String>,
    /// Remove what nothing needs any more
    #[arg(long)]
    auto_remove: bool,
    /// Allow the version of this package of the template to change
    #[arg(long, value_name = "PKG")]
    allow_upgrade: Vec<String>,
    /// Allow packages from this other release of the distribution
    #[arg(long, value_name = "CODENAME")]
    allow_suite: Vec<String>,
    /// Allow this package of a kernel to go although modules that were built for it stay
    #[arg(long, value_name = "PKG")]
    allow_orphaned_modules: Vec<String>,
}

/// What is to change, on which template, and where packages come from.
#[derive(Debug, Args)]
pub struct Change {
    /// End with this process
    #[arg(long, value_name = "PID")]
    die_with: Option<i32>,
    /// NAME[:VERSION] or sha256:… of the store; or a bundle: a path with a slash in it or ending in .tar, oci:PATH, oci://… or
    /// https://…
    template: String,
    #[command(flatten)]
    packages: Packages,
    #[command(flatten)]
    repositories: Repositories,
    #[command(flatten)]
    trust: Trust,
}

/// A template, and a root that the change is resolved or done on.
pub struct Instance {
    /// The template.
    pub stored: Stored,
    /// The root.
    pub root: Root,
    /// The request.
    pub request: TransactionRequest,
    /// What the root lies over, when that is a result of the store.
    pub _result: Option<Kept>,
    /// What apt has made of the template's package lists, where somebody kept it.
    pub caches: Option<Kept>,
    /// The store that the template is in.
    pub store: Store,
    /// Holds what the root writes, unless it is a tree of the caller.
    pub scratch: Scratch,
}

impl Instance {
    /// Has a plan say what it is for and the answer to.
    pub fn describe(&self, mut plan: Plan) -> Result<Plan> {
        plan.template = Some(planned_for(&self.stored));
        plan.request = Some(SavedRequest::of(&self.request)?);
        Ok(plan)
    }
}

fn planned_for(stored: &Stored) -> PlannedFor {
    PlannedFor {
        name: stored.manifest.name.clone(),
        template_version: stored.manifest.template_version.clone(),
        digest: stored.record.digest.to_string(),
    }
}

impl Change {
    /// Opens an instance over the template, or on a tree of the caller, which is only changed when `touch` is given.
    ///
    /// The system is not finished: it is resolved and installed with the settings that the template was made with, and
    /// finished after that.
    ///
    /// With a saved plan, its request counts instead of the options.
    pub fn open(
        &self,
        cli: &Cli,
        tree: Option<&Path>,
        touch: bool,
        saved: Option<(&PlannedFor, &SavedRequest)>,
        progress: &Progress,
    ) -> Result<Instance> {
        template_store::require_root("working on a root filesystem")?;
        if let Some(pid) = self.die_with {
            template_chroot::watch::die_with(pid)?;
        }
        let (store, stored) = source::find(cli, &self.template, &self.trust, progress)?;
        let planned_for = planned_for(&stored);
        if let Some((template, _)) = saved {
            Plan::ensure_for(template, &planned_for)?;
        }
        let scratch = store.scratch()?;
        let layers = store.lowers(stored.manifest.component(ROOTFS)?, true)?;
        let mut template = Vec::new();
        let root = match tree {
            Some(tree) => {
                check_tree(tree)?;
                let tree = tree.canonicalize().map_err(|e| Error::io("reading", tree, e))?;
                template = layers;
                if touch { Root::Tree(tree) } else { overlay(&scratch, vec![tree])? }
            }
            None => overlay(&scratch, layers)?,
        };
        let apt = scratch.path().join("apt");
        std::fs::create_dir(&apt).map_err(|e| Error::io("creating", &apt, e))?;
        let packages = &self.packages;
        let mut request = TransactionRequest {
            add: packages.add.clone(),
            remove: packages.remove.clone(),
            mark_auto: packages.mark_auto.clone(),
            auto_remove: packages.auto_remove,
            allow_upgrade: packages.allow_upgrade.clone(),
            allow_suite: packages.allow_suite.clone(),
            allow_orphaned_modules: packages.allow_orphaned_modules.clone(),
            self_built: self_built(&stored.manifest),
            recipes: recipes(&stored.manifest),
            keep_debs: tree.is_some() && touch,
            // the result is synced as a whole, or belongs to a build that starts over when the machine fails
            unsafe_io: true,
            template,
            scratch_dir: Some(apt),
            ..TransactionRequest::default()
        };
        let caches = match tree {
            None => reuse::find_caches(&store, &stored)?,
            Some(_) => None,
        };
        request.caches = caches.as_ref().map(Kept::upper);
        self.repositories.put_into(&mut request)?;
        match saved {
            Some((_, saved)) => saved.put_into(&mut request)?,
            None => request.check()?,
        }
        Ok(Instance { stored, root, request, _result: None, caches, store, scratch })
    }
}

/// The packages of a template that its platform has built.
fn self_built(manifest: &TemplateManifest) -> Vec<SelfBuilt> {
    let offered = manifest.anchors.as_ref().and_then(|anchors| anchors.get("selfBuilt")?.as_array());
    let text = |record: &Value, key: &str| record.get(key).and_then(Value::as_str).map(str::to_owned);
    let offered = offered.into_iter().flatten().filter_map(|record| {
        Some(SelfBuilt {
            package: text(record, "package")?,
            version: text(record, "version")?,
            sha256: text(record, "sha256")?,
        })
    });
    let installed = manifest.packages.iter().filter_map(|p| {
        let sha256 = p.sha256.clone()?;
        Some(SelfBuilt { package: p.package.clone(), version: p.version.clone(), sha256 })
    });
    offered.chain(installed).collect()
}

/// The recipes of packages, where the template knows them.
fn recipes(manifest: &TemplateManifest) -> BTreeMap<String, String> {
    manifest.packages.iter().filter_map(|p| Some((p.package.clone(), p.recipe.clone()?))).collect()
}

/// Shows what apt and dpkg do.
pub fn show_events<'a>(cli: &Cli, progress: &'a Progress) -> impl FnMut(Event<'_>) + use<'a> {
    let verbose = cli.global.verbose > 0;
    move |event| match event {
        Event::Step(what) => progress.step(what),
        Event::Percent { percent, what } => progress.percent(percent, what),
        Event::Output(line) if verbose => progress.line(line),
        Event::Output(line) => log::debug!("{}", output::printable(line)),
    }
}

/// Says what a plan would do, on standard error, before anything is done.
pub fn announce(cli: &Cli, progress: &Progress, plan: &Plan) {
    if !cli.global.quiet {
        progress.text(&render_table(plan));
    }
}

fn check_tree(tree: &Path) -> Result<()> {
    let wrong = |why: &str| {
        Error::usage(format!("'{}' {why}", tree.display())).hint("--root takes a checkout of the template")
    };
    if std::fs::canonicalize(tree).is_ok_and(|path| path == Path::new("/")) {
        return Err(Error::usage("--root / is the running system")
            .hint("a template is never installed over the host")
            .into());
    }
    if !tree.is_dir() {
        return Err(wrong("is no directory").into());
    }
    if !tree.join("var/lib/dpkg/status").is_file() {
        return Err(wrong("holds no Debian system: it has no /var/lib/dpkg/status").into());
    }
    Ok(())
}
