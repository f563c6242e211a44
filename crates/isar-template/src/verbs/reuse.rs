// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Results that are there already
//!
//! The same plan on the same template has the same result. It is kept in the store, as what the transaction has written,
//! and who asks for it again gets it without dpkg being run. What comes after the transaction (finishing the system,
//! the mark of its origin) is done anew each time, above the result. So is the same question to the same template kept,
//! with the plan that answers it, so that apt need not run either.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use anyhow::Result;
use template_bundle::Digest;
use template_bundle::error::IoContext;
use template_chroot::Root;
use template_chroot::apt::{Plan, Report, Transaction};
use template_chroot::qa;
use template_store::{Kept, Scratch, Store, Stored};

use super::exec::overlay_in;
use super::transaction::Instance;

/// To be raised when a transaction does something else than before with the same plan.
const RESULT_VERSION: u32 = 1;

/// What the result of a plan is kept under; none where it does not decide over all of the result.
pub fn key(instance: &Instance, plan: &Plan) -> Option<Digest> {
    // folders that package scripts can see
    let seen = !instance.request.binds.is_empty();
    if seen || !matches!(instance.root, Root::Overlay { .. }) {
        return None;
    }
    key_of("result", &instance.stored, plan)
}

fn key_of(kind: &str, stored: &Stored, plan: &Plan) -> Option<Digest> {
    let vague = plan.actions.iter().any(|a| a.new_version.is_some() && a.sha256.is_none());
    if plan.nothing_to_do || vague {
        return None;
    }
    // scripts are told the time of a reproducible build
    let epoch = std::env::var("SOURCE_DATE_EPOCH").unwrap_or_default();
    Some(key_for(&format!("{kind} of plan {} at '{epoch}'", plan.digest), stored))
}

/// Continues from the result of that key, if the store has one that still is what it was.
pub fn find(
    instance: &mut Instance,
    transaction: &mut Transaction<'_>,
    plan: &Plan,
    key: &Digest,
) -> Result<Option<Report>> {
    let Some(kept) = instance.store.find_result(key)? else { return Ok(None) };
    let report = serde_json::from_value::<Report>(kept.details().clone());
    let root = instance.above(kept.upper())?;
    let report = match report {
        Ok(report) => transaction.take_result(root.clone(), plan, &report)?,
        Err(_) => None,
    };
    let Some(report) = report else {
        forget(&instance.store, kept, &instance.scratch)?;
        return Ok(None);
    };
    instance.root = root;
    instance._result = Some(kept);
    Ok(Some(report))
}

/// Keeps what the transaction has written, and continues above it. That it cannot be kept is no failure.
pub fn keep(instance: &mut Instance, report: &Report, key: &Digest) -> Result<()> {
    let Root::Overlay { upper, .. } = &instance.root else { return Ok(()) };
    let template = &instance.stored.record.digest;
    let (upper, kept) = put(&instance.store, template, key, &instance.scratch, upper, report)?;
    instance._result = kept;
    instance.root = instance.above(upper)?;
    Ok(())
}

/// Gives the store what a transaction has written: where it is then, and what holds it there.
fn put(
    store: &Store,
    template: &Digest,
    key: &Digest,
    scratch: &Scratch,
    upper: &Path,
    report: &Report,
) -> Result<(PathBuf, Option<Kept>)> {
    let aside = template_store::set_result_aside(scratch, upper)?;
    let kept = serde_json::to_value(report)
        .map_err(anyhow::Error::from)
        .and_then(|details| Ok(store.keep_result(key, template, scratch, details)?));
    Ok(match kept {
        Ok(kept) => (kept.upper(), Some(kept)),
        Err(e) => {
            log::warn!("the result is not kept for the next time: {e:#}");
            (aside, None)
        }
    })
}

fn forget(store: &Store, kept: Kept, scratch: &Scratch) -> Result<()> {
    log::warn!("a result in the store is not what its record says: it is removed, and made again");
    Ok(store.forget_result(kept, scratch)?)
}

/// What is kept of a template, whatever is done with it.
fn key_for(kind: &str, stored: &Stored) -> Digest {
    let parts = [
        format!("{kind} {RESULT_VERSION}"),
        format!("helper {}", env!("CARGO_PKG_VERSION")),
        format!("template {}", stored.record.digest),
    ];
    Digest::of(parts.join("\n").as_bytes())
}

/// What a transaction would do now, which has to be what a saved plan says.
pub fn resolve(transaction: &mut Transaction<'_>, saved: Option<&Plan>) -> Result<Plan> {
    Ok(match saved {
        Some(saved) => transaction.plan_as_saved(saved)?,
        None => transaction.plan()?,
    })
}

/// What is done with plans that are in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plans {
    /// They are left alone.
    Unused,
    /// One that fits is taken.
    Taken,
    /// And it is kept when there is none.
    Kept,
}

