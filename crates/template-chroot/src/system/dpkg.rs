// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Which files are whose, by dpkg's own lists

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use super::{Kind, Tree};
use crate::error::Result;

const INFO: &str = "/var/lib/dpkg/info";

/// Symlinks at the top of a tree that give files a second path: what dpkg calls one thing, another package, or a
/// symlink, may call by the other.
pub(super) const ALIASES: [(&str, &str); 7] = [
    ("bin", "usr/bin"),
    ("sbin", "usr/sbin"),
    ("lib", "usr/lib"),
    ("lib32", "usr/lib32"),
    ("lib64", "usr/lib64"),
    ("libx32", "usr/libx32"),
    ("libo32", "usr/libo32"),
];

/// The records of dpkg about packages in a tree.
#[derive(Debug)]
pub struct Records<'a> {
    tree: &'a Tree,
    /// Names of the files in the directory of records.
    names: BTreeSet<OsString>,
}

impl<'a> Records<'a> {
    /// Finds the records of a tree.
    pub fn open(tree: &'a Tree) -> Result<Self> {
        let files = tree.list(INFO)?.into_iter().filter(|(_, kind)| *kind == Kind::File);
        Ok(Self { tree, names: files.map(|(name, _)| name).collect() })
    }

    /// A record of a package, such as its `list` or `postinst`.
    pub fn get(&self, package: &str, architecture: &str, what: &str) -> Result<Option<Vec<u8>>> {
        for name in [format!("{package}:{architecture}.{what}"), format!("{package}.{what}")] {
            if self.names.contains(OsStr::new(&name)) {
                return self.tree.read(format!("{INFO}/{name}"));
            }
        }
        Ok(None)
    }

    /// The same as text, nothing if there is none.
    pub fn text(&self, package: &str, architecture: &str, what: &str) -> Result<String> {
        let content = self.get(package, architecture, what)?.unwrap_or_default();
        Ok(String::from_utf8_lossy(&content).into_owned())
    }

    /// The files, directories and symlinks of a package, as it names them.
    pub fn files(&self, package: &str, architecture: &str) -> Result<Vec<PathBuf>> {
        Ok(paths(&self.get(package, architecture, "list")?.unwrap_or_default()).collect())
    }

    /// Who owns these paths, each [`plain`]: packages as dpkg's records name them (`libc6:amd64`).
    pub fn owners(&self, wanted: &BTreeSet<PathBuf>) -> Result<BTreeMap<PathBuf, BTreeSet<String>>> {
        let mut owners: BTreeMap<PathBuf, BTreeSet<String>> = BTreeMap::new();
        if wanted.is_empty() {
            return Ok(owners);
        }
        for (package, list) in self.all("list")? {
            for path in paths(&list).map(|path| plain(&path)).filter(|path| wanted.contains(path)) {
                owners.entry(path).or_default().insert(package.clone());
            }
        }
        Ok(owners)
    }

    /// One kind of record of all packages.
    pub fn all(&self, what: &str) -> Result<Vec<(String, Vec<u8>)>> {
        let end = format!(".{what}");
        let mut found = Vec::new();
        for name in &self.names {
            if let Some(package) = name.to_str().and_then(|n| n.strip_suffix(&end)) {
                let content = self.tree.read(Path::new(INFO).join(name))?.unwrap_or_default();
                found.push((package.to_owned(), content));
            }
        }
        Ok(found)
    }
}

/// The paths of a list of files.
pub fn paths(list: &[u8]) -> impl Iterator<Item = PathBuf> + '_ {
    list.split(|byte| *byte == b'\n')
        .filter(|line| line.starts_with(b"/") && *line != b"/.")
        .map(|line| PathBuf::from(OsString::from_vec(line.to_vec())))
}

/// A path by which the same file is always found: absolute, without `.` and `..`, and below /usr where a merged system
/// has it; a [`Tree`] that is not merged has it there as well. Symlinks further down are not looked at.
pub fn plain(path: &Path) -> PathBuf {
    let mut names: Vec<&OsStr> = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => names.push(name),
            Component::ParentDir => drop(names.pop()),
            _ => {}
        }
    }
    let mut plain = PathBuf::from("/");
    let alias =
        names.first().and_then(|top| ALIASES.iter().find(|(from, _)| top.as_bytes() == from.as_bytes()));
    if let Some((_, to)) = alias {
        names.remove(0);
        plain.push(to);
    }
    plain.extend(names);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::tree::of_files;

    #[test]
    fn paths_are_plain() {
        let table = [
            ("/bin/x", "/usr/bin/x"),
            ("/usr/bin/../lib/./x", "/usr/lib/x"),
            ("/../../etc/x", "/etc/x"),
            ("lib64/x", "/usr/lib64/x"),
            ("/library/x", "/library/x"),
            ("/lib", "/usr/lib"),
            ("/", "/"),
        ];
        for (path, expected) in table {
            assert_eq!(plain(Path::new(path)), Path::new(expected), "{path}");
        }
    }

    #[test]
    fn owners_are_found() {
        let (_dir, tree) = of_files(&[
            ("var/lib/dpkg/info/a.list", "/.\n/usr\n/usr/bin\n/usr/bin/x\n"),
            ("var/lib/dpkg/info/libb:amd64.list", "/.\n/bin\n/bin/x\n/lib/liby.so\n"),
            ("var/lib/dpkg/info/a.postinst", "#!/bin/sh\n"),
        ]);
        let records = Records::open(&tree).unwrap();
        assert_eq!(records.files("libb", "amd64").unwrap().len(), 3);
        assert_eq!(records.text("a", "all", "postinst").unwrap(), "#!/bin/sh\n");
        assert!(records.files("nonsuch", "amd64").unwrap().is_empty());
        let wanted = ["/usr/bin/x", "/usr/lib/liby.so", "/etc/z"].map(PathBuf::from).into();
        let owners = records.owners(&wanted).unwrap();
        assert_eq!(owners.len(), 2);
        let names: Vec<&str> = owners[Path::new("/usr/bin/x")].iter().map(String::as_str).collect();
        assert_eq!(names, ["a", "libb:amd64"]);
    }
}
