// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # What is wrong with what came of a step

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::course::State;
use super::dpkg::Run;
use super::layers::{Change, Layer, What, compare};
use super::noise::{is_noise, is_noise_after_purge};
use super::report::{Finding, Kind, Severity, Step};
use super::view::View;
use super::{questions, words};
use crate::error::Result;
use crate::system::{self, Records, plain};

/// Judges one step of a package.
pub(super) struct Judge {
    pub package: String,
    pub architecture: String,
    pub step: Step,
    /// What dpkg complains of in the template.
    pub audit: String,
    /// Seconds that a call of dpkg may take.
    pub limit: u64,
}

impl Judge {
    pub(super) fn finding(&self, kind: Kind, detail: impl Into<String>) -> Finding {
        Finding::new(kind, &self.package, self.step, detail)
    }

    /// What dpkg and the scripts have said and done.
    pub fn run(&self, run: &Run) -> Vec<Finding> {
        let mut found = Vec::new();
        let network = words::missed_network(run);
        if let Some(what) = &network {
            let finding = match run.success() {
                true => self
                    .finding(Kind::ScriptNeedsNetwork, format!("a script tries to use the network: {what}"))
                    .severity(Severity::Warning),
                false => self.finding(
                    Kind::ScriptNeedsNetwork,
                    format!("a script fails without network: {what}; {}", words::tail(&run.output)),
                ),
            };
            found.push(finding);
        }
        found.extend(self.failed(run, network.is_some()));
        if run.asked {
            found.push(self.finding(Kind::Prompts, "a script reads an answer from standard input"));
        }
        if words::wants_terminal(&run.output) {
            found.push(self.finding(Kind::Prompts, "a script wants a terminal"));
        }
        if let Some(file) = words::asked_about(&run.output) {
            let detail = "dpkg would ask, since a script has changed this configuration file of a package";
            found.push(self.finding(Kind::Prompts, detail).at(file));
        }
        for name in &run.processes {
            found.push(self.finding(Kind::ProcessLeft, format!("'{name}' still runs")));
        }
        if run.success() && !run.audit.is_empty() && run.audit != self.audit {
            let said = words::tail(&run.audit);
            found.push(self.finding(Kind::PackageBroken, format!("dpkg --audit complains: {said}")));
        }
        found
    }

    fn failed(&self, run: &Run, explained: bool) -> Vec<Finding> {
        let tail = words::tail(&run.output);
        // what worked the first time
        let again = matches!(self.step, Step::Reinstall | Step::InstallAgain);
        let mut found: Vec<Finding> = Vec::new();
        if run.lost {
            let detail = format!("dpkg and all that ran beside it were ended, as by a script; {tail}");
            found.push(self.finding(Kind::ScriptFailed, detail));
        } else if let Some(signal) = run.signal() {
            let detail = format!("dpkg was ended by signal {signal}, as by a script; {tail}");
            found.push(self.finding(Kind::ScriptFailed, detail));
        } else if run.timed_out {
            let detail = format!("a script took longer than {} s; {tail}", self.limit);
            found.push(self.finding(Kind::ScriptFailed, detail));
        } else if again && !run.success() {
            found.push(self.finding(Kind::NotIdempotent, format!("fails the second time: {tail}")));
        } else if run.success() || !explained {
            for failure in words::failures(&run.output) {
                let detail = format!("{}; {tail}", failure.what);
                found.push(Finding::new(Kind::ScriptFailed, &failure.package, self.step, detail));
            }
        }
        if !run.success() && found.is_empty() && !explained {
            let kind = match self.step {
                Step::Install | Step::Upgrade => Kind::NotInstallable,
                _ => Kind::PackageBroken,
            };
            found.push(self.finding(kind, words::reasons(&run.output)));
        }
        found
    }

    /// What a package does when it comes: to others, and in itself.
    pub fn installed(&self, before: &State, after: &State) -> Result<Vec<Finding>> {
        let mut found = Vec::new();
        let changes = changes(&[after], before, after)?;
        let others: Vec<&Change> = changes
            .iter()
            .filter(|c| !matches!(c.what, What::Added(_)))
            .filter(|c| !redirected(before, c) && !redirected(after, c))
            .collect();
        let paths: BTreeSet<PathBuf> = others.iter().map(|c| plain(&c.path)).collect();
        let owners = Records::open(&before.view)?.owners(&paths)?;
        let own = Records::open(&after.view)?.files(&self.package, &self.architecture)?;
        let taken: BTreeSet<PathBuf> = own.iter().map(|path| plain(path)).collect();
        for change in others {
            let path = plain(&change.path);
            // what nobody owns may change while the package is there, if it is as before when it has gone
            let Some(owner) = owners.get(&path).and_then(|o| o.iter().next()) else { continue };
            if !taken.contains(&path) {
                found.extend(self.foreign(change, Some(owner)));
            }
        }
        found.extend(questions::asked(&before.view, &after.view, &self.package)?.into_iter().map(|name| {
            let detail = format!("asks '{name}' with debconf, and got the default");
            self.finding(Kind::Prompts, detail).severity(Severity::Info)
        }));
        Ok(found)
    }

