// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Signatures
//!
//! SSHSIG, what `ssh-keygen -Y sign -n isar-template` makes, over the bytes of the image index blob. They are checked
//! here, without any program; they are made by the real `ssh-keygen`, which knows agents, PKCS#11 and FIDO tokens.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use jiff::Timestamp;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::SigSet;
use ssh_key::{HashAlg, PublicKey, SshSig};

use crate::error::{Error, IoContext, Kind, Result};
use crate::limits::MAX_REVOCATION;
use crate::signers::{self, Signer};

/// The purpose that our signatures are bound to.
pub const NAMESPACE: &str = "isar-template";
/// How a binary key revocation list begins.
const KRL_MAGIC: &[u8] = b"SSHKRL\n\0";

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

/// What the revocation file says, read once: it may be a pipe.
struct Revocation {
    path: PathBuf,
    keys: RevokedKeys,
}

enum RevokedKeys {
    /// Public keys, one a line.
    List(Vec<PublicKey>),
    /// A copy of the binary key revocation list, which `ssh-keygen` reads.
    Krl(Memory),
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
        let Some(Revocation { path, keys }) = &self.revocation else {
            return Ok(());
        };
        let revoked = match keys {
            RevokedKeys::List(keys) => keys.iter().any(|revoked| revoked.key_data() == key.key_data()),
            RevokedKeys::Krl(krl) => is_in_krl(key, krl).map_err(|e| e.within(path.display()))?,
        };
        if revoked {
            return Err(Error::new(
                Kind::KeyRevoked,
                format!("the signing key {print} is revoked in '{}'", path.display()),
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

impl Revocation {
    fn read(path: &Path) -> Result<Self> {
        let bytes = signers::read_limited("revocation file", path, MAX_REVOCATION)?;
        let keys = if bytes.starts_with(KRL_MAGIC) {
            RevokedKeys::Krl(Memory::new(&bytes)?)
        } else {
            let list = parse_keys(&String::from_utf8_lossy(&bytes));
            RevokedKeys::List(list.map_err(|e| e.within(path.display()))?)
        };
        Ok(Revocation { path: path.to_path_buf(), keys })
    }
}

/// One public key a line.
fn parse_keys(list: &str) -> Result<Vec<PublicKey>> {
    let mut keys = Vec::new();
    for (at, line) in list.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        keys.push(PublicKey::from_openssh(line).map_err(|e| {
            Error::usage(format!("revocation file line {}: key does not parse: {e}", at + 1)).hint("a revocation file has public keys, one in a line, or is a list that 'ssh-keygen -k' has made")
        })?);
    }
    Ok(keys)
}

/// Asks the real `ssh-keygen`, the authority on its own binary format.
fn is_in_krl(key: &PublicKey, krl: &Memory) -> Result<bool> {
    let text = key.to_openssh().map_err(|e| Error::new(Kind::Internal, format!("writing a key: {e}")))?;
    let file = Memory::new(format!("{text}\n").as_bytes())?;
    let out = ssh_keygen()
        .args(["-Q", "-f"])
        .arg(krl.path())
        .arg(file.path())
        .stdin(Stdio::null())
        .output()
        .map_err(no_ssh_keygen)?;
    // 0: not revoked; anything else: revoked, or the list is not readable. Both must stop us.
    if out.status.success() {
        return Ok(false);
    }
    let said = String::from_utf8_lossy(&out.stdout);
    if said.contains("REVOKED") {
        return Ok(true);
    }
    let said = String::from_utf8_lossy(&out.stderr).trim().replace(&krl.path(), "it");
    Err(Error::usage(format!("the revocation list cannot be read: {said}"))
        .hint("make it anew with 'ssh-keygen -k', or give a file with one public key in a line"))
}

/// A file that another program reads, and that is on no disk.
struct Memory(File);

impl Memory {
    fn new(bytes: &[u8]) -> Result<Memory> {
        let file =
            memfd_create("isar-template", MFdFlags::MFD_CLOEXEC).doing("creating a file in", "memory")?;
        let mut file = File::from(file);
        file.write_all(bytes).doing("writing to", "memory")?;
        Ok(Memory(file))
    }

    /// Where others find it as long as it lives.
    fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }
}

fn ssh_keygen() -> Command {
    let mut command = Command::new("ssh-keygen");
    command.env("LC_ALL", "C");
    command
}

/// A child inherits which signals are blocked; one that asks for a passphrase has to hear of Ctrl-C.
fn spawn_unblocked(command: &mut Command) -> std::io::Result<std::process::Child> {
    let blocked = SigSet::thread_get_mask()?;
    SigSet::empty().thread_set_mask()?;
    let child = command.spawn();
    blocked.thread_set_mask()?;
    child
}

fn no_ssh_keygen(e: std::io::Error) -> Error {
    Error::new(Kind::ToolMissing, format!("running ssh-keygen: {e}"))
        .hint("install the package openssh-client")
}

fn beginning(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Signs bytes with a private key, or with a public key whose private half an agent or token holds.
pub fn sign(key: &Path, message: &[u8]) -> Result<String> {
    if !key.exists() {
        return Err(Error::usage(format!("signing key '{}' does not exist", key.display()))
            .hint("make one with: ssh-keygen -t ed25519 -f KEY"));
    }
    let begin = beginning(key).map_err(|e| {
        Error::usage(format!("signing key '{}': {e}", key.display()))
            .hint("run it as the user whose key it is")
    })?;
    if !["-----BEGIN ", "ssh-", "ecdsa-", "sk-"].iter().any(|kind| begin.starts_with(kind.as_bytes())) {
        return Err(Error::usage(format!("signing key '{}' is no key", key.display())).hint(
            "give the private key that ssh-keygen has made, or KEY.pub when ssh-agent or a token has it",
        ));
    }
    let mut command = ssh_keygen();
    command
        .args(["-Y", "sign", "-q", "-n", NAMESPACE, "-f"])
        .arg(key)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = spawn_unblocked(&mut command).map_err(no_ssh_keygen)?;
    if let Some(mut stdin) = child.stdin.take() {
        // a child that ends early says why on stderr; a broken pipe adds nothing to that
        let _ = stdin.write_all(message);
    }
    let out = child.wait_with_output().doing("running", "ssh-keygen")?;
    if !out.status.success() {
        return Err(Error::usage(format!(
            "signing with '{}': ssh-keygen: {}",
            key.display(),
            String::from_utf8_lossy(&out.stderr).trim()
        ))
        .hint("its passphrase has to be known to ssh-agent (then give KEY.pub), or typed on the terminal; a build has none"));
    }
    let signature = String::from_utf8(out.stdout).doing("reading the output of", "ssh-keygen")?;
    SshSig::from_pem(&signature).map_err(|e| {
        Error::new(Kind::Internal, format!("ssh-keygen made a signature that does not parse: {e}"))
    })?;
    Ok(signature)
}
