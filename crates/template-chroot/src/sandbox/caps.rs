// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Capabilities of a sandbox
//!
//! What dpkg and package scripts need and nothing else, in every set, so that no exec brings any back. Left out on
//! purpose: DAC_READ_SEARCH (open_by_handle_at leads out of any mount namespace), SYS_ADMIN, SYS_PTRACE,
//! SYS_MODULE, SYS_RAWIO, NET_ADMIN, NET_RAW. MKNOD stays, because packages make device nodes, but everything
//! writable is mounted nodev, so that they cannot be opened.

use caps::{CapSet, Capability, CapsHashSet};

const KEPT: [Capability; 11] = [
    Capability::CAP_AUDIT_WRITE, // PAM refuses su without it
    Capability::CAP_CHOWN,
    Capability::CAP_DAC_OVERRIDE,
    Capability::CAP_FOWNER,
    Capability::CAP_FSETID,
    Capability::CAP_KILL, // apt ends its methods, which run as another user
    Capability::CAP_MKNOD,
    Capability::CAP_SETFCAP,
    Capability::CAP_SETGID,
    Capability::CAP_SETUID,
    Capability::CAP_SYS_CHROOT,
];

/// Drops everything else, in this process and all that it will start.
pub(super) fn reduce() -> Result<(), caps::errors::CapsError> {
    let kept: CapsHashSet = KEPT.into_iter().collect();
    for capability in caps::read(None, CapSet::Bounding)? {
        if !kept.contains(&capability) {
            caps::drop(None, CapSet::Bounding, capability)?;
        }
    }
    // a container may have given us less
    let permitted = caps::read(None, CapSet::Permitted)?;
    let kept: CapsHashSet = kept.intersection(&permitted).copied().collect();
    caps::clear(None, CapSet::Ambient)?;
    caps::clear(None, CapSet::Inheritable)?;
    caps::set(None, CapSet::Effective, &kept)?;
    caps::set(None, CapSet::Permitted, &kept)?;
    Ok(())
}
