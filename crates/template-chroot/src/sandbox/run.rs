// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Running a command and listening to it

use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use template_bundle::ids;

use super::disk::Disk;
use super::listen::{Ended, Pipe, attend};
use super::relay::{self, Feed};
use super::spec::{Message, STATUS_FD, Spec};
use super::{ENTRY, Exit, Sandbox, handoff, mounts, outer};
use crate::apt::without_credentials;
use crate::error::{ChrootError, Result};
use crate::watch;

/// Where a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// The status channel of apt.
    Status,
}

/// The output of a command.
#[derive(Debug, Clone)]
pub struct Captured {
    /// How it ended.
    pub exit: Exit,
    /// What it wrote to standard output.
    pub stdout: Vec<u8>,
    /// What it wrote to standard error.
    pub stderr: Vec<u8>,
}

impl Captured {
    /// Standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text.
    pub fn errors(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
}

impl Sandbox {
    /// Runs a command on our own standard output and error, and says how it ended.
    pub fn run<S: AsRef<str>>(&self, argv: &[S]) -> Result<Exit> {
        self.execute(argv, None)
    }

    /// Runs a command and keeps its output; each line is logged as well.
    pub fn capture<S: AsRef<str>>(&self, argv: &[S]) -> Result<Captured> {
        self.listen(argv, &mut |_, _| {})
    }

    /// Like [`capture`](Self::capture), and passes on each line as it comes. An argument that contains
    /// `@STATUS_FD@` gets the number of a descriptor whose lines arrive as [`Channel::Status`].
    pub fn listen<S: AsRef<str>>(&self, argv: &[S], sink: &mut dyn FnMut(Channel, &str)) -> Result<Captured> {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let exit = self.execute(argv, Some((&mut stdout, &mut stderr, sink)))?;
        Ok(Captured { exit, stdout, stderr })
    }

    #[allow(clippy::type_complexity)]
    fn execute<S: AsRef<str>>(
        &self,
        argv: &[S],
        capture: Option<(&mut Vec<u8>, &mut Vec<u8>, &mut dyn FnMut(Channel, &str))>,
    ) -> Result<Exit> {
        self.check()?;
        watch::check()?;
        let argv: Vec<String> = argv.iter().map(|a| a.as_ref().to_owned()).collect();
        log::debug!("running in {}: {}", describe(&self.root), argv.join(" "));
        let with_status = capture.is_some() && argv.iter().any(|a| a.contains(STATUS_FD));
        let on_terminal = self.inherit_stdin && io::stdin().is_terminal();
        let spec = Spec {
            parent: std::process::id() as i32,
            user_namespace: ids::map().is_some(),
            root: absolute(&self.root)?,
            binds: self.own_binds.iter().chain(&self.binds).map(absolute_bind).collect::<Result<_>>()?,
            own_files: self.own_files.clone(),
            unsynced: self.unsynced,
            network: self.network,
            deny_services: self.deny_services,
            keep_session: on_terminal,
            hostname: self.hostname.clone(),
            cwd: self.cwd.clone(),
            env: self.environment(),
            argv,
            has_stdin: self.inherit_stdin,
            has_status: with_status,
        };

        let disk = Disk::of(&spec.root);

        let (report_in, report_out) = pipe()?;
        let mut pipes = vec![Pipe::new(None, report_in, None)];
        let mut status_out = None;
        let mut sink: &mut dyn FnMut(Channel, &str) = &mut |_, _| {};
        let mut command = Command::new("/proc/self/exe");
        command.args([ENTRY, "outer"]).env_clear();
        if let Some((stdout, stderr, lines)) = capture {
            let (out_in, out) = pipe()?;
            let (err_in, err) = pipe()?;
            command.stdout(out).stderr(err);
            pipes.push(Pipe::new(Some(Channel::Stdout), out_in, Some(stdout)));
            pipes.push(Pipe::new(Some(Channel::Stderr), err_in, Some(stderr)));
            sink = lines;
        } else {
            pipes.extend(copies(&mut command)?);
        }
        let mut feed = match self.inherit_stdin && !relay::is_harmless(&io::stdin()) {
            true => {
                Some(Feed::of(io::stdin()).map_err(|e| ChrootError::io("passing on", "standard input", e))?)
            }
            false => None,
        };
        if with_status {
            let (status_in, status) = pipe()?;
            pipes.push(Pipe::new(Some(Channel::Status), status_in, None));
            status_out = Some(status);
        }
        let (ours, theirs) = UnixStream::pair().map_err(|e| ChrootError::io("making", "a socket", e))?;
        let mut child = command
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .spawn()
            .map_err(|e| ChrootError::io("starting", "/proc/self/exe", e))?;
        drop(command);
        let guard = Pid::from_raw(child.id() as i32)
            .ok_or(rustix::io::Errno::SRCH)
            .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()))
            .map(|fd| watch::register(fd, on_terminal))
            .map_err(|e| ChrootError::Internal(format!("watching the sandbox: {e}")))?;

