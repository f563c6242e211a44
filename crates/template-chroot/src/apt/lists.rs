// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Package sources and lists of a transaction
//!
//! The sources of the tree, sorted by what it takes to read them, with the repository folders of the request. The
//! lists are in the scratch directory: those of the tree at first, by links, until an update replaces them.

use std::time::Instant;

use jiff::Timestamp;

use super::debs::index_files;
use super::failure::{Failure, failure, without_credentials};
use super::given::PREFERENCES_OF_TREE;
use super::request::{TransactionRequest, UpdateMode};
use super::simulate::reasons;
use super::sources::{self, Kind, SourceFile, Suite, folder_sources};
use super::state::status_of;
use super::transaction::{Event, Transaction};
use crate::error::{ChrootError, Fault, Result};
use crate::sandbox::{Captured, OWN_DIR, STATUS_FD};
use crate::system::Tree;

/// Package sources as they are used in this transaction.
#[derive(Debug, Default)]
pub(super) struct Sources {
    /// Read by `update`: local ones and repository folders.
    pub local: Vec<SourceFile>,
    /// Read by `update` with network.
    pub remote: Vec<SourceFile>,
    /// Of the request, and no local ones: read by `update` always, with network.
    pub given: Vec<SourceFile>,
    /// Some of the remote ones have no list yet.
    pub lists_missing: bool,
    /// The remote ones have been brought up to date in this transaction.
    pub remote_refreshed: bool,
}

impl Sources {
    /// All that takes a network.
    pub fn remote_suites(&self) -> Vec<Suite> {
        let suites =
            self.remote.iter().chain(&self.given).flat_map(|file| sources::select(file, &|_| true).1);
        suites.filter(|suite| sources::kind(&suite.uri) == Kind::Remote).collect()
    }

    /// Where the keys of a repository (`URI SUITE`) are, in words.
    fn keyring(&self, repository: &str) -> String {
        let (uri, suite) = repository.split_once(' ').unwrap_or((repository, ""));
        let all = self.local.iter().chain(&self.remote).chain(&self.given);
        let suites = all.flat_map(|file| sources::select(file, &|_| true).1);
        let named = suites
            .filter(|s| s.uri.trim_end_matches('/') == uri.trim_end_matches('/') && s.suite == suite)
            .find_map(|s| s.signed_by);
        match named {
            Some(path) if path.starts_with('/') => format!("'{path}'"),
            Some(_) => "the Signed-By of its source".to_owned(),
            None => "'/etc/apt/trusted.gpg.d'".to_owned(),
        }
    }
}

