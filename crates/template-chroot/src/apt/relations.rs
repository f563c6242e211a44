// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Relations between packages
//!
//! As deb-control(5) has them: `a (>= 1) | b, c:any`. A relation with a version means that version alone: a package that
//! replaces files of an *older* one does nothing to the one that is installed.

use std::cmp::Ordering;

use template_bundle::versions::compare_versions;

/// A package, as far as a relation can be about it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub name: &'a str,
    pub version: &'a str,
    /// Its field `Provides`.
    pub provides: &'a str,
}

#[derive(Debug, PartialEq, Eq)]
struct Relation<'a> {
    name: &'a str,
    version: Option<(&'a str, &'a str)>,
}

/// Each relation of a field; whether alternatives are meant is of no matter here.
fn parse(field: &str) -> impl Iterator<Item = Relation<'_>> {
    field.split([',', '|']).filter_map(|text| {
        let (name, rest) = text.trim().split_once([' ', '(', '[', '<', '\n']).map_or_else(
            || (text.trim(), ""),
            |(name, _)| (name, text.trim().get(name.len()..).unwrap_or_default()),
        );
        let name = name.split(':').next().unwrap_or(name);
        let version = rest.split_once('(').and_then(|(_, inner)| {
            let inner = inner.split(')').next()?.trim();
            let (operator, version) = inner.split_at(inner.find(|c: char| !"<>=".contains(c))?);
            Some((operator, version.trim()))
        });
        (!name.is_empty()).then_some(Relation { name, version })
    })
}

impl Relation<'_> {
    fn means(&self, version: &str) -> bool {
        let Some((operator, wanted)) = self.version else { return true };
        let order = compare_versions(version, wanted);
        match operator {
            "<<" => order == Ordering::Less,
            "<=" | "<" => order != Ordering::Greater,
            "=" => order == Ordering::Equal,
            ">=" | ">" => order != Ordering::Less,
            ">>" => order == Ordering::Greater,
            _ => false,
        }
    }

    fn is_about(&self, subject: &Subject<'_>) -> bool {
        if self.name == subject.name {
            return self.means(subject.version);
        }
        // what is provided has no version unless it says so
        parse(subject.provides).filter(|provided| provided.name == self.name).any(|provided| {
            match (self.version, provided.version) {
                (None, _) => true,
                (Some(_), Some((_, version))) => self.means(version),
                (Some(_), None) => false,
            }
        })
    }
}

/// Whether a field is about a package, by its name or by what it provides.
pub(crate) fn names(field: &str, subject: &Subject<'_>) -> bool {
    parse(field).any(|relation| relation.is_about(subject))
}

/// Whether a field is about a package itself, in its version.
pub(crate) fn names_itself(field: &str, subject: &Subject<'_>) -> bool {
    names(field, &Subject { provides: "", ..*subject })
}

/// Whether these packages have all that a field wants, of each of its alternatives one.
pub(crate) fn are_met(field: &str, by: &[Subject<'_>]) -> bool {
    let groups = field.split(',').filter(|group| !group.trim().is_empty());
    groups.into_iter().all(|group| by.iter().any(|subject| names(group, subject)))
}

/// Whether a package provides that name.
pub(crate) fn provides(subject: &Subject<'_>, name: &str) -> bool {
    parse(subject.provides).any(|provided| provided.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relations_are_about_versions() {
        let subject = Subject { name: "sensible-utils", version: "0.0.17", provides: "" };
        let table = [
            ("sensible-utils", true),
            ("other, sensible-utils", true),
            ("other | sensible-utils:any (>= 0.0.17)", true),
            ("sensible-utils (<< 0.0.9+nmu1)", false),
            ("sensible-utils (<<0.0.18)", true),
            ("sensible-utils(<= 0.0.17)", true),
            ("sensible-utils (= 0.0.17) [amd64] <!nocheck>", true),
            ("sensible-utils (>> 0.0.17)", false),
            ("sensible-utils-extra", false),
            ("", false),
        ];
        for (field, expected) in table {
            assert_eq!(names(field, &subject), expected, "{field}");
        }
    }

    #[test]
    fn what_is_provided_counts() {
        let subject =
            Subject { name: "exim", version: "4", provides: "mail-transport-agent, default-mta (= 2)" };
        assert!(names("mail-transport-agent", &subject) && !names("mail-transport-agent (>= 1)", &subject));
        assert!(names("default-mta (>= 1)", &subject) && !names("default-mta (>> 2)", &subject));
        assert!(!names_itself("mail-transport-agent", &subject) && names_itself("exim (= 4)", &subject));
        assert!(provides(&subject, "default-mta") && !provides(&subject, "exim"));
    }

    #[test]
    fn one_of_each_group_is_enough() {
        let by = [
            Subject { name: "a", version: "1", provides: "" },
            Subject { name: "exim", version: "4", provides: "mail-transport-agent" },
        ];
        for field in ["", "a", "x | a (>= 1), default-mta | mail-transport-agent", "a,\n exim (= 4)"] {
            assert!(are_met(field, &by), "{field}");
        }
        for field in ["x", "a, x", "a (>= 2) | x", "mail-transport-agent (>= 1)"] {
            assert!(!are_met(field, &by), "{field}");
        }
    }
}