    /// In what a second time differs from the first.
    pub fn repeated(
        &self,
        ground: &State,
        first: &State,
        again: &State,
        between: &[&State],
    ) -> Result<Vec<Finding>> {
        let how = match self.step {
            Step::Reinstall => "after it was installed once more",
            _ => "after it was purged and installed again",
        };
        let mut found = Vec::new();
        for what in first.registered.differs(&again.registered) {
            found.push(self.finding(Kind::NotIdempotent, format!("other {what} {how}")));
        }
        let own = Records::open(&again.view)?.files(&self.package, &self.architecture)?;
        let own: BTreeSet<PathBuf> = own.iter().map(|path| plain(path)).collect();
        for change in changes(between, first, again)? {
            if redirected(first, &change) || redirected(again, &change) {
                continue;
            }
            // an empty directory of the template that was gone in between is as the package has it now
            if self.step == Step::InstallAgain
                && went_with_package(&ground.view, &change.path, &own)?
                && Records::open(&ground.view)?.owners(&BTreeSet::from([plain(&change.path)]))?.is_empty()
            {
                continue;
            }
            let (what, severity) = match &change.what {
                What::Added(_) => ("is there only".to_owned(), Severity::Error),
                What::Removed => ("is not there any more".to_owned(), Severity::Error),
                // a key that is made anew is another one
                What::Changed(what) if *what == ["content"] && self.step == Step::InstallAgain => {
                    ("has another content".to_owned(), Severity::Warning)
                }
                What::Changed(what) => (format!("has another {}", what.join(" and ")), Severity::Error),
            };
            let finding = self.finding(Kind::NotIdempotent, format!("{what} {how}"));
            found.push(finding.severity(severity).at(change.shown()));
        }
        Ok(found)
    }

    /// What is left of a package that was purged.
    pub fn purged(&self, before: &State, after: &State, between: &[&State]) -> Result<Vec<Finding>> {
        let mut found = after.registered.left(&before.registered, &self.package, self.step);
        let told: BTreeSet<PathBuf> =
            found.iter().filter_map(|f| Some(plain(Path::new(f.path.as_ref()?)))).collect();
        let changes = purged_changes(between, before, after)?;
        let gone = changes.iter().filter(|c| !matches!(c.what, What::Added(_)));
        let paths: BTreeSet<PathBuf> = gone.map(|c| plain(&c.path)).collect();
        let owners = Records::open(&before.view)?.owners(&paths)?;
        let mut own = BTreeSet::new();
        for state in between {
            let files = Records::open(&state.view)?.files(&self.package, &self.architecture)?;
            own.extend(files.iter().map(|path| plain(path)));
        }
        let mut directory: Option<(PathBuf, Finding, usize)> = None;
        for change in &changes {
            let path = plain(&change.path);
            if told.iter().any(|t| t.starts_with(&path)) || redirected(after, change) {
                continue;
            }
            let What::Added(node) = &change.what else {
                if change.what == What::Removed
                    && !owners.contains_key(&path)
                    && went_with_package(&before.view, &change.path, &own)?
                {
                    continue;
                }
                let owner = owners.get(&path).and_then(|o| o.iter().next());
                found.extend(self.foreign(change, owner));
                continue;
            };
            match &mut directory {
                Some((top, _, inside)) if path.starts_with(&*top) => {
                    *inside += 1;
                    continue;
                }
                _ => found.extend(directory.take().map(finished)),
            }
            let shown = change.shown();
            if node.kind == system::Kind::Symlink && !after.view.leads_somewhere(&change.path)? {
                let detail = "is left, and leads nowhere";
                found.push(self.finding(Kind::DanglingSymlink, detail).at(shown));
            } else if node.kind == system::Kind::Directory {
                directory = Some((path, self.finding(Kind::FileLeft, "the directory is left").at(shown), 0));
            } else {
                found.push(self.finding(Kind::FileLeft, "is left").at(shown));
            }
        }
        found.extend(directory.take().map(finished));
        Ok(found)
    }

    fn foreign(&self, change: &Change, owner: Option<&String>) -> Option<Finding> {
        let whose = owner.map(|o| format!(" of '{o}'")).unwrap_or_default();
        let finding = match &change.what {
            What::Added(_) => return None,
            What::Removed => self.finding(Kind::ForeignFileRemoved, format!("the file{whose} is gone")),
            What::Changed(what) => {
                let what = what.join(" and ");
                self.finding(Kind::ForeignFileChanged, format!("the file{whose} has another {what}"))
            }
        };
        Some(finding.at(change.shown()))
    }
}

/// Whether it was a directory with nothing but directories in it, all of which the package names. dpkg takes such away,
/// unless another package names them, too; so `/opt` goes with the last package that has something in there.
fn went_with_package(before: &View, path: &Path, own: &BTreeSet<PathBuf>) -> Result<bool> {
    if before.kind(path)? != Some(system::Kind::Directory) || !own.contains(&plain(path)) {
        return Ok(false);
    }
    for (name, _) in before.list(path)? {
        if !went_with_package(before, &path.join(name), own)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn finished((_, mut finding, inside): (PathBuf, Finding, usize)) -> Finding {
    if inside > 0 {
        finding.detail = format!("the directory is left, with {inside} entries");
    }
    finding
}

/// What differs between two systems, but for noise.
fn changes(between: &[&State], old: &State, new: &State) -> Result<Vec<Change>> {
    let mut changes = compare(&layers(between), &old.view, &new.view)?;
    changes.retain(|change| !is_noise(&change.shown()));
    Ok(changes)
}

/// The same when the package is purged: its logs and caches count, too.
fn purged_changes(between: &[&State], old: &State, new: &State) -> Result<Vec<Change>> {
    let mut changes = Vec::new();
    for change in compare(&layers(between), &old.view, &new.view)? {
        let is_there = |source: &Path| Ok(new.view.kind(source)?.is_some());
        if !is_noise_after_purge(&change.shown(), is_there)? {
            changes.push(change);
        }
    }
    Ok(changes)
}

fn layers<'a>(between: &[&'a State]) -> Vec<&'a Layer> {
    between.iter().filter_map(|state| state.layer.as_deref()).collect()
}

/// Whether alternatives or diversions explain it, which are compared by themselves.
fn redirected(state: &State, change: &Change) -> bool {
    state.registered.redirects(&change.path)
}
