// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # template-chroot
//!
//! Runs foreign code: commands, apt, dpkg and package scripts of a Debian root filesystem, in namespaces of their
//! own, so that nothing of the host is within reach and nothing stays mounted or running, whatever happens.
//!
//! Works on directories and knows nothing of stores or bundles. The program that uses it calls [`sandbox_entry`]
//! first thing in `main`: a sandbox is this very program, started again.
//!
//! - [`sandbox`]: a command in a sandbox;
//! - [`apt`]: plan and apply a transaction of additions and removals;
//! - [`qa`]: what a package breaks and leaves behind;
//! - [`system`]: what a tree has registered beside its packages' files: accounts, units, alternatives;
//! - [`watch`]: signals, and the end of the caller, end the sandboxes.

pub mod apt;
mod error;
mod impact;
mod leftovers;
pub mod overlay;
pub mod qa;
pub mod sandbox;
pub mod system;
pub mod userns;
pub mod watch;

/// Parsers of what trees and archives hold, for `fuzz`.
#[cfg(fuzzing)]
pub mod fuzzing {
    use crate::apt::status::{Status, parse_stanzas};

    /// dpkg's status and apt's states of the same text, and what is asked of them.
    pub fn status(status: &str, states: &str) {
        let status = Status::parse(status, states, "amd64");
        let _ = (status.digest(), status.installed("a"));
        let _ = status.extended_states(&Default::default(), &Default::default());
    }

    /// The stanzas of a `Packages` file.
    pub fn packages(text: &str) {
        let _ = parse_stanzas(text);
    }
}

pub use error::{ChrootError, Refusal, Result};
pub use impact::{Affected, Compatible, OrphanedModule, Rebuild};
pub use leftovers::{Leftover, LeftoverKind};
pub use sandbox::{Bind, Exit, Root, Sandbox, sandbox_entry};
