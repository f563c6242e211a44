// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Templates that are elsewhere
//!
//! Documents come first, and are verified before anything else of a bundle is fetched. A release that is named by its digest
//! and is in the store already is verified there: nobody is asked.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Result;
use template_bundle::aside::NewDir;
use template_bundle::bundle::Bundle;
use template_bundle::manifest::{Component, TemplateManifest, Tree};
use template_bundle::pack::timestamp_now;
use template_bundle::signature::Policy;
use template_bundle::{Digest, Error, Kind};
use template_chroot::watch::waiting;
use template_registry::{Documents, Extent, Place, Remote, Traffic, Wanted};
use template_store::{Imported, Lacking, Proven, Store};

use crate::cli::{Cli, Trust};
use crate::progress::Progress;

impl Trust {
    /// Which place is meant. The pin names a release whatever is there by now.
    pub fn place(&self, argument: &str) -> Result<Place> {
        let mut place: Place = argument.parse()?;
        if let Some(pin) = self.trusted.pin()? {
            if place.digest().is_some_and(|named| *named != pin) {
                return Err(Error::usage(format!("'{argument}' names another release than --digest {pin}"))
                    .hint("name it in one of both ways")
                    .into());
            }
            place.pin(pin);
        }
        Ok(place)
    }

    /// How it is spoken to, if it may be.
    pub fn remote(&self, place: &Place) -> Result<Remote> {
        if self.offline {
            let error = match place.digest() {
                Some(digest) => {
                    Error::new(Kind::NotFound, format!("{digest} of {place} is not in the store"))
                        .hint("--offline forbids to ask for it: import it once without")
                }
                None => Error::usage(format!(
                    "'{place}' names no digest, and --offline forbids to ask what it means"
                ))
                .hint("give --digest sha256:DIGEST, or append @sha256:DIGEST to what is in a registry"),
            };
            return Err(error.into());
        }
        Ok(Remote::new(place, self.registry.plain_http)?)
    }
}

/// A release that the store has, when it is said which one and it is signed as it has to be. Signatures may have come to
/// the registry since, so that it is asked when those here are not good enough.
pub fn known<T>(
    trust: &Trust,
    place: &Place,
    find: impl FnOnce(&Digest) -> template_bundle::Result<Option<T>>,
) -> Result<Option<T>> {
    let Some(digest) = place.digest() else { return Ok(None) };
    match find(digest) {
        Err(e) if !trust.offline && e.kind.exit_code() == Kind::Damaged.exit_code() => {
            log::debug!("what the store has of {digest} does not do: {e}");
            Ok(None)
        }
        other => Ok(other?),
    }
}

/// Fetches what the store lacks of a template, and imports it.
pub fn import(
    cli: &Cli,
    argument: &str,
    trust: &Trust,
    gc_root: Option<&Path>,
    progress: &Progress,
) -> Result<(Store, Imported, Traffic)> {
    let place = trust.place(argument)?;
    let policy = trust.trusted.policy()?;
    let store = Store::create(&cli.global.store()?)?;
    let again = |digest: &Digest| template_store::import_again(&store, digest, &policy, gc_root, progress);
    if let Some(imported) = known(trust, &place, again)? {
        return Ok((store, imported, Traffic::default()));
    }
    let mut remote = trust.remote(&place)?;
    let scratch = store.scratch()?;
    let (mut bundle, documents) =
        documents(Some(&policy), &mut remote, &place, scratch.path(), Extent::All, progress)?;
    let (imported, traffic) =
        fetch_lacking(&store, &mut bundle, &remote, &documents, scratch.path(), progress)
            .and_then(|traffic| {
                let imported = template_store::import(&store, &bundle, &timestamp_now(), gc_root, progress)?;
                Ok((imported, traffic))
            })
            // nobody knows the scratch directory
            .map_err(|mut e| {
                e.message = e.message.replace(&scratch.path().display().to_string(), &place.to_string());
                e
            })?;
    Ok((store, imported, traffic))
}

