// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Diversions that a plan has to do with
//!
//! A file that is diverted in the template is put elsewhere when a package brings it, and what a package diverts comes
//! back when it goes, if its scripts see to that. Neither is refused, but both are worth a note: who makes the product
//! sees only the package.

use std::collections::BTreeMap;

use super::action::{Action, Operation};
use super::transaction::Transaction;
use crate::error::Result;
use crate::impact::Incoming;
use crate::system::{Diversion, diversions, plain};

/// How many paths a note names.
const SHOWN: usize = 3;

impl Transaction<'_> {
    /// Notes about diversions by what goes, and of files in the package files of the request. Which files the packages of
    /// repositories have is not known before they are fetched.
    pub(super) fn note_diversions(&self, actions: &[Action]) -> Result<Vec<String>> {
        if actions.is_empty() {
            return Ok(Vec::new());
        }
        let diversions = self.look(diversions)?;
        if diversions.is_empty() {
            return Ok(Vec::new());
        }
        Ok(notes(&diversions, actions, &self.read_debs(actions, &[])?))
    }
}

fn notes(diversions: &[Diversion], actions: &[Action], incoming: &BTreeMap<usize, Incoming>) -> Vec<String> {
    let goes = |package: &Option<String>| {
        actions.iter().any(|a| a.operation == Operation::Remove && Some(&a.package) == package.as_ref())
    };
    let mut notes = Vec::new();
    for (number, action) in actions.iter().enumerate() {
        let name = &action.package;
        if action.operation == Operation::Remove {
            let by_it: Vec<&Diversion> =
                diversions.iter().filter(|d| d.package.as_ref() == Some(name)).collect();
            if !by_it.is_empty() {
                notes.push(format!(
                    "'{name}' goes and diverts {}: its scripts have to take that back, what they leave is told after it",
                    shown(&by_it)
                ));
            }
            continue;
        }
        let Some(incoming) = incoming.get(&number) else { continue };
        let (mut locally, mut by_packages) = (Vec::new(), BTreeMap::<&str, Vec<&Diversion>>::new());
        for diversion in diversions.iter().filter(|d| incoming.files.contains(&plain(&d.from))) {
            match &diversion.package {
                None => locally.push(diversion),
                by if by.as_ref() == Some(name) || goes(by) => {}
                Some(by) => by_packages.entry(by).or_default().push(diversion),
            }
        }
        let locally = (!locally.is_empty()).then(|| ("in the template".to_owned(), locally));
        let by_packages = by_packages.into_iter().map(|(by, found)| (format!("by '{by}'"), found));
        for (by, found) in locally.into_iter().chain(by_packages) {
            notes.push(format!("files of '{name}' are diverted {by}: {}", shown(&found)));
        }
    }
    notes
}

fn shown(diversions: &[&Diversion]) -> String {
    let one = |d: &&Diversion| format!("'{}' to '{}'", d.from.display(), d.to.display());
    let mut shown: Vec<String> = diversions.iter().take(SHOWN).map(one).collect();
    if let more @ 1.. = diversions.len().saturating_sub(SHOWN) {
        shown.push(format!("{more} more"));
    }
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn diversions_of_what_comes_and_goes_are_told() {
        let diversion = |from: &str, package: Option<&str>| Diversion {
            from: from.into(),
            to: format!("{from}.real").into(),
            package: package.map(str::to_owned),
        };
        let all = [
            diversion("/bin/a", None),
            diversion("/usr/bin/b", Some("wrapper")),
            diversion("/usr/bin/c", Some("tool")),
            diversion("/usr/bin/d", Some("leaving")),
            diversion("/usr/bin/e", Some("leaving")),
            diversion("/usr/bin/f", Some("leaving")),
            diversion("/usr/bin/g", Some("leaving")),
        ];
        let files = ["/usr/bin/a", "/usr/bin/b", "/usr/bin/c", "/usr/bin/d", "/usr/bin/z"];
        let tool = Incoming { files: files.map(Into::into).into(), ..Incoming::default() };
        let actions = [
            Action::example(Operation::Install, "tool"),
            Action::example(Operation::Install, "unknown"),
            Action::example(Operation::Remove, "leaving"),
            Action::example(Operation::Remove, "harmless"),
        ];
        assert_eq!(
            notes(&all, &actions, &BTreeMap::from([(0, tool)])),
            [
                "files of 'tool' are diverted in the template: '/bin/a' to '/bin/a.real'",
                "files of 'tool' are diverted by 'wrapper': '/usr/bin/b' to '/usr/bin/b.real'",
                "'leaving' goes and diverts '/usr/bin/d' to '/usr/bin/d.real', '/usr/bin/e' to '/usr/bin/e.real', \
                 '/usr/bin/f' to '/usr/bin/f.real', 1 more: its scripts have to take that back, what they leave is told \
                 after it",
            ]
        );
    }
}
