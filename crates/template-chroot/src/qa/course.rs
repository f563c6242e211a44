// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # The course that a package is put through
//!
//! ```text
//! template, without the package ── install ┬─ remove ── purge ── install again
//!                                           └─ reinstall
//! an older version ─────────────── upgrade ── purge
//! ```
//!
//! Each arrow is one call of dpkg that writes to a layer of its own. So one step that fails spoils no other that
//! does not come after it, and branches are tried at the same time.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use template_bundle::versions::compare_versions;

use super::depends::Resolver;
use super::dpkg::{Call, Dpkg, Run};
use super::judge::{self, Judge};
use super::layers::{Layer, Stack};
use super::packages::Candidate;
use super::registered::Registered;
use super::report::{Finding, Kind, Outcome, PackageReport, Severity, Step, StepReport, said_once};
use super::view::View;
use super::{before, jobs, words};
use crate::apt::debs::LocalDeb;
use crate::apt::status::Status;
use crate::error::Result;

/// A system after a step.
pub(super) struct State {
    pub stack: Stack,
    /// What the step has written.
    pub layer: Option<Arc<Layer>>,
    pub view: View,
    pub registered: Registered,
}

impl State {
    pub fn of(stack: Stack, layer: Option<Arc<Layer>>) -> Result<Self> {
        let view = stack.view()?;
        let registered = Registered::read(&view)?;
        Ok(Self { stack, layer, view, registered })
    }
}

/// What all packages share.
pub(super) struct Room<'a> {
    pub template: Stack,
    pub scratch: &'a Path,
    pub dpkg: Dpkg<'a>,
    /// What dpkg complains of in the template.
    pub audit: String,
}

struct Course<'a> {
    room: &'a Room<'a>,
    deb: &'a LocalDeb,
    steps: Vec<StepReport>,
    findings: Vec<Finding>,
    /// Names of processes that were left so far.
    running: BTreeSet<String>,
}

/// Puts a package through all steps.
pub(super) fn check(
    room: &Room<'_>,
    resolver: &mut Resolver<'_>,
    candidate: &Candidate,
) -> Result<PackageReport> {
    let deb = &candidate.deb;
    let mut course = Course { room, deb, steps: Vec::new(), findings: Vec::new(), running: BTreeSet::new() };
    course.run(resolver, candidate.older.as_ref())?;
    for step in Step::ALL {
        if !course.steps.iter().any(|s| s.step == step) {
            course.skip(step, "an earlier step failed");
        }
    }
    course.steps.sort_by_key(|s| s.step);
    let mut findings = said_once(course.findings);
    findings.sort_by_key(|f| f.step);
    Ok(PackageReport {
        package: deb.name.clone(),
        version: deb.version.clone(),
        architecture: deb.architecture.clone(),
        file: deb.source.display().to_string(),
        sha256: deb.sha256.clone(),
        steps: course.steps,
        findings,
    })
}

