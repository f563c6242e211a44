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
    /// A repository could not be reached.
    #[error("{message}")]
    Network {
        /// apt's own words.
        message: String,
        /// What to do.
        hint: Option<String>,
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
            Self::ListsOutdated { .. } | Self::Network { .. } => 8,
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
            Self::Network { .. } => "network",
            Self::Interrupted { .. } => "interrupted",
            Self::Io { .. } => "io",
            Self::Internal(_) => "internal",
            Self::Usage { .. } => "usage",
        }
    }

    /// What to do about it, where we know.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::MissingPrivilege { .. } => Some(
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
            Self::MissingTool { hint, .. }
            | Self::NotSolvable { hint, .. }
            | Self::Network { hint, .. }
            | Self::Usage { hint, .. } => hint.clone(),
            Self::Interrupted { .. } | Self::Io { .. } | Self::Internal(_) => None,
        }
    }

    pub(crate) fn io(doing: &str, path: impl AsRef<Path>, cause: impl Into<io::Error>) -> Self {
        Self::Io { doing: doing.to_owned(), path: path.as_ref().to_owned(), cause: cause.into() }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), hint: None }
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
