// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # What is not reported
//!
//! Files that every build writes anew, and that say nothing about what it is made of. Each rule has a name, by which
//! it can be switched off.

use serde::Serialize;

use crate::error::{Error, Result};

/// What a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The file, whatever differs of it.
    All,
    /// Its content; that it is there, its mode and its owner still count.
    Content,
}

/// A rule.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// Its name.
    pub name: &'static str,
    /// What of the files it is about.
    pub scope: Scope,
    /// Patterns of paths: `*` and `?` stay within a name, `**` does not.
    pub patterns: &'static [&'static str],
}

/// The rules that hold unless they are switched off. docs/manual.md has them with their reasons.
pub const RULES: [Rule; 9] = [
    Rule { name: "caches", scope: Scope::All, patterns: &["var/cache/**"] },
    Rule { name: "logs", scope: Scope::All, patterns: &["var/log/**"] },
    Rule {
        name: "temporary",
        scope: Scope::All,
        patterns: &["tmp/**", "var/tmp/**", "run/**", "proc/**", "sys/**"],
    },
    Rule {
        name: "package-lists",
        scope: Scope::All,
        patterns: &["var/lib/apt/lists/**", "var/lib/apt/periodic/**"],
    },
    Rule {
        name: "backups",
        scope: Scope::All,
        patterns: &[
            "etc/passwd-",
            "etc/group-",
            "etc/shadow-",
            "etc/gshadow-",
            "etc/subuid-",
            "etc/subgid-",
            "etc/.pwd.lock",
            "var/backups/**",
            "var/lib/dpkg/*-old",
        ],
    },
    Rule { name: "bytecode", scope: Scope::All, patterns: &["**/__pycache__", "**/__pycache__/**"] },
    Rule {
        name: "package-database",
        scope: Scope::Content,
        patterns: &[
            "var/lib/dpkg/status",
            "var/lib/dpkg/available",
            "var/lib/dpkg/lock*",
            "var/lib/dpkg/triggers/*",
            "var/lib/ucf/**",
        ],
    },
    Rule {
        name: "identity",
        scope: Scope::Content,
        patterns: &[
            "etc/machine-id",
            "var/lib/dbus/machine-id",
            "var/lib/systemd/random-seed",
            "etc/ssh/ssh_host_*_key",
            "etc/ssh/ssh_host_*_key.pub",
        ],
    },
    Rule {
        name: "generated",
        scope: Scope::Content,
        patterns: &["etc/ld.so.cache", "**/udev/hwdb.bin", "var/lib/systemd/catalog/database"],
    },
];

/// The name under which the patterns of the caller are reported.
pub const OWN: &str = "ignore";

/// How many files a rule kept out of the report.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Ignored {
    /// The rule.
    pub rule: String,
    /// How many.
    pub files: usize,
}

/// The rules that hold.
pub struct Rules {
    rules: Vec<Rule>,
    own: Vec<String>,
}

impl Rules {
    /// All rules, without those that are switched off, and with patterns of the caller, which mean files as a whole.
    pub fn new(without: &[String], own: &[String]) -> Result<Self> {
        if let Some(unknown) = without.iter().find(|name| RULES.iter().all(|rule| rule.name != **name)) {
            let names: Vec<&str> = RULES.iter().map(|rule| rule.name).collect();
            return Err(Error::usage(format!("there is no rule '{}'", unknown.escape_debug()))
                .hint(format!("the rules are {}", names.join(", "))));
        }
        let rules = RULES.into_iter().filter(|rule| without.iter().all(|name| name != rule.name)).collect();
        // paths are written here without a leading slash, and by people with one
        let own = own.iter().map(|pattern| pattern.trim_start_matches('/').to_string()).collect();
        Ok(Rules { rules, own })
    }

    /// No rules at all.
    pub fn none() -> Self {
        Rules { rules: vec![], own: vec![] }
    }

    /// The rule about this path, if there is one.
    pub fn about(&self, path: &[u8]) -> Option<(&str, Scope)> {
        if self.own.iter().any(|pattern| matches(pattern.as_bytes(), path)) {
            return Some((OWN, Scope::All));
        }
        self.rules
            .iter()
            .find(|rule| rule.patterns.iter().any(|pattern| matches(pattern.as_bytes(), path)))
            .map(|rule| (rule.name, rule.scope))
    }
}

/// Whether a pattern means a path.
pub fn matches(pattern: &[u8], path: &[u8]) -> bool {
    // where to go on after the last star: position in the pattern and in the path, and whether it takes slashes
    let (mut p, mut s) = (0, 0);
    let mut narrow: Option<(usize, usize)> = None;
    let mut wide: Option<(usize, usize)> = None;
    loop {
        if pattern[p..].starts_with(b"**") {
            p += 2;
            // `**/` may stand for nothing at all
            if pattern[p..].starts_with(b"/")
                && (s == 0 || path[s - 1] == b'/')
                && matches(&pattern[p + 1..], &path[s..])
            {
                return true;
            }
            (wide, narrow) = (Some((p, s)), None);
        } else if pattern.get(p) == Some(&b'*') {
            p += 1;
            narrow = Some((p, s));
        } else if p < pattern.len()
            && s < path.len()
            && (pattern[p] == path[s] || (pattern[p] == b'?' && path[s] != b'/'))
        {
            (p, s) = (p + 1, s + 1);
        } else if p == pattern.len() && s == path.len() {
            return true;
        } else if let Some((at, from)) = narrow
            && from < path.len()
            && path[from] != b'/'
        {
            (p, s) = (at, from + 1);
            narrow = Some((at, from + 1));
        } else if let Some((at, from)) = wide
            && from < path.len()
        {
            (p, s) = (at, from + 1);
            (wide, narrow) = (Some((at, from + 1)), None);
        } else {
            return false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_is_expected() {
        for (pattern, path, expected) in [
            ("var/log/**", "var/log/apt/term.log", true),
            ("var/log/**", "var/log", false),
            ("var/log/**", "srv/var/log/x", false),
            ("**/x", "x", true),
            ("**/x", "a/b/x", true),
            ("**/x", "a/bx", false),
            ("a/*/c", "a/b/c", true),
            ("a/*/c", "a/b/b/c", false),
            ("a/*", "a/", true),
            ("*", "a/b", false),
            ("**", "a/b", true),
            ("etc/ssh_*_key", "etc/ssh_a_key_key", true),
            ("?", "/", false),
            ("a?c", "abc", true),
            ("**/p/**", "usr/p/p/x", true),
            ("**a*b", "xx/a/ab", true),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), path.as_bytes()), expected, "{pattern} {path}");
        }
        // no pattern takes long for a path that somebody made up
        let path = "a/".repeat(2000);
        assert!(!matches(b"**/a*/**/a*a*a*b", path.as_bytes()));
    }

    #[test]
    fn rules_can_be_switched_off() {
        let rules = Rules::new(&["logs".into()], &["/srv/**".into()]).unwrap();
        assert_eq!(rules.about(b"var/log/x"), None);
        assert_eq!(rules.about(b"var/cache/x"), Some(("caches", Scope::All)));
        assert_eq!(rules.about(b"etc/machine-id"), Some(("identity", Scope::Content)));
        assert_eq!(rules.about(b"srv/x"), Some((OWN, Scope::All)));
        assert!(Rules::new(&["log".into()], &[]).is_err());
        assert_eq!(Rules::none().about(b"var/log/x"), None);
    }
}
