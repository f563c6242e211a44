// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # What is asked for

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::error::{ChrootError, Result};
use crate::sandbox::Bind;

/// A package to be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Add {
    /// From the repositories of the tree, or from a [repository folder](TransactionRequest::repos).
    Package {
        /// Its name.
        name: String,
        /// Exactly this one; else what is installed will do, and else the candidate of apt.
        version: Option<String>,
    },
    /// A file; where its version is installed already, it is installed again, because its content may differ.
    Deb(PathBuf),
}

impl Add {
    /// One version of a package and no other.
    pub(crate) fn exactly(name: &str, version: &str) -> Self {
        Self::Package { name: name.to_owned(), version: Some(version.to_owned()) }
    }

    /// As it can be parsed again, with `path` making a text of a path.
    pub(crate) fn in_words(&self, path: fn(&Path) -> Result<String>) -> Result<String> {
        Ok(match self {
            Self::Package { name, version: Some(version) } => format!("{name}={version}"),
            Self::Package { name, version: None } => name.clone(),
            Self::Deb(file) => path(file)?,
        })
    }
}

/// `PKG`, `PKG=VERSION` or `PATH.deb` (anything that ends in `.deb`).
impl FromStr for Add {
    type Err = ChrootError;

    fn from_str(text: &str) -> Result<Self> {
        if text.ends_with(".deb") {
            return Ok(Self::Deb(text.into()));
        }
        let (name, version) = text.split_once('=').map_or((text, None), |(n, v)| (n, Some(v)));
        check_name(name)?;
        if let Some(version) = version {
            check_version(version)?;
        }
        Ok(Self::Package { name: name.to_owned(), version: version.map(str::to_owned) })
    }
}

/// How the package lists are brought up to date before anything is resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UpdateMode {
    /// Local sources; the others too when the tree has no lists of them, unless all that is asked for is that some of what
    /// it has goes.
    #[default]
    Auto,
    /// Local sources (`file:`) only.
    Local,
    /// All of them.
    All,
    /// Only what the request brings.
    None,
}

impl UpdateMode {
    /// As it can be parsed again.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Local => "local",
            Self::All => "all",
            Self::None => "none",
        }
    }
}

impl FromStr for UpdateMode {
    type Err = ChrootError;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "auto" => Ok(Self::Auto),
            "local" => Ok(Self::Local),
            "all" => Ok(Self::All),
            "none" => Ok(Self::None),
            _ => Err(ChrootError::usage(
                format!("'{text}' is none of auto, local, all, none"),
                "write one of them",
            )),
        }
    }
}

/// A package that somebody built who is not the distribution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelfBuilt {
    /// Its name.
    pub package: String,
    /// Its version.
    pub version: String,
    /// Of its archive.
    pub sha256: String,
}

/// What is asked for. All lists may be empty.
#[derive(Debug, Clone, Default)]
pub struct TransactionRequest {
    /// Packages to be there.
    pub add: Vec<Add>,
    /// Packages to go, with their configuration.
    pub remove: Vec<String>,
    /// Packages that nobody needs for themselves any more: they go with [`auto_remove`](Self::auto_remove) when nothing
    /// else needs them.
    pub mark_auto: Vec<String>,
    /// Remove what nothing needs any more; recommending or suggesting is not needing.
    pub auto_remove: bool,
    /// Installed packages whose version may change.
    pub allow_upgrade: Vec<String>,
    /// Other releases of the distribution that packages may come from, by codename.
    pub allow_suite: Vec<String>,
    /// Packages that were built by the platform or the product.
    pub self_built: Vec<SelfBuilt>,
    /// Recipes of packages that the platform has built, by package.
    pub recipes: BTreeMap<String, String>,
    /// Packages of kernels that may go although modules that were built for them stay.
    pub allow_orphaned_modules: Vec<String>,
    /// Packages to be installed again even in the version that is installed (they are to be in `add` as well).
    pub reinstall: Vec<String>,
    /// Repository folders of the host (a flat one with Packages, or one with dists/), trusted for this run only.
    pub repos: Vec<PathBuf>,
    /// Files of the host with package sources, for this run only (`.list` or `.sources`).
    pub sources: Vec<PathBuf>,
    /// Files of the host with records of preferences, which go before the tree's.
    pub preferences: Vec<PathBuf>,
    /// Keyrings of the host, for [`sources`](Self::sources) alone.
    pub keyrings: Vec<PathBuf>,
    /// What the sources of the tree need besides, such as isar-apt at `/isar-apt`.
    pub binds: Vec<Bind>,
    /// How the package lists are brought up to date.
    pub update: UpdateMode,
    /// Use the archive cache of the tree and leave there what was fetched; else the tree's cache is not touched.
    pub keep_debs: bool,
    /// Install what is needed alone, whatever the tree's apt is told about recommendations.
    pub no_recommends: bool,
    /// Let dpkg do without fsync: for a tree that is thrown away when the machine fails.
    pub unsafe_io: bool,
    /// The layers of the template, the uppermost first, where the root is a tree that may have other package sources.
    pub template: Vec<PathBuf>,
    /// A directory with caches that apt has made of the same tree ([`Transaction::caches`](super::Transaction::caches)): they
    /// are copied, and apt makes new ones when they do not fit.
    pub caches: Option<PathBuf>,
    /// Where to put package lists and archives meanwhile; default: the directory for temporary files.
    pub scratch_dir: Option<PathBuf>,
}

