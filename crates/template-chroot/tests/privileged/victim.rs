// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # A helper that is killed, and what is left of it
//!
//! The victim is this very program, started again; it runs one sandbox in which several processes sleep.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use template_chroot::{Root, Sandbox, watch};

use crate::Test;
use crate::fixture::{Tree, difference, snapshot};

pub const TESTS: &[Test] = &[
    ("victim_killed_leaves_nothing", killed_leaves_nothing),
    ("victim_killed_in_the_middle_leaves_nothing", killed_in_the_middle),
    ("victim_outer_process_killed", outer_process_killed),
    ("victim_terminated_cleans_up", terminated_cleans_up),
    ("victim_ends_with_its_caller", ends_with_its_caller),
    ("victim_of_sudo", of_sudo),
    ("victim_inherits_no_files", inherits_no_files),
];

const ENTRY: &str = "__victim";

/// The main of a victim: `__victim TREE SECONDS [PID to die with]`.
pub fn entry() -> Option<ExitCode> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().map(String::as_str) != Some(ENTRY) {
        return None;
    }
    let result = (|| {
        watch::handle_signals()?;
        if let Some(pid) = args.get(3) {
            watch::die_with(pid.parse().unwrap())?;
        }
        let seconds = &args[2];
        let script = format!(
            "trap '' INT TERM HUP; sleep {seconds} & (setsid sleep {seconds} &); ls -l /proc/self/fd > /tmp/fds; \
             cat /tmp/fds; echo ready; while sleep {seconds}; do :; done"
        );
        Sandbox::new(Root::Tree((&args[1]).into())).run(&["sh", "-c", &script])
    })();
    Some(match result {
        Ok(exit) => ExitCode::from(exit.code as u8),
        Err(e) => {
            eprintln!("{e}");
            ExitCode::from(e.exit_code())
        }
    })
}

/// Whether a `sleep` with such an argument runs anywhere.
pub fn running(argument: &str) -> bool {
    processes().iter().any(|(_, command)| command.starts_with("sleep") && command.contains(argument))
}

fn processes() -> Vec<(i32, String)> {
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| {
            let pid: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
            Some((pid, command.replace('\0', " ")))
        })
        .collect()
}

struct Victim {
    child: Child,
    seconds: String,
    greeting: String,
}

