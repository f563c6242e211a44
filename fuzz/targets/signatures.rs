// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! Signatures, allowed signers and times. A line that is empty parts the signers from a signature.
#![no_main]

use libfuzzer_sys::fuzz_target;
use template_bundle::{signature, signers};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (lines, signature) = text.split_once("\n\n").unwrap_or((text, text));
    if let Ok(signers) = signers::parse(lines) {
        for signer in signers {
            let _ = (signer.is_for("somebody@example.org"), signer.allows(signature::NAMESPACE));
        }
    }
    let _ = signature::check_form(signature, b"message");
    let _ = signers::parse_time(lines);
});
