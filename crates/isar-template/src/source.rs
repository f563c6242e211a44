// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Which template is meant
//!
//! `NAME[:VERSION]` and `sha256:…` mean a template of the store; a path or `oci:PATH` a bundle, which is verified and
//! imported before anything of it is used.

use std::path::Path;

use anyhow::Result;
use template_bundle::ancestors::Evidence;
use template_bundle::bundle::{Bundle, path_of};
use template_bundle::signature::Policy;
use template_bundle::{Digest, Error, signers};
use template_registry::{Reference, Registry, Traffic};
use template_store::{Imported, Scratch, Store, Stored};

use crate::cli::{Cli, Trust};
use crate::progress::Progress;

const DIGEST_FORM: &str =
    "a digest is sha256: and 64 lower-case hexadecimal digits, as pack and inspect print it";

/// Whether the argument means a bundle rather than a template of the store.
pub fn is_bundle(argument: &str) -> bool {
    argument.starts_with("oci:") || argument.contains('/') || argument.ends_with(".tar")
}

/// The path of a bundle; remote places are named as what they are.
pub fn bundle_path(argument: &str) -> Result<std::path::PathBuf> {
    if Reference::is_one(argument) {
        return Err(Error::usage(format!(
            "'{argument}' is in a registry, and this verb reads bundles on disk"
        ))
        .hint("fetch it with pull, or take it into the store with import")
        .into());
    }
    if ["http://", "https://", "ftp://"].iter().any(|scheme| argument.starts_with(scheme)) {
        return Err(Error::usage(format!(
            "'{argument}' is remote: only bundles on disk are supported so far"
        ))
        .hint("download it first, for example with curl")
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
        let policy = Policy::new(signers_file, identity, self.revocation.as_deref(), time)?;
        Ok(policy.parents(&self.parent_identity))
    }

    /// The pin.
    pub fn pin(&self) -> Result<Option<Digest>> {
        let parse = |text: &str| {
            text.parse()
                .map_err(|e: Error| Error::usage(format!("--digest: {}", e.message)).hint(DIGEST_FORM))
        };
        Ok(self.digest.as_deref().map(parse).transpose()?)
    }

    /// Whether any of it was said.
    pub fn is_given(&self) -> bool {
        let Trust {
            allowed_signers,
            identity,
            parent_identity,
            revocation,
            digest,
            verify_time,
            registry: _,
        } = self;
        allowed_signers.is_some()
            || identity.is_some()
            || !parent_identity.is_empty()
            || revocation.is_some()
            || digest.is_some()
            || verify_time.is_some()
    }

    /// What can be asked of a template that was verified when it was imported.
    pub fn check_stored(&self, stored: &Stored) -> Result<()> {
        let idle = [
            ("--allowed-signers", self.allowed_signers.is_some()),
            ("--parent-identity", !self.parent_identity.is_empty()),
            ("--revocation", self.revocation.is_some()),
            ("--verify-time", self.verify_time.is_some()),
        ];
        if let Some((option, _)) = idle.iter().find(|(_, given)| *given) {
            return Err(Error::usage(format!(
                "{option} is for bundles: '{}' was verified when it was imported",
                stored.reference()
            ))
            .hint("leave it out, or name the bundle to verify it again")
            .into());
        }
        let record = &stored.record;
        match &self.identity {
            Some(identity) if *identity != record.signer => Err(Error::new(
                template_bundle::Kind::IdentityWrong,
                format!(
                    "'{}' in the store was signed by '{}', not by '{}'",
                    stored.reference(),
                    record.signer,
                    identity.escape_debug()
                ),
            )
            .hint("import the template of the publisher that is meant")
            .into()),
            _ => self.check_pin(stored),
        }
    }

    fn check_pin(&self, stored: &Stored) -> Result<()> {
        match self.pin()? {
            Some(pin) if pin != stored.record.digest => Err(Error::new(
                template_bundle::Kind::DigestDiffers,
                format!(
                    "'{}' in the store is {}, but {pin} was asked for",
                    stored.reference(),
                    stored.record.digest
                ),
            )
            .hint("import the release that is wanted")
            .into()),
            _ => Ok(()),
        }
    }
}

/// Opens a bundle and verifies its documents.
pub fn open_bundle(argument: &str, trust: &Trust) -> Result<Bundle> {
    let policy = trust.policy()?;
    Ok(Bundle::open(&bundle_path(argument)?, &policy, trust.pin()?.as_ref())?)
}

/// Verifies and imports a bundle. The template is kept as long as the file `gc_root` exists.
pub fn import(
    cli: &Cli,
    argument: &str,
    trust: &Trust,
    gc_root: Option<&Path>,
    progress: &Progress,
) -> Result<(Store, Imported, Traffic)> {
    let (store, bundle, traffic, _scratch) = match Reference::is_one(argument) {
        true => fetch(cli, argument, trust, progress)?,
        false => {
            let bundle = open_bundle(argument, trust)?;
            (Store::create(&cli.global.store())?, bundle, Traffic::default(), None)
        }
    };
    let now = template_bundle::pack::timestamp_now();
    let imported = template_store::import(&store, &bundle, &now, gc_root, progress)?;
    if let Some(old) = imported.replaced {
        log::warn!(
            "'{}' meant {old} until now, and means {} from now on",
            imported.stored.reference(),
            imported.stored.record.digest
        );
    }
    Ok((store, imported, traffic))
}

/// Fetches what the store lacks of a bundle in a registry. Its documents come first, and are verified before the rest.
fn fetch(
    cli: &Cli,
    argument: &str,
    trust: &Trust,
    progress: &Progress,
) -> Result<(Store, Bundle, Traffic, Option<Scratch>)> {
    let reference: Reference = argument.parse()?;
    let policy = trust.policy()?;
    let pin = trust.pin()?;
    let store = Store::create(&cli.global.store())?;
    let scratch = store.scratch()?;
    let registry = Registry::new(&reference, trust.registry.plain_http)?;
    progress.step("fetching documents");
    let documents = template_registry::documents(&registry, &reference, scratch.path())?;
    let mut bundle = Bundle::open(scratch.path(), &policy, pin.as_ref())?;
    let there = store.blobs_of_trees(&bundle.manifest);
    let traffic = template_registry::contents(&registry, &documents, &there, scratch.path(), progress)?;
    bundle.leave_out(there);
    Ok((store, bundle, traffic, Some(scratch)))
}

/// Opens the store to look for a template in it.
pub fn open_store(cli: &Cli, argument: &str) -> Result<Store> {
    Ok(Store::open(&cli.global.store()).map_err(|e| perhaps_a_path(e, argument))?)
}

/// Finds a template of the store.
pub fn find_stored(store: &Store, argument: &str) -> Result<Stored> {
    Ok(store.find(argument).map_err(|e| perhaps_a_path(e, argument))?)
}

fn perhaps_a_path(e: Error, argument: &str) -> Error {
    match e.kind == template_bundle::Kind::NotFound && Path::new(argument).exists() {
        true => e.hint(format!("if the bundle in the current directory is meant, write ./{argument}")),
        false => e,
    }
}

/// What proves a template that another one is made from, and those before it. A bundle is verified and not imported.
pub fn evidence(cli: &Cli, argument: &str, trust: &Trust) -> Result<Vec<Evidence>> {
    if is_bundle(argument) {
        return Ok(open_bundle(argument, trust)?.evidence()?);
    }
    let store = open_store(cli, argument)?;
    let stored = find_stored(&store, argument)?;
    trust.check_stored(&stored)?;
    Ok(store.evidence(&stored)?)
}

/// Finds the template that is meant, importing a bundle if it is one.
pub fn find(cli: &Cli, argument: &str, trust: &Trust, progress: &Progress) -> Result<(Store, Stored)> {
    if is_bundle(argument) {
        let (store, imported, _) = import(cli, argument, trust, None, progress)?;
        return Ok((store, imported.stored));
    }
    let store = open_store(cli, argument)?;
    let stored = find_stored(&store, argument)?;
    trust.check_stored(&stored)?;
    Ok((store, stored))
}
