// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # The two sides of a comparison
//!
//! A stored template, a bundle, a directory or a tar: its entries, its packages, and how to read some of its files. What has
//! a table of contents is not read as a whole.

use std::collections::btree_map::Entry as MapEntry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::Serialize;
use template_bundle::bundle::Bundle;
use template_bundle::diff::side::Take;
use template_bundle::diff::{Reader, Section};
use template_bundle::inroot::InRoot;
use template_bundle::manifest::{Component, Package, Part, ROOTFS, TemplateManifest, Tree};
use template_bundle::scan::scan;
use template_bundle::stack::stack;
use template_bundle::tarball::{Tarball, is_tarball};
use template_bundle::toc::{Entry, Node, Toc};
use template_bundle::tree::OnDisk;
use template_bundle::{Digest, Error, Kind};
use template_store::{Store, Stored};

use super::DiffOpts;
use crate::cli::Cli;
use crate::source;

/// What a side is.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct About {
    /// As it was asked for.
    pub what: String,
    /// `template`, `bundle`, `directory` or `tar`.
    pub kind: &'static str,
    /// Name of the template.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Version of the template.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template_version: Option<String>,
    /// Digest of the image index.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Whether its signature was found good.
    pub verified: bool,
}

impl About {
    fn template(what: &str, kind: &'static str, manifest: &TemplateManifest, digest: Digest) -> Self {
        About {
            what: what.into(),
            kind,
            name: Some(manifest.name.clone()),
            template_version: Some(manifest.template_version.clone()),
            digest: Some(digest),
            verified: kind == "template",
        }
    }

    /// Something that does not say what it is.
    fn unnamed(what: &str, kind: &'static str) -> Self {
        About { what: what.into(), kind, name: None, template_version: None, digest: None, verified: false }
    }
}

/// A tar is read as a whole, as nothing vouches for it that could be compared instead.
fn load_tarball(what: &str, path: &Path) -> Result<Loaded> {
    let (entries, tarball) = Tarball::scan(path)?;
    Ok(Loaded { about: About::unnamed(what, "tar"), entries, packages: vec![], reader: Box::new(tarball) })
}

/// A side that can be compared.
pub struct Loaded {
    pub about: About,
    pub entries: Vec<Entry>,
    /// As the template manifest has them.
    pub packages: Vec<Package>,
    pub reader: Box<dyn Reader>,
}

/// Finds out what an argument means, and reads its entries.
pub fn load(cli: &Cli, opts: &DiffOpts, what: &str) -> Result<Loaded> {
    if !source::is_bundle(what) {
        let found = cli.global.store().and_then(|path| Store::open(&path));
        match found.and_then(|store| Ok((store.find(what)?, store))) {
            Ok((stored, store)) => {
                if Path::new(what).exists() {
                    log::warn!("'{what}' is taken for the template of that name: the path is ./{what}");
                }
                return load_stored(opts, what, stored, &store);
            }
            Err(e) if e.kind == Kind::NotFound && Path::new(what).exists() => {}
            Err(e) => return Err(e.into()),
        }
    }
    let path = source::bundle_path(what)?;
    if path.is_dir() && !path.join("oci-layout").exists() {
        return load_directory(what, path);
    }
    if path.is_file() && is_tarball(&path)? {
        return load_tarball(what, &path);
    }
    load_bundle(opts, what, &path)
}

/// What a manifest lists is what is in the root filesystem; the packages of other components are in their trees.
fn listed(manifest: &TemplateManifest, component: &Component) -> Vec<Package> {
    if component.name == ROOTFS { manifest.packages.clone() } else { vec![] }
}

fn load_stored(opts: &DiffOpts, what: &str, stored: Stored, store: &Store) -> Result<Loaded> {
    let component = stored.manifest.component(&opts.component)?;
    let packages = listed(&stored.manifest, component);
    let about = About::template(what, "template", &stored.manifest, stored.record.digest);
    let (mut entries, mut roots) = (Vec::new(), HashMap::new());
    let list = match store.entries(component, opts.raw) {
        // packages are in the manifest, which everybody may read
        Err(e)
            if e.kind == Kind::Privilege
                && opts.sections() == [Section::Packages]
                && !packages.is_empty() =>
        {
            log::info!("sizes of packages are not known: {e}");
            vec![]
        }
        other => other?,
    };
    for (entry, root) in list {
        roots.insert(entry.path.0.clone(), root);
        entries.push(entry);
    }
    Ok(Loaded { about, entries, packages, reader: Box::new(InStore { roots, _held: stored }) })
}

