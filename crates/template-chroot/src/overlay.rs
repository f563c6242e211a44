// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # The merged view of an overlay
//!
//! For reading the result of a run from outside of its sandbox. The mount belongs to a file descriptor and to no
//! namespace: nobody else sees it, and it is gone when it is dropped or when this process dies.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string,
    fsmount, fsopen,
};
use template_bundle::ids;

use crate::error::{ChrootError, Result};
use crate::sandbox::Root;

/// A directory to read and change from outside.
#[derive(Debug)]
pub struct Merged {
    path: PathBuf,
    _mount: Option<OwnedFd>,
}

impl Merged {
    /// The tree itself, or a mount of the overlay. No sandbox may be running on it.
    pub fn of(root: &Root) -> Result<Self> {
        match root {
            Root::Tree(path) => Ok(Self { path: path.clone(), _mount: None }),
            Root::Overlay { lowers, upper, work } => Self::mount(lowers, Some((upper, work))),
        }
    }

    /// Layers as one directory, the uppermost first, to be read only.
    pub fn read_only(layers: &[PathBuf]) -> Result<Self> {
        match layers {
            [path] => Ok(Self { path: path.clone(), _mount: None }),
            _ => Self::mount(layers, None),
        }
    }

    fn mount(lowers: &[PathBuf], writable: Option<(&PathBuf, &PathBuf)>) -> Result<Self> {
        let top = writable.map(|(upper, _)| upper).or(lowers.first()).cloned().unwrap_or_default();
        let failed = |e: rustix::io::Errno| {
            ChrootError::Internal(format!("mounting an overlay over '{}': {e}", top.display()))
        };
        let lowers = lowers.iter().map(|path| open(path)).collect::<Result<Vec<_>>>()?;
        let writable = writable.map(|(upper, work)| Ok((open(upper)?, open(work)?))).transpose()?;
        let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(failed)?;
        let lower = lowers.iter().map(short_name).collect::<Vec<_>>().join(":");
        fsconfig_set_string(&context, "lowerdir", lower).map_err(failed)?;
        if let Some((upper, work)) = &writable {
            fsconfig_set_string(&context, "upperdir", short_name(upper)).map_err(failed)?;
            fsconfig_set_string(&context, "workdir", short_name(work)).map_err(failed)?;
        }
        // as in the sandbox: one upper directory must not see different features
        for feature in ["metacopy", "index"] {
            fsconfig_set_string(&context, feature, "off").map_err(failed)?;
        }
        if ids::map().is_some() {
            fsconfig_set_string(&context, "redirect_dir", "nofollow").map_err(failed)?;
            fsconfig_set_flag(&context, "userxattr").map_err(failed)?;
        } else {
            fsconfig_set_string(&context, "redirect_dir", "off").map_err(failed)?;
        }
        fsconfig_create(&context).map_err(failed)?;
        let flags = MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOSUID;
        let mount = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, flags).map_err(failed)?;
        // the dot makes it a directory for those who do not follow symlinks
        let path = format!("/proc/self/fd/{}/.", mount.as_raw_fd()).into();
        Ok(Self { path, _mount: Some(mount) })
    }

    /// Where it can be reached by this process.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// By which overlayfs marks a directory that hides all below it; the second in user namespaces.
const OPAQUE: [&str; 2] = ["trusted.overlay.opaque", "user.overlay.opaque"];

/// Paths where uppermost layers may have changed what lies below them, whose paths are in order and needed as well.
pub fn touched<'a>(
    uppers: &[PathBuf],
    below: impl Iterator<Item = &'a [u8]> + Clone,
) -> Result<BTreeSet<Vec<u8>>> {
    let mut out = BTreeSet::new();
    for upper in uppers {
        walk(upper, &[], &below, &mut out)?;
    }
    Ok(out)
}

fn walk<'a>(
    dir: &Path,
    path: &[u8],
    below: &(impl Iterator<Item = &'a [u8]> + Clone),
    out: &mut BTreeSet<Vec<u8>>,
) -> Result<()> {
    let is_opaque = |name: &&str| rustix::fs::lgetxattr(dir, *name, &mut [0; 8][..]).is_ok();
    let within = |name: &[u8]| if path.is_empty() { name.to_vec() } else { [path, b"/", name].concat() };
    if OPAQUE.iter().any(is_opaque) {
        let start = within(b"");
        out.extend(below.clone().filter(|path| path.starts_with(&start)).map(<[u8]>::to_vec));
    }
    for entry in fs::read_dir(dir).map_err(|e| ChrootError::io("reading", dir, e))? {
        let entry = entry.map_err(|e| ChrootError::io("reading", dir, e))?;
        let path = within(entry.file_name().as_bytes());
        if entry.file_type().map_err(|e| ChrootError::io("reading", entry.path(), e))?.is_dir() {
            walk(&entry.path(), &path, below, out)?;
        }
        out.insert(path);
    }
    Ok(())
}

fn open(path: &Path) -> Result<OwnedFd> {
    rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|e| ChrootError::io("opening", path, e))
}

/// The kernel takes values of at most 255 bytes, and gives a meaning to colons and backslashes in paths.
fn short_name(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}
