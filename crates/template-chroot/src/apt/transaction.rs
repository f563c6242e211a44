// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # A transaction on a tree
//!
//! Holds what plan and apply share: the scratch directory with package lists, caches and copies of package files, and
//! the package sources. [`plan`](Transaction::plan) is in the module `resolve`, [`apply`](Transaction::apply) in its own.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use super::access::{self, Access};
use super::action::Action;
use super::debs::LocalDeb;
use super::failure::without_credentials;
use super::given::{self, Given};
use super::lists::Sources;
use super::plan::Plan;
use super::request::{Add, TransactionRequest};
use super::simulate::{Progress, Uri, parse_progress};
use super::status::Status;
use crate::error::{ChrootError, Result};
use crate::overlay::Merged;
use crate::sandbox::{Captured, Channel, OWN_DIR, Root, Sandbox};
use crate::system::Tree;

/// How much output an error quotes.
const TAIL_LINES: usize = 20;

/// Failed packages that are told apart; one would be enough to fail.
const FAILURE_LIMIT: usize = 1000;

/// What happens, for progress and logs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Event<'a> {
    /// A new step has begun.
    Step(&'a str),
    /// How far the step is.
    Percent {
        /// Of 100.
        percent: f32,
        /// What is being done.
        what: &'a str,
    },
    /// A line that apt, dpkg or a package script has printed.
    Output(&'a str),
}

/// A transaction that is being prepared; see [`plan`](super::plan()) and [`apply`](super::apply()).
pub struct Transaction<'a> {
    pub(super) root: Root,
    pub(super) request: TransactionRequest,
    pub(super) sink: &'a mut dyn FnMut(Event<'_>),
    scratch: TempDir,
    /// Of the request, in its order.
    pub(super) debs: Vec<LocalDeb>,
    pub(super) sources: Sources,
    /// Of the request.
    pub(super) given: Given,
    pub(super) notes: Vec<String>,
    pub(super) refresh_time: Duration,
    /// What was asked for that is no package, and the installed one that provides it.
    pub(super) provided: BTreeMap<String, String>,
    /// How repositories are reached, once it was needed.
    pub(super) access: Option<Access>,
    /// What was read with the sources, until it is asked for.
    pub(super) status: Option<(Status, String)>,
    /// The last plan, and what it takes to fetch.
    pub(super) planned: Option<(Plan, Vec<Uri>)>,
    /// apt sees no more of the package lists than what the last plan needs.
    pub(super) in_excerpt: bool,
}

/// What came of a command.
pub(super) struct Heard {
    pub captured: Captured,
    /// From the status channel.
    pub failures: Vec<Progress>,
    /// The last lines, of output and errors as they came.
    pub tail: Vec<String>,
}

/// Directories with package lists: as they are, and of what a plan needs.
pub(super) const LISTS: &str = "lists";
pub(super) const EXCERPT: &str = "excerpt";

/// What apt makes of package lists, with and without the state of packages.
const CACHES: [&str; 2] = ["pkgcache.bin", "srcpkgcache.bin"];

/// Bytes of caches that apt makes in no time again: those of a Debian release have 70 MB.
const WORTH_KEEPING: u64 = 8 << 20;

