// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Alternatives, as update-alternatives records them

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{Kind, Tree};
use crate::error::Result;

const RECORDS: &str = "/var/lib/dpkg/alternatives";
const LINKS: &str = "/etc/alternatives";

/// A name that several packages can stand for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alternative {
    /// The path that programs use, such as `/usr/bin/editor`.
    pub link: PathBuf,
    /// Whether the one with the highest priority is taken; else somebody chose.
    pub automatic: bool,
    /// What stands for it now.
    pub current: Option<PathBuf>,
    /// Whether that is there.
    pub present: bool,
    /// What can stand for it.
    pub choices: Vec<PathBuf>,
    /// Names that go with it, such as `editor.1.gz`.
    pub slaves: Vec<String>,
}

/// Reads the alternatives of a tree, by name.
pub fn alternatives(tree: &Tree) -> Result<BTreeMap<String, Alternative>> {
    let mut found = BTreeMap::new();
    for (name, kind) in tree.list(RECORDS)? {
        let Some(name) = name.to_str().filter(|_| kind == Kind::File) else { continue };
        let Some(mut alternative) = parse(&tree.text(format!("{RECORDS}/{name}"))?) else { continue };
        let link = format!("{LINKS}/{name}");
        alternative.current = tree.link(&link)?;
        alternative.present = tree.leads_somewhere(&link)?;
        found.insert(name.to_owned(), alternative);
    }
    Ok(found)
}

/// A record: status, link, pairs of name and link of the slaves, an empty line; and of each choice its path, its
/// priority, and the path of each slave.
fn parse(record: &str) -> Option<Alternative> {
    let mut lines = record.lines();
    let automatic = match lines.next()? {
        "auto" => true,
        "manual" => false,
        _ => return None,
    };
    let link = lines.next().filter(|l| l.starts_with('/'))?.into();
    let mut slaves = Vec::new();
    while let Some(name) = lines.next().filter(|line| !line.is_empty()) {
        slaves.push(name.to_owned());
        lines.next()?;
    }
    let mut choices = Vec::new();
    while let Some(path) = lines.next().filter(|line| !line.is_empty()) {
        choices.push(path.into());
        for _ in 0..=slaves.len() {
            lines.next();
        }
    }
    Some(Alternative { link, automatic, current: None, present: false, choices, slaves })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::tree::of_files;

    const EDITOR: &str = "auto\n/usr/bin/editor\neditor.1.gz\n/usr/share/man/man1/editor.1.gz\n\n\
        /bin/nano\n40\n/usr/share/man/man1/nano.1.gz\n/usr/bin/vim.basic\n30\n\n\n";

    #[test]
    fn alternatives_are_read() {
        let (_dir, tree) = of_files(&[
            ("var/lib/dpkg/alternatives/editor", EDITOR),
            ("var/lib/dpkg/alternatives/pager", "manual\n/usr/bin/pager\n\n/bin/more\n50\n\n"),
            ("var/lib/dpkg/alternatives/noise", "noise\n"),
            ("etc/alternatives/editor", "-> /bin/nano"),
            ("etc/alternatives/pager", "-> /bin/more"),
            ("bin/more", ""),
        ]);
        let found = alternatives(&tree).unwrap();
        assert_eq!(found.keys().collect::<Vec<_>>(), ["editor", "pager"]);
        let editor = &found["editor"];
        assert!(editor.automatic && !editor.present);
        assert_eq!(editor.current, Some("/bin/nano".into()));
        assert_eq!(editor.choices, [PathBuf::from("/bin/nano"), "/usr/bin/vim.basic".into()]);
        assert_eq!(editor.slaves, ["editor.1.gz"]);
        assert!(!found["pager"].automatic && found["pager"].present);
    }
}
