// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Errors
//!
//! One error type for bundle and store. What callers branch on is the [`Kind`]: it decides the exit code and the
//! `kind` field of the JSON error; the message is for people.

use std::fmt;
use std::path::Path;

/// Result of bundle and store operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, as far as a caller may want to branch on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Input or output failed.
    Io,
    /// Our own mistake.
    Internal,
    /// A wrong option, name or file was given.
    Usage,
    /// What was read is not what its format or its signed description says.
    Damaged,
    /// A blob that is referred to is not there.
    BlobMissing,
    /// A digest differs from the one that was asked for or declared.
    DigestDiffers,
    /// There is no signature at all.
    SignatureMissing,
    /// There is a signature, but not over these bytes.
    SignatureWrong,
    /// The signature was made for another purpose.
    NamespaceWrong,
    /// The key is not in the allowed signers file.
    KeyUnknown,
    /// The key is trusted, but for another identity.
    IdentityWrong,
    /// The key's validity interval does not hold the time of verification.
    KeyExpired,
    /// The key is revoked.
    KeyRevoked,
    /// The unsigned tag and the signed name or version disagree.
    TagDiffers,
    /// A format version or feature that this version does not know.
    Unsupported,
    /// Refused because of what it would mean, not because it is damaged.
    Refused,
    /// What was asked for is not there.
    NotFound,
    /// Not allowed to this user.
    Privilege,
    /// A program that is needed is not installed.
    ToolMissing,
    /// The network or a registry failed.
    Network,
    /// A signal ended the work.
    Interrupted,
}

impl Kind {
    /// The documented exit code.
    pub fn exit_code(self) -> u8 {
        match self {
            Kind::Io | Kind::Internal => 1,
            Kind::Usage | Kind::NotFound => 2,
            Kind::Damaged
            | Kind::BlobMissing
            | Kind::DigestDiffers
            | Kind::SignatureMissing
            | Kind::SignatureWrong
            | Kind::NamespaceWrong
            | Kind::KeyUnknown
            | Kind::IdentityWrong
            | Kind::KeyExpired
            | Kind::KeyRevoked
            | Kind::TagDiffers
            | Kind::Unsupported => 3,
            Kind::Refused => 4,
            Kind::Privilege | Kind::ToolMissing => 5,
            Kind::Network => 8,
            Kind::Interrupted => 130,
        }
    }

    /// The name used in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Io => "io",
            Kind::Internal => "internal",
            Kind::Usage => "usage",
            Kind::Damaged => "damaged",
            Kind::BlobMissing => "blob-missing",
            Kind::DigestDiffers => "digest-differs",
            Kind::SignatureMissing => "signature-missing",
            Kind::SignatureWrong => "signature-wrong",
            Kind::NamespaceWrong => "namespace-wrong",
            Kind::KeyUnknown => "key-unknown",
            Kind::IdentityWrong => "identity-wrong",
            Kind::KeyExpired => "key-expired",
            Kind::KeyRevoked => "key-revoked",
            Kind::TagDiffers => "tag-differs",
            Kind::Unsupported => "unsupported",
            Kind::Refused => "refused",
            Kind::NotFound => "not-found",
            Kind::Privilege => "missing-privilege",
            Kind::ToolMissing => "missing-tool",
            Kind::Network => "network",
            Kind::Interrupted => "interrupted",
        }
    }
}

/// An error with its kind, its message and what to do next.
#[derive(Debug)]
pub struct Error {
    /// What callers branch on.
    pub kind: Kind,
    /// What failed, on what, and why.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
}

impl Error {
    /// An error of this kind.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Error { kind, message: message.into(), hint: None }
    }

    /// A damaged bundle or store.
    pub fn damaged(message: impl Into<String>) -> Self {
        Error::new(Kind::Damaged, message)
    }

    /// A wrong option, name or file.
    pub fn usage(message: impl Into<String>) -> Self {
        Error::new(Kind::Usage, message)
    }

    /// Failed input or output: `doing what: path: cause`.
    pub fn io(doing: &str, path: impl AsRef<Path>, cause: impl fmt::Display) -> Self {
        Error::new(Kind::Io, format!("{doing}: {}: {cause}", path.as_ref().display()))
    }

    /// Says what to do next.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says where in the bundle it happened.
    pub fn within(mut self, place: impl fmt::Display) -> Self {
        self.message = format!("{place}: {}", self.message);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// Adds `doing what: path` to an I/O error.
pub trait IoContext<T> {
    /// Turns the error into ours.
    fn doing(self, doing: &str, path: impl AsRef<Path>) -> Result<T>;
}

impl<T, E: fmt::Display> IoContext<T> for std::result::Result<T, E> {
    fn doing(self, doing: &str, path: impl AsRef<Path>) -> Result<T> {
        self.map_err(|e| Error::io(doing, path, e))
    }
}
