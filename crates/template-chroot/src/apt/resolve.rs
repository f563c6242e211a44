// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # From a request to a plan
//!
//! apt simulates, with marks in a file of our own; what comes out is classified and judged.

use std::collections::{BTreeMap, BTreeSet};

use template_bundle::versions::compare_versions;

use super::causes::{self, Incoming};
use super::debs::LocalDeb;
use super::failure::wrong_sources;
use super::plan::{Action, AskedBy, Mark, Operation, Origin, Plan};
use super::policy;
use super::request::Add;
use super::simulate::{Change, Uri, parse_simulation, parse_uris, reasons, virtual_packages};
use super::sources;
use super::status::{Stanza, Status, parse_stanzas};
use super::suites::{self, Distribution, Release};
use super::transaction::{Event, Transaction};
use super::wanted::Wanted;
use crate::error::{ChrootError, Refusal, Result};
use crate::sandbox::OWN_DIR;

const URIS: &str = "@@ uris";
const RELEASES: &str = "@@ releases";

/// What apt would do.
#[derive(Debug, Default)]
struct Simulated {
    changes: Vec<Change>,
    uris: Vec<Uri>,
    distribution: Distribution,
    releases: Vec<Release>,
}

impl Transaction<'_> {
    /// Computes what the transaction would do.
    pub fn plan(&mut self) -> Result<Plan> {
        (self.sink)(Event::Step("resolving"));
        self.forget_plan();
        let (status, _) = self.read_status()?;
        let refusals = policy::check_request(&self.request, &status);
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

    fn simulate(&mut self, status: &Status, wanted: &Wanted) -> Result<Simulated> {
        if wanted.arguments.is_empty() && !self.request.auto_remove {
            return Ok(Simulated::default());
        }
        let simulate = format!(
            "apt-get --simulate \"$@\" || exit; echo '{RELEASES}'; LISTS={OWN_DIR}/apt/lists\n{}",
            suites::PRINT
        );
        let text = self.ask(&simulate, status, wanted)?;
        let (simulation, releases) = text.split_once(RELEASES).unwrap_or((&text, ""));
        let changes = parse_simulation(simulation);
        let (distribution, releases) = suites::parse(releases);
        let uris = self.uris(&changes, status, wanted)?;
        Ok(Simulated { changes, uris, distribution, releases })
    }

    /// Where the archives of these changes are. Whatever apt is asked after that is about an excerpt of the lists, if it comes to
    /// the same changes by it.
    fn uris(&mut self, changes: &[Change], status: &Status, wanted: &Wanted) -> Result<Vec<Uri>> {
        if changes.is_empty() {
            return Ok(Vec::new());
        }
        let print = "apt-get --print-uris -o Acquire::ForceHash=SHA256 \"$@\"";
        let named = wanted.arguments.iter().map(|a| a.split(['=', ':']).next().unwrap_or_default());
        let named = named.map(|name| name.strip_suffix('-').unwrap_or(name));
        let names = changes.iter().map(|change| change.package.as_str()).chain(named);
        self.in_excerpt = self.make_excerpt(&names.collect())?;
        if self.in_excerpt {
            let both = format!("apt-get --simulate \"$@\" || exit; echo '{URIS}'; {print}");
            match self.ask(&both, status, wanted) {
                Ok(text) => {
                    let (simulation, uris) = text.split_once(URIS).unwrap_or((&text, ""));
                    if parse_simulation(simulation) == changes {
                        return Ok(parse_uris(uris));
                    }
                }
                Err(ChrootError::NotSolvable { .. }) => {}
                Err(other) => return Err(other),
            }
            log::debug!("an excerpt of the package lists leads elsewhere: they are used as a whole");
            self.in_excerpt = false;
        }
        Ok(parse_uris(&self.ask(print, status, wanted)?))
    }

    /// What a script prints that calls apt-get with the request.
    fn ask(&mut self, script: &str, status: &Status, wanted: &Wanted) -> Result<String> {
        let mut argv = ["sh", "-c", script, "sh"].map(str::to_owned).to_vec();
        argv.extend(self.install_arguments(wanted));
        // what apt would refuse we want to see, and refuse in our own words
        argv.extend(["--allow-downgrades", "--allow-remove-essential"].map(str::to_owned));
        argv.extend(["-o".to_owned(), format!("Dir::State::extended_states={OWN_DIR}/extended_states")]);
        argv.extend(["-o", "Debug::NoLocking=1", "install"].map(str::to_owned));
        argv.extend(wanted.arguments.iter().cloned());
        let states = status.extended_states(&wanted.mark_auto, &wanted.mark_manual);
        let captured = self.sandbox(false).own_file("extended_states", states).capture(&argv)?;
        let (stdout, stderr) = (captured.text(), captured.errors());
        if captured.exit.success() {
            return Ok(stdout);
        }
        log::debug!("apt says: {stdout}{stderr}");
        if captured.exit.signal.is_some() || captured.exit.code >= 128 {
            return Err(ChrootError::Internal(format!(
                "resolving packages: apt ended with status {}: is there enough memory?",
                captured.exit.code
            )));
        }
        if stderr.contains("No space left on device") {
            return Err(ChrootError::Internal(format!("resolving packages: {}", reasons("", &stderr))));
        }
        if let Some(error) = wrong_sources(&stderr, "resolving packages") {
            return Err(error);
        }
        let refreshed = self.sources.remote_refreshed;
        let simulation = stdout.split(URIS).next().unwrap_or_default();
        Err(not_solvable(&reasons(simulation, &stderr), &virtual_packages(simulation), refreshed))
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

fn not_solvable(reasons: &str, virtual_packages: &[(String, Vec<String>)], refreshed: bool) -> ChrootError {
    let unknown = ["Unable to locate package", "has no installation candidate", "was not found"];
    let hint = match refreshed {
        true => "name a repository that has it: a folder with --repo, or package sources with --sources",
        false => {
            "refresh the package lists with --update all, or name a repository folder that has it with --repo"
        }
    };
    let hint = unknown.iter().any(|text| reasons.contains(text)).then(|| hint.to_owned());
    // apt itself asks for a choice, with the same words as for what is not there at all
    let choices: Vec<String> = virtual_packages
        .iter()
        .map(|(name, by)| format!("'{name}' is no package: name one that provides it: {}", by.join(", ")))
        .collect();
    let hint = if choices.is_empty() { hint } else { Some(choices.join("; ")) };
    let reasons = if reasons.is_empty() { "apt gives no reason" } else { reasons };
    ChrootError::NotSolvable { message: format!("resolving packages: {reasons}"), hint }
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

    #[test]
    fn unknown_packages_get_a_hint() {
        assert!(
            not_solvable("Unable to locate package x", &[], false).hint().unwrap().contains("--update all")
        );
        assert!(!not_solvable("Unable to locate package x", &[], true).hint().unwrap().contains("--update"));
        assert!(not_solvable("a : Depends: b", &[], false).hint().is_none());
        let choice = [("mta".to_owned(), vec!["exim".to_owned(), "nullmailer".to_owned()])];
        let hint =
            not_solvable("Package 'mta' has no installation candidate", &choice, false).hint().unwrap();
        assert!(hint.ends_with("exim, nullmailer"), "{hint}");
    }
}
