// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Package sources and lists of a transaction
//!
//! The sources of the tree, sorted by what it takes to read them, with the repository folders of the request. The
//! lists are in the scratch directory: those of the tree at first, by links, until an update replaces them.

use std::time::Instant;

use super::debs::index_files;
use super::request::UpdateMode;
use super::simulate::{FetchFailure, fetch_failure, reasons};
use super::sources::{self, Kind, SourceFile, Suite, folder_sources};
use super::transaction::{Event, Transaction};
use crate::error::{ChrootError, Refusal, Result};
use crate::sandbox::{Captured, OWN_DIR, STATUS_FD};

/// Package sources as they are used in this transaction.
#[derive(Debug, Default)]
pub(super) struct Sources {
    /// Read by `update`: local ones and repository folders.
    pub local: Vec<SourceFile>,
    /// Read by `update` with network.
    pub remote: Vec<SourceFile>,
    /// Some of the remote ones have no list yet.
    pub lists_missing: bool,
    /// The remote ones have been brought up to date in this transaction.
    pub remote_refreshed: bool,
}

/// Lists are links to those of the tree, until an update replaces them.
const LINK_LISTS: &str = r#"
mkdir -p "$1/partial"
for f in /var/lib/apt/lists/*; do
    case ${f##*/} in lock | partial | auxfiles) continue ;; esac
    if [ -e "$f" ]; then ln -sfn "$f" "$1/"; fi
done
"#;