impl<'a> Course<'a> {
    /// What is tried from here on at the same time as something else.
    fn branch(&self) -> Course<'a> {
        let Course { room, deb, running, .. } = self;
        Course { room, deb, steps: Vec::new(), findings: Vec::new(), running: running.clone() }
    }

    /// Takes what a branch has found.
    fn absorb(&mut self, branch: Course<'_>) {
        self.steps.extend(branch.steps);
        self.findings.extend(branch.findings);
        self.running.extend(branch.running);
    }

    fn run(&mut self, resolver: &mut Resolver<'_>, older: Option<&LocalDeb>) -> Result<()> {
        // most packages need nothing that a template lacks, and so no apt
        let mut bottom = self.room.template.clone();
        let mut needed = Vec::new();
        let Some(mut ground) = self.without_package(&bottom)? else { return Ok(()) };
        let (mut run, mut layer) = self.install(&ground.stack)?;
        if !run.success() && words::failures(&run.output).is_empty() && words::lacks_packages(&run.output) {
            let needs = match resolver.needs(self.deb)? {
                Ok(needs) => needs,
                Err(why) => {
                    self.record(Step::Install, Outcome::Failed, run.seconds);
                    self.findings.push(Finding::new(
                        Kind::NotInstallable,
                        &self.deb.name,
                        Step::Install,
                        why,
                    ));
                    return Ok(());
                }
            };
            bottom = bottom.on(&needs.layer);
            needed = needs.added;
            let Some(with_needs) = self.without_package(&bottom)? else { return Ok(()) };
            let judge = self.judge(Step::Install);
            self.findings.extend(judge.dangling_in_needs(&ground, &with_needs, &needs.layer)?);
            ground = with_needs;
            (run, layer) = self.install(&ground.stack)?;
        }
        let judge = self.judge(Step::Install);
        self.findings.extend(judge.run(&run));
        self.record_run(Step::Install, &run);
        if run.success() {
            let installed = State::of(ground.stack.on(&layer), Some(layer))?;
            self.findings.extend(judge.installed(&ground, &installed)?);
            self.findings.extend(judge.own(&ground, &installed, &run)?);
            let (mut again, mut gone) = (self.branch(), self.branch());
            thread::scope(|scope| {
                let beside = scope.spawn(|| again.reinstall(&ground, &installed));
                gone.remove(resolver, &ground, &installed, &needed).and(join(beside))
            })?;
            self.absorb(again);
            self.absorb(gone);
        }
        self.upgrade(&bottom, &ground, older)
    }

    /// The template as if the package had never been there. Nothing when that cannot be had.
    fn without_package(&mut self, bottom: &Stack) -> Result<Option<State>> {
        let view = bottom.view()?;
        let status = Status::parse(&view.text("/var/lib/dpkg/status")?, "", "");
        let Some(there) = status.packages.iter().find(|p| p.name == self.deb.name) else {
            return State::of(bottom.clone(), None).map(Some);
        };
        if there.essential || there.required {
            let why = "it belongs to what every system needs, and cannot be taken away to try it";
            let finding = Finding::new(Kind::NotInstallable, &self.deb.name, Step::Install, why);
            self.findings.push(finding.severity(Severity::Info));
            Step::ALL.iter().for_each(|step| self.skip(*step, "the template cannot be without it"));
            return Ok(None);
        }
        let name = qualified(&there.name, &there.architecture);
        let (run, layer) = self.dpkg(bottom, &["--force-depends", "--purge", &name])?;
        if !run.success() {
            self.findings.extend(self.judge(Step::Purge).run(&run));
            self.record_run(Step::Purge, &run);
            return Ok(None);
        }
        let without = State::of(bottom.on(&layer), Some(layer))?;
        self.findings.extend(before::left(&view, &without, there)?);
        Ok(Some(without))
    }

    fn reinstall(&mut self, ground: &State, installed: &State) -> Result<()> {
        let (run, layer) = self.dpkg(&installed.stack, &["--install", &self.deb.inside])?;
        let judge = self.judge(Step::Reinstall);
        self.findings.extend(judge.run(&run));
        self.record_run(Step::Reinstall, &run);
        if run.success() {
            let again = State::of(installed.stack.on(&layer), Some(layer))?;
            self.findings.extend(judge.repeated(ground, installed, &again, &[&again])?);
        }
        Ok(())
    }

    fn remove(
        &mut self,
        resolver: &mut Resolver<'_>,
        ground: &State,
        installed: &State,
        needed: &[String],
    ) -> Result<()> {
        let (run, layer) = self.dpkg(&installed.stack, &["--force-depends", "--remove", &self.name()])?;
        self.findings.extend(self.judge(Step::Remove).run(&run));
        self.record_run(Step::Remove, &run);
        if !run.success() {
            return Ok(());
        }
        let removed = State::of(installed.stack.on(&layer), Some(layer))?;
        let (mut purge, mut others) = (self.branch(), self.branch());
        let mut alone = self.branch();
        let purged = thread::scope(|scope| {
            let beside = scope.spawn(|| purge.purge(ground, installed, &removed));
            let tried = others.without_needs(&removed, needed).and_then(|without| {
                others.jobs(resolver, without.as_ref().unwrap_or(&removed))?;
                match &without {
                    Some(without) => alone.purge_alone(ground, installed, &removed, without),
                    None => Ok(()),
                }
            });
            tried.and(join(beside))
        })?;
        self.absorb(others);
        self.absorb(purge);
        // what fails in any case was said
        if purged {
            self.absorb(alone);
        }
        Ok(())
    }

    /// Purges the removed package, and installs it again: whether it could be purged.
    fn purge(&mut self, ground: &State, installed: &State, removed: &State) -> Result<bool> {
        let (run, layer) = self.dpkg(&removed.stack, &["--force-depends", "--purge", &self.name()])?;
        let judge = self.judge(Step::Purge);
        self.findings.extend(judge.run(&run));
        self.record_run(Step::Purge, &run);
        if !run.success() {
            return Ok(false);
        }
        let purged = State::of(removed.stack.on(&layer), Some(layer))?;
        self.findings.extend(judge.purged(ground, &purged, &[installed, removed, &purged])?);

        let (run, layer) = self.dpkg(&purged.stack, &["--install", &self.deb.inside])?;
        let judge = self.judge(Step::InstallAgain);
        self.findings.extend(judge.run(&run));
        self.record_run(Step::InstallAgain, &run);
        if run.success() {
            let again = State::of(purged.stack.on(&layer), Some(layer))?;
            self.findings.extend(judge.repeated(ground, installed, &again, &[removed, &purged, &again])?);
        }
        Ok(true)
    }

    /// The package removed, and all that was installed for it, too.
    fn without_needs(&mut self, removed: &State, needed: &[String]) -> Result<Option<State>> {
        if needed.is_empty() {
            return Ok(None);
        }
        let mut arguments = vec!["--force-depends", "--remove"];
        arguments.extend(needed.iter().map(String::as_str));
        // when one of them cannot be removed, that is not the fault of this package
        let (_, layer) = self.dpkg(&removed.stack, &arguments)?;
        State::of(removed.stack.on(&layer), Some(layer)).map(Some)
    }

    /// Runs what others still run of it.
    fn jobs(&mut self, resolver: &mut Resolver<'_>, removed: &State) -> Result<()> {
        for job in jobs::of(removed, &self.deb.name, &self.deb.architecture)? {
            let mut stack = removed.stack.clone();
            if job.logrotate && removed.view.kind(jobs::LOGROTATE_PROGRAM)?.is_none() {
                match resolver.package("logrotate")? {
                    // below all others, so that it brings no records with it
                    Ok(logrotate) => stack = stack.above(&self.room.template, &logrotate.layer),
                    Err(why) => {
                        log::warn!("'{}' is not tried, since there is no logrotate: {why}", job.path);
                        continue;
                    }
                }
                if stack.view()?.kind(jobs::LOGROTATE_PROGRAM)?.is_none() {
                    continue;
                }
            }
            let layer = Layer::new(self.room.scratch, &stack)?;
            let (code, output) = self.room.dpkg.try_command(&stack, &layer, &job.command())?;
            if let Some(failure) = job.failure(code, &output) {
                self.findings.push(self.judge(Step::Remove).finding(Kind::JobFails, failure).at(job.path));
            }
        }
        Ok(())
    }

    /// What a package needs may be gone before it is purged.
    fn purge_alone(
        &mut self,
        ground: &State,
        installed: &State,
        removed: &State,
        alone: &State,
    ) -> Result<()> {
        const WHEN: &str = "when all that the package needs was removed before";
        let (run, layer) = self.dpkg(&alone.stack, &["--force-depends", "--purge", &self.name()])?;
        let judge = self.judge(Step::Purge);
        if !run.success() {
            self.findings.extend(judge.run(&run).into_iter().map(|mut finding| {
                finding.detail = format!("{WHEN}: {}", finding.detail);
                finding
            }));
            return Ok(());
        }
        let purged = State::of(alone.stack.on(&layer), Some(layer))?;
        for mut finding in judge.purged(ground, &purged, &[installed, removed, alone, &purged])? {
            // what others have done when they were removed is theirs
            let Some(path) = finding.path.as_ref().filter(|_| finding.kind == Kind::FileLeft) else {
                continue;
            };
            if removed.view.kind(path)?.is_some() || alone.view.kind(path)?.is_none() {
                finding.detail = format!("{} {WHEN}", finding.detail);
                self.findings.push(finding);
            }
        }
        Ok(())
    }

    /// From the file of an older version, else from the one that the template has.
    fn upgrade(&mut self, bottom: &Stack, ground: &State, older: Option<&LocalDeb>) -> Result<()> {
        let old = match older {
            Some(older) => {
                let (run, layer) = self.dpkg(&ground.stack, &["--install", &older.inside])?;
                if !run.success() {
                    let why = format!("version {} cannot be installed", older.version);
                    self.skip(Step::Upgrade, &why);
                    return Ok(());
                }
                State::of(ground.stack.on(&layer), Some(layer))?
            }
            None => {
                // what was purged to make the ground is what the template has
                let status = bottom.view()?.text("/var/lib/dpkg/status")?;
                let there =
                    Status::parse(&status, "", "").installed(&self.deb.name).map(|p| p.version.clone());
                match there {
                    Some(version) if compare_versions(&version, &self.deb.version).is_lt() => {
                        State::of(bottom.clone(), None)?
                    }
                    _ => {
                        self.skip(Step::Upgrade, "there is no older version");
                        return Ok(());
                    }
                }
            }
        };
        let judge = self.judge(Step::Upgrade);
        let (run, layer) = self.install(&old.stack)?;
        self.findings.extend(judge.run(&run));
        self.record_run(Step::Upgrade, &run);
        if !run.success() {
            return Ok(());
        }
        let upgraded = State::of(old.stack.on(&layer), Some(layer))?;
        self.findings.extend(judge.own(&old, &upgraded, &run)?);
        let (run, layer) = self.dpkg(&upgraded.stack, &["--force-depends", "--purge", &self.name()])?;
        self.findings.extend(judge.run(&run));
        if run.success() {
            let purged = State::of(upgraded.stack.on(&layer), Some(layer))?;
            self.findings.extend(judge.purged(ground, &purged, &[ground, &old, &upgraded, &purged])?);
        }
        Ok(())
    }

    /// For removals: there may be the same for another architecture.
    fn name(&self) -> String {
        qualified(&self.deb.name, &self.deb.architecture)
    }

    /// The package on a system, where its files are then compared with what it says of them.
    fn install(&mut self, stack: &Stack) -> Result<(Run, Arc<Layer>)> {
        let name = self.name();
        self.call(stack, &["--install", &self.deb.inside], &name)
    }

    fn dpkg(&mut self, stack: &Stack, arguments: &[&str]) -> Result<(Run, Arc<Layer>)> {
        self.call(stack, arguments, "")
    }

    fn call(&mut self, stack: &Stack, arguments: &[&str], verify: &str) -> Result<(Run, Arc<Layer>)> {
        let layer = Layer::new(self.room.scratch, stack)?;
        let known: Vec<&str> = self.running.iter().map(String::as_str).collect();
        let call = Call { arguments, known: &known, verify };
        let run = self.room.dpkg.run(stack, &layer, &call)?;
        self.running.extend(run.processes.iter().cloned());
        log::debug!("dpkg {}: exit {}\n{}", arguments.join(" "), run.code, run.output);
        Ok((run, Arc::new(layer)))
    }

    fn judge(&self, step: Step) -> Judge {
        judge::Judge {
            package: self.deb.name.clone(),
            architecture: self.deb.architecture.clone(),
            step,
            audit: self.room.audit.clone(),
            limit: self.room.dpkg.limit,
        }
    }

    fn record_run(&mut self, step: Step, run: &Run) {
        self.record(step, if run.success() { Outcome::Ok } else { Outcome::Failed }, run.seconds);
    }

    fn record(&mut self, step: Step, outcome: Outcome, seconds: f64) {
        let seconds = (seconds * 1000.0).round() / 1000.0;
        self.steps.push(StepReport { step, outcome, seconds, detail: None });
    }

    fn skip(&mut self, step: Step, why: &str) {
        let detail = Some(why.to_owned());
        self.steps.push(StepReport { step, outcome: Outcome::Skipped, seconds: 0.0, detail });
    }
}

fn join<T>(beside: thread::ScopedJoinHandle<'_, T>) -> T {
    beside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn qualified(name: &str, architecture: &str) -> String {
    match architecture {
        "all" | "" => name.to_owned(),
        _ => format!("{name}:{architecture}"),
    }
}
