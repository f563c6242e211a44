// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Process 1 of a sandbox
//!
//! Sets the sandbox up, gives up what it does not need, starts the command, reaps whatever is orphaned, and ends with
//! the command; the kernel then kills what is left.

use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::stat::{Mode, umask};
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::mounts::{self, InStep, Step};
use super::outer::{host_resolver, reap_until};
use super::placeholders::Placeholders;
use super::spec::{Message, OWN_DIR, STATUS_FD, Spec};
use super::{Reporter, dev, handoff, limits, services};

pub(super) fn run(socket: UnixStream) -> io::Result<()> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    // our parent is in another PID namespace, so its pid cannot be compared; but only it holds the other end
    let mut polled = [PollFd::new(&socket, PollFlags::empty())];
    poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
    if polled[0].revents().contains(PollFlags::HUP) {
        return Err(io::Error::from(io::ErrorKind::BrokenPipe));
    }
    let (spec, mut fds) = handoff::receive(&socket)?;
    if fds.len() != 1 + usize::from(spec.has_stdin) + usize::from(spec.has_status) {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    let report = Reporter::new(fds.remove(0));
    let stdin = spec.has_stdin.then(|| fds.remove(0));
    let status = spec.has_status.then(|| fds.remove(0));

    let mut placeholders = Placeholders::default();
    let set_up = set_up(&spec, &mut placeholders, &socket);
    // also when a step failed: what was made is taken away
    tell(&socket, &placeholders)?;
    if let Err(e) = set_up {
        report.send(&e.into());
        return Ok(());
    }
    report.send(&command(&spec, stdin, status));
    Ok(())
}

/// Tells the outer process what it will have to take away.
fn tell(mut socket: &UnixStream, placeholders: &Placeholders) -> io::Result<()> {
    let mut line = serde_json::to_vec(&placeholders.0)?;
    line.push(b'\n');
    socket.write_all(&line)
}

fn set_up(spec: &Spec, placeholders: &mut Placeholders, socket: &UnixStream) -> Step<()> {
    nix::unistd::sethostname(&spec.hostname).step("setting the host name", &spec.hostname)?;
    if !spec.network {
        super::net::loopback_up().step("bringing up the loopback interface", "lo")?;
    }
    let nodes = dev::clone_nodes()?;
    let binds = mounts::clone_binds(&spec.binds)?;
    let resolver = spec.network.then(host_resolver);
    let kernel = mounts::prepare_kernel(spec)?;

    umask(Mode::empty());
    mounts::enter_root(spec)?;
    mounts::mount_system(spec, &kernel, placeholders)?;
    dev::mount_dev(&nodes, placeholders)?;
    mounts::mask_system()?;
    if spec.deny_services {
        services::deny(placeholders)?;
    }
    if let Some(resolver) = resolver {
        let copy = Path::new(OWN_DIR).join("resolv.conf");
        mounts::write_file(&copy, resolver.as_bytes(), 0o644)?;
        let target = placeholders.ensure(Path::new("/etc/resolv.conf"), false)?;
        mounts::bind(&copy, &target)?;
        mounts::remount(&target, mounts::INERT | nix::mount::MsFlags::MS_RDONLY)?;
    }
    mounts::attach_binds(&binds, placeholders)?;
    // early, so that a kill during the rest leaves as little as possible
    tell(socket, placeholders).step("talking to the outer process", "")?;
    umask(Mode::from_bits_truncate(0o022));
    limits::no_core_dumps()?;
    limits::first_to_be_killed()?;
    std::env::set_current_dir(&spec.cwd).step("entering", &spec.cwd)?;

    if spec.user_namespace {
        // those of the caller, which are no ids in here; root has none
        nix::unistd::setgroups(&[]).step("leaving groups", "")?;
    }
    // a command inside may look at /proc/1, which must not lead to our open files
    nix::sys::prctl::set_dumpable(false).step("closing /proc/1", "")?;
    super::caps::reduce().map_err(|e| io::Error::other(e.to_string())).step("dropping capabilities", "")?;
    nix::sys::prctl::set_no_new_privs().step("setting no_new_privs", "")?;
    super::seccomp::restrict().step("restricting system calls", "")
}

fn command(spec: &Spec, stdin: Option<OwnedFd>, status: Option<OwnedFd>) -> Message {
    let mut argv = spec.argv.clone();
    let started = (|| {
        if let Some(status) = &status {
            rustix::io::fcntl_setfd(status, rustix::io::FdFlags::empty())?;
            let number = std::os::fd::AsRawFd::as_raw_fd(status).to_string();
            argv.iter_mut().for_each(|a| *a = a.replace(STATUS_FD, &number));
        }
        let (program, args) = argv.split_first().ok_or(io::Error::from(io::ErrorKind::InvalidInput))?;
        // the kernel gives process 1 no signal that it has not asked for
        SigSet::empty().thread_set_mask()?;
        Command::new(program)
            .args(args)
            .env_clear()
            .envs(spec.env.iter().map(|(k, v)| (k, v)))
            .stdin(stdin.map_or_else(Stdio::null, Stdio::from))
            .spawn()
    })();
    drop(status);
    let ended = started.and_then(|child| reap_until(Pid::from_raw(child.id() as i32)));
    match ended {
        Ok(WaitStatus::Exited(_, code)) => Message::Exited { code: Some(code), signal: None },
        Ok(WaitStatus::Signaled(_, signal, _)) => Message::Exited { code: None, signal: Some(signal as i32) },
        Ok(_) => Message::Exited { code: None, signal: None },
        Err(e) => Message::NotStarted {
            command: spec.argv.first().cloned().unwrap_or_default(),
            errno: e.raw_os_error(),
            error: e.to_string(),
        },
    }
}
