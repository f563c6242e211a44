// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # What is allowed to be wrong
//!
//! A file with one entry a line, each with its reason:
//!
//! ```text
//! # PACKAGE KIND [PATH] # REASON
//! app       user-left # files of the user may outlive the package
//! app-*     file-left /var/lib/app/** # the database is the customer's
//! ```

use template_bundle::glob::matches;

use super::report::{Finding, Kind, PackageReport};
use crate::error::{ChrootError, Result};

/// The entries of an allow-list.
#[derive(Debug, Clone, Default)]
pub struct AllowList(Vec<Entry>);

#[derive(Debug, Clone, PartialEq)]
struct Entry {
    line: usize,
    package: String,
    kind: Kind,
    path: Option<String>,
    reason: String,
}

impl AllowList {
    /// Parses a file of that name.
    pub fn parse(name: &str, text: &str) -> Result<Self> {
        let mut entries = Vec::new();
        for (number, line) in text.lines().enumerate() {
            if let Some(entry) = parse_line(number + 1, line).map_err(|(message, hint)| {
                ChrootError::Usage { message: format!("{name}: line {}: {message}", number + 1), hint }
            })? {
                entries.push(entry);
            }
        }
        Ok(Self(entries))
    }

    /// Marks what is allowed. Returns the entries that nothing needed, of those that are about these packages.
    pub(super) fn apply(&self, packages: &mut [PackageReport]) -> Vec<String> {
        let mut used = vec![false; self.0.len()];
        for package in packages.iter_mut() {
            for finding in &mut package.findings {
                let first = (0..self.0.len()).find(|n| self.0[*n].allows(&package.package, finding));
                if let Some(number) = first {
                    used[number] = true;
                    finding.allowed = Some(self.0[number].reason.clone());
                }
            }
        }
        let about = |entry: &Entry| packages.iter().any(|p| matches(&entry.package, &p.package));
        let unused = self.0.iter().zip(used).filter(|(entry, used)| !used && about(entry));
        unused.map(|(entry, _)| entry.describe()).collect()
    }
}

impl Entry {
    fn allows(&self, package: &str, finding: &Finding) -> bool {
        self.kind == finding.kind
            && matches(&self.package, package)
            && self.path.as_ref().is_none_or(|glob| finding.path.as_ref().is_some_and(|p| matches(glob, p)))
    }

    fn describe(&self) -> String {
        let path = self.path.as_ref().map(|p| format!(" {p}")).unwrap_or_default();
        format!("line {}: {} {}{path}", self.line, self.package, self.kind)
    }
}

type Wrong = (String, Option<String>);

fn parse_line(number: usize, line: &str) -> Result<Option<Entry>, Wrong> {
    let (entry, reason) = match line.split_once('#') {
        Some((entry, reason)) => (entry.trim(), reason.trim()),
        None => (line.trim(), ""),
    };
    if entry.is_empty() {
        return Ok(None);
    }
    let form = || Some("an entry is PACKAGE KIND [PATH] # REASON".to_owned());
    let mut words = entry.split_whitespace();
    let (Some(package), Some(kind), path, None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err((format!("'{entry}' is not an entry"), form()));
    };
    let kind = kind.parse::<Kind>().map_err(|e| (e.to_string(), e.hint()))?;
    if let Some(path) = path.filter(|p| !p.starts_with(['/', '*'])) {
        return Err((format!("path '{path}' is not absolute"), form()));
    }
    if reason.is_empty() {
        return Err((format!("'{entry}' has no reason"), form()));
    }
    Ok(Some(Entry {
        line: number,
        package: package.to_owned(),
        kind,
        path: path.map(str::to_owned),
        reason: reason.to_owned(),
    }))
}

#[cfg(test)]
mod tests {
    use super::super::report::Step;
    use super::*;

    fn report(package: &str, findings: Vec<Finding>) -> PackageReport {
        PackageReport {
            package: package.into(),
            version: "1".into(),
            architecture: "all".into(),
            file: "x.deb".into(),
            sha256: String::new(),
            steps: vec![],
            findings,
        }
    }

    #[test]
    fn entries_allow_and_the_unused_ones_are_told() {
        let list = AllowList::parse(
            "allow",
            "# a comment\n\napp user-left # its files stay\napp* file-left /var/lib/app/** # data\n\
             app group-left # not needed\nother user-left # of a package that is not checked\n",
        )
        .unwrap();
        let left = |path: &str| Finding::new(Kind::FileLeft, "app", Step::Purge, "left").at(path);
        let mut packages = [report(
            "app",
            vec![
                Finding::new(Kind::UserLeft, "app", Step::Purge, "user"),
                left("/var/lib/app/db"),
                left("/etc/app"),
            ],
        )];
        let unused = list.apply(&mut packages);
        let allowed: Vec<_> = packages[0].findings.iter().map(|f| f.allowed.as_deref()).collect();
        assert_eq!(allowed, [Some("its files stay"), Some("data"), None]);
        assert_eq!(unused, ["line 5: app group-left"]);
    }

    #[test]
    fn mistakes_are_told_with_their_line() {
        for (text, expected) in [
            ("\napp user-left", "allow: line 2: 'app user-left' has no reason"),
            ("app # x", "allow: line 1: 'app' is not an entry"),
            ("app a b c # x", "allow: line 1: 'app a b c' is not an entry"),
            ("app user-lost # x", "allow: line 1: 'user-lost' is not a kind of finding"),
            ("app file-left etc/x # x", "allow: line 1: path 'etc/x' is not absolute"),
        ] {
            assert_eq!(AllowList::parse("allow", text).unwrap_err().to_string(), expected);
        }
    }
}
