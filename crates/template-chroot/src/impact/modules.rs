// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Kernels, and modules that were built for them
//!
//! A module works with the kernel below whose directory it lies. When that kernel goes and the module stays, the module
//! is of no use, and the driver is missing where nobody expects it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::{Impact, Incoming, OrphanedModule, Outgoing, Question};
use crate::error::Result;
use crate::system::{Kind, Records, Tree, paths, plain};

/// Names of kernels in /boot.
const IMAGES: [&str; 7] = ["vmlinuz-", "vmlinux-", "Image-", "zImage-", "bzImage-", "uImage-", "kernel-"];
const MODULES: &str = "/usr/lib/modules";
const DKMS: &str = "/var/lib/dkms";
const DEPTH_LIMIT: usize = 16;

/// What a package has of a kernel. An image counts for more than its modules, which may be in a package of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Modules,
    Image,
}

/// The kernel that a path belongs to, if it is part of one; the path is [`plain`].
pub(super) fn release_of(path: &Path) -> Option<(&str, Part)> {
    if let Ok(rest) = path.strip_prefix(MODULES) {
        let (release, rest) = rest.to_str()?.split_once('/')?;
        return match rest {
            "vmlinuz" => Some((release, Part::Image)),
            "modules.builtin" | "modules.order" => Some((release, Part::Modules)),
            _ if rest.starts_with("kernel/") => Some((release, Part::Modules)),
            _ => None,
        };
    }
    let name = path.strip_prefix("/boot").ok()?.to_str()?;
    let release = IMAGES.iter().find_map(|image| name.strip_prefix(image))?;
    (!release.is_empty() && !release.contains('/')).then_some((release, Part::Image))
}

fn kernels<'a>(files: impl IntoIterator<Item = &'a PathBuf>) -> BTreeMap<String, Part> {
    let mut found: BTreeMap<String, Part> = BTreeMap::new();
    for (release, part) in files.into_iter().filter_map(|path| release_of(path)) {
        match found.get_mut(release) {
            Some(known) => *known = part.max(*known),
            None => drop(found.insert(release.to_owned(), part)),
        }
    }
    found
}

pub(super) fn judge(
    tree: &Tree,
    records: &Records<'_>,
    question: &Question<'_>,
    impact: &mut Impact,
) -> Result<()> {
    // the kernels that packages have which go or change, and the package that has most of each
    let mut before: BTreeMap<String, (Part, &Outgoing)> = BTreeMap::new();
    for outgoing in question.outgoing {
        for (release, part) in kernels(&outgoing.files) {
            let known = before.entry(release).or_insert((part, outgoing));
            if part > known.0 {
                *known = (part, outgoing);
            }
        }
    }
    if before.is_empty() {
        return Ok(());
    }
    let after = remaining(records, question, &before)?;
    for (release, (part, kernel)) in &before {
        let goes = after.get(release).is_none_or(|now| now < part);
        let modules = modules_of(tree, records, question, release)?;
        if goes {
            let package = &kernel.action.package;
            let orphan = |m: OrphanedModule| OrphanedModule { kernel_package: package.clone(), ..m };
            impact.orphaned.extend(modules.into_iter().map(orphan));
        } else if !modules.is_empty() && !kernel.removed() {
            let shown: Vec<String> = modules.iter().take(5).map(ToString::to_string).collect();
            let more = if modules.len() > 5 { ", and more" } else { "" };
            impact.notes.push(format!(
                "{}, and kernel {release} changes under modules that were built for it, which may have to be built again: \
                 {}{more}",
                kernel.change(),
                shown.join(", ")
            ));
        }
    }
    Ok(())
}

/// The kernels that are there afterwards.
fn remaining(
    records: &Records<'_>,
    question: &Question<'_>,
    before: &BTreeMap<String, (Part, &Outgoing)>,
) -> Result<BTreeMap<String, Part>> {
    let mut after: BTreeMap<String, Part> = BTreeMap::new();
    let mut add = |more: BTreeMap<String, Part>| {
        for (release, part) in more {
            let known = after.entry(release).or_insert(part);
            *known = part.max(*known);
        }
    };
    for (package, list) in records.all("list")? {
        if !question.outgoing.iter().any(|outgoing| outgoing.is(&package)) {
            let in_place = |path: &PathBuf| {
                ["/boot/", "/lib/modules/", "/usr/lib/modules/"]
                    .iter()
                    .any(|dir| path.as_os_str().as_encoded_bytes().starts_with(dir.as_bytes()))
            };
            let files: Vec<PathBuf> = paths(&list).filter(in_place).map(|path| plain(&path)).collect();
            add(kernels(&files));
        }
    }
    for (number, action) in question.actions.iter().enumerate() {
        match question.incoming.get(&number) {
            Some(Incoming { files, .. }) => add(kernels(files)),
            // Debian has the release in the package's name, so the same name is the same kernel
            None if action.new_version.is_some() => {
                let named = before.iter().filter(|(release, _)| action.package.contains(release.as_str()));
                add(named.map(|(release, (part, _))| (release.clone(), *part)).collect());
            }
            None => {}
        }
    }
    Ok(after)
}