impl Victim {
    fn start(tree: &Tree, seconds: &str, prefix: &[&str], die_with: Option<u32>) -> Self {
        let program = std::env::current_exe().unwrap();
        let mut argv: Vec<String> = prefix.iter().map(|p| (*p).to_owned()).collect();
        argv.push(program.to_str().unwrap().to_owned());
        argv.extend([ENTRY, tree.path.to_str().unwrap(), seconds].map(str::to_owned));
        argv.extend(die_with.map(|pid| pid.to_string()));
        let mut child = Command::new(&argv[0])
            .args(&argv[1..])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut greeting = String::new();
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            if line == "ready" {
                break;
            }
            greeting.push_str(&line);
            greeting.push('\n');
        }
        // a shell's child that has not become `sleep` yet still bears the shell's name
        let begin = Instant::now();
        while !running(seconds) {
            assert!(begin.elapsed() < Duration::from_secs(10), "no sleep of {seconds} s runs: {greeting}");
            std::thread::sleep(Duration::from_millis(10));
        }
        Self { child, seconds: seconds.to_owned(), greeting }
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// Waits for its end, and for that of everything it has started.
    fn gone(mut self, tree: &Tree) -> ExitStatus {
        let status = self.child.wait().unwrap();
        let path = tree.path.to_str().unwrap();
        let begin = Instant::now();
        loop {
            let mut left: Vec<String> = Vec::new();
            for (pid, command) in processes() {
                let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
                let sleeps = command.starts_with("sleep") && command.contains(&self.seconds);
                if sleeps || mounts.contains(path) {
                    left.push(format!("{pid} {command}"));
                }
            }
            if left.is_empty() {
                return status;
            }
            // the kernel may still be at it
            assert!(begin.elapsed() < Duration::from_secs(3), "these are left: {left:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn killed_leaves_nothing() {
    let tree = Tree::clean();
    let victim = Victim::start(&tree, "77001", &[], None);
    victim.signal(Signal::SIGKILL);
    assert_eq!(victim.gone(&tree).signal(), Some(9));
    // all that may stay is a file to mount on, empty and closed to all, which the next run takes away
    let left = tree.path.join("usr/sbin/policy-rc.d");
    assert!(fs::metadata(&left).is_ok_and(|m| m.len() == 0 && m.mode() & 0o7777 == 0));
    Sandbox::new(tree.root()).capture(&["true"]).unwrap();
    assert!(!left.exists());
}

/// Killed at any moment of the set-up.
fn killed_in_the_middle() {
    let tree = Tree::clean();
    for delay in (0..20).map(|n| Duration::from_micros(n * 700)) {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([ENTRY, tree.path.to_str().unwrap(), "77002"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(delay);
        child.kill().unwrap();
        let victim = Victim { child, seconds: "77002".to_owned(), greeting: String::new() };
        victim.gone(&tree);
    }
}

fn outer_process_killed() {
    let tree = Tree::clean();
    let victim = Victim::start(&tree, "77003", &[], None);
    let outer = children(victim.child.id() as i32);
    assert_eq!(outer.len(), 1);
    kill(Pid::from_raw(outer[0]), Signal::SIGKILL).unwrap();
    assert_eq!(victim.gone(&tree).code(), Some(1));
}

fn children(parent: i32) -> Vec<i32> {
    let is_child = |pid: &i32| {
        fs::read_to_string(format!("/proc/{pid}/stat"))
            .ok()
            .and_then(|stat| stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok())
            == Some(parent)
    };
    processes().into_iter().map(|(pid, _)| pid).filter(is_child).collect()
}

fn terminated_cleans_up() {
    let tree = Tree::clean();
    let before = snapshot(&tree.path);
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let victim = Victim::start(&tree, "77004", &[], None);
        victim.signal(signal);
        assert_eq!(victim.gone(&tree).code(), Some(130), "{signal}");
        let changes = difference(&before, &snapshot(&tree.path));
        assert!(changes.is_empty(), "{changes:?}");
    }
}

fn ends_with_its_caller() {
    let tree = Tree::clean();
    let before = snapshot(&tree.path);
    let mut caller = Command::new("sleep").arg("1000").spawn().unwrap();
    let victim = Victim::start(&tree, "77005", &[], Some(caller.id()));
    caller.kill().unwrap();
    caller.wait().unwrap();
    assert_eq!(victim.gone(&tree).code(), Some(130));
    assert!(difference(&before, &snapshot(&tree.path)).is_empty());
    // one that has ended before
    let output = Command::new(std::env::current_exe().unwrap())
        .args([ENTRY, tree.path.to_str().unwrap(), "77006", &caller.id().to_string()])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(130));
}

fn of_sudo() {
    let tree = Tree::clean();
    let caller = std::process::id();
    // the parent is sudo
    let victim = Victim::start(&tree, "77007", &["sudo", "-n"], Some(caller));
    victim.signal(Signal::SIGKILL);
    assert_eq!(victim.gone(&tree).signal(), Some(9));
    let victim = Victim::start(&tree, "77008", &["sudo", "-n"], Some(caller));
    victim.signal(Signal::SIGTERM);
    assert_eq!(victim.gone(&tree).code(), Some(130));
}

fn inherits_no_files() {
    let tree = Tree::clean();
    // a caller that leaks a directory of the host
    let dir = fs::File::open("/").unwrap();
    let leak = rustix::io::fcntl_dupfd_cloexec(dir.as_fd(), 200).unwrap();
    rustix::io::fcntl_setfd(&leak, rustix::io::FdFlags::empty()).unwrap();
    let victim = Victim::start(&tree, "77009", &[], None);
    drop(leak);
    let greeting = victim.greeting.clone();
    victim.signal(Signal::SIGKILL);
    victim.gone(&tree);
    assert!(greeting.contains(" 0 -> /dev/null"), "{greeting}");
    assert!(!greeting.contains(" 200 ->") && !greeting.contains("-> /\n"), "{greeting}");
}
