// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # What a package needs, installed beforehand
//!
//! apt is asked only when dpkg has said that something is missing, and remote package lists are fetched only, once for all
//! packages, when it is not in local ones. What is needed is installed into a layer that all steps share, and all packages
//! with the same needs; the next run as well, when the caller keeps it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::layers::{Layer, Stack};
use crate::apt::debs::LocalDeb;
use crate::apt::{Action, Add, Event, Operation, Plan, Report, Transaction, TransactionRequest, UpdateMode};
use crate::error::{ChrootError, Result};

/// Where what packages need is kept for the next run.
pub trait Shelf {
    /// What came of that plan on the template: where it is, and what was reported.
    fn find(&self, plan: &Plan) -> Option<(PathBuf, Report)>;

    /// What was found there is not what its report says.
    fn forget(&self, upper: &Path);

    /// Takes what has come of a plan, and says where it is from then on.
    fn keep(&self, plan: &Plan, upper: &Path, report: &Report) -> PathBuf;
}

/// Installs what packages need.
pub(super) struct Resolver<'a> {
    template: Stack,
    scratch: PathBuf,
    request: TransactionRequest,
    /// Remote lists may be fetched when something is not found.
    may_fetch: bool,
    sink: Option<&'a mut dyn FnMut(Event<'_>)>,
    shelf: &'a dyn Shelf,
    transaction: Option<Transaction<'a>>,
    /// By what is in them.
    layers: BTreeMap<String, Needed>,
}

/// What a package needs besides the template.
#[derive(Debug, Clone)]
pub(super) struct Needed {
    /// With all of it.
    pub layer: Arc<Layer>,
    /// The packages that the template does not have at all.
    pub added: Vec<String>,
}

/// That, or why it cannot be had.
pub(super) type Needs = Result<Needed, String>;

impl<'a> Resolver<'a> {
    pub fn new(
        template: &Stack,
        scratch: &Path,
        mut request: TransactionRequest,
        sink: &'a mut dyn FnMut(Event<'_>),
        shelf: &'a dyn Shelf,
    ) -> Self {
        // lists of the request's sources are fetched in any case, those of the template only when needed
        let may_fetch = request.update == UpdateMode::Auto && request.sources.is_empty();
        if may_fetch {
            request.update = UpdateMode::Local;
        }
        Self {
            may_fetch,
            template: template.clone(),
            scratch: scratch.to_owned(),
            request,
            sink: Some(sink),
            shelf,
            transaction: None,
            layers: BTreeMap::new(),
        }
    }

    /// Installs what a package needs besides the template. Fails when a repository cannot be reached.
    pub fn needs(&mut self, deb: &LocalDeb) -> Result<Needs> {
        self.install(vec![Add::exactly(&deb.name, &deb.version)], Some(&deb.name))
    }

    /// Installs a package of the repositories, with what it needs.
    pub fn package(&mut self, name: &str) -> Result<Needs> {
        self.install(vec![Add::Package { name: name.to_owned(), version: None }], None)
    }

    /// Installs what a plan has, but for one package.
    fn install(&mut self, wanted: Vec<Add>, without: Option<&str>) -> Result<Needs> {
        let layer = Layer::new(&self.scratch, &self.template)?;
        let root = self.template.root(&layer);
        if let Some(sink) = self.sink.take() {
            self.transaction = Some(Transaction::open(root.clone(), self.request.clone(), sink)?);
        }
        let Some(transaction) = &mut self.transaction else {
            return Err(ChrootError::Internal("the package lists could not be read".to_owned()));
        };
        transaction.turn_to(root, wanted);
        let planned = match transaction.plan() {
            Err(ChrootError::NotSolvable { .. }) if self.may_fetch && transaction.refresh_remote()? => {
                transaction.plan()
            }
            other => other,
        };
        let plan = match possible(planned.and_then(|plan| plan.ensure_allowed().map(|()| plan)))? {
            Ok(plan) => transaction.leave_out(without.unwrap_or_default()).unwrap_or(plan),
            Err(why) => return Ok(Err(why)),
        };
        let versions =
            |a: &Action| format!("{}={} ", a.package, a.new_version.as_deref().unwrap_or_default());
        let key: String = plan.actions.iter().map(versions).collect();
        if let Some(known) = self.layers.get(&key) {
            return Ok(Ok(known.clone()));
        }
        let new = plan.actions.iter().filter(|a| a.operation == Operation::Install);
        let added = new.map(|a| a.package.clone()).collect();
        let kept = match self.shelf.find(&plan) {
            None => None,
            Some((upper, report)) => {
                let root = self.template.over(&upper).root(&layer);
                let good = transaction.take_result(root, &plan, &report)?.is_some();
                if !good {
                    self.shelf.forget(&upper);
                }
                good.then_some(upper)
            }
        };
        let upper = match kept {
            Some(upper) => upper,
            None => match possible(apply(transaction, plan, self.may_fetch))? {
                Ok((plan, report)) => self.shelf.keep(&plan, layer.path(), &report),
                Err(why) => return Ok(Err(why)),
            },
        };
        let needed = Needed { layer: Arc::new(layer.moved_to(upper)), added };
        self.layers.insert(key, needed.clone());
        Ok(Ok(needed))
    }
}

/// What was done, and what came of it.
fn apply(transaction: &mut Transaction<'_>, plan: Plan, may_fetch: bool) -> Result<(Plan, Report)> {
    match transaction.apply(&plan) {
        Err(ChrootError::ListsOutdated { .. }) if may_fetch && transaction.refresh_remote()? => {
            let plan = transaction.plan()?;
            let report = transaction.apply(&plan)?;
            Ok((plan, report))
        }
        other => Ok((plan, other?)),
    }
}

/// What speaks against the package is a result, what speaks against the repositories an error.
fn possible<T>(result: Result<T>) -> Result<Result<T, String>> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(
            e @ (ChrootError::NotSolvable { .. }
            | ChrootError::PolicyRefused { .. }
            | ChrootError::PackageFailed { .. }),
        ) => Ok(Err(e.to_string())),
        Err(e) => Err(e),
    }
}
