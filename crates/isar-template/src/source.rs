// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Which template is meant
//!
//! `NAME[:VERSION]` and `sha256:…` mean a template of the store; a path, `oci:PATH`, `oci://…` or `https://…` a bundle, which is
//! verified and imported before anything of it is used.

use std::path::{Path, PathBuf};

use anyhow::Result;
use template_bundle::ancestors::Evidence;
use template_bundle::bundle::{Bundle, path_of};
use template_bundle::pack::timestamp_now;
use template_bundle::signature::Policy;
use template_bundle::{Digest, Error, signers};
use template_registry::{Extent, Place, Traffic};
use template_store::{Imported, Store, Stored};

use crate::cli::{Cli, Trust, Trusted};
use crate::progress::Progress;
use crate::remote;

const DIGEST_FORM: &str =
    "a digest is sha256: and 64 lower-case hexadecimal digits, as pack and inspect print it";

const TIME_FORM: &str =
    "write it as allowed_signers does: YYYYMMDD or YYYYMMDDHHMM[SS], with a Z at its end for UTC";

/// Whether the argument means a bundle rather than a template of the store.
pub fn is_bundle(argument: &str) -> bool {
    argument.starts_with("oci:") || argument.contains('/') || argument.ends_with(".tar")
}

/// An argument in a message: without what may be a proof of who one is, in an address.
pub fn shown(argument: &str) -> String {
    let Some((scheme, rest)) = argument.split_once("://") else { return argument.escape_debug().to_string() };
    let rest = rest.split('?').next().unwrap_or_default();
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = host.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}{path}").escape_debug().to_string()
}

/// The path of a bundle; remote places are named as what they are.
pub fn bundle_path(argument: &str) -> Result<PathBuf> {
    if Place::is_one(argument) {
        return Err(Error::usage(format!(
            "'{}' is remote, and this verb reads bundles on disk",
            shown(argument)
        ))
        .hint("fetch it with pull, or take it into the store with import")
        .into());
    }
    if let Some((scheme, _)) = argument.split_once("://") {
        return Err(Error::usage(format!("'{}': bundles are not fetched by '{scheme}'", shown(argument)))
            .hint("remote ones are oci://HOST/REPOSITORY:VERSION or https://HOST/PATH.tar; download others first")
            .into());
    }
    Ok(path_of(argument))
}

impl Trusted {
    /// What is trusted, or what is missing to say it.
    pub fn policy(&self) -> Result<Policy> {
        let (signers_file, identity) = self.named()?;
        let time = match &self.verify_time {
            Some(text) => {
                let wrong = |e| Error::usage(format!("--verify-time: {e}")).hint(TIME_FORM);
                Some(signers::parse_time(text).map_err(wrong)?)
            }
            None => None,
        };
        let policy = Policy::new(signers_file, identity, self.revocation.as_deref(), time)?;
        Ok(policy.parents(&self.parent_identity))
    }

    /// The same, when it was said: for what may be looked at without.
    pub fn policy_if_given(&self) -> Result<Option<Policy>> {
        self.is_given().then(|| self.policy()).transpose()
    }

