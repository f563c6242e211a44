// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # What a product says of its origin
//!
//! Fields of os-release(5), so that whoever meets the running system can tell which template it was made from.

use template_bundle::Result;
use template_bundle::inroot::InRoot;
use template_store::Stored;

/// Usually a link to the one below /usr/lib, which then gets the mark.
const OS_RELEASE: &[u8] = b"etc/os-release";
/// All our fields begin with it.
const PREFIX: &str = "ISAR_TEMPLATE_";

/// Marks a product; a system without os-release stays without.
pub fn mark(root: &InRoot, template: &Stored) -> Result<()> {
    let Some(text) = root.read(OS_RELEASE)? else {
        log::warn!("the product has no /etc/os-release to say which template it was made from");
        return Ok(());
    };
    root.overwrite(OS_RELEASE, &marked(&text, template))
}

/// The text with our fields at its end, in place of those of a template below.
fn marked(text: &[u8], template: &Stored) -> Vec<u8> {
    let manifest = &template.manifest;
    let fields = [
        ("NAME", manifest.name.as_str()),
        ("VERSION", manifest.template_version.as_str()),
        ("DIGEST", &template.record.digest.to_string()),
    ];
    let mut out = Vec::new();
    for line in text.split_inclusive(|c| *c == b'\n').filter(|line| !line.starts_with(PREFIX.as_bytes())) {
        out.extend_from_slice(line);
    }
    if out.last().is_some_and(|c| *c != b'\n') {
        out.push(b'\n');
    }
    for (name, value) in fields {
        out.extend_from_slice(format!("{PREFIX}{name}=\"{value}\"\n").as_bytes());
    }
    out
}
