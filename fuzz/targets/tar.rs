// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! Tars that others made.
#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use template_bundle::tarball::Tarball;

fuzz_target!(|data: &[u8]| {
    let mut data = data.to_vec();
    for header in data.chunks_exact_mut(512) {
        let sum: u32 =
            header[..148].iter().chain(&header[156..]).map(|c| u32::from(*c)).sum::<u32>() + 8 * 32;
        if header[257..262] == *b"ustar" {
            // or nearly all that comes would be refused for its checksum
            header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
    if let Ok(entries) = Tarball::entries(Cursor::new(data)) {
        for entry in entries {
            assert!(entry.path.0.split(|c| *c == b'/').all(|name| name != b".."), "{entry:?}");
        }
    }
});
