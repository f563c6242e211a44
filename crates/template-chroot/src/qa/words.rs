// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # What dpkg and scripts say when something goes wrong

use super::dpkg::Run;

/// How many lines of output a finding quotes.
const QUOTED: usize = 6;

/// Longer lines are cut.
const LINE_LIMIT: usize = 300;

/// A script that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub package: String,
    /// What failed how, in dpkg's words.
    pub what: String,
}

/// What scripts say when they miss the network.
const NETWORK: [&str; 10] = [
    "Temporary failure resolving",
    "Temporary failure in name resolution",
    "Network is unreachable",
    "Could not resolve",
    "could not resolve",
    "Couldn't resolve",
    "unable to resolve host address",
    "Name or service not known",
    "Failed to establish a new connection",
    "No route to host",
];

/// What dpkg says when the packages beside it are not right.
const DEPENDENCIES: [&str; 5] = [
    "dependency problems",
    "pre-dependency problem",
    "conflicting packages",
    "would break",
    "unsatisfied dependencies",
];

/// Scripts that failed, also where dpkg found a way to go on.
pub(super) fn failures(output: &str) -> Vec<Failure> {
    let mut found: Vec<Failure> = Vec::new();
    for line in output.lines() {
        let parsed = parse_subprocess(line).or_else(|| parse_unable(line));
        if let Some(failure) = parsed.filter(|f| !found.contains(f)) {
            found.push(failure);
        }
    }
    found
}

/// ` installed NAME package post-installation script subprocess returned error exit status 1`
fn parse_subprocess(line: &str) -> Option<Failure> {
    let (left, how) = line.split_once(" script subprocess ")?;
    let (owner, script) = left.rsplit_once(" package ")?;
    let mut words = owner.split_whitespace().rev();
    let name = words.next()?;
    words.next().filter(|word| ["installed", "new", "old"].contains(word))?;
    let how = how.replace("returned error exit", "ended with exit");
    Some(Failure { package: bare(name), what: format!("{script} script {how}") })
}

/// ` unable to execute installed NAME package post-installation script (/var/…): No such file or directory`
fn parse_unable(line: &str) -> Option<Failure> {
    let (_, rest) = line.split_once("unable to execute ")?;
    let (owner, script) = rest.split_once(" package ")?;
    Some(Failure { package: bare(owner.split_whitespace().last()?), what: format!("cannot run: {script}") })
}

fn bare(name: &str) -> String {
    name.split(':').next().unwrap_or(name).to_owned()
}

/// Whether the packages beside it are what is missing.
pub(super) fn lacks_packages(output: &str) -> bool {
    DEPENDENCIES.iter().any(|text| output.contains(text))
}

/// What says that a script has missed the network.
pub(super) fn missed_network(run: &Run) -> Option<String> {
    let said = run.output.lines().find(|line| NETWORK.iter().any(|text| line.contains(text)));
    match said {
        Some(line) => Some(cut(line.trim())),
        None if run.attempts > 0 => {
            let times = if run.attempts == 1 { "once".to_owned() } else { format!("{} times", run.attempts) };
            Some(format!("the kernel saw it try {times}"))
        }
        None => None,
    }
}

/// A configuration file that a script has changed, so that dpkg would ask.
pub(super) fn asked_about(output: &str) -> Option<String> {
    let mut file = None;
    for line in output.lines() {
        if let Some(rest) = line.strip_prefix("Configuration file '") {
            file = rest.strip_suffix('\'').map(str::to_owned);
        } else if line.contains("Modified (by you or by a script)") && file.is_some() {
            return file;
        }
    }
    None
}

/// What a script says that wants a terminal.
pub(super) fn wants_terminal(output: &str) -> bool {
    output.lines().any(|line| line.contains("/dev/tty: No such device"))
}

/// dpkg's own reasons.
pub(super) fn reasons(output: &str) -> String {
    let lines: Vec<&str> = output.lines().collect();
    let first = lines.iter().position(|l| {
        l.starts_with("dpkg: error") || l.starts_with("dpkg: dependency") || l.starts_with("dpkg: regarding")
    });
    match first {
        Some(first) => quote(&lines[first..lines.len().min(first + QUOTED)]),
        None => tail(output),
    }
}

/// The end of the output, before dpkg's summary.
pub(super) fn tail(output: &str) -> String {
    let lines: Vec<&str> = output
        .lines()
        .take_while(|l| !l.starts_with("Errors were encountered"))
        .filter(|l| !l.trim().is_empty() && !l.starts_with("(Reading database"))
        .collect();
    quote(&lines[lines.len().saturating_sub(QUOTED)..])
}

fn quote(lines: &[&str]) -> String {
    let lines: Vec<String> = lines
        .iter()
        .map(|line| line.trim())
        .filter(|line| !line.is_empty() && !line.starts_with("Errors were encountered"))
        .map(cut)
        .collect();
    lines.join("; ")
}

fn cut(line: &str) -> String {
    match line.char_indices().nth(LINE_LIMIT) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_scripts_are_found() {
        let output = "Setting up bad (1.0) ...\nbad: I fail\n\
            dpkg: error processing package bad (--install):\n installed bad package post-installation script subprocess returned error exit status 1\n\
            dpkg: warning: old libx:amd64 package pre-removal script subprocess was killed by signal (Terminated)\n\
            dpkg: error processing package c (--configure):\n unable to execute installed c package post-installation script (/var/lib/dpkg/info/c.postinst): No such file or directory\n\
            Errors were encountered while processing:\n bad\n";
        let failure = |package: &str, what: &str| Failure { package: package.into(), what: what.into() };
        assert_eq!(
            failures(output),
            [
                failure("bad", "post-installation script ended with exit status 1"),
                failure("libx", "pre-removal script was killed by signal (Terminated)"),
                failure(
                    "c",
                    "cannot run: post-installation script (/var/lib/dpkg/info/c.postinst): No such file or directory"
                ),
            ]
        );
        assert!(failures("a package is a script subprocess of sorts").is_empty());
        assert!(tail(output).ends_with("No such file or directory"));
        assert!(reasons(output).starts_with("dpkg: error processing package bad"));
    }

    #[test]
    fn what_is_missing_is_told_apart() {
        assert!(lacks_packages("dpkg: dependency problems prevent configuration of a:\n a depends on b\n"));
        assert!(!lacks_packages(" trying to overwrite '/x', which is also in package y 1"));
        let run = |output: &str, attempts| Run { output: output.into(), attempts, ..Run::default() };
        assert!(missed_network(&run("curl: (6) Could not resolve host: x\n", 0)).is_some());
        assert_eq!(missed_network(&run("", 2)).unwrap(), "the kernel saw it try 2 times");
        assert_eq!(missed_network(&run("all is well", 0)), None);
        let conffile =
            "Configuration file '/etc/x'\n ==> Modified (by you or by a script) since installation.\n";
        assert_eq!(asked_about(conffile).as_deref(), Some("/etc/x"));
        assert_eq!(asked_about("Configuration file '/etc/x'\n ==> Deleted"), None);
    }
}
