// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # The allowed signers file
//!
//! The format of `ssh-keygen(1)`, ALLOWED SIGNERS, as git and kas use it: principals, options, key. Certificate
//! authorities are not supported; such lines are left out with a warning.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use ssh_key::PublicKey;

use crate::error::{Error, Kind, Result};
use crate::limits::MAX_SIGNERS;

/// One line.
#[derive(Debug, Clone)]
pub struct Signer {
    /// Patterns of identities.
    principals: String,
    /// Patterns of namespaces, any if absent.
    namespaces: Option<String>,
    /// Validity.
    valid_after: Option<Timestamp>,
    valid_before: Option<Timestamp>,
    /// The key.
    pub key: PublicKey,
}

impl Signer {
    /// The identities that the line is for, as patterns.
    pub fn principals(&self) -> &str {
        &self.principals
    }

    /// Whether the line speaks of this identity.
    pub fn is_for(&self, identity: &str) -> bool {
        match_list(&self.principals, identity)
    }

    /// Whether the key may sign in this namespace.
    pub fn allows(&self, namespace: &str) -> bool {
        self.namespaces.as_ref().is_none_or(|list| match_list(list, namespace))
    }

    /// Says why the key is not valid at this time.
    pub fn check_time(&self, time: Timestamp) -> Result<()> {
        let fail = |text: String| {
            Err(Error::new(Kind::KeyExpired, text).hint(
                "ask the publisher for a bundle signed by a valid key; a bundle signed in time can be checked with --verify-time",
            ))
        };
        if let Some(after) = self.valid_after.filter(|after| time < *after) {
            return fail(format!(
                "the key of '{}' is valid only after {after}, checked for {time}",
                self.principals
            ));
        }
        if let Some(before) = self.valid_before.filter(|before| time >= *before) {
            return fail(format!(
                "the key of '{}' expired: it was valid before {before}, checked for {time}",
                self.principals
            ));
        }
        Ok(())
    }
}

/// Reads a file.
pub fn read(path: &Path) -> Result<Vec<Signer>> {
    let bytes = read_limited("allowed signers", path, MAX_SIGNERS).map_err(|e| match path.exists() {
        true => e,
        false => {
            e.hint("give the file with --allowed-signers; it has lines like: identity ssh-ed25519 AAAA…")
        }
    })?;
    let text = String::from_utf8(bytes).map_err(|_| {
        Error::usage(format!("allowed signers: {}: it is no text", path.display())).hint(
            "write lines of an identity, namespaces=\"isar-template\" and a public key (ssh-keygen(1), ALLOWED SIGNERS)",
        )
    })?;
    parse(&text).map_err(|e| e.within(path.display()))
}

/// Reads a file, or a pipe, that a user names.
pub(crate) fn read_limited(what: &str, path: &Path, limit: u64) -> Result<Vec<u8>> {
    let wrong = |e: std::io::Error| {
        Error::usage(format!("reading {what}: {}: {e}", path.display()))
            .hint("check the path, and that you may read it")
    };
    let mut bytes = Vec::new();
    File::open(path).map_err(wrong)?.take(limit + 1).read_to_end(&mut bytes).map_err(wrong)?;
    if bytes.len() as u64 > limit {
        return Err(Error::usage(format!("{what} '{}' is larger than {limit} bytes", path.display()))
            .hint("it is another file than the one that is meant"));
    }
    Ok(bytes)
}

/// Parses the text of a file.
pub fn parse(text: &str) -> Result<Vec<Signer>> {
    let mut out = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match parse_line(line) {
            Ok(Some(signer)) => out.push(signer),
            Ok(None) => {
                log::warn!("allowed signers line {}: certificate authorities are not supported", at + 1)
            }
            Err(why) => {
                return Err(Error::usage(format!("allowed signers line {}: {why}", at + 1))
                    .hint("a line is: IDENTITY namespaces=\"isar-template\" ssh-ed25519 AAAA…, so before what KEY.pub has goes who it is, such as platform-team@example.org (ssh-keygen(1), ALLOWED SIGNERS)"));
            }
        }
    }
    Ok(out)
}

fn parse_line(line: &str) -> Result<Option<Signer>, String> {
    let (principals, rest) = match line.strip_prefix('"') {
        Some(quoted) => quoted.split_once('"').ok_or("quote without end")?,
        None => line.split_once([' ', '\t']).ok_or("no key")?,
    };
    let mut rest = rest.trim_start();
    let (mut namespaces, mut valid_after, mut valid_before, mut authority) = (None, None, None, false);
    if !is_key_type(rest) {
        let (options, key) = split_options(rest)?;
        rest = key.trim_start();
        for option in split_outside_quotes(options) {
            let (name, value) = match option.split_once('=') {
                Some((name, value)) => (name, Some(value.trim_matches('"'))),
                None => (option, None),
            };
            match (name.to_ascii_lowercase().as_str(), value) {
                ("cert-authority", None) => authority = true,
                ("namespaces", Some(list)) => namespaces = Some(list.to_string()),
                ("valid-after", Some(time)) => valid_after = Some(parse_time(time)?),
                ("valid-before", Some(time)) => valid_before = Some(parse_time(time)?),
                _ => return Err(format!("unknown option '{}'", option.escape_debug())),
            }
        }
    }
    if authority {
        return Ok(None);
    }
    let mut words = rest.split_whitespace();
    let (kind, blob) = (words.next().unwrap_or_default(), words.next().ok_or("no key")?);
    let key =
        PublicKey::from_openssh(&format!("{kind} {blob}")).map_err(|e| format!("key does not parse: {e}"))?;
    Ok(Some(Signer { principals: principals.to_string(), namespaces, valid_after, valid_before, key }))
}

