// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # What removed packages leave
//!
//! Purging takes a package's own files and conffiles. What its scripts and programs made is left to the scripts, and they
//! rarely clean up all of it. So the files of each package that goes are noted before, and afterwards it is looked
//! whether they are gone, which they have to be, and what else of the package is still there, which is told. Only what
//! belongs to these packages is looked at, and the places where symlinks to their files may be.

mod accounts;
mod files;
mod registered;
mod symlinks;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{ChrootError, Result};
use crate::system::{Kind, Records, Tree, plain};

/// Something that a removed package has left.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Leftover {
    /// The package that it came from.
    pub package: String,
    /// What it is.
    pub kind: LeftoverKind,
    /// Where it is; the name of a user or group.
    pub path: String,
    /// More about it.
    pub detail: String,
}

/// What a removed package has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LeftoverKind {
    /// A file in a place that was the package's.
    File,
    /// A directory that was the package's.
    Directory,
    /// A configuration file, or a copy of one.
    Configuration,
    /// A user in /etc/passwd.
    User,
    /// A group in /etc/group.
    Group,
    /// A symlink that enables a unit or an init script.
    Enablement,
    /// An alternative that leads to one of its files.
    Alternative,
    /// A diversion by it.
    Diversion,
    /// Owner and mode of one of its files, in dpkg's records.
    StatOverride,
    /// A login shell in /etc/shells.
    Shell,
    /// A symlink to one of its files.
    Symlink,
}

impl LeftoverKind {
    /// The word for it in JSON documents.
    pub fn word(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Directory => "directory",
            Self::Configuration => "configuration",
            Self::User => "user",
            Self::Group => "group",
            Self::Enablement => "enablement",
            Self::Alternative => "alternative",
            Self::Diversion => "diversion",
            Self::StatOverride => "stat-override",
            Self::Shell => "shell",
            Self::Symlink => "symlink",
        }
    }
}

/// A package that is going to be removed, as it was when it was there.
#[derive(Debug, Default)]
pub(crate) struct Leaving {
    package: String,
    /// What its list of files has, where that was really there; [`plain`].
    files: Vec<(PathBuf, Kind)>,
    conffiles: Vec<PathBuf>,
    /// Names that its scripts and its sysusers.d files make accounts of.
    accounts: BTreeSet<String>,
    /// Paths that its tmpfiles.d files make.
    made: BTreeSet<PathBuf>,
}

impl Leaving {
    /// Notes what a package has.
    fn note(tree: &Tree, records: &Records<'_>, package: &str, architecture: &str) -> Result<Self> {
        let mut leaving = Self { package: package.to_owned(), ..Self::default() };
        for path in records.files(package, architecture)? {
            if let Some(kind) = tree.kind(&path)? {
                leaving.files.push((plain(&path), kind));
            }
        }
        leaving.files.sort_by(|a, b| a.0.cmp(&b.0));
        leaving.files.dedup_by(|a, b| a.0 == b.0);
        let conffiles = records.text(package, architecture, "conffiles")?;
        // a line may have a flag before the path
        leaving.conffiles =
            conffiles.lines().filter_map(|l| Some(plain(Path::new(&l[l.find('/')?..])))).collect();
        for script in ["preinst", "postinst"] {
            leaving.accounts.extend(accounts::in_script(&records.text(package, architecture, script)?));
        }
        for (path, _) in &leaving.files {
            match path.parent().and_then(Path::file_name).and_then(|name| name.to_str()) {
                Some("sysusers.d") => leaving.accounts.extend(accounts::in_sysusers(&tree.text(path)?)),
                Some("tmpfiles.d") => leaving.made.extend(files::in_tmpfiles(&tree.text(path)?)),
                _ => {}
            }
        }
        Ok(leaving)
    }

    fn had(&self, path: &Path) -> bool {
        self.files.binary_search_by(|(p, _)| p.as_path().cmp(path)).is_ok()
    }

    fn leftover(&self, kind: LeftoverKind, path: impl AsRef<Path>, detail: impl Into<String>) -> Leftover {
        let path = path.as_ref().to_string_lossy().into_owned();
        Leftover { package: self.package.clone(), kind, path, detail: detail.into() }
    }
}

/// Notes what packages have that are going to be removed: name and architecture of each.
pub(crate) fn note(tree: &Tree, packages: &[(&str, &str)]) -> Result<Vec<Leaving>> {
    if packages.is_empty() {
        return Ok(Vec::new());
    }
    let records = Records::open(tree)?;
    packages.iter().map(|(name, architecture)| Leaving::note(tree, &records, name, architecture)).collect()
}

/// Looks what is left of packages that are removed; an error if it is any of their own files.
pub(crate) fn find(tree: &Tree, gone: &[Leaving]) -> Result<Vec<Leftover>> {
    if gone.is_empty() {
        return Ok(Vec::new());
    }
    let records = Records::open(tree)?;
    let mut found = Vec::new();
    let remaining = files::find(tree, &records, gone, &mut found)?;
    if let [(package, _), ..] = remaining.as_slice() {
        return Err(still_there(tree, package, &remaining)?);
    }
    accounts::find(tree, &records, gone, &mut found)?;
    registered::find(tree, gone, &mut found)?;
    symlinks::find(tree, gone, &mut found)?;
    found.sort();
    found.dedup_by(|a, b| (a.kind, &a.path) == (b.kind, &b.path));
    Ok(found)
}

fn still_there(tree: &Tree, package: &str, remaining: &[(String, PathBuf)]) -> Result<ChrootError> {
    const SHOWN: usize = 5;
    let of_it: Vec<&PathBuf> = remaining.iter().filter(|(p, _)| p == package).map(|(_, path)| path).collect();
    let shown = of_it.iter().take(SHOWN).map(|path| Ok(format!("'{}'", tree.place(path)?.display())));
    let shown = shown.collect::<Result<Vec<String>>>()?;
    let more = match of_it.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Ok(ChrootError::PackageFailed {
        package: Some(package.to_owned()),
        message: format!(
            "'{package}' is removed, but files of it are there still, which belong to no other package: {}{more}; \
             a script of it may have kept them or made them again",
            shown.join(", ")
        ),
    })
}

#[cfg(test)]
mod tests;
