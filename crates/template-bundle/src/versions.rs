// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Order of Debian versions
//!
//! As deb-version(7) has it: for packages, and for templates.

use std::cmp::Ordering;

/// Compares two Debian versions.
pub fn compare_versions(a: &str, b: &str) -> Ordering {
    let (a, b) = (split(a), split(b));
    a.0.cmp(&b.0).then_with(|| compare_part(a.1, b.1)).then_with(|| compare_part(a.2, b.2))
}

/// Epoch, upstream version, Debian revision.
fn split(version: &str) -> (u64, &str, &str) {
    let (epoch, rest) = match version.split_once(':') {
        Some((epoch, rest)) => (epoch.parse().unwrap_or(0), rest),
        None => (0, version),
    };
    let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, "0"));
    (epoch, upstream, revision)
}

fn compare_part(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    while !a.is_empty() || !b.is_empty() {
        // the parts that are not digits
        loop {
            let (x, y) = (weight(a.first()), weight(b.first()));
            let done = x == 0 && y == 0;
            if done {
                break;
            }
            match x.cmp(&y) {
                Ordering::Equal => (a, b) = (&a[1..], &b[1..]),
                other => return other,
            }
        }
        let (x, y) = (number(&mut a), number(&mut b));
        match x.len().cmp(&y.len()).then_with(|| x.cmp(y)) {
            Ordering::Equal => {}
            other => return other,
        }
    }
    Ordering::Equal
}

/// '~' is before the end, the end (and a digit) before letters, letters before the rest.
fn weight(byte: Option<&u8>) -> i32 {
    match byte {
        Some(b'~') => -1,
        None | Some(b'0'..=b'9') => 0,
        Some(letter) if letter.is_ascii_alphabetic() => i32::from(*letter),
        Some(other) => i32::from(*other) + 256,
    }
}

/// Takes the leading digits, without leading zeros.
fn number<'a>(text: &mut &'a [u8]) -> &'a [u8] {
    let end = text.iter().position(|b| !b.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    *text = rest;
    let zeros = digits.iter().position(|b| *b != b'0').unwrap_or(digits.len());
    &digits[zeros..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_dpkg_orders_them() {
        // each is older than the next
        let ordered = [
            "0~",
            "0",
            "0.1~rc1-1",
            "0.1-1",
            "0.1-1+b1",
            "0.1-1+deb12u1",
            "0.1-1.1",
            "0.1-2",
            "0.1+b1-1",
            "0.1.1-1",
            "0.2",
            "0.10",
            "1.0~beta",
            "1.0",
            "1.0-1",
            "1.0a",
            "1.0+x",
            "9",
            "1:0.1",
            "2:0.1",
        ];
        for (i, a) in ordered.iter().enumerate() {
            for (j, b) in ordered.iter().enumerate() {
                assert_eq!(compare_versions(a, b), i.cmp(&j), "{a} {b}");
            }
        }
        for (a, b) in [("1.0", "1.0-0"), ("01", "1"), ("0:1", "1"), ("1.00", "1.0")] {
            assert_eq!(compare_versions(a, b), Ordering::Equal, "{a} {b}");
        }
    }
}
