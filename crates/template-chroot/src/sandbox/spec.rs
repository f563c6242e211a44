// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # What a sandbox is made of, and what its two inner processes say

use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::ChrootError;

/// The root filesystem of a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Root {
    /// A directory that is written in place.
    Tree(PathBuf),
    /// Read-only directories, the uppermost first, with a writable one on top; mounted inside the namespace only.
    Overlay {
        /// The read-only directories, the uppermost first.
        lowers: Vec<PathBuf>,
        /// Takes what is written.
        upper: PathBuf,
        /// An empty directory on the file system of `upper`.
        work: PathBuf,
    },
}

/// A file or directory of the host inside the sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Bind {
    /// On the host.
    pub source: PathBuf,
    /// Inside, absolute.
    pub target: PathBuf,
    /// May be written to.
    pub writable: bool,
}

impl Bind {
    /// A read-only bind.
    pub fn read_only(source: impl Into<PathBuf>, target: impl Into<PathBuf>) -> Self {
        Self { source: source.into(), target: target.into(), writable: false }
    }

    /// A bind that may be written to.
    pub fn writable(source: impl Into<PathBuf>, target: impl Into<PathBuf>) -> Self {
        Self { source: source.into(), target: target.into(), writable: true }
    }

    pub(crate) fn check(&self) -> Result<(), ChrootError> {
        let target = self.target.display();
        if !self.target.is_absolute()
            || self.target.components().any(|c| matches!(c, Component::ParentDir))
            || self.target == Path::new("/")
        {
            return Err(ChrootError::usage(
                format!("bind target '{target}' must be an absolute path below / and without '..'"),
                "write SRC:DST with the DST that it is to have inside, such as /src",
            ));
        }
        for own in ["/proc", "/sys", "/dev", OWN_DIR] {
            if self.target.starts_with(own) || Path::new(own).starts_with(&self.target) {
                return Err(ChrootError::usage(
                    format!("bind target '{target}': {own} belongs to the sandbox"),
                    "choose another place inside, such as /src",
                ));
            }
        }
        Ok(())
    }
}

/// `SRC:DST`, `SRC:DST:ro` or `SRC:DST:rw`.
impl FromStr for Bind {
    type Err = ChrootError;

    fn from_str(text: &str) -> Result<Self, ChrootError> {
        let (paths, writable) = match text {
            _ if text.ends_with(":rw") => (&text[..text.len() - 3], true),
            _ if text.ends_with(":ro") => (&text[..text.len() - 3], false),
            _ => (text, false),
        };
        let Some((source, target)) = paths.rsplit_once(':').filter(|(s, t)| !s.is_empty() && !t.is_empty())
        else {
            return Err(ChrootError::usage(
                format!("bind '{text}' is not SRC:DST[:rw]"),
                "write SRC:DST, or SRC:DST:rw to let it be written to",
            ));
        };
        let bind = Self { source: source.into(), target: target.into(), writable };
        bind.check()?;
        Ok(bind)
    }
}

/// Where a sandbox keeps files of its own; on a tmpfs, so nothing of it reaches the tree.
pub(crate) const OWN_DIR: &str = "/run/isar-template";

/// In an argument of the command: replaced by the number of the descriptor given with
/// [`Sandbox`](super::Sandbox)'s status channel.
pub(crate) const STATUS_FD: &str = "@STATUS_FD@";

/// A file made inside the sandbox, below [`OWN_DIR`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OwnFile {
    /// Relative to [`OWN_DIR`].
    pub name: String,
    pub content: String,
    pub mode: u32,
}

/// All that the inner processes need to know.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Spec {
    pub parent: i32,
    /// Root is one of a user namespace.
    pub user_namespace: bool,
    pub root: Root,
    pub binds: Vec<Bind>,
    pub own_files: Vec<OwnFile>,
    pub unsynced: bool,
    pub network: bool,
    pub deny_services: bool,
    pub keep_session: bool,
    pub hostname: String,
    pub cwd: PathBuf,
    pub env: Vec<(String, String)>,
    pub argv: Vec<String>,
    pub has_stdin: bool,
    pub has_status: bool,
}

/// What the inner processes report to the helper.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "type")]
pub(crate) enum Message {
    /// A step of setting the sandbox up failed.
    SetupFailed { step: String, path: String, errno: Option<i32>, error: String },
    /// The command could not be started.
    NotStarted { command: String, errno: Option<i32>, error: String },
    /// The command ended.
    Exited { code: Option<i32>, signal: Option<i32> },
    /// Process 1 of the sandbox did not end by itself.
    Killed { signal: Option<i32> },
    /// Something that we made in the tree could not be taken away again.
    CleanupFailed { path: String, error: String },
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Its exit code, or 128 and the signal's number.
    pub code: i32,
    /// The signal that killed it.
    pub signal: Option<i32>,
}

impl Exit {
    /// Exit code 0.
    pub fn success(&self) -> bool {
        self.code == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binds_are_parsed() {
        let table = [
            ("/a:/b", Some(("/a", "/b", false))),
            ("/a:/b:rw", Some(("/a", "/b", true))),
            ("/a:/b:ro", Some(("/a", "/b", false))),
            ("/with:colon:/b", Some(("/with:colon", "/b", false))),
            ("relative:/b", Some(("relative", "/b", false))),
            ("/a", None),
            (":/b", None),
            ("/a:", None),
            ("/a:b", None),
            ("/a:/", None),
            ("/a:/b/../etc", None),
            ("/a:/proc/x", None),
            ("/a:/dev", None),
            ("/a:/run", None),
            ("/a:/run/other", Some(("/a", "/run/other", false))),
        ];
        for (text, expected) in table {
            let got = text.parse::<Bind>().ok();
            let expected =
                expected.map(|(s, t, writable)| Bind { source: s.into(), target: t.into(), writable });
            assert_eq!(got, expected, "{text}");
        }
    }
}