impl TransactionRequest {
    /// Looks for what makes no sense in itself.
    pub fn check(&self) -> Result<()> {
        let mut added = BTreeSet::new();
        for add in &self.add {
            if let Add::Package { name, version } = add {
                check_name(name)?;
                version.as_deref().map_or(Ok(()), check_version)?;
                added.insert(name.as_str());
            }
        }
        for name in [
            &self.remove,
            &self.mark_auto,
            &self.allow_upgrade,
            &self.allow_orphaned_modules,
            &self.reinstall,
        ]
        .into_iter()
        .flatten()
        {
            check_name(name)?;
        }
        for (other, what) in [(&self.remove, "removed"), (&self.mark_auto, "marked automatic")] {
            if let Some(name) = other.iter().find(|name| added.contains(name.as_str())) {
                return Err(ChrootError::usage(
                    format!("'{name}' is to be added and to be {what}"),
                    "say one of both",
                ));
            }
        }
        if !self.keyrings.is_empty() && self.sources.is_empty() {
            return Err(ChrootError::usage(
                "keyrings are given without package sources that they are for",
                "give the sources as well, or leave the keyrings out",
            ));
        }
        self.binds.iter().try_for_each(Bind::check)
    }
}

/// Policy 5.6.1, and an architecture. Nothing that apt would take for an option, a pattern or a task.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let (base, architecture) = name.split_once(':').map_or((name, None), |(n, a)| (n, Some(a)));
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let good = base.starts_with(plain)
        && base.chars().all(|c| plain(c) || "+-.".contains(c))
        && !base.ends_with('-')
        && architecture.is_none_or(|a| !a.is_empty() && a.chars().all(|c| plain(c) || c == '-'));
    if good {
        Ok(())
    } else {
        Err(ChrootError::usage(
            format!("'{name}' is not the name of a package"),
            "write NAME, NAME:ARCHITECTURE or NAME=VERSION, or the path of a file that ends in .deb",
        ))
    }
}

/// Policy 5.6.12.
pub(crate) fn check_version(version: &str) -> Result<()> {
    let good = version.starts_with(|c: char| c.is_ascii_digit())
        && version.chars().all(|c| c.is_ascii_alphanumeric() || ".+-~:".contains(c));
    if good {
        Ok(())
    } else {
        Err(ChrootError::usage(
            format!("'{version}' is not the version of a package"),
            "write NAME=VERSION with a version as 'apt-cache policy' shows it",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn additions_are_parsed() {
        let package = |name: &str, version: Option<&str>| {
            Some(Add::Package { name: name.into(), version: version.map(str::to_owned) })
        };
        let table = [
            ("htop", package("htop", None)),
            ("g++", package("g++", None)),
            ("htop=3.2.2-2", package("htop", Some("3.2.2-2"))),
            ("vim=2:9.0~rc1+dfsg-1", package("vim", Some("2:9.0~rc1+dfsg-1"))),
            ("libc6:i386", package("libc6:i386", None)),
            ("./x_1_all.deb", Some(Add::Deb("./x_1_all.deb".into()))),
            ("-o", None),
            ("Dir=x", None),
            ("a b", None),
            ("x^", None),
            ("x-", None),
            ("lib.*", None),
            ("x=", None),
            ("x=$(id)", None),
            ("", None),
        ];
        for (text, expected) in table {
            assert_eq!(text.parse::<Add>().ok(), expected, "{text}");
        }
    }

    #[test]
    fn contradictions_are_found() {
        let mut request = TransactionRequest { add: vec!["a".parse().unwrap()], ..Default::default() };
        assert!(request.check().is_ok());
        request.remove = vec!["a".into()];
        assert_eq!(request.check().unwrap_err().to_string(), "'a' is to be added and to be removed");
        request.remove = vec!["--x".into()];
        assert_eq!(request.check().unwrap_err().exit_code(), 2);
    }
}
