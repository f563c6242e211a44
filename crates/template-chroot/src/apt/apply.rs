// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Doing what was planned

use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::action::{Action, Mark, Operation};
use super::lists::FETCHING;
use super::plan::Plan;
use super::simulate::{Progress, Uri, failed_packages, reasons};
use super::status::Status;
use super::transaction::{Event, Heard, Transaction};
use super::wanted::Wanted;
use crate::error::{ChrootError, Result};
use crate::leftovers::{self, Leftover};
use crate::sandbox::{Root, STATUS_FD};

/// What was done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Of this document's format.
    pub version: u32,
    /// Of the plan that was applied.
    pub plan_digest: String,
    /// Everything was as asked for already.
    pub nothing_to_do: bool,
    /// The changes.
    pub actions: Vec<Action>,
    /// Changes of what counts as asked for.
    pub marks: Vec<Mark>,
    /// It was done before: nothing was installed this time.
    #[serde(default)]
    pub reused: bool,
    /// In bytes.
    pub downloaded: u64,
    /// What removed packages have left.
    #[serde(default)]
    pub leftovers: Vec<Leftover>,
    /// How many packages are installed now.
    pub packages: usize,
    /// Over package names, versions, states and marks, now.
    pub state_digest: String,
    /// How long it took.
    pub seconds: Times,
}

/// Seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Times {
    /// Refreshing package lists.
    pub refresh: f64,
    /// Fetching packages.
    pub fetch: f64,
    /// The transaction itself.
    pub install: f64,
    /// Checking the result.
    pub verify: f64,
}

