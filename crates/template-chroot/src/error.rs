// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Errors
//!
//! One enum for everything that can go wrong around a foreign tree. The front end maps a variant to an exit code
//! with [`ChrootError::exit_code`], and prints [`ChrootError::hint`] on a line of its own.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Result of everything in this crate.
pub type Result<T, E = ChrootError> = std::result::Result<T, E>;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChrootError {
    /// The caller may not make namespaces or mounts.
    #[error("{message}")]
    MissingPrivilege {
        /// What was tried.
        message: String,
        /// What to do, if it is something else than to be root.
        hint: Option<String>,
    },
    /// A program, of the host or of the tree, is not there or cannot run here.
    #[error("{message}")]
    MissingTool {
        /// What was tried.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// The plan does something that is never done to a template.
    #[error("{}", refused(.refusals))]
    PolicyRefused {
        /// Each refused change.
        refusals: Vec<Refusal>,
    },
    /// What would be done now is not what was planned.
    #[error("{message}")]
    PlanChanged {
        /// The first difference.
        message: String,
    },
    /// apt finds no way to do what was asked for.
    #[error("{message}")]
    NotSolvable {
        /// apt's own words.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// dpkg or a package script failed.
    #[error("{message}")]
    PackageFailed {
        /// The package, where it is known.
        package: Option<String>,
        /// What failed, with the tail of the output.
        message: String,
    },
    /// A repository has not got any more what the package lists say.
    #[error("{message}")]
    ListsOutdated {
        /// apt's own words.
        message: String,
    },
    /// A repository cannot be used, as it is or at the moment.
    #[error("{message}")]
    Repository {
        /// In which way.
        fault: Fault,
        /// Which repository, and what is wrong with it.
        message: String,
    },
    /// A signal, or the end of the caller, ended the run.
    #[error("interrupted: {by}")]
    Interrupted {
        /// The signal, or what ended.
        by: String,
    },
    /// A file or directory could not be used.
    #[error("{doing}: {}: {cause}", path.display())]
    Io {
        /// What was done.
        doing: String,
        /// To what.
        path: PathBuf,
        /// Why it failed. Not a `source`, since the message has it already.
        cause: io::Error,
    },
    /// A fault of this program, or of the machine.
    #[error("{0}")]
    Internal(String),
    /// The request makes no sense.
    #[error("{message}")]
    Usage {
        /// What is wrong with it.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
}

impl ChrootError {
    /// The exit code of the command line tool.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Io { .. } | Self::Internal(_) => 1,
            Self::Usage { .. } => 2,
            Self::PolicyRefused { .. } | Self::PlanChanged { .. } | Self::NotSolvable { .. } => 4,
            Self::MissingPrivilege { .. } | Self::MissingTool { .. } => 5,
            Self::PackageFailed { .. } => 6,
            Self::ListsOutdated { .. } => 8,
            Self::Repository { fault, .. } => fault.about().1,
            Self::Interrupted { .. } => 130,
        }
    }

    /// A stable word for machines.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::MissingPrivilege { .. } => "missing-privilege",
            Self::MissingTool { .. } => "missing-tool",
            Self::PolicyRefused { .. } => "policy-refused",
            Self::PlanChanged { .. } => "plan-changed",
            Self::NotSolvable { .. } => "not-solvable",
            Self::PackageFailed { .. } => "package-failed",
            Self::ListsOutdated { .. } => "lists-outdated",
            Self::Repository { fault, .. } => fault.about().0,
            Self::Interrupted { .. } => "interrupted",
            Self::Io { .. } => "io",
            Self::Internal(_) => "internal",
            Self::Usage { .. } => "usage",
        }
    }

    /// What to do about it, where we know.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::MissingPrivilege { hint: Some(hint), .. } => Some(hint.clone()),
            Self::MissingPrivilege { hint: None, .. } => Some(
                "run it as root; inside a container, the container needs CAP_SYS_ADMIN (--privileged)"
                    .to_owned(),
            ),
            Self::PolicyRefused { refusals } => {
                let mut ways: Vec<&str> = refusals.iter().map(|r| r.way_out.as_str()).collect();
                ways.dedup();
                (!ways.is_empty()).then(|| ways.join("; "))
            }
            Self::ListsOutdated { .. } => {
                Some("refresh the package lists with --update all, or use a newer template".to_owned())
            }
            Self::PlanChanged { .. } => Some("make a new plan".to_owned()),
            Self::PackageFailed { .. } => {
                Some("the tree is in the middle of a transaction: throw it away".to_owned())
            }
            Self::MissingTool { hint, .. } | Self::NotSolvable { hint, .. } | Self::Usage { hint, .. } => {
                hint.clone()
            }
            Self::Repository { fault, .. } => fault.about().2.map(str::to_owned),
            Self::Interrupted { .. } | Self::Io { .. } | Self::Internal(_) => None,
        }
    }

    pub(crate) fn io(doing: &str, path: impl AsRef<Path>, cause: impl Into<io::Error>) -> Self {
        Self::Io { doing: doing.to_owned(), path: path.as_ref().to_owned(), cause: cause.into() }
    }

    pub(crate) fn privilege(message: impl Into<String>) -> Self {
        Self::MissingPrivilege { message: message.into(), hint: None }
    }

    pub(crate) fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), hint: Some(hint.into()) }
    }
}

