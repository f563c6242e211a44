// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # inspect: what is in a bundle or a stored template

use std::fmt::Write as _;

use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};
use template_bundle::Digest;
use template_bundle::manifest::TemplateManifest;
use template_bundle::signature::{Accepted, Policy};
use template_registry::Place;

use crate::chain::{self, Link};
use crate::cli::{Cli, Trust};
use crate::progress::Progress;
use crate::{output, remote, source};

/// Show what is in a bundle or a stored template
///
/// Reads only and needs no privilege. A bundle is not verified, which the report says, unless --allowed-signers and
/// --identity are given: then its signature has to be good, and what is shown is what was signed. Contents are not read;
/// verify does that.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  isar-template inspect --allowed-signers keys --identity platform-team@example.org platform-1.0.tar")]
pub struct InspectOpts {
    /// List the installed packages
    #[arg(long)]
    packages: bool,
    /// NAME[:VERSION] or sha256:… of the store, or a bundle, on disk, in a registry or on a web server
    #[arg(value_name = "TEMPLATE|BUNDLE")]
    what: String,
    #[command(flatten)]
    trust: Trust,
}

/// Runs the verb.
pub fn run(cli: &Cli, opts: &InspectOpts) -> Result<u8> {
    if source::is_bundle(&opts.what) {
        let progress = Progress::new(&cli.global, "inspect");
        if let Some(policy) = opts.trust.trusted.policy_if_given()? {
            return verified(cli, opts, &policy, &progress);
        }
        let (bundle, _documents) = source::open_documents(&opts.what, &opts.trust, None, &progress)?;
        let signed = match bundle.signatures.len() {
            0 => "not signed".to_string(),
            n => format!("{}, NOT VERIFIED", output::count(n, "signature")),
        };
        let extra = json!({ "verified": false, "signatures": bundle.signatures.len(), "signer": null });
        let chain: Vec<Link> = bundle.ancestors().map(Link::from).collect();
        return show(cli, opts, &bundle.manifest, &bundle.digest, &signed, &chain, extra);
    }
    let stored = source::find_stored(&source::open_store(cli, &opts.what)?, &opts.what)?;
    opts.trust.trusted.check_stored(&stored)?;
    let record = &stored.record;
    let signed =
        format!("by '{}' with {}, verified at {}", record.signer, record.fingerprint, record.imported);
    let extra = json!({
        "verified": true, "signer": record.signer, "fingerprint": record.fingerprint, "imported": record.imported,
    });
    let chain: Vec<Link> = record.ancestors.iter().map(Link::from).collect();
    show(cli, opts, &stored.manifest, &record.digest, &signed, &chain, extra)
}

/// A bundle whose documents are what the signer meant.
fn verified(cli: &Cli, opts: &InspectOpts, policy: &Policy, progress: &Progress) -> Result<u8> {
    let words = |accepted: &Accepted| {
        let signed = format!("by '{}' with {}, verified now", accepted.identity, accepted.fingerprint);
        let extra = json!({
            "verified": true, "signer": accepted.identity, "fingerprint": accepted.fingerprint,
        });
        (signed, extra)
    };
    if Place::is_one(&opts.what) {
        let place = opts.trust.place(&opts.what)?;
        if let Some(proven) = remote::proven(cli, &place, &opts.trust, policy)? {
            let (signed, extra) = words(&proven.accepted);
            let chain: Vec<Link> = proven.ancestors.iter().map(Link::from).collect();
            let stored = &proven.stored;
            return show(cli, opts, &stored.manifest, &stored.record.digest, &signed, &chain, extra);
        }
    }
    let (bundle, _documents) = source::open_documents(&opts.what, &opts.trust, Some(policy), progress)?;
    let (signed, mut extra) = words(bundle.accepted()?);
    extra["signatures"] = bundle.signatures.len().into();
    let chain: Vec<Link> = bundle.ancestors().map(Link::from).collect();
    show(cli, opts, &bundle.manifest, &bundle.digest, &signed, &chain, extra)
}

fn show(
    cli: &Cli,
    opts: &InspectOpts,
    manifest: &TemplateManifest,
    digest: &Digest,
    signed: &str,
    chain: &[Link],
    extra: Value,
) -> Result<u8> {
    let mut fields = json!({
        "name": manifest.name,
        "templateVersion": manifest.template_version,
        "digest": digest,
        "chain": chain::to_json(chain),
        "manifest": manifest,
    });
    if let (Value::Object(fields), Value::Object(extra)) = (&mut fields, extra) {
        fields.extend(extra);
    }
    output::result(cli, fields, |out| {
        let mut rows = vec![
            vec!["template".into(), format!("{}:{}", manifest.name, manifest.template_version)],
            vec!["digest".into(), digest.to_string()],
            vec!["signed".into(), signed.to_string()],
            vec!["created".into(), format!("{} by {}", manifest.created, manifest.packed_by)],
            vec![
                "system".into(),
                format!("{} {} {}", manifest.distro, manifest.codename, manifest.architecture),
            ],
        ];
        if let Some(machine) = &manifest.machine {
            rows.push(vec!["machine".into(), machine.clone()]);
        }
        let built = manifest.packages.iter().filter(|p| p.sha256.is_some()).count();
        rows.push(vec![
            "packages".into(),
            format!("{}, {built} of them self-built", manifest.packages.len()),
        ]);
        output::table(out, &rows);
        chain::to_text(chain, out);
        let _ = writeln!(out);
        let mut rows = vec![["component", "entries", "unpacked", "packed"].map(String::from).to_vec()];
        for c in &manifest.components {
            let raw = c.trees().map(|t| t.raw_size).sum();
            let size = c.trees().map(|t| t.size + t.toc_size).sum();
            rows.push(vec![
                c.name.clone(),
                c.tree.entries.to_string(),
                output::size(raw),
                output::size(size),
            ]);
        }
        output::table(out, &rows);
        if let Some(layers) =
            manifest.anchors.as_ref().and_then(|a| a.get("layers")).and_then(Value::as_array)
        {
            let _ = writeln!(out);
            let mut rows = vec![["layer", "commit", "tree"].map(String::from).to_vec()];
            for layer in layers {
                let text = |key: &str| layer.get(key).and_then(Value::as_str).unwrap_or("").to_string();
                let dirty = layer.get("dirty").and_then(Value::as_bool).unwrap_or(false);
                rows.push(vec![
                    text("name"),
                    format!("{}{}", text("commit"), if dirty { " (dirty)" } else { "" }),
                    text("tree"),
                ]);
            }
            output::table(out, &rows);
        }
        if opts.packages {
            let _ = writeln!(out);
            let mut rows = vec![["package", "version", "architecture", "recipe"].map(String::from).to_vec()];
            for p in &manifest.packages {
                let recipe = p.recipe.clone().unwrap_or_default();
                rows.push(vec![p.package.clone(), p.version.clone(), p.architecture.clone(), recipe]);
            }
            output::table(out, &rows);
        }
    })?;
    Ok(0)
}