impl Transaction<'_> {
    /// Does what was planned, if it still is what would be planned now. Not atomic: after an error the tree is to be
    /// thrown away.
    pub fn apply(&mut self, plan: &Plan) -> Result<Report> {
        plan.ensure_allowed()?;
        let (status, complaints) = self.read_status()?;
        let uris = self.confirm(plan, &status)?;
        let wanted = self.wanted(&status);
        let mut seconds = Times { refresh: self.refresh_time.as_secs_f64(), ..Times::default() };
        let mut downloaded = 0;
        let removed: Vec<(&str, &str)> = plan
            .actions
            .iter()
            .filter(|a| a.operation == Operation::Remove)
            .map(|a| (a.package.as_str(), a.architecture.as_str()))
            .collect();
        // what is a package's, only its records tell, and they go with it
        let gone = match removed.is_empty() {
            true => Vec::new(),
            false => self.look(|tree| leftovers::note(tree, &removed))?,
        };
        if !plan.nothing_to_do {
            let begin = Instant::now();
            if !plan.actions.is_empty() && uris.iter().any(Uri::remote) {
                self.fetch(&wanted, plan)?;
                downloaded = plan.download_size;
            }
            seconds.fetch = begin.elapsed().as_secs_f64();
            let begin = Instant::now();
            self.install(&wanted, plan)?;
            seconds.install = begin.elapsed().as_secs_f64();
        }
        (self.sink)(Event::Step("checking the result"));
        let begin = Instant::now();
        let (status, audit) = self.read_status()?;
        // what was wrong with the template before is not this run's
        verify(plan, &status, if audit == complaints { "" } else { &audit })?;
        let leftovers = match gone.is_empty() {
            true => Vec::new(),
            false => self.look(|tree| leftovers::find(tree, &gone))?,
        };
        seconds.verify = begin.elapsed().as_secs_f64();
        Ok(Report {
            version: 1,
            plan_digest: plan.digest.clone(),
            nothing_to_do: plan.nothing_to_do,
            actions: plan.actions.clone(),
            marks: plan.marks.clone(),
            reused: false,
            downloaded,
            leftovers,
            packages: status.packages.iter().filter(|p| p.installed()).count(),
            state_digest: status.digest(),
            seconds,
        })
    }

    /// Takes a tree in place of doing what was planned, if it is what came of that before; else nothing.
    pub fn take_result(&mut self, root: Root, plan: &Plan, report: &Report) -> Result<Option<Report>> {
        plan.ensure_allowed()?;
        (self.sink)(Event::Step("checking the result that is there"));
        let begin = Instant::now();
        let before = std::mem::replace(&mut self.root, root);
        self.status = None;
        let status = self.read_status();
        let same = status.as_ref().is_ok_and(|(status, _)| status.digest() == report.state_digest);
        if !same || report.plan_digest != plan.digest {
            self.root = before;
            // that it could not be read says nothing of it
            return status.map(|_| None);
        }
        let verify = begin.elapsed().as_secs_f64();
        let seconds = Times { refresh: self.refresh_time.as_secs_f64(), verify, ..Times::default() };
        // who asked, and where it is from, is of this time
        let actions = plan.actions.clone();
        Ok(Some(Report { reused: true, downloaded: 0, actions, seconds, ..report.clone() }))
    }

    /// Makes sure that the plan is what would be planned now; returns what there is to fetch.
    fn confirm(&mut self, plan: &Plan, status: &Status) -> Result<Vec<Uri>> {
        // the lists are ours alone, so with the same packages installed the outcome is the same
        let planned = self
            .planned
            .as_ref()
            .filter(|(p, _)| p.digest == plan.digest && p.base.digest == status.digest());
        if let Some((_, uris)) = planned {
            return Ok(uris.clone());
        }
        let now = self.plan()?;
        now.ensure_allowed()?;
        plan.ensure_same(&now)?;
        Ok(self.planned.as_ref().map(|(_, uris)| uris.clone()).unwrap_or_default())
    }

    fn fetch(&mut self, wanted: &Wanted, plan: &Plan) -> Result<()> {
        (self.sink)(Event::Step(FETCHING));
        self.prepare_access()?;
        let mut argv = vec!["apt-get".to_owned()];
        argv.extend(self.options("all", true));
        argv.extend(self.real_arguments(wanted, plan, true));
        let sandbox = self.sandbox(true);
        let heard = self.listen(&sandbox, &argv)?;
        if heard.captured.exit.success() {
            return Ok(());
        }
        Err(self.fetch_error(FETCHING, &heard.captured))
    }

    /// The transaction: marks, then one run of apt-get.
    fn install(&mut self, wanted: &Wanted, plan: &Plan) -> Result<()> {
        (self.sink)(Event::Step("installing packages"));
        // before anything is removed, not only what is marked in the end
        let mut script = String::from("set -e\n");
        for (verb, names) in [("auto", &wanted.mark_auto), ("manual", &wanted.mark_manual)] {
            if !names.is_empty() {
                let mut argv = vec!["apt-mark".to_owned()];
                argv.extend(self.options("all", false));
                argv.push(verb.to_owned());
                argv.extend(names.iter().cloned());
                script.push_str(&shell_line(&argv));
            }
        }
        if !plan.actions.is_empty() {
            script.push_str("exec apt-get \"$@\"\n");
        }
        let mut argv = vec!["sh".to_owned(), "-c".to_owned(), script, "sh".to_owned()];
        argv.extend(self.real_arguments(wanted, plan, false));
        let sandbox = self.sandbox(false);
        let heard = self.listen(&sandbox, &argv)?;
        if heard.captured.exit.success() {
            return Ok(());
        }
        Err(package_error(&heard))
    }

    fn real_arguments(&self, wanted: &Wanted, plan: &Plan, download_only: bool) -> Vec<String> {
        let mut arguments = self.install_arguments(wanted);
        if plan.actions.iter().any(|a| a.operation == Operation::Downgrade) {
            arguments.push("--allow-downgrades".to_owned());
        }
        let mut options = vec![
            format!("APT::Status-Fd={STATUS_FD}"),
            "DPkg::Options::=--force-confdef".to_owned(),
            "DPkg::Options::=--force-confold".to_owned(),
        ];
        if self.request.unsafe_io {
            options.push("DPkg::Options::=--force-unsafe-io".to_owned());
        }
        arguments.extend(options.into_iter().flat_map(|option| ["-o".to_owned(), option]));
        if download_only {
            arguments.push("--download-only".to_owned());
        }
        arguments.push("install".to_owned());
        arguments.extend(wanted.arguments.iter().cloned());
        arguments
    }
}

/// Checks from dpkg's own records that all is as planned.
fn verify(plan: &Plan, status: &Status, audit: &str) -> Result<()> {
    let failed = |package: &str, what: String| {
        Err(ChrootError::PackageFailed {
            package: Some(package.to_owned()),
            message: format!("'{package}': {what}"),
        })
    };
    for action in &plan.actions {
        let name = &action.package;
        let found = status.get(&format!("{name}:{}", action.architecture)).filter(|p| {
            // `get` also finds a package that was of no architecture and now is
            p.architecture == action.architecture || action.operation != Operation::Remove
        });
        match (found, &action.new_version) {
            (None, None) => {}
            (Some(package), None) => return failed(name, format!("is not removed: '{}'", package.status)),
            (None, Some(_)) => return failed(name, "is not installed".to_owned()),
            (Some(package), Some(version)) => {
                if !package.installed() {
                    return failed(name, format!("is not installed properly: '{}'", package.status));
                }
                if package.version != *version {
                    return failed(
                        name,
                        format!("is installed in version {}, planned was {version}", package.version),
                    );
                }
            }
        }
    }
    if !audit.is_empty() {
        return Err(ChrootError::PackageFailed {
            package: None,
            message: format!("dpkg --audit complains: {audit}"),
        });
    }
    Ok(())
}

