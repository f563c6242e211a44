// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # What a plan means for what stays
//!
//! apt knows dependencies, and nothing of a kernel module that was built for one kernel, or of a program that was built
//! with the header files of another library. Both are common among self-built packages. So when a kernel or a library
//! goes or changes, the tree is asked who has to do with it: out-of-tree modules that would have no kernel any more,
//! and self-built packages that link the library. It is only read.

mod elf;
mod libraries;
mod modules;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::apt::{Action, Operation, Origin};
use crate::error::{Refusal, Result};
use crate::system::{Records, Tree};

/// A kernel module whose kernel goes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrphanedModule {
    /// The package of the kernel.
    pub kernel_package: String,
    /// The kernel's release, as `uname -r` prints it.
    pub kernel: String,
    /// The module's file.
    pub module: PathBuf,
    /// The package that it belongs to, or that its source does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<String>,
    /// The recipe of that package, if it is self-built.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipe: Option<String>,
    /// DKMS has built it: name and version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dkms: Option<String>,
}

/// A self-built package that links a library which changes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Affected {
    /// The self-built package.
    pub package: String,
    /// Its recipe.
    pub recipe: String,
    /// The package of the library.
    pub library: String,
    /// What the library calls itself.
    pub soname: String,
    /// Whether the package works with what comes, as far as it is known.
    pub compatible: Compatible,
    /// Whether bitbake would build the package again.
    pub rebuild: Rebuild,
    /// What happens, and why it is or is not compatible.
    pub reason: String,
}

/// Whether a program works with another version of a library.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compatible {
    /// All that it uses is there.
    Yes,
    /// Something that it uses is not there.
    No,
    /// It should, by what Debian promises of library packages.
    Assumed,
    /// There is nothing that tells.
    Unknown,
}

impl Compatible {
    /// The word for people.
    pub fn word(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::Assumed => "assumed",
            Self::Unknown => "unknown",
        }
    }
}

/// Whether the signature of a recipe asks for a rebuild.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rebuild {
    /// The library is self-built, too: only bitbake knows whether the signature depends on it.
    UnknownOutsideBitbake,
    /// The library is the distribution's, whose packages are in no task signature.
    NotByItself,
}

impl Rebuild {
    /// The words for people.
    pub fn word(self) -> &'static str {
        match self {
            Self::UnknownOutsideBitbake => "unknown outside bitbake",
            Self::NotByItself => "not by itself, as signatures do not cover packages of the distribution",
        }
    }
}

/// What is known of a package that comes, when its file can be looked into.
#[derive(Debug, Default)]
pub(crate) struct Incoming {
    /// [`plain`](crate::system::plain).
    pub files: BTreeSet<PathBuf>,
    /// Its control file of this name.
    pub symbols: String,
}

/// A package that goes or changes, with the files that it has now.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub action: Action,
    /// [`plain`](crate::system::plain).
    pub files: Vec<PathBuf>,
}

impl Outgoing {
    fn removed(&self) -> bool {
        self.action.operation == Operation::Remove
    }

    /// Whether this is the package of that name in dpkg's records: `name` or `name:architecture`.
    fn is(&self, record: &str) -> bool {
        let (name, architecture) = record.split_once(':').map_or((record, None), |(n, a)| (n, Some(a)));
        self.action.package == name && architecture.is_none_or(|a| a == self.action.architecture)
    }

    /// What happens, in words.
    fn change(&self) -> String {
        let version = |version: &Option<String>| version.clone().unwrap_or_default();
        let (old, new) = (version(&self.action.old_version), version(&self.action.new_version));
        let name = &self.action.package;
        match self.action.operation {
            Operation::Upgrade => format!("'{name}' is upgraded from {old} to {new}"),
            Operation::Downgrade => format!("'{name}' is downgraded from {old} to {new}"),
            Operation::Remove => format!("'{name}' is removed"),
            Operation::Install | Operation::Reinstall => {
                format!("'{name}' is replaced by a file of the same version")
            }
        }
    }
}

/// What is asked.
pub(crate) struct Question<'a> {
    /// From [`outgoing`].
    pub outgoing: &'a [Outgoing],
    pub actions: &'a [Action],
    /// By the number of the action; not all of them can be known.
    pub incoming: &'a BTreeMap<usize, Incoming>,
    /// Of self-built packages, by package.
    pub recipes: &'a BTreeMap<String, String>,
    /// Name and architecture of what is self-built and stays as it is.
    pub staying: &'a [(String, String)],
}

