// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # What differs, as a page to publish
//!
//! Release notes: complete in one file, without scripts, for small and large screens, in light and dark. The same two
//! systems give the same page.

use std::collections::BTreeMap;

use template_bundle::diff::files::FileChange;
use template_bundle::diff::packages::{self, Fate, PackageChange};
use template_bundle::diff::{Change, Diff};

use super::load::About;
use super::words;
use crate::html::Html;

/// More files of a package or directory than this are counted, not listed: a page has to open on a telephone.
const MAX_LISTED: usize = 500;

const HEAD: &str = r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="generator" content="isar-template diff">
<style>
"#;

/// The page.
pub fn page(sides: &[About; 2], diff: &Diff) -> Html {
    let mut html = Html::default();
    let title = title(sides);
    html.markup(HEAD).markup(include_str!("page.css")).markup("</style>\n");
    html.element("<title>", &title, "</title>\n").markup("</head>\n<body>\n<main>\n");
    header(&mut html, sides, &title);
    summary(&mut html, diff);
    packages(&mut html, diff);
    accounts(&mut html, diff);
    units(&mut html, diff);
    alternatives(&mut html, diff);
    conffiles(&mut html, diff);
    files(&mut html, diff);
    html.markup("<footer>\n<p>");
    if let Some(ignored) = words::ignored(diff) {
        html.text(&capitalized(&ignored)).markup(".<br>");
    }
    html.text(concat!("Made by isar-template ", env!("CARGO_PKG_VERSION"), "."));
    html.markup("</p>\n</footer>\n</main>\n</body>\n</html>\n");
    html
}

fn title(sides: &[About; 2]) -> String {
    match (&sides[0].name, &sides[1].name, &sides[1].template_version) {
        (Some(old), Some(new), Some(version)) if old == new => {
            format!("{} \u{2192} {}", words::title(&sides[0]), words::plain(version))
        }
        _ => format!("{} \u{2192} {}", words::title(&sides[0]), words::title(&sides[1])),
    }
}

fn header(html: &mut Html, sides: &[About; 2], title: &str) {
    html.markup("<header>\n<p class=\"kicker\">What changed</p>\n").element("<h1>", title, "</h1>\n");
    html.markup("<dl class=\"sides\">\n");
    for (label, about) in ["Before", "After"].iter().zip(sides) {
        html.markup("<div>").element("<dt>", label, "</dt>");
        html.element("<dd><b>", &words::title(about), "</b>");
        html.element("<span>", words::trust(about), "</span>");
        if let Some(digest) = &about.digest {
            html.element("<code>", &digest.to_string(), "</code>");
        }
        html.markup("</dd></div>\n");
    }
    html.markup("</dl>\n");
    if sides.iter().any(|about| about.kind == "bundle" && !about.verified) {
        html.markup("<p class=\"warning\">A bundle was compared without verifying its signature.</p>\n");
    }
    html.markup("</header>\n");
}

fn summary(html: &mut Html, diff: &Diff) {
    html.markup("<section id=\"summary\">\n<h2>Summary</h2>\n");
    if diff.is_empty() {
        html.markup("<p>Nothing differs.</p>\n</section>\n");
        return;
    }
    html.markup("<ul class=\"tiles\">\n");
    for (fate, n) in packages::counts(diff.packages.as_deref().unwrap_or_default()) {
        tile(
            html,
            &n.to_string(),
            &format!("{} {}", if n == 1 { "package" } else { "packages" }, fate.word()),
        );
    }
    if let Some(list) = diff.packages.as_ref().filter(|list| !list.is_empty())
        && let Some(change) = packages::size_change(list)
    {
        tile(html, &words::signed(change), "installed");
    }
    let length = |n: Option<usize>| n.unwrap_or(0);
    let accounts = length(diff.users.as_ref().map(Vec::len)) + length(diff.groups.as_ref().map(Vec::len));
    for (n, one, many) in [
        (accounts, "user or group", "users and groups"),
        (length(diff.units.as_ref().map(Vec::len)), "unit link", "unit links"),
        (length(diff.alternatives.as_ref().map(Vec::len)), "alternative", "alternatives"),
        (length(diff.conffiles.as_ref().map(Vec::len)), "configuration file", "configuration files"),
    ] {
        if n > 0 {
            tile(html, &n.to_string(), if n == 1 { one } else { many });
        }
    }
    if let Some(all) = diff.files.as_ref().filter(|all| !all.is_empty()) {
        for change in [Change::Added, Change::Removed, Change::Changed] {
            let n = all.iter().filter(|f| f.change() == change).count();
            if n > 0 {
                let noun = if n == 1 { "file" } else { "files" };
                tile(html, &n.to_string(), &format!("{noun} {}", change.word()));
            }
        }
    }
    html.markup("</ul>\n</section>\n");
}

