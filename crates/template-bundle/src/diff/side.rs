// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # One of the two systems
//!
//! Its entries by path, and a way to read some of its files. Symlinks are followed here, in the entries, as the system
//! itself would follow them.

use std::collections::BTreeMap;

use crate::diff::dpkg::Database;
use crate::error::Result;
use crate::inroot::InRoot;
use crate::manifest::Package;
use crate::toc::{Entry, Node};
use crate::tree::{OnDisk, hash_contents};

/// More links than this on the way to a file are a loop; the limit of the kernel.
const MAX_LINKS: usize = 40;

/// Takes the path of a file, and its content.
pub type Take<'a> = dyn FnMut(&[u8], &[u8]) -> Result<()> + 'a;

/// Where the contents of a system come from.
pub trait Reader {
    /// Hands out the contents of these files, in any order. What is too large or is not there is left out.
    fn read(&self, wanted: &[&Entry], take: &mut Take) -> Result<()>;

    /// Fills in the digests of entries that were scanned without. There is nothing to do where they are known.
    fn hash(&self, _entries: &mut [Entry]) -> Result<()> {
        Ok(())
    }
}

/// A directory of the host.
impl Reader for OnDisk<'_> {
    fn read(&self, wanted: &[&Entry], take: &mut Take) -> Result<()> {
        let root = InRoot::open(self.0)?;
        for entry in wanted {
            if let Some(content) = root.read(&entry.path.0)? {
                take(&entry.path.0, &content)?;
            }
        }
        Ok(())
    }

    fn hash(&self, entries: &mut [Entry]) -> Result<()> {
        hash_contents(entries, self)
    }
}

/// A system.
pub struct Side<'a> {
    /// Hard links are the file that they name.
    entries: BTreeMap<Vec<u8>, Entry>,
    reader: &'a dyn Reader,
    /// Packages as the template manifest has them, which knows where self-built ones come from.
    pub listed: Vec<Package>,
}

impl<'a> Side<'a> {
    /// A system of these entries, in the order of a table of contents.
    pub fn new(list: Vec<Entry>, listed: Vec<Package>, reader: &'a dyn Reader) -> Self {
        let mut entries: BTreeMap<Vec<u8>, Entry> = BTreeMap::new();
        for mut entry in list {
            // the file that a hard link names always comes before it
            if let Node::Hardlink { target } = &entry.node
                && let Some(first) = entries.get(&target.0)
            {
                entry = Entry { path: entry.path, ..first.clone() };
            }
            entries.insert(entry.path.0.clone(), entry);
        }
        Side { entries, reader, listed }
    }

    /// The entry at this path itself.
    pub fn get(&self, path: &[u8]) -> Option<&Entry> {
        self.entries.get(path)
    }

    /// All entries, in byte order of their paths.
    pub fn entries(&self) -> impl Iterator<Item = (&[u8], &Entry)> {
        self.entries.iter().map(|(path, entry)| (&path[..], entry))
    }

    /// The entries below a directory.
    pub fn below(&self, directory: &[u8]) -> impl Iterator<Item = (&[u8], &Entry)> {
        let prefix = [directory, b"/"].concat();
        self.entries
            .range(prefix.clone()..)
            .take_while(move |(path, _)| path.starts_with(&prefix))
            .map(|(path, entry)| (&path[..], entry))
    }

    /// Where a path leads: links on the way are followed, the last name is not.
    pub fn place(&self, path: &[u8]) -> Vec<u8> {
        match path.iter().rposition(|c| *c == b'/') {
            Some(at) => {
                let directory = self.resolve(&path[..at]);
                join(&directory, &path[at + 1..])
            }
            None => path.to_vec(),
        }
    }

    /// Where a path leads when all links are followed. What is not there leads to itself.
    fn resolve(&self, path: &[u8]) -> Vec<u8> {
        let mut todo: Vec<Vec<u8>> = names(path).rev().collect();
        let mut at = Vec::new();
        let mut links = 0;
        while let Some(name) = todo.pop() {
            if name == b".." {
                at.truncate(at.iter().rposition(|c| *c == b'/').unwrap_or(0));
                continue;
            }
            let next = join(&at, &name);
            match self.get(&next).map(|e| &e.node) {
                Some(Node::Symlink { target }) if links < MAX_LINKS => {
                    links += 1;
                    if target.0.starts_with(b"/") {
                        at.clear();
                    }
                    todo.extend(names(&target.0).rev());
                }
                _ => at = next,
            }
        }
        at
    }

    /// The regular file that a path leads to.
    fn file(&self, path: &[u8]) -> Option<&Entry> {
        self.get(&self.resolve(path)).filter(|e| matches!(e.node, Node::File { .. }))
    }

    /// Reads a file, if there is one.
    pub fn read(&self, path: &[u8]) -> Result<Option<Vec<u8>>> {
        let mut out = None;
        if let Some(entry) = self.file(path) {
            self.reader.read(&[entry], &mut |_, content| {
                out = Some(content.to_vec());
                Ok(())
            })?;
        }
        Ok(out)
    }

