// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # What changes whatever is installed
//!
//! Databases of the package manager, logs, and caches that triggers bring up to date. docs/manual.md has the same list.

use std::path::Path;

use super::glob::matches;
use crate::system::plain;

/// Nothing is said about these paths, as a merged system has them.
const IGNORED: &[&str] = &[
    // databases of dpkg, apt, debconf and ucf; what they say is compared, not how it is written
    "/var/lib/dpkg/**",
    "/var/lib/apt/**",
    "/var/lib/ucf",
    "/var/lib/ucf/**",
    "/var/lib/systemd/deb-systemd-helper-*",
    "/var/lib/systemd/deb-systemd-helper-*/**",
    "/var/lib/systemd/deb-systemd-user-helper-*",
    "/var/lib/systemd/deb-systemd-user-helper-*/**",
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
    // logs and caches
    "/var/log/**",
    "/var/cache/**",
    "/etc/ld.so.cache",
    "**/__pycache__",
    "**/__pycache__/**",
    "**/*.pyc",
    // what triggers of other packages make of all that is installed
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

/// Whether a difference there means nothing.
pub(super) fn is_noise(path: &str) -> bool {
    // a file system of its own in every sandbox, and on a device
    let elsewhere = ["/run/", "/tmp/", "/dev/", "/proc/", "/sys/"];
    if elsewhere.iter().any(|dir| path.starts_with(dir)) {
        return true;
    }
    let merged = plain(Path::new(path));
    let path = merged.to_string_lossy();
    IGNORED.iter().any(|glob| matches(glob, &path))
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
}
