// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Layers, and what changes from one stack of them to another
//!
//! Every step writes to a layer of its own, which is read only from then on: the next step, or several, lie on top of
//! it, and nothing is ever copied. What a step has changed is in its layer, so a comparison looks at what the
//! layers between two stacks hold, and at nothing else; what that means, whiteouts and all, the kernel says.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::view::{Node, View, differences};
use crate::error::{ChrootError, Result};
use crate::sandbox::Root;
use crate::system::Kind;

/// Mark a directory that hides what lower layers have there: as root, and in a user namespace.
const OPAQUE: [&str; 2] = ["trusted.overlay.opaque", "user.overlay.opaque"];

/// A stack of read-only layers, the uppermost first; the last is the template.
#[derive(Debug, Clone)]
pub(super) struct Stack(Vec<PathBuf>);

impl Stack {
    pub fn new(template: Vec<PathBuf>) -> Self {
        Self(template)
    }

    /// With another layer on top.
    pub fn on(&self, layer: &Layer) -> Self {
        self.over(&layer.upper)
    }

    /// With another directory on top.
    pub fn over(&self, upper: &Path) -> Self {
        Self([&[upper.to_owned()], &self.0[..]].concat())
    }

    /// With another layer right above those of `bottom`.
    pub fn above(&self, bottom: &Self, layer: &Layer) -> Self {
        let mut layers = self.0.clone();
        layers.insert(self.0.len().saturating_sub(bottom.0.len()), layer.upper.clone());
        Self(layers)
    }

    pub fn view(&self) -> Result<View> {
        View::of(&self.0)
    }

    /// A root over it that writes to a layer.
    pub fn root(&self, layer: &Layer) -> Root {
        Root::Overlay { lowers: self.0.clone(), upper: layer.upper.clone(), work: layer.work.clone() }
    }
}

/// Takes what one step writes. Vanishes with this value, unless it was moved to where somebody keeps it.
#[derive(Debug)]
pub(super) struct Layer {
    upper: PathBuf,
    work: PathBuf,
    _dir: tempfile::TempDir,
}

impl Layer {
    /// An empty layer, for a stack.
    pub fn new(scratch: &Path, below: &Stack) -> Result<Self> {
        let failed = |e| ChrootError::io("making a layer in", scratch, e);
        let dir = tempfile::Builder::new().prefix("layer-").tempdir_in(scratch).map_err(failed)?;
        let (upper, work) = (dir.path().join("upper"), dir.path().join("work"));
        fs::create_dir(&work).map_err(failed)?;
        fs::create_dir(&upper).map_err(failed)?;
        // the root of an overlay has the mode of its upper directory
        let mode = match below.0.first().map(fs::metadata) {
            Some(Ok(top)) => top.permissions(),
            _ => fs::Permissions::from_mode(0o755),
        };
        fs::set_permissions(&upper, mode).map_err(failed)?;
        Ok(Self { upper, work, _dir: dir })
    }

    /// The same layer, whose content somebody has moved, or which has none yet and stands for one that is kept.
    pub fn moved_to(self, upper: PathBuf) -> Self {
        Self { upper, ..self }
    }

    /// Where it is on this machine.
    pub fn path(&self) -> &Path {
        &self.upper
    }

    /// Bytes that it can still take.
    pub fn room(&self) -> Result<u64> {
        let room =
            rustix::fs::statvfs(&self.upper).map_err(|e| ChrootError::io("looking at", &self.upper, e))?;
        let no_names = room.f_files > 0 && room.f_ffree == 0;
        Ok(if no_names { 0 } else { room.f_bfree.saturating_mul(room.f_frsize) })
    }

    /// All paths that it holds something for, and of directories that hide others, what `old` has in there.
    fn touched(&self, old: &View, paths: &mut BTreeSet<PathBuf>) -> Result<()> {
        let mut todo = vec![(PathBuf::new(), false)];
        while let Some((path, opaque)) = todo.pop() {
            let dir = self.upper.join(&path);
            let opaque = opaque || (path != Path::new("") && is_opaque(&dir));
            if opaque {
                paths.extend(old.list(&path)?.into_iter().map(|(name, _)| path.join(name)));
            }
            let entries = match fs::read_dir(&dir) {
                // deeper than any path: the directories above are compared, and that has to do
                Err(e) if e.raw_os_error() == Some(Errno::NAMETOOLONG.raw_os_error()) => continue,
                other => other.map_err(|e| ChrootError::io("reading", &dir, e))?,
            };
            for entry in entries {
                let entry = entry.map_err(|e| ChrootError::io("reading", &dir, e))?;
                let inner = path.join(entry.file_name());
                if entry.file_type().is_ok_and(|t| t.is_dir()) {
                    todo.push((inner.clone(), opaque));
                }
                paths.insert(inner);
            }
        }
        Ok(())
    }
}

