// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Why there is no user namespace
//!
//! The kernel says no more than that it is not permitted; its settings tell why.

use std::fs;

use nix::errno::Errno;

use crate::error::ChrootError;

/// What decides over user namespaces, where a machine has it.
#[derive(Debug, Default)]
pub(super) struct Settings {
    /// user.max_user_namespaces
    most: Option<u64>,
    /// kernel.unprivileged_userns_clone, of Debian's kernels
    unprivileged: Option<u64>,
    /// kernel.apparmor_restrict_unprivileged_userns
    apparmor: Option<u64>,
}

impl Settings {
    pub fn of_the_machine() -> Self {
        let read = |name: &str| fs::read_to_string(format!("/proc/sys/{name}")).ok()?.trim().parse().ok();
        Self {
            most: read("user/max_user_namespaces"),
            unprivileged: read("kernel/unprivileged_userns_clone"),
            apparmor: read("kernel/apparmor_restrict_unprivileged_userns"),
        }
    }
}

/// A namespace could not be made, or nothing is allowed in it.
pub(super) fn no_namespace(errno: Errno, settings: &Settings) -> ChrootError {
    let (message, hint) = match (errno, settings) {
        (_, Settings { most: Some(0), .. }) => (
            "user namespaces are switched off on this machine (user.max_user_namespaces is 0)",
            "switch them on: sudo sysctl -w user.max_user_namespaces=10000",
        ),
        (Errno::ENOSPC | Errno::EUSERS, _) => (
            "there are as many user namespaces as there may be",
            "end programs that have some, or allow more: sudo sysctl -w user.max_user_namespaces=NUMBER",
        ),
        (Errno::EINVAL | Errno::ENOSYS, _) => {
            ("the kernel has no user namespaces", "use a kernel that has them (CONFIG_USER_NS)")
        }
        (_, Settings { unprivileged: Some(0), .. }) => (
            "user namespaces are for root alone on this machine (kernel.unprivileged_userns_clone is 0)",
            "allow them: sudo sysctl -w kernel.unprivileged_userns_clone=1",
        ),
        (_, Settings { apparmor: Some(1..), .. }) => (
            "AppArmor allows user namespaces to programs with a profile only \
             (kernel.apparmor_restrict_unprivileged_userns is 1)",
            "give the helper a profile that says 'userns,' (docs/manual.md has it)",
        ),
        _ => (
            "user namespaces are not allowed here",
            "a container's seccomp filter, a security module or a chroot forbids them: start it where they are allowed",
        ),
    };
    ChrootError::MissingPrivilege {
        message: format!("{message}: {}", errno.desc()),
        hint: Some(hint.to_owned()),
    }
}

/// newuidmap or newgidmap failed.
pub(super) fn not_mapped(complaint: &str) -> ChrootError {
    ChrootError::MissingPrivilege {
        message: format!("a user namespace did not get its ids: {complaint}"),
        hint: Some(
            "newuidmap and newgidmap must be setuid root or have file capabilities, and no_new_privs must not be set here \
             (reinstall the package uidmap; leave containers and services that forbid to gain privileges)"
                .to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_is_told_with_its_way_out() {
        let none = Settings::default;
        let cases = [
            (
                Errno::ENOSPC,
                Settings { most: Some(0), ..none() },
                "max_user_namespaces is 0",
                "max_user_namespaces=",
            ),
            (Errno::ENOSPC, Settings { most: Some(9), ..none() }, "as many", "allow more"),
            (
                Errno::EPERM,
                Settings { unprivileged: Some(0), ..none() },
                "unprivileged_userns_clone is 0",
                "clone=1",
            ),
            (Errno::EACCES, Settings { apparmor: Some(1), ..none() }, "AppArmor", "profile"),
            (
                Errno::EPERM,
                Settings { apparmor: Some(0), unprivileged: Some(1), ..none() },
                "not allowed here",
                "seccomp",
            ),
            (Errno::EINVAL, none(), "the kernel has no", "CONFIG_USER_NS"),
        ];
        for (errno, settings, said, way_out) in cases {
            let e = no_namespace(errno, &settings);
            assert_eq!(e.exit_code(), 5);
            assert!(e.to_string().contains(said), "{e}");
            assert!(e.hint().is_some_and(|hint| hint.contains(way_out)), "{e}: {:?}", e.hint());
        }
    }
}
