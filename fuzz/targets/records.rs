// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! dpkg's status, apt's states and `Packages`. A byte 0 parts two of them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use template_bundle::{debian, diff};
use template_chroot::fuzzing;

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let (status, states) = text.split_once('\0').unwrap_or((&text, ""));
    let _ = debian::parse_status(status);
    let _ = diff::dpkg::Database::parse(status).by_name();
    fuzzing::status(status, states);
    fuzzing::packages(status);
});
