// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # What was found

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::ChrootError;

/// The version of the JSON document.
pub const QA_VERSION: u32 = 1;

/// Everything about all packages.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QaReport {
    /// Of this document's format.
    pub version: u32,
    /// What the packages were tried on.
    pub template: TemplateId,
    /// The packages, in the order they were given.
    pub packages: Vec<PackageReport>,
    /// How many of what.
    pub summary: Summary,
    /// Entries of the allow-list that nothing needed.
    pub unused_allowances: Vec<String>,
}

/// Names a template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplateId {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Of its image index.
    pub digest: String,
}

/// How many of what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Packages.
    pub packages: usize,
    /// Findings that are errors and not allowed.
    pub errors: usize,
    /// Findings that are warnings and not allowed.
    pub warnings: usize,
    /// Findings that the allow-list allows.
    pub allowed: usize,
}

/// Everything about one package.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PackageReport {
    /// Its name.
    pub package: String,
    /// Its version.
    pub version: String,
    /// Its architecture.
    pub architecture: String,
    /// Where it is.
    pub file: String,
    /// Of the file.
    pub sha256: String,
    /// What was tried.
    pub steps: Vec<StepReport>,
    /// What was found.
    pub findings: Vec<Finding>,
}

/// What was tried.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepReport {
    /// Which.
    pub step: Step,
    /// What came of it.
    pub outcome: Outcome,
    /// How long it took.
    pub seconds: f64,
    /// Why it was skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// One thing that is done with a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Where it has not been before.
    Install,
    /// The same once more.
    Reinstall,
    /// From an older version; what that leaves behind when it is purged belongs to this step, too.
    Upgrade,
    /// The configuration stays.
    Remove,
    /// The configuration goes as well.
    Purge,
    /// After it was purged.
    InstallAgain,
}

impl Step {
    /// All, in their order.
    pub const ALL: [Step; 6] =
        [Self::Install, Self::Reinstall, Self::Upgrade, Self::Remove, Self::Purge, Self::InstallAgain];

    /// As in the JSON document.
    pub fn word(self) -> &'static str {
        match self {
            Self::Install => "install",
            Self::Reinstall => "reinstall",
            Self::Upgrade => "upgrade",
            Self::Remove => "remove",
            Self::Purge => "purge",
            Self::InstallAgain => "install-again",
        }
    }
}

/// What came of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// dpkg was content.
    Ok,
    /// dpkg was not.
    Failed,
    /// It was not tried.
    Skipped,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What sort of thing.
    pub kind: Kind,
    /// How bad.
    pub severity: Severity,
    /// Whose: the package itself, or one whose script failed beside it.
    pub package: String,
    /// Where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// In words.
    pub detail: String,
    /// When.
    pub step: Step,
    /// Why the allow-list allows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed: Option<String>,
}

impl Finding {
    /// Of the severity that its kind has.
    pub(super) fn new(kind: Kind, package: &str, step: Step, detail: impl Into<String>) -> Self {
        Self {
            kind,
            severity: kind.severity(),
            package: spelled_out(package),
            path: None,
            detail: spelled_out(&detail.into()),
            step,
            allowed: None,
        }
    }

    pub(super) fn at(mut self, path: impl Into<String>) -> Self {
        self.path = Some(path.into());
        self
    }

    pub(super) fn severity(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }

    /// Whether it counts, and is at least this bad.
    pub fn counts(&self, least: Severity) -> bool {
        self.allowed.is_none() && self.severity >= least
    }
}

/// Text that scripts may have had a word in, with no other control characters than those of lines.
fn spelled_out(text: &str) -> String {
    let control = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    text.chars()
        .flat_map(|c| if control(c) { c.escape_default().collect::<Vec<_>>() } else { vec![c] })
        .collect()
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Not good.
    Warning,
    /// To be repaired.
    Error,
}

impl Severity {
    /// As in the JSON document.
    pub fn word(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident $word:literal $severity:ident,)*) => {
        /// What sort of thing is wrong.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum Kind { $($(#[$doc])* $name,)* }

        impl Kind {
            /// All there are.
            pub const ALL: &'static [Kind] = &[$(Kind::$name,)*];

            /// As in the JSON document.
            pub fn word(self) -> &'static str {
                match self { $(Kind::$name => $word,)* }
            }

            /// How bad it is, unless something speaks for it.
            pub fn severity(self) -> Severity {
                match self { $(Kind::$name => Severity::$severity,)* }
            }
        }
    };
}

