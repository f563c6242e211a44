// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # What differs, in words
//!
//! What the text and the page say alike. Names come from systems that nobody vouches for: all that is not plain text in
//! them is spelled out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use template_bundle::bytes::Bytes;
use template_bundle::diff::accounts::{AccountChange, FieldChange};
use template_bundle::diff::alternatives::Choice;
use template_bundle::diff::conffiles::ConffileChange;
use template_bundle::diff::files::{Facts, FileChange, What};
use template_bundle::diff::packages::{Fate, PackageChange};
use template_bundle::diff::units::{Kind, UnitChange};
use template_bundle::diff::{Change, Diff};

use super::load::About;
use crate::output;
pub use crate::output::plain;

/// The same for bytes that may not be text.
pub fn bytes(bytes: &Bytes) -> String {
    let mut out = String::new();
    for chunk in bytes.0.utf8_chunks() {
        out.push_str(&plain(chunk.valid()));
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

/// A path of the system.
pub fn path(path: &Bytes) -> String {
    format!("/{}", bytes(path))
}

/// A size with its sign.
pub fn signed(change: i64) -> String {
    let sign = match change {
        0 => "",
        n if n > 0 => "+",
        _ => "-",
    };
    format!("{sign}{}", output::size(change.unsigned_abs()))
}

/// What a side is called.
pub fn title(about: &About) -> String {
    match (&about.name, &about.template_version) {
        (Some(name), Some(version)) => format!("{} {}", plain(name), plain(version)),
        _ => plain(about.what.trim_end_matches('/')),
    }
}

/// How far a side can be trusted.
pub fn trust(about: &About) -> &'static str {
    match (about.kind, about.verified) {
        ("template", _) => "template of the store, verified when it was imported",
        ("bundle", _) => "bundle, NOT VERIFIED",
        (kind, _) => kind,
    }
}

/// Old and new version of a package.
pub fn versions(p: &PackageChange) -> (Option<String>, Option<String>) {
    let text = |facts: &Option<template_bundle::diff::packages::Facts>| {
        let f = facts.as_ref()?;
        let mut text = plain(&f.version);
        let other = [&p.old, &p.new].into_iter().flatten().any(|o| o.architecture != f.architecture);
        if other {
            let _ = write!(text, " ({})", plain(&f.architecture));
        }
        if p.change == Fate::State {
            let _ = write!(text, " ({})", plain(f.state.as_deref().unwrap_or_default()));
        }
        Some(text)
    };
    (text(&p.old), text(&p.new))
}

/// How much more a package takes than before.
pub fn package_size(p: &PackageChange) -> String {
    let size = |f: &Option<template_bundle::diff::packages::Facts>| match f {
        None => Some(0),
        Some(f) => f.size.and_then(|size| i64::try_from(size).ok()),
    };
    match (size(&p.old), size(&p.new)) {
        (Some(old), Some(new)) if old != new => signed(new - old),
        _ => String::new(),
    }
}

/// Where a self-built package comes from.
pub fn recipe(p: &PackageChange) -> Option<String> {
    let facts = p.new.as_ref().or(p.old.as_ref())?;
    facts.recipe.as_deref().map(|recipe| format!("recipe {}", plain(recipe)))
}

/// The properties of an account.
pub fn account(change: &AccountChange) -> Vec<String> {
    change.fields.iter().filter_map(|f| field(change.change, f)).collect()
}

fn field(change: Change, f: &FieldChange) -> Option<String> {
    let shown = |value: &Option<String>| match value.as_deref() {
        None | Some("") => "none".to_string(),
        Some(value) => plain(value),
    };
    let (old, new) = (shown(&f.old), shown(&f.new));
    match change {
        // what is empty is not worth a word
        Change::Added => (new != "none").then(|| format!("{} {new}", f.field)),
        Change::Removed => (old != "none").then(|| format!("{} {old}", f.field)),
        Change::Changed if old == new => Some(format!("{} changed ({new})", f.field)),
        Change::Changed => Some(format!("{} {old} -> {new}", f.field)),
    }
}

/// What has become of a unit.
pub fn unit(u: &UnitChange) -> String {
    let verb = match (u.kind, u.change) {
        (Kind::Enabled, Change::Added) => "enabled",
        (Kind::Enabled, Change::Removed) => "disabled",
        (Kind::Masked, Change::Added) => "masked",
        (Kind::Masked, Change::Removed) => "unmasked",
        (Kind::Alias, Change::Added) => "named",
        (Kind::Alias, Change::Removed) => "not named any more",
        (Kind::Runlevel, Change::Added) => "in runlevel",
        (Kind::Runlevel, Change::Removed) => "not in runlevel any more",
        (_, Change::Changed) => "leads elsewhere",
    };
    verb.to_string()
}

/// By what a unit is started, and where its link leads.
pub fn unit_details(u: &UnitChange) -> String {
    let mut out = Vec::new();
    if let Some(by) = &u.by {
        out.push(format!("by {}", bytes(by)));
    }
    match (&u.old, &u.new) {
        (Some(old), Some(new)) => out.push(format!("{} -> {}", bytes(old), bytes(new))),
        (Some(only), None) | (None, Some(only)) if u.kind == Kind::Alias => {
            out.push(format!("for {}", bytes(only)))
        }
        _ => {}
    }
    if u.vendor {
        out.push("by its package".to_string());
    }
    out.join(", ")
}

/// What an alternative is.
pub fn choice(choice: &Option<Choice>) -> String {
    match choice {
        None => "none".to_string(),
        Some(c) => match c.mode.as_deref() {
            Some("manual") => format!("{} (manual)", bytes(&c.target)),
            _ => bytes(&c.target),
        },
    }
}

/// What has become of a configuration file.
pub fn conffile(c: &ConffileChange) -> String {
    let word =
        |state: &Option<template_bundle::diff::conffiles::State>| state.map_or("not there", |s| s.word());
    let mut text = match (&c.old, &c.new) {
        (old, new) if old == new => format!("{} on both sides", word(new)),
        (old, new) => format!("{} -> {}", word(old), word(new)),
    };
    if c.shipped_differs && c.old.is_some() && c.new.is_some() {
        text.push_str(", and the package brings another one");
    }
    text
}

/// What differs of a file.
pub fn file(f: &FileChange) -> String {
    match (&f.old, &f.new) {
        (Some(old), Some(new)) => {
            let words: Vec<String> = f.what.iter().map(|what| difference(*what, old, new)).collect();
            words.join(", ")
        }
        (Some(only), None) | (None, Some(only)) => alone(only),
        _ => String::new(),
    }
}

fn difference(what: What, old: &Facts, new: &Facts) -> String {
    let (before, after) = match what {
        What::Content => match (old.size, new.size) {
            (Some(old), Some(new)) if old != new => (output::size(old), output::size(new)),
            _ => return "content".to_string(),
        },
        What::Type => (old.kind.to_string(), new.kind.to_string()),
        What::Mode => (old.mode.clone(), new.mode.clone()),
        What::Owner => (format!("{}:{}", old.uid, old.gid), format!("{}:{}", new.uid, new.gid)),
        What::Target => (target(old), target(new)),
        What::Device => (old.device.clone().unwrap_or_default(), new.device.clone().unwrap_or_default()),
        What::Capabilities => (capabilities(old), capabilities(new)),
        What::Time => (old.mtime.unwrap_or_default().to_string(), new.mtime.unwrap_or_default().to_string()),
        What::Attributes | What::Added | What::Removed => return what.word().to_string(),
    };
    format!("{} {before} -> {after}", what.word())
}

fn target(facts: &Facts) -> String {
    facts.target.as_ref().map(bytes).unwrap_or_default()
}

fn capabilities(facts: &Facts) -> String {
    facts.capabilities.as_deref().map_or("none".to_string(), plain)
}

/// What is special about a file that is on one side only.
fn alone(facts: &Facts) -> String {
    let mut words = Vec::new();
    match (facts.kind, facts.size) {
        ("file", Some(size)) => words.push(output::size(size)),
        ("symlink", _) => words.push(format!("-> {}", target(facts))),
        (kind, _) => words.push(kind.to_string()),
    }
    words.extend(facts.device.clone());
    // setuid, setgid, or a directory that is not as most are
    if facts.kind == "file" && !facts.mode.starts_with('0') {
        words.push(format!("mode {}", facts.mode));
    }
    if (facts.uid, facts.gid) != (0, 0) {
        words.push(format!("owner {}:{}", facts.uid, facts.gid));
    }
    words.extend(facts.capabilities.as_deref().map(plain));
    words.join(", ")
}

/// How many bytes more these files have than before.
pub fn files_size_change<'a>(files: impl Iterator<Item = &'a FileChange>) -> i64 {
    files.map(FileChange::size_change).fold(0, i64::saturating_add)
}

