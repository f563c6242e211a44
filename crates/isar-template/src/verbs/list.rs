// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # list: what is in the store

use std::fmt::Write as _;

use anyhow::Result;
use clap::Args;
use serde_json::json;
use template_bundle::Kind;
use template_store::{Sizes, Store};

use crate::cli::Cli;
use crate::output;

/// List the templates of the store
///
/// Reads only. Needs no privilege as long as the store can be read; --sizes reads tables of contents, which are
/// for root, or for the user of a store of his own.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  sudo isar-template list --sizes")]
pub struct ListOpts {
    /// What the files of each take: all of them, those that no other template has, and those that one has, too
    #[arg(long)]
    pub sizes: bool,
}

/// Runs the verb.
pub fn run(cli: &Cli, opts: &ListOpts) -> Result<u8> {
    let path = cli.global.store()?;
    if opts.sizes {
        template_store::require_root("list --sizes")?;
    }
    let mut is_there = true;
    let (all, sizes) = match Store::open(&path) {
        Ok(store) => {
            let all = store.list()?;
            let sizes = if opts.sizes { template_store::sizes(&store, &all)? } else { vec![] };
            (all, sizes)
        }
        // no store holds no templates
        Err(e) if e.kind == Kind::NotFound => {
            is_there = false;
            (vec![], vec![])
        }
        Err(e) => return Err(e.into()),
    };
    let templates = all.iter().enumerate().map(|(index, t)| {
        let mut row = json!({
            "name": t.manifest.name,
            "templateVersion": t.manifest.template_version,
            "digest": t.record.digest,
            "signer": t.record.signer,
            "imported": t.record.imported,
            "created": t.manifest.created,
            "distro": t.manifest.distro,
            "codename": t.manifest.codename,
            "architecture": t.manifest.architecture,
            "components": t.manifest.components.iter().map(|c| &c.name).collect::<Vec<_>>(),
        });
        if let Some(Sizes { apparent, unique, shared }) = sizes.get(index) {
            row["sizes"] = json!({ "apparent": apparent, "unique": unique, "shared": shared });
        }
        row
    });
    let fields = json!({ "store": path.to_string_lossy(), "templates": templates.collect::<Vec<_>>() });
    output::result(cli, fields, |out| {
        if all.is_empty() {
            let _ = match is_there {
                true => writeln!(out, "no templates in store '{}'", path.display()),
                false => writeln!(
                    out,
                    "no templates: there is no store at '{}' (root and each user have one of their own; --store names another)",
                    path.display()
                ),
            };
            return;
        }
        let mut head = vec!["template", "system", "components", "signer", "digest"];
        if opts.sizes {
            head.extend(["size", "unique", "shared"]);
        }
        let mut rows = vec![head.into_iter().map(String::from).collect::<Vec<_>>()];
        for (index, t) in all.iter().enumerate() {
            let m = &t.manifest;
            let components: Vec<_> = m.components.iter().map(|c| c.name.as_str()).collect();
            rows.push(vec![
                t.reference(),
                format!("{} {} {}", m.distro, m.codename, m.architecture),
                components.join(","),
                t.record.signer.clone(),
                t.record.digest.to_string()[..19].to_string(),
            ]);
            if let (Some(of), Some(row)) = (sizes.get(index), rows.last_mut()) {
                row.extend([of.apparent, of.unique, of.shared].map(output::size));
            }
        }
        output::table(out, &rows);
    })?;
    Ok(0)
}
