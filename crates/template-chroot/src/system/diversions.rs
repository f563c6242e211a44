// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Diversions and overridden owners and modes, as dpkg records them

use std::path::PathBuf;

use super::Tree;
use crate::error::Result;

/// A file of packages that is put elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Diversion {
    /// Where packages have it.
    pub from: PathBuf,
    /// Where it is put.
    pub to: PathBuf,
    /// The package that diverts it; nobody's is the administrator's.
    pub package: Option<String>,
}

/// Owner and mode that a file has whatever its package says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct StatOverride {
    /// The file or directory.
    pub path: PathBuf,
    /// A name, or `#` and a number.
    pub user: String,
    /// A name, or `#` and a number.
    pub group: String,
    /// Octal.
    pub mode: String,
}

/// Reads the diversions of a tree.
pub fn diversions(tree: &Tree) -> Result<Vec<Diversion>> {
    let text = tree.text("/var/lib/dpkg/diversions")?;
    let lines: Vec<&str> = text.lines().collect();
    let mut found: Vec<Diversion> = lines
        .chunks_exact(3)
        .map(|lines| Diversion {
            from: lines[0].into(),
            to: lines[1].into(),
            package: (lines[2] != ":").then(|| lines[2].to_owned()),
        })
        .collect();
    found.sort();
    Ok(found)
}

/// Reads the overrides of a tree.
pub fn stat_overrides(tree: &Tree) -> Result<Vec<StatOverride>> {
    let text = tree.text("/var/lib/dpkg/statoverride")?;
    let parse = |line: &str| {
        let mut words = line.splitn(4, ' ').map(str::to_owned);
        let (user, group, mode) = (words.next()?, words.next()?, words.next()?);
        Some(StatOverride { user, group, mode, path: words.next()?.into() })
    };
    let mut found: Vec<StatOverride> = text.lines().filter_map(parse).collect();
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::tree::of_files;

    #[test]
    fn records_are_read() {
        let (_dir, tree) = of_files(&[
            (
                "var/lib/dpkg/diversions",
                "/usr/bin/b\n/usr/bin/b.real\nwrapper\n/bin/a\n/bin/a.distrib\n:\ncut off\n",
            ),
            ("var/lib/dpkg/statoverride", "root messagebus 4754 /usr/lib/dbus helper\nnoise\n"),
        ]);
        let found = diversions(&tree).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].from.to_str(), &found[0].package), (Some("/bin/a"), &None));
        assert_eq!(found[1].package.as_deref(), Some("wrapper"));
        let found = stat_overrides(&tree).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].group.as_str(), found[0].path.to_str()),
            ("messagebus", Some("/usr/lib/dbus helper"))
        );
    }

    #[test]
    fn a_tree_without_them_has_none() {
        let (_dir, tree) = of_files(&[]);
        assert!(diversions(&tree).unwrap().is_empty() && stat_overrides(&tree).unwrap().is_empty());
    }
}