impl Question<'_> {
    fn recipe(&self, package: &str) -> Option<String> {
        self.recipes.get(package).cloned()
    }

    /// What comes in place of a package, if it can be known.
    fn next(&self, outgoing: &Outgoing) -> Option<&Incoming> {
        let number = self.actions.iter().position(|action| *action == outgoing.action)?;
        self.incoming.get(&number)
    }
}

/// What a plan means for what stays.
#[derive(Debug, Default)]
pub(crate) struct Impact {
    pub orphaned: Vec<OrphanedModule>,
    pub affected: Vec<Affected>,
    pub notes: Vec<String>,
}

/// The packages that go or change, as they are now.
pub(crate) fn outgoing(tree: &Tree, actions: &[Action]) -> Result<Vec<Outgoing>> {
    let records = Records::open(tree)?;
    let mut found = Vec::new();
    for action in actions {
        let changes = match action.operation {
            Operation::Install => false,
            // the same, unless it is somebody's file
            Operation::Reinstall => matches!(action.origin, Some(Origin::File { .. })),
            _ => true,
        };
        if changes {
            let files = records.files(&action.package, &action.architecture)?;
            let files = files.iter().map(|path| crate::system::plain(path)).collect();
            found.push(Outgoing { action: action.clone(), files });
        }
    }
    Ok(found)
}

/// Whether any of them has to do with kernels, or with libraries that somebody may link; else there is nothing to ask.
pub(crate) fn matters(outgoing: &[Outgoing], linked: bool) -> bool {
    let mut files = outgoing.iter().flat_map(|o| &o.files);
    files.any(|path| modules::release_of(path).is_some() || (linked && libraries::may_be_library(path)))
}

/// What the changes mean.
pub(crate) fn judge(tree: &Tree, question: &Question<'_>) -> Result<Impact> {
    let records = Records::open(tree)?;
    let mut impact = Impact::default();
    modules::judge(tree, &records, question, &mut impact)?;
    libraries::judge(tree, &records, question, &mut impact)?;
    Ok(impact)
}

impl Impact {
    /// Modules that would have no kernel any more, unless that was allowed for the package of the kernel.
    pub fn refusals(&self, allowed: &[String]) -> Vec<Refusal> {
        let kernels: BTreeSet<&String> = self.orphaned.iter().map(|module| &module.kernel_package).collect();
        let refused = kernels.into_iter().filter(|kernel| !allowed.contains(kernel));
        refused
            .map(|kernel| {
                let orphans: Vec<_> = self.orphaned.iter().filter(|m| m.kernel_package == *kernel).collect();
                let packages: BTreeSet<&String> = orphans.iter().filter_map(|m| m.package.as_ref()).collect();
                let remove: Vec<String> = packages.iter().map(|name| format!("--remove {name}")).collect();
                let mut way_out = format!("allow it with --allow-orphaned-modules {kernel}");
                if !remove.is_empty() {
                    way_out =
                        format!("remove the modules too, with {} (or give them a version for the kernel that stays), or {way_out}", remove.join(" "));
                }
                Refusal { package: kernel.clone(), reason: reason(&orphans), way_out }
            })
            .collect()
    }
}

fn reason(orphans: &[&OrphanedModule]) -> String {
    const SHOWN: usize = 5;
    let mut kernels: Vec<&str> = orphans.iter().map(|m| m.kernel.as_str()).collect();
    kernels.dedup();
    let mut shown: Vec<String> = orphans.iter().take(SHOWN).map(|module| module.to_string()).collect();
    if let more @ 1.. = orphans.len().saturating_sub(SHOWN) {
        shown.push(format!("{more} more"));
    }
    let kernel = if kernels.len() == 1 { "kernel" } else { "kernels" };
    format!(
        "takes {kernel} {} away from modules that were built for it: {}",
        kernels.join(", "),
        shown.join(", ")
    )
}

impl std::fmt::Display for OrphanedModule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.module.display())?;
        match (&self.package, &self.dkms) {
            (Some(package), _) => write!(f, " of '{package}'")?,
            (None, Some(dkms)) => write!(f, " of DKMS '{dkms}'")?,
            (None, None) => f.write_str(" of no package")?,
        }
        self.recipe.as_ref().map_or(Ok(()), |recipe| write!(f, " (recipe '{recipe}')"))
    }
}

#[cfg(test)]
mod tests;
