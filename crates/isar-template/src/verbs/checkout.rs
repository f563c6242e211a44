// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # checkout: a component as a writable tree

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde_json::json;
use template_bundle::manifest::{ROOTFS, TemplateManifest};
use template_bundle::{Digest, Error};
use template_registry::Place;

use crate::cli::{Cli, Trust};
use crate::progress::Progress;
use crate::{output, remote, source};

/// Make a writable tree of a component
///
/// Writes real files at DIR, which must not exist or be empty; the store cannot be reached through them. Needs root, or
/// sub-ids: owners are then those, and device nodes are empty files with an attribute, which is told on standard error.
/// The root filesystem comes as a finished system; --raw gives the state that Isar goes on working with.
///
/// With --share, files are hard links of one copy that the store keeps for all such checkouts, when DIR is on its file
/// system: it takes no space and hardly any time. Files may be replaced in it, and must not be written to. A copy that
/// was is found at the next such checkout, and made again.
///
/// With --no-store the component comes straight from a verified bundle, of which nothing else is read, and no store is
/// needed. From elsewhere, nothing else is fetched. Without root it may then hold plain files and directories only, which belong to the caller.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sudo isar-template checkout --component buildchroot-target platform:1.0 /srv/chroot
  isar-template checkout --no-store --component isar-apt --allowed-signers keys \\
      --identity platform-team@example.org platform-1.0.tar isar-apt")]
pub struct CheckoutOpts {
    /// Component
    #[arg(long, default_value = ROOTFS)]
    component: String,
    /// Without the finish layer
    #[arg(long)]
    raw: bool,
    /// Have the files in common with other checkouts that say so, as hard links: for what is only read, such as the
    /// build chroot below schroot's overlays
    #[arg(long, requires = "raw", conflicts_with = "no_store")]
    share: bool,
    /// Take it straight from the bundle
    #[arg(long)]
    pub no_store: bool,
    /// NAME[:VERSION] or sha256:… of the store; or a bundle: a path with a slash in it or ending in .tar, oci:PATH, oci://… or
    /// https://…
    template: String,
    /// Where the tree goes
    #[arg(value_name = "DIR")]
    target: PathBuf,
    #[command(flatten)]
    trust: Trust,
}

/// Runs the verb.
pub fn run(cli: &Cli, opts: &CheckoutOpts) -> Result<u8> {
    if opts.no_store {
        return from_bundle(cli, opts);
    }
    template_store::require_root("checkout")?;
    let progress = Progress::new(&cli.global, "checkout");
    template_store::check_target(&opts.target)?;
    let (store, stored) = source::find(cli, &opts.template, &opts.trust, &progress)?;
    let component = stored.manifest.component(&opts.component)?;
    let (entries, shared) = if opts.share {
        template_store::checkout_shared(&store, component, &opts.target, &progress)?
    } else {
        (template_store::checkout(&store, component, opts.raw, &opts.target, &progress)?, false)
    };
    progress.finish();
    let record = &stored.record;
    let signer = (&record.signer[..], &record.fingerprint[..]);
    report(cli, opts, &stored.manifest, &record.digest, signer, (entries, shared))
}

fn from_bundle(cli: &Cli, opts: &CheckoutOpts) -> Result<u8> {
    if !source::is_bundle(&opts.template) {
        let error = Error::usage(format!(
            "--no-store takes a bundle, and '{0}' names a template of the store",
            opts.template.escape_debug()
        ));
        return Err(error.hint("give the path of a bundle, with a slash in it or ending in .tar").into());
    }
    let progress = Progress::new(&cli.global, "checkout");
    template_store::check_target(&opts.target)?;
    let (bundle, _fetched) = match Place::is_one(&opts.template) {
        true => {
            let (bundle, fetched) =
                remote::component(&opts.template, &opts.trust, &opts.component, &opts.target, &progress)?;
            (bundle, Some(fetched))
        }
        false => (source::open_bundle(&opts.template, &opts.trust.trusted)?, None),
    };
    let component = bundle.manifest.component(&opts.component)?;
    let entries = template_store::checkout_bundle(&bundle, component, opts.raw, &opts.target, &progress)?;
    progress.finish();
    let accepted = &bundle.accepted()?;
    let signer = (&accepted.identity[..], &accepted.fingerprint[..]);
    report(cli, opts, &bundle.manifest, &bundle.digest, signer, (entries, false))
}

fn report(
    cli: &Cli,
    opts: &CheckoutOpts,
    manifest: &TemplateManifest,
    digest: &Digest,
    (signer, fingerprint): (&str, &str),
    (entries, shared): (u64, bool),
) -> Result<u8> {
    let (name, version) = (&manifest.name, &manifest.template_version);
    let fields = json!({
        "name": name,
        "templateVersion": version,
        "digest": digest,
        "signer": signer,
        "fingerprint": fingerprint,
        "component": opts.component,
        "raw": opts.raw,
        "output": opts.target.to_string_lossy(),
        "entries": entries,
        "shared": shared,
    });
    output::result(cli, fields, |out| {
        let place = opts.target.display();
        let _ = writeln!(out, "{} of {name}:{version}: {entries} entries at {place}", opts.component);
    })?;
    Ok(0)
}
