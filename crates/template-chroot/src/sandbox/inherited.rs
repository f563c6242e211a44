// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # What we were started with
//!
//! A caller that leaks descriptors (to a directory, say) would hand the foreign code a way out of its root. The safe
//! interfaces know only descriptors that have an owner, and these have none; and they do not know signals, which
//! could have handlers: hence the only unsafe code here.
#![allow(unsafe_code)]

use std::fs;
use std::io;
use std::os::fd::{BorrowedFd, RawFd};

use nix::sys::signal::{SigHandler, Signal, signal};

/// Keeps everything but standard input, output and error from the programs that this process will start.
pub(super) fn keep_to_ourselves() -> io::Result<()> {
    // the list first: to read it takes a descriptor of its own
    let numbers: Vec<RawFd> = fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|number| *number > 2)
        .collect();
    for number in numbers {
        // SAFETY: this process has a single thread, and the descriptor is borrowed for one call only. The one of the
        // listing is closed by now; then the call fails with EBADF and nothing has happened.
        let fd = unsafe { BorrowedFd::borrow_raw(number) };
        match rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::CLOEXEC) {
            Ok(()) | Err(rustix::io::Errno::BADF) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

/// A caller that ignores SIGCHLD hands that down, and then nobody hears of the end of a child.
pub(super) fn default_child_signal() {
    // SAFETY: no handler is set, and this process has a single thread
    if let Err(e) = unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) } {
        log::debug!("setting SIGCHLD to its default: {e}");
    }
}
