// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Signatures
//!
//! SSHSIG, what `ssh-keygen -Y sign -n isar-template` makes, over the bytes of the image index blob. They are checked
//! here, without any program.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use ssh_key::{HashAlg, PublicKey, SshSig};

use crate::error::{Error, Kind, Result};
use crate::revocation::Revocation;
use crate::signers::{self, Signer};

/// The purpose that our signatures are bound to.
pub const NAMESPACE: &str = "isar-template";

/// What a consumer trusts.
pub struct Policy {
    signers: Vec<Signer>,
    signers_file: PathBuf,
    identity: Identities,
    parents: Identities,
    revocation: Option<Revocation>,
    time: Timestamp,
}

/// Who may have signed.
enum Identities {
    /// Whoever is listed.
    Any,
    /// One of these.
    Of(Vec<String>),
}

impl Identities {
    /// As whom the key of a line is trusted.
    fn of(&self, signer: &Signer) -> Option<String> {
        match self {
            Identities::Any => Some(signer.principals().to_string()),
            Identities::Of(list) => list.iter().find(|identity| signer.is_for(identity)).cloned(),
        }
    }
}

impl std::fmt::Display for Identities {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Identities::Any => f.write_str("anybody"),
            Identities::Of(list) => {
                let quoted: Vec<_> = list.iter().map(|id| format!("'{}'", id.escape_debug())).collect();
                f.write_str(&quoted.join(" or "))
            }
        }
    }
}

impl Policy {
    /// Reads the files. `time` is now unless given.
    pub fn new(
        allowed_signers: &Path,
        identity: &str,
        revocation: Option<&Path>,
        time: Option<Timestamp>,
    ) -> Result<Self> {
        let signers = signers::read(allowed_signers)?;
        let revocation = revocation.map(Revocation::read).transpose()?;
        Ok(Policy {
            signers,
            signers_file: allowed_signers.to_path_buf(),
            identity: Identities::Of(vec![identity.to_string()]),
            parents: Identities::Any,
            revocation,
            time: match time {
                Some(time) => time,
                // whole seconds, like the validity itself
                None => Timestamp::from_second(Timestamp::now().as_second()).unwrap_or(Timestamp::UNIX_EPOCH),
            },
        })
    }

    /// Ancestors have to be signed by one of these; by anybody who is listed when there are none.
    pub fn parents(mut self, identities: &[String]) -> Self {
        if !identities.is_empty() {
            self.parents = Identities::Of(identities.to_vec());
        }
        self
    }

    /// Finds a signature over the bytes of an image index that is accepted.
    pub fn verify(&self, signatures: &[String], message: &[u8]) -> Result<Accepted> {
        self.nearest(signatures, message, &self.identity, "--identity")
    }

    /// The same for an ancestor.
    pub fn verify_ancestor(&self, signatures: &[String], message: &[u8]) -> Result<Accepted> {
        self.nearest(signatures, message, &self.parents, "--parent-identity")
    }

    /// Checks one signature over these bytes.
    fn check(
        &self,
        signature: &SshSig,
        message: &[u8],
        identities: &Identities,
        option: &str,
    ) -> Result<Accepted> {
        if signature.namespace() != NAMESPACE {
            return Err(wrong_namespace(signature));
        }
        let key = PublicKey::new(signature.public_key().clone(), "");
        let print = key.fingerprint(HashAlg::Sha256).to_string();
        let known: Vec<&Signer> =
            self.signers.iter().filter(|s| s.key.key_data() == key.key_data()).collect();
        if known.is_empty() {
            return Err(Error::new(
                Kind::KeyUnknown,
                format!("the signing key {print} is not in '{}'", self.signers_file.display()),
            )
            .hint("if you trust this key, add its line to the allowed signers file; the publisher can tell its fingerprint"));
        }
        key.verify(NAMESPACE, message, signature).map_err(|_| mismatch(&print))?;
        let mine: Vec<(&Signer, String)> =
            known.iter().filter_map(|s| Some((*s, identities.of(s)?))).collect();
        if mine.is_empty() {
            return Err(Error::new(
                Kind::IdentityWrong,
                format!("the signing key {print} is not one of {identities}"),
            )
            .hint(format!(
                "'{}' lists it for '{}'; check {option}",
                self.signers_file.display(),
                known
                    .iter()
                    .map(|s| s.principals().escape_debug().to_string())
                    .collect::<Vec<_>>()
                    .join("', '")
            )));
        }
        if !mine.iter().any(|(s, _)| s.allows(NAMESPACE)) {
            return Err(Error::new(
                Kind::NamespaceWrong,
                format!("the key {print} may not sign for '{NAMESPACE}'"),
            )
            .hint(format!("see its namespaces option in '{}'", self.signers_file.display())));
        }
        let mut last = None;
        for (signer, identity) in mine.into_iter().filter(|(s, _)| s.allows(NAMESPACE)) {
            match signer.check_time(self.time) {
                Ok(()) => {
                    self.check_revocation(&key, &print)?;
                    return Ok(Accepted { identity, fingerprint: print });
                }
                Err(e) => last = Some(e),
            }
        }
        Err(last.unwrap_or_else(|| Error::new(Kind::Internal, "no signer was looked at")))
    }