/// What failed, in whose words.
fn package_error(heard: &Heard) -> ChrootError {
    let errors = heard.captured.errors();
    let mut named = failed_packages(&errors);
    for failure in &heard.failures {
        if let Progress::Failed { package, .. } = failure {
            let package = package.rsplit('/').next().unwrap_or(package);
            let package = package.split([':', '_']).next().unwrap_or(package).to_owned();
            if !package.is_empty() && !named.contains(&package) {
                named.push(package);
            }
        }
    }
    let mut message = match (named.as_slice(), heard.captured.exit.signal) {
        (_, Some(signal)) => format!("the package manager was killed by signal {signal}"),
        ([], None) => format!("installing packages: {}", reasons(&heard.captured.text(), &errors)),
        ([one], None) => format!("'{one}' failed"),
        (several, None) => {
            let quoted: Vec<String> = several.iter().map(|name| format!("'{name}'")).collect();
            format!("{} failed", quoted.join(", "))
        }
    };
    if !heard.tail.is_empty() {
        message.push_str("; the end of its output:");
        heard.tail.iter().for_each(|line| message.push_str(&format!("\n  {line}")));
    }
    ChrootError::PackageFailed { package: named.into_iter().next(), message }
}

/// A command for sh, each word quoted.
fn shell_line(argv: &[String]) -> String {
    let words: Vec<String> = argv.iter().map(|a| format!("'{}'", a.replace('\'', "'\\''"))).collect();
    words.join(" ") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::{Captured, Exit};

    fn action(operation: Operation, package: &str, version: Option<&str>) -> Action {
        let new_version = version.map(str::to_owned);
        Action { old_version: None, new_version, ..Action::example(operation, package) }
    }

    #[test]
    fn results_are_verified() {
        let status = Status::parse(
            "Package: good\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\n\n\
             Package: half\nStatus: install ok half-configured\nArchitecture: amd64\nVersion: 1\n\n\
             Package: rest\nStatus: deinstall ok config-files\nArchitecture: amd64\nVersion: 1\n",
            "",
            "amd64",
        );
        let table = [
            (action(Operation::Install, "good", Some("1")), None),
            (
                action(Operation::Install, "good", Some("2")),
                Some("'good': is installed in version 1, planned was 2"),
            ),
            (
                action(Operation::Install, "half", Some("1")),
                Some("'half': is not installed properly: 'install ok half-configured'"),
            ),
            (action(Operation::Install, "absent", Some("1")), Some("'absent': is not installed")),
            (action(Operation::Remove, "absent", None), None),
            (
                action(Operation::Remove, "rest", None),
                Some("'rest': is not removed: 'deinstall ok config-files'"),
            ),
            (action(Operation::Remove, "good", None), Some("'good': is not removed: 'install ok installed'")),
        ];
        for (action, expected) in table {
            let plan = Plan::new(&status, vec![action], vec![], 0, vec![], vec![]);
            let got = verify(&plan, &status, "").err().map(|e| e.to_string());
            assert_eq!(got.as_deref(), expected);
        }
        let empty = Plan::new(&status, vec![], vec![], 0, vec![], vec![]);
        assert_eq!(verify(&empty, &status, "half is half").unwrap_err().exit_code(), 6);
    }

    #[test]
    fn failures_name_the_package_and_quote_it() {
        let heard = Heard {
            captured: Captured {
                exit: Exit { code: 100, signal: None },
                stdout: Vec::new(),
                stderr: b"dpkg: error processing package bad (--configure):\n".to_vec(),
            },
            failures: vec![Progress::Failed { package: "bad".into(), message: String::new() }],
            tail: vec!["Setting up bad (1.0) ...".into(), "I shall fail".into()],
        };
        let error = package_error(&heard);
        let text = error.to_string();
        assert!(text.starts_with("'bad' failed; ") && text.ends_with("\n  I shall fail"), "{text}");
        assert!(matches!(error, ChrootError::PackageFailed { package: Some(p), .. } if p == "bad"));
    }

    #[test]
    fn shell_words_are_quoted() {
        assert_eq!(shell_line(&["a".into(), "b'c d".into()]), "'a' 'b'\\''c d'\n");
    }
}
