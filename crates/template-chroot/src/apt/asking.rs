// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Asking apt
//!
//! apt simulates, with marks in a file of our own, and says where archives are.

use std::collections::BTreeSet;

use super::debs::LocalDeb;
use super::failure::wrong_sources;
use super::relations::{self, Subject};
use super::request::Add;
use super::simulate::{Change, Uri, parse_simulation, parse_uris, reasons, virtual_packages};
use super::status::{Package, Status};
use super::suites::{self, Distribution, Release};
use super::transaction::{LISTS, Transaction};
use super::wanted::Wanted;
use crate::error::{ChrootError, Result};
use crate::sandbox::OWN_DIR;

const URIS: &str = "@@ uris";
const RELEASES: &str = "@@ releases";
const SETTINGS: &str = "@@ settings";

/// What apt calls the origin of a package file.
const LOCAL: &str = "local-deb";

/// What apt would do.
#[derive(Debug, Default)]
pub(super) struct Simulated {
    pub changes: Vec<Change>,
    pub uris: Vec<Uri>,
    pub distribution: Distribution,
    pub releases: Vec<Release>,
}

impl Transaction<'_> {
    /// Asks it.
    pub(super) fn simulate(&mut self, status: &Status, wanted: &Wanted) -> Result<Simulated> {
        if wanted.arguments.is_empty() && !self.request.auto_remove {
            return Ok(Simulated::default());
        }
        if let Some(found) = self.simulate_files(status, wanted)? {
            return Ok(found);
        }
        let simulate = format!("apt-get --simulate \"$@\" || exit; {}", print_releases());
        let text = self.ask(&simulate, status, wanted)?;
        let (simulation, releases) = text.split_once(RELEASES).unwrap_or((&text, ""));
        let changes = parse_simulation(simulation);
        let (distribution, releases) = suites::parse(releases);
        let uris = self.uris(&changes, status, wanted)?;
        Ok(Simulated { changes, uris, distribution, releases })
    }

    /// For package files that need nothing else: what apt does with them does not depend on lists of other packages. Nothing if
    /// they may need something, or if it is not certain.
    fn simulate_files(&mut self, status: &Status, wanted: &Wanted) -> Result<Option<Simulated>> {
        let request = &self.request;
        let files_alone = request.add.iter().all(|add| matches!(add, Add::Deb(_))) && !self.debs.is_empty();
        if !files_alone || request.auto_remove || !self.need_nothing(status, &["depends", "pre-depends"]) {
            return Ok(None);
        }
        let removed = request.remove.iter().map(|name| name.split(':').next().unwrap_or(name));
        let names: BTreeSet<String> =
            self.debs.iter().map(|deb| deb.name.clone()).chain(removed.map(str::to_owned)).collect();
        self.in_excerpt = self.make_excerpt(&names.iter().map(String::as_str).collect())?;
        if !self.in_excerpt {
            return Ok(None);
        }
        let simulate = format!(
            "apt-get --simulate \"$@\" || exit; {}\necho '{SETTINGS}'; {}",
            print_releases(),
            "apt-config dump --format '%f=%v%n' APT::Install-Recommends APT::Install-Suggests"
        );
        // if it fails, it is the answer to the question as a whole that counts
        let text = self.ask(&simulate, status, wanted).unwrap_or_default();
        let (simulation, rest) = text.split_once(RELEASES).unwrap_or_default();
        let (releases, settings) = rest.split_once(SETTINGS).unwrap_or_default();
        let is_set = |name: &str, default: bool| {
            let value = settings.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            value.map_or(default, |value| !["0", "no", "false", "off"].contains(&value.trim_matches('"')))
        };
        let recommends = !self.request.no_recommends && is_set("APT::Install-Recommends", true);
        let more: Vec<&str> =
            [(recommends, "recommends"), (is_set("APT::Install-Suggests", false), "suggests")]
                .into_iter()
                .filter_map(|(is_on, field)| is_on.then_some(field))
                .collect();
        let changes = parse_simulation(simulation);
        let is_asked_for = |change: &Change| match &change.new {
            Some(version) => {
                change.origin == LOCAL
                    && self.debs.iter().any(|deb| deb.name == change.package && deb.version == *version)
            }
            None => self.request.remove.iter().any(|name| name.split(':').next() == Some(&change.package)),
        };
        let certain = text.contains(SETTINGS) && changes.iter().all(is_asked_for);
        if !certain || !self.need_nothing(status, &more) {
            self.in_excerpt = false;
            return Ok(None);
        }
        let (distribution, releases) = suites::parse(releases);
        Ok(Some(Simulated { changes, uris: Vec::new(), distribution, releases }))
    }

    /// Whether the package files have all that these fields want, from each other and from what is installed and stays.
    fn need_nothing(&self, status: &Status, fields: &[&str]) -> bool {
        let native = |architecture: &str| architecture == status.architecture || architecture == "all";
        let stays = |p: &&Package| {
            let qualified = status.qualified(&p.name, &p.architecture);
            let named = |name: &String| *name == p.name || *name == qualified;
            let replaced = self.debs.iter().any(|deb| deb.name == p.name);
            p.installed() && native(&p.architecture) && !replaced && !self.request.remove.iter().any(named)
        };
        let field = |deb: &'_ LocalDeb, name: &str| deb.fields.get(name).cloned().unwrap_or_default();
        let provided: Vec<String> = self.debs.iter().map(|deb| field(deb, "provides")).collect();
        let files = self.debs.iter().zip(&provided).filter(|(deb, _)| native(&deb.architecture));
        let files = files.map(|(deb, provides)| Subject { name: &deb.name, version: &deb.version, provides });
        let there: Vec<Subject<'_>> =
            status.packages.iter().filter(stays).map(Package::subject).chain(files).collect();
        self.debs.iter().all(|deb| fields.iter().all(|name| relations::are_met(&field(deb, name), &there)))
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
}

/// The script that prints what the releases say of themselves, all of them.
fn print_releases() -> String {
    format!("echo '{RELEASES}'; LISTS={OWN_DIR}/apt/{LISTS}\n{}", suites::PRINT)
}

fn not_solvable(reasons: &str, virtual_packages: &[(String, Vec<String>)], refreshed: bool) -> ChrootError {
    let unknown = ["Unable to locate package", "has no installation candidate", "was not found"];
    let hint = match refreshed {
        true => {
            "check the name, or name a repository that has it: a folder with --repo, or package sources with --sources"
        }
        false => {
            "check the name, refresh the package lists with --update all, or name a repository folder that has it with --repo"
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
