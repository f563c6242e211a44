// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # From a request to a plan
//!
//! What apt would do is classified and judged.

use std::collections::{BTreeMap, BTreeSet};

use template_bundle::versions::compare_versions;

use super::action::{Action, AskedBy, Mark, Operation, Origin};
use super::asking::Simulated;
use super::causes::{self, Incoming};
use super::debs::LocalDeb;
use super::plan::Plan;
use super::policy;
use super::request::Add;
use super::simulate::{Change, Uri};
use super::sources;
use super::status::{Stanza, Status, parse_stanzas};
use super::transaction::{Event, Transaction};
use super::wanted::Wanted;
use crate::error::{ChrootError, Refusal, Result};
use crate::sandbox::OWN_DIR;

impl Transaction<'_> {
    /// Computes what the transaction would do.
    pub fn plan(&mut self) -> Result<Plan> {
        (self.sink)(Event::Step("resolving"));
        self.forget_plan();
        let (status, _) = self.read_status()?;
        let mut refusals = policy::check_request(&self.request, &status);
        // apt would only say that what they need is not there
        let wrong = |deb: &LocalDeb| policy::check_architecture(&deb.name, &deb.architecture, &status);
        refusals.extend(self.debs.iter().filter_map(wrong));
        if !refusals.is_empty() {
            return Ok(Plan::new(&status, vec![], vec![], 0, refusals, self.notes.clone()));
        }
        self.find_provided(&status)?;
        let wanted = self.wanted(&status);
        self.ensure_known(&wanted.absent)?;
        let Simulated { changes, uris, distribution, releases } = match self.simulate(&status, &wanted) {
            Err(e @ ChrootError::NotSolvable { .. }) => {
                let refusals = policy::check_needed(&self.request, &status);
                if refusals.is_empty() {
                    return Err(e);
                }
                return Ok(Plan::new(&status, vec![], vec![], 0, refusals, self.notes.clone()));
            }
            other => other?,
        };
        let uris = self.take_files(uris)?;
        let shown = self.show(&changes, &uris)?;
        let mut actions: Vec<Action> =
            changes.iter().map(|change| self.action(change, &status, &wanted, &uris, &shown)).collect();
        let incoming = self.incoming(&actions, &shown);
        causes::find(&mut actions, &incoming, &self.request, &status);
        let mut refusals = policy::check_actions(&actions, &self.request, &status);
        refusals.extend(policy::check_relations(&incoming, &actions, &status));
        if distribution.is_known(&releases, self.suites().iter().map(String::as_str)) {
            let foreign = changes.iter().filter(|c| c.new.is_some()).filter_map(|change| {
                Some((change.package.as_str(), distribution.foreign(&change.origin, &releases)?))
            });
            refusals.extend(policy::check_suites(foreign, &distribution.codename, &self.request));
        }
        let impact = self.impact(&actions, &status, &uris)?;
        refusals.extend(impact.refusals(&self.request.allow_orphaned_modules));
        refusals.extend(self.debs.iter().filter_map(|deb| not_the_file(deb, &actions)));
        let removed = |name: &String| {
            actions.iter().any(|a| {
                a.operation == Operation::Remove && status.qualified(&a.package, &a.architecture) == *name
            })
        };
        let mark = |names: &BTreeSet<String>, auto: bool| -> Vec<Mark> {
            names.iter().filter(|n| !removed(n)).map(|n| Mark { package: n.clone(), auto }).collect()
        };
        let mut marks = mark(&wanted.mark_auto, true);
        marks.extend(mark(&wanted.mark_manual, false));
        let download = uris.iter().filter(|u| u.remote()).map(|u| u.size).sum();
        let mut notes = self.notes.clone();
        notes.extend(wanted.absent.iter().map(|n| format!("'{n}' is not installed, so it is not removed")));
        notes.extend(self.note_conffiles(&actions, &status)?);
        notes.extend(self.note_diversions(&actions)?);
        notes.extend(impact.notes);
        let mut plan = Plan::new(&status, actions, marks, download, refusals, notes);
        plan.keep = wanted.keep;
        (plan.orphaned_modules, plan.affected) = (impact.orphaned, impact.affected);
        self.planned = Some((plan.clone(), uris));
        Ok(plan)
    }

    /// The suites that the tree's own sources name.
    fn suites(&self) -> Vec<String> {
        let all = self.sources.local.iter().chain(&self.sources.remote);
        all.filter(|file| !["folder-", "given-"].iter().any(|own| file.name.starts_with(own)))
            .flat_map(|file| sources::select(file, &|_| true).1)
            .map(|suite| suite.suite)
            .collect()
    }

    /// What comes, with its control file.
    fn incoming<'a>(
        &'a self,
        actions: &[Action],
        shown: &'a BTreeMap<(String, String), Stanza>,
    ) -> Vec<Incoming<'a>> {
        let fields = |action: &Action, version: &String| {
            let deb = self.debs.iter().find(|d| d.name == action.package && d.version == *version);
            deb.map(|d| &d.fields).or_else(|| shown.get(&(action.package.clone(), version.clone())))
        };
        let stanza =
            |action: &Action| action.new_version.as_ref().and_then(|version| fields(action, version));
        actions.iter().filter_map(|action| Incoming::of(stanza(action)?)).collect()
    }

    /// A file of the request is taken where apt would fetch the same file.
    fn take_files(&self, mut uris: Vec<Uri>) -> Result<Vec<Uri>> {
        // in the tree's own archive cache it would stay
        if self.request.keep_debs {
            return Ok(uris);
        }
        for uri in uris.iter_mut().filter(|uri| uri.remote()) {
            let Some(deb) = self.debs.iter().find(|deb| uri.sha256.as_ref() == Some(&deb.sha256)) else {
                continue;
            };
            // apt looks there first
            let (from, to) = (self.deb_path(deb), self.archive_path(&uri.file));
            match std::fs::hard_link(&from, &to) {
                Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
                    return Err(ChrootError::io("linking", &to, e));
                }
                _ => uri.uri = format!("file:{}", deb.inside),
            }
        }
        Ok(uris)
    }

    /// The file of the request that comes, if it is one.
    fn file_of(&self, change: &Change, uris: &[Uri]) -> Option<&LocalDeb> {
        let version = change.new.as_ref()?;
        let deb = self.debs.iter().find(|deb| deb.name == change.package && deb.version == *version)?;
        let is_taken = || uris.iter().any(|uri| uri.path().as_ref() == Some(&deb.inside));
        (change.origin == "local-deb" || is_taken()).then_some(deb)
    }

    /// What the repositories know of the new packages, by name and version.
    fn show(&mut self, changes: &[Change], uris: &[Uri]) -> Result<BTreeMap<(String, String), Stanza>> {
        let mut argv = vec!["apt-cache".to_owned()];
        argv.extend(self.options("all", false));
        argv.extend(["show", "--no-all-versions"].map(str::to_owned));
        let options = argv.len();
        for change in changes {
            if let (Some(version), None) = (&change.new, self.file_of(change, uris)) {
                let architecture = change.architecture.as_deref().filter(|a| *a != "all");
                let architecture = architecture.map(|a| format!(":{a}")).unwrap_or_default();
                argv.push(format!("{}{architecture}={version}", change.package));
            }
        }
        if argv.len() == options {
            return Ok(BTreeMap::new());
        }
        let captured = self.sandbox(false).capture(&argv)?;
        let key = |stanza: &Stanza| Some((stanza.get("package")?.clone(), stanza.get("version")?.clone()));
        Ok(parse_stanzas(&captured.text()).into_iter().filter_map(|s| Some((key(&s)?, s))).collect())
    }

    fn action(
        &self,
        change: &Change,
        status: &Status,
        wanted: &Wanted,
        uris: &[Uri],
        shown: &BTreeMap<(String, String), Stanza>,
    ) -> Action {
        let name = &change.package;
        let qualified = |a: &String| format!("{name}:{a}");
        let installed = status.get(&change.architecture.as_ref().map_or_else(|| name.clone(), qualified));
        let architecture = change
            .architecture
            .clone()
            .or_else(|| installed.map(|p| p.architecture.clone()))
            .unwrap_or_else(|| status.architecture.clone());
        let mut action = Action {
            operation: operation(change),
            package: name.clone(),
            architecture,
            old_version: change.old.clone(),
            new_version: change.new.clone(),
            asked_by: AskedBy::Request,
            due_to: Vec::new(),
            replaced_by: Vec::new(),
            self_built: false,
            origin: None,
            size: None,
            installed_size: None,
            sha256: None,
        };
        let Some(version) = &change.new else {
            let named = self.request.remove.iter().any(|n| n.split(':').next() == Some(name));
            let marked = |p| wanted.mark_auto.contains(&status.mark_name(p));
            let auto = installed.is_some_and(|p| p.auto || marked(p));
            action.asked_by = match (named, auto && self.request.auto_remove) {
                (true, _) => AskedBy::Request,
                (false, true) => AskedBy::AutoRemove,
                (false, false) => AskedBy::Consequence,
            };
            action.self_built = self
                .request
                .self_built
                .iter()
                .any(|built| built.package == *name && change.old.as_ref() == Some(&built.version));
            action.installed_size =
                installed.and_then(|p| p.installed_size).map(|kib| kib.saturating_mul(1024));
            return action;
        };
        let deb = self.debs.iter().find(|d| d.name == *name && d.version == *version);
        let named =
            |add: &Add| matches!(add, Add::Package { name: n, .. } if n.split(':').next() == Some(name));
        if deb.is_none() && !self.request.add.iter().any(named) {
            action.asked_by = AskedBy::Dependency;
        }
        if let Some(deb) = self.file_of(change, uris) {
            describe_deb(&mut action, deb);
            action.self_built = self.is_self_built(&action);
            return action;
        }
        if let Some(stanza) = shown.get(&(name.clone(), version.clone())) {
            let number = |field: &str| stanza.get(field).and_then(|v| v.parse::<u64>().ok());
            action.size = number("size");
            action.installed_size = number("installed-size").map(|kib| kib.saturating_mul(1024));
            action.sha256 = stanza.get("sha256").cloned();
        }
        let uri = uris.iter().find(|u| u.package().is_some_and(|(n, v)| n == *name && v == *version));
        action.origin = Some(self.origin(change, uri));
        action.self_built = self.is_self_built(&action);
        action
    }

    /// What comes from a folder of the request was built by somebody here.
    fn is_self_built(&self, action: &Action) -> bool {
        matches!(action.origin, Some(Origin::Folder { .. }))
            || action.sha256.is_some()
                && self.request.self_built.iter().any(|built| {
                    built.package == action.package && action.sha256.as_ref() == Some(&built.sha256)
                })
    }

    fn origin(&self, change: &Change, uri: Option<&Uri>) -> Origin {
        let folder = uri
            .and_then(|u| u.uri.strip_prefix(&format!("file:{OWN_DIR}/repo/")))
            .and_then(|rest| rest.split('/').next()?.parse::<usize>().ok())
            .and_then(|number| self.request.repos.get(number));
        match folder {
            Some(path) => Origin::Folder { path: path.clone() },
            None => Origin::Repository { label: change.origin.clone() },
        }
    }
}

