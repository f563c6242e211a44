// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # The plan
//!
//! What a transaction would do, computed before anything is touched. Serialises to a JSON document of its own version;
//! its digest covers the state it starts from and every change, so the same digest means the same result.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::action::{Action, AskedBy, Mark, Operation};
use super::saved::{PlannedFor, SavedRequest, difference};
use super::status::Status;
use super::table::render_table;
use crate::error::{ChrootError, Refusal, Result};
use crate::impact::{Affected, OrphanedModule};

/// The version of the JSON document.
pub(super) const PLAN_VERSION: u32 = 1;

/// What a transaction would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// Of this document's format.
    pub version: u32,
    /// Identifies the state it starts from and all changes.
    pub digest: String,
    /// The template that it is for, where it is for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<PlannedFor>,
    /// What it is the answer to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<SavedRequest>,
    /// What it starts from.
    pub base: Base,
    /// Everything is as asked for already.
    pub nothing_to_do: bool,
    /// The changes, removals first.
    pub actions: Vec<Action>,
    /// What was asked for and is there already.
    #[serde(default)]
    pub keep: Vec<Kept>,
    /// How many of the installed packages stay as they are.
    #[serde(default)]
    pub kept: usize,
    /// Changes of what counts as asked for.
    pub marks: Vec<Mark>,
    /// In bytes, what is not in the archive cache yet.
    pub download_size: u64,
    /// In bytes, by what the packages say of themselves.
    pub installed_size_change: i64,
    /// Changes that policy does not allow; such a plan cannot be applied.
    pub refusals: Vec<Refusal>,
    /// Kernel modules whose kernel goes.
    #[serde(default)]
    pub orphaned_modules: Vec<OrphanedModule>,
    /// Self-built packages that link libraries which change.
    #[serde(default)]
    pub affected: Vec<Affected>,
    /// Worth knowing, but no obstacle.
    pub notes: Vec<String>,
}

/// A package that was asked for and stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Kept {
    /// As it was asked for.
    pub package: String,
    /// What is installed.
    pub version: String,
    /// The installed package that provides it, where it is none itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provided_by: Option<String>,
}

/// The state that a plan starts from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Base {
    /// Over package names, versions, states and marks.
    pub digest: String,
    /// How many packages are installed.
    pub packages: usize,
    /// dpkg's native architecture.
    pub architecture: String,
}

impl Plan {
    pub(crate) fn new(
        status: &Status,
        mut actions: Vec<Action>,
        marks: Vec<Mark>,
        download_size: u64,
        refusals: Vec<Refusal>,
        notes: Vec<String>,
    ) -> Self {
        actions.sort_by(|a, b| {
            (a.operation, &a.package, &a.architecture).cmp(&(b.operation, &b.package, &b.architecture))
        });
        let base = Base {
            digest: status.digest(),
            packages: status.packages.iter().filter(|p| p.installed()).count(),
            architecture: status.architecture.clone(),
        };
        let changed = actions
            .iter()
            .filter_map(|a| status.get(&format!("{}:{}", a.package, a.architecture)))
            .filter(|p| p.installed())
            .count();
        let installed_size_change = actions
            .iter()
            .map(|a| {
                let size = |bytes: Option<u64>| i64::try_from(bytes.unwrap_or(0)).unwrap_or(0);
                let old = status.get(&format!("{}:{}", a.package, a.architecture));
                let old = size(old.and_then(|p| p.installed_size).map(|kib| kib.saturating_mul(1024)));
                if a.operation == Operation::Remove {
                    -old
                } else {
                    size(a.installed_size).saturating_sub(old)
                }
            })
            .fold(0, i64::saturating_add);
        Self {
            version: PLAN_VERSION,
            digest: digest(&base, &actions, &marks),
            nothing_to_do: actions.is_empty() && marks.is_empty() && refusals.is_empty(),
            template: None,
            request: None,
            kept: base.packages.saturating_sub(changed),
            base,
            actions,
            keep: Vec::new(),
            marks,
            download_size,
            installed_size_change,
            refusals,
            orphaned_modules: Vec::new(),
            affected: Vec::new(),
            notes,
        }
    }

    /// Forgets a package, and all that goes.
    pub(super) fn leave_out(&mut self, package: &str) {
        self.actions.retain(|a| a.package != package && a.operation != Operation::Remove);
        self.marks.clear();
        self.nothing_to_do = self.actions.is_empty() && self.refusals.is_empty();
        self.digest = digest(&self.base, &self.actions, &self.marks);
    }

    /// An error if policy refuses any of it.
    pub fn ensure_allowed(&self) -> Result<()> {
        if self.refusals.is_empty() {
            return Ok(());
        }
        Err(ChrootError::PolicyRefused { refusals: self.refusals.clone() })
    }

    /// An error if `now`, planned just before it is done, is not this plan.
    pub fn ensure_same(&self, now: &Self) -> Result<()> {
        if self.version != PLAN_VERSION {
            return Err(ChrootError::usage(
                format!("the plan has format version {}, known is {PLAN_VERSION}", self.version),
                "make a new plan",
            ));
        }
        if self.digest == now.digest {
            return Ok(());
        }
        Err(ChrootError::PlanChanged { message: format!("the plan does not fit: {}", difference(self, now)) })
    }
}

