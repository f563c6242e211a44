// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # What a template was made from, in reports

use std::fmt::Write as _;

use serde_json::{Value, json};
use template_bundle::ancestors::Ancestor;
use template_bundle::manifest::Parent;
use template_store::RecordedAncestor;

/// An ancestor, and who signed it where that was verified.
pub struct Link {
    template: Parent,
    signed: Option<(String, String)>,
}

impl From<&Ancestor> for Link {
    fn from(ancestor: &Ancestor) -> Self {
        let signed = ancestor.accepted.as_ref().map(|a| (a.identity.clone(), a.fingerprint.clone()));
        Link { template: ancestor.template.clone(), signed }
    }
}

impl From<&RecordedAncestor> for Link {
    fn from(ancestor: &RecordedAncestor) -> Self {
        let signed = Some((ancestor.signer.clone(), ancestor.fingerprint.clone()));
        Link { template: ancestor.template.clone(), signed }
    }
}

/// For machines.
pub fn to_json(chain: &[Link]) -> Value {
    let link = |link: &Link| {
        json!({
            "name": link.template.name,
            "templateVersion": link.template.version,
            "digest": link.template.digest,
            "signer": link.signed.as_ref().map(|(signer, _)| signer),
            "fingerprint": link.signed.as_ref().map(|(_, fingerprint)| fingerprint),
        })
    };
    chain.iter().map(link).collect()
}

/// For people, a line for each.
pub fn to_text(chain: &[Link], out: &mut String) {
    for Link { template, signed } in chain {
        let Parent { name, version, digest } = template;
        let signed = match signed {
            Some((signer, fingerprint)) => format!("signed by '{signer}' with {fingerprint}"),
            None => "NOT VERIFIED".to_string(),
        };
        let _ = writeln!(out, "made from {name}:{version} {digest}, {signed}");
    }
}
