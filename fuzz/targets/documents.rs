// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! `index.json`, image index, manifests and the template manifest.
#![no_main]

use libfuzzer_sys::fuzz_target;
use template_bundle::json::parse;
use template_bundle::manifest::TemplateManifest;
use template_bundle::oci::{Index, Manifest, to_bytes};

fuzz_target!(|data: &[u8]| {
    let _ = parse::<Manifest>("it", data);
    if let Ok(index) = parse::<Index>("it", data) {
        let bytes = to_bytes(&index).expect("what was read can be written");
        assert_eq!(parse::<Index>("it", &bytes).expect("what was written can be read"), index);
    }
    if let Ok(manifest) = TemplateManifest::parse(data) {
        let _ = manifest.component("rootfs").expect("was checked").descriptors();
        let bytes = to_bytes(&manifest).expect("what was read can be written");
        let again = TemplateManifest::parse(&bytes).expect("what was written can be read");
        assert_eq!(again.components, manifest.components);
    }
});