/// Fetches the contents that the store lacks of a bundle whose documents are there.
fn fetch_lacking(
    store: &Store,
    bundle: &mut Bundle,
    remote: &Remote,
    documents: &Documents,
    layout: &Path,
    progress: &Progress,
) -> template_bundle::Result<Traffic> {
    let gate = template_store::close_gate(store, progress)?;
    let there = store.blobs_of_trees(&bundle.manifest);
    // tables of contents say what else is needed
    let layers: BTreeSet<Digest> = trees(&bundle.manifest).map(|tree| tree.digest).collect();
    let tables = |blob: &Digest| match there.contains(blob) || layers.contains(blob) {
        true => Wanted::Nothing,
        false if bundle.may_lack(blob) => Wanted::IfThere,
        false => Wanted::Whole,
    };
    let of_tables = fetch(remote, documents, &tables, layout, progress)?;
    let lacking = template_store::lacking(store, bundle, &gate)?;
    let parts = |blob: &Digest| match lacking.iter().find(|lacking| lacking.blob == *blob) {
        Some(Lacking { ranges: Some(ranges), .. }) => Wanted::Parts(ranges.clone()),
        Some(_) if bundle.may_lack(blob) => Wanted::IfThere,
        lacking => wanted(lacking.is_some()),
    };
    let of_layers = fetch(remote, documents, &parts, layout, progress)?;
    let moved = documents.fetched + of_tables.moved + of_layers.moved;
    bundle.leave_out(there);
    Ok(Traffic { moved, present: documents.size().saturating_sub(moved) })
}

/// Fetches contents, unless somebody has enough of waiting for them.
pub fn fetch(
    remote: &Remote,
    documents: &Documents,
    wanted: &dyn Fn(&Digest) -> Wanted,
    layout: &Path,
    progress: &Progress,
) -> template_bundle::Result<Traffic> {
    let _waiting = waiting(Some(layout));
    template_registry::contents(remote, documents, wanted, layout, progress)
}

fn trees(manifest: &TemplateManifest) -> impl Iterator<Item = &Tree> {
    manifest.components.iter().flat_map(Component::trees)
}

fn wanted(whole: bool) -> Wanted {
    if whole { Wanted::Whole } else { Wanted::Nothing }
}

/// What the store knows of a release without asking anybody.
pub fn proven(cli: &Cli, place: &Place, trust: &Trust, policy: &Policy) -> Result<Option<Proven>> {
    known(trust, place, |digest| match Store::open(&cli.global.store()?) {
        Ok(store) => store.prove(digest, policy),
        Err(e) => {
            log::debug!("{e}");
            Ok(None)
        }
    })
}

/// Fetches the documents of a bundle into a directory, and opens it. With a policy they are verified.
pub fn documents(
    policy: Option<&Policy>,
    remote: &mut Remote,
    place: &Place,
    layout: &Path,
    extent: Extent,
    progress: &Progress,
) -> Result<(Bundle, Documents)> {
    progress.step("fetching documents");
    let documents = {
        let _waiting = waiting(Some(layout));
        template_registry::documents(remote, layout, extent, progress)?
    };
    let bundle = match policy {
        Some(policy) => Bundle::open(layout, policy, place.digest())?,
        None => Bundle::open_unverified(layout)?,
    };
    Ok((bundle, documents))
}

/// Fetches one component of a verified bundle, beside where it will be unpacked.
pub fn component(
    argument: &str,
    trust: &Trust,
    name: &str,
    target: &Path,
    progress: &Progress,
) -> Result<(Bundle, NewDir)> {
    let place = trust.place(argument)?;
    let policy = trust.trusted.policy()?;
    let mut remote = trust.remote(&place)?;
    let fetched = NewDir::new(target)?;
    let (mut bundle, documents) =
        documents(Some(&policy), &mut remote, &place, fetched.path(), Extent::All, progress)?;
    let blobs = |component: &Component| component.descriptors().into_iter().map(|blob| blob.digest);
    let wanted: BTreeSet<Digest> = blobs(bundle.manifest.component(name)?).collect();
    let others: BTreeSet<Digest> =
        bundle.manifest.components.iter().flat_map(blobs).filter(|blob| !wanted.contains(blob)).collect();
    let blobs = |blob: &Digest| self::wanted(!others.contains(blob));
    fetch(&remote, &documents, &blobs, fetched.path(), progress)?;
    bundle.leave_out(others);
    Ok((bundle, fetched))
}
