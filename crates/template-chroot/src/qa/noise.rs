// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # What changes whatever is installed
//!
//! Databases of the package manager, logs, and caches that triggers bring up to date. docs/manual.md has the same list.

use std::path::{Path, PathBuf};

use template_bundle::glob::matches;

use crate::error::Result;
use crate::system::plain;

/// Nothing is ever said about these paths, as a merged system has them.
const IGNORED: &[&str] = &[
    // databases of dpkg, apt and ucf; what they say is compared, not how it is written
    "/var/lib/dpkg/alternatives/**",
    "/var/lib/dpkg/arch*",
    "/var/lib/dpkg/available*",
    "/var/lib/dpkg/cmethopt",
    "/var/lib/dpkg/diversions*",
    "/var/lib/dpkg/lock*",
    "/var/lib/dpkg/statoverride*",
    "/var/lib/dpkg/status*",
    "/var/lib/dpkg/triggers/**",
    "/var/lib/dpkg/updates/**",
    "/var/lib/apt/daily_lock",
    "/var/lib/apt/extended_states",
    "/var/lib/apt/lists/**",
    "/var/lib/apt/periodic/**",
    "/var/lib/ucf",
    "/var/lib/ucf/**",
    // accounts are compared by name
    "/etc/passwd",
    "/etc/passwd-",
    "/etc/group",
    "/etc/group-",
    "/etc/shadow",
    "/etc/shadow-",
    "/etc/gshadow",
    "/etc/gshadow-",
    "/etc/subuid",
    "/etc/subuid-",
    "/etc/subgid",
    "/etc/subgid-",
    "/etc/.pwd.lock",
    // alternatives are compared by name
    "/etc/alternatives",
    "/etc/alternatives/*",
    // logs of the package manager and of the system
    "/var/log/alternatives.log",
    "/var/log/apt/**",
    "/var/log/auth.log",
    "/var/log/bootstrap.log",
    "/var/log/btmp",
    "/var/log/daemon.log",
    "/var/log/dbconfig-common/dbc.log",
    "/var/log/debug",
    "/var/log/dpkg.log",
    "/var/log/faillog",
    "/var/log/fontconfig.log",
    "/var/log/journal/**",
    "/var/log/kern.log",
    "/var/log/lastlog",
    "/var/log/lpr.log",
    "/var/log/mail.*",
    "/var/log/messages",
    "/var/log/secure",
    "/var/log/syslog",
    "/var/log/tallylog",
    "/var/log/user.log",
    "/var/log/wtmp",
    // caches that triggers of other packages make of all that is installed, and indexes of the kind
    "/var/cache/app-info/**",
    "/var/cache/apt/**",
    "/var/cache/debconf/**",
    "/var/cache/dictionaries-common/**",
    "/var/cache/fontconfig/**",
    "/var/cache/ldconfig/**",
    "/var/cache/man/**",
    "/var/cache/swcatalog/**",
    "/etc/ld.so.cache",
    "/usr/share/info/dir",
    "/usr/share/info/dir.old",
    "/usr/share/mime/**",
    "/usr/share/applications/mimeinfo.cache",
    "/usr/share/icons/*/icon-theme.cache",
    "/usr/share/glib-2.0/schemas/gschemas.compiled",
    "/usr/share/fonts/**/.uuid",
    "/usr/lib/*/gio/modules/giomodule.cache",
    "/usr/lib/*/gdk-pixbuf-2.0/*/loaders.cache",
    "/usr/lib/*/gtk-*/*/immodules.cache",
    "/usr/lib/locale/locale-archive",
    "/usr/lib/modules/*/modules.*",
    "/usr/lib/udev/hwdb.bin",
    "/etc/udev/hwdb.bin",
    "/var/lib/systemd/catalog/database",
    "/etc/mailcap",
    "/boot/initrd.img-*",
    "/var/lib/initramfs-tools/*",
];

