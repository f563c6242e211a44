// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # What differs, on a terminal

use std::fmt::Write as _;

use template_bundle::diff::accounts::AccountChange;
use template_bundle::diff::files::FileChange;
use template_bundle::diff::{Change, Diff, packages};

use super::load::About;
use super::words;
use crate::output;

/// The whole text. The files of packages that differ are only counted, unless `long`.
pub fn text(out: &mut String, sides: &[About; 2], diff: &Diff, long: bool) {
    for (sign, about) in ["---", "+++"].iter().zip(sides) {
        let digest = about.digest.map(|d| format!(" {d}")).unwrap_or_default();
        let _ = writeln!(out, "{sign} {}{digest} ({})", words::title(about), words::trust(about));
    }
    packages(out, diff);
    let users = diff.users.iter().flatten().map(|c| account("user", c));
    let groups = diff.groups.iter().flatten().map(|c| account("group", c));
    section(out, "users and groups", users.chain(groups).collect());
    let units = diff.units.iter().flatten();
    section(
        out,
        "units",
        units.map(|u| vec![words::unit(u), words::bytes(&u.unit), words::unit_details(u)]).collect(),
    );
    let alternatives = diff.alternatives.iter().flatten();
    section(
        out,
        "alternatives",
        alternatives
            .map(|a| {
                let choice = format!("{} -> {}", words::choice(&a.old), words::choice(&a.new));
                vec![a.change.word().into(), words::bytes(&a.name), choice]
            })
            .collect(),
    );
    let conffiles = diff.conffiles.iter().flatten();
    section(
        out,
        "configuration files, compared with what their packages brought",
        conffiles.map(|c| vec![words::path(&c.path), words::plain(&c.package), words::conffile(c)]).collect(),
    );
    files(out, diff, long);
    if let Some(ignored) = words::ignored(diff) {
        let _ = writeln!(out, "\n{ignored}");
    }
    if diff.is_empty() {
        out.push_str("\nno differences\n");
    }
}

fn section(out: &mut String, title: &str, rows: Vec<Vec<String>>) {
    if rows.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n{title}:");
    let mut table = String::new();
    output::table(&mut table, &rows);
    for line in table.lines() {
        let _ = writeln!(out, "  {line}");
    }
}

fn packages(out: &mut String, diff: &Diff) {
    let Some(list) = diff.packages.as_ref().filter(|list| !list.is_empty()) else { return };
    let counts: Vec<String> =
        packages::counts(list).into_iter().map(|(fate, n)| format!("{n} {}", fate.word())).collect();
    let size =
        packages::size_change(list).map(|n| format!("; {} installed", words::signed(n))).unwrap_or_default();
    let mut rows = Vec::new();
    for fate in packages::Fate::ALL {
        for p in list.iter().filter(|p| p.change == fate) {
            let versions = match words::versions(p) {
                (Some(old), Some(new)) if old != new => format!("{old} -> {new}"),
                (old, new) => new.or(old).unwrap_or_default(),
            };
            let recipe = words::recipe(p).unwrap_or_default();
            rows.push(vec![
                fate.word().into(),
                words::plain(&p.package),
                versions,
                words::package_size(p),
                recipe,
            ]);
        }
    }
    section(out, &format!("packages: {}{size}", counts.join(", ")), rows);
}

fn account(kind: &str, change: &AccountChange) -> Vec<String> {
    let what = format!("{} {kind}", change.change.word());
    vec![what, words::plain(&change.name), words::account(change).join(", ")]
}

fn files(out: &mut String, diff: &Diff, long: bool) {
    let Some(all) = diff.files.as_ref().filter(|all| !all.is_empty()) else { return };
    let (explained, rest) = words::explained(diff);
    let listed: Vec<&FileChange> = if long { all.iter().collect() } else { rest };
    let all: Vec<&FileChange> = all.iter().collect();
    let size = words::signed(words::files_size_change(all.iter().copied()));
    let _ = writeln!(out, "\nfiles: {}; {size}:", words::counts(&all));
    for file in listed {
        let sign = match file.change() {
            Change::Added => "+",
            Change::Removed => "-",
            Change::Changed => "~",
        };
        // no columns: names may be long
        let _ = writeln!(out, "  {sign} {}  {}", words::path(&file.path), words::file(file));
    }
    if !long && !explained.is_empty() {
        let files = explained.values().map(Vec::len).sum();
        let _ = writeln!(
            out,
            "  {} of {} above; --long lists them",
            output::count(files, "file"),
            output::count(explained.len(), "package"),
        );
    }
}
