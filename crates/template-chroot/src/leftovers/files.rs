// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Files and directories that are left

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::LeftoverKind::{Configuration, Directory, File};
use super::{Leaving, Leftover};
use crate::error::Result;
use crate::system::{Kind, Records, Tree, alternatives, diversions, plain};

/// How many files below one directory are listed.
const LISTED: usize = 100;
/// A directory deeper than any that we know ends the walk.
const DEPTH_LIMIT: usize = 32;

/// What dpkg, ucf and editors put beside a configuration file.
const COPIES: [&str; 11] = [
    ".dpkg-old",
    ".dpkg-dist",
    ".dpkg-new",
    ".dpkg-bak",
    ".dpkg-backup",
    ".dpkg-remove",
    ".dpkg-tmp",
    ".ucf-old",
    ".ucf-new",
    ".ucf-dist",
    "~",
];

/// Finds what is left. Returns the packages' own files that are still there although nobody else has them.
pub(super) fn find(
    tree: &Tree,
    records: &Records<'_>,
    gone: &[Leaving],
    found: &mut Vec<Leftover>,
) -> Result<Vec<(String, PathBuf)>> {
    // what may be left of each, by what it was; who owns it is looked up for all at once
    let mut candidates: Vec<(&Leaving, PathBuf, Candidate)> = Vec::new();
    for leaving in gone {
        for (path, kind) in &leaving.files {
            let what = match kind {
                _ if leaving.conffiles.contains(path) => Candidate::Made,
                Kind::Directory => Candidate::Directory,
                _ => Candidate::Own,
            };
            candidates.push((leaving, path.clone(), what));
        }
        let copies = leaving.conffiles.iter().flat_map(|path| {
            COPIES.iter().map(move |end| {
                let mut copy = path.clone().into_os_string();
                copy.push(end);
                copy.into()
            })
        });
        let made = copies.chain(leaving.made.iter().cloned()).chain(by_name(&leaving.package));
        candidates.extend(made.map(|path: PathBuf| (leaving, path, Candidate::Made)));
    }
    let mut there = Vec::new();
    for (leaving, path, what) in candidates {
        if let Some(kind) = tree.kind(&path)? {
            there.push((leaving, path, what, kind));
        }
    }
    let owners = records.owners(&there.iter().map(|(_, path, _, _)| path.clone()).collect())?;
    there.retain(|(_, path, _, _)| !owners.contains_key(path));

    let theirs = taken_over(tree)?;
    let mut remaining = Vec::new();
    let mut directories: BTreeMap<PathBuf, &Leaving> = BTreeMap::new();
    for (leaving, path, what, kind) in there {
        if kind == Kind::Directory {
            directories.entry(path).or_insert(leaving);
        } else if what == Candidate::Made || path.starts_with("/etc") {
            let kind = if path.starts_with("/etc") { Configuration } else { File };
            found.push(leaving.leftover(kind, path, ""));
        } else if !theirs.contains(&path) {
            remaining.push((leaving.package.clone(), path));
        }
    }
    let own = |path: &Path| remaining.iter().any(|(_, own)| *own == plain(path));
    let mut top: Option<&PathBuf> = None;
    for (path, leaving) in &directories {
        // what is below another one is listed with that
        if top.is_none_or(|top| !path.starts_with(top)) {
            top = Some(path);
            list(tree, leaving, path, &own, found)?;
        }
    }
    Ok(remaining)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Candidate {
    /// A file that dpkg put there.
    Own,
    /// A directory that it has in its list.
    Directory,
    /// What scripts, programs or people may have made.
    Made,
}

/// Paths that belong to no package but are somebody's: a diverted file, a link to an alternative.
fn taken_over(tree: &Tree) -> Result<BTreeSet<PathBuf>> {
    let mut paths: BTreeSet<PathBuf> = diversions(tree)?.into_iter().map(|d| plain(&d.from)).collect();
    paths.extend(alternatives(tree)?.into_values().map(|a| plain(&a.link)));
    Ok(paths)
}

/// Where packages usually have what they make at run time.
fn by_name(package: &str) -> impl Iterator<Item = PathBuf> + '_ {
    [
        ("/etc/", ""),
        ("/etc/", ".conf"),
        ("/etc/default/", ""),
        ("/opt/", ""),
        ("/var/cache/", ""),
        ("/var/lib/", ""),
        ("/var/log/", ""),
        ("/var/log/", ".log"),
        ("/var/spool/", ""),
    ]
    .into_iter()
    .map(move |(dir, end)| format!("{dir}{package}{end}").into())
}

/// Tells of a directory and of what is in it.
fn list(
    tree: &Tree,
    leaving: &Leaving,
    dir: &Path,
    own: &dyn Fn(&Path) -> bool,
    found: &mut Vec<Leftover>,
) -> Result<()> {
    let dir = &tree.place(dir)?;
    let (mut listed, mut more) = (Vec::new(), 0usize);
    let mut todo = vec![(dir.to_owned(), 0)];
    while let Some((path, depth)) = todo.pop() {
        for (name, kind) in tree.list(&path)? {
            let path = path.join(name);
            if kind == Kind::Directory && depth < DEPTH_LIMIT {
                todo.push((path, depth + 1));
            } else if own(&path) {
                // that is an error of its own
            } else if listed.len() < LISTED {
                listed.push(path);
            } else {
                more += 1;
            }
        }
    }
    let detail = match (listed.len(), more) {
        (0, _) => "empty".to_owned(),
        (1, 0) => "1 file".to_owned(),
        (several, 0) => format!("{several} files"),
        (several, more) => format!("{} files, the first {several} are listed", several + more),
    };
    found.push(leaving.leftover(Directory, dir, detail));
    for path in listed {
        let kind = if path.starts_with("/etc") { Configuration } else { File };
        found.push(leaving.leftover(kind, path, ""));
    }
    Ok(())
}

/// The paths that a tmpfiles.d file makes, except those that are gone with the next boot.
pub(super) fn in_tmpfiles(text: &str) -> BTreeSet<PathBuf> {
    let volatile = |path: &Path| {
        ["/run", "/var/run", "/tmp", "/dev", "/proc", "/sys"].iter().any(|v| path.starts_with(v))
    };
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let (kind, path) = (words.next()?, Path::new(words.next()?));
            // specifiers and patterns are for what runs
            let fixed = path.is_absolute() && !path.to_string_lossy().contains(['%', '*', '?', '[', '"']);
            let makes = kind.starts_with(['d', 'D', 'f', 'F', 'v', 'q', 'Q', 'L', 'C', 'p']);
            (makes && fixed && !volatile(path)).then(|| plain(path))
        })
        .collect()
}
