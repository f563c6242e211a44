// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Where a store can be
//!
//! Trees need a file system that keeps owners, attributes, hard links and overlayfs's marks, and on which overlayfs can write.
//! One that does not is refused at once, and not in the middle of an import.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::sys::statfs::{OVERLAYFS_SUPER_MAGIC, statfs};
use template_bundle::error::IoContext;
use template_bundle::{Error, Result, ids};

/// Anybody but root: what is asked is whether owners are kept.
const SOMEBODY: u32 = 1;

/// Refuses a directory on which instances cannot write.
pub(crate) fn check_overlay(dir: &Path) -> Result<()> {
    let found = statfs(dir).doing("looking at the file system of", dir)?;
    match found.filesystem_type() == OVERLAYFS_SUPER_MAGIC {
        true => Err(unsuitable(
            dir,
            "is an overlay itself, as in a container, and overlayfs does not write on another one",
        )),
        false => Ok(()),
    }
}

/// Refuses a directory on a file system that does not keep what trees have. It is tried with files in an empty directory there.
pub(crate) fn check(dir: &Path, empty: &Path) -> Result<()> {
    check_overlay(dir)?;
    let file = empty.join("file");
    fs::write(&file, "").doing("writing", &file)?;

    let owned = chown(&file, Some(SOMEBODY), Some(SOMEBODY))
        .and_then(|()| fs::set_permissions(&file, fs::Permissions::from_mode(0o4755)))
        .and_then(|()| fs::metadata(&file));
    if !owned.is_ok_and(|meta| (meta.uid(), meta.mode() & 0o7777) == (SOMEBODY, 0o4755)) {
        return Err(unsuitable(dir, "does not keep owners and modes"));
    }
    let attribute = if ids::map().is_some() { "user.isar-template" } else { "trusted.isar-template" };
    if xattr::set(&file, attribute, b"1").is_err() {
        return Err(unsuitable(dir, "has no extended attributes"));
    }
    if fs::hard_link(&file, empty.join("link")).is_err() {
        return Err(unsuitable(dir, "has no hard links"));
    }
    if mknod(&empty.join("mark"), SFlag::S_IFCHR, Mode::empty(), makedev(0, 0)).is_err() {
        return Err(unsuitable(dir, "does not take the marks by which overlayfs removes files"));
    }
    Ok(())
}

fn unsuitable(dir: &Path, why: &str) -> Error {
    Error::usage(format!("no store can be at '{}': its file system {why}", dir.display()))
        .hint("name a place on ext4, xfs, btrfs or tmpfs with --store or ISAR_TEMPLATE_STORE; in a container, on a volume")
}
