// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Limits
//!
//! What bundles and other files from elsewhere may ask for at most, so that none of them can exhaust the machine. They
//! are far above what real systems need; whatever exceeds one is refused by name. `docs/threat-model.md` lists them.

// -- documents and signatures

/// Bytes of a JSON document: a template manifest with thousands of packages has a few hundred KiB.
pub const MAX_DOCUMENT: u64 = 32 << 20;
/// Values in a JSON document. Each takes up to 100 bytes of memory, however short its text.
pub const MAX_VALUES: usize = 1_000_000;
/// Objects and arrays within each other in a JSON document.
pub const MAX_DEPTH: usize = 64;
/// Bytes of `index.json`, and of the manifest of a signature or an ancestor: nobody has signed them.
pub const MAX_UNSIGNED: u64 = 1 << 20;
/// Members of a bundle that is a tar.
pub const MAX_MEMBERS: usize = 100_000;
/// Signatures that are looked at.
pub const MAX_SIGNATURES: usize = 64;
/// Bytes of a signature: RSA 16384 needs 6 KiB.
pub const MAX_SIGNATURE: u64 = 64 << 10;
/// Steps from a platform to a product.
pub const MAX_ANCESTORS: usize = 16;
/// Bytes of all documents of all ancestors: that of a system with 1000 packages has 200 KiB.
pub const MAX_ANCESTOR_DOCUMENTS: u64 = 64 << 20;
/// Components of a template.
pub const MAX_COMPONENTS: usize = 64;
/// Layers of changes over a component: more than overlayfs would be slow with.
pub const MAX_CHANGES: usize = 16;
/// Bytes of an anchors file.
pub const MAX_ANCHORS: u64 = 16 << 20;
/// Bytes of an allowed signers file.
pub const MAX_SIGNERS: u64 = 4 << 20;
/// Bytes of a revocation file.
pub const MAX_REVOCATION: u64 = 64 << 20;

// -- trees

/// Bytes of a table of contents, compressed: that of a system with 25 000 files has 1.3 MB.
pub const MAX_TOC: u64 = 256 << 20;
/// What a decoder has to keep to unpack a table of contents, as a power of two: what level 3 needs at most.
pub const MAX_TOC_WINDOW_LOG: u32 = 23;
/// Bytes of the first line of a table of contents, which lists the frames: 24 bytes for at least 256 KiB of tree each.
pub const MAX_HEAD: u64 = 64 << 20;
/// Bytes of another line: a path and a link target of 4 KiB each, and all extended attributes, base64 encoded.
pub const MAX_LINE: u64 = 1 << 20;
/// Entries of a tree.
pub const MAX_ENTRIES: usize = 2_000_000;
/// Memory for the names, link targets, attributes and holes of all entries of a tree: ten times that of a large system.
pub const MAX_KEPT: usize = 512 << 20;
/// Uncompressed bytes of a tree, or of all files of a tar, holes included. Less for `fuzz`, which would hang.
pub const MAX_TREE: u64 = if cfg!(fuzzing) { 16 << 20 } else { 1 << 40 };
/// Uncompressed bytes of a frame: bounds the memory of a worker.
pub const MAX_FRAME: u64 = 4 << 20;
/// Bytes of a path: what the kernel takes.
pub const MAX_PATH: usize = 4095;
/// Bytes of a name: what every file system takes.
pub const MAX_NAME: usize = 255;
/// Bytes of all extended attributes of a file: what the kernel lists at most, and more than ext4 can hold.
pub const MAX_XATTRS: usize = 65536;

/// Compressed bytes of a frame: neither zstd nor gzip makes what it cannot compress longer than this.
pub const fn max_compressed(raw: u64) -> u64 {
    raw + raw / 8 + 1024
}

// -- tars that are compared

/// Bytes of a long name or of the pax records of one member. Linux allows names of 4 KiB, and 64 KiB for the value of
/// an attribute.
pub const MAX_EXTENSION: u64 = 1 << 20;
/// Pieces of a file with holes.
pub const MAX_PIECES: usize = 1 << 20;
/// Bytes of a file whose content is looked at: what is read is configuration, and is held in memory.
pub const MAX_CHOSEN: u64 = 16 << 20;
