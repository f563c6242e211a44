// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # The store
//!
//! The local place that verified templates are imported into:
//!
//! ```text
//! format                      version of this layout
//! templates/<digest>/         a template: index.json (signed bytes), manifest.json, record.json,
//!                             evidence.json (what proves it and its ancestors)
//! refs/<name>/<version>       digest of the template that this name means
//! roots/<key>                 a file on the host that keeps a template as long as it exists
//! trees/<digest>/             a tree: toc (its table of contents), root/ (itself, never written again), and
//!                             shared/ (a copy for checkouts that have their files in common)
//! objects/<xx>/<key>          every file of all trees, hard linked into them
//! results/<key>/              what a transaction has written over a tree, or what apt has said of it, to be reused: upper/ and record.json
//! tmp/                        what is being made, each with a lock that its maker holds
//! ```
//!
//! An object is keyed by content *and* metadata (owner, mode, times, attributes), because that is what an inode
//! holds: one inode then serves all trees that have the same file, and a tree is a complete root filesystem that
//! overlayfs takes as it is. Within one tree an inode is used once, so that link counts mean what they meant.
//!
//! Trees never look at objects, so an object can go at any time; only sharing is lost.
//!
//! Everything is made under tmp, synced, and then renamed.

mod builder;
mod checkout;
mod direct;
mod files;
mod find;
mod flusher;
mod found;
mod freed;
mod fsck;
mod gc;
mod import;
mod known;
mod lock;
mod node;
mod place;
mod results;
mod roots;
mod scratch;
mod sealed;
mod share;
mod sizes;
mod store;

pub use checkout::{check_target, checkout, materialize};
pub use direct::checkout_bundle;
pub use find::{Proven, Record, RecordedAncestor, Stored};
pub use fsck::{Checked, Finding, What, fsck};
pub use gc::{Collected, GcOptions, Judged, Why, gc};
pub use import::{Gate, Imported, Lacking, close_gate, import, import_again, lacking};
pub use node::copy_metadata;
pub use results::{Kept, UNUSED_DAYS, set_result_aside};
pub use scratch::Scratch;
pub use share::checkout_shared;
pub use sizes::{Sizes, sizes};
pub use store::{Store, is_of_a_user, require_root};