kinds! {
    /// A maintainer script fails.
    ScriptFailed "script-failed" Error,
    /// A maintainer script wants the network, which it never has.
    ScriptNeedsNetwork "script-needs-network" Error,
    /// Something is still there after the purge.
    FileLeft "file-left" Error,
    /// Something of others has another content, mode or owner.
    ForeignFileChanged "foreign-file-changed" Error,
    /// A file of the package is not as it came.
    OwnFileChanged "own-file-changed" Error,
    /// A file of the package lies elsewhere, by a symbolic link that is no part of its path.
    ThroughSymlink "through-symlink" Error,
    /// Something of others is gone.
    ForeignFileRemoved "foreign-file-removed" Error,
    /// A user is still there after the purge.
    UserLeft "user-left" Warning,
    /// A group is still there after the purge.
    GroupLeft "group-left" Warning,
    /// A service is still enabled after the purge.
    ServiceLeftEnabled "service-left-enabled" Error,
    /// An alternative is still there after the purge.
    AlternativeLeft "alternative-left" Error,
    /// A diversion is still there after the purge.
    DiversionLeft "diversion-left" Error,
    /// A statoverride is still there after the purge.
    StatoverrideLeft "statoverride-left" Error,
    /// dpkg complains of the state of packages.
    PackageBroken "package-broken" Error,
    /// Something that a script has started still runs.
    ProcessLeft "process-left" Error,
    /// What cron or logrotate run until the package is purged does not go without it.
    JobFails "job-fails" Error,
    /// The second time is not as the first.
    NotIdempotent "not-idempotent" Error,
    /// A symbolic link leads nowhere.
    DanglingSymlink "dangling-symlink" Warning,
    /// It cannot be installed on this template.
    NotInstallable "not-installable" Error,
    /// It asks questions.
    Prompts "prompts" Warning,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Kind {
    type Err = ChrootError;

    fn from_str(text: &str) -> Result<Self, ChrootError> {
        Self::ALL.iter().copied().find(|kind| kind.word() == text).ok_or_else(|| {
            let words: Vec<&str> = Self::ALL.iter().map(|kind| kind.word()).collect();
            ChrootError::Usage {
                message: format!("'{text}' is not a kind of finding"),
                hint: Some(format!("the kinds are {}", words.join(", "))),
            }
        })
    }
}

impl QaReport {
    pub(super) fn new(template: TemplateId, packages: Vec<PackageReport>, unused: Vec<String>) -> Self {
        let all = || packages.iter().flat_map(|p| &p.findings);
        let count = |severity| all().filter(|f| f.allowed.is_none() && f.severity == severity).count();
        let summary = Summary {
            packages: packages.len(),
            errors: count(Severity::Error),
            warnings: count(Severity::Warning),
            allowed: all().filter(|f| f.allowed.is_some()).count(),
        };
        Self { version: QA_VERSION, template, packages, summary, unused_allowances: unused }
    }

    /// Whether something counts, and is at least this bad.
    pub fn fails(&self, least: Severity) -> bool {
        self.packages.iter().flat_map(|p| &p.findings).any(|f| f.counts(least))
    }
}

/// What is wrong is said once, where it is seen first.
pub(super) fn said_once(findings: Vec<Finding>) -> Vec<Finding> {
    let mut said = BTreeSet::new();
    // of what is left, the path says all; of one file, several things can be said
    let detail = |f: &Finding| match (f.kind, &f.path) {
        (Kind::FileLeft, Some(_)) => String::new(),
        _ => f.detail.clone(),
    };
    let key = |f: &Finding| (f.kind, f.package.clone(), f.path.clone(), detail(f));
    findings.into_iter().filter(|f| said.insert(key(f))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_the_document() {
        for kind in Kind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.word());
            assert_eq!(kind.word().parse::<Kind>().unwrap(), *kind);
        }
        for step in Step::ALL {
            assert_eq!(serde_json::to_value(step).unwrap(), step.word());
        }
        assert_eq!("file-lost".parse::<Kind>().unwrap_err().exit_code(), 2);
    }

    #[test]
    fn control_characters_are_spelled_out() {
        let finding = Finding::new(Kind::ScriptFailed, "p", Step::Install, "a\x1b[2J\r\n\tb\u{9b}");
        assert_eq!(finding.detail, "a\\u{1b}[2J\\r\n\tb\\u{9b}");
    }

    #[test]
    fn what_is_allowed_does_not_count() {
        let finding = Finding::new(Kind::UserLeft, "p", Step::Purge, "user 'p'");
        assert!(finding.counts(Severity::Warning) && !finding.counts(Severity::Error));
        let allowed = Finding { allowed: Some("because".into()), ..finding.clone() };
        assert!(!allowed.counts(Severity::Info));
        let again = Finding { step: Step::Upgrade, ..finding.clone() };
        assert_eq!(said_once(vec![finding.clone(), again]), [finding]);
        let changed =
            |detail: &str| Finding::new(Kind::ForeignFileChanged, "p", Step::Purge, detail).at("/etc/passwd");
        assert_eq!(said_once(vec![changed("user 'a'"), changed("user 'b'"), changed("user 'a'")]).len(), 2);
        let left = |detail: &str| Finding::new(Kind::FileLeft, "p", Step::Purge, detail).at("/opt/p");
        assert_eq!(said_once(vec![left("with 1 entry"), left("with 2 entries")]).len(), 1);
    }
}
