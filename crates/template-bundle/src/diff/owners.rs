// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Which package a file belongs to
//!
//! By dpkg's lists, which know paths as the package has them: those lead to where the file is now (`/lib` may be a
//! link to `/usr/lib`).

use std::collections::{HashMap, HashSet};

use crate::diff::files::FileChange;
use crate::diff::side::Side;
use crate::error::Result;
use crate::toc::{Entry, Node};

const INFO: &[u8] = b"var/lib/dpkg/info/";
const LIST: &[u8] = b".list";

/// Notes the packages of these files: on the right, or where a file is not there any more, on the left.
pub fn fill_in(left: &Side, right: &Side, changes: &mut [FileChange]) -> Result<()> {
    for (side, on_right) in [(left, false), (right, true)] {
        // a directory that is on both sides has many owners
        let wanted: HashSet<Vec<u8>> = changes
            .iter()
            .filter(|c| c.new.is_some() == on_right)
            .filter(|c| c.old.is_none() || c.new.as_ref().is_none_or(|f| f.kind != "directory"))
            .map(|c| c.path.0.clone())
            .collect();
        if wanted.is_empty() {
            continue;
        }
        let owners = owners(side, &wanted)?;
        for change in changes.iter_mut().filter(|c| wanted.contains(&c.path.0)) {
            let owner = owners.get(&change.path.0).cloned();
            change.package = owner.or_else(|| owner_of_information(&change.path.0));
        }
    }
    Ok(())
}

/// What dpkg notes about a package belongs to it, though no list has it.
fn owner_of_information(path: &[u8]) -> Option<String> {
    let name = path.strip_prefix(INFO)?;
    let name = &name[..name.iter().rposition(|c| *c == b'.')?];
    Some(package_of(name))
}

/// `name` or `name:architecture`.
fn package_of(name: &[u8]) -> String {
    let end = name.iter().position(|c| *c == b':').unwrap_or(name.len());
    String::from_utf8_lossy(&name[..end]).into_owned()
}

fn owners(side: &Side, wanted: &HashSet<Vec<u8>>) -> Result<HashMap<Vec<u8>, String>> {
    let lists: Vec<&Entry> = side
        .below(&INFO[..INFO.len() - 1])
        .filter(|(path, entry)| path.ends_with(LIST) && matches!(entry.node, Node::File { .. }))
        .map(|(_, entry)| entry)
        .collect();
    // a list has many files of the same directory
    let mut directories: HashMap<Vec<u8>, Vec<u8>> = HashMap::new();
    let mut out: HashMap<Vec<u8>, String> = HashMap::new();
    side.read_all(&lists, &mut |path, content| {
        let package = package_of(&path[INFO.len()..path.len() - LIST.len()]);
        for line in content.split(|c| *c == b'\n') {
            let Some(at) = line.iter().rposition(|c| *c == b'/') else { continue };
            let directory = directories.entry(line[..=at].to_vec()).or_insert_with_key(|d| side.place(d));
            let path = [directory, &line[at + 1..]].concat();
            if wanted.contains(&path) {
                // of two that say so, the first by name: what is read comes in no particular order
                let owner = out.entry(path).or_insert_with(|| package.clone());
                if package < *owner {
                    owner.clone_from(&package);
                }
            }
        }
        Ok(())
    })?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diff::files::compare;
    use crate::diff::rules::Rules;
    use crate::diff::side::tests::{memory, side};

    #[test]
    fn files_have_the_package_that_lists_them() {
        let left = memory(&[
            ("var/lib/dpkg/info/a.list", "/.\n/lib\n/lib/x\n/usr/bin\n/usr/bin/gone\n"),
            ("usr/lib/x", "1"),
            ("usr/bin/gone", "1"),
            ("top", "1"),
        ]);
        let right = memory(&[
            ("var/lib/dpkg/info/a.list", "/.\n/lib\n/lib/x\n/usr/bin\n/top\n"),
            ("var/lib/dpkg/info/b:amd64.md5sums", ""),
            ("usr/lib/x", "2"),
            ("usr/bin/new", "1"),
            ("top", "2"),
        ]);
        let (left, right) = (side(&left, &[("lib", "usr/lib")]), side(&right, &[("lib", "usr/lib")]));
        let (mut changes, _) = compare(&left, &right, &Rules::none(), false);
        fill_in(&left, &right, &mut changes).unwrap();
        let told: Vec<String> = changes
            .iter()
            .map(|c| format!("{} {}", c.path.display(), c.package.as_deref().unwrap_or("-")))
            .collect();
        assert_eq!(
            told,
            [
                "top a",
                "usr/bin/gone a",
                "usr/bin/new -",
                "usr/lib/x a",
                "var/lib/dpkg/info/a.list a",
                "var/lib/dpkg/info/b:amd64.md5sums b",
            ]
        );
    }
}
