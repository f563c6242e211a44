// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Plans in files
//!
//! A saved plan carries the request that it answers and the template that it is for. Applying it asks the same again: what
//! would happen now has to be what was planned, to the digest of every archive.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::action::{Action, Origin};
use super::debs::LocalDeb;
use super::plan::{PLAN_VERSION, Plan, digest};
use super::request::{Add, TransactionRequest, UpdateMode};
use super::transaction::{Event, Transaction};
use crate::error::{ChrootError, Result};
use crate::sandbox::{Bind, Root};

/// More than a plan that replaces all of Debian would take.
const SIZE_LIMIT: u64 = 256 << 20;

/// The template that a plan is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedFor {
    /// Its name.
    pub name: String,
    /// Its version.
    pub template_version: String,
    /// Of its image index.
    pub digest: String,
}

/// A request, in the words of the command line, with absolute paths.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SavedRequest {
    add: Vec<String>,
    remove: Vec<String>,
    mark_auto: Vec<String>,
    auto_remove: bool,
    allow_upgrade: Vec<String>,
    allow_suite: Vec<String>,
    #[serde(default)]
    allow_orphaned_modules: Vec<String>,
    repos: Vec<String>,
    #[serde(default)]
    sources: Vec<String>,
    #[serde(default)]
    preferences: Vec<String>,
    #[serde(default)]
    keyrings: Vec<String>,
    binds: Vec<String>,
    update: String,
}

impl SavedRequest {
    /// Takes what decides over the plan out of a request.
    pub fn of(request: &TransactionRequest) -> Result<Self> {
        let all = |paths: &[PathBuf]| paths.iter().map(|path| absolute(path)).collect::<Result<_>>();
        let binds = request
            .binds
            .iter()
            .map(|bind| Ok(format!("{}:{}", absolute(&bind.source)?, text(&bind.target)?)));
        Ok(Self {
            add: request.add.iter().map(|add| add.in_words(absolute)).collect::<Result<_>>()?,
            remove: request.remove.clone(),
            mark_auto: request.mark_auto.clone(),
            auto_remove: request.auto_remove,
            allow_upgrade: request.allow_upgrade.clone(),
            allow_suite: request.allow_suite.clone(),
            allow_orphaned_modules: request.allow_orphaned_modules.clone(),
            repos: all(&request.repos)?,
            sources: all(&request.sources)?,
            preferences: all(&request.preferences)?,
            keyrings: all(&request.keyrings)?,
            binds: binds.collect::<Result<_>>()?,
            update: request.update.word().to_owned(),
        })
    }

    /// Puts it into a request.
    pub fn put_into(&self, request: &mut TransactionRequest) -> Result<()> {
        request.add = self.add.iter().map(|add| add.parse()).collect::<Result<_>>()?;
        request.remove = self.remove.clone();
        request.mark_auto = self.mark_auto.clone();
        request.auto_remove = self.auto_remove;
        request.allow_upgrade = self.allow_upgrade.clone();
        request.allow_suite = self.allow_suite.clone();
        request.allow_orphaned_modules = self.allow_orphaned_modules.clone();
        let paths = |all: &[String]| all.iter().map(PathBuf::from).collect();
        request.repos = paths(&self.repos);
        request.sources = paths(&self.sources);
        request.preferences = paths(&self.preferences);
        request.keyrings = paths(&self.keyrings);
        request.binds = self.binds.iter().map(|bind| bind.parse::<Bind>()).collect::<Result<_>>()?;
        request.update = self.update.parse::<UpdateMode>()?;
        match request.binds.iter().find(|bind| bind.writable) {
            Some(bind) => Err(ChrootError::usage(
                format!("the plan has a bind for '{}' that could be written to", bind.target.display()),
                "make a new plan: binds of plans are for reading",
            )),
            None => request.check(),
        }
    }
}

fn absolute(path: &Path) -> Result<String> {
    let path = std::path::absolute(path).map_err(|e| ChrootError::io("reading", path, e))?;
    text(&path)
}

fn text(path: &Path) -> Result<String> {
    path.to_str().map(str::to_owned).ok_or_else(|| {
        ChrootError::usage(
            format!("'{}' cannot be noted in a plan: it is no UTF-8", path.display()),
            "rename it",
        )
    })
}