    /// Reads several files.
    pub fn read_all(&self, wanted: &[&Entry], take: &mut Take) -> Result<()> {
        match wanted {
            [] => Ok(()),
            wanted => self.reader.read(wanted, take),
        }
    }

    /// What dpkg knows.
    pub fn database(&self) -> Result<Database> {
        let status = self.read(b"var/lib/dpkg/status")?.unwrap_or_default();
        Ok(Database::parse(&String::from_utf8_lossy(&status)))
    }
}

/// Whether two entries are of the same kind and content.
pub fn same_content(a: &Entry, b: &Entry) -> bool {
    match (&a.node, &b.node) {
        // holes are how a content is stored, not what it is
        (Node::File { digest: a, size: n, .. }, Node::File { digest: b, size: m, .. }) => (a, n) == (b, m),
        (a, b) => a == b,
    }
}

/// Has the digests known that tell whether two files are the same: those of equal size, where they are needed.
pub fn hash<'a>(left: &mut Side<'a>, right: &mut Side<'a>, needed: &dyn Fn(&[u8]) -> bool) -> Result<()> {
    let size = |side: &Side, path: &[u8]| match side.get(path)?.node {
        Node::File { size, .. } if size > 0 => Some(size),
        _ => None,
    };
    let both: Vec<Vec<u8>> = left
        .entries
        .keys()
        .filter(|path| {
            let old = size(left, path);
            old.is_some() && old == size(right, path) && needed(path)
        })
        .cloned()
        .collect();
    for side in [left, right] {
        let mut some: Vec<Entry> = both.iter().filter_map(|path| side.get(path).cloned()).collect();
        side.reader.hash(&mut some)?;
        for entry in some {
            side.entries.insert(entry.path.0.clone(), entry);
        }
    }
    Ok(())
}

fn names(path: &[u8]) -> impl DoubleEndedIterator<Item = Vec<u8>> + '_ {
    path.split(|c| *c == b'/').filter(|name| !name.is_empty() && *name != b".").map(<[u8]>::to_vec)
}

fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    match directory {
        [] => name.to_vec(),
        directory => [directory, b"/", name].concat(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::digest::Digest;

    /// A system in memory.
    #[derive(Default)]
    pub struct Memory(pub BTreeMap<Vec<u8>, Vec<u8>>);

    impl Reader for Memory {
        fn read(&self, wanted: &[&Entry], take: &mut Take) -> Result<()> {
            for entry in wanted {
                if let Some(content) = self.0.get(&entry.path.0) {
                    take(&entry.path.0, content)?;
                }
            }
            Ok(())
        }
    }

    pub fn entry(path: &str, node: Node) -> Entry {
        Entry { path: path.into(), node, mode: 0o644, uid: 0, gid: 0, mtime: (0, 0), xattrs: vec![] }
    }

    pub fn file(path: &str, content: &str) -> Entry {
        let digest = Digest::of(content.as_bytes());
        entry(path, Node::File { size: content.len() as u64, digest, holes: vec![] })
    }

    pub fn link(path: &str, target: &str) -> Entry {
        entry(path, Node::Symlink { target: target.into() })
    }

    /// A system with these texts, and these links.
    pub fn memory(files: &[(&str, &str)]) -> Memory {
        Memory(
            files.iter().map(|(path, text)| (path.as_bytes().to_vec(), text.as_bytes().to_vec())).collect(),
        )
    }

    pub fn side<'a>(memory: &'a Memory, links: &[(&str, &str)]) -> Side<'a> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let files = memory.0.iter().map(|(path, content)| file(&text(path), &text(content)));
        let links = links.iter().map(|(path, target)| link(path, target));
        Side::new(files.chain(links).collect(), vec![], memory)
    }

    #[test]
    fn links_are_followed_within_the_system() {
        let memory = memory(&[("usr/lib/x", "found"), ("etc/passwd", "root")]);
        let links = [
            ("lib", "usr/lib"),
            ("abs", "/usr/lib"),
            ("up", "../../usr/lib/../lib"),
            ("loop", "loop"),
            ("a", "b/c"),
            ("b", "a"),
            ("usr/lib/y", "x"),
        ];
        let side = side(&memory, &links);
        for path in ["lib/x", "abs/x", "up/x", "lib/y", "/lib/../lib/./x", "../../lib/x"] {
            assert_eq!(side.read(path.as_bytes()).unwrap().as_deref(), Some(&b"found"[..]), "{path}");
        }
        for path in ["loop/x", "loop", "a/x", "nothing", "", "lib"] {
            assert_eq!(side.read(path.as_bytes()).unwrap(), None, "{path}");
        }
        assert_eq!(side.place(b"lib/y"), b"usr/lib/y");
    }
}
