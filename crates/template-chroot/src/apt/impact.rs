// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Looking at what a plan means for what stays
//!
//! The tree is read from outside; package files that come, where they are at hand, by the tree's own dpkg-deb.

use std::collections::BTreeMap;
use std::path::Path;

use super::action::{Action, Origin};
use super::simulate::Uri;
use super::state::{PUT, parse_files};
use super::status::Status;
use super::transaction::Transaction;
use crate::error::{ChrootError, Result};
use crate::impact::{self, Impact, Incoming, Question};
use crate::system::plain;

/// Prints the names in a package file, and its symbols file. The arguments are pairs: a number, and the file.
const READ_DEBS: &str = r#"
t=$(mktemp)
while [ $# -gt 0 ]; do
    if dpkg-deb --fsys-tarfile "$2" 2>/dev/null | tar -tf - > "$t" 2>/dev/null; then
        put "$1 files" "$t"
        if dpkg-deb --info "$2" symbols > "$t" 2>/dev/null; then put "$1 symbols" "$t"; fi
    fi
    shift 2
done
rm "$t"
"#;

impl Transaction<'_> {
    /// Finds out; takes no time unless a kernel or library goes or changes.
    pub(super) fn impact(&self, actions: &[Action], status: &Status, uris: &[Uri]) -> Result<Impact> {
        let old = actions.iter().any(|action| action.old_version.is_some());
        if !old {
            return Ok(Impact::default());
        }
        let outgoing = self.look(|tree| impact::outgoing(tree, actions))?;
        let recipes = &self.request.recipes;
        let staying: Vec<(String, String)> = status
            .packages
            .iter()
            .filter(|p| p.installed() && recipes.contains_key(&p.name))
            .filter(|p| !actions.iter().any(|a| a.package == p.name))
            .map(|p| (p.name.clone(), p.architecture.clone()))
            .collect();
        if !impact::matters(&outgoing, !staying.is_empty()) {
            return Ok(Impact::default());
        }
        let incoming = self.read_debs(actions, uris)?;
        let question =
            Question { outgoing: &outgoing, actions, incoming: &incoming, recipes, staying: &staying };
        self.look(|tree| impact::judge(tree, &question))
    }

    /// Looks into the package files that are on this machine already, by the number of their action.
    pub(super) fn read_debs(&self, actions: &[Action], uris: &[Uri]) -> Result<BTreeMap<usize, Incoming>> {
        let mut argv = vec!["sh".to_owned(), "-c".to_owned(), format!("{PUT}{READ_DEBS}"), "sh".to_owned()];
        let options = argv.len();
        for (number, action) in actions.iter().enumerate() {
            let Some(version) = &action.new_version else { continue };
            let is_it = |(name, v): (String, String)| name == action.package && v == *version;
            let inside = match action.origin {
                Some(Origin::File { .. }) => {
                    let mut debs = self.debs.iter();
                    debs.find(|d| d.name == action.package && d.version == *version).map(|d| d.inside.clone())
                }
                _ => uris.iter().find(|uri| uri.package().is_some_and(is_it)).and_then(Uri::path),
            };
            argv.extend(inside.into_iter().flat_map(|inside| [number.to_string(), inside]));
        }
        let mut incoming: BTreeMap<usize, Incoming> = BTreeMap::new();
        if argv.len() == options {
            return Ok(incoming);
        }
        let captured = self.sandbox(false).capture(&argv)?;
        let files = parse_files(&captured.stdout)
            .ok_or_else(|| ChrootError::Internal("reading package files: it makes no sense".to_owned()))?;
        for (name, content) in files {
            let Some((number, what)) = name.split_once(' ') else { continue };
            let Ok(number) = number.parse() else { continue };
            let entry = incoming.entry(number).or_default();
            match what {
                "symbols" => entry.symbols = content,
                _ => {
                    let names = content.lines().map(|line| line.trim_start_matches('.'));
                    let files = names.filter(|name| name.starts_with('/') && !name.ends_with('/'));
                    entry.files = files.map(|name| plain(Path::new(name))).collect();
                }
            }
        }
        Ok(incoming)
    }
}
