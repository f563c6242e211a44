// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # What a Debian system has registered
//!
//! Readers of what lies beside the packages' own files: accounts, enabled units, alternatives, diversions, and dpkg's
//! records of who owns what. They read and never write, follow no symlink out of the tree, and take files that make no
//! sense for what they are: a line that is no record is none.

mod accounts;
mod alternatives;
mod diversions;
mod dpkg;
mod tree;
mod units;

pub use accounts::{Accounts, Group, User, accounts};
pub use alternatives::{Alternative, alternatives};
pub use diversions::{Diversion, StatOverride, diversions, stat_overrides};
pub use dpkg::{Records, paths, plain};
#[cfg(test)]
pub(crate) use tree::of_files;
pub use tree::{Kind, Tree};
pub use units::{Enablement, How, enabled_units};
