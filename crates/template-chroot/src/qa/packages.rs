// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # The packages that are checked
//!
//! Their files are copied to where nobody changes them meanwhile; with an index that folder is also a repository, since
//! packages that are checked together may need each other.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use template_bundle::versions::compare_versions;

use super::dpkg::inside;
use super::layers::{Layer, Stack};
use crate::apt::debs::{LocalDeb, copy_deb, parse_deb};
use crate::error::{ChrootError, Result};
use crate::sandbox::Sandbox;

/// Compared with the version that a package is upgraded from.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    pub deb: LocalDeb,
    /// A file of an older version, to be upgraded from.
    pub older: Option<LocalDeb>,
}

/// All that were given, and those of them that are for another architecture.
#[derive(Debug)]
pub(super) struct Packages {
    pub candidates: Vec<Candidate>,
    pub foreign: Vec<LocalDeb>,
}

/// Copies the files into `folder`, makes an index, and sorts versions of one package.
pub(super) fn take(
    files: &[PathBuf],
    folder: &Path,
    stack: &Stack,
    scratch: &Path,
    make_sandbox: &dyn Fn(&Stack, &Layer) -> Sandbox,
) -> Result<Packages> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |e| ChrootError::io("writing", &path, e)
    };
    let layer = Layer::new(scratch, stack)?;
    let sandbox = make_sandbox(stack, &layer);
    let native = sandbox.capture(&["dpkg", "--print-architecture"])?;
    if !native.exit.success() {
        return Err(ChrootError::Usage {
            message: format!("asking dpkg for the architecture of the template: {}", native.errors().trim()),
            hint: Some("it must be a Debian root filesystem".to_owned()),
        });
    }
    let native = native.text().trim().to_owned();
    let mut packages = Packages { candidates: Vec::new(), foreign: Vec::new() };
    let mut index = String::new();
    let mut debs: Vec<LocalDeb> = Vec::new();
    for (number, source) in files.iter().enumerate() {
        let name = format!("{number}.deb");
        let copy = folder.join(&name);
        let (size, sha256) = copy_deb(source, &copy)?;
        let fields = sandbox.capture(&["dpkg-deb", "--field", &inside(&name)])?;
        if !fields.exit.success() {
            let said = fields.errors().replace(&inside(&name), "the file");
            return Err(ChrootError::Usage {
                message: format!("package file: {}: {}", source.display(), said.trim()),
                hint: Some("qa takes Debian packages, and folders of them".to_owned()),
            });
        }
        let fields = fields.text();
        let mut deb = parse_deb(source, &fields, size, sha256)?;
        if deb.architecture != "all" && deb.architecture != native {
            fs::remove_file(&copy).map_err(failed(&copy))?;
            packages.foreign.push(deb);
            continue;
        }
        if let Some(same) = debs.iter().find(|d| d.name == deb.name && d.version == deb.version) {
            fs::remove_file(&copy).map_err(failed(&copy))?;
            if same.sha256 == deb.sha256 {
                continue;
            }
            return Err(ChrootError::usage(
                format!(
                    "'{}' and '{}' are both version {} of '{}', and differ",
                    same.source.display(),
                    deb.source.display(),
                    deb.version,
                    deb.name
                ),
                "give one of them",
            ));
        }
        deb.inside = inside(&name);
        let text = fields.trim_end();
        let (size, sha256) = (deb.size, &deb.sha256);
        let _ = write!(index, "{text}\nFilename: ./{name}\nSize: {size}\nSHA256: {sha256}\n\n");
        debs.push(deb);
    }
    let path = folder.join("Packages");
    fs::write(&path, index).map_err(failed(&path))?;
    packages.candidates = candidates(debs);
    Ok(packages)
}

/// The newest of each name, with the next older one, in the order in which names came.
fn candidates(debs: Vec<LocalDeb>) -> Vec<Candidate> {
    let mut groups: Vec<Vec<LocalDeb>> = Vec::new();
    for deb in debs {
        match groups.iter_mut().find(|group| group[0].name == deb.name) {
            Some(group) => group.push(deb),
            None => groups.push(vec![deb]),
        }
    }
    let newest = |mut group: Vec<LocalDeb>| {
        group.sort_by(|a, b| compare_versions(&b.version, &a.version));
        let mut group = group.into_iter();
        Some(Candidate { deb: group.next()?, older: group.next() })
    };
    groups.into_iter().filter_map(newest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_is_checked_and_the_next_one_upgraded() {
        let deb = |name: &str, version: &str| {
            let fields = format!("Package: {name}\nVersion: {version}\nArchitecture: all\n");
            parse_deb(Path::new("x.deb"), &fields, 1, version.to_owned()).unwrap()
        };
        let found = candidates(vec![deb("b", "1"), deb("a", "1.9"), deb("a", "1.10"), deb("a", "1.2")]);
        let shown: Vec<_> = found
            .iter()
            .map(|c| {
                (c.deb.name.as_str(), c.deb.version.as_str(), c.older.as_ref().map(|o| o.version.as_str()))
            })
            .collect();
        assert_eq!(shown, [("b", "1", None), ("a", "1.10", Some("1.9"))]);
    }
}