fn tile(html: &mut Html, number: &str, what: &str) {
    html.element("<li><b>", number, "</b> ").element("<span>", what, "</span></li>\n");
}

fn packages(html: &mut Html, diff: &Diff) {
    let Some(list) = diff.packages.as_ref().filter(|list| !list.is_empty()) else { return };
    html.markup("<section id=\"packages\">\n<h2>Packages</h2>\n");
    for (fate, n) in packages::counts(list) {
        html.element("<h3>", &format!("{} ({n})", capitalized(fate.word())), "</h3>\n");
        html.markup("<table>\n<thead><tr><th>Package</th><th>Version</th><th class=\"number\">Size</th></tr></thead>\n<tbody>\n");
        list.iter().filter(|p| p.change == fate).for_each(|p| package(html, p));
        html.markup("</tbody>\n</table>\n");
    }
    html.markup("</section>\n");
}

fn package(html: &mut Html, p: &PackageChange) {
    html.element("<tr><td class=\"name\"><bdi>", &words::plain(&p.package), "</bdi>");
    if let Some(recipe) = words::recipe(p) {
        html.element(" <small>", &recipe, "</small>");
    }
    html.markup("</td><td>");
    match words::versions(p) {
        (Some(old), Some(new)) if old != new => {
            html.element("<del>", &old, "</del> \u{2192} ").element("<ins>", &new, "</ins>");
        }
        (old, new) => {
            let version = new.or(old).unwrap_or_default();
            html.text(&version);
            if p.change == Fate::Rebuilt {
                html.markup(" <small>with another content</small>");
            }
        }
    }
    html.element("</td><td class=\"number\">", &words::package_size(p), "</td></tr>\n");
}