/// Modules of a kernel that do not go with their own package; without the package of the kernel.
fn modules_of(
    tree: &Tree,
    records: &Records<'_>,
    question: &Question<'_>,
    release: &str,
) -> Result<Vec<OrphanedModule>> {
    let mut files = BTreeSet::new();
    for top in [MODULES, "/lib/modules"] {
        walk(tree, &Path::new(top).join(release), 0, &mut files)?;
    }
    let owners = records.owners(&files)?;
    let mut found = Vec::new();
    for module in files {
        let module_of = |package: Option<&str>, dkms: Option<String>| OrphanedModule {
            kernel_package: String::new(),
            kernel: release.to_owned(),
            module: module.clone(),
            package: package.map(str::to_owned),
            recipe: package.and_then(|name| question.recipe(name)),
            dkms,
        };
        match owners.get(&module) {
            Some(owners) => {
                // the package as people name it
                let stays = owners.iter().find(|owner| stays(question, owner, &module));
                if let Some(owner) = stays {
                    found.push(module_of(owner.split(':').next(), None));
                }
            }
            None => {
                let (dkms, source) = dkms_of(tree, records, release, &module)?.unzip();
                let source = source.flatten();
                if source.as_ref().is_none_or(|owner| stays(question, owner, &module)) {
                    found.push(module_of(source.as_deref().and_then(|s| s.split(':').next()), dkms));
                }
            }
        }
    }
    Ok(found)
}

/// Whether a module is there afterwards, as far as its package is concerned.
fn stays(question: &Question<'_>, owner: &str, module: &Path) -> bool {
    match question.outgoing.iter().find(|outgoing| outgoing.is(owner)) {
        None => true,
        Some(outgoing) if outgoing.removed() => false,
        // of another version of the same package it is expected that it is for the kernel that comes
        Some(outgoing) => question.next(outgoing).is_some_and(|next| next.files.contains(module)),
    }
}

fn walk(tree: &Tree, dir: &Path, depth: usize, files: &mut BTreeSet<PathBuf>) -> Result<()> {
    for (name, kind) in tree.list(dir)? {
        let path = dir.join(&name);
        let name = name.to_string_lossy();
        if kind == Kind::Directory && depth < DEPTH_LIMIT {
            walk(tree, &path, depth + 1, files)?;
        } else if kind == Kind::File && module_name(&name).is_some() {
            files.insert(plain(&path));
        }
    }
    Ok(())
}

fn module_name(file: &str) -> Option<&str> {
    [".ko", ".ko.xz", ".ko.zst", ".ko.gz", ".ko.bz2"].iter().find_map(|end| file.strip_suffix(end))
}

/// What DKMS has built a module of: name and version, and the package that the source belongs to.
fn dkms_of(
    tree: &Tree,
    records: &Records<'_>,
    release: &str,
    module: &Path,
) -> Result<Option<(String, Option<String>)>> {
    let Some(wanted) = module.file_name().and_then(|name| name.to_str()).and_then(module_name) else {
        return Ok(None);
    };
    for (name, _) in tree.list(DKMS)? {
        let top = Path::new(DKMS).join(&name);
        for (version, kind) in tree.list(&top)? {
            let mut built = BTreeSet::new();
            if kind == Kind::Directory {
                walk(tree, &top.join(&version).join(release), 0, &mut built)?;
            }
            let is_it = |path: &PathBuf| {
                path.file_name().and_then(|n| n.to_str()).and_then(module_name) == Some(wanted)
            };
            if built.iter().any(is_it) {
                let source = format!("{}-{}", name.to_string_lossy(), version.to_string_lossy());
                let conf = plain(Path::new(&format!("/usr/src/{source}/dkms.conf")));
                let owners = records.owners(&BTreeSet::from([conf]))?;
                return Ok(Some((source, owners.into_values().flatten().next())));
            }
        }
    }
    Ok(None)
}
