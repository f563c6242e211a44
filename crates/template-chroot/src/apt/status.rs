// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # What is installed: dpkg's status and apt's extended states

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};

use super::relations::Subject;

/// One stanza of a control file: field names in lower case, values with their continuation lines.
pub(crate) type Stanza = BTreeMap<String, String>;

/// Parses a control file: the status of dpkg, a Packages file, what `apt-cache show` prints.
pub(crate) fn parse_stanzas(text: &str) -> Vec<Stanza> {
    let mut stanzas = Vec::new();
    let mut stanza = Stanza::new();
    let mut last = String::new();
    for line in text.lines().chain([""]) {
        if line.starts_with('#') {
            continue;
        }
        if line.trim().is_empty() {
            if !stanza.is_empty() {
                stanzas.push(std::mem::take(&mut stanza));
            }
        } else if line.starts_with([' ', '\t']) {
            if let Some(value) = stanza.get_mut(&last) {
                value.push('\n');
                value.push_str(line.trim_start());
            }
        } else if let Some((name, value)) = line.split_once(':') {
            last = name.to_ascii_lowercase();
            stanza.insert(last.clone(), value.trim().to_owned());
        }
    }
    stanzas
}

/// A package that dpkg knows of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Package {
    pub name: String,
    pub architecture: String,
    pub version: String,
    /// As in `install ok installed`.
    pub status: String,
    pub essential: bool,
    pub required: bool,
    /// In kibibytes.
    pub installed_size: Option<u64>,
    /// Names of what it needs to run, alternatives and all.
    pub needs: BTreeSet<String>,
    /// The same as in the control file.
    pub depends: String,
    /// As in the control file.
    pub provides: String,
    /// What it cannot be together with.
    pub conflicts: String,
    /// Its configuration files, and the MD5 of each as the package brought it.
    pub conffiles: Vec<(String, String)>,
    pub auto: bool,
}

impl Package {
    pub fn installed(&self) -> bool {
        self.status.ends_with(" installed")
    }

    /// Its version is to stay.
    pub fn held(&self) -> bool {
        self.status.starts_with("hold ")
    }

    /// What relations are compared with.
    pub fn subject(&self) -> Subject<'_> {
        Subject { name: &self.name, version: &self.version, provides: &self.provides }
    }

    /// Neither removed nor purged completely: also half-installed, unpacked, triggers pending.
    pub fn present(&self) -> bool {
        !self.status.ends_with(" not-installed")
    }
}

/// All that is installed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Status {
    pub architecture: String,
    pub packages: Vec<Package>,
}

impl Status {
    pub fn parse(status: &str, extended_states: &str, architecture: &str) -> Self {
        let auto: BTreeSet<(String, String)> = parse_stanzas(extended_states)
            .into_iter()
            .filter(|s| s.get("auto-installed").is_some_and(|v| v == "1"))
            .filter_map(|mut s| Some((s.remove("package")?, s.remove("architecture").unwrap_or_default())))
            .collect();
        let mut packages: Vec<Package> = parse_stanzas(status)
            .into_iter()
            .filter_map(|stanza| {
                let get = |name: &str| stanza.get(name).cloned().unwrap_or_default();
                let name = stanza.get("package")?.clone();
                let package_arch = get("architecture");
                let marked = match package_arch.as_str() {
                    "all" | "" => architecture.to_owned(),
                    other => other.to_owned(),
                };
                Some(Package {
                    auto: auto.contains(&(name.clone(), marked)),
                    name,
                    architecture: package_arch,
                    version: get("version"),
                    status: get("status"),
                    essential: get("essential") == "yes"
                        || get("protected") == "yes"
                        || get("important") == "yes",
                    required: get("priority") == "required",
                    installed_size: get("installed-size").parse().ok(),
                    needs: [get("depends"), get("pre-depends")].iter().flat_map(|d| names(d)).collect(),
                    depends: join(&get("depends"), &get("pre-depends")),
                    provides: get("provides"),
                    conflicts: join(&get("conflicts"), &get("breaks")),
                    conffiles: conffiles(&get("conffiles")),
                })
            })
            .filter(Package::present)
            .collect();
        packages.sort_by(|a, b| (&a.name, &a.architecture).cmp(&(&b.name, &b.architecture)));
        Self { architecture: architecture.to_owned(), packages }
    }

    /// The package of that name (`name` or `name:architecture`); the native one where there are several.
    pub fn get(&self, name: &str) -> Option<&Package> {
        let (name, architecture) = name.split_once(':').map_or((name, None), |(n, a)| (n, Some(a)));
        let is_native = |a: &str| a == self.architecture || a == "all";
        // from one version to the next, a package may become one for all architectures, or cease to be
        let fits = |p: &Package, a: &str| p.architecture == a || (is_native(a) && is_native(&p.architecture));
        let mut found =
            self.packages.iter().filter(|p| p.name == name && architecture.is_none_or(|a| fits(p, a)));
        found.clone().find(|p| is_native(&p.architecture)).or_else(|| found.next())
    }

    pub fn installed(&self, name: &str) -> Option<&Package> {
        self.get(name).filter(|p| p.installed())
    }

