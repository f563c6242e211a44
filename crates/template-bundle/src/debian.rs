// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # What a Debian root filesystem says of itself
//!
//! Reads os-release and dpkg's status of a tree, without running anything of it.

use std::collections::BTreeMap;
use std::path::Path;

use crate::error::{Error, Kind, Result};
use crate::inroot::InRoot;
use crate::manifest::Package;

/// Where dpkg keeps what is installed.
const STATUS: &[u8] = b"var/lib/dpkg/status";
/// Where a system says what it is.
const OS_RELEASE: [&[u8]; 2] = [b"etc/os-release", b"usr/lib/os-release"];

/// Identity of a root filesystem.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Identity {
    /// ID of os-release.
    pub distro: String,
    /// VERSION_CODENAME of os-release.
    pub codename: String,
    /// Architecture of the dpkg package.
    pub architecture: String,
}

/// Reads identity and installed packages.
pub fn read(root: &Path) -> Result<(Identity, Vec<Package>)> {
    let tree = InRoot::open(root)?;
    let status = tree.read(STATUS)?.ok_or_else(|| {
        Error::new(
            Kind::Usage,
            format!(
                "'{}' is no Debian root filesystem: it has no /{}",
                root.display(),
                String::from_utf8_lossy(STATUS)
            ),
        )
        .hint("the component 'rootfs' must be a directory with an installed Debian system")
    })?;
    let packages = parse_status(&String::from_utf8_lossy(&status));
    let mut os_release = Vec::new();
    for path in OS_RELEASE {
        if let Some(text) = tree.read(path)? {
            os_release = text;
            break;
        }
    }
    let os_release = String::from_utf8_lossy(&os_release).into_owned();
    let os_release = parse_os_release(&os_release);
    let architecture =
        packages.iter().find(|p| p.package == "dpkg").map(|p| p.architecture.clone()).unwrap_or_default();
    let field = |key: &str| os_release.get(key).cloned().unwrap_or_default();
    let identity = Identity { distro: field("ID"), codename: field("VERSION_CODENAME"), architecture };
    Ok((identity, packages))
}

/// Installed packages, sorted by name and architecture.
pub fn parse_status(status: &str) -> Vec<Package> {
    let mut packages: Vec<Package> = status
        .split("\n\n")
        .filter_map(|paragraph| {
            let field = |key: &str| {
                paragraph
                    .lines()
                    .find_map(|line| line.strip_prefix(key)?.strip_prefix(':').map(|v| v.trim().to_string()))
            };
            let state = field("Status")?;
            // "want flag state": an installed package that is held, or half configured, still is there
            if matches!(state.split_whitespace().nth(2)?, "not-installed" | "config-files") {
                return None;
            }
            Some(Package {
                package: field("Package")?,
                version: field("Version")?,
                architecture: field("Architecture")?,
                sha256: None,
                recipe: None,
                task_hash: None,
            })
        })
        .collect();
    packages.sort_by(|a, b| (&a.package, &a.architecture).cmp(&(&b.package, &b.architecture)));
    packages
}

fn parse_os_release(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.trim().to_string(), value.trim().trim_matches(['"', '\'']).to_string()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_lists_what_is_installed() {
        let status = "Package: b\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1:2-3\nDescription: x\n y\n\n\
                      Package: gone\nStatus: deinstall ok config-files\nArchitecture: all\nVersion: 1\n\n\
                      Package: a\nStatus: hold ok installed\nArchitecture: all\nVersion: 2\n";
        let names: Vec<_> =
            parse_status(status).into_iter().map(|p| format!("{} {}", p.package, p.version)).collect();
        assert_eq!(names, ["a 2", "b 1:2-3"]);
    }

    #[test]
    fn os_release_quotes_are_dropped() {
        let map = parse_os_release("ID=debian\nVERSION_CODENAME=\"bookworm\"\n# x\n");
        assert_eq!(map["ID"], "debian");
        assert_eq!(map["VERSION_CODENAME"], "bookworm");
    }
}
