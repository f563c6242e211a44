// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Packages of a tree: plan and apply
//!
//! A [`Transaction`] works with the tree's own apt and dpkg, in a sandbox. Package lists and caches are kept outside
//! of the tree meanwhile, so that planning touches nothing, and a repository folder of the request leaves no trace.
//! Whatever it takes to compute a plan is the same for the same tree, lists and request; applying it runs
//! without network, in one run of apt-get, and is verified from dpkg's own records afterwards.

mod access;
mod action;
mod apply;
mod asking;
mod causes;
mod conffiles;
pub(crate) mod debs;
mod diversions;
mod excerpt;
mod failure;
mod given;
mod impact;
mod lists;
mod plan;
mod policy;
mod question;
mod relations;
mod release;
mod request;
mod resolve;
mod saved;
mod simulate;
mod sources;
mod state;
pub(crate) mod status;
mod suites;
mod table;
mod transaction;
mod wanted;

pub(crate) use failure::without_credentials;

pub use action::{Action, AskedBy, Mark, Operation, Origin};
pub use apply::{Report, Times};
pub use plan::{Base, Kept, Plan};
pub use request::{Add, SelfBuilt, TransactionRequest, UpdateMode};
pub use saved::{PlannedFor, SavedRequest};
pub use table::render_table;
pub use transaction::{Event, Transaction};

use crate::error::Result;
use crate::sandbox::Root;

/// Computes what a transaction would do; the tree stays as it is.
pub fn plan(root: &Root, request: &TransactionRequest, sink: &mut dyn FnMut(Event<'_>)) -> Result<Plan> {
    Transaction::open(root.clone(), request.clone(), sink)?.plan()
}

/// Does what was planned, if it still is what would be planned now. Not atomic: after an error the tree is to be
/// thrown away.
pub fn apply(
    root: &Root,
    request: &TransactionRequest,
    plan: &Plan,
    sink: &mut dyn FnMut(Event<'_>),
) -> Result<Report> {
    Transaction::open(root.clone(), request.clone(), sink)?.apply(plan)
}
