// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # A minimal /dev
//!
//! The device nodes are the host's, each bound by itself onto a tmpfs that is nodev: a node that a package makes
//! there cannot be opened.

use std::os::unix::fs::symlink;
use std::path::Path;

use nix::mount::{MsFlags, mount};

use super::mounts::{Clone, FIXED, InStep, PLAIN, Step, make_dir, remount, tmpfs, write_file};
use super::placeholders::Placeholders;

const NODES: [&str; 6] = ["full", "null", "random", "tty", "urandom", "zero"];

const LINKS: [(&str, &str); 5] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/ptmx", "pts/ptmx"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
];

/// The nodes of the host, taken while it is still in reach.
pub(super) fn clone_nodes() -> Step<Vec<(&'static str, Clone)>> {
    NODES.iter().map(|name| Ok((*name, Clone::take(&Path::new("/dev").join(name), false)?))).collect()
}

pub(super) fn mount_dev(nodes: &[(&'static str, Clone)], placeholders: &mut Placeholders) -> Step<()> {
    let dev = placeholders.ensure(Path::new("/dev"), true)?;
    tmpfs(&dev, PLAIN, "mode=755,size=1m")?;
    for (name, clone) in nodes {
        let path = dev.join(name);
        write_file(&path, b"", 0o666)?;
        clone.attach(&path)?;
        // the nodes are the host's: they can be used, but neither their mode nor their owner be changed
        remount(&path, FIXED)?;
    }
    for (link, target) in LINKS {
        symlink(target, link).step("linking", link)?;
    }
    let pts = Path::new("/dev/pts");
    make_dir(pts, 0o755)?;
    mount(
        Some("devpts"),
        pts,
        Some("devpts"),
        MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC,
        Some("newinstance,ptmxmode=0666,mode=620,gid=5"),
    )
    .step("mounting devpts on", pts)?;
    let shm = Path::new("/dev/shm");
    make_dir(shm, 0o1777)?;
    tmpfs(shm, PLAIN, "mode=1777,size=20%")
}
