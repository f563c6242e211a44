// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Template bundles in OCI registries
//!
//! Speaks the OCI distribution protocol (1.1) with a registry. Nothing that it answers is trusted: sizes are limited, documents and
//! blobs count only when their digest is the one that was asked for, and who signed them is decided before
//! contents are fetched.

mod answers;
mod challenge;
mod client;
mod login;
mod parts;
mod pull;
mod push;
mod reference;
mod tls;
mod transfer;

pub use client::Registry;
pub use pull::{Documents, Wanted, contents, documents};
pub use push::{Pushed, push};
pub use reference::Reference;
pub use transfer::Traffic;
