// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # list: what is in the store

use anyhow::Result;
use clap::Args;
use serde_json::json;
use template_bundle::Kind;
use template_store::Store;

use crate::cli::Cli;
use crate::output;

/// List the templates of the store
///
/// Reads only. Needs no privilege as long as the store can be read.
#[derive(Debug, Args)]
pub struct ListOpts {}

/// Runs the verb.
pub fn run(cli: &Cli, _: &ListOpts) -> Result<u8> {
    let path = cli.global.store();
    let all = match Store::open(&path) {
        Ok(store) => store.list()?,
        // no store holds no templates
        Err(e) if e.kind == Kind::NotFound => Vec::new(),
        Err(e) => return Err(e.into()),
    };
    let fields = json!({
        "store": path.to_string_lossy(),
        "templates": all.iter().map(|t| json!({
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
        })).collect::<Vec<_>>(),
    });
    output::result(cli, fields, |out| {
        if all.is_empty() {
            out.push_str("no templates\n");
            return;
        }
        let mut rows =
            vec![["template", "system", "components", "signer", "digest"].map(String::from).to_vec()];
        for t in &all {
            let m = &t.manifest;
            let components: Vec<_> = m.components.iter().map(|c| c.name.as_str()).collect();
            rows.push(vec![
                t.reference(),
                format!("{} {} {}", m.distro, m.codename, m.architecture),
                components.join(","),
                t.record.signer.clone(),
                t.record.digest.to_string()[..19].to_string(),
            ]);
        }
        output::table(out, &rows);
    })?;
    Ok(0)
}
