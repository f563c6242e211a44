// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Why a repository could not be used
//!
//! One table from what apt says to what that means. Text in, data out; what a [`Fault`] is called, how it ends and
//! what helps is with the fault.

use jiff::{SignedDuration, Timestamp};

use crate::error::{ChrootError, Fault};
use crate::sandbox::OWN_DIR;

/// What a failed update or download comes down to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub fault: Fault,
    /// `URI SUITE`, where apt names it, or only the address of a file.
    pub repository: Option<String>,
    /// In words, after the repository.
    pub what: String,
}

impl Failure {
    /// For people.
    pub fn message(&self, doing: &str) -> String {
        match (&self.repository, self.what.starts_with("it")) {
            (Some(repository), true) => format!("{doing}: repository '{repository}': {}", self.what),
            _ => format!("{doing}: {}", self.what),
        }
    }
}

/// In the order of what matters: one cause has several of these lines, and the first says most.
const TABLE: [(Fault, &[&str]); 18] = [
    (
        Fault::Sources,
        &[
            "Malformed entry",
            "Malformed line",
            "Malformed stanza",
            "Conflicting values set for option",
            ".sources (",
            "The list of sources could not be read",
        ],
    ),
    (Fault::NoSpace, &["No space left on device", "You don't have enough free space"]),
    (Fault::Expired, &["is expired (invalid since"]),
    (Fault::NotYetValid, &["is not valid yet", "Not live until"]),
    (Fault::Changed, &["changed its '"]),
    // a repository with two signatures is good with one of them, so these are of all
    (Fault::KeyRevoked, &["REVKEYSIG", "KEYREVOKED", "key is revoked", "certificate is revoked"]),
    (Fault::KeyExpired, &["EXPKEYSIG", "KEYEXPIRED", "key is not live"]),
    (Fault::SignatureWrong, &["BADSIG", "has been manipulated"]),
    (
        Fault::KeyWeak,
        &[
            "is not considered secure",
            "Policy rejected",
            "untrusted digest algorithm",
            "untrusted public key algorithm",
            // without one of the reasons above
            "signatures were invalid",
        ],
    ),
    // a key that is not bound is one that the keyring does not vouch for
    (
        Fault::KeyUnknown,
        &["NO_PUBKEY", "Missing key", "is not bound", "Failed to parse keyring", "no keyring is specified"],
    ),
    (Fault::SignatureWrong, &["signature verification failed"]),
    (
        Fault::Certificate,
        &[
            "Certificate verification failed",
            "No system certificates available",
            "certificate is NOT trusted",
        ],
    ),
    // servers choose the words after the number
    (Fault::Denied, &["  401  ", "  403  ", "  407  "]),
    // no release data at all: cut off, or the login page of a network
    (
        Fault::Damaged,
        &[
            "Hash Sum mismatch",
            "Size mismatch",
            "unexpected size",
            "Invalid file format",
            "Clearsigned file isn't valid",
            "Splitting up",
            "NODATA",
            "The HTTP server sent an invalid",
            "Bad header",
        ],
    ),
    (Fault::Missing, &["  404  ", "  410  ", "Failed to fetch file:", "Failed to fetch copy:"]),
    (
        Fault::Unsigned,
        &[
            "is not signed",
            "unauthenticated packages",
            "does not have a Release file",
            "only weak security information",
        ],
    ),
    (
        Fault::Unreachable,
        &[
            "Could not resolve",
            "Temporary failure",
            "error resolving",
            "happened resolving",
            "Could not connect",
            "Unable to connect",
            "Cannot initiate the connection",
            "Could not handshake",
            "Connection failed",
            "Connection timed out",
            "Connection reset",
            "Connection refused",
            "Error reading from server",
            "Timed out while waiting",
            "Undetermined Error",
            "SSL connection failed",
            "OpenSSL error",
            "Invalid response from proxy",
            "proxy failed",
            "SOCKS proxy",
            "TLS connection was non-properly terminated",
            "  429  ",
            "  500  ",
            "  502  ",
            "  503  ",
            "  504  ",
        ],
    ),
    // why, we do not know
    (Fault::Unknown, &["method driver", "Failed to fetch", "Unable to fetch", "Some index files failed"]),
];

/// Looks through the output of a failed update or download, for what matters most of it. `keyring` names where the
/// keys of a repository are.
pub(super) fn failure(output: &str, now: Timestamp, keyring: &dyn Fn(&str) -> String) -> Option<Failure> {
    let lines = messages(output);
    let (fault, line) = TABLE.iter().find_map(|(fault, texts)| {
        let line = lines.iter().find(|line| texts.iter().any(|text| line.contains(text)))?;
        Some((*fault, line))
    })?;
    let line = &without_credentials(line);
    let repository = repository(line);
    let keyring = || keyring(repository.as_deref().unwrap_or_default());
    let what = what(fault, line, now, &keyring);
    Some(Failure { fault, what, repository })
}

/// The error when apt cannot read the package sources, whatever it was to do with them.
pub(super) fn wrong_sources(output: &str, doing: &str) -> Option<ChrootError> {
    let failure = failure(output, Timestamp::UNIX_EPOCH, &|_| String::new())?;
    let message = failure.message(doing);
    (failure.fault == Fault::Sources).then_some(ChrootError::Repository { fault: failure.fault, message })
}