/// A section with a table of rows: what has become of it, its name, and details.
fn section(
    html: &mut Html,
    open: &'static str,
    heads: [&'static str; 3],
    rows: impl Iterator<Item = (String, String, String)>,
) {
    html.markup(open).markup("<table>\n<thead><tr>");
    heads.iter().for_each(|head| {
        html.element("<th>", head, "</th>");
    });
    html.markup("</tr></thead>\n<tbody>\n");
    for (name, change, details) in rows {
        html.element("<tr><td class=\"name\"><bdi>", &name, "</bdi></td>");
        html.element("<td>", &change, "</td>").element("<td><bdi>", &details, "</bdi></td></tr>\n");
    }
    html.markup("</tbody>\n</table>\n</section>\n");
}

fn accounts(html: &mut Html, diff: &Diff) {
    let users = diff.users.iter().flatten().map(|c| ("user", c));
    let groups = diff.groups.iter().flatten().map(|c| ("group", c));
    let mut rows = users.chain(groups).peekable();
    if rows.peek().is_some() {
        let row = |(kind, c): (&str, &template_bundle::diff::accounts::AccountChange)| {
            (words::plain(&c.name), format!("{kind} {}", c.change.word()), words::account(c).join(", "))
        };
        let open = "<section id=\"users\">\n<h2>Users and groups</h2>\n";
        section(html, open, ["Name", "Change", "Details"], rows.map(row));
    }
}

fn units(html: &mut Html, diff: &Diff) {
    let Some(list) = diff.units.as_ref().filter(|list| !list.is_empty()) else { return };
    let rows = list.iter().map(|u| (words::bytes(&u.unit), words::unit(u), words::unit_details(u)));
    section(html, "<section id=\"units\">\n<h2>Units</h2>\n", ["Unit", "Change", "Details"], rows);
}

fn alternatives(html: &mut Html, diff: &Diff) {
    let Some(list) = diff.alternatives.as_ref().filter(|list| !list.is_empty()) else { return };
    let rows = list.iter().map(|a| {
        let choice = format!("{} \u{2192} {}", words::choice(&a.old), words::choice(&a.new));
        (words::bytes(&a.name), a.change.word().to_string(), choice)
    });
    let open = "<section id=\"alternatives\">\n<h2>Alternatives</h2>\n";
    section(html, open, ["Name", "Change", "Leads to"], rows);
}

fn conffiles(html: &mut Html, diff: &Diff) {
    let Some(list) = diff.conffiles.as_ref().filter(|list| !list.is_empty()) else { return };
    let rows = list.iter().map(|c| (words::path(&c.path), words::plain(&c.package), words::conffile(c)));
    let open = "<section id=\"conffiles\">\n<h2>Configuration files</h2>\n<p>Those that are not as their packages brought them.</p>\n";
    section(html, open, ["File", "Package", "Compared with its package"], rows);
}

fn files(html: &mut Html, diff: &Diff) {
    let Some(all) = diff.files.as_ref().filter(|all| !all.is_empty()) else { return };
    html.markup("<section id=\"files\">\n<h2>Files</h2>\n");
    let mut directories: BTreeMap<String, Vec<&FileChange>> = BTreeMap::new();
    let mut packages: BTreeMap<&str, Vec<&FileChange>> = BTreeMap::new();
    for file in all {
        match &file.package {
            Some(package) => packages.entry(package).or_default().push(file),
            None => directories.entry(top_directory(file)).or_default().push(file),
        }
    }
    if !directories.is_empty() {
        html.markup("<h3>Of no package</h3>\n");
        for (directory, list) in &directories {
            group(html, directory, list);
        }
    }
    if !packages.is_empty() {
        html.markup("<h3>By package</h3>\n");
        for (package, list) in &packages {
            group(html, &words::plain(package), list);
        }
    }
    html.markup("</section>\n");
}

/// The directory under which a file of no package is shown: at most two names of its path.
fn top_directory(file: &FileChange) -> String {
    let path = &file.path.0;
    let ends: Vec<usize> =
        path.iter().enumerate().filter(|(_, c)| **c == b'/').map(|(at, _)| at).take(2).collect();
    let end = ends.last().copied().unwrap_or(0);
    words::path(&path[..end].into())
}

fn group(html: &mut Html, name: &str, list: &[&FileChange]) {
    html.element("<details>\n<summary><bdi class=\"name\">", name, "</bdi> ");
    let size = words::files_size_change(list.iter().copied());
    let counts = format!("{}; {}", words::counts(list), words::signed(size));
    html.element("<small>", &counts, "</small></summary>\n<ul class=\"files\">\n");
    for file in list.iter().take(MAX_LISTED) {
        let open = match file.change() {
            Change::Added => "<li class=\"added\"><bdi>",
            Change::Removed => "<li class=\"removed\"><bdi>",
            Change::Changed => "<li class=\"changed\"><bdi>",
        };
        html.element(open, &words::path(&file.path), "</bdi>");
        html.element(" <small>", file.change().word(), "</small>");
        html.element(" <small><bdi>", &words::file(file), "</bdi></small></li>\n");
    }
    if list.len() > MAX_LISTED {
        let rest = format!("and {} more, which --format json lists", list.len() - MAX_LISTED);
        html.element("<li><small>", &rest, "</small></li>\n");
    }
    html.markup("</ul>\n</details>\n");
}

fn capitalized(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}
