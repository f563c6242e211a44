// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # What dpkg knows
//!
//! The parts of its status file that a comparison needs.

use std::collections::{BTreeMap, HashMap};

use crate::diff::side::Side;

/// A package that is there.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Installed {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Architecture.
    pub architecture: String,
    /// As in `install ok installed`.
    pub state: String,
    /// Declared size in bytes.
    pub size: Option<u64>,
    /// Configuration files: path without leading slash, and the MD5 of what the package brought.
    pub conffiles: Vec<(Vec<u8>, String)>,
}

/// All packages that are there.
#[derive(Debug, Default)]
pub struct Database {
    /// In the order of the file.
    pub packages: Vec<Installed>,
}

/// The configuration file of a package.
#[derive(Debug, Clone, PartialEq)]
pub struct Shipped {
    /// Whose it is.
    pub package: String,
    /// MD5 of what the package brought.
    pub md5: String,
}

impl Database {
    /// Parses the status file. What makes no sense in it is passed over.
    pub fn parse(status: &str) -> Self {
        Database { packages: status.split("\n\n").filter_map(parse_package).collect() }
    }

    /// By name and architecture.
    pub fn by_name(&self) -> HashMap<(&str, &str), &Installed> {
        self.packages.iter().map(|p| ((&p.name[..], &p.architecture[..]), p)).collect()
    }

    /// The configuration files, by where they are in this system.
    pub fn conffiles(&self, side: &Side) -> BTreeMap<Vec<u8>, Shipped> {
        let mut out = BTreeMap::new();
        for package in &self.packages {
            for (path, md5) in &package.conffiles {
                let shipped = Shipped { package: package.name.clone(), md5: md5.clone() };
                out.entry(side.place(path)).or_insert(shipped);
            }
        }
        out
    }
}

fn parse_package(paragraph: &str) -> Option<Installed> {
    let mut out = Installed::default();
    let mut in_conffiles = false;
    for line in paragraph.lines() {
        if line.starts_with([' ', '\t']) {
            if in_conffiles {
                out.conffiles.extend(parse_conffile(line));
            }
            continue;
        }
        let Some((key, value)) = line.split_once(':') else { continue };
        let value = value.trim();
        in_conffiles = key == "Conffiles";
        match key {
            "Package" => out.name = value.into(),
            "Version" => out.version = value.into(),
            "Architecture" => out.architecture = value.into(),
            "Status" => out.state = value.into(),
            // in KiB
            "Installed-Size" => out.size = value.parse::<u64>().ok().map(|kib| kib.saturating_mul(1024)),
            _ => {}
        }
    }
    let gone = matches!(out.state.split_whitespace().nth(2)?, "not-installed" | "config-files");
    (!gone && !out.name.is_empty()).then_some(out)
}

/// ` /etc/nanorc c1b2…`, perhaps with `obsolete` or `remove-on-upgrade` after it.
fn parse_conffile(line: &str) -> Option<(Vec<u8>, String)> {
    let mut line = line.trim();
    for flag in [" obsolete", " remove-on-upgrade"] {
        line = line.strip_suffix(flag).unwrap_or(line);
    }
    let (path, md5) = line.rsplit_once(' ')?;
    // `newconffile` stands there while a package is being unpacked
    let is_md5 = md5.len() == 32 && md5.bytes().all(|c| c.is_ascii_hexdigit());
    is_md5.then(|| (path.trim_start_matches('/').as_bytes().to_vec(), md5.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_is_parsed_as_far_as_it_makes_sense() {
        let md5 = "0123456789abcdef0123456789abcdef";
        let status = format!(
            "Package: a\nStatus: install ok installed\nArchitecture: all\nVersion: 1:2\nInstalled-Size: 3\n\
             Conffiles:\n /etc/a {md5}\n /etc/with space {md5} obsolete\n /etc/new newconffile\n /x\n\
             Description: x\n /etc/not {md5}\n\n\
             Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\nno package at all\n\n\
             Status: install ok installed\n\n\
             Package: held\nStatus: hold ok installed\nArchitecture: amd64\nVersion: 1\nInstalled-Size: many\n"
        );
        let database = Database::parse(&status);
        let names: Vec<&str> = database.packages.iter().map(|p| &p.name[..]).collect();
        assert_eq!(names, ["a", "held"]);
        let a = &database.packages[0];
        assert_eq!((a.size, &a.version[..]), (Some(3072), "1:2"));
        let paths: Vec<&[u8]> = a.conffiles.iter().map(|(path, _)| &path[..]).collect();
        assert_eq!(paths, [&b"etc/a"[..], b"etc/with space"]);
        assert_eq!((database.packages[1].size, &database.packages[1].state[..]), (None, "hold ok installed"));
    }
}
