// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # pack: components into a bundle

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};
use serde_json::json;
use template_bundle::Error;
use template_bundle::base::Base;
use template_bundle::bundle::Bundle;
use template_bundle::frames::Compression;
use template_bundle::pack::{Input, pack};

use crate::cli::{Cli, Trust};
use crate::progress::Progress;
use crate::{output, source};

/// Pack a root filesystem, build chroots and more into a bundle
///
/// Reads the components and writes an OCI image layout at --output, which must not exist; nothing is there until all
/// is complete. Reading a root filesystem whole needs root, nothing else does. The same input gives the same digest.
///
/// With --parent the template says which one it was made from, and its bundle carries the documents and signatures of
/// that one and of its ancestors. The trust options are for a parent that is a bundle.
#[derive(Debug, Args)]
#[command(
    disable_version_flag = true,
    after_help = "\
Example:
  isar-template pack --name platform --version 1.0 --component rootfs=/srv/rootfs \\
      --component buildchroot-target=/srv/chroot --sign ~/.ssh/release --output platform-1.0.tar"
)]
pub struct PackOpts {
    /// Name of the template
    #[arg(long, value_name = "NAME")]
    name: String,
    /// Version of the template; becomes an OCI tag
    #[arg(long = "version", id = "template_version", value_name = "VERSION")]
    version: String,
    /// A component: a directory, or a single file; rootfs is required
    #[arg(long = "component", value_name = "NAME=PATH", required = true, value_parser = parse_component)]
    components: Vec<(String, PathBuf)>,
    /// Anchors that the layer recorded (JSON)
    #[arg(long, value_name = "FILE")]
    anchors: Option<PathBuf>,
    /// The template that this one was made from: NAME[:VERSION] or sha256:… of the store, or a bundle
    #[arg(long, value_name = "TEMPLATE|BUNDLE")]
    parent: Option<String>,
    /// Sign with this key: a private key, or a public key whose private half ssh-agent or a token holds
    #[arg(long, value_name = "KEY")]
    sign: Option<PathBuf>,
    /// Compression of the OCI layers; gzip for consumers that cannot read zstd
    #[arg(long, value_enum, default_value_t = CompressionArg::Zstd)]
    compression: CompressionArg,
    /// The version before: what is new since gets frames of its own, so that updates from it are small. Nothing of it is trusted
    #[arg(long, value_name = "BUNDLE")]
    base: Option<String>,
    /// Where the bundle goes: a directory, or one tar when the name ends in .tar
    #[arg(long, value_name = "DIR|FILE.tar")]
    output: PathBuf,
    #[command(flatten)]
    trust: Trust,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum CompressionArg {
    Zstd,
    Gzip,
}

fn parse_component(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, path)) if !name.is_empty() && !path.is_empty() => Ok((name.to_string(), path.into())),
        _ => Err("a component is given as NAME=PATH, like rootfs=/srv/rootfs".to_string()),
    }
}

fn read_base(base: &str) -> Result<Base> {
    let read = || -> Result<Base> { Ok(Base::read(&Bundle::open_unverified(&source::bundle_path(base)?)?)?) };
    read().with_context(|| format!("--base '{}'", source::shown(base)))
}

/// Runs the verb.
pub fn run(cli: &Cli, opts: &PackOpts) -> Result<u8> {
    let progress = Progress::new(&cli.global, "pack");
    let parents = match &opts.parent {
        Some(parent) => source::evidence(cli, parent, &opts.trust, &progress)
            .with_context(|| format!("--parent '{}'", source::shown(parent)))?,
        None if opts.trust.trusted.is_given() => {
            return Err(Error::usage("options of trust are for the parent, and there is no --parent")
                .hint("give --parent TEMPLATE|BUNDLE, or leave them out")
                .into());
        }
        None => vec![],
    };
    let base = opts.base.as_ref().map(|base| read_base(base)).transpose()?;
    let input = Input {
        base,
        name: opts.name.clone(),
        version: opts.version.clone(),
        components: opts.components.clone(),
        anchors: opts.anchors.clone(),
        parents,
        key: opts.sign.clone(),
        compression: match opts.compression {
            CompressionArg::Zstd => Compression::Zstd,
            CompressionArg::Gzip => Compression::Gzip,
        },
    };
    let packed = pack(&input, &opts.output, &progress)?;
    progress.finish();
    for warning in &packed.warnings {
        log::warn!("{warning}");
    }
    let components: Vec<_> = packed
        .manifest
        .components
        .iter()
        .map(|c| {
            let compressed: u64 = c.trees().map(|t| t.size + t.toc_size).sum();
            let raw: u64 = c.trees().map(|t| t.raw_size).sum();
            (c.name.clone(), c.tree.entries, raw, compressed)
        })
        .collect();
    let fields = json!({
        "name": opts.name,
        "templateVersion": opts.version,
        "digest": packed.digest,
        "parent": packed.manifest.parent.as_ref().map(|parent| json!({
            "name": parent.name, "templateVersion": parent.version, "digest": parent.digest,
        })),
        "signed": packed.signed,
        "output": opts.output.to_string_lossy(),
        "warnings": packed.warnings,
        "components": components.iter().map(|(name, entries, raw, size)| json!({
            "name": name, "entries": entries, "rawSize": raw, "size": size,
        })).collect::<Vec<_>>(),
    });
    output::result(cli, fields, |out| {
        let _ = writeln!(out, "{}:{} {}", opts.name, opts.version, packed.digest);
        if let Some(parent) = &packed.manifest.parent {
            let _ = writeln!(out, "made from {}:{} {}", parent.name, parent.version, parent.digest);
        }
        let mut rows = vec![["component", "entries", "unpacked", "packed"].map(String::from).to_vec()];
        for (name, entries, raw, size) in &components {
            rows.push(vec![name.clone(), entries.to_string(), output::size(*raw), output::size(*size)]);
        }
        output::table(out, &rows);
        let _ = writeln!(out, "bundle: {}", opts.output.display());
        if !packed.signed {
            let _ = writeln!(out, "not signed yet: isar-template sign --key KEY {}", opts.output.display());
        }
    })?;
    Ok(0)
}