/// Errors and warnings, with the lines that continue them. What is behind an `Err:` is not always said again, so these
/// are there as well, after the others.
fn messages(output: &str) -> Vec<String> {
    let mut said: Vec<(bool, String)> = Vec::new();
    let mut continued = false;
    for line in output.lines() {
        let item = line.starts_with("Err:");
        let text = match item {
            true => line.split_once(' ').map(|(_, text)| text),
            false => line.strip_prefix("E: ").or(line.strip_prefix("W: ")),
        };
        continued = text.is_some() || continued && line.starts_with("  ");
        if let Some(text) = text {
            said.push((item, text.trim().to_owned()));
        } else if let (true, Some((item, text))) = (continued, said.last_mut()) {
            // the first line of an item says only what it is
            text.push(if *item { ' ' } else { '\n' });
            text.push_str(line);
        }
    }
    said.sort_by_key(|(item, _)| *item);
    said.into_iter().map(|(_, text)| text).collect()
}

/// What happened, in words that go after the repository.
fn what(fault: Fault, line: &str, now: Timestamp, keyring: &dyn Fn() -> String) -> String {
    let key = line.split_whitespace().find(|word| {
        let word = word.trim_end_matches(',');
        word.len() >= 16 && word.chars().all(|c| c.is_ascii_hexdigit())
    });
    let key = key.map_or_else(|| "a key".to_owned(), |key| format!("key {}", key.trim_end_matches(',')));
    match fault {
        Fault::Sources => wrong_source(line),
        Fault::Expired => match span(line).and_then(|span| now.checked_sub(span).ok()) {
            Some(date) => format!("its release data has expired on {}", minute(date)),
            None => "its release data has expired".to_owned(),
        },
        Fault::NotYetValid => match span(line).and_then(|span| now.checked_add(span).ok()) {
            Some(date) => format!(
                "its release data is of {}, and the clock of this machine says {}",
                minute(date),
                minute(now)
            ),
            None => match line.split_once("Not live until ") {
                Some((_, rest)) => format!(
                    "it is signed at {}, and the clock of this machine says {}",
                    rest.split_whitespace().next().unwrap_or_default(),
                    minute(now)
                ),
                None => "its release data is of the future".to_owned(),
            },
        },
        Fault::Changed => match line.find("changed its '") {
            Some(at) => format!("it has {}", &line[at..]),
            None => line.to_owned(),
        },
        Fault::KeyUnknown => format!("it is signed with {key}, which is not in {}", keyring()),
        Fault::KeyExpired => format!("it is signed with {key}, which has expired"),
        Fault::KeyRevoked => format!("it is signed with {key}, which was revoked"),
        Fault::KeyWeak => format!("its signature is too weak: {}", words(after(line, SAYS))),
        Fault::Unsigned => "it is not signed".to_owned(),
        Fault::SignatureWrong => words(line),
        // what follows are numbers
        _ => words(line.lines().next().unwrap_or_default()),
    }
}

/// apt sees parts of the tree's files, by names of ours: what they are parts of is told, and not the line.
fn wrong_source(line: &str) -> String {
    let file = line.split_whitespace().filter(|word| word.starts_with(OWN_DIR)).find_map(source_path);
    match (file, line.rfind('(')) {
        (Some(file), Some(at)) if line.starts_with("Malformed") => {
            format!("package sources: {file} has a malformed entry {}", words(&line[at..]))
        }
        (Some(file), _) => format!("package sources: {file} cannot be read"),
        (None, _) => format!("package sources: {}", words(line)),
    }
}

/// What a file of ours is a part of.
fn source_path(part: &str) -> Option<String> {
    let name = part.rsplit('/').next()?;
    if let Some(given) = name.strip_prefix("given-local-").or(name.strip_prefix("given-remote-")) {
        let number: usize = given.split('.').next()?.parse().ok()?;
        return Some(format!("file {} of --sources", number + 1));
    }
    let name = name.strip_prefix("local-").or(name.strip_prefix("remote-"))?;
    Some(match name.strip_prefix("sources.list.d-") {
        Some(name) => format!("'/etc/apt/sources.list.d/{name}'"),
        None => format!("'/etc/apt/{name}'"),
    })
}

/// What comes before the words of a program that apt has asked.
const SAYS: &str = "error message is:";

fn after<'a>(line: &'a str, text: &str) -> &'a str {
    line.split_once(text).map_or(line, |(_, rest)| rest)
}

/// In one line, as part of ours.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").trim_end_matches('.').to_owned()
}

/// `URI SUITE` of what a line is about.
fn repository(line: &str) -> Option<String> {
    let mut words = line.split_whitespace().map(|word| word.trim_matches(['\'', ',', ':']));
    let uri = words.find(|word| word.contains(":/") && !word.starts_with('/'))?;
    let (suite, file) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if ["InRelease", "Release"].iter().any(|name| file.starts_with(name)) {
        return Some(format!("{uri} {suite}"));
    }
    let of_release = uri.strip_suffix("/InRelease").or(uri.strip_suffix("/Release"));
    match of_release.and_then(|directory| directory.split_once("/dists/")) {
        Some((uri, suite)) => Some(format!("{uri} {suite}")),
        None => Some(uri.to_owned()),
    }
}

/// The time in `(invalid since 12d 1h 50min 0s)`.
fn span(line: &str) -> Option<SignedDuration> {
    let (_, text) = line.split_once("(invalid ")?;
    let mut seconds: i64 = 0;
    for word in text.split(')').next()?.split_whitespace() {
        let digits = word.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit = match &word[digits.len()..] {
            "d" => 86400,
            "h" => 3600,
            "min" => 60,
            "s" => 1,
            _ => continue,
        };
        seconds = digits.parse::<i64>().ok()?.checked_mul(unit)?.checked_add(seconds)?;
    }
    Some(SignedDuration::from_secs(seconds))
}

fn minute(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// Addresses without user and password.
pub(crate) fn without_credentials(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        let end = after.find(['/', ' ', '\'', '"', '\n']).unwrap_or(after.len());
        rest = after[..end].rfind('@').map_or(after, |at| &after[at + 1..]);
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests;