/// The trees of a stored template.
struct InStore {
    /// In which of them each file is.
    roots: HashMap<Vec<u8>, PathBuf>,
    /// Keeps gc away.
    _held: Stored,
}

impl Reader for InStore {
    fn read(&self, wanted: &[&Entry], take: &mut Take) -> template_bundle::Result<()> {
        let mut open: BTreeMap<&Path, InRoot> = BTreeMap::new();
        for entry in wanted {
            let Some(path) = self.roots.get(&entry.path.0) else { continue };
            let root = match open.entry(path) {
                MapEntry::Occupied(known) => known.into_mut(),
                MapEntry::Vacant(new) => new.insert(InRoot::open(path)?),
            };
            if let Some(content) = root.read(&entry.path.0)? {
                take(&entry.path.0, &content)?;
            }
        }
        Ok(())
    }
}

fn load_directory(what: &str, path: PathBuf) -> Result<Loaded> {
    let (entries, notes) = scan(&path).map_err(perhaps_root)?;
    for socket in notes.sockets {
        log::info!("'{}' is a socket and is not compared", socket.display());
    }
    let about = About::unnamed(what, "directory");
    Ok(Loaded { about, entries, packages: vec![], reader: Box::new(InDirectory(path)) })
}

fn perhaps_root(e: Error) -> Error {
    match e.kind == Kind::Io && !nix::unistd::geteuid().is_root() {
        true => e.hint("root filesystems have files that only root can read: run it with sudo"),
        false => e,
    }
}

/// A directory of the host.
struct InDirectory(PathBuf);

impl Reader for InDirectory {
    fn read(&self, wanted: &[&Entry], take: &mut Take) -> template_bundle::Result<()> {
        OnDisk(&self.0).read(wanted, take).map_err(perhaps_root)
    }

    fn hash(&self, entries: &mut [Entry]) -> template_bundle::Result<()> {
        OnDisk(&self.0).hash(entries).map_err(perhaps_root)
    }
}

fn load_bundle(opts: &DiffOpts, what: &str, path: &Path) -> Result<Loaded> {
    let bundle = Bundle::open_unverified(path)?;
    log::warn!("bundle '{}' is compared without verifying it", path.display());
    let component = bundle.manifest.component(&opts.component)?.clone();
    let packages = listed(&bundle.manifest, &component);
    let about = About::template(what, "bundle", &bundle.manifest, bundle.digest);
    let of = |(part, tree): (Part, &Tree)| bundle.toc(&component, part, tree).map(|toc| (tree.clone(), toc));
    let trees: Vec<(Tree, Toc)> = component.parts_of(opts.raw).map(of).collect::<Result<_, _>>()?;
    let stacked = stack(trees.iter().map(|(_, toc)| &toc.entries[..]))?;
    let entries = stacked.into_iter().map(|(entry, _)| entry).collect();
    Ok(Loaded { about, entries, packages, reader: Box::new(InBundle { bundle, component, trees }) })
}

/// The OCI layers of a bundle.
struct InBundle {
    bundle: Bundle,
    component: Component,
    trees: Vec<(Tree, Toc)>,
}

impl Reader for InBundle {
    fn read(&self, wanted: &[&Entry], take: &mut Take) -> template_bundle::Result<()> {
        let mut paths: BTreeMap<Digest, Vec<&[u8]>> = BTreeMap::new();
        for entry in wanted {
            match entry.node {
                Node::File { size: 0, .. } => take(&entry.path.0, &[])?,
                Node::File { digest, .. } => paths.entry(digest).or_default().push(&entry.path.0),
                _ => {}
            }
        }
        for (tree, toc) in &self.trees {
            let missing: BTreeSet<Digest> = paths.keys().copied().collect();
            self.bundle.read_chosen(&self.component, tree, toc, &missing, &mut |digest, content| {
                for path in paths.remove(digest).unwrap_or_default() {
                    take(path, content)?;
                }
                Ok(())
            })?;
        }
        Ok(())
    }
}
