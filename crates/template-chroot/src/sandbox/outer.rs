// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # The outer process of a sandbox
//!
//! Makes the namespaces, starts process 1 in them, and waits. When the helper dies, the kernel kills this process;
//! when this process dies, the kernel kills process 1 and with it everything inside; the mounts go with the last
//! process. On SIGTERM it ends the sandbox in order and takes away what had to be made in the tree.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::mounts::{self, InStep, STAGE, Step};
use super::placeholders::{Placeholder, remove_placeholders};
use super::spec::{Message, Spec};
use super::{ENTRY, Reporter, handoff};

/// A step that says what is wrong where the root directory is no mount.
pub(super) const MAKING_PRIVATE: &str = "making mounts private";

/// Signals of the terminal and of a user, which must not end us before the sandbox.
pub(super) const HELD: [Signal; 4] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT];

pub(super) fn run(socket: UnixStream) -> io::Result<()> {
    let (spec, mut fds) = handoff::receive(&socket)?;
    if fds.is_empty() {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    let report = Reporter::new(fds.remove(0));
    match start(&spec, &report, &fds.iter().map(AsFd::as_fd).collect::<Vec<_>>()) {
        Ok((child, inner)) => {
            drop(fds);
            attend(child, inner, &report);
        }
        Err(e) => report.send(&e.into()),
    }
    Ok(())
}

fn start(spec: &Spec, report: &Reporter, fds: &[std::os::fd::BorrowedFd<'_>]) -> Step<(Child, UnixStream)> {
    let mut held: SigSet = HELD.into_iter().collect();
    held.add(Signal::SIGCHLD);
    held.thread_set_mask().step("blocking signals", "")?;
    if !spec.keep_session {
        // no terminal, so nothing inside can type into it, and Ctrl-C goes to the helper alone
        nix::unistd::setsid().step("leaving the session", "")?;
    }
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).step("tying to the helper", "")?;
    if nix::unistd::getppid() != Pid::from_raw(spec.parent) {
        // it died before the kernel knew that we follow
        std::process::exit(1);
    }
    // pivot_root moves a process along only when it is in the root
    std::env::set_current_dir("/").step("entering", "/")?;
    let own = Path::new("/proc/self/exe");
    // the mount that we were started from is not in the namespace that we are about to make; and not in that of a user
    // namespace either
    let program = match spec.user_namespace {
        true => None,
        false => Some(mounts::Clone::take(own, false)?),
    };
    let mut namespaces = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWCGROUP;
    namespaces.set(CloneFlags::CLONE_NEWNET, !spec.network);
    unshare(namespaces).step("making namespaces", "")?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .step(MAKING_PRIVATE, "/")?;
    let stage = Path::new(STAGE);
    mounts::tmpfs(stage, mounts::PLAIN, "mode=700")?;

    // process 1 is this program on a read-only mount, or a copy: nothing inside can reach the host's file through /proc
    let helper = stage.join("helper");
    if let Some(program) = program {
        mounts::write_file(&helper, b"", 0o500)?;
        program.attach(&helper)?;
    } else {
        fs::copy(own, &helper).step("copying", own)?;
        mounts::bind(&helper, &helper)?;
    }
    mounts::remount(&helper, mounts::PLAIN | MsFlags::MS_RDONLY)?;

    let (ours, theirs) = UnixStream::pair().step("making a socket", "")?;
    let child = Command::new(&helper)
        .args([ENTRY, "init"])
        .env_clear()
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs)))
        .spawn()
        .step("starting process 1", &helper)?;
    let mut all = vec![report.as_fd()];
    all.extend_from_slice(fds);
    handoff::send(&ours, spec, &all).step("talking to process 1", "")?;
    Ok((child, ours))
}

/// Waits for the end of process 1, and cleans up.
fn attend(mut child: Child, inner: UnixStream, report: &Reporter) {
    match wait(&mut child) {
        Ok(status) if status.code() == Some(0) => {}
        Ok(status) => report.send(&Message::Killed { signal: status.signal() }),
        Err(e) => report.send(&Message::SetupFailed {
            step: "waiting for process 1".to_owned(),
            path: String::new(),
            errno: e.raw_os_error(),
            error: e.to_string(),
        }),
    }
    // one JSON array a line; the last one is complete
    let mut made: Vec<Placeholder> = Vec::new();
    for line in BufReader::new(inner).lines().map_while(Result::ok) {
        if let Ok(placeholders) = serde_json::from_str(&line) {
            made = placeholders;
        }
    }
    for (path, error) in remove_placeholders(&made) {
        report.send(&Message::CleanupFailed { path: path.display().to_string(), error: error.to_string() });
    }
}

fn wait(child: &mut Child) -> io::Result<std::process::ExitStatus> {
    let set: SigSet = [Signal::SIGTERM, Signal::SIGCHLD].into_iter().collect();
    let signals = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC)?;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if signals.read_signal()?.is_some_and(|signal| signal.ssi_signo == Signal::SIGTERM as u32) {
            child.kill()?;
        }
    }
}

/// Reaps all children until `main` ends.
pub(super) fn reap_until(main: Pid) -> io::Result<WaitStatus> {
    loop {
        match waitpid(None, Some(WaitPidFlag::empty())) {
            Ok(status @ (WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, _, _))) if pid == main => {
                return Ok(status);
            }
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// Reads the resolver configuration of the host; an absent one is an empty one.
pub(super) fn host_resolver() -> String {
    fs::read_to_string("/etc/resolv.conf").unwrap_or_default()
}