    /// When no signature is accepted, the one that came nearest is the one to talk about.
    fn nearest(
        &self,
        signatures: &[String],
        message: &[u8],
        identities: &Identities,
        option: &str,
    ) -> Result<Accepted> {
        let rank = |kind: Kind| match kind {
            Kind::KeyRevoked => 6,
            Kind::KeyExpired => 5,
            Kind::IdentityWrong => 4,
            Kind::SignatureWrong => 3,
            Kind::NamespaceWrong => 2,
            _ => 1,
        };
        let mut nearest: Option<(u8, Error)> = None;
        for signature in signatures {
            let (rank, error) = match parse(signature) {
                Ok(signature) => match self.check(&signature, message, identities, option) {
                    Ok(accepted) => return Ok(accepted),
                    Err(e) if e.kind.exit_code() != 3 => return Err(e),
                    Err(e) => (rank(e.kind), e),
                },
                // rubbish beside a real signature says nothing
                Err(e) => (0, e),
            };
            log::debug!("signature not accepted: {error}");
            if nearest.as_ref().is_none_or(|(n, _)| rank > *n) {
                nearest = Some((rank, error));
            }
        }
        Err(nearest.map(|(_, error)| error).unwrap_or_else(|| {
            Error::new(Kind::SignatureMissing, "the bundle is not signed")
                .hint("ask its publisher to sign it: isar-template sign --key KEY BUNDLE")
        }))
    }

    fn check_revocation(&self, key: &PublicKey, print: &str) -> Result<()> {
        let Some(revocation) = &self.revocation else {
            return Ok(());
        };
        if revocation.has(key)? {
            return Err(Error::new(
                Kind::KeyRevoked,
                format!("the signing key {print} is revoked in '{}'", revocation.path.display()),
            )
            .hint("do not use this bundle; ask the publisher for one signed by another key"));
        }
        Ok(())
    }
}

/// A signature that was found good.
#[derive(Debug, Clone, PartialEq)]
pub struct Accepted {
    /// As whom the key is trusted.
    pub identity: String,
    /// Fingerprint of the key.
    pub fingerprint: String,
}

/// Checks that a signature is one over these bytes and for our purpose, whoever made it; returns its key's fingerprint.
pub fn check_form(text: &str, message: &[u8]) -> Result<String> {
    let signature = parse(text)?;
    let key = PublicKey::new(signature.public_key().clone(), "");
    let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
    if signature.namespace() != NAMESPACE {
        return Err(wrong_namespace(&signature));
    }
    key.verify(NAMESPACE, message, &signature).map_err(|_| mismatch(&fingerprint))?;
    Ok(fingerprint)
}

fn parse(text: &str) -> Result<SshSig> {
    SshSig::from_pem(text).map_err(|e| {
        Error::new(Kind::SignatureWrong, format!("the signature does not parse: {e}"))
            .hint("the bundle was altered or damaged: get it from its publisher again")
    })
}

fn wrong_namespace(signature: &SshSig) -> Error {
    let namespace = signature.namespace().escape_debug().to_string();
    Error::new(
        Kind::NamespaceWrong,
        format!("the signature was made for '{namespace}', not for '{NAMESPACE}'"),
    )
    .hint(format!("sign with: ssh-keygen -Y sign -n {NAMESPACE}, or isar-template sign"))
}

fn mismatch(fingerprint: &str) -> Error {
    Error::new(Kind::SignatureWrong, format!("the signature by {fingerprint} does not match the image index"))
        .hint("the image index was altered after it was signed, or the signature belongs to another bundle")
}