    /// The keys and whose they have to be, without which nothing is used.
    fn named(&self) -> template_bundle::Result<(&Path, &str)> {
        let missing = match (&self.allowed_signers, &self.identity) {
            (Some(signers_file), Some(identity)) => return Ok((signers_file, identity)),
            (None, _) => "--allowed-signers FILE",
            (_, None) => "--identity ID",
        };
        let message = format!("a bundle is only used when it is verified: {missing} is missing");
        Err(Error::usage(message).hint("give --allowed-signers FILE and --identity ID"))
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
        let Self { allowed_signers, identity, parent_identity, revocation, digest, verify_time } = self;
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

/// The path of a bundle that is there: a mistake in it is told before what else is missing.
fn existing_bundle(argument: &str) -> Result<PathBuf> {
    let path = bundle_path(argument)?;
    if !path.exists() {
        Bundle::open_unverified(&path)?;
    }
    Ok(path)
}

/// Opens a bundle and verifies its documents.
pub fn open_bundle(argument: &str, trusted: &Trusted) -> Result<Bundle> {
    let path = existing_bundle(argument)?;
    let policy = trusted.policy()?;
    Ok(Bundle::open(&path, &policy, trusted.pin()?.as_ref())?)
}

/// Verifies and imports a bundle. The template is kept as long as the file `gc_root` exists.
pub fn import(
    cli: &Cli,
    argument: &str,
    trust: &Trust,
    gc_root: Option<&Path>,
    progress: &Progress,
) -> Result<(Store, Imported, Traffic)> {
    let (store, imported, traffic) = match Place::is_one(argument) {
        true => remote::import(cli, argument, trust, gc_root, progress)?,
        false => {
            let bundle = open_bundle(argument, &trust.trusted)?;
            let store = Store::create(&cli.global.store()?)?;
            let imported = template_store::import(&store, &bundle, &timestamp_now(), gc_root, progress)?;
            (store, imported, Traffic::default())
        }
    };
    if let Some(old) = imported.replaced {
        log::warn!(
            "'{}' meant {old} until now, and means {} from now on",
            imported.stored.reference(),
            imported.stored.record.digest
        );
    }
    Ok((store, imported, traffic))
}

/// Opens the store to look for a template in it.
pub fn open_store(cli: &Cli, argument: &str) -> Result<Store> {
    Ok(Store::open(&cli.global.store()?).map_err(|e| perhaps_a_path(e, argument))?)
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
pub fn evidence(cli: &Cli, argument: &str, trust: &Trust, progress: &Progress) -> Result<Vec<Evidence>> {
    if is_bundle(argument) {
        let policy = trust.trusted.policy()?;
        return Ok(open_documents(argument, trust, Some(&policy), progress)?.0.evidence()?);
    }
    let store = open_store(cli, argument)?;
    let stored = find_stored(&store, argument)?;
    trust.trusted.check_stored(&stored)?;
    Ok(store.evidence(&stored)?)
}

/// Opens the documents of a bundle, on disk or elsewhere; the directory is where they are in the latter case. With a policy
/// they are verified.
pub fn open_documents(
    argument: &str,
    trust: &Trust,
    policy: Option<&Policy>,
    progress: &Progress,
) -> Result<(Bundle, Option<tempfile::TempDir>)> {
    if Place::is_one(argument) {
        let place = trust.place(argument)?;
        let mut remote = trust.remote(&place)?;
        let dir =
            tempfile::tempdir().map_err(|e| Error::io("creating a directory in", std::env::temp_dir(), e))?;
        let (bundle, _) =
            remote::documents(policy, &mut remote, &place, dir.path(), Extent::Documents, progress)?;
        return Ok((bundle, Some(dir)));
    }
    let path = bundle_path(argument)?;
    let bundle = match policy {
        Some(policy) => Bundle::open(&path, policy, trust.trusted.pin()?.as_ref())?,
        None => Bundle::open_unverified(&path)?,
    };
    Ok((bundle, None))
}

/// Finds the template that is meant, importing a bundle if it is one.
pub fn find(cli: &Cli, argument: &str, trust: &Trust, progress: &Progress) -> Result<(Store, Stored)> {
    if is_bundle(argument) {
        if !Place::is_one(argument) {
            existing_bundle(argument)?;
        }
        trust.trusted.named().map_err(|e| {
            e.hint(
                "give --allowed-signers FILE and --identity ID, or import the bundle first and use its name",
            )
        })?;
        let (store, imported, _) = import(cli, argument, trust, None, progress)?;
        return Ok((store, imported.stored));
    }
    let store = open_store(cli, argument)?;
    let stored = find_stored(&store, argument)?;
    trust.trusted.check_stored(&stored)?;
    Ok((store, stored))
}