/// In which way a repository cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// apt does not understand the package sources.
    Sources,
    /// The disk of this machine is full.
    NoSpace,
    /// Its release data is older than it wants to be used.
    Expired,
    /// Its release data is newer than the clock.
    NotYetValid,
    /// It is another release, or somebody else's, than it was.
    Changed,
    /// It is signed with a key that is not trusted.
    KeyUnknown,
    /// It is signed with a key that has expired.
    KeyExpired,
    /// It is signed with a key that was revoked.
    KeyRevoked,
    /// It is signed in a way that is not secure any more.
    KeyWeak,
    /// Its signature is not of its content.
    SignatureWrong,
    /// It has no signature.
    Unsigned,
    /// Its server cannot prove who it is.
    Certificate,
    /// Its server wants to know who asks.
    Denied,
    /// What was fetched is not what was announced.
    Damaged,
    /// It is not there, or a file of it.
    Missing,
    /// It cannot be reached, or breaks off.
    Unreachable,
    /// apt says something that we have never heard.
    Unknown,
}

impl Fault {
    /// A stable word for machines, the exit code, and what to do.
    fn about(self) -> (&'static str, u8, Option<&'static str>) {
        match self {
            Self::Sources => (
                "usage",
                2,
                Some(
                    "apt reads none of its sources while one is wrong: correct it, one of the template in a new version of \
                     that; those that name the same repository need the same Signed-By, Trusted and the like",
                ),
            ),
            Self::NoSpace => ("internal", 1, None),
            Self::Expired => (
                "release-expired",
                4,
                Some(
                    "use a mirror that is up to date; only for an archive that never changes any more, such as a \
                     snapshot, put [check-valid-until=no] into this source, in a new version of the template",
                ),
            ),
            Self::NotYetValid => {
                ("release-not-yet-valid", 8, Some("set the clock of this machine, and try again"))
            }
            Self::Changed => (
                "release-changed",
                4,
                Some(
                    "name the release itself rather than 'stable' in the sources of the template, or make a new \
                     version of the template on the new release",
                ),
            ),
            Self::KeyUnknown | Self::KeyExpired | Self::KeyRevoked => (
                match self {
                    Self::KeyUnknown => "key-unknown",
                    Self::KeyExpired => "key-expired",
                    _ => "key-revoked",
                },
                3,
                Some(
                    "an archive that has changed its key publishes the new one in a keyring package, such as \
                     debian-archive-keyring: make a new version of the template that has it; keys of --sources are \
                     named with --keyring",
                ),
            ),
            Self::KeyWeak => (
                "key-weak",
                3,
                Some(
                    "who runs the repository has to make a stronger key, or sign the key itself and the repository with \
                     stronger algorithms; for a new key, make a new version of the template that has it",
                ),
            ),
            Self::SignatureWrong => (
                "signature-wrong",
                3,
                Some("it was changed after it was signed: do not use it, and tell who runs the mirror"),
            ),
            Self::Unsigned => (
                "repository-unsigned",
                4,
                Some(
                    "sources of the template have to be signed, by a key that it has; a folder of this machine is \
                     trusted with --repo",
                ),
            ),
            Self::Certificate => (
                "certificate-unknown",
                3,
                Some(
                    "with a certificate authority of your own, name its certificates with SSL_CERT_FILE, or \
                     Acquire::https::CaInfo in the apt.conf of this machine",
                ),
            ),
            Self::Denied => (
                "access-denied",
                8,
                Some(
                    "put user and password into /etc/apt/auth.conf.d of this machine, those of a proxy into \
                     http_proxy or https_proxy",
                ),
            ),
            Self::Damaged => (
                "repository-damaged",
                8,
                Some(
                    "the mirror is being updated, or something on the way changes or cuts off what it sends: try \
                     again, or use another mirror",
                ),
            ),
            Self::Missing => (
                "repository-missing",
                8,
                Some(
                    "try again later if the mirror is being updated; a release that is not supported any more moves \
                     to another server: name that in the sources, in a new version of the template",
                ),
            ),
            Self::Unreachable => (
                "network",
                8,
                Some(
                    "try again; with --update local no server is asked for lists: enough for .deb files that need nothing else",
                ),
            ),
            Self::Unknown => ("apt-failed", 1, None),
        }
    }
}

