// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # The real ssh-keygen
//!
//! It makes signatures, as it knows agents, PKCS#11 and FIDO tokens, and reads its own revocation lists.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::SigSet;
use ssh_key::{PublicKey, SshSig};

use crate::error::{Error, IoContext, Kind, Result};
use crate::signature::NAMESPACE;

/// Asks the real `ssh-keygen`, the authority on its own binary format, whether a key is in a list.
pub(crate) fn is_in_krl(key: &PublicKey, krl: &Memory) -> Result<bool> {
    let text = key.to_openssh().map_err(|e| Error::new(Kind::Internal, format!("writing a key: {e}")))?;
    let file = Memory::new(format!("{text}\n").as_bytes())?;
    let out = command()
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
pub(crate) struct Memory(File);

impl Memory {
    pub fn new(bytes: &[u8]) -> Result<Memory> {
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

fn command() -> Command {
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
    let mut command = self::command();
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