/// What is done when packages are fetched, in words.
pub(super) const FETCHING: &str = "fetching packages";

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
        let mut files = self.read_files(&[
            PREFERENCES_OF_TREE,
            "/etc/apt/sources.list",
            "/etc/apt/sources.list.d/*.list",
            "/etc/apt/sources.list.d/*.sources",
        ])?;
        self.status = Some(status_of(&mut files));
        self.take_given(&files.remove(PREFERENCES_OF_TREE).unwrap_or_default())?;
        let files_of_tree: Vec<SourceFile> = files
            .iter()
            .filter_map(|(path, text)| {
                let name = path.strip_prefix("/etc/apt/")?.replace('/', "-");
                Some(SourceFile { name, text: text.clone() })
            })
            .collect();
        let local_of = |files: &[SourceFile]| -> Vec<Suite> {
            let all = files.iter().flat_map(|file| sources::select(file, &|_| true).1);
            all.filter(|suite| sources::kind(&suite.uri) == Kind::Local).collect()
        };
        let (local, given) = (local_of(&files_of_tree), local_of(&self.given.files));
        let there = self.existing_directories(local.iter().chain(&given))?;
        let usable = |uri: &str| {
            let suite = Suite { uri: uri.to_owned(), suite: String::new(), signed_by: None };
            suite.directory().is_some_and(|d| there.iter().any(|t| t == d))
        };
        if let Some(suite) = given.iter().find(|s| !usable(&s.uri)) {
            return Err(ChrootError::Usage {
                message: format!("package source '{} {}': it is empty or not there", suite.uri, suite.suite),
                hint: Some(
                    "the template does not see folders of this machine: give it with --repo, or show it inside \
                     with --bind"
                        .to_owned(),
                ),
            });
        }
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
        // never in one name: the two are in one directory when packages are resolved
        let with_kind =
            |kind: &str, part: SourceFile| SourceFile { name: format!("{kind}-{}", part.name), ..part };
        for file in &files_of_tree {
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
        for file in &self.given.files {
            let (part, suites) = sources::select(file, &usable);
            if !suites.is_empty() {
                self.sources.local.push(with_kind("given-local", part));
            }
            let (part, suites) = sources::select(file, &|uri| sources::kind(uri) == Kind::Remote);
            if !suites.is_empty() {
                self.sources.given.push(with_kind("given-remote", part));
            }
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
        self.note_other_sources()
    }

    /// Says which sources a tree of the caller has that are not the template's.
    fn note_other_sources(&mut self) -> Result<()> {
        if self.request.template.is_empty() {
            return Ok(());
        }
        let mut known = Vec::new();
        for layer in &self.request.template {
            for file in sources::read(&Tree::open(layer)?)? {
                known.extend(sources::select(&file, &|_| true).1);
            }
        }
        let remote = self.sources.remote.iter().flat_map(|file| sources::select(file, &|_| true).1);
        for other in remote.filter(|suite| sources::kind(&suite.uri) == Kind::Remote) {
            if !known.iter().any(|suite| suite.uri == other.uri && suite.suite == other.suite) {
                let uri = without_credentials(&other.uri);
                self.notes.push(format!("package source '{uri} {}' is not the template's", other.suite));
            }
        }
        self.notes.dedup();
        Ok(())
    }

    /// Those of the local sources that have something in them.
    fn existing_directories<'a>(&self, suites: impl Iterator<Item = &'a Suite>) -> Result<Vec<String>> {
        let mut argv = vec![
            "sh",
            "-c",
            "for d; do if [ -n \"$(ls -A \"$d\" 2>/dev/null)\" ]; then echo \"$d\"; fi; done",
            "sh",
        ];
        argv.extend(suites.filter_map(Suite::directory));
        if argv.len() == 4 {
            return Ok(Vec::new());
        }
        Ok(self.sandbox(false).capture(&argv)?.text().lines().map(str::to_owned).collect())
    }

    /// Brings the package lists up to date, in the scratch directory.
    pub(super) fn refresh(&mut self) -> Result<()> {
        let begin = Instant::now();
        self.ensure_given_may_be_read()?;
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
            UpdateMode::Auto => self.sources.lists_missing && !self.only_removes(),
            UpdateMode::Local | UpdateMode::None => false,
        };
        if remote && !self.sources.remote.is_empty() {
            self.update_remote()?;
        }
        if !self.sources.given.is_empty() {
            self.update("given", true)?;
        }
        self.refresh_time = begin.elapsed();
        Ok(())
    }

    /// Whether all that is asked for is that some of what is there goes: no list is needed for that.
    fn only_removes(&self) -> bool {
        let TransactionRequest { add, remove, .. } = &self.request;
        let is_there =
            |name: &String| self.status.as_ref().is_some_and(|(status, _)| status.get(name).is_some());
        add.is_empty() && !remove.is_empty() && remove.iter().all(is_there)
    }

    /// There are no lists of them yet.
    fn ensure_given_may_be_read(&self) -> Result<()> {
        let suites = self.sources.given.iter().flat_map(|file| sources::select(file, &|_| true).1).next();
        let Some(suite) = suites else { return Ok(()) };
        match self.request.update {
            UpdateMode::Auto | UpdateMode::All => Ok(()),
            UpdateMode::Local | UpdateMode::None => Err(ChrootError::Usage {
                message: format!(
                    "package source '{} {}' cannot be read with --update {}: its lists have to be fetched",
                    without_credentials(&suite.uri),
                    suite.suite,
                    self.request.update.word()
                ),
                hint: Some("give a folder of this machine with --repo".to_owned()),
            }),
        }
    }

    /// For when the lists turn out to be older than the repositories: all of them anew, if that is up to us and was
    /// not done yet.
    pub fn refresh_outdated(&mut self) -> Result<bool> {
        match self.request.update {
            UpdateMode::Auto => self.refresh_remote(),
            _ => Ok(false),
        }
    }

    /// All lists of remote sources anew, if that was not done yet.
    pub(crate) fn refresh_remote(&mut self) -> Result<bool> {
        if self.sources.remote_refreshed || self.sources.remote.is_empty() {
            return Ok(false);
        }
        self.forget_plan();
        self.update_remote()?;
        Ok(true)
    }

    fn update_remote(&mut self) -> Result<()> {
        let before = self.releases()?;
        self.update("remote", true)?;
        let notes = self.releases()?.renamed(&before, &self.sources);
        self.notes.extend(notes);
        self.sources.remote_refreshed = true;
        Ok(())
    }

    fn update(&mut self, sources: &str, network: bool) -> Result<()> {
        (self.sink)(Event::Step(if network {
            "refreshing package lists"
        } else {
            "reading local repositories"
        }));
        if network {
            self.prepare_access()?;
        }
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
        Err(self.fetch_error("refreshing package lists", &heard.captured))
    }

    /// Whether this transaction has brought the lists of a repository up to date.
    fn is_refreshed(&self, failure: &Failure) -> bool {
        let uri = failure.repository.as_deref().unwrap_or_default();
        match sources::kind(uri) {
            Kind::Remote => self.sources.remote_refreshed,
            // folders of the request always are
            Kind::Local => {
                self.request.update != UpdateMode::None || uri.starts_with(&format!("file:{OWN_DIR}/repo/"))
            }
        }
    }

    /// Why fetching failed.
    pub(super) fn fetch_error(&self, doing: &str, captured: &Captured) -> ChrootError {
        let (stdout, stderr) = (captured.text(), captured.errors());
        log::debug!("apt says: {}", without_credentials(&format!("{stdout}{stderr}")));
        let keyring = |repository: &str| self.sources.keyring(repository);
        let Some(failure) = failure(&format!("{stderr}\n{stdout}"), Timestamp::now(), &keyring) else {
            let message = format!("{doing}: {}", without_credentials(&reasons(&stdout, &stderr)));
            return ChrootError::Repository { fault: Fault::Unknown, message };
        };
        let message = failure.message(doing);
        match failure.fault {
            Fault::Missing | Fault::Damaged if doing == FETCHING && !self.is_refreshed(&failure) => {
                ChrootError::ListsOutdated { message }
            }
            fault => ChrootError::Repository { fault, message },
        }
    }
}