impl<'a> Transaction<'a> {
    /// Reads what the tree has, and brings the package lists up to date; the tree stays as it is.
    pub fn open(root: Root, request: TransactionRequest, sink: &'a mut dyn FnMut(Event<'_>)) -> Result<Self> {
        request.check()?;
        let dir = request.scratch_dir.clone().unwrap_or_else(std::env::temp_dir);
        let scratch = tempfile::Builder::new()
            .prefix("isar-template-")
            .tempdir_in(&dir)
            .map_err(|e| ChrootError::io("making a temporary directory in", &dir, e))?;
        let mut transaction = Self {
            root,
            request,
            sink,
            scratch,
            debs: Vec::new(),
            sources: Sources::default(),
            given: Given::default(),
            notes: Vec::new(),
            refresh_time: Duration::ZERO,
            provided: BTreeMap::new(),
            access: None,
            status: None,
            planned: None,
            in_excerpt: false,
        };
        transaction.make_scratch()?;
        transaction.take_debs()?;
        transaction.read_sources()?;
        transaction.refresh()?;
        Ok(transaction)
    }

    /// Asks for something else, on another root over the same tree, with the lists that are there. Not for files.
    pub(crate) fn turn_to(&mut self, root: Root, add: Vec<Add>) {
        self.root = root;
        self.request.add = add;
        self.status = None;
        self.forget_plan();
    }

    /// What apt is asked next is about all packages again.
    pub(super) fn forget_plan(&mut self) {
        self.planned = None;
        self.in_excerpt = false;
    }

    /// The last plan without one package, and without what would be removed; none when there is no plan. What remains is
    /// what was solved already, so apt need not solve it again.
    pub(crate) fn leave_out(&mut self, package: &str) -> Option<Plan> {
        let (mut plan, mut uris) = self.planned.take()?;
        plan.leave_out(package);
        uris.retain(|uri| uri.package().is_none_or(|(name, _)| name != package));
        let exactly = |action: &Action| Some(Add::exactly(&action.package, action.new_version.as_ref()?));
        self.request.add = plan.actions.iter().filter_map(exactly).collect();
        self.planned = Some((plan.clone(), uris));
        Some(plan)
    }

    pub(super) fn scratch(&self, name: &str) -> PathBuf {
        self.scratch.path().join("apt").join(name)
    }

    /// The copy of a package file.
    pub(super) fn deb_path(&self, deb: &LocalDeb) -> PathBuf {
        self.scratch("debs").join(deb.inside.rsplit('/').next().unwrap_or_default())
    }

    /// Where apt looks for an archive before it fetches it.
    pub(super) fn archive_path(&self, name: &str) -> PathBuf {
        self.scratch("archives").join(name)
    }

    /// Outside of what every sandbox sees.
    pub(super) fn access_dir(&self) -> PathBuf {
        self.scratch.path().join(access::NAME)
    }

    /// Keyrings of the request, as all may read them, and package scripts not write them.
    pub(super) fn keyrings_dir(&self) -> PathBuf {
        self.scratch.path().join(given::KEYRINGS)
    }

    fn make_scratch(&self) -> Result<()> {
        // the outer directory is for root only, what is bound from within must be open to apt's own user
        let in_apt = ["", "archives", "archives/partial", "debs", "lists", "lists/partial"];
        for path in in_apt.map(|name| self.scratch(name)).into_iter().chain([self.keyrings_dir()]) {
            fs::create_dir_all(&path)
                .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o755)))
                .map_err(|e| ChrootError::io("making directory", &path, e))?;
        }
        for name in CACHES {
            let Some(from) = self.request.caches.as_ref().map(|dir| dir.join(name)) else { break };
            match fs::copy(&from, self.scratch(name)) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    return Err(ChrootError::io("copying", from, e));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Caches that apt has made of nothing but the tree, for others who have the same; not when package scripts have run, which
    /// can write to them.
    pub fn caches(&self) -> Vec<PathBuf> {
        let Sources { local, given, remote_refreshed, .. } = &self.sources;
        let own = self.given.preferences.is_some() || !self.request.binds.is_empty();
        if own || *remote_refreshed || !local.is_empty() || !given.is_empty() {
            return vec![];
        }
        let caches: Vec<PathBuf> =
            CACHES.map(|name| self.scratch(name)).into_iter().filter(|path| path.is_file()).collect();
        let size: u64 = caches.iter().filter_map(|path| Some(path.metadata().ok()?.len())).sum();
        if size < WORTH_KEEPING { vec![] } else { caches }
    }

    /// The sandbox that all commands run in.
    pub(super) fn sandbox(&self, network: bool) -> Sandbox {
        let mut sandbox = Sandbox::new(self.root.clone())
            .network(network)
            .binds(self.request.binds.iter().cloned())
            .own_bind(self.scratch(""), "apt", true)
            .own_bind(self.scratch("debs"), "apt/debs", false);
        // for the hooks of apt, which are not told our options
        let settings = self.settings("all");
        let mut conf: String =
            settings.iter().map(|(name, value)| format!("{name} \"{value}\";\n")).collect();
        if let Some(access) = self.access.as_ref().filter(|_| network) {
            conf.push_str(&access.defaults);
            sandbox = sandbox.own_bind(self.access_dir(), access::NAME, false);
            for (name, value) in &access.proxies {
                sandbox = sandbox.env(name, value);
            }
        }
        sandbox = sandbox.own_file("apt.conf", conf).env("APT_CONFIG", format!("{OWN_DIR}/apt.conf"));
        for (number, repo) in self.request.repos.iter().enumerate() {
            sandbox = sandbox.own_bind(repo, &format!("repo/{number}"), false);
        }
        if !self.request.keyrings.is_empty() {
            sandbox = sandbox.own_bind(self.keyrings_dir(), given::KEYRINGS, false);
        }
        if let Some(preferences) = &self.given.preferences {
            sandbox = sandbox.own_file(given::PREFERENCES, preferences);
        }
        let Sources { local, remote, given, .. } = &self.sources;
        for (directory, files) in [("local.d", local), ("remote.d", remote), ("given.d", given)] {
            for file in files {
                for directory in [directory, "all.d"] {
                    sandbox = sandbox.own_file(format!("{directory}/{}", file.name), &file.text);
                }
            }
        }
        sandbox
    }

    /// Directories of apt, outside of the tree, and whatever else decides whether its caches are valid.
    fn settings(&self, sources: &str) -> Vec<(&'static str, String)> {
        let mut settings = vec![
            ("Dir::Etc::SourceList", "/dev/null".to_owned()),
            ("Dir::Etc::SourceParts", format!("{OWN_DIR}/{sources}.d")),
            ("Acquire::Languages", "none".to_owned()),
        ];
        let lists = if self.in_excerpt { EXCERPT } else { LISTS };
        settings.push(("Dir::State::lists", format!("{OWN_DIR}/apt/{lists}")));
        for (setting, cache) in ["Dir::Cache::pkgcache", "Dir::Cache::srcpkgcache"].into_iter().zip(CACHES) {
            // of an excerpt it is made faster than written
            let path = if self.in_excerpt { String::new() } else { format!("{OWN_DIR}/apt/{cache}") };
            settings.push((setting, path));
        }
        if self.given.preferences.is_some() {
            settings.push(("Dir::Etc::Preferences", format!("{OWN_DIR}/{}", given::PREFERENCES)));
        }
        if !self.request.keep_debs {
            settings.push(("Dir::Cache::archives", format!("{OWN_DIR}/apt/archives")));
        }
        settings
    }

    /// Options for every call of apt, with one of the directories of sources.
    pub(super) fn options(&self, sources: &str, network: bool) -> Vec<String> {
        let mut options: Vec<String> =
            self.settings(sources).into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        // a release that goes from stable to oldstable is still the same one; another codename is another release
        options.extend(
            [
                "Acquire::AllowReleaseInfoChange::Suite=1",
                "Acquire::AllowReleaseInfoChange::Version=1",
                "Acquire::AllowReleaseInfoChange::Codename=0",
            ]
            .map(str::to_owned),
        );
        options.extend(
            [
                "APT::Cmd::Pattern-Only=true",
                "APT::Color=0",
                "APT::Get::List-Cleanup=0",
                "APT::Update::Error-Mode=any",
                // whatever the tree's configuration says
                "APT::Get::AllowUnauthenticated=0",
                "Acquire::AllowInsecureRepositories=0",
                "Acquire::AllowWeakRepositories=0",
                "Acquire::AllowDowngradeToInsecureRepositories=0",
                // it takes as long as installing a few packages, and is of use to the authors of apt only
                "Dir::Log::Planner=",
                "Dpkg::Progress-Fancy=0",
                "Dpkg::Use-Pty=0",
                "quiet=1",
            ]
            .map(str::to_owned),
        );
        if !network {
            // there is nobody to be protected from, and folders of the host may be closed to apt's own user
            options.push("APT::Sandbox::User=root".to_owned());
        }
        let mut arguments: Vec<String> = Vec::new();
        if network && self.access.is_some() {
            // not as options: addresses of proxies may hold passwords, and arguments are logged
            arguments.extend(["-c".to_owned(), format!("{OWN_DIR}/{}/apt.conf", access::NAME)]);
        }
        arguments.extend(options.into_iter().flat_map(|option| ["-o".to_owned(), option]));
        arguments
    }

    /// Reads the tree from outside, between two commands.
    pub(super) fn look<T>(&self, at: impl FnOnce(&Tree) -> Result<T>) -> Result<T> {
        let merged = Merged::of(&self.root)?;
        at(&Tree::open(merged.path())?)
    }

    /// Runs a command; passes its output and progress on.
    pub(super) fn listen(&mut self, sandbox: &Sandbox, argv: &[String]) -> Result<Heard> {
        let (mut failures, mut tail, mut last) = (Vec::new(), VecDeque::new(), (0.0, String::new()));
        let sink = &mut *self.sink;
        let captured = sandbox.listen(argv, &mut |channel, line| match (channel, parse_progress(line)) {
            (
                Channel::Status,
                Some(Progress::Fetching { percent, what } | Progress::Installing { percent, what }),
            ) => {
                if last != (percent, what.clone()) {
                    sink(Event::Percent { percent, what: &what });
                    last = (percent, what);
                }
            }
            // scripts can write there as well, and need not stop
            (Channel::Status, Some(failed)) if failures.len() < FAILURE_LIMIT => failures.push(failed),
            (Channel::Status, _) => {}
            (_, _) => {
                let line = &without_credentials(line);
                sink(Event::Output(line));
                if !line.trim().is_empty() {
                    tail.push_back(line.to_owned());
                }
                if tail.len() > TAIL_LINES {
                    tail.pop_front();
                }
            }
        })?;
        Ok(Heard { captured, failures, tail: tail.into() })
    }
}