fn is_key_type(text: &str) -> bool {
    ["ssh-", "ecdsa-", "sk-"].iter().any(|prefix| text.starts_with(prefix))
}

/// Options end at the first blank outside of quotes.
fn split_options(text: &str) -> Result<(&str, &str), String> {
    let mut quoted = false;
    for (at, c) in text.char_indices() {
        match c {
            '"' => quoted = !quoted,
            ' ' | '\t' if !quoted => return Ok((&text[..at], &text[at..])),
            _ => {}
        }
    }
    Err("no key".into())
}

fn split_outside_quotes(text: &str) -> Vec<&str> {
    let (mut quoted, mut start, mut out) = (false, 0, Vec::new());
    for (at, c) in text.char_indices() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => {
                out.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    out.push(&text[start..]);
    out
}

/// `YYYYMMDD[HHMM[SS]][Z]`, local time unless it ends in Z.
pub fn parse_time(text: &str) -> Result<Timestamp, String> {
    let wrong =
        || format!("'{}' is not a time like 20261231, 202612312359 or 20261231235959Z", text.escape_debug());
    let (digits, zone) = match text.strip_suffix(['Z', 'z']) {
        Some(digits) => (digits, TimeZone::UTC),
        None => (text, TimeZone::system()),
    };
    if !matches!(digits.len(), 8 | 12 | 14) || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong());
    }
    let part = |from: usize, len: usize| {
        digits.get(from..from + len).map_or(Ok(0), str::parse::<i8>).map_err(|_| wrong())
    };
    let year: i16 = digits[..4].parse().map_err(|_| wrong())?;
    DateTime::new(year, part(4, 2)?, part(6, 2)?, part(8, 2)?, part(10, 2)?, part(12, 2)?, 0)
        .and_then(|time| time.to_zoned(zone))
        .map(|time| time.timestamp())
        .map_err(|_| wrong())
}

/// OpenSSH's pattern lists: comma separated, `*` and `?`, a leading `!` forbids.
fn match_list(list: &str, text: &str) -> bool {
    let mut found = false;
    for pattern in list.split(',') {
        match pattern.strip_prefix('!') {
            Some(pattern) if matches_pattern(pattern.as_bytes(), text.as_bytes()) => return false,
            Some(_) => {}
            None => found |= matches_pattern(pattern.as_bytes(), text.as_bytes()),
        }
    }
    found
}

fn matches_pattern(pattern: &[u8], text: &[u8]) -> bool {
    // the last star is the only place to come back to, so this takes at most len * len steps
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == b'?' || *c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    p = at + 1;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";

    #[test]
    fn lines_parse_as_openssh_documents_them() {
        let text = format!(
            "# comment\n\nplatform@example.com {KEY} a comment\n\
             *@example.com,!guest@example.com namespaces=\"git,isar-*\",valid-before=\"20300101Z\" {KEY}\n\
             \"two words\" valid-after=20200101 {KEY}\n* cert-authority {KEY}\n"
        );
        let signers = parse(&text).unwrap();
        assert_eq!(signers.len(), 3);
        assert!(signers[0].is_for("platform@example.com") && !signers[0].is_for("other"));
        assert!(signers[0].allows("anything"));
        assert!(signers[1].is_for("a@example.com") && !signers[1].is_for("guest@example.com"));
        assert!(signers[1].allows("isar-template") && !signers[1].allows("file"));
        assert!(signers[1].check_time("2029-12-31T23:59:59Z".parse().unwrap()).is_ok());
        assert_eq!(
            signers[1].check_time("2030-01-01T00:00:00Z".parse().unwrap()).unwrap_err().kind,
            Kind::KeyExpired
        );
        assert!(signers[2].is_for("two words"));
        assert_eq!(
            signers[2].check_time("2019-01-01T00:00:00Z".parse().unwrap()).unwrap_err().kind,
            Kind::KeyExpired
        );
    }

    #[test]
    fn wrong_lines_name_their_number() {
        for wrong in [
            "x",
            "x y z",
            "x ssh-ed25519 AAAA",
            &format!("x frob {KEY}"),
            &format!("x valid-before=2020 {KEY}"),
        ] {
            let error = parse(&format!("\n{wrong}")).unwrap_err();
            assert!(error.kind == Kind::Usage && error.message.contains("line 2"), "{wrong}: {error}");
        }
    }

    #[test]
    fn patterns_match_like_openssh() {
        for (pattern, text, yes) in [
            ("*", "", true),
            ("a*c", "abc", true),
            ("a*c", "abd", false),
            ("?", "", false),
            ("a*b*c", "axxbyyc", true),
            ("", "", true),
        ] {
            assert_eq!(matches_pattern(pattern.as_bytes(), text.as_bytes()), yes, "{pattern} {text}");
        }
    }

    #[test]
    fn times_need_their_form() {
        assert_eq!(parse_time("20240229123456Z").unwrap().to_string(), "2024-02-29T12:34:56Z");
        assert_eq!(parse_time("202402291234Z").unwrap().to_string(), "2024-02-29T12:34:00Z");
        for wrong in ["", "2024", "20230229Z", "2024013Z", "20241301", "abcdefgh"] {
            assert!(parse_time(wrong).is_err(), "{wrong}");
        }
    }
}