/// Over everything that determines the result, and nothing of the machine it is computed on.
pub(super) fn digest(base: &Base, actions: &[Action], marks: &[Mark]) -> String {
    let mut hash = Sha256::new();
    hash.update(format!("plan {PLAN_VERSION}\nbase {}\n", base.digest));
    for a in actions {
        let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        // who asked decides over what counts as asked for afterwards, also of what was there before
        let mark = if a.asked_by == AskedBy::Request { "-" } else { "auto" };
        hash.update(format!(
            "{} {} {} {} {} {} {mark}\n",
            a.operation.word(),
            a.package,
            a.architecture,
            or_dash(&a.old_version),
            or_dash(&a.new_version),
            or_dash(&a.sha256)
        ));
    }
    let sorted: BTreeSet<&Mark> = marks.iter().collect();
    for mark in sorted {
        hash.update(format!("mark {} {}\n", mark.package, if mark.auto { "auto" } else { "manual" }));
    }
    format!("sha256:{:x}", hash.finalize())
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&render_table(self))
    }
}

#[cfg(test)]
mod tests {
    use super::super::action::Origin;
    use super::*;

    fn install(package: &str, version: &str) -> Action {
        Action {
            operation: Operation::Install,
            package: package.into(),
            architecture: "amd64".into(),
            old_version: None,
            new_version: Some(version.into()),
            asked_by: AskedBy::Request,
            due_to: vec![],
            replaced_by: vec![],
            self_built: false,
            origin: Some(Origin::Repository { label: "Debian:12.5/stable, Other".into() }),
            size: Some(152_412),
            installed_size: Some(400_000),
            sha256: None,
        }
    }

    fn remove(package: &str, version: &str) -> Action {
        Action {
            operation: Operation::Remove,
            old_version: Some(version.into()),
            new_version: None,
            origin: None,
            size: None,
            installed_size: None,
            ..install(package, version)
        }
    }

    fn plan(actions: Vec<Action>) -> Plan {
        let status = Status::parse(
            "Package: nano\nStatus: install ok installed\nArchitecture: amd64\nVersion: 7\nInstalled-Size: 100\n",
            "",
            "amd64",
        );
        Plan::new(&status, actions, vec![], 152_412, vec![], vec![])
    }

    #[test]
    fn plans_print_as_a_table() {
        let plan = plan(vec![install("htop", "3.2.2-2"), remove("nano", "7")]);
        assert_eq!(
            render_table(&plan),
            "  action   package  version  from                asked by    size\n\
             \u{20} remove   nano     7                            you\n\
             \u{20} install  htop     3.2.2-2  Debian:12.5/stable  you       152 kB\n\
             1 to install, 1 to remove; 152 kB to download, 298 kB more on disk\n"
        );
    }

    #[test]
    fn what_is_kept_or_replaced_is_told() {
        let mut comes = install("other-editor", "1");
        comes.self_built = true;
        let mut needed = install("library", "2");
        (needed.asked_by, needed.due_to) = (AskedBy::Dependency, vec!["other-editor".into()]);
        let mut goes = remove("nano", "7");
        (goes.asked_by, goes.replaced_by) = (AskedBy::Consequence, vec!["other-editor".into()]);
        let mut plan = plan(vec![comes, needed, goes]);
        assert_eq!(plan.kept, 0);
        plan.keep =
            vec![Kept { package: "editor".into(), version: "7".into(), provided_by: Some("less".into()) }];
        plan.kept = 3;
        assert_eq!(
            render_table(&plan),
            "  action   package       version  from                             asked by        size\n\
             \u{20} replace  nano          7        by other-editor                  other-editor\n\
             \u{20} install  library       2        Debian:12.5/stable               other-editor  152 kB\n\
             \u{20} install  other-editor  1        Debian:12.5/stable (self-built)  you           152 kB\n\
             \u{20} keep     editor        7        less                             you\n\
             2 to install, 1 to replace, 3 stay as they are; 152 kB to download, 698 kB more on disk\n"
        );
    }

    #[test]
    fn the_digest_is_of_the_result() {
        let a = plan(vec![install("htop", "1"), remove("nano", "7")]);
        let mut other = install("htop", "1");
        other.origin = None;
        other.size = None;
        let b = plan(vec![remove("nano", "7"), other]);
        assert_eq!(a.digest, b.digest);
        assert!(a.ensure_same(&b).is_ok());
        let c = plan(vec![install("htop", "2"), remove("nano", "7")]);
        assert_eq!(
            a.ensure_same(&c).unwrap_err().to_string(),
            "the plan does not fit: 'install htop 1' was planned, now it would be 'install htop 2'"
        );
    }

    #[test]
    fn the_digest_knows_what_counts_as_asked_for_afterwards() {
        let upgrade = |asked_by| {
            let mut action = install("libfoo", "2");
            (action.operation, action.old_version, action.asked_by) =
                (Operation::Upgrade, Some("1".into()), asked_by);
            plan(vec![action])
        };
        let (named, needed) = (upgrade(AskedBy::Request), upgrade(AskedBy::Dependency));
        assert_ne!(named.digest, needed.digest);
        assert_eq!(
            named.ensure_same(&needed).unwrap_err().to_string(),
            "the plan does not fit: other packages would count as asked for"
        );
    }

    #[test]
    fn plans_survive_json() {
        let a = plan(vec![install("htop", "1"), remove("nano", "7")]);
        let json = serde_json::to_string(&a).unwrap();
        assert!(json.contains("\"nothingToDo\":false") && json.contains("\"askedBy\":\"request\""), "{json}");
        assert_eq!(serde_json::from_str::<Plan>(&json).unwrap(), a);
        assert_eq!(plan(vec![]).to_string().lines().next(), Some("nothing to do"));
    }
}
