// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Enabled units and init scripts
//!
//! What `systemctl enable` and update-rc.d leave in /etc: symlinks, which this reads without systemd.

use std::path::{Path, PathBuf};

use super::{Kind, Tree};
use crate::error::Result;

/// Where units are looked for, by their manager.
const MANAGERS: [(&str, [&str; 4]); 2] = [
    (
        "/etc/systemd/system",
        [
            "/etc/systemd/system",
            "/usr/local/lib/systemd/system",
            "/usr/lib/systemd/system",
            "/lib/systemd/system",
        ],
    ),
    (
        "/etc/systemd/user",
        ["/etc/systemd/user", "/usr/local/lib/systemd/user", "/usr/lib/systemd/user", "/lib/systemd/user"],
    ),
];

/// What a symlink says of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum How {
    /// Another unit wants, requires or upholds it.
    Wanted,
    /// It has another name.
    Alias,
    /// It must not be started.
    Masked,
    /// A runlevel starts or stops an init script.
    Runlevel,
}

/// A symlink that makes something of a unit or init script.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Enablement {
    /// The symlink.
    pub link: PathBuf,
    /// What it does.
    pub how: How,
    /// The unit (`cron.service`) or the init script (`cron`).
    pub unit: String,
    /// Where the symlink points, in its own words.
    pub target: PathBuf,
    /// Whether there is such a unit or script.
    pub present: bool,
}

/// Reads what is enabled in a tree, sorted by symlink.
pub fn enabled_units(tree: &Tree) -> Result<Vec<Enablement>> {
    let mut found = Vec::new();
    for (dir, places) in MANAGERS {
        for (name, kind) in tree.list(dir)? {
            let path = Path::new(dir).join(&name);
            match kind {
                Kind::Symlink => found.extend(unit(tree, &path, &places, false)?),
                Kind::Directory if is_dependency_dir(&name.to_string_lossy()) => {
                    for (name, kind) in tree.list(&path)? {
                        if kind == Kind::Symlink {
                            found.extend(unit(tree, &path.join(name), &places, true)?);
                        }
                    }
                }
                _ => {}
            }
        }
    }
    for runlevel in ["0", "1", "2", "3", "4", "5", "6", "S"] {
        let dir = format!("/etc/rc{runlevel}.d");
        for (name, kind) in tree.list(&dir)? {
            let name = name.to_string_lossy();
            // S or K, two digits, and the name
            let Some(script) = name.get(3..).filter(|s| kind == Kind::Symlink && !s.is_empty()) else {
                continue;
            };
            let link = Path::new(&dir).join(&*name);
            let Some(target) = tree.link(&link)? else { continue };
            let present = tree.leads_somewhere(&link)?;
            found.push(Enablement { link, how: How::Runlevel, unit: script.to_owned(), target, present });
        }
    }
    found.sort();
    Ok(found)
}

fn is_dependency_dir(name: &str) -> bool {
    [".wants", ".requires", ".upholds"].iter().any(|end| name.ends_with(end))
}

fn unit(tree: &Tree, link: &Path, places: &[&str], wanted: bool) -> Result<Option<Enablement>> {
    let (Some(name), Some(target)) = (link.file_name().and_then(|n| n.to_str()), tree.link(link)?) else {
        return Ok(None);
    };
    let masked = target == Path::new("/dev/null");
    let unit = match target.file_name().and_then(|n| n.to_str()).filter(|_| !wanted && !masked) {
        Some(real) => real.to_owned(),
        None => name.to_owned(),
    };
    let how = match (masked, wanted) {
        (true, _) => How::Masked,
        (false, true) => How::Wanted,
        (false, false) => How::Alias,
    };
    // /dev/null and the link to it are no unit
    let present = match masked {
        true => exists(tree, &unit, &places[1..])?,
        false => tree.leads_somewhere(link)? || exists(tree, &unit, places)?,
    };
    Ok(Some(Enablement { link: link.to_owned(), how, unit, target, present }))
}

/// systemd goes by the name: where the symlink points does not matter as long as there is such a unit.
fn exists(tree: &Tree, unit: &str, places: &[&str]) -> Result<bool> {
    let template = unit.split_once('@').and_then(|(name, rest)| {
        let (_, kind) = rest.rsplit_once('.')?;
        Some(format!("{name}@.{kind}"))
    });
    for name in [Some(unit.to_owned()), template].into_iter().flatten() {
        for place in places {
            if tree.leads_somewhere(format!("{place}/{name}"))? {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::tree::of_files;

    #[test]
    fn enabled_units_are_read() {
        let (_dir, tree) = of_files(&[
            ("lib/systemd/system/cron.service", ""),
            ("usr/lib/systemd/system/getty@.service", ""),
            (
                "etc/systemd/system/multi-user.target.wants/cron.service",
                "-> /lib/systemd/system/cron.service",
            ),
            (
                "etc/systemd/system/multi-user.target.wants/gone.service",
                "-> /lib/systemd/system/gone.service",
            ),
            (
                "etc/systemd/system/getty.target.wants/getty@tty1.service",
                "-> /lib/systemd/system/getty@.service",
            ),
            ("etc/systemd/system/syslog.service", "-> /lib/systemd/system/rsyslog.service"),
            ("etc/systemd/system/noisy.service", "-> /dev/null"),
            ("etc/systemd/system/own.service", "[Unit]"),
            ("etc/init.d/cron", ""),
            ("etc/rc2.d/S01cron", "-> ../init.d/cron"),
            ("etc/rc2.d/K01gone", "-> ../init.d/gone"),
            ("etc/rc2.d/README", "text"),
        ]);
        let found: Vec<(String, How, bool)> = enabled_units(&tree)
            .unwrap()
            .into_iter()
            .map(|e| (format!("{}: {}", e.link.display(), e.unit), e.how, e.present))
            .collect();
        let wants = "/etc/systemd/system/multi-user.target.wants";
        let expected = [
            ("/etc/rc2.d/K01gone: gone".to_owned(), How::Runlevel, false),
            ("/etc/rc2.d/S01cron: cron".to_owned(), How::Runlevel, true),
            (
                "/etc/systemd/system/getty.target.wants/getty@tty1.service: getty@tty1.service".to_owned(),
                How::Wanted,
                true,
            ),
            (format!("{wants}/cron.service: cron.service"), How::Wanted, true),
            (format!("{wants}/gone.service: gone.service"), How::Wanted, false),
            ("/etc/systemd/system/noisy.service: noisy.service".to_owned(), How::Masked, false),
            ("/etc/systemd/system/syslog.service: rsyslog.service".to_owned(), How::Alias, false),
        ];
        assert_eq!(found, expected);
    }
}
