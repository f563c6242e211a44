// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Patterns of paths and names
//!
//! `?` is one byte and `*` any number of them, but no slash; `**` is any number, slashes and all, and `**/` nothing as
//! well. Patterns and paths may be somebody else's: none takes long.

/// Whether a text fits a pattern as a whole.
pub fn matches(pattern: impl AsRef<[u8]>, path: impl AsRef<[u8]>) -> bool {
    fits(pattern.as_ref(), path.as_ref())
}

fn fits(pattern: &[u8], path: &[u8]) -> bool {
    // where to go on after the last star: position in the pattern and in the path, and whether it takes slashes
    let (mut p, mut s) = (0, 0);
    let mut narrow: Option<(usize, usize)> = None;
    let mut wide: Option<(usize, usize)> = None;
    loop {
        if pattern[p..].starts_with(b"**") {
            p += 2;
            // `**/` may stand for nothing at all
            if pattern[p..].starts_with(b"/")
                && (s == 0 || path[s - 1] == b'/')
                && fits(&pattern[p + 1..], &path[s..])
            {
                return true;
            }
            (wide, narrow) = (Some((p, s)), None);
        } else if pattern.get(p) == Some(&b'*') {
            p += 1;
            narrow = Some((p, s));
        } else if p < pattern.len()
            && s < path.len()
            && (pattern[p] == path[s] || (pattern[p] == b'?' && path[s] != b'/'))
        {
            (p, s) = (p + 1, s + 1);
        } else if p == pattern.len() && s == path.len() {
            return true;
        } else if let Some((at, from)) = narrow
            && from < path.len()
            && path[from] != b'/'
        {
            (p, s) = (at, from + 1);
            narrow = Some((at, from + 1));
        } else if let Some((at, from)) = wide
            && from < path.len()
        {
            (p, s) = (at, from + 1);
            (wide, narrow) = (Some((at, from + 1)), None);
        } else {
            return false;
        }
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
    }
}
