// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # What is not reported
//!
//! Files that every build writes anew, and that say nothing about what it is made of. Each rule has a name, by which
//! it can be switched off.

use serde::Serialize;

use crate::error::{Error, Result};
use crate::glob::matches;

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

#[cfg(test)]
mod tests {
    use super::*;

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
