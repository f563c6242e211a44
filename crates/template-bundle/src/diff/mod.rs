// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Differences between two systems
//!
//! Packages, files, accounts, units, alternatives and configuration files. Each has a room of its own, which takes
//! two [`Side`]s and lists what differs, in an order that depends on nothing but the two. All that is read of a
//! system is read as data: nothing of it is run.

use serde::Serialize;

pub mod accounts;
pub mod alternatives;
pub mod capabilities;
pub mod conffiles;
pub mod dpkg;
pub mod files;
pub mod owners;
pub mod packages;
pub mod rules;
pub mod side;
pub mod units;

use crate::error::Result;
pub use rules::Rules;
pub use side::{Reader, Side};

/// How something differs that is on one side, or on both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// Only on the right.
    Added,
    /// Only on the left.
    Removed,
    /// On both, in another way.
    Changed,
}

impl Change {
    /// What it is when something is there, or not.
    fn of<T>(old: &Option<T>, new: &Option<T>) -> Self {
        match (old, new) {
            (None, _) => Change::Added,
            (_, None) => Change::Removed,
            _ => Change::Changed,
        }
    }

    /// For people.
    pub fn word(self) -> &'static str {
        match self {
            Change::Added => "added",
            Change::Removed => "removed",
            Change::Changed => "changed",
        }
    }
}

/// What can be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Section {
    /// Installed packages.
    Packages,
    /// Users and groups.
    Users,
    /// Links by which units are enabled, masked or named otherwise.
    Units,
    /// Links of update-alternatives.
    Alternatives,
    /// Configuration files that are not as their packages have them.
    Conffiles,
    /// All files.
    Files,
}

impl Section {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Section; 6] = [
        Section::Packages,
        Section::Users,
        Section::Units,
        Section::Alternatives,
        Section::Conffiles,
        Section::Files,
    ];
}

/// How to compare.
pub struct Options {
    /// What to compare.
    pub sections: Vec<Section>,
    /// What not to report.
    pub rules: Rules,
    /// Whether modification times count.
    pub times: bool,
}

/// What differs. A section that was not compared is none.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Diff {
    /// Packages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packages: Option<Vec<packages::PackageChange>>,
    /// Users.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub users: Option<Vec<accounts::AccountChange>>,
    /// Groups.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<accounts::AccountChange>>,
    /// Links of units.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub units: Option<Vec<units::UnitChange>>,
    /// Alternatives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alternatives: Option<Vec<alternatives::AlternativeChange>>,
    /// Configuration files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conffiles: Option<Vec<conffiles::ConffileChange>>,
    /// Files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<Vec<files::FileChange>>,
    /// Files that differ and are not reported, by rule.
    pub ignored: Vec<rules::Ignored>,
}

impl Diff {
    /// Nothing differs that is not ignored.
    pub fn is_empty(&self) -> bool {
        fn none<T>(list: &Option<Vec<T>>) -> bool {
            list.as_ref().is_none_or(Vec::is_empty)
        }
        none(&self.packages)
            && none(&self.users)
            && none(&self.groups)
            && none(&self.units)
            && none(&self.alternatives)
            && none(&self.conffiles)
            && none(&self.files)
    }
}

/// Compares two systems.
pub fn compare<'a>(left: &mut Side<'a>, right: &mut Side<'a>, options: &Options) -> Result<Diff> {
    let has = |section| options.sections.contains(&section);
    let needs_status = has(Section::Packages) || has(Section::Conffiles);
    let databases = match needs_status {
        true => (left.database()?, right.database()?),
        false => Default::default(),
    };
    let conffiles = (databases.0.conffiles(left), databases.1.conffiles(right));
    side::hash(left, right, &|path| {
        has(Section::Files)
            || (has(Section::Packages) && packages::is_evidence(path))
            || (has(Section::Conffiles) && (conffiles.0.contains_key(path) || conffiles.1.contains_key(path)))
    })?;
    let (left, right) = (&*left, &*right);
    let mut diff = Diff::default();
    if has(Section::Packages) {
        diff.packages = Some(packages::compare((left, &databases.0), (right, &databases.1)));
    }
    if has(Section::Users) {
        diff.users = Some(accounts::users(left, right)?);
        diff.groups = Some(accounts::groups(left, right)?);
    }
    if has(Section::Units) {
        diff.units = Some(units::compare(left, right));
    }
    if has(Section::Alternatives) {
        diff.alternatives = Some(alternatives::compare(left, right)?);
    }
    if has(Section::Conffiles) {
        diff.conffiles = Some(conffiles::compare((left, &conffiles.0), (right, &conffiles.1))?);
    }
    if has(Section::Files) {
        let (mut changes, ignored) = files::compare(left, right, &options.rules, options.times);
        owners::fill_in(left, right, &mut changes)?;
        diff.files = Some(changes);
        diff.ignored = ignored;
    }
    Ok(diff)
}
