// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # What a request means for a tree
//!
//! What is there already is not asked of apt, so that it is not upgraded; and a name that nobody knows is a mistake.

use std::collections::BTreeSet;

use template_bundle::versions::compare_versions;

use super::plan::Kept;
use super::relations;
use super::request::Add;
use super::status::Status;
use super::transaction::Transaction;
use crate::error::{ChrootError, Result};

/// What the request means for the tree as it is.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    /// For `apt-get install`.
    pub arguments: Vec<String>,
    pub reinstall: bool,
    pub mark_auto: BTreeSet<String>,
    pub mark_manual: BTreeSet<String>,
    /// What is there already.
    pub keep: Vec<Kept>,
    /// To be removed, but not there.
    pub absent: Vec<String>,
}

impl Transaction<'_> {
    /// What to ask apt for. What is as it should be is not named, so that it is not upgraded.
    pub(super) fn wanted(&self, status: &Status) -> Wanted {
        let mut wanted = Wanted::default();
        let mut debs = self.debs.iter();
        for add in &self.request.add {
            match add {
                Add::Package { name, version } => {
                    let installed = status.installed(name);
                    let again = self.request.reinstall.contains(name);
                    let fits = installed.is_some_and(|p| match version {
                        Some(version) => compare_versions(&p.version, version).is_eq(),
                        None => !self.request.allow_upgrade.contains(name),
                    });
                    if let Some(package) = installed.filter(|_| fits && !again) {
                        if package.auto {
                            wanted.mark_manual.insert(status.mark_name(package));
                        }
                        wanted.keep.push(Kept {
                            package: name.clone(),
                            version: package.version.clone(),
                            provided_by: None,
                        });
                        continue;
                    }
                    let provider = self.provided.get(name).and_then(|provider| status.installed(provider));
                    if let (None, Some(provider)) = (version, provider) {
                        wanted.keep.push(Kept {
                            package: name.clone(),
                            version: provider.version.clone(),
                            provided_by: Some(provider.name.clone()),
                        });
                        continue;
                    }
                    wanted.reinstall |= fits && again;
                    wanted.arguments.push(match version {
                        Some(version) => format!("{name}={version}"),
                        None => name.clone(),
                    });
                }
                Add::Deb(_) => {
                    if let Some(deb) = debs.next() {
                        wanted.reinstall |= status
                            .installed(&deb.name)
                            .is_some_and(|p| compare_versions(&p.version, &deb.version).is_eq());
                        wanted.arguments.push(deb.inside.clone());
                    }
                }
            }
        }
        for name in &self.request.remove {
            if status.get(name).is_some() {
                wanted.arguments.push(format!("{name}-"));
            } else {
                wanted.absent.push(name.clone());
            }
        }
        for name in &self.request.mark_auto {
            if let Some(package) = status.installed(name).filter(|p| !p.auto) {
                wanted.mark_auto.insert(status.mark_name(package));
            }
        }
        wanted
    }

    /// Finds what was asked for that no package is named, but an installed one provides.
    pub(super) fn find_provided(&mut self, status: &Status) -> Result<()> {
        let mut candidates = Vec::new();
        for add in &self.request.add {
            if let Add::Package { name, version: None } = add
                && status.installed(name).is_none()
                && let Some(provider) =
                    status.packages.iter().find(|p| p.installed() && relations::provides(&p.subject(), name))
            {
                candidates.push((name.clone(), provider.name.clone()));
            }
        }
        if candidates.is_empty() {
            return Ok(());
        }
        // a real package of that name is meant when there is one
        let mut argv = vec!["apt-cache".to_owned()];
        argv.extend(self.options("all", false));
        argv.push("policy".to_owned());
        argv.extend(candidates.iter().map(|(name, _)| name.clone()));
        let policy = self.sandbox(false).capture(&argv)?.text();
        candidates.retain(|(name, _)| {
            let mut lines = policy.lines().skip_while(|line| line.strip_suffix(':') != Some(name));
            lines.nth(2).is_none_or(|candidate| candidate.trim() == "Candidate: (none)")
        });
        self.provided = candidates.into_iter().collect();
        Ok(())
    }

    /// What is not installed need not be removed; but a name that nobody knows is a mistake.
    pub(super) fn ensure_known(&self, names: &[String]) -> Result<()> {
        if names.is_empty() {
            return Ok(());
        }
        let mut argv = vec!["apt-cache".to_owned()];
        argv.extend(self.options("all", false));
        argv.push("policy".to_owned());
        argv.extend(names.iter().cloned());
        let policy = self.sandbox(false).capture(&argv)?.text();
        let unknown: Vec<String> = names
            .iter()
            .filter(|name| !policy.lines().any(|line| line.strip_suffix(':') == Some(name.as_str())))
            .map(|name| format!("'{name}'"))
            .collect();
        if unknown.is_empty() {
            return Ok(());
        }
        Err(ChrootError::NotSolvable {
            message: format!(
                "removing {}: neither the template nor its repositories have such a package",
                unknown.join(", ")
            ),
            hint: Some("check the name; --update all refreshes the package lists".to_owned()),
        })
    }

    /// Arguments of `apt-get`, the same for the simulation and the real run.
    pub(super) fn install_arguments(&self, wanted: &Wanted) -> Vec<String> {
        let mut arguments = self.options("all", false);
        // a hold is against upgrades that nobody asked for, and those are refused by policy
        arguments.extend(["--assume-yes", "--purge", "--allow-change-held-packages"].map(str::to_owned));
        if wanted.reinstall {
            arguments.push("--reinstall".to_owned());
        }
        if self.request.no_recommends {
            arguments.push("--no-install-recommends".to_owned());
        }
        if self.request.auto_remove {
            arguments.extend(
                [
                    "--auto-remove",
                    "-o",
                    "APT::AutoRemove::RecommendsImportant=0",
                    "-o",
                    "APT::AutoRemove::SuggestsImportant=0",
                ]
                .map(str::to_owned),
            );
        }
        arguments
    }
}
