// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # What others still run when a package is removed, and not purged
//!
//! Jobs of cron and rules of logrotate are configuration files: they stay. Each must then do nothing, and say nothing.

use std::path::Path;

use super::course::State;
use super::words;
use crate::error::Result;
use crate::sandbox::NOTHING_STARTED;
use crate::system::{Kind, Records};

/// Where cron finds programs to run.
const CRON: [&str; 5] =
    ["/etc/cron.d", "/etc/cron.daily", "/etc/cron.hourly", "/etc/cron.monthly", "/etc/cron.weekly"];

/// Where logrotate finds rules.
const LOGROTATE: &str = "/etc/logrotate.d";

/// Reads them.
pub(super) const LOGROTATE_PROGRAM: &str = "/usr/sbin/logrotate";

/// Something that is run by others.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Job {
    pub path: String,
    pub logrotate: bool,
}

impl Job {
    /// As those who run it call it.
    pub fn command(&self) -> Vec<&str> {
        match self.logrotate {
            true => vec![LOGROTATE_PROGRAM, &self.path],
            false => vec![&self.path],
        }
    }

    /// What is wrong with it.
    pub fn failure(&self, code: i32, output: &str) -> Option<String> {
        let what = if self.logrotate { "logrotate" } else { "the cron job" };
        // what stands in for start-stop-daemon here says so, the real one would not
        let lines: Vec<&str> = output.lines().filter(|line| *line != NOTHING_STARTED).collect();
        let said = words::tail(&lines.join("\n"));
        match (code, said.is_empty()) {
            (0, true) => None,
            (0, false) => Some(format!("{what} says something when the package is removed: {said}")),
            (code, _) => Some(format!("{what} ends with {code} when the package is removed: {said}")),
        }
    }
}

/// What a package that is removed has left for others to run.
pub(super) fn of(removed: &State, package: &str, architecture: &str) -> Result<Vec<Job>> {
    let mut jobs = Vec::new();
    for path in Records::open(&removed.view)?.files(package, architecture)? {
        let Some(dir) = path.parent() else { continue };
        let logrotate = dir == Path::new(LOGROTATE);
        if !logrotate && !CRON.iter().any(|cron| dir == Path::new(cron)) {
            continue;
        }
        let Some(stat) = removed.view.stat(&path)? else { continue };
        let is_file = Kind::from(rustix::fs::FileType::from_raw_mode(stat.st_mode)) == Kind::File;
        if is_file && (logrotate || stat.st_mode & 0o100 != 0) {
            jobs.push(Job { path: path.to_string_lossy().into_owned(), logrotate });
        }
    }
    Ok(jobs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_must_be_silent() {
        let cron = Job { path: "/etc/cron.daily/x".into(), logrotate: false };
        assert_eq!(cron.command(), ["/etc/cron.daily/x"]);
        assert_eq!(cron.failure(0, "\n"), None);
        assert!(cron.failure(0, "hello").unwrap().contains("says something"));
        assert!(cron.failure(127, "x: not found").unwrap().contains("ends with 127"));
        let rule = Job { path: "/etc/logrotate.d/x".into(), logrotate: true };
        assert_eq!(rule.command(), ["/usr/sbin/logrotate", "/etc/logrotate.d/x"]);
    }
}