/// One change that policy does not allow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    /// The package.
    pub package: String,
    /// Why not.
    pub reason: String,
    /// What to do instead.
    pub way_out: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}': {}", self.package, self.reason)
    }
}

fn refused(refusals: &[Refusal]) -> String {
    match refusals {
        [one] => format!("refused by policy: {one}"),
        several => {
            let lines: String = several.iter().map(|refusal| format!("\n  {refusal}")).collect();
            format!("refused by policy: {} changes{lines}", several.len())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_is_for_what_may_be_gone_by_then() {
        let retry = |fault: Fault| ChrootError::Repository { fault, message: String::new() }.exit_code() == 8;
        for fault in [Fault::NotYetValid, Fault::Denied, Fault::Damaged, Fault::Missing, Fault::Unreachable] {
            assert!(retry(fault), "{fault:?}");
        }
        for fault in [
            Fault::Sources,
            Fault::Expired,
            Fault::Changed,
            Fault::KeyUnknown,
            Fault::Unsigned,
            Fault::NoSpace,
            Fault::Unknown,
        ] {
            assert!(!retry(fault), "{fault:?}");
        }
    }

    #[test]
    fn refusals_read_well() {
        let refusal = Refusal {
            package: "libc6".into(),
            reason: "would be upgraded from 1 to 2".into(),
            way_out: "allow it with --allow-upgrade libc6".into(),
        };
        let two = ChrootError::PolicyRefused { refusals: vec![refusal.clone(), refusal.clone()] };
        assert_eq!(two.to_string().lines().next(), Some("refused by policy: 2 changes"));
        assert_eq!(two.to_string().lines().count(), 3);
        let error = ChrootError::PolicyRefused { refusals: vec![refusal] };
        assert_eq!(error.to_string(), "refused by policy: 'libc6': would be upgraded from 1 to 2");
        assert_eq!(error.exit_code(), 4);
        assert_eq!(error.kind(), "policy-refused");
        assert_eq!(error.hint().as_deref(), Some("allow it with --allow-upgrade libc6"));
    }
}