    /// Identifies what is installed, and what was asked for of it.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        for p in &self.packages {
            let mark = if p.auto { "auto" } else { "manual" };
            hash.update(format!("{} {} {} {} {mark}\n", p.name, p.architecture, p.version, p.status));
        }
        format!("sha256:{:x}", hash.finalize())
    }

    /// A package as `apt-mark` names it: with its architecture, if that is not the native one.
    pub fn mark_name(&self, package: &Package) -> String {
        self.qualified(&package.name, &package.architecture)
    }

    /// The same for one that is not there.
    pub fn qualified(&self, name: &str, architecture: &str) -> String {
        if architecture == self.architecture || architecture == "all" {
            name.to_owned()
        } else {
            format!("{name}:{architecture}")
        }
    }

    /// The extended states with some marks changed, for a simulation.
    pub fn extended_states(&self, auto: &BTreeSet<String>, manual: &BTreeSet<String>) -> String {
        let mut text = String::new();
        for p in &self.packages {
            let name = self.mark_name(p);
            if (p.auto || auto.contains(&name)) && !manual.contains(&name) {
                let architecture = if p.architecture == "all" { &self.architecture } else { &p.architecture };
                text.push_str(&format!(
                    "Package: {}\nArchitecture: {architecture}\nAuto-Installed: 1\n\n",
                    p.name
                ));
            }
        }
        text
    }
}

/// Two fields of relations as one.
pub(crate) fn join(a: &str, b: &str) -> String {
    format!("{a}, {b}")
}

/// Paths and checksums; those that are not the package's any more, or not there yet, are left out.
fn conffiles(field: &str) -> Vec<(String, String)> {
    field
        .lines()
        .filter_map(|line| {
            let (path, rest) = line.trim().split_once(' ')?;
            let is_md5 = rest.len() == 32 && rest.bytes().all(|b| b.is_ascii_hexdigit());
            is_md5.then(|| (path.to_owned(), rest.to_owned()))
        })
        .collect()
}

/// The package names in a dependency field.
fn names(depends: &str) -> impl Iterator<Item = String> + '_ {
    depends
        .split([',', '|'])
        .map(|d| d.trim().split([' ', '(', ':', '[', '\n']).next().unwrap_or_default().to_owned())
        .filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Package: bash\nEssential: yes\nStatus: install ok installed\nPriority: required\n\
        Installed-Size: 7164\nArchitecture: amd64\nVersion: 5.2.15-2+b7\nDepends: base-files (>= 2.1.12), debianutils (>= 5.6-0.1)\n\
        Pre-Depends: libc6 (>= 2.36), libtinfo6:any | libtinfo5\nConffiles:\n /etc/bash.bashrc 89269e1298235f1b12b4c16e4065ad0d\n /etc/old 89269e1298235f1b12b4c16e4065ad0d obsolete\n\n\
        Package: gone\nStatus: deinstall ok config-files\nArchitecture: all\nVersion: 1\n\n\
        Package: never\nStatus: unknown ok not-installed\nArchitecture: all\n\n\
        Package: libx\nStatus: install ok installed\nArchitecture: i386\nVersion: 1\n\n\
        Package: libx\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2\n";

    #[test]
    fn status_is_parsed() {
        let extended = "Package: bash\nArchitecture: amd64\nAuto-Installed: 1\n\nPackage: libx\nArchitecture: amd64\nAuto-Installed: 0\n";
        let status = Status::parse(STATUS, extended, "amd64");
        assert_eq!(status.packages.len(), 4);
        let bash = status.installed("bash").unwrap();
        assert!(bash.essential && bash.required && bash.auto);
        assert_eq!(bash.installed_size, Some(7164));
        assert_eq!(bash.conffiles.len(), 1);
        assert!(!bash.held());
        let needs: Vec<&str> = bash.needs.iter().map(String::as_str).collect();
        assert_eq!(needs, ["base-files", "debianutils", "libc6", "libtinfo5", "libtinfo6"]);
        assert!(status.installed("gone").is_none() && status.get("gone").is_some());
        assert!(status.get("never").is_none());
        assert_eq!(status.get("libx").unwrap().version, "2");
        assert_eq!(status.get("libx:i386").unwrap().version, "1");
        assert_eq!(status.get("libx:all").unwrap().version, "2");
        assert!(status.get("bash:i386").is_none());
        assert!(!status.get("libx").unwrap().auto);
    }

    #[test]
    fn the_digest_knows_versions_and_marks() {
        let status = Status::parse(STATUS, "", "amd64");
        let again = Status::parse(STATUS, "", "amd64");
        assert_eq!(status.digest(), again.digest());
        let newer = Status::parse(&STATUS.replace("5.2.15", "5.2.16"), "", "amd64");
        assert_ne!(status.digest(), newer.digest());
        let marked =
            Status::parse(STATUS, "Package: bash\nArchitecture: amd64\nAuto-Installed: 1\n", "amd64");
        assert_ne!(status.digest(), marked.digest());
    }

    #[test]
    fn marks_are_written() {
        let status =
            Status::parse(STATUS, "Package: bash\nArchitecture: amd64\nAuto-Installed: 1\n", "amd64");
        let set = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<BTreeSet<_>>();
        assert_eq!(status.extended_states(&set(&[]), &set(&["bash"])), "");
        let text = status.extended_states(&set(&["gone"]), &set(&[]));
        let marked = Status::parse(STATUS, &text, "amd64");
        assert!(marked.get("bash").unwrap().auto && marked.get("gone").unwrap().auto);
        // one architecture of a package alone
        let marked = Status::parse(STATUS, &status.extended_states(&set(&["libx:i386"]), &set(&[])), "amd64");
        assert!(marked.get("libx:i386").unwrap().auto && !marked.get("libx:amd64").unwrap().auto);
    }
}