impl Transaction<'_> {
    /// Takes the package sources of the tree, sorted, without those that are not there, and adds the repository folders.
    pub(super) fn read_sources(&mut self) -> Result<()> {
        let files = self.read_files(&[
            "/etc/apt/sources.list",
            "/etc/apt/sources.list.d/*.list",
            "/etc/apt/sources.list.d/*.sources",
        ])?;
        let files_of_tree: Vec<SourceFile> = files
            .iter()
            .filter_map(|(path, text)| {
                let name = path.strip_prefix("/etc/apt/")?.replace('/', "-");
                Some(SourceFile { name, text: text.clone() })
            })
            .collect();
        let local: Vec<Suite> = files_of_tree
            .iter()
            .flat_map(|file| sources::select(file, &|uri| sources::kind(uri) == Kind::Local).1)
            .collect();
        let there = self.existing_directories(&local)?;
        let usable = |uri: &str| {
            let suite = Suite { uri: uri.to_owned(), suite: String::new() };
            suite.directory().is_some_and(|d| there.iter().any(|t| t == d))
        };
        for suite in local.iter().filter(|s| !usable(&s.uri)) {
            let note = format!(
                "package source '{} {}' is left out: it is empty or not there",
                suite.uri, suite.suite
            );
            if !self.notes.contains(&note) {
                self.notes.push(note);
            }
        }

        let lists: Vec<&str> = files.get("lists").map(|l| l.lines().collect()).unwrap_or_default();
        for file in &files_of_tree {
            // never in one name: the two are in one directory when packages are resolved
            let with_kind =
                |kind: &str, part: SourceFile| SourceFile { name: format!("{kind}-{}", part.name), ..part };
            let (part, suites) = sources::select(file, &usable);
            if !suites.is_empty() {
                self.sources.local.push(with_kind("local", part));
            }
            let (part, suites) = sources::select(file, &|uri| sources::kind(uri) == Kind::Remote);
            if !suites.is_empty() {
                self.sources.remote.push(with_kind("remote", part));
                self.sources.lists_missing |= suites.iter().any(|suite| {
                    let name = suite.list_name();
                    !["InRelease", "Release"]
                        .iter()
                        .any(|end| lists.contains(&format!("{name}{end}").as_str()))
                });
            }
        }
        if self.request.update == UpdateMode::None {
            // they are read, but not refreshed
            self.sources.remote.append(&mut self.sources.local);
        }
        for (number, repo) in self.request.repos.iter().enumerate() {
            let files = index_files(repo)?;
            let text = folder_sources(&format!("{OWN_DIR}/repo/{number}"), &files).map_err(|e| match e {
                ChrootError::Usage { message, hint } => ChrootError::Usage {
                    message: format!("using repository folder: {}: {message}", repo.display()),
                    hint,
                },
                other => other,
            })?;
            self.sources.local.push(SourceFile { name: format!("folder-{number}.list"), text });
        }
        Ok(())
    }

    /// Those of the local sources that have something in them.
    fn existing_directories(&self, suites: &[Suite]) -> Result<Vec<String>> {
        let mut argv = vec![
            "sh",
            "-c",
            "for d; do if [ -n \"$(ls -A \"$d\" 2>/dev/null)\" ]; then echo \"$d\"; fi; done",
            "sh",
        ];
        argv.extend(suites.iter().filter_map(Suite::directory));
        if argv.len() == 4 {
            return Ok(Vec::new());
        }
        Ok(self.sandbox(false).capture(&argv)?.text().lines().map(str::to_owned).collect())
    }

    /// Brings the package lists up to date, in the scratch directory.
    pub(super) fn refresh(&mut self) -> Result<()> {
        let begin = Instant::now();
        let lists = format!("{OWN_DIR}/apt/lists");
        let linked = self.sandbox(false).capture(&["sh", "-ec", LINK_LISTS, "sh", &lists])?;
        if !linked.exit.success() {
            return Err(ChrootError::Internal(format!(
                "using the package lists of the tree: {}",
                linked.errors().trim()
            )));
        }
        if !self.sources.local.is_empty() {
            self.update("local", false)?;
        }
        let remote = match self.request.update {
            UpdateMode::All => true,
            UpdateMode::Auto => self.sources.lists_missing,
            UpdateMode::Local | UpdateMode::None => false,
        };
        if remote && !self.sources.remote.is_empty() {
            self.update_remote()?;
        }
        self.refresh_time = begin.elapsed();
        Ok(())
    }

    /// For when the lists turn out to be older than the repositories: all of them anew, if that is up to us and was
    /// not done yet.
    pub fn refresh_outdated(&mut self) -> Result<bool> {
        if self.request.update != UpdateMode::Auto || self.sources.remote_refreshed {
            return Ok(false);
        }
        self.planned = None;
        self.update_remote()?;
        Ok(true)
    }

    fn update_remote(&mut self) -> Result<()> {
        self.update("remote", true)?;
        self.sources.remote_refreshed = true;
        Ok(())
    }

    fn update(&mut self, sources: &str, network: bool) -> Result<()> {
        (self.sink)(Event::Step("refreshing package lists"));
        let mut argv = vec!["apt-get".to_owned()];
        argv.extend(self.options(sources, network));
        argv.extend(["-o".to_owned(), format!("APT::Status-Fd={STATUS_FD}")]);
        // it would be of these sources only, and of no use to us
        argv.extend(["-o", "pkgCacheFile::Generate=false", "update"].map(str::to_owned));
        let sandbox = self.sandbox(network);
        let heard = self.listen(&sandbox, &argv)?;
        if heard.captured.exit.success() {
            return Ok(());
        }
        Err(fetch_error("refreshing package lists", &heard.captured))
    }
}

/// Why fetching failed.
pub(super) fn fetch_error(doing: &str, captured: &Captured) -> ChrootError {
    let (stdout, stderr) = (captured.text(), captured.errors());
    match fetch_failure(&format!("{stderr}\n{stdout}")) {
        Some(FetchFailure::NotAuthentic(line)) => ChrootError::PolicyRefused {
            refusals: vec![Refusal {
                package: "*".to_owned(),
                reason: format!("{doing}: {line}"),
                way_out: "give the tree the key of the repository".to_owned(),
            }],
        },
        Some(FetchFailure::Gone(line)) => ChrootError::ListsOutdated { message: format!("{doing}: {line}") },
        Some(FetchFailure::NoSpace(line)) => ChrootError::Internal(format!("{doing}: {line}")),
        Some(FetchFailure::Network(line)) => ChrootError::Network {
            message: format!("{doing}: {line}"),
            hint: Some("try again, or use what is there with --update local".to_owned()),
        },
        None => {
            ChrootError::Network { message: format!("{doing}: {}", reasons(&stdout, &stderr)), hint: None }
        }
    }
}
