// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # What a package breaks and leaves behind
//!
//! Each package is installed, reinstalled, upgraded, removed, purged and installed again, on throw-away layers over the
//! template. Every call of dpkg writes to a layer of its own; comparing two systems means looking at what the
//! layers between them hold. Nothing is copied or unpacked but the packages themselves.
//!
//! - `course`: the steps; `dpkg`: one of them, in a sandbox; `depends`: what a package needs;
//! - `layers`, `view`: what changed on disk; `registered`, `questions`: what changed in records;
//! - `judge`, `own`, `words`, `before`, `jobs`, `noise`: what of that is wrong;
//! - `report`, `allow`: the outcome.

mod allow;
mod before;
mod course;
mod depends;
mod dpkg;
mod jobs;
mod judge;
mod layers;
mod noise;
mod own;
mod packages;
mod questions;
mod registered;
mod report;
mod view;
mod words;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

pub use self::allow::AllowList;
pub use self::depends::Shelf;
pub use self::report::{
    Finding, Kind, Outcome, PackageReport, QaReport, Severity, Step, StepReport, Summary, TemplateId,
};

use self::course::Room;
use self::depends::Resolver;
use self::dpkg::{Call, Dpkg};
use self::layers::{Layer, Stack};
use crate::apt::{Event, TransactionRequest};
use crate::error::{ChrootError, Result};

/// What is to be checked.
#[derive(Debug, Clone)]
pub struct QaRequest {
    /// For the report.
    pub template: TemplateId,
    /// The layers of the template's root filesystem, the uppermost first.
    pub layers: Vec<PathBuf>,
    /// Package files. Of several versions the newest is checked, and upgraded to from the next older one.
    pub files: Vec<PathBuf>,
    /// Leave out files for other architectures; else they are refused.
    pub skip_foreign: bool,
    /// Where what packages need comes from, and what may change for it, besides those that are checked.
    pub needs: TransactionRequest,
    /// What is allowed to be wrong.
    pub allow: AllowList,
    /// Seconds that one call of dpkg may take.
    pub limit: u64,
    /// An empty directory for layers and copies, on a real file system.
    pub scratch: PathBuf,
}

/// Checks packages. What is wrong with them is in the report; an error is what kept it from being made.
pub fn check(request: &QaRequest, shelf: &dyn Shelf, tell: &dyn Fn(Event<'_>)) -> Result<QaReport> {
    let mut transaction = TransactionRequest {
        no_recommends: true,
        unsafe_io: true,
        scratch_dir: Some(request.scratch.clone()),
        ..request.needs.clone()
    };
    transaction.check()?;
    let debs = request.scratch.join("debs");
    fs::create_dir(&debs)
        .and_then(|()| fs::set_permissions(&debs, fs::Permissions::from_mode(0o755)))
        .map_err(|e| ChrootError::io("making directory", &debs, e))?;
    let template = Stack::new(request.layers.clone());
    let dpkg = Dpkg { debs: &debs, binds: &request.needs.binds, limit: request.limit };

    tell(Event::Step("reading packages"));
    let sandbox = |stack: &Stack, layer: &Layer| dpkg.sandbox(stack, layer);
    let packages = packages::take(&request.files, &debs, &template, &request.scratch, &sandbox)?;
    for deb in &packages.foreign {
        let what = format!("'{}' is for architecture {}", deb.source.display(), deb.architecture);
        if !request.skip_foreign {
            return Err(ChrootError::NotSolvable {
                message: format!("{what}, the template is not"),
                hint: Some("check it on a template of its architecture".to_owned()),
            });
        }
        log::warn!("{what}, and left out");
    }
    let layer = Layer::new(&request.scratch, &template)?;
    let audit = dpkg.run(&template, &layer, &Call { arguments: &["--version"], ..Call::default() })?.audit;
    let room = Room { template: template.clone(), scratch: &request.scratch, dpkg, audit };

    transaction.repos.insert(0, debs.clone());
    transaction.allow_upgrade.extend(packages.candidates.iter().map(|c| c.deb.name.clone()));
    let mut forward = |event: Event<'_>| tell(event);
    let mut resolver = Resolver::new(&template, &request.scratch, transaction, &mut forward, shelf);
    let mut reports = Vec::new();
    for candidate in &packages.candidates {
        tell(Event::Step(&format!("checking {} {}", candidate.deb.name, candidate.deb.version)));
        reports.push(course::check(&room, &mut resolver, candidate)?);
    }
    let unused = request.allow.apply(&mut reports);
    Ok(QaReport::new(request.template.clone(), reports, unused))
}
