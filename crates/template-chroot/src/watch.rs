// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # What ends a run from outside
//!
//! The kernel ends every sandbox when this program dies, however it dies. This module makes it die in order: on
//! SIGINT, SIGTERM or SIGHUP ([`handle_signals`]), and when another process ends ([`die_with`]): the caller behind
//! sudo, which is not our parent. A running sandbox is ended and its call returns
//! [`ChrootError::Interrupted`]; where none is running and nobody
//! [defers](Deferred), the program exits with 130.

use std::fs;
use std::io::Write as _;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open, pidfd_send_signal};

use crate::error::{ChrootError, Result};

/// The exit code of an interrupted run.
const INTERRUPTED: i32 = 130;
/// How long an interrupt leaves to what waits for a network.
const PATIENCE: Duration = Duration::from_secs(1);

static STATE: Mutex<State> =
    Mutex::new(State { by: None, deferred: 0, next: 0, running: Vec::new(), waiting: Vec::new() });

struct State {
    /// What interrupted us.
    by: Option<String>,
    deferred: usize,
    next: u64,
    running: Vec<Running>,
    /// What waits for a network, by number, and where it leaves files until it has all of them.
    waiting: Vec<(u64, Option<PathBuf>)>,
}

struct Running {
    id: u64,
    /// Of the outer process.
    pidfd: OwnedFd,
    /// Shares the terminal, which sends Ctrl-C to the command itself.
    on_terminal: bool,
}

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Handles SIGINT, SIGTERM and SIGHUP from now on, unless they are ignored (nohup, background jobs). Must be called
/// in `main` before there is any other thread, since all threads have to block them.
pub fn handle_signals() -> Result<()> {
    let ignored = ignored_signals();
    let handled: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]
        .into_iter()
        .filter(|s| ignored & (1 << (*s as i32 - 1)) == 0)
        .collect();
    if handled.iter().next().is_none() {
        return Ok(());
    }
    handled.thread_block().map_err(|e| ChrootError::Internal(format!("blocking signals: {e}")))?;
    spawn("signals", move || {
        while let Ok(signal) = handled.wait() {
            if signal == Signal::SIGINT && state().running.iter().any(|r| r.on_terminal) {
                continue;
            }
            interrupt(signal.as_str(), true);
        }
    })
}

/// Ends this run when the process `pid` ends, or the parent of this program (which may be a sudo between them).
pub fn die_with(pid: i32) -> Result<()> {
    let open = |pid: Pid| pidfd_open(pid, PidfdFlags::empty());
    let caller = Pid::from_raw(pid).ok_or_else(|| {
        ChrootError::usage(
            format!("there is no process {pid} to end with"),
            "give the number of a process that runs",
        )
    })?;
    let caller = match open(caller) {
        Ok(fd) => fd,
        Err(rustix::io::Errno::SRCH) => {
            return Err(ChrootError::Interrupted { by: format!("process {pid} has ended") });
        }
        Err(e) => return Err(ChrootError::Internal(format!("watching process {pid}: {e}"))),
    };
    let parent = rustix::process::getppid().and_then(|p| open(p).ok());
    spawn("caller", move || {
        let mut polled = vec![PollFd::new(&caller, PollFlags::IN)];
        polled.extend(parent.as_ref().map(|p| PollFd::new(p, PollFlags::IN)));
        while poll(&mut polled, None) == Err(rustix::io::Errno::INTR) {}
        if polled[0].revents().is_empty() {
            interrupt("the parent of this process has ended", false);
        } else {
            interrupt(&format!("process {pid} has ended"), false);
        }
    })
}

/// What interrupted this run, if anything has.
pub fn interrupted() -> Option<String> {
    state().by.clone()
}

/// An error if this run is interrupted: for long work between sandboxes.
pub fn check() -> Result<()> {
    interrupted().map_or(Ok(()), |by| Err(ChrootError::Interrupted { by }))
}

/// While it lives, an interrupt ends sandboxes but not the program, so that what was begun can be cleaned up.
/// A second signal always ends the program.
#[derive(Debug)]
pub struct Deferred(());