        let stdin = io::stdin();
        let mut fds: Vec<BorrowedFd<'_>> = vec![report_out.as_fd()];
        if self.inherit_stdin {
            fds.push(feed.as_ref().map_or(stdin.as_fd(), |feed| feed.reader.as_fd()));
        }
        fds.extend(status_out.as_ref().map(AsFd::as_fd));
        let sent = handoff::send(&ours, &spec, &fds);
        drop((report_out, status_out));

        let mut messages = Vec::new();
        let listened = attend(&mut pipes, feed.as_mut(), &disk, &guard, &mut |channel, line| match channel {
            None => messages.extend(serde_json::from_str(line)),
            Some(channel) => {
                log::trace!(target: "sandbox", "{:?}", without_credentials(line));
                sink(channel, line);
            }
        });
        let waited = child.wait();
        drop(guard);
        if let Some(feed) = feed {
            feed.give_back();
        }
        watch::check()?;
        let ended = listened.map_err(|e| ChrootError::io("passing on what comes from", "the sandbox", e))?;
        if ended == Ended::DiskFull {
            return Err(disk.full());
        }
        let waited = waited.map_err(|e| ChrootError::io("waiting for", "the sandbox", e))?;
        if let (true, Err(e)) = (messages.is_empty(), sent) {
            return Err(ChrootError::io("talking to", "the sandbox", e));
        }
        conclude(messages, &format!("the sandbox ended without a result ({waited})"))
    }
}

/// Replaces those of our standard output and error that a command must not have.
fn copies(command: &mut Command) -> Result<Vec<Pipe<'static>>> {
    let failed = |what| move |e| ChrootError::io("passing on", what, e);
    let (stdout, stderr) = (io::stdout(), io::stderr());
    let mut copies = Vec::new();
    let mut shared = None;
    if !relay::is_harmless(&stdout) {
        let (input, output) = pipe()?;
        if relay::are_same(&stdout, &stderr) {
            // the order of lines shall stay
            shared = Some(output.try_clone().map_err(failed("standard error"))?);
        }
        command.stdout(output);
        copies.push(Pipe::copying(
            input,
            stdout.as_fd().try_clone_to_owned().map_err(failed("standard output"))?.into(),
        ));
    }
    if let Some(shared) = shared {
        command.stderr(shared);
    } else if !relay::is_harmless(&stderr) {
        let (input, output) = pipe()?;
        command.stderr(output);
        copies.push(Pipe::copying(
            input,
            stderr.as_fd().try_clone_to_owned().map_err(failed("standard error"))?.into(),
        ));
    }
    Ok(copies)
}

/// The kernel gives a user namespace no more of /proc than it sees already.
const PROC_MASKED: &str = "parts of this container's /proc are masked, and so a sandbox cannot have its own: start the container with \
    --security-opt unmask=ALL (podman) or systempaths=unconfined (docker), or run it as root of a privileged one";

/// Another root is mounted over a mount only.
const PLAIN_CHROOT: &str = "the root directory here is no mount, as in a plain chroot: enter it by systemd-nspawn, schroot, bubblewrap \
    or a container, or bind it to itself before chroot ('mount --bind DIR DIR')";

