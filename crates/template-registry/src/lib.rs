// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Template bundles that are elsewhere
//!
//! Speaks the OCI distribution protocol (1.1) with a registry, and HTTP with a server that has a bundle as files. Nothing
//! that they answer is trusted: sizes are limited, documents and blobs count only when their digest is the one that was
//! asked for, and who signed them is decided before contents are fetched.

mod address;
mod answers;
mod challenge;
mod client;
mod fetch;
mod login;
mod parts;
mod pull;
mod push;
mod reference;
mod registry;
mod remote;
mod tls;
mod transfer;
mod web;

pub use address::Address;
pub use pull::{Documents, Wanted, contents, documents};
pub use push::{Pushed, push};
pub use reference::Reference;
pub use registry::Registry;
pub use remote::{Place, Remote};
pub use transfer::Traffic;
pub use web::Extent;