impl Plan {
    /// Reads a saved plan. It has to be as it was saved, with its request.
    pub fn read(path: &Path) -> Result<(Self, PlannedFor, SavedRequest)> {
        let wrong = |why: String| ChrootError::Usage {
            message: format!("reading plan: {}: {why}", path.display()),
            hint: Some("make one with: isar-template plan … --save FILE".to_owned()),
        };
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(|e| wrong(e.to_string()))?;
        file.take(SIZE_LIMIT + 1).read_to_end(&mut bytes).map_err(|e| wrong(e.to_string()))?;
        if bytes.len() as u64 > SIZE_LIMIT {
            return Err(wrong(format!("it is larger than {SIZE_LIMIT} bytes")));
        }
        #[derive(Deserialize)]
        struct VersionOnly {
            version: u32,
        }
        let version: VersionOnly = serde_json::from_slice(&bytes).map_err(|e| wrong(e.to_string()))?;
        if version.version != PLAN_VERSION {
            return Err(wrong(format!("it has version {}, known is {PLAN_VERSION}", version.version)));
        }
        let plan: Self = serde_json::from_slice(&bytes).map_err(|e| wrong(e.to_string()))?;
        let (Some(template), Some(request)) = (plan.template.clone(), plan.request.clone()) else {
            return Err(wrong("it does not say which template and request it is for".to_owned()));
        };
        if digest(&plan.base, &plan.actions, &plan.marks) != plan.digest {
            return Err(ChrootError::PlanChanged {
                message: format!(
                    "the plan '{}' is not as it was saved: it has another digest",
                    path.display()
                ),
            });
        }
        Ok((plan, template, request))
    }

    /// An error if the plan is for another template.
    pub fn ensure_for(planned: &PlannedFor, now: &PlannedFor) -> Result<()> {
        if planned.digest == now.digest {
            return Ok(());
        }
        let what = |t: &PlannedFor| format!("{}:{} ({})", t.name, t.template_version, t.digest);
        Err(ChrootError::PlanChanged {
            message: format!("the plan is for the template {}, not for {}", what(planned), what(now)),
        })
    }
}

impl<'a> Transaction<'a> {
    /// Like [`open`](Self::open), for the request of the plan in a file. That was good once: where it is no more, the
    /// files that it names have changed since.
    pub fn open_saved(
        plan: &Path,
        root: Root,
        request: TransactionRequest,
        sink: &'a mut dyn FnMut(Event<'_>),
    ) -> Result<Self> {
        let changed = |what: String| ChrootError::PlanChanged {
            message: format!("the plan '{}' does not fit any more: {what}", plan.display()),
        };
        if let Some((what, path)) = gone(&request) {
            return Err(changed(format!("the {what} '{}' is gone", path.display())));
        }
        Self::open(root, request, sink).map_err(|e| match e {
            ChrootError::Usage { message, .. } => changed(message),
            other => other,
        })
    }

    /// What would happen now, which has to be what a saved plan says.
    pub fn plan_as_saved(&mut self, saved: &Plan) -> Result<Plan> {
        let now = match self.plan() {
            // apt may have stumbled over it
            Err(e) => match self.debs.iter().find_map(|deb| saved.other_file(deb)) {
                Some(action) => return Err(ChrootError::PlanChanged { message: other_content(action) }),
                None => return Err(e),
            },
            Ok(now) => now,
        };
        saved.ensure_same(&now)?;
        Ok(now)
    }
}

impl Plan {
    /// What was planned with another content of a file.
    fn other_file(&self, deb: &LocalDeb) -> Option<&Action> {
        let is_it =
            |action: &Action| matches!(&action.origin, Some(Origin::File { path }) if *path == deb.source);
        self.actions.iter().find(|action| is_it(action) && action.sha256.as_ref() != Some(&deb.sha256))
    }
}

fn other_content(action: &Action) -> String {
    format!("the archive of '{}' has another content now", describe(action))
}

