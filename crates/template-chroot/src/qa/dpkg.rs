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
marker=$1 limit=$2 known=$3 package=$4
shift 4
before=$(cat /proc/net/snmp 2>/dev/null)
exec 3< /run/isar-template/answers
read -r begin rest < /proc/uptime
timeout --kill-after=10 "$limit" "$@" <&3 3<&- 2>&1
code=$?
read -r end rest < /proc/uptime
exec >&2
printf '\n%s\ncode %s\nseconds %s\n' "$marker" "$code" "$((${end%.*} - ${begin%.*}))"
while read -r key value; do
    if [ "$key" = pos: ]; then printf 'position %s\n' "$value"; fi
done < /proc/self/fdinfo/3
# what ends by itself in a moment is not left, unless that is known; no subshell here, it would find itself
for pause in 0.05 0.1 0.15 0.3 0.4 ''; do
    found='' news=''
    for dir in /proc/[0-9]*; do
        case ${dir#/proc/} in 1 | $$) continue ;; esac
        if ! read -r name 2>/dev/null < "$dir/comm"; then continue; fi
        found="$found$name/"
        case $known in *"/$name/"*) ;; *) news=yes ;; esac
    done
    if [ -z "$news" ] || [ -z "$pause" ]; then break; fi
    sleep "$pause"
done
printf 'processes %s\nbefore\n%s\nafter\n' "$found" "$before"
cat /proc/net/snmp 2>/dev/null
printf 'audit\n'
dpkg --audit 2>&1
printf 'verify\n'
if [ -n "$package" ] && [ "$code" = 0 ]; then dpkg --verify "$package" 2>&1; fi
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
    /// What `dpkg --verify` says of the package.
    pub verify: String,
    /// Nobody was left to tell how it ended.
    pub lost: bool,
    /// Names of what still runs.
    pub processes: Vec<String>,
    /// Somebody has read from standard input.
    pub asked: bool,
    /// How often somebody tried to reach something outside.
    pub attempts: u64,
    /// It was ended since it took too long.
    pub timed_out: bool,
    pub seconds: f64,
}

impl Run {
    pub fn success(&self) -> bool {
        self.code == 0
    }

    /// The signal that ended dpkg, other than for taking too long.
    pub fn signal(&self) -> Option<i32> {
        (self.code > 128 && !self.timed_out).then(|| self.code - 128)
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

/// One call of dpkg.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Call<'a> {
    pub arguments: &'a [&'a str],
    /// Processes that are known to be left: nobody waits for them to end.
    pub known: &'a [&'a str],
    /// The package whose files are compared with what it says of them, if any.
    pub verify: &'a str,
}

impl Dpkg<'_> {
    /// A sandbox over a stack, in which the package files are at [`inside`].
    pub fn sandbox(&self, stack: &Stack, layer: &Layer) -> Sandbox {
        Sandbox::new(stack.root(layer))
            .binds(self.binds.iter().cloned())
            .own_bind(self.debs, "debs", false)
            .own_file("answers", ANSWERS)
    }

    /// Calls dpkg over a stack; what changes is in the layer, which nothing was written to before.
    pub fn run(&self, stack: &Stack, layer: &Layer, call: &Call<'_>) -> Result<Run> {
        let begin = Instant::now();
        let limit = self.limit.to_string();
        let known = format!("/{}/", call.known.join("/"));
        let mut argv = vec!["sh", "-c", SCRIPT, "sh", MARKER, &limit, &known, call.verify, "dpkg"];
        argv.extend(OPTIONS);
        argv.extend(call.arguments);
        let captured = self.sandbox(stack, layer).unsynced().capture(&argv)?;
        let report = captured.errors();
        let mut run = parse(&report, self.limit).unwrap_or_else(|| {
            log::debug!("the sandbox ended with {} and says: {}", captured.exit.code, report.trim());
            Run { code: -1, lost: true, ..Run::default() }
        });
        run.output = captured.text();
        if !run.success() && layer.room()? < LEAST_ROOM {
            let full = io::Error::from(io::ErrorKind::StorageFull);
            return Err(ChrootError::io(
                &format!("running dpkg {} in", call.arguments.join(" ")),
                layer.path(),
                full,
            ));
        }
        run.seconds = begin.elapsed().as_secs_f64();
        Ok(run)
    }

    /// Runs a command as cron would: its exit code and what it says. What it writes is forgotten.
    pub fn try_command(&self, stack: &Stack, layer: &Layer, argv: &[&str]) -> Result<(i32, String)> {
        let limit = self.limit.to_string();
        let mut all = vec!["sh", "-c", "exec timeout --kill-after=10 \"$@\" 2>&1", "sh", &limit];
        all.extend(argv);
        let captured = self.sandbox(stack, layer).unsynced().capture(&all)?;
        Ok((captured.exit.code, captured.text()))
    }
}

/// Where a package file is inside.
pub(super) fn inside(file: &str) -> String {
    format!("{OWN_DIR}/debs/{file}")
}

/// All but the output.
fn parse(text: &str, limit: u64) -> Option<Run> {
    let (_, report) = text.rsplit_once(&format!("\n{MARKER}\n"))?;
    let (head, rest) = report.split_once("\nbefore\n")?;
    let (before, rest) = rest.split_once("\nafter\n")?;
    let (after, rest) = rest.split_once("audit\n")?;
    let (audit, verify) = rest.rsplit_once("verify\n")?;
    let mut run = Run { audit: audit.trim().to_owned(), verify: verify.to_owned(), ..Run::default() };
    run.code = -1;
    let mut took = 0;
    for line in head.lines() {
        match line.split_once(' ') {
            Some(("code", code)) => run.code = code.trim().parse().ok()?,
            Some(("seconds", seconds)) => took = seconds.trim().parse().ok()?,
            Some(("position", position)) => run.asked = position.trim() != "0",
            Some(("processes", names)) => {
                let names = names.split('/').map(str::trim).filter(|name| !name.is_empty());
                run.processes = names.map(str::to_owned).collect();
            }
            _ => {}
        }
    }
    // timeout ends with the same code when somebody else kills what it waits for
    run.timed_out = matches!(run.code, 124 | 137) && took >= limit;
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
            "what a shell says\n\n{MARKER}\ncode 1\nseconds 7\nposition 3\nprocesses sleep/my daemon/sleep/\nbefore\n{}\nafter\n{}\naudit\nbad\nverify\nmissing     /x\n",
            snmp(1, 0),
            snmp(3, 2)
        );
        let run = parse(&text, 5).unwrap();
        assert_eq!((run.code, run.asked, run.attempts), (1, true, 4));
        assert!(!run.timed_out && run.signal().is_none());
        let killed = text.replace("code 1", "code 137");
        assert_eq!(parse(&killed, 8).unwrap().signal(), Some(9));
        assert!(parse(&killed, 7).unwrap().timed_out && parse(&killed, 7).unwrap().signal().is_none());
        assert_eq!(run.processes, ["my daemon", "sleep"]);
        assert_eq!((run.audit.as_str(), run.verify.as_str()), ("bad", "missing     /x\n"));
        assert!(parse("nothing", 5).is_none());
    }
}