/// apt takes files of the same version and the same dependencies for the same, and chooses one.
fn not_the_file(deb: &LocalDeb, actions: &[Action]) -> Option<Refusal> {
    let action =
        actions.iter().find(|a| a.package == deb.name && a.new_version.as_ref() == Some(&deb.version))?;
    if action.sha256.as_ref() == Some(&deb.sha256) {
        return None;
    }
    let from = action.origin.as_ref().map(|o| format!(" of {o}")).unwrap_or_default();
    Some(Refusal {
        package: deb.name.clone(),
        reason: format!(
            "apt would take another file{from} in place of '{}', which has the same version {}",
            deb.source.display(),
            deb.version
        ),
        way_out: "give the file a version of its own, or leave out the repository that has the other"
            .to_owned(),
    })
}

fn describe_deb(action: &mut Action, deb: &LocalDeb) {
    action.origin = Some(Origin::File { path: deb.source.clone() });
    action.size = Some(deb.size);
    action.installed_size = deb.installed_size.map(|kib| kib.saturating_mul(1024));
    action.sha256 = Some(deb.sha256.clone());
}

fn operation(change: &Change) -> Operation {
    match (&change.old, &change.new) {
        (_, None) => Operation::Remove,
        (None, Some(_)) => Operation::Install,
        (Some(old), Some(new)) => match compare_versions(old, new) {
            std::cmp::Ordering::Less => Operation::Upgrade,
            std::cmp::Ordering::Equal => Operation::Reinstall,
            std::cmp::Ordering::Greater => Operation::Downgrade,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_told_apart() {
        let change = |old: Option<&str>, new: Option<&str>| Change {
            package: "x".into(),
            architecture: None,
            old: old.map(str::to_owned),
            new: new.map(str::to_owned),
            origin: String::new(),
        };
        assert_eq!(operation(&change(None, Some("1"))), Operation::Install);
        assert_eq!(operation(&change(Some("1"), None)), Operation::Remove);
        assert_eq!(operation(&change(Some("1"), Some("1.0~"))), Operation::Upgrade);
        assert_eq!(operation(&change(Some("1"), Some("1~rc1"))), Operation::Downgrade);
        assert_eq!(operation(&change(Some("1"), Some("1"))), Operation::Reinstall);
    }
}
