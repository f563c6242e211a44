// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Keys that are revoked
//!
//! A file with public keys, one in a line, or a binary key revocation list, of which `ssh-keygen` knows the format.

use std::path::{Path, PathBuf};

use ssh_key::PublicKey;

use crate::error::{Error, Result};
use crate::limits::MAX_REVOCATION;
use crate::signers;
use crate::ssh_keygen::{Memory, is_in_krl};

/// How a binary key revocation list begins.
const KRL_MAGIC: &[u8] = b"SSHKRL\n\0";

/// What the revocation file says, read once: it may be a pipe.
pub(crate) struct Revocation {
    /// Where it was.
    pub path: PathBuf,
    keys: RevokedKeys,
}

enum RevokedKeys {
    /// Public keys, one a line.
    List(Vec<PublicKey>),
    /// A copy of the binary key revocation list, which `ssh-keygen` reads.
    Krl(Memory),
}

impl Revocation {
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = signers::read_limited("revocation file", path, MAX_REVOCATION)?;
        let keys = if bytes.starts_with(KRL_MAGIC) {
            RevokedKeys::Krl(Memory::new(&bytes)?)
        } else {
            let list = parse_keys(&String::from_utf8_lossy(&bytes));
            RevokedKeys::List(list.map_err(|e| e.within(path.display()))?)
        };
        Ok(Revocation { path: path.to_path_buf(), keys })
    }

    /// Whether a key is revoked.
    pub fn has(&self, key: &PublicKey) -> Result<bool> {
        match &self.keys {
            RevokedKeys::List(keys) => Ok(keys.iter().any(|revoked| revoked.key_data() == key.key_data())),
            RevokedKeys::Krl(krl) => is_in_krl(key, krl).map_err(|e| e.within(self.path.display())),
        }
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
