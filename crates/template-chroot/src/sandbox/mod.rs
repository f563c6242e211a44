// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # A command in a sandbox
//!
//! Three processes: the helper (the caller of this module), the outer process (makes the namespaces, waits, cleans up) and
//! process 1 (sets the sandbox up, starts the command, reaps). The last two are this program again, started
//! from /proc/self/exe, because only a single-threaded process can do what they do; see [`sandbox_entry`]. Each
//! asks the kernel to be killed with its parent, so nothing survives the helper, and nothing has to be unmounted.

mod caps;
mod dev;
mod disk;
mod handoff;
mod inherited;
mod init;
mod limits;
mod listen;
mod mounts;
mod net;
mod outer;
mod placeholders;
mod relay;
mod run;
mod seccomp;
mod services;
mod spec;

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

pub use self::run::{Captured, Channel};
pub use self::spec::{Bind, Exit, Root};
pub(crate) use self::spec::{OWN_DIR, OwnFile, STATUS_FD};
pub(crate) use services::NOTHING_STARTED;

use self::mounts::StepError;
use self::spec::Message;
use crate::error::{ChrootError, Result};
use crate::userns;

/// The first argument of the inner processes.
pub(crate) const ENTRY: &str = "__template-sandbox";

/// Paths of the programs inside.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Variables that a caller's network settings live in.
const PROXY_VARIABLES: [&str; 8] = [
    "http_proxy",
    "https_proxy",
    "ftp_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "FTP_PROXY",
    "NO_PROXY",
];

/// Must be called first thing in `main`: takes over, and does not return, when this process is to be one of the inner
/// processes of a sandbox, or to map the ids of a user namespace.
pub fn sandbox_entry() {
    let mut args = std::env::args_os().skip(1);
    inherited::default_child_signal();
    if args.next().is_none_or(|first| first != ENTRY) {
        return;
    }
    let stage = args.next().unwrap_or_default();
    let result =
        inherited::keep_to_ourselves().and_then(|()| handoff::take_socket()).and_then(|socket| match stage {
            stage if stage == "init" => init::run(socket),
            stage if stage == userns::STAGE => userns::map_ids(socket),
            _ => outer::run(socket),
        });
    // everything that a user can cause is reported another way
    std::process::exit(match result {
        Ok(()) => 0,
        // the parent is gone; the kernel is about to end us as well
        Err(e) if matches!(e.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe) => 1,
        Err(e) => {
            eprintln!("isar-template: sandbox: {e}");
            1
        }
    });
}

/// The writing end of the report channel.
pub(crate) struct Reporter(std::fs::File);

impl Reporter {
    fn new(fd: OwnedFd) -> Self {
        Self(fd.into())
    }

    fn send(&self, message: &Message) {
        if let Ok(mut line) = serde_json::to_vec(message) {
            line.push(b'\n');
            // if the helper is gone, so are we in a moment
            let _ = (&self.0).write_all(&line);
        }
    }
}

impl AsFd for Reporter {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<StepError> for Message {
    fn from(e: StepError) -> Self {
        Self::SetupFailed {
            step: e.step.to_owned(),
            path: e.path.display().to_string(),
            errno: e.source.raw_os_error(),
            error: e.source.to_string(),
        }
    }
}

/// A sandbox, to run commands in one after the other: each gets a fresh one, only the root stays.
#[derive(Debug, Clone)]
pub struct Sandbox {
    root: Root,
    binds: Vec<Bind>,
    own_binds: Vec<Bind>,
    own_files: Vec<OwnFile>,
    unsynced: bool,
    network: bool,
    deny_services: bool,
    inherit_stdin: bool,
    hostname: String,
    cwd: PathBuf,
    env: Vec<(String, String)>,
}

impl Sandbox {
    /// No network, no binds, no services, standard input from /dev/null.
    pub fn new(root: Root) -> Self {
        Self {
            root,
            binds: Vec::new(),
            own_binds: Vec::new(),
            own_files: Vec::new(),
            unsynced: false,
            network: false,
            deny_services: true,
            inherit_stdin: false,
            hostname: "localhost".to_owned(),
            cwd: "/".into(),
            env: Vec::new(),
        }
    }

    /// Shows a file or directory of the host inside.
    pub fn bind(mut self, bind: Bind) -> Self {
        self.binds.push(bind);
        self
    }

    /// Shows files or directories of the host inside.
    pub fn binds(mut self, binds: impl IntoIterator<Item = Bind>) -> Self {
        self.binds.extend(binds);
        self
    }

    /// Uses the network of the host, its resolver and the caller's proxies.
    pub fn network(mut self, on: bool) -> Self {
        self.network = on;
        self
    }

    /// Whether package scripts may start services (they would run inside, until the command ends). Default: no.
    pub fn deny_services(mut self, on: bool) -> Self {
        self.deny_services = on;
        self
    }

    /// Passes our standard input on; on a terminal the command shares our session, so that Ctrl-C and job control
    /// work.
    pub fn inherit_stdin(mut self, on: bool) -> Self {
        self.inherit_stdin = on;
        self
    }

    /// The working directory inside, default `/`.
    pub fn cwd(mut self, cwd: impl Into<PathBuf>) -> Self {
        self.cwd = cwd.into();
        self
    }

    /// The host name inside, default `localhost`.
    pub fn hostname(mut self, name: impl Into<String>) -> Self {
        self.hostname = name.into();
        self
    }

    /// Sets a variable of the environment, which is clean otherwise.
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// A bind below [`OWN_DIR`].
    pub(crate) fn own_bind(mut self, source: impl Into<PathBuf>, name: &str, writable: bool) -> Self {
        let target = PathBuf::from(OWN_DIR).join(name);
        self.own_binds.push(Bind { source: source.into(), target, writable });
        self
    }

    /// A file below [`OWN_DIR`].
    pub(crate) fn own_file(mut self, name: impl Into<String>, content: impl Into<String>) -> Self {
        self.own_files.push(OwnFile { name: name.into(), content: content.into(), mode: 0o644 });
        self
    }

    /// Leaves what is written to an overlay to the page cache: no fsync inside, and no sync when it is unmounted. For one
    /// command: the work directory of the overlay takes no other after it.
    pub(crate) fn unsynced(mut self) -> Self {
        self.unsynced = true;
        self
    }

    fn environment(&self) -> Vec<(String, String)> {
        let mut env: Vec<(String, String)> = [
            ("PATH", PATH),
            ("HOME", "/root"),
            ("LC_ALL", "C.UTF-8"),
            ("DEBIAN_FRONTEND", "noninteractive"),
            ("DEBCONF_NONINTERACTIVE_SEEN", "true"),
        ]
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .into();
        let mut pass: Vec<&str> = vec!["SOURCE_DATE_EPOCH"];
        if self.network {
            pass.extend(PROXY_VARIABLES);
        }
        if self.inherit_stdin {
            pass.push("TERM");
        }
        env.extend(pass.into_iter().filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?))));
        env.retain(|(name, _)| !self.env.iter().any(|(own, _)| own == name));
        env.extend(self.env.iter().cloned());
        env
    }

    fn check(&self) -> Result<()> {
        if !nix::unistd::geteuid().is_root() {
            return Err(ChrootError::privilege("making a sandbox: only root may do this"));
        }
        self.binds.iter().try_for_each(Bind::check)
    }
}
