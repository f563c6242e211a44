// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # An excerpt of the package lists
//!
//! Each run of apt looks at every package of its lists, which with those of Debian takes longer than to install a few. So the
//! lists as a whole are asked once, what to do. The runs after that, which look for archives, fetch and install them, see
//! lists with the packages of that answer alone. That they lead to the same answer is tried before they are used.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::Path;

use super::transaction::{EXCERPT, LISTS, Transaction};
use crate::error::{ChrootError, Result};
use crate::system::Tree;

/// What is no list of packages, but tells where they are from.
const RELEASES: [&str; 3] = ["InRelease", "_Release", "_Release.gpg"];

/// A record that is larger is of no list of packages.
const RECORD_LIMIT: usize = 16 << 20;

impl Transaction<'_> {
    /// Makes one with these packages; not when the lists are compressed, as apt is told to have them in some containers.
    pub(super) fn make_excerpt(&self, names: &BTreeSet<&str>) -> Result<bool> {
        let (lists, excerpt) = (self.scratch(LISTS), self.scratch(EXCERPT));
        let failed = |e| ChrootError::io("making an excerpt of package lists in", &excerpt, e);
        fs::remove_dir_all(&excerpt)
            .or_else(|e| if e.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(e) })
            .and_then(|()| fs::create_dir_all(excerpt.join("partial")))
            .and_then(|()| fs::set_permissions(&excerpt, fs::Permissions::from_mode(0o755)))
            .map_err(failed)?;
        self.look(|tree| {
            for entry in fs::read_dir(&lists).map_err(failed)? {
                let Ok(name) = entry.map_err(failed)?.file_name().into_string() else { continue };
                let list = if name.ends_with("_Packages") { open(&lists.join(&name), tree)? } else { None };
                match list {
                    Some(list) => filter(list, &excerpt.join(&name), names).map_err(failed)?,
                    None if name.contains("_Packages.") => return Ok(false),
                    // also what is not in the tree: folders that the request shows inside
                    None if name.ends_with("_Packages") || RELEASES.iter().any(|end| name.ends_with(end)) => {
                        symlink(Path::new("..").join(LISTS).join(&name), excerpt.join(&name))
                            .map_err(failed)?;
                    }
                    None => {}
                }
            }
            Ok(true)
        })
    }
}

/// A list that was fetched, or one of the tree, where the symlink leads.
fn open(path: &Path, tree: &Tree) -> Result<Option<File>> {
    let failed = |e| ChrootError::io("reading", path, e);
    match fs::read_link(path) {
        Ok(target) if target.is_absolute() => tree.file(target),
        Ok(_) => Ok(None),
        Err(_) => {
            let flags = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK;
            let file = File::options().read(true).custom_flags(flags).open(path).map_err(failed)?;
            Ok(Some(file).filter(|file| file.metadata().is_ok_and(|m| m.is_file())))
        }
    }
}

/// Copies the stanzas of these packages.
fn filter(list: File, to: &Path, names: &BTreeSet<&str>) -> io::Result<()> {
    let mut list = BufReader::with_capacity(1 << 20, list);
    let mut out = BufWriter::new(File::create_new(to)?);
    let (mut line, mut stanza) = (Vec::new(), Vec::new());
    let mut wanted = None;
    loop {
        line.clear();
        let end = list.by_ref().take(RECORD_LIMIT as u64).read_until(b'\n', &mut line)? == 0;
        if end || line.iter().all(u8::is_ascii_whitespace) {
            if wanted == Some(true) {
                out.write_all(&stanza)?;
                out.write_all(b"\n")?;
            }
            stanza.clear();
            wanted = None;
            if end {
                return out.flush();
            }
            continue;
        }
        if let Some(name) = line.strip_prefix(b"Package:") {
            let name = std::str::from_utf8(name.trim_ascii()).unwrap_or_default();
            wanted = Some(names.contains(name));
        }
        // of what is not wanted nothing need be kept
        if wanted != Some(false) {
            stanza.extend_from_slice(&line);
        }
        if stanza.len() > RECORD_LIMIT {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a package list has no records"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::of_files;

    #[test]
    fn stanzas_are_chosen() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        let kept = "Package: a\nVersion: 1\nDescription: x\n Package: b\n\n";
        let late = "Version: 2\nPackage: a\nDepends: b\n\n";
        let other = "Package: ab\nVersion: 1\nDepends: a\n\n";
        fs::write(&from, format!("{other}{kept}{other}\n{late}{}", other.trim_end())).unwrap();
        filter(File::open(&from).unwrap(), &to, &BTreeSet::from(["a", "c"])).unwrap();
        assert_eq!(fs::read_to_string(to).unwrap(), format!("{kept}{late}"));
    }

    #[test]
    fn lists_are_read_inside_the_tree() {
        let (_dir, tree) = of_files(&[("lists/x_Packages", "inside")]);
        let scratch = tempfile::tempdir().unwrap();
        let read = |name: &str| {
            let mut text = String::new();
            let file = open(&scratch.path().join(name), &tree).unwrap();
            file.map(|mut file| file.read_to_string(&mut text).unwrap())?;
            Some(text)
        };
        fs::write(scratch.path().join("own"), "own").unwrap();
        for (name, target) in [("of-tree", "/lists/x_Packages"), ("host", "/etc/passwd"), ("relative", "own")]
        {
            symlink(target, scratch.path().join(name)).unwrap();
        }
        assert_eq!(read("own").as_deref(), Some("own"));
        assert_eq!(read("of-tree").as_deref(), Some("inside"));
        assert_eq!((read("host"), read("relative")), (None, None));
    }
}