/// Makes a result or an error of what the inner processes have reported.
fn conclude(messages: Vec<Message>, otherwise: &str) -> Result<Exit> {
    let mut result = None;
    for message in messages {
        match message {
            Message::CleanupFailed { path, error } => log::warn!("cleaning up: {path}: {error}"),
            // the first failure is the cause of the others
            other if result.is_none() => result = Some(other),
            _ => {}
        }
    }
    match result {
        Some(Message::Exited { code: Some(code), .. }) => Ok(Exit { code, signal: None }),
        Some(Message::Exited { signal: Some(signal), .. }) => {
            Ok(Exit { code: 128 + signal, signal: Some(signal) })
        }
        Some(Message::NotStarted { command, errno, error }) => Err(not_started(&command, errno, &error)),
        Some(Message::SetupFailed { step, path, errno, error }) => {
            let message = [format!("setting up the sandbox: {step}"), path, plain(&error)]
                .into_iter()
                .filter(|part| !part.is_empty())
                .collect::<Vec<_>>()
                .join(": ");
            Err(match errno.map(nix::errno::Errno::from_raw) {
                Some(nix::errno::Errno::EPERM) if step == mounts::MAKING_PROC => {
                    ChrootError::MissingPrivilege { message, hint: Some(PROC_MASKED.to_owned()) }
                }
                Some(nix::errno::Errno::EINVAL) if step == outer::MAKING_PRIVATE => {
                    ChrootError::MissingPrivilege { message, hint: Some(PLAIN_CHROOT.to_owned()) }
                }
                Some(nix::errno::Errno::EPERM) => ChrootError::privilege(message),
                Some(nix::errno::Errno::ENOENT | nix::errno::Errno::ENOTDIR) => ChrootError::usage(
                    message,
                    "check that the path is there, on this machine for a bind and in the template for a command",
                ),
                _ => ChrootError::Internal(message),
            })
        }
        Some(Message::Killed { signal: Some(signal) }) => Err(ChrootError::Internal(format!(
            "the sandbox was killed by signal {signal}, perhaps for lack of memory"
        ))),
        _ => Err(ChrootError::Internal(otherwise.to_owned())),
    }
}

fn not_started(command: &str, errno: Option<i32>, error: &str) -> ChrootError {
    let hint = match errno.map(nix::errno::Errno::from_raw) {
        Some(nix::errno::Errno::ENOEXEC) => Some(
            "a tree of another architecture needs qemu-user-static and binfmt-support on this machine"
                .to_owned(),
        ),
        _ => None,
    };
    ChrootError::MissingTool { message: format!("starting '{command}' inside: {}", plain(error)), hint }
}

/// Without Rust's "(os error 2)", and in lower case like all our messages.
fn plain(error: &str) -> String {
    let text = error.split(" (os error").next().unwrap_or(error);
    match text.split_at_checked(1) {
        Some((first, rest)) if !rest.starts_with(char::is_uppercase) => first.to_lowercase() + rest,
        _ => text.to_owned(),
    }
}

fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    pipe_with(PipeFlags::CLOEXEC).map_err(|e| ChrootError::io("making", "a pipe", e))
}

fn describe(root: &super::Root) -> String {
    match root {
        super::Root::Tree(tree) => tree.display().to_string(),
        super::Root::Overlay { upper, .. } => format!("an overlay on {}", upper.display()),
    }
}

/// The outer process works from another directory.
fn absolute(root: &super::Root) -> Result<super::Root> {
    let canonical =
        |path: &Path| path.canonicalize().map_err(|e| ChrootError::io("using root filesystem", path, e));
    Ok(match root {
        super::Root::Tree(tree) => super::Root::Tree(canonical(tree)?),
        super::Root::Overlay { lowers, upper, work } => super::Root::Overlay {
            lowers: lowers.iter().map(|l| canonical(l)).collect::<Result<_>>()?,
            upper: canonical(upper)?,
            work: canonical(work)?,
        },
    })
}

fn absolute_bind(bind: &super::Bind) -> Result<super::Bind> {
    let source = bind.source.canonicalize().map_err(|e| ChrootError::io("binding", &bind.source, e))?;
    Ok(super::Bind { source, ..bind.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_become_results() {
        let exited = |code, signal| conclude(vec![Message::Exited { code, signal }], "").unwrap();
        assert_eq!(exited(Some(3), None), Exit { code: 3, signal: None });
        assert_eq!(exited(None, Some(9)), Exit { code: 137, signal: Some(9) });
        assert!(matches!(conclude(vec![], "x"), Err(ChrootError::Internal(_))));
        let failed = |errno| {
            conclude(
                vec![
                    Message::SetupFailed {
                        step: "making namespaces".into(),
                        path: String::new(),
                        errno: Some(errno),
                        error: "Operation not permitted (os error 1)".into(),
                    },
                    Message::Killed { signal: Some(9) },
                ],
                "",
            )
            .unwrap_err()
        };
        assert_eq!(
            failed(1).to_string(),
            "setting up the sandbox: making namespaces: operation not permitted"
        );
        assert_eq!(failed(1).exit_code(), 5);
        assert_eq!(failed(5).exit_code(), 1);
    }
}
