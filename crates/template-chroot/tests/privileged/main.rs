// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Tests on a real Debian tree
//!
//! They need root and `ISAR_TEMPLATE_TEST_TREE`, a Debian root filesystem (`mmdebstrap --variant=minbase` will do), which is
//! never changed: every test works on a copy or in an overlay. Where something is missing they are reported as ignored,
//! with the reason. Tests named `online` need the Debian mirror as well, those named `sudo`
//! a sudo that asks nothing.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fixture;
mod sandbox;
mod transaction;
mod victim;

use std::path::Path;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};

type Test = (&'static str, fn());

fn main() -> ExitCode {
    template_chroot::sandbox_entry();
    if let Some(code) = victim::entry() {
        return code;
    }
    let missing = missing();
    if let Some(reason) = &missing {
        eprintln!("privileged tests of template-chroot are IGNORED: {reason}");
    }
    let tests = sandbox::TESTS.iter().chain(victim::TESTS).chain(transaction::TESTS);
    let trials = tests
        .map(|(name, test): &Test| {
            let test = *test;
            let ignored = missing.is_some()
                || (name.contains("online") && !fixture::online())
                || (name.contains("sudo") && !fixture::sudo());
            Trial::test(format!("privileged_{name}"), move || {
                std::panic::catch_unwind(test).map_err(|_| Failed::without_message())
            })
            .with_ignored_flag(ignored)
        })
        .collect();
    let mut arguments = Arguments::from_args();
    // interrupts are of the whole process, and the machine is shared
    arguments.test_threads.get_or_insert(2);
    let code = libtest_mimic::run(&arguments, trials).exit_code();
    fixture::empty_pool();
    code
}

fn missing() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("not run as root".to_owned());
    }
    match std::env::var("ISAR_TEMPLATE_TEST_TREE") {
        Err(_) => Some("ISAR_TEMPLATE_TEST_TREE is not set to a Debian root filesystem".to_owned()),
        Ok(tree) if !Path::new(&tree).join("var/lib/dpkg/status").exists() => {
            Some(format!("ISAR_TEMPLATE_TEST_TREE is no Debian root filesystem: {tree}"))
        }
        Ok(_) => None,
    }
}
