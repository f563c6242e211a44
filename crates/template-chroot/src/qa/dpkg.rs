// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # One call of dpkg, and what its scripts do beside it
//!
//! A fresh sandbox without network. dpkg and the scripts have standard output; standard error is our own report, which
//! they can neither drown nor cut. It may miss all the same: a script can end every process in there.
//!
//! The kernel counts in there what could not be sent for want of a route, whether or not a script says so; the position
//! in the file that is standard input tells whether anybody has read an answer from it; and what still runs when dpkg
//! has ended is not meant to.

use std::io;
use std::path::Path;
use std::time::Instant;

use super::layers::{Layer, Stack};
use crate::error::{ChrootError, Result};
use crate::sandbox::{Bind, OWN_DIR, Sandbox};

/// What scripts read that ask on standard input: many times Enter.
const ANSWERS: &str = "\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n";

/// Begins our own report.
const MARKER: &str = "@@ isar-template qa @@";

const SCRIPT: &str = r#"
marker=$1 limit=$2
shift 2
before=$(cat /proc/net/snmp 2>/dev/null)
exec 3< /run/isar-template/answers
timeout --kill-after=10 "$limit" "$@" <&3 3<&- 2>&1
code=$?
exec >&2
printf '\n%s\ncode %s\n' "$marker" "$code"
while read -r key value; do
    if [ "$key" = pos: ]; then printf 'position %s\n' "$value"; fi
done < /proc/self/fdinfo/3
# what ends by itself in a moment is not left; no subshell here, it would find itself
for try in 1 2 3 4 5; do
    found=
    for dir in /proc/[0-9]*; do
        case ${dir#/proc/} in 1 | $$) continue ;; esac
        if read -r name 2>/dev/null < "$dir/comm"; then found="$found$name/"; fi
    done
    if [ -z "$found" ]; then break; fi
    sleep 0.2
done
printf 'processes %s\nbefore\n%s\nafter\n' "$found" "$before"
cat /proc/net/snmp 2>/dev/null
printf 'audit\n'
dpkg --audit 2>&1
exit 0
"#;

/// With less room than this, a failure is blamed on the disk and not on the package.
const LEAST_ROOM: u64 = 64 << 20;

/// How dpkg is called: nobody is asked, and a tree that is thrown away needs no fsync.
const OPTIONS: [&str; 3] = ["--force-unsafe-io", "--force-confdef", "--force-confold"];

/// What came of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Run {
    pub code: i32,
    /// Output and errors of dpkg and the scripts, as they came.
    pub output: String,
    /// What `dpkg --audit` says afterwards.
    pub audit: String,
    /// Nobody was left to tell how it ended.
    pub lost: bool,
    /// Names of what still runs.
    pub processes: Vec<String>,
    /// Somebody has read from standard input.
    pub asked: bool,
    /// How often somebody tried to reach something outside.
    pub attempts: u64,
    pub seconds: f64,
}

impl Run {
    pub fn success(&self) -> bool {
        self.code == 0
    }

    /// It was ended since it took too long.
    pub fn timed_out(&self) -> bool {
        self.code == 124 || self.code == 137
    }
}

/// What all calls have in common.
#[derive(Debug, Clone)]
pub(super) struct Dpkg<'a> {
    /// With the package files.
    pub debs: &'a Path,
    pub binds: &'a [Bind],
    /// In seconds.
    pub limit: u64,
}

impl Dpkg<'_> {
    /// A sandbox over a stack, in which the package files are at [`inside`].
    pub fn sandbox(&self, stack: &Stack, layer: &Layer) -> Sandbox {
        Sandbox::new(stack.root(layer))
            .binds(self.binds.iter().cloned())
            .own_bind(self.debs, "debs", false)
            .own_file("answers", ANSWERS)
    }

    /// Calls dpkg over a stack; what changes is in the layer.
    pub fn run(&self, stack: &Stack, layer: &Layer, arguments: &[&str]) -> Result<Run> {
        let begin = Instant::now();
        let limit = self.limit.to_string();
        let mut argv = vec!["sh", "-c", SCRIPT, "sh", MARKER, &limit, "dpkg"];
        argv.extend(OPTIONS);
        argv.extend(arguments);
        let captured = self.sandbox(stack, layer).capture(&argv)?;
        let report = captured.errors();
        let mut run = parse(&report).unwrap_or_else(|| {
            log::debug!("the sandbox ended with {} and says: {}", captured.exit.code, report.trim());
            Run { code: -1, lost: true, ..Run::default() }
        });
        run.output = captured.text();
        if !run.success() && layer.room()? < LEAST_ROOM {
            let full = io::Error::from(io::ErrorKind::StorageFull);
            return Err(ChrootError::io(
                &format!("running dpkg {} in", arguments.join(" ")),
                layer.path(),
                full,
            ));
        }
        run.seconds = begin.elapsed().as_secs_f64();
        Ok(run)
    }
}

/// Where a package file is inside.
pub(super) fn inside(file: &str) -> String {
    format!("{OWN_DIR}/debs/{file}")
}

/// All but the output.
fn parse(text: &str) -> Option<Run> {
    let (_, report) = text.rsplit_once(&format!("\n{MARKER}\n"))?;
    let (head, rest) = report.split_once("\nbefore\n")?;
    let (before, rest) = rest.split_once("\nafter\n")?;
    let (after, audit) = rest.split_once("audit\n")?;
    let mut run = Run { audit: audit.trim().to_owned(), ..Run::default() };
    run.code = -1;
    for line in head.lines() {
        match line.split_once(' ') {
            Some(("code", code)) => run.code = code.trim().parse().ok()?,
            Some(("position", position)) => run.asked = position.trim() != "0",
            Some(("processes", names)) => {
                let names = names.split('/').map(str::trim).filter(|name| !name.is_empty());
                run.processes = names.map(str::to_owned).collect();
            }
            _ => {}
        }
    }
    run.processes.sort();
    run.processes.dedup();
    // a name server on this machine is what the resolver takes when there is none
    run.attempts = [("Ip", "OutNoRoutes"), ("Udp", "NoPorts")]
        .iter()
        .map(|(group, name)| counter(after, group, name).saturating_sub(counter(before, group, name)))
        .sum();
    Some(run)
}

/// A number of /proc/net/snmp: names in one line, values in the next.
fn counter(text: &str, group: &str, name: &str) -> u64 {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(group)?.strip_prefix(':'));
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else { return 0 };
    let at = names.split_whitespace().position(|n| n == name);
    at.and_then(|at| values.split_whitespace().nth(at)?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_is_parsed() {
        let snmp = |routes: u32, ports: u32| {
            format!(
                "Ip: Forwarding OutNoRoutes\nIp: 2 {routes}\nUdp: InDatagrams NoPorts\nUdp: 0 {ports}\n\
                 UdpLite: InDatagrams NoPorts\nUdpLite: 0 9"
            )
        };
        let text = format!(
            "what a shell says\n\n{MARKER}\ncode 1\nposition 3\nprocesses sleep/my daemon/sleep/\nbefore\n{}\nafter\n{}\naudit\nbad\n",
            snmp(1, 0),
            snmp(3, 2)
        );
        let run = parse(&text).unwrap();
        assert_eq!((run.code, run.asked, run.attempts), (1, true, 4));
        assert_eq!(run.processes, ["my daemon", "sleep"]);
        assert_eq!(run.audit, "bad");
        assert!(parse("nothing").is_none());
    }
}
