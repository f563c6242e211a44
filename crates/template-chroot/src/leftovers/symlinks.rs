// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Symlinks to files that are gone
//!
//! A symlink can be anywhere, but those that matter, and that scripts make, are in a few places: these are walked once,
//! and only when something was removed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::LeftoverKind::Symlink;
use super::{Leaving, Leftover};
use crate::error::Result;
use crate::system::{Kind, Tree, plain};

/// Where symlinks are, and how deep to look.
const PLACES: [(&str, usize); 15] = [
    // of the kernel
    ("/", 1),
    ("/boot", 2),
    ("/etc", 8),
    ("/opt", 2),
    ("/usr/bin", 1),
    ("/usr/sbin", 1),
    ("/usr/games", 1),
    ("/usr/lib", 2),
    ("/usr/lib/systemd", 4),
    ("/usr/local", 3),
    ("/var/lib", 2),
    // of systems that are not merged
    ("/bin", 1),
    ("/sbin", 1),
    ("/lib", 2),
    ("/lib/systemd", 4),
];

pub(super) fn find(tree: &Tree, gone: &[Leaving], found: &mut Vec<Leftover>) -> Result<()> {
    let mut dangling: BTreeMap<PathBuf, PathBuf> = BTreeMap::new();
    for (place, depth) in PLACES {
        // the same place by another name was walked already
        if tree.kind(place)? == Some(Kind::Directory) {
            walk(tree, Path::new(place), depth, &mut dangling)?;
        }
    }
    // one that was told of already as what it is
    let told: Vec<PathBuf> = found.iter().map(|leftover| plain(Path::new(&leftover.path))).collect();
    dangling.retain(|link, _| !told.contains(link));
    let mut leading: BTreeMap<PathBuf, &Leaving> = BTreeMap::new();
    // also by way of other symlinks
    loop {
        let more: Vec<(PathBuf, &Leaving)> = dangling
            .iter()
            .filter(|(link, _)| !leading.contains_key(*link))
            .filter_map(|(link, target)| {
                let leaving = gone.iter().find(|leaving| leaving.had(target));
                Some((link.clone(), leaving.or_else(|| leading.get(target).copied())?))
            })
            .collect();
        if more.is_empty() {
            break;
        }
        leading.extend(more);
    }
    for (link, leaving) in leading {
        if let Some(target) = dangling.get(&link) {
            let link = tree.place(&link)?;
            found.push(leaving.leftover(Symlink, link, format!("leads to {}", target.display())));
        }
    }
    Ok(())
}

/// Collects symlinks that lead nowhere, and where they would lead; both [`plain`].
fn walk(tree: &Tree, dir: &Path, depth: usize, dangling: &mut BTreeMap<PathBuf, PathBuf>) -> Result<()> {
    for (name, kind) in tree.list(dir)? {
        let path = dir.join(name);
        if kind == Kind::Directory && depth > 1 {
            walk(tree, &path, depth - 1, dangling)?;
        } else if kind == Kind::Symlink
            && !tree.leads_somewhere(&path)?
            && let Some(target) = tree.link(&path)?
        {
            dangling.insert(plain(&path), plain(&dir.join(target)));
        }
    }
    Ok(())
}