/// The same, from the store if it was asked before.
pub fn plan(
    instance: &Instance,
    transaction: &mut Transaction<'_>,
    saved: Option<&Plan>,
    plans: Plans,
) -> Result<Plan> {
    let question = match instance.root {
        Root::Overlay { .. } if plans != Plans::Unused => transaction.question()?,
        _ => None,
    };
    let Some(question) = question else { return resolve(transaction, saved) };
    let key = key_for(&format!("plan for {question}"), &instance.stored);
    if let Some(kept) = instance.store.find_result(&key)? {
        match serde_json::from_value::<Plan>(kept.details().clone()) {
            Ok(plan) => {
                saved.map_or(Ok(()), |saved| saved.ensure_same(&plan))?;
                return Ok(plan);
            }
            Err(_) => forget(&instance.store, kept, &instance.scratch)?,
        }
    }
    let plan = resolve(transaction, saved)?;
    let keep = || match plans {
        Plans::Kept => keep_details(instance, &key, &[], serde_json::to_value(&plan)?),
        _ => Ok(()),
    };
    keep().unwrap_or_else(|e| log::warn!("the plan is not kept for the next time: {e:#}"));
    Ok(plan)
}

/// Keeps files, and what is to be known of them.
fn keep_details(
    instance: &Instance,
    key: &Digest,
    files: &[PathBuf],
    details: serde_json::Value,
) -> Result<()> {
    let scratch = instance.store.scratch()?;
    let dir = scratch.path().join("kept");
    std::fs::create_dir(&dir).doing("creating", &dir)?;
    for file in files {
        let to = dir.join(file.file_name().unwrap_or_default());
        std::fs::copy(file, &to).doing("copying", file)?;
    }
    template_store::set_result_aside(&scratch, &dir)?;
    instance.store.keep_result(key, &instance.stored.record.digest, &scratch, details)?;
    Ok(())
}

const CACHES: &str = "apt's caches";

/// What apt has made of the package lists of a template.
pub fn find_caches(store: &Store, stored: &Stored) -> Result<Option<Kept>> {
    Ok(store.find_result(&key_for(CACHES, stored))?)
}

/// Keeps that for others. It has to be done before package scripts run.
pub fn keep_caches(instance: &Instance, transaction: &Transaction<'_>) {
    let caches = transaction.caches();
    if instance.caches.is_some() || !matches!(instance.root, Root::Overlay { .. }) || caches.is_empty() {
        return;
    }
    let key = key_for(CACHES, &instance.stored);
    keep_details(instance, &key, &caches, serde_json::Value::Null)
        .unwrap_or_else(|e| log::warn!("apt's caches are not kept for the next time: {e:#}"));
}

/// Keeps what `qa` has installed for packages that need it.
pub struct Shelf<'a> {
    store: &'a Store,
    stored: &'a Stored,
    off: bool,
    held: RefCell<Vec<Kept>>,
    /// Of what could not be kept.
    aside: RefCell<Vec<Scratch>>,
}

impl<'a> Shelf<'a> {
    /// One for a template; when it is off it keeps nothing.
    pub fn new(store: &'a Store, stored: &'a Stored, off: bool) -> Self {
        Self { store, stored, off, held: RefCell::default(), aside: RefCell::default() }
    }

    fn key(&self, plan: &Plan) -> Option<Digest> {
        // other than a product, it lacks what packages recommend, and what has checked them
        (!self.off).then(|| key_of("needs", self.stored, plan)).flatten()
    }

    fn try_keep(&self, key: &Digest, upper: &Path, report: &Report) -> Result<PathBuf> {
        let scratch = self.store.scratch()?;
        let template = &self.stored.record.digest;
        let (upper, kept) = put(self.store, template, key, &scratch, upper, report)?;
        match kept {
            Some(kept) => self.held.borrow_mut().push(kept),
            None => self.aside.borrow_mut().push(scratch),
        }
        Ok(upper)
    }

    fn try_find(&self, key: &Digest) -> Result<Option<(PathBuf, Report)>> {
        let Some(kept) = self.store.find_result(key)? else { return Ok(None) };
        let Ok(report) = serde_json::from_value(kept.details().clone()) else {
            forget(self.store, kept, &self.store.scratch()?)?;
            return Ok(None);
        };
        let upper = kept.upper();
        self.held.borrow_mut().push(kept);
        Ok(Some((upper, report)))
    }

    fn try_forget(&self, upper: &Path) -> Result<()> {
        let at = self.held.borrow().iter().position(|kept| kept.upper() == upper);
        let Some(at) = at else { return Ok(()) };
        let kept = self.held.borrow_mut().swap_remove(at);
        forget(self.store, kept, &self.store.scratch()?)
    }
}

// that the store fails is no failure of what is checked
impl qa::Shelf for Shelf<'_> {
    fn find(&self, plan: &Plan) -> Option<(PathBuf, Report)> {
        self.try_find(&self.key(plan)?).unwrap_or_else(|e| {
            log::warn!("{e:#}");
            None
        })
    }

    fn forget(&self, upper: &Path) {
        self.try_forget(upper).unwrap_or_else(|e| log::warn!("{e:#}"));
    }

    fn keep(&self, plan: &Plan, upper: &Path, report: &Report) -> PathBuf {
        let Some(key) = self.key(plan) else { return upper.to_owned() };
        self.try_keep(&key, upper, report).unwrap_or_else(|e| {
            log::warn!("the result is not kept for the next time: {e:#}");
            upper.to_owned()
        })
    }
}

impl Instance {
    /// An instance over a result, which lies over the template.
    fn above(&self, result: std::path::PathBuf) -> Result<Root> {
        let Root::Overlay { lowers, .. } = &self.root else { return Ok(self.root.clone()) };
        let within = self.scratch.path();
        let dir = tempfile::Builder::new().prefix("above-").tempdir_in(within).doing("creating", within)?;
        overlay_in(&dir.keep(), [vec![result], lowers.clone()].concat())
    }
}