fn is_opaque(dir: &Path) -> bool {
    let mut value = [0u8; 8];
    OPAQUE
        .iter()
        .any(|name| rustix::fs::lgetxattr(dir, *name, &mut value[..]).is_ok_and(|got| value[..got] == *b"y"))
}

/// What is different at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    /// Relative to the root.
    pub path: PathBuf,
    pub what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    Added(Node),
    Removed,
    /// And in what.
    Changed(Vec<&'static str>),
}

impl Change {
    /// As people write it.
    pub fn shown(&self) -> String {
        Path::new("/").join(&self.path).to_string_lossy().into_owned()
    }
}

/// Compares two systems that differ in these layers at most. Sorted, a directory before what is in it.
pub(super) fn compare(layers: &[&Layer], old: &View, new: &View) -> Result<Vec<Change>> {
    let mut paths = BTreeSet::new();
    for layer in layers {
        layer.touched(old, &mut paths)?;
    }
    let mut changes = Vec::new();
    // what is below something that is a directory in one of them alone needs no words
    let mut told: Option<PathBuf> = None;
    for path in paths {
        if told.as_ref().is_some_and(|dir| path.starts_with(dir)) {
            continue;
        }
        let what = match (old.node(&path)?, new.node(&path)?) {
            (None, None) => continue,
            (None, Some(node)) => What::Added(node),
            (Some(_), None) => {
                told = Some(path.clone());
                What::Removed
            }
            (Some(before), Some(after)) => {
                if before.kind != Kind::Directory || after.kind != Kind::Directory {
                    told = Some(path.clone());
                }
                match differences(&path, (old, &before), (new, &after))? {
                    nothing if nothing.is_empty() => continue,
                    what => What::Changed(what),
                }
            }
        };
        changes.push(Change { path, what });
    }
    Ok(changes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(dir: &Path, below: &Stack, files: &[(&str, &str)]) -> Layer {
        let layer = Layer::new(dir, below).unwrap();
        for (path, text) in files {
            let path = layer.upper.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        layer
    }

    /// Needs no mount: a stack of one layer is that layer.
    #[test]
    fn two_trees_are_compared() {
        let dir = tempfile::tempdir().unwrap();
        let none = Stack::new(vec![]);
        let old = layer(
            dir.path(),
            &none,
            &[("etc/same", "x"), ("etc/changed", "x"), ("var/gone/a", "x"), ("var/gone/b", "x")],
        );
        let new = layer(dir.path(), &none, &[("etc/same", "x"), ("etc/changed", "y"), ("etc/new", "x")]);
        fs::set_permissions(new.upper.join("etc/same"), fs::Permissions::from_mode(0o600)).unwrap();
        let views = (none.on(&old).view().unwrap(), none.on(&new).view().unwrap());
        let changes = compare(&[&old, &new], &views.0, &views.1).unwrap();
        let shown: Vec<String> = changes
            .iter()
            .map(|c| match &c.what {
                What::Added(_) => format!("+ {}", c.shown()),
                What::Removed => format!("- {}", c.shown()),
                What::Changed(what) => format!("~ {} {}", c.shown(), what.join(",")),
            })
            .collect();
        assert_eq!(shown, ["~ /etc/changed content", "+ /etc/new", "~ /etc/same mode", "- /var"]);
    }

    #[test]
    fn no_path_is_too_deep() {
        let dir = tempfile::tempdir().unwrap();
        let none = Stack::new(vec![]);
        let (old, new) = (layer(dir.path(), &none, &[]), layer(dir.path(), &none, &[]));
        let mut parent = fs::File::open(&new.upper).unwrap();
        let name = "d".repeat(200);
        for _ in 0..30 {
            rustix::fs::mkdirat(&parent, &name, rustix::fs::Mode::RWXU).unwrap();
            let flags = rustix::fs::OFlags::DIRECTORY;
            parent = rustix::fs::openat(&parent, &name, flags, rustix::fs::Mode::empty()).unwrap().into();
        }
        let views = (none.on(&old).view().unwrap(), none.on(&new).view().unwrap());
        let changes = compare(&[&old, &new], &views.0, &views.1).unwrap();
        assert!(changes.len() > 10 && changes[0].shown() == format!("/{name}"));
    }

    #[test]
    fn links_do_not_lead_out() {
        let dir = tempfile::tempdir().unwrap();
        let none = Stack::new(vec![]);
        let tree = layer(dir.path(), &none, &[("etc/file", "inside")]);
        std::os::unix::fs::symlink("/etc/file", tree.upper.join("absolute")).unwrap();
        std::os::unix::fs::symlink("../../../etc/hostname", tree.upper.join("up")).unwrap();
        std::os::unix::fs::symlink("/etc", tree.upper.join("dir")).unwrap();
        let view = none.on(&tree).view().unwrap();
        let links = view.node(Path::new("up")).unwrap().unwrap();
        assert_eq!(links.kind, Kind::Symlink);
        assert_eq!(view.text("absolute").unwrap(), "inside");
        assert!(view.node(Path::new("up/hostname")).unwrap().is_none());
    }
}
