// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Why each package changes
//!
//! apt says what it would do and not why. The why is in the relations of what comes and of what is installed.

use super::action::{Action, AskedBy, Operation};
use super::relations::{self, Subject};
use super::request::{Add, TransactionRequest};
use super::status::{Stanza, Status, join};

/// A package that comes, by its control file.
#[derive(Debug, Clone)]
pub(crate) struct Incoming<'a> {
    pub subject: Subject<'a>,
    /// What it needs, or wants to have.
    pub needs: String,
    /// What it cannot be together with.
    pub conflicts: String,
    /// Whose files it may take over.
    pub replaces: &'a str,
}

impl<'a> Incoming<'a> {
    pub fn of(stanza: &'a Stanza) -> Option<Self> {
        let get = |name: &str| stanza.get(name).map(String::as_str).unwrap_or_default();
        Some(Self {
            subject: Subject {
                name: stanza.get("package")?,
                version: stanza.get("version")?,
                provides: get("provides"),
            },
            needs: join(&join(get("depends"), get("pre-depends")), get("recommends")),
            conflicts: join(get("conflicts"), get("breaks")),
            replaces: get("replaces"),
        })
    }
}

/// Fills in who asked for each action, because of what it happens, and what replaces what goes.
pub(crate) fn find(
    actions: &mut [Action],
    incoming: &[Incoming<'_>],
    request: &TransactionRequest,
    status: &Status,
) {
    let all = actions.to_vec();
    for action in actions {
        let name = action.package.clone();
        let others = || incoming.iter().filter(|i| i.subject.name != name);
        let own = incoming.iter().find(|i| i.subject.name == name);
        let installed = status.installed(&format!("{name}:{}", action.architecture));
        if action.operation == Operation::Remove {
            if let Some(package) = installed {
                let replaces = |i: &&Incoming<'_>| {
                    relations::names(&i.conflicts, &package.subject())
                        || relations::names(&package.conflicts, &i.subject)
                };
                action.replaced_by = list(others().filter(replaces).map(|i| i.subject.name));
            }
            if action.asked_by == AskedBy::AutoRemove && !action.replaced_by.is_empty() {
                // it may have been needed
                action.asked_by = AskedBy::Consequence;
            }
            if action.asked_by == AskedBy::Consequence
                && let Some(package) = installed
            {
                let gone = all.iter().filter(|a| a.operation == Operation::Remove);
                action.due_to =
                    list(gone.filter(|a| package.needs.contains(&a.package)).map(|a| a.package.as_str()));
            }
            continue;
        }
        if action.asked_by != AskedBy::Dependency {
            continue;
        }
        let Some(own) = own else { continue };
        // a name that is no package stands for the one that provides it
        let named = |add: &Add| {
            matches!(add, Add::Package { name: wanted, .. }
                if relations::provides(&own.subject, wanted) && !all.iter().any(|a| a.package == *wanted))
        };
        if request.add.iter().any(named) {
            action.asked_by = AskedBy::Request;
            continue;
        }
        action.due_to =
            list(others().filter(|i| relations::names(&i.needs, &own.subject)).map(|i| i.subject.name));
        if let (true, Some(package)) = (action.due_to.is_empty(), installed) {
            // it is not needed newer, but cannot stay as it is
            let breaks = |i: &&Incoming<'_>| relations::names(&i.conflicts, &package.subject());
            action.due_to = list(others().filter(breaks).map(|i| i.subject.name));
        }
    }
}

fn list<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut names: Vec<String> = names.map(str::to_owned).collect();
    names.sort();
    names.dedup();
    names
}
