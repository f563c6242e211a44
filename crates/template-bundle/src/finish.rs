// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # What makes a finished system
//!
//! A template is a snapshot in the middle of Isar's work: daemons are kept from starting by a diversion, apt knows
//! repositories that exist during the build only. The steps here undo that. Packing turns them into a small OCI
//! layer (with whiteouts) over the root filesystem; `install` applies them to its result. On a tree that is
//! finished already there is nothing to do but the machine's identity.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;

use crate::bytes::Bytes;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::inroot::InRoot;
use crate::toc::{Entry, Node, path_order};
use crate::tree::Contents;
use crate::whiteout;

/// Files that exist for the build only.
const BUILD_ONLY: [&str; 9] = [
    "chroot-setup.sh",
    "etc/apt/sources.list.d/isar-apt.list",
    "etc/apt/preferences.d/isar-apt",
    "etc/apt/apt.conf.d/50isar",
    "etc/apt/apt.conf.d/50isar-stubs",
    "run/blkid/blkid.tab",
    "run/blkid/blkid.tab.old",
    "var/cache/ldconfig/aux-cache",
    "var/lib/dbus/machine-id",
];
/// Directories whose files match a suffix or a part of their name and exist for the build only.
type NameTest = fn(&[u8]) -> bool;
const BUILD_ONLY_NAMES: [(&str, NameTest); 4] = [
    ("etc/apt/sources.list.d", |n| n.ends_with(b"base-apt.list")),
    ("var/lib/apt/lists", |n| n.starts_with(b"_isar-apt_") || n.starts_with(b"_base-apt_")),
    ("var/cache/apt/archives", |n| n.ends_with(b".deb")),
    ("tmp", |_| true),
];
/// What is diverted to keep daemons from starting, and the suffix of the real one.
const DIVERTED: [&str; 5] = [
    "/usr/sbin/policy-rc.d",
    "/sbin/policy-rc.d",
    "/usr/sbin/start-stop-daemon",
    "/sbin/start-stop-daemon",
    "/sbin/initctl",
];
const REAL: &str = ".REAL";
const DIVERSIONS: &[u8] = b"var/lib/dpkg/diversions";
const POLICY: &[u8] = b"usr/sbin/policy-rc.d";
const MACHINE_ID: &[u8] = b"etc/machine-id";
/// What systemd (since 247) takes as the order to make a machine ID at first boot.
const UNINITIALIZED: &[u8] = b"uninitialized\n";
/// The file by which Isar's snapshot differs from any other Debian root filesystem.
const ISAR_MARK: &[u8] = b"etc/apt/sources.list.d/isar-apt.list";

/// One step. Paths are canonical in the tree.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Remove a file.
    Remove(Vec<u8>),
    /// Rename a file over another.
    Rename(Vec<u8>, Vec<u8>),
    /// Give a file another content.
    Write(Vec<u8>, Vec<u8>),
}

/// What is to be done to this tree.
pub fn steps(root: &InRoot) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    let remove = |steps: &mut Vec<Step>, path: &[u8]| -> Result<()> {
        if root.lstat(path)?.is_some()
            && let Some(path) = root.canonical(path)?
            && !steps.contains(&Step::Remove(path.clone()))
        {
            steps.push(Step::Remove(path));
        }
        Ok(())
    };
    for path in BUILD_ONLY {
        remove(&mut steps, path.as_bytes())?;
    }
    for (dir, matches) in BUILD_ONLY_NAMES {
        for name in root.list(dir.as_bytes())? {
            if matches(name.as_bytes()) {
                remove(&mut steps, &[dir.as_bytes(), b"/", name.as_bytes()].concat())?;
            }
        }
    }
    if root.lstat(ISAR_MARK)?.is_some() {
        // Isar put the build host's copy there
        remove(&mut steps, b"etc/resolv.conf")?;
    }
    undo_diversions(root, &mut steps)?;
    // a policy-rc.d that forbids everything is never what a running system wants
    if root.read(POLICY)?.is_some_and(|text| denies_everything(&text)) && !renames_to(&steps, POLICY) {
        remove(&mut steps, POLICY)?;
    }
    let identity = root.read(MACHINE_ID)?.unwrap_or_default();
    if root.is_file(MACHINE_ID)? && !identity.is_empty() && identity != UNINITIALIZED {
        steps.push(Step::Write(MACHINE_ID.to_vec(), UNINITIALIZED.to_vec()));
    }
    Ok(steps)
}

fn renames_to(steps: &[Step], path: &[u8]) -> bool {
    steps.iter().any(|s| matches!(s, Step::Rename(_, to) if to == path))
}

