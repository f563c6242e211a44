// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Being root without root
//!
//! An ordinary user becomes root of a user namespace, in which his sub-ids (subuid(5)) are the other users. This process enters
//! it and stays the same one, with its terminal, parent and signals. The ids can be mapped from outside only, by the
//! setuid programs newuidmap and newgidmap: a child does that which was started before.

mod refusal;
mod subids;

use std::env;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};

use self::refusal::Settings;
use self::subids::SubIds;
use crate::error::{ChrootError, Result};
use crate::sandbox::ENTRY;

/// The stage of the child, as in [`crate::sandbox_entry`].
pub(crate) const STAGE: &str = "ids";

const MAPPERS: [&str; 2] = ["newuidmap", "newgidmap"];

static ENTERED: AtomicBool = AtomicBool::new(false);

/// Whether this process is root of a user namespace that it has made itself.
pub fn entered() -> bool {
    ENTERED.load(Ordering::Relaxed)
}

/// Makes this process root of a user namespace, for `what`, unless it is root already. Must be called before there is any
/// other thread.
pub fn enter(what: &str) -> Result<()> {
    if geteuid().is_root() {
        return Ok(());
    }
    become_root().map_err(|e| match e {
        ChrootError::MissingPrivilege { message, hint } => ChrootError::MissingPrivilege {
            message: format!("{what} without root: {message}"),
            hint: hint.map(|hint| format!("{hint}; or run it with sudo")),
        },
        other => other,
    })
}

fn become_root() -> Result<()> {
    let ids = SubIds::of(geteuid(), [Path::new("/etc/subuid"), Path::new("/etc/subgid")])?;
    let own = [geteuid().as_raw(), getegid().as_raw()];
    let mut commands = Vec::new();
    for ((program, ids), own) in MAPPERS.iter().zip(&ids).zip(own) {
        let mut command = vec![find(program)?, std::process::id().to_string()];
        command.extend(ids.map(own));
        commands.push(command);
    }

    let failed = |e: io::Error| ChrootError::io("making", "a user namespace", e);
    let (mut ours, theirs) = UnixStream::pair().map_err(failed)?;
    let mut mapper = Command::new("/proc/self/exe")
        .args([ENTRY, STAGE])
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .spawn()
        .map_err(failed)?;
    let made = unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS);
    if made.is_ok() {
        serde_json::to_writer(&ours, &commands).map_err(io::Error::from).map_err(failed)?;
    }
    // without any commands it ends
    ours.shutdown(Shutdown::Write).map_err(failed)?;
    let mut complaint = String::new();
    ours.read_to_string(&mut complaint).map_err(failed)?;
    mapper.wait().map_err(failed)?;
    made.map_err(|e| refusal::no_namespace(e, &Settings::of_the_machine()))?;
    if !complaint.is_empty() {
        return Err(refusal::not_mapped(&complaint));
    }
    // a security module may have let us make the namespace, and allow nothing in it
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .map_err(|e| refusal::no_namespace(e, &Settings::of_the_machine()))?;
    ENTERED.store(true, Ordering::Relaxed);
    Ok(())
}

/// Where a program is.
fn find(program: &str) -> Result<String> {
    let path = env::var_os("PATH").unwrap_or_default();
    let places = env::split_paths(&path).chain(["/usr/bin", "/bin"].map(PathBuf::from));
    let found = places.map(|dir| dir.join(program)).find(|file| file.is_file());
    found.map(|file| file.to_string_lossy().into_owned()).ok_or_else(|| ChrootError::MissingPrivilege {
        message: format!("{program} is not there, which gives a user namespace its ids"),
        hint: Some("install it: the package is uidmap".to_owned()),
    })
}

/// The child: runs what it is told to, and passes on what a program that fails has said.
pub(crate) fn map_ids(socket: UnixStream) -> io::Result<()> {
    let mut text = String::new();
    BufReader::new(&socket).read_line(&mut text)?;
    if text.is_empty() {
        return Ok(());
    }
    let commands: Vec<Vec<String>> = serde_json::from_str(&text)?;
    for command in commands {
        let Some((program, args)) = command.split_first() else { continue };
        let complaint = match Command::new(program).args(args).stdin(Stdio::null()).output() {
            Ok(output) if output.status.success() => continue,
            Ok(output) => format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim()),
            Err(e) => format!("{program}: {e}"),
        };
        return (&socket).write_all(complaint.as_bytes());
    }
    Ok(())
}
