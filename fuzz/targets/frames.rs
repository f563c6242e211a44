// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! Compressed frames, and tables of contents as they come: the first byte says what it is, the next three how long it is
//! said to be.
#![no_main]

use libfuzzer_sys::fuzz_target;
use template_bundle::frames::Compression;
use template_bundle::limits::MAX_FRAME;
use template_bundle::toc::Toc;

fuzz_target!(|data: &[u8]| {
    let Some((&[kind, a, b, c], frame)) = data.split_first_chunk() else { return };
    let length = u64::from(u32::from_le_bytes([a, b, c, 0])).min(MAX_FRAME);
    let how = match kind % 4 {
        0 => Compression::Zstd,
        1 => Compression::Gzip,
        2 => Compression::None,
        _ => {
            let _ = Toc::read(frame);
            return;
        }
    };
    if let Ok(raw) = how.decompress(frame, length) {
        assert_eq!(raw.len() as u64, length);
    }
});