/// `3 added, 1 removed`
pub fn counts(files: &[&FileChange]) -> String {
    let count = |change| files.iter().filter(|f| f.change() == change).count();
    [Change::Added, Change::Removed, Change::Changed]
        .into_iter()
        .filter(|change| count(*change) > 0)
        .map(|change| format!("{} {}", count(change), change.word()))
        .collect::<Vec<_>>()
        .join(", ")
}

/// Files that belong to packages which differ themselves, by package, and all others.
pub fn explained(diff: &Diff) -> (BTreeMap<&str, Vec<&FileChange>>, Vec<&FileChange>) {
    let other: BTreeSet<&str> =
        diff.packages.iter().flatten().filter(|p| p.change != Fate::State).map(|p| &p.package[..]).collect();
    let (mut explained, mut rest): (BTreeMap<&str, Vec<_>>, Vec<_>) = Default::default();
    for file in diff.files.iter().flatten() {
        match file.package.as_deref().filter(|package| other.contains(package)) {
            Some(package) => explained.entry(package).or_default().push(file),
            None => rest.push(file),
        }
    }
    (explained, rest)
}

/// How many files the rules kept out.
pub fn ignored(diff: &Diff) -> Option<String> {
    let total: usize = diff.ignored.iter().map(|i| i.files).sum();
    let rules: Vec<String> = diff.ignored.iter().map(|i| format!("{} {}", plain(&i.rule), i.files)).collect();
    (total > 0)
        .then(|| format!("{} not reported by rule: {}", output::count(total, "file"), rules.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shown_as_they_are() {
        for (name, shown) in [
            (&b"plain \xc3\xa4"[..], "plain \u{e4}"),
            (b"new\nline\x1b[1m", "new\\nline\\u{1b}[1m"),
            (b"bytes \xff\xfe", "bytes \\xff\\xfe"),
            ("right\u{202e}left\u{200b}".as_bytes(), "right\\u{202e}left\\u{200b}"),
        ] {
            assert_eq!(bytes(&Bytes::from(name)), shown);
        }
    }

    #[test]
    fn sizes_have_signs() {
        assert_eq!([signed(0), signed(1500), signed(-2)], ["0 B", "+1.5 kB", "-2 B"]);
    }
}