fn denies_everything(script: &[u8]) -> bool {
    let code: Vec<_> = script
        .split(|c| *c == b'\n')
        .map(|line| line.trim_ascii())
        .filter(|line| !line.is_empty() && !line.starts_with(b"#"))
        .collect();
    code == [b"exit 101"]
}

fn undo_diversions(root: &InRoot, steps: &mut Vec<Step>) -> Result<()> {
    let Some(text) = root.read(DIVERSIONS)? else {
        return Ok(());
    };
    let lines: Vec<&[u8]> = text.split(|c| *c == b'\n').collect();
    let mut kept = Vec::new();
    let mut undone = false;
    // three lines each: what, where to, by whom (a colon when it is the administrator)
    for diversion in lines.chunks_exact(3) {
        let (what, to, by) = (diversion[0], diversion[1], diversion[2]);
        let ours = by == b":"
            && DIVERTED
                .iter()
                .any(|d| d.as_bytes() == what && [d.as_bytes(), REAL.as_bytes()].concat() == to);
        if !ours {
            kept.extend_from_slice(&diversion.join(&b'\n'));
            kept.push(b'\n');
            continue;
        }
        undone = true;
        if root.is_file(to)?
            && let (Some(from), Some(to)) = (root.canonical(to)?, root.canonical(what)?)
        {
            steps.push(Step::Rename(from, to));
        }
    }
    if undone && let Some(path) = root.canonical(DIVERSIONS)? {
        steps.push(Step::Write(path, kept));
    }
    Ok(())
}

/// Applies the steps to a tree.
pub fn apply(root: &InRoot, steps: &[Step]) -> Result<()> {
    for step in steps {
        match step {
            Step::Remove(path) => root.remove(path)?,
            Step::Rename(from, to) => root.rename(from, to)?,
            Step::Write(path, content) => root.overwrite(path, content)?,
        }
    }
    Ok(())
}

