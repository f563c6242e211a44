// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # What refers to an image index
//!
//! Signatures are OCI 1.1 referrers: manifests of their own that name the image index as their subject, so that they can
//! be added later and change no digest. So are the ancestors of a template ([`crate::ancestors`]).

use crate::digest::Digest;
use crate::error::Result;
use crate::json::parse;
use crate::layout::Layout;
use crate::limits::{MAX_SIGNATURE, MAX_SIGNATURES, MAX_UNSIGNED};
use crate::manifest::{SIGNATURE_TYPE, SSHSIG_TYPE};
use crate::oci::{Descriptor, EMPTY, INDEX, Index, MANIFEST, Manifest, to_bytes};

/// Signatures over this digest, and whether there are any over others.
pub(crate) fn find_signatures(layout: &Layout, top: &Index, digest: &Digest) -> Result<(Vec<String>, bool)> {
    let mut out = Vec::new();
    let mut elsewhere = false;
    let candidates = top
        .manifests
        .iter()
        .filter(|d| d.artifact_type.as_deref() == Some(SIGNATURE_TYPE))
        .take(MAX_SIGNATURES);
    for descriptor in candidates {
        let bytes = layout.read_up_to("signature manifest", descriptor, MAX_UNSIGNED)?;
        let manifest: Manifest = parse("a signature manifest", &bytes)?;
        if manifest.subject.as_ref().map(|s| &s.digest) != Some(digest) {
            elsewhere = true;
            continue;
        }
        for part in manifest.layers.iter().filter(|l| l.media_type == SSHSIG_TYPE) {
            if out.len() == MAX_SIGNATURES {
                return Ok((out, elsewhere));
            }
            let bytes = layout.read_up_to("signature", part, MAX_SIGNATURE)?;
            out.push(String::from_utf8_lossy(&bytes).into_owned());
        }
    }
    Ok((out, elsewhere))
}

/// The blobs of a signature, and the descriptor of its manifest.
pub fn signature_documents(
    signature: &str,
    subject: &Digest,
    subject_size: u64,
) -> Result<(Vec<Vec<u8>>, Descriptor)> {
    let empty = b"{}".to_vec();
    let mut manifest = Manifest::new(Descriptor::new(EMPTY, Digest::of(&empty), empty.len() as u64));
    manifest.artifact_type = Some(SIGNATURE_TYPE.into());
    manifest.subject = Some(Descriptor::new(INDEX, *subject, subject_size));
    manifest.layers.push(Descriptor::new(
        SSHSIG_TYPE,
        Digest::of(signature.as_bytes()),
        signature.len() as u64,
    ));
    let bytes = to_bytes(&manifest)?;
    let mut descriptor = Descriptor::new(MANIFEST, Digest::of(&bytes), bytes.len() as u64);
    descriptor.artifact_type = Some(SIGNATURE_TYPE.into());
    Ok((vec![empty, signature.as_bytes().to_vec(), bytes], descriptor))
}