/// What a request names that is not there, and what it was.
fn gone(request: &TransactionRequest) -> Option<(&'static str, &Path)> {
    let debs = request.add.iter().filter_map(|add| match add {
        Add::Deb(file) => Some(("package file", file.as_path())),
        Add::Package { .. } => None,
    });
    let repos = request.repos.iter().map(|repo| ("repository folder", repo.as_path()));
    let binds = request.binds.iter().map(|bind| ("folder of --bind", bind.source.as_path()));
    let files = [
        ("file of package sources", &request.sources),
        ("file of preferences", &request.preferences),
        ("keyring", &request.keyrings),
    ];
    let files =
        files.into_iter().flat_map(|(what, paths)| paths.iter().map(move |path| (what, path.as_path())));
    debs.chain(repos).chain(binds).chain(files).find(|(_, path)| !path.exists())
}

/// What differs between what was planned and what would happen now, in one line.
pub(super) fn difference(planned: &Plan, now: &Plan) -> String {
    if planned.base.digest != now.base.digest {
        return "the packages of the tree are not those it was made for".to_owned();
    }
    let by_name = |plan: &Plan| -> BTreeMap<(String, String), Action> {
        plan.actions.iter().map(|a| ((a.package.clone(), a.architecture.clone()), a.clone())).collect()
    };
    let (mut then, mut today) = (by_name(planned), by_name(now));
    then.retain(|key, a| today.get(key) != Some(a));
    today.retain(|_, b| !planned.actions.contains(b));
    let mut said = Vec::new();
    for (key, a) in &then {
        match today.get(key) {
            None => said.push(format!("'{}' is not what would happen now", describe(a))),
            Some(b) if describe(a) != describe(b) => {
                said.push(format!("'{}' was planned, now it would be '{}'", describe(a), describe(b)));
            }
            Some(b) if a.sha256 != b.sha256 => {
                said.push(other_content(a));
            }
            // by another way, with the same outcome
            Some(_) => {}
        }
    }
    for (key, b) in &today {
        if !then.contains_key(key) {
            said.push(format!("'{}' would happen now, too", describe(b)));
        }
    }
    if said.is_empty() {
        said.push("other packages would count as asked for".to_owned());
    }
    said.join("; ")
}

fn describe(action: &Action) -> String {
    let version = action.new_version.as_deref().or(action.old_version.as_deref()).unwrap_or_default();
    format!("{} {} {version}", action.operation.word(), action.package)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_survive() {
        let request = TransactionRequest {
            add: vec!["htop".parse().unwrap(), "vim=2:9".parse().unwrap(), "/x/y_1_all.deb".parse().unwrap()],
            remove: vec!["nano".into()],
            mark_auto: vec!["less".into()],
            auto_remove: true,
            allow_upgrade: vec!["openssl".into()],
            repos: vec!["/repo".into()],
            sources: vec!["/own.list".into()],
            preferences: vec!["/own.pref".into()],
            keyrings: vec!["/own.gpg".into()],
            binds: vec![Bind::read_only("/isar apt", "/isar-apt")],
            update: UpdateMode::Local,
            ..Default::default()
        };
        let saved = SavedRequest::of(&request).unwrap();
        let json = serde_json::to_string(&saved).unwrap();
        let mut again = TransactionRequest::default();
        serde_json::from_str::<SavedRequest>(&json).unwrap().put_into(&mut again).unwrap();
        assert_eq!(SavedRequest::of(&again).unwrap(), saved);
        assert_eq!((again.add, again.binds, again.update), (request.add, request.binds, request.update));
        let relative = TransactionRequest { repos: vec!["here".into()], ..Default::default() };
        assert!(SavedRequest::of(&relative).unwrap().repos[0].ends_with("/here"));
    }

    #[test]
    fn what_a_file_says_is_checked() {
        let hostile =
            SavedRequest { add: vec!["--purge".into()], update: "auto".into(), ..Default::default() };
        assert_eq!(hostile.put_into(&mut TransactionRequest::default()).unwrap_err().exit_code(), 2);
        let writable =
            SavedRequest { binds: vec!["/a:/b:rw".into()], update: "auto".into(), ..Default::default() };
        assert!(writable.put_into(&mut TransactionRequest::default()).is_err());
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("plan");
        for text in ["", "{}", "{\"version\": 2}", "{\"version\": 1}"] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(Plan::read(&path).unwrap_err().exit_code(), 2, "{text}");
        }
    }
}
