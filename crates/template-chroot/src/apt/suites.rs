// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Releases of the distribution
//!
//! A template is of one release of its distribution, and packages of another one do not belong on it. Repositories
//! of others (a vendor's, Isar's own) are of no release in this sense.

use super::status::{Stanza, parse_stanzas};

/// What the tree is of, by its os-release.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Distribution {
    pub id: String,
    pub codename: String,
    /// It has a version, as rolling releases have not.
    pub numbered: bool,
}

/// A Release file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Release {
    origin: String,
    codename: String,
    /// As apt names it when it simulates.
    label: String,
}

/// Shell commands that print what [`parse`] reads: fields of os-release, and of each Release file a stanza.
pub(crate) const PRINT: &str = r#"
sed -n -e 's/^\(ID\|VERSION_ID\|VERSION_CODENAME\)=/\1: /p' /etc/os-release 2>/dev/null; echo
for f in "$LISTS"/*Release; do
    if [ -f "$f" ]; then sed -n -e '/^[A-Za-z0-9]*: *$/q' -e '/^[A-Za-z]*: /p' "$f"; echo; fi
done
"#;

pub(crate) fn parse(text: &str) -> (Distribution, Vec<Release>) {
    let (head, releases) = text.trim_start().split_once("\n\n").unwrap_or((text, ""));
    let head = parse_stanzas(head).into_iter().next().unwrap_or_default();
    let get = |stanza: &Stanza, name: &str| {
        stanza.get(name).map(|v| v.trim_matches('"').to_owned()).unwrap_or_default()
    };
    let own = Distribution {
        id: get(&head, "id"),
        codename: get(&head, "version_codename"),
        numbered: !get(&head, "version_id").is_empty(),
    };
    let releases = parse_stanzas(releases).into_iter().map(|stanza| {
        let (label, version, suite) = (get(&stanza, "label"), get(&stanza, "version"), get(&stanza, "suite"));
        let mut name = if label.is_empty() { String::new() } else { format!("{label}:") };
        if !version.is_empty() {
            name.push_str(&format!("{version}/"));
        }
        name.push_str(&suite);
        Release { origin: get(&stanza, "origin"), codename: get(&stanza, "codename"), label: name }
    });
    (own, releases.collect())
}

impl Distribution {
    /// Whether a suite, by its codename, is of the release that the tree is of: `bookworm-updates` is of `bookworm`.
    fn has(&self, codename: &str) -> bool {
        codename.split(['-', '/']).next() == Some(&self.codename)
    }

    /// Whether it is known at all which suites are its own. The tree of a rolling release has the codename of the next one.
    pub fn is_known<'a>(&self, releases: &[Release], mut suites: impl Iterator<Item = &'a str>) -> bool {
        // a source that says 'stable' may be the only one, and have become another release
        !self.codename.is_empty()
            && (self.numbered
                || suites.any(|suite| self.has(suite))
                || releases.iter().any(|r| self.is_of(r) && self.has(&r.codename)))
    }

    fn is_of(&self, release: &Release) -> bool {
        let first = release.origin.split(' ').next().unwrap_or_default();
        !self.id.is_empty() && first.eq_ignore_ascii_case(&self.id)
    }

    /// The codename of the other release that a package is from, if it is from no other place. `label` is what apt
    /// says of its origin.
    pub fn foreign<'a>(&self, label: &str, releases: &'a [Release]) -> Option<&'a str> {
        let mut found = None;
        for part in label.split(", ") {
            let release = releases.iter().find(|r| r.label == part)?;
            if !self.is_of(release) || release.codename.is_empty() || self.has(&release.codename) {
                return None;
            }
            found = Some(release.codename.as_str());
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "ID: debian\nVERSION_CODENAME: bookworm\n\n\
        Hash: SHA256\nOrigin: Debian\nLabel: Debian\nSuite: oldstable\nVersion: 12.5\nCodename: bookworm\n\n\
        Origin: Debian\nLabel: Debian-Security\nSuite: oldstable-security\nVersion: 12\nCodename: bookworm-security\n\n\
        Origin: Debian\nLabel: Debian\nSuite: unstable\nCodename: sid\n\n\
        Origin: Isar\nCodename: isar\nSuite: isar\n\n";

    #[test]
    fn packages_of_another_release_are_known() {
        let (own, releases) = parse(TEXT);
        assert_eq!((own.id.as_str(), own.codename.as_str(), releases.len()), ("debian", "bookworm", 4));
        let table = [
            ("Debian:12.5/oldstable", None),
            ("Debian-Security:12/oldstable-security", None),
            ("Debian:unstable", Some("sid")),
            // the same version is in both
            ("Debian:12.5/oldstable, Debian:unstable", None),
            ("isar", None),
            ("localhost", None),
            ("", None),
        ];
        for (label, expected) in table {
            assert_eq!(own.foreign(label, &releases), expected, "{label}");
        }
    }

    #[test]
    fn rolling_releases_are_of_no_codename() {
        let (own, releases) = parse(&TEXT.replace("VERSION_CODENAME: bookworm", "VERSION_CODENAME: forky"));
        assert!(!own.is_known(&releases, ["sid"].into_iter()));
        assert!(own.is_known(&releases, ["forky-updates"].into_iter()));
        assert!(parse(TEXT).0.is_known(&releases, [].into_iter()));
        let numbered =
            TEXT.replace("VERSION_CODENAME: bookworm", "VERSION_ID: \"12\"\nVERSION_CODENAME: bookworm");
        assert!(parse(&numbered).0.is_known(&[], ["stable"].into_iter()));
        assert_eq!(parse("").0, Distribution::default());
    }
}