/// What comes and changes as long as a package is there, and has to be gone or as before when it is purged.
const PASSING: &[&str] = &[
    "/var/lib/dpkg/**",
    "/var/lib/apt/**",
    "/var/lib/systemd/deb-systemd-helper-*",
    "/var/lib/systemd/deb-systemd-helper-*/**",
    "/var/lib/systemd/deb-systemd-user-helper-*",
    "/var/lib/systemd/deb-systemd-user-helper-*/**",
    "/var/log/**",
    "/var/cache/**",
];

/// What Python makes of its sources, whoever calls it.
const COMPILED: &[&str] = &["**/__pycache__", "**/__pycache__/**", "**/*.pyc"];

/// Whether a difference there means nothing as long as the package is there.
pub(super) fn is_noise(path: &str) -> bool {
    fits(path, &[IGNORED, PASSING, COMPILED])
}

/// Whether a difference there means nothing when the package is purged. What Python has compiled means nothing as
/// long as its source is there.
pub(super) fn is_noise_after_purge(path: &str, is_there: impl Fn(&Path) -> Result<bool>) -> Result<bool> {
    Ok(fits(path, &[IGNORED])
        || fits(path, &[COMPILED])
            && match source(Path::new(path)) {
                Some(source) => is_there(&source)?,
                None => true,
            })
}

fn fits(path: &str, lists: &[&[&str]]) -> bool {
    // a file system of its own in every sandbox, and on a device
    let elsewhere = ["/run/", "/tmp/", "/dev/", "/proc/", "/sys/"];
    if elsewhere.iter().any(|dir| path.starts_with(dir)) {
        return true;
    }
    let merged = plain(Path::new(path));
    let path = merged.to_string_lossy();
    lists.iter().any(|list| list.iter().any(|glob| matches(glob, &*path)))
}

/// Of `x/__pycache__/name.cpython-311.pyc` and `x/name.pyc`: `x/name.py`.
fn source(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?.strip_suffix(".pyc")?;
    let dir = path.parent()?;
    Some(match dir.ends_with("__pycache__") {
        true => dir.parent()?.join(format!("{}.py", name.split('.').next()?)),
        false => dir.join(format!("{name}.py")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases_are_noise_and_data_is_not() {
        for path in [
            "/var/lib/dpkg/status",
            "/var/log/x/y.log",
            "/usr/lib/python3/__pycache__/a.pyc",
            "/etc/shadow-",
            "/var/lib/initramfs-tools/6.1.0-1-amd64",
            // where /lib is a directory of its own
            "/lib/modules/6.1.0-1-amd64/modules.dep",
            "/lib/udev/hwdb.bin",
        ] {
            assert!(is_noise(path), "{path}");
        }
        for path in [
            "/var/lib/dpkg",
            "/var/lib/app",
            "/etc/passwd.old",
            "/etc/hosts",
            "/usr/share/mime",
            "/opt/app.py",
            "/lib/modules/6.1.0-1-amd64/extra/app.ko",
        ] {
            assert!(!is_noise(path), "{path}");
        }
    }

    #[test]
    fn logs_and_caches_go_with_the_package() {
        let noise =
            |path: &str| is_noise_after_purge(path, |source| Ok(source.ends_with("there.py"))).unwrap();
        for path in
            ["/var/log/dpkg.log", "/var/lib/dpkg/status", "/usr/lib/x/__pycache__/there.cpython-311.pyc"]
        {
            assert!(noise(path), "{path}");
        }
        for path in [
            "/var/log/app.log",
            "/var/cache/app",
            "/var/lib/dpkg/info/app.list",
            "/var/lib/systemd/deb-systemd-helper-enabled/app.service.dsh-also",
            "/usr/lib/x/__pycache__/gone.cpython-311.pyc",
            "/opt/gone.pyc",
        ] {
            assert!(is_noise(path) && !noise(path), "{path}");
        }
    }
}