/// The same steps as an OCI layer over the tree with these entries.
pub struct FinishLayer {
    /// Entries of the OCI layer.
    pub entries: Vec<Entry>,
    contents: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Contents for FinishLayer {
    fn read_at(&self, entry: &Entry, offset: u64, buf: &mut [u8]) -> Result<()> {
        let content = self.contents.get(&entry.path.0).map(Vec::as_slice).unwrap_or_default();
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let part = content.get(start..).and_then(|rest| rest.get(..buf.len()));
        buf.copy_from_slice(part.ok_or_else(|| Error::damaged("the finish layer is shorter than it says"))?);
        Ok(())
    }
}

/// Makes the OCI layer.
pub fn layer(root: &InRoot, steps: &[Step], base: &[Entry]) -> Result<FinishLayer> {
    let by_path: BTreeMap<&[u8], &Entry> = base.iter().map(|e| (&e.path.0[..], e)).collect();
    let mut out: BTreeMap<Vec<u8>, Entry> = BTreeMap::new();
    let mut contents = BTreeMap::new();
    for step in steps {
        match step {
            Step::Remove(path) => remove(path, &by_path, &mut out),
            Step::Rename(from, to) => {
                let content = root.read(from)?.unwrap_or_default();
                replace(from, to, content, &by_path, &mut out, &mut contents);
                remove(from, &by_path, &mut out);
            }
            Step::Write(path, content) => {
                replace(path, path, content.clone(), &by_path, &mut out, &mut contents)
            }
        }
    }
    let mut entries: Vec<Entry> = out.into_values().collect();
    // an OCI layer names the directories above what it changes, and thereby keeps their metadata
    let mut parents: BTreeMap<Vec<u8>, Entry> = BTreeMap::new();
    for entry in &entries {
        let mut path = &entry.path.0[..];
        while let Some(at) = path.iter().rposition(|c| *c == b'/') {
            path = &path[..at];
            if let Some(dir) = by_path.get(path) {
                parents.insert(path.to_vec(), (*dir).clone());
            }
        }
    }
    if let Some(top) = by_path.get(&b""[..]) {
        parents.insert(vec![], (*top).clone());
    }
    entries.extend(parents.into_values());
    entries.sort_by(|a, b| path_order(&a.path.0, &b.path.0));
    Ok(FinishLayer { entries, contents })
}

fn remove(path: &[u8], base: &BTreeMap<&[u8], &Entry>, out: &mut BTreeMap<Vec<u8>, Entry>) {
    if !base.contains_key(path) {
        return;
    }
    let entry = whiteout::of(path);
    out.insert(entry.path.0.clone(), entry);
}

fn replace(
    from: &[u8],
    to: &[u8],
    content: Vec<u8>,
    base: &BTreeMap<&[u8], &Entry>,
    out: &mut BTreeMap<Vec<u8>, Entry>,
    contents: &mut BTreeMap<Vec<u8>, Vec<u8>>,
) {
    let Some(like) = base.get(from) else { return };
    let node = Node::File { size: content.len() as u64, digest: Digest::of(&content), holes: vec![] };
    out.insert(to.to_vec(), Entry { path: Bytes(to.to_vec()), node, ..(*like).clone() });
    contents.insert(to.to_vec(), content);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::stack;
    use std::fs;

    fn isar_snapshot(tree: &std::path::Path) {
        for dir in ["usr/sbin", "etc/apt/sources.list.d", "etc/apt/preferences.d", "var/lib/dpkg", "tmp/x"] {
            fs::create_dir_all(tree.join(dir)).unwrap();
        }
        std::os::unix::fs::symlink("usr/sbin", tree.join("sbin")).unwrap();
        fs::write(tree.join("usr/sbin/start-stop-daemon"), "fake").unwrap();
        fs::write(tree.join("usr/sbin/start-stop-daemon.REAL"), "real").unwrap();
        fs::write(tree.join("usr/sbin/policy-rc.d"), "#!/bin/sh\nexit 101\n").unwrap();
        fs::write(tree.join("etc/apt/sources.list.d/isar-apt.list"), "x").unwrap();
        fs::write(tree.join("etc/resolv.conf"), "host").unwrap();
        fs::write(tree.join("etc/machine-id"), "0123\n").unwrap();
        fs::write(tree.join("tmp/x/y"), "").unwrap();
        fs::write(
            tree.join("var/lib/dpkg/diversions"),
            "/bin/sh\n/bin/sh.distrib\ndash\n/sbin/start-stop-daemon\n/sbin/start-stop-daemon.REAL\n:\n",
        )
        .unwrap();
    }

    #[test]
    fn other_names_of_what_goes_keep_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path();
        isar_snapshot(tree);
        fs::write(tree.join("tmp/one"), "shared").unwrap();
        for name in ["usr/two", "usr/three"] {
            fs::hard_link(tree.join("tmp/one"), tree.join(name)).unwrap();
        }
        let (base, _) = crate::scan::scan(tree).unwrap();
        let root = InRoot::open(tree).unwrap();
        let layer = layer(&root, &steps(&root).unwrap(), &base).unwrap();
        let merged = stack([&base[..], &layer.entries]).unwrap();
        let find = |path: &str| &merged.iter().find(|(e, _)| e.path == path.into()).unwrap().0.node;
        // siblings in byte order, so this one is the first that stays
        assert!(matches!(find("usr/three"), Node::File { size: 6, .. }));
        assert_eq!(*find("usr/two"), Node::Hardlink { target: "usr/three".into() });
        let mut checker = crate::checker::Checker::default();
        merged.iter().for_each(|(e, _)| checker.check(e).unwrap());
    }

    #[test]
    fn applying_the_steps_and_merging_the_layer_give_the_same_tree() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path();
        isar_snapshot(tree);
        let (base, _) = crate::scan::scan(tree).unwrap();
        let root = InRoot::open(tree).unwrap();
        let steps = steps(&root).unwrap();
        let layer = layer(&root, &steps, &base).unwrap();
        let mut checker = crate::checker::Checker::default();
        layer.entries.iter().for_each(|e| checker.check(e).unwrap());
        let merged: Vec<_> =
            stack([&base[..], &layer.entries]).unwrap().into_iter().map(|(e, _)| e.path.display()).collect();

        apply(&root, &steps).unwrap();
        let (applied, _) = crate::scan::scan(tree).unwrap();
        let applied: Vec<_> = applied.into_iter().map(|e| e.path.display()).collect();
        assert_eq!(merged, applied);
        assert_eq!(fs::read_to_string(tree.join("usr/sbin/start-stop-daemon")).unwrap(), "real");
        assert_eq!(
            fs::read_to_string(tree.join("var/lib/dpkg/diversions")).unwrap(),
            "/bin/sh\n/bin/sh.distrib\ndash\n"
        );
        assert_eq!(fs::read_to_string(tree.join("etc/machine-id")).unwrap(), "uninitialized\n");
        for gone in
            ["etc/apt/sources.list.d/isar-apt.list", "usr/sbin/policy-rc.d", "etc/resolv.conf", "tmp/x"]
        {
            assert!(!tree.join(gone).exists(), "{gone}");
        }
        assert_eq!(super::steps(&InRoot::open(tree).unwrap()).unwrap(), vec![], "nothing is left to do");
    }
}
