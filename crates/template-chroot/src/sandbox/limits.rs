// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # What a sandbox may use up of the machine
//!
//! It stays in the control group of the caller, whose limits hold for it. For those who have none: file systems in memory
//! have a size (mounts.rs), the disk is watched (disk.rs), and here are the rest.

use std::fs;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::resource::{Resource, setrlimit};

use super::mounts::{InStep, Step};

/// As many as systemd-nspawn lets a container have: enough for a parallel build on a large machine.
const PROCESS_LIMIT: u32 = 16384;

/// The first kernel whose PID namespaces have a limit each; in older ones it is that of the machine.
const KERNEL_WITH_LIMIT: (u32, u32) = (6, 14);

/// Of 1000: as if it had half of the memory already.
const OOM_SCORE: i32 = 500;

/// Bounds the processes of this PID namespace. Before /proc/sys is read-only.
pub(super) fn few_processes() -> Step<()> {
    let release = nix::sys::utsname::uname().step("asking for the kernel's release", "")?;
    if kernel_version(&release.release().to_string_lossy()) < Some(KERNEL_WITH_LIMIT) {
        return Ok(());
    }
    let path = Path::new("/proc/sys/kernel/pid_max");
    let inherited: Option<u32> = fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok());
    if inherited.is_some_and(|limit| limit > PROCESS_LIMIT) {
        fs::write(path, PROCESS_LIMIT.to_string()).step("limiting processes by", path)?;
    }
    Ok(())
}

fn kernel_version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// A crash would have the host's handler of core dumps started, outside of the sandbox. The kernel takes a limit of 1 byte for
/// "not even that"; 0 is only for files.
pub(super) fn no_core_dumps() -> Step<()> {
    match setrlimit(Resource::RLIMIT_CORE, 1, 1) {
        // it is 0 already, as sudo has it, and we are in a container that may not raise it
        Err(Errno::EPERM) => Ok(()),
        other => other.step("limiting core dumps", ""),
    }
}

/// When memory gets scarce, the kernel shall end what is inside rather than what is outside.
pub(super) fn first_to_be_killed() -> Step<()> {
    let path = Path::new("/proc/self/oom_score_adj");
    let inherited: Option<i32> = fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok());
    if inherited.is_some_and(|score| score < OOM_SCORE) {
        fs::write(path, OOM_SCORE.to_string()).step("setting", path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_versions_are_parsed() {
        assert_eq!(kernel_version("6.12.43+deb13-amd64"), Some((6, 12)));
        assert_eq!(kernel_version("6.18.44-fc-v657"), Some((6, 18)));
        assert_eq!(kernel_version("7.0"), Some((7, 0)));
        assert_eq!(kernel_version("next"), None);
        assert!(kernel_version("next") < Some(KERNEL_WITH_LIMIT));
    }
}
