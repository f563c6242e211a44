// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Which template is meant
//!
//! `NAME[:VERSION]` and `sha256:…` mean a template of the store; a path or `oci:PATH` a bundle, which is verified and
//! imported before anything of it is used.

use anyhow::Result;
use template_bundle::bundle::{Bundle, path_of};
use template_bundle::signature::Policy;
use template_bundle::{Digest, Error, signers};
use template_store::{Imported, Store, Stored};

use crate::cli::{Cli, Trust};
use crate::progress::Progress;

/// Whether the argument means a bundle rather than a template of the store.
pub fn is_bundle(argument: &str) -> bool {
    argument.starts_with("oci:") || argument.contains('/') || argument.ends_with(".tar")
}

/// The path of a bundle; remote places are named as what they are.
pub fn bundle_path(argument: &str) -> Result<std::path::PathBuf> {
    if ["http://", "https://", "oci://", "ftp://"].iter().any(|scheme| argument.starts_with(scheme)) {
        return Err(Error::usage(format!(
            "'{argument}' is remote: only bundles on disk are supported so far"
        ))
        .hint("download it first, for example with curl, or skopeo copy docker://… oci:DIR:TAG")
        .into());
    }
    Ok(path_of(argument))
}

impl Trust {
    /// What is trusted, or what is missing to say it.
    pub fn policy(&self) -> Result<Policy> {
        let (Some(signers_file), Some(identity)) = (&self.allowed_signers, &self.identity) else {
            let what =
                if self.allowed_signers.is_none() { "--allowed-signers FILE" } else { "--identity ID" };
            return Err(Error::usage(format!(
                "a bundle is only used when it is verified: {what} is missing"
            ))
            .hint(
                "give --allowed-signers FILE and --identity ID, or import the bundle first and use its name",
            )
            .into());
        };
        let time = match &self.verify_time {
            Some(text) => {
                Some(signers::parse_time(text).map_err(|e| Error::usage(format!("--verify-time: {e}")))?)
            }
            None => None,
        };
        Ok(Policy::new(signers_file, identity, self.revocation.as_deref(), time)?)
    }

    /// The pin.
    pub fn pin(&self) -> Result<Option<Digest>> {
        Ok(self.digest.as_deref().map(str::parse).transpose()?)
    }

    fn is_given(&self) -> bool {
        self.allowed_signers.is_some() || self.identity.is_some()
    }
}

/// Verifies and imports a bundle.
pub fn import(cli: &Cli, argument: &str, trust: &Trust, progress: &Progress) -> Result<(Store, Imported)> {
    let policy = trust.policy()?;
    let path = bundle_path(argument)?;
    let bundle = Bundle::open(&path, &policy, trust.pin()?.as_ref())?;
    let store = Store::create(&cli.global.store())?;
    let now = template_bundle::pack::timestamp_now();
    let imported = template_store::import(&store, &bundle, &now, progress)?;
    if let Some(old) = imported.replaced {
        log::warn!(
            "'{}' meant {old} until now, and means {} from now on",
            imported.stored.reference(),
            imported.stored.record.digest
        );
    }
    Ok((store, imported))
}

/// Finds the template that is meant, importing a bundle if it is one.
pub fn find(cli: &Cli, argument: &str, trust: &Trust, progress: &Progress) -> Result<(Store, Stored)> {
    if is_bundle(argument) {
        let (store, imported) = import(cli, argument, trust, progress)?;
        return Ok((store, imported.stored));
    }
    let store = Store::open(&cli.global.store())?;
    let stored = store.find(argument).map_err(|e| match std::path::Path::new(argument).exists() {
        true => e.hint(format!("if the bundle in the current directory is meant, write ./{argument}")),
        false => e,
    })?;
    if trust.is_given() {
        log::info!("'{}' was verified when it was imported", stored.reference());
    }
    if let Some(pin) = trust.pin()?
        && pin != stored.record.digest
    {
        return Err(Error::new(
            template_bundle::Kind::DigestDiffers,
            format!(
                "'{}' in the store is {}, but {pin} was asked for",
                stored.reference(),
                stored.record.digest
            ),
        )
        .hint("import the release that is wanted")
        .into());
    }
    Ok((store, stored))
}
