// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # What a package does to itself
//!
//! Its files as dpkg has unpacked them, where they have landed, and its links.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use template_bundle::glob::matches;

use super::course::State;
use super::dpkg::Run;
use super::judge::Judge;
use super::layers::{Layer, What, compare};
use super::report::{Finding, Kind, Severity};
use super::view::View;
use crate::error::Result;
use crate::system::{self, Records, plain};

/// Directories that are a file system of their own on a device.
const VOLATILE: [&str; 6] = ["/dev", "/proc", "/run", "/sys", "/tmp", "/var/run"];

impl Judge {
    /// Files and links of a package that was just installed.
    pub fn own(&self, before: &State, after: &State, run: &Run) -> Result<Vec<Finding>> {
        let own = Records::open(&after.view)?.files(&self.package, &self.architecture)?;
        let mut found = self.verified(&after.view, &run.verify)?;
        found.extend(self.through_symlinks(&after.view, &own)?);
        found.extend(self.dangling(before, after, own)?);
        Ok(found)
    }

    /// What `dpkg --verify` says: `??5?????? c /etc/changed` or `missing     /usr/share/gone`.
    fn verified(&self, view: &View, said: &str) -> Result<Vec<Finding>> {
        let excluded = excluded(view)?;
        let mut found = Vec::new();
        for line in said.lines() {
            let (Some(what), Some(path)) = (line.get(..9), line.get(12..)) else { continue };
            let whose = if line.as_bytes()[10] == b'c' { "the configuration file" } else { "the file" };
            let what = match what.trim() {
                "missing" if excluded.iter().any(|glob| matches(glob, path)) => continue,
                "missing" => "is gone, as by a script",
                checks if checks.as_bytes().get(2) == Some(&b'5') => {
                    "has another content than in the package"
                }
                _ => continue,
            };
            found.push(self.finding(Kind::OwnFileChanged, format!("{whose} {what}")).at(path));
        }
        Ok(found)
    }

    /// Files that a symlink to a directory leads to where the package does not know of them.
    fn through_symlinks(&self, view: &View, own: &[PathBuf]) -> Result<Vec<Finding>> {
        let mut seen = BTreeSet::new();
        let mut found = Vec::new();
        for path in own {
            for dir in path.ancestors().skip(1) {
                // a merged system has links that everybody knows
                if dir == Path::new("/") || plain(dir) != dir || !seen.insert(dir) {
                    continue;
                }
                if let Some(target) = view.link(dir)? {
                    let target = target.display();
                    let detail = format!("lands elsewhere: '{}' is a link to '{target}'", dir.display());
                    found.push(self.finding(Kind::ThroughSymlink, detail).at(path.to_string_lossy()));
                }
            }
        }
        Ok(found)
    }

    /// Links that lead nowhere: those of the package, and those that its scripts have made.
    fn dangling(&self, before: &State, after: &State, own: Vec<PathBuf>) -> Result<Vec<Finding>> {
        let mut links: BTreeSet<PathBuf> = own.into_iter().collect();
        links.extend(new_links(after.layer.as_deref(), before, after)?);
        self.leading_nowhere(&after.view, links, "")
    }

    /// Those in what was installed since it is needed: no fault of the package, but worth to be known.
    pub fn dangling_in_needs(&self, before: &State, after: &State, needs: &Layer) -> Result<Vec<Finding>> {
        let links = new_links(Some(needs), before, after)?;
        let found = self.leading_nowhere(&after.view, links, "of what the package needs, ")?;
        Ok(found.into_iter().map(|finding| finding.severity(Severity::Info)).collect())
    }

    fn leading_nowhere(&self, view: &View, links: BTreeSet<PathBuf>, whose: &str) -> Result<Vec<Finding>> {
        let mut found = Vec::new();
        for path in links {
            let Some(target) = view.link(&path)? else { continue };
            let place = plain(&path.parent().unwrap_or(Path::new("/")).join(&target));
            if !VOLATILE.iter().any(|dir| place.starts_with(dir)) && !view.leads_somewhere(&path)? {
                let detail = format!("{whose}leads to '{}', which is not there", target.display());
                found.push(self.finding(Kind::DanglingSymlink, detail).at(path.to_string_lossy()));
            }
        }
        Ok(found)
    }
}

/// The symlinks that came with a layer.
fn new_links(layer: Option<&Layer>, before: &State, after: &State) -> Result<BTreeSet<PathBuf>> {
    let changes = compare(&layer.into_iter().collect::<Vec<_>>(), &before.view, &after.view)?;
    let links = changes
        .into_iter()
        .filter(|change| matches!(&change.what, What::Added(node) if node.kind == system::Kind::Symlink));
    Ok(links.map(|change| Path::new("/").join(change.path)).collect())
}

/// Patterns of what dpkg is told not to unpack. In those a `*` is any number of characters, slashes as well.
fn excluded(view: &View) -> Result<Vec<String>> {
    const DIRECTORY: &str = "/etc/dpkg/dpkg.cfg.d";
    let mut text = view.text("/etc/dpkg/dpkg.cfg")?;
    for (name, _) in view.list(DIRECTORY)? {
        text.push('\n');
        text.push_str(&view.text(Path::new(DIRECTORY).join(name))?);
    }
    let patterns = text.lines().filter_map(|line| line.trim().strip_prefix("path-exclude"));
    Ok(patterns
        .map(|rest| rest.trim_start_matches([' ', '=']).trim_matches('"'))
        // our patterns have no classes; what is taken for left out is only not told
        .map(|pattern| match pattern.split_once('[') {
            Some((begin, _)) => begin.replace('*', "**") + "**",
            None => pattern.replace('*', "**"),
        })
        .collect())
}
