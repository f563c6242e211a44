// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # No service starts
//!
//! policy-rc.d denies it to invoke-rc.d and deb-systemd-invoke, and start-stop-daemon does nothing. Both are bound over
//! whatever the tree has, be it its own or what Isar's chroot-setup.sh has put there, so the tree stays as it is.
//! systemctl finds no /run/systemd/system.

use std::path::Path;

use super::mounts::{PLAIN, Step, bind, make_dir, remount, write_file};
use super::placeholders::Placeholders;
use super::spec::OWN_DIR;

pub(super) const POLICY: &str = "/usr/sbin/policy-rc.d";
const START_STOP_DAEMON: [&str; 2] = ["/usr/sbin/start-stop-daemon", "/sbin/start-stop-daemon"];

const DENY: &str = "#!/bin/sh\nexit 101\n";
/// What is said in place of starting and stopping something.
pub(crate) const NOTHING_STARTED: &str = "start-stop-daemon: nothing is started or stopped here";

pub(super) fn deny(placeholders: &mut Placeholders) -> Step<()> {
    let own = Path::new(OWN_DIR).join("services");
    make_dir(&own, 0o755)?;
    let policy = own.join("policy-rc.d");
    write_file(&policy, DENY.as_bytes(), 0o755)?;
    cover(&policy, &placeholders.ensure(Path::new(POLICY), false)?)?;

    let nothing = own.join("start-stop-daemon");
    let script = format!("#!/bin/sh\necho '{NOTHING_STARTED}' >&2\nexit 0\n");
    write_file(&nothing, script.as_bytes(), 0o755)?;
    let mut covered = Vec::new();
    for path in START_STOP_DAEMON {
        // /sbin is a directory of its own in older trees, a link to /usr/sbin in newer ones
        let Ok(path) = Path::new(path).canonicalize() else { continue };
        if !covered.contains(&path) {
            cover(&nothing, &path)?;
            covered.push(path);
        }
    }
    Ok(())
}

fn cover(source: &Path, target: &Path) -> Step<()> {
    bind(source, target)?;
    remount(target, PLAIN | nix::mount::MsFlags::MS_RDONLY)
}
