// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Repositories that have been renamed
//!
//! A suite such as 'stable' is another release one day: that apt refuses, while it has lists of before. But a release
//! that has another suite, as when stable becomes oldstable, is the same one still. That is worth a note and no more.

use super::failure::without_credentials;
use super::lists::Sources;
use super::sources::Suite;
use super::transaction::Transaction;
use crate::error::Result;
use crate::sandbox::OWN_DIR;

/// A marker before each file.
const FILE: &str = "@@ ";

/// Prints the head of each Release file below a directory.
const READ_RELEASES: &str = r#"
for f in "$1"/*Release; do
    if [ -f "$f" ]; then echo "@@ ${f##*/}"; sed -n -e '/^\(MD5Sum\|SHA[0-9]*\):/q' -e '/^[A-Za-z]*: /p' "$f"; fi
done
"#;

/// What the repositories say they are.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Releases(Vec<Release>);

/// The head of a Release file.
#[derive(Debug, PartialEq, Eq)]
struct Release {
    /// The name of the file.
    list: String,
    suite: String,
    codename: String,
}

impl Releases {
    fn parse(text: &str) -> Self {
        let parts = text.split(FILE).filter(|part| !part.is_empty());
        let releases = parts.map(|part| {
            let (list, head) = part.split_once('\n').unwrap_or((part, ""));
            let get = |name: &str| {
                let value = head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
                value.unwrap_or_default().trim().to_owned()
            };
            Release { list: list.to_owned(), suite: get("Suite"), codename: get("Codename") }
        });
        Self(releases.collect())
    }

    /// What has another suite than before, and still is the same release.
    pub fn renamed(&self, before: &Self, sources: &Sources) -> Vec<String> {
        let mut notes = Vec::new();
        for suite in sources.remote_suites() {
            let old = before.0.iter().find(|release| release.is_of(&suite));
            let new = self.0.iter().find(|release| release.is_of(&suite));
            let (Some(old), Some(new)) = (old, new) else { continue };
            if old.suite != new.suite && old.codename == new.codename && !old.suite.is_empty() {
                notes.push(format!(
                    "repository '{} {}' was '{}' when the template was made, and is '{}' now; it is '{}' still",
                    without_credentials(&suite.uri),
                    suite.suite,
                    old.suite,
                    new.suite,
                    new.codename
                ));
            }
        }
        notes.dedup();
        notes
    }
}

impl Release {
    fn is_of(&self, suite: &Suite) -> bool {
        let name = suite.list_name();
        self.list.strip_prefix(&name).is_some_and(|end| end == "InRelease" || end == "Release")
    }
}

impl Transaction<'_> {
    /// As the lists that are used now have it.
    pub(super) fn releases(&self) -> Result<Releases> {
        let lists = format!("{OWN_DIR}/apt/lists");
        let captured = self.sandbox(false).capture(&["sh", "-c", READ_RELEASES, "sh", &lists])?;
        Ok(Releases::parse(&captured.text()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "@@ m.example_debian_dists_bookworm_InRelease\nOrigin: Debian\nSuite: stable\nVersion: 12.5\nCodename: bookworm\n";

    #[test]
    fn a_release_that_is_renamed_is_noted() {
        let text = "deb http://u:p@m.example/debian bookworm main\n".to_owned();
        let sources = Sources {
            remote: vec![super::super::sources::SourceFile { name: "x.list".into(), text }],
            ..Sources::default()
        };
        let before = Releases::parse(BEFORE);
        let now = Releases::parse(&BEFORE.replace("Suite: stable", "Suite: oldstable"));
        assert_eq!(
            now.renamed(&before, &sources),
            [
                "repository 'http://m.example/debian bookworm' was 'stable' when the template was made, and is \
              'oldstable' now; it is 'bookworm' still"
            ]
        );
        assert!(now.renamed(&now, &sources).is_empty());
        assert!(now.renamed(&Releases::default(), &sources).is_empty());
    }
}