/// See [`Deferred`].
pub fn defer() -> Deferred {
    state().deferred += 1;
    Deferred(())
}

impl Drop for Deferred {
    fn drop(&mut self) {
        state().deferred -= 1;
    }
}

/// While it lives, an interrupt may find the program waiting for a server that says nothing, which it cannot leave: it ends
/// then without what waits, whose files are removed.
#[derive(Debug)]
pub struct Waiting(u64);

/// See [`Waiting`].
pub fn waiting(files: Option<&Path>) -> Waiting {
    let mut state = state();
    let id = state.next;
    state.next += 1;
    state.waiting.push((id, files.map(Path::to_owned)));
    // what was interrupted before waits no longer than what is interrupted now
    if let Some(by) = state.by.clone() {
        give_up_waiting(by);
    }
    Waiting(id)
}

impl Drop for Waiting {
    fn drop(&mut self) {
        state().waiting.retain(|(id, _)| *id != self.0);
    }
}

/// Ends the program if it still waits for a network in a while.
fn give_up_waiting(by: String) {
    let spawned = spawn("patience", move || {
        thread::sleep(PATIENCE);
        let state = state();
        if state.waiting.is_empty() {
            return;
        }
        for path in state.waiting.iter().filter_map(|(_, files)| files.as_ref()) {
            // what cannot be removed is found by the next run
            let _ = fs::remove_dir_all(path);
        }
        let _ = writeln!(std::io::stderr(), "error: interrupted: {by}");
        std::process::exit(INTERRUPTED);
    });
    if let Err(e) = spawned {
        log::warn!("{e}");
    }
}

/// `insist`: the second time, do not wait for anything.
fn interrupt(by: &str, insist: bool) {
    let mut state = state();
    if state.by.is_some() && !insist {
        return;
    }
    if state.by.is_some() || (state.running.is_empty() && state.deferred == 0) {
        log::debug!("ending at once: {by}");
        std::process::exit(INTERRUPTED);
    }
    log::debug!("interrupted: {by}");
    state.by = Some(by.to_owned());
    if !state.waiting.is_empty() {
        give_up_waiting(by.to_owned());
    }
    for running in &state.running {
        end(&running.pidfd, rustix::process::Signal::TERM);
    }
}

/// A sandbox that shall end when we are interrupted.
pub(crate) struct Guard(u64);

pub(crate) fn register(pidfd: OwnedFd, on_terminal: bool) -> Guard {
    let mut state = state();
    if state.by.is_some() {
        end(&pidfd, rustix::process::Signal::TERM);
    }
    let id = state.next;
    state.next += 1;
    state.running.push(Running { id, pidfd, on_terminal });
    Guard(id)
}

impl Guard {
    /// Asks a sandbox to end.
    pub(crate) fn end(&self) {
        for running in state().running.iter().filter(|r| r.id == self.0) {
            end(&running.pidfd, rustix::process::Signal::TERM);
        }
    }

    /// For a sandbox that does not end when asked to.
    pub(crate) fn kill(&self) {
        for running in state().running.iter().filter(|r| r.id == self.0) {
            end(&running.pidfd, rustix::process::Signal::KILL);
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        state().running.retain(|r| r.id != self.0);
    }
}

fn end(pidfd: &impl AsFd, signal: rustix::process::Signal) {
    match pidfd_send_signal(pidfd, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
        Err(e) => log::warn!("ending a sandbox: {e}"),
    }
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<()> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .map(drop)
        .map_err(|e| ChrootError::Internal(format!("starting a thread: {e}")))
}

fn ignored_signals() -> u64 {
    fs::read_to_string("/proc/self/status").map(|s| parse_ignored(&s)).unwrap_or(0)
}

fn parse_ignored(status: &str) -> u64 {
    status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_parsed() {
        let status = "Name:\tx\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\n";
        assert_eq!(parse_ignored(status), 0x1001);
        assert_eq!(parse_ignored(""), 0);
    }
}
