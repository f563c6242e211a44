// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Patterns of paths and names
//!
//! `?` is one byte and `*` any number of them, but no slash; `**` is any number, slashes and all, and `**/` nothing as
//! well. Patterns and paths may be somebody else's: none takes long.

/// A part of a pattern.
#[derive(Clone, Copy)]
enum Part {
    Byte(u8),
    /// `?`
    One,
    /// `*`
    Name,
    /// `**`
    Any,
    /// `**/`
    Directories,
}

/// Whether a text fits a pattern as a whole.
pub fn matches(pattern: impl AsRef<[u8]>, path: impl AsRef<[u8]>) -> bool {
    let (pattern, path) = (pattern.as_ref(), path.as_ref());
    // most patterns and paths differ before anything has to be tried
    let plain = pattern.iter().take_while(|b| !matches!(b, b'*' | b'?')).count();
    if !path.starts_with(&pattern[..plain]) {
        return false;
    }
    let parts = parts_of(&pattern[plain..]);
    // which parts may be next, after what was read of the path
    let mut next = vec![false; parts.len() + 1];
    next[0] = true;
    skip(&parts, &mut next, path[..plain].last());
    let mut then = next.clone();
    for byte in &path[plain..] {
        then.fill(false);
        for (at, part) in parts.iter().enumerate().filter(|(at, _)| next[*at]) {
            let (stays, goes_on) = match part {
                Part::Byte(wanted) => (false, wanted == byte),
                Part::One => (false, *byte != b'/'),
                Part::Name => (*byte != b'/', false),
                Part::Any => (true, false),
                Part::Directories => (true, *byte == b'/'),
            };
            then[at] |= stays;
            then[at + 1] |= goes_on;
        }
        skip(&parts, &mut then, Some(byte));
        std::mem::swap(&mut next, &mut then);
    }
    next[parts.len()]
}

fn parts_of(pattern: &[u8]) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut rest = pattern;
    loop {
        let (part, after) = match rest {
            [] => return parts,
            [b'*', b'*', b'/', after @ ..] => (Part::Directories, after),
            [b'*', b'*', after @ ..] => (Part::Any, after),
            [b'*', after @ ..] => (Part::Name, after),
            [b'?', after @ ..] => (Part::One, after),
            [byte, after @ ..] => (Part::Byte(*byte), after),
        };
        parts.push(part);
        rest = after;
    }
}

/// Adds what may be next when parts stand for nothing.
fn skip(parts: &[Part], next: &mut [bool], before: Option<&u8>) {
    for (at, part) in parts.iter().enumerate() {
        let may_be_nothing = match part {
            Part::Name | Part::Any => true,
            Part::Directories => matches!(before, None | Some(b'/')),
            Part::Byte(_) | Part::One => false,
        };
        next[at + 1] |= next[at] && may_be_nothing;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_is_expected() {
        for (pattern, path, expected) in [
            ("var/log/**", "var/log/apt/term.log", true),
            ("var/log/**", "var/log", false),
            ("var/log/**", "srv/var/log/x", false),
            ("**/x", "x", true),
            ("**/x", "a/b/x", true),
            ("**/x", "a/bx", false),
            ("a/*/c", "a/b/c", true),
            ("a/*/c", "a/b/b/c", false),
            ("a/*", "a/", true),
            ("*", "a/b", false),
            ("**", "a/b", true),
            ("etc/ssh_*_key", "etc/ssh_a_key_key", true),
            ("?", "/", false),
            ("a?c", "abc", true),
            ("**/p/**", "usr/p/p/x", true),
            ("**a*b", "xx/a/ab", true),
            ("x**/y", "x/y", true),
            ("x**/y", "xy", false),
            ("a/**/b", "a/b", true),
            ("a/**/b", "a/xb", false),
            ("a/**/**/b", "a/c/b", true),
            ("ab", "abc", false),
            ("", "", true),
            ("", "a", false),
            ("/a/**", "/a/b/c", true),
            ("/a/**", "/a", false),
            ("**/*.pyc", "/usr/lib/x.pyc", true),
            ("app-*", "app-x", true),
            ("*", "", true),
        ] {
            assert_eq!(matches(pattern, path), expected, "{pattern} {path}");
        }
        // no pattern takes long for a path that somebody made up
        let path = "a/".repeat(2000);
        assert!(!matches(b"**/a*/**/a*a*a*b", &path));
        assert!(!matches("**a".repeat(40) + "b", "a".repeat(4000)));
        assert!(!matches("**/a".repeat(40) + "b", "a/".repeat(2000)));
        assert!(!matches("**/".repeat(40) + "b", &path));
    }
}
