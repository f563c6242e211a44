// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Template bundles
//!
//! The format: an OCI image layout with a signed image index, a template manifest, and trees as OCI layers with their
//! tables of contents. This crate reads, writes and verifies bundles. It changes no root filesystem and runs nothing
//! of one.

pub mod ancestors;
mod anchors;
pub mod aside;
pub mod base;
pub mod bundle;
pub mod bytes;
pub mod canon;
pub mod changes;
pub mod checker;
pub mod chosen;
mod component;
pub mod debian;
pub mod derive;
pub mod device;
pub mod diff;
pub mod digest;
pub mod documents;
pub mod error;
pub mod finish;
pub mod frames;
pub mod glob;
pub mod ids;
pub mod inroot;
pub mod json;
pub mod layout;
pub mod limits;
pub mod manifest;
pub mod names;
pub mod needed;
pub mod oci;
pub mod pack;
mod pipeline;
pub mod referrers;
mod revocation;
pub mod scan;
pub mod signature;
pub mod signers;
pub mod ssh_keygen;
pub mod stack;
pub mod tarball;
pub mod toc;
pub mod tree;
pub mod versions;
pub mod whiteout;
pub mod writer;

pub use digest::Digest;
pub use error::{Error, Kind, Result};
