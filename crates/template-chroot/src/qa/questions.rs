// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # What debconf was asked
//!
//! Without anybody to answer, debconf takes the default, and marks the question as seen if it would have been asked.

use std::collections::BTreeSet;

use crate::apt::status::parse_stanzas;
use crate::error::Result;
use crate::system::Tree;

const DATABASE: &str = "/var/cache/debconf/config.dat";

/// The questions that a package would have asked.
pub(super) fn asked(before: &Tree, after: &Tree, package: &str) -> Result<Vec<String>> {
    let known = seen(&before.text(DATABASE)?, package);
    let now = seen(&after.text(DATABASE)?, package);
    Ok(now.into_iter().filter(|name| !known.contains(name)).collect())
}

fn seen(database: &str, package: &str) -> BTreeSet<String> {
    let has = |field: Option<&String>, word: &str| {
        field.is_some_and(|text| text.split([',', ' ']).any(|w| w.trim() == word))
    };
    parse_stanzas(database)
        .into_iter()
        .filter(|s| has(s.get("flags"), "seen") && has(s.get("owners"), package))
        .filter_map(|mut s| s.remove("name"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_found() {
        let database = "Name: app/port\nTemplate: app/port\nValue: 80\nOwners: app, other\nFlags: seen\n\n\
            Name: app/quiet\nTemplate: app/quiet\nOwners: app\n\nName: b/x\nOwners: b\nFlags: seen\n";
        assert_eq!(seen(database, "app").into_iter().collect::<Vec<_>>(), ["app/port"]);
    }
}
