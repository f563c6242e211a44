// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Libraries that change, and self-built packages that link them
//!
//! Packages of the distribution are built for each other; a self-built one was built for the library as it was. What
//! the library promises is in its symbols and shlibs files, see deb-symbols(5) and deb-shlibs(5). This informs and
//! refuses nothing: by its dependencies the package may stay.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use template_bundle::versions::compare_versions;

use super::elf::{self, Elf};
use super::{Affected, Compatible, Impact, Incoming, Outgoing, Question, Rebuild};
use crate::apt::Operation;
use crate::error::Result;
use crate::system::{Records, Tree, plain};

/// A library that goes or changes.
struct Library<'a> {
    package: &'a Outgoing,
    has: BTreeSet<String>,
}

/// Whether a file may be a shared library, by its name.
pub(super) fn may_be_library(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    name.ends_with(".so") || name.contains(".so.")
}

pub(super) fn judge(
    tree: &Tree,
    records: &Records<'_>,
    question: &Question<'_>,
    impact: &mut Impact,
) -> Result<()> {
    if question.staying.is_empty() {
        return Ok(());
    }
    let mut room = elf::MAX_NAMES;
    let mut libraries: BTreeMap<String, Library<'_>> = BTreeMap::new();
    for package in question.outgoing {
        for path in package.files.iter().filter(|path| may_be_library(path)) {
            if let Some(Elf { soname: Some(soname), has, .. }) = read(tree, path, &mut room, impact)? {
                libraries.entry(soname).or_insert(Library { package, has });
            }
        }
    }
    if libraries.is_empty() {
        return Ok(());
    }
    for (name, architecture) in question.staying {
        // what it uses of each library
        let mut used: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        for path in
            records.files(name, architecture)?.iter().map(|path| plain(path)).filter(|path| may_link(path))
        {
            let Some(program) = read(tree, &path, &mut { room }, impact)? else { continue };
            for needed in &program.needed {
                if let Some((soname, library)) = libraries.get_key_value(needed) {
                    let uses = program.wants.intersection(&library.has).cloned();
                    used.entry(soname).or_default().extend(uses);
                }
            }
        }
        for (soname, used) in used {
            let library = &libraries[soname];
            let action = &library.package.action;
            let known = Known {
                symbols: &records.text(&action.package, &action.architecture, "symbols")?,
                shlibs: &records.text(&action.package, &action.architecture, "shlibs")?,
                next: question.next(library.package),
                replaced_by: replacement(question, soname),
            };
            let (compatible, why) = known.judge(library.package, soname, &used);
            let rebuild = match question.recipes.contains_key(&action.package) {
                true => Rebuild::UnknownOutsideBitbake,
                false => Rebuild::NotByItself,
            };
            impact.affected.push(Affected {
                package: name.clone(),
                recipe: question.recipe(name).unwrap_or_default(),
                library: action.package.clone(),
                soname: soname.to_owned(),
                compatible,
                rebuild,
                reason: format!("{}: {why}", library.package.change()),
            });
        }
    }
    impact.affected.sort();
    Ok(())
}

fn read(tree: &Tree, path: &Path, room: &mut usize, impact: &mut Impact) -> Result<Option<Elf>> {
    let Some(file) = tree.file(path)? else { return Ok(None) };
    Ok(elf::read(file, room).unwrap_or_else(|elf::TooMuch| {
        impact.notes.push(format!(
            "'{}' has more symbols than are looked at: what it links, and who links it, is not told",
            path.display()
        ));
        None
    }))
}

/// Kernel modules and debugging symbols link nothing, and are many and large.
fn may_link(path: &Path) -> bool {
    !["/usr/lib/modules", "/usr/lib/debug", "/boot"].iter().any(|dir| path.starts_with(dir))
}

/// Another package that comes with a library of this name.
fn replacement<'a>(question: &'a Question<'_>, soname: &str) -> Option<&'a str> {
    let has =
        |incoming: &Incoming| incoming.files.iter().any(|p| p.file_name().is_some_and(|name| name == soname));
    let (number, _) = question.incoming.iter().find(|(_, incoming)| has(incoming))?;
    question.actions.get(*number).map(|action| action.package.as_str())
}

/// What is known of a library, before and after.
struct Known<'a> {
    symbols: &'a str,
    shlibs: &'a str,
    next: Option<&'a Incoming>,
    replaced_by: Option<&'a str>,
}

impl Known<'_> {
    /// Whether what was built with a library works afterwards.
    fn judge(&self, package: &Outgoing, soname: &str, used: &BTreeSet<String>) -> (Compatible, String) {
        let action = &package.action;
        let Some(new) = action.new_version.as_ref().filter(|_| !package.removed()) else {
            return match self.replaced_by {
                Some(other) => {
                    (Compatible::Unknown, format!("'{other}' comes with a library of the same name"))
                }
                None => (Compatible::No, format!("nothing that comes is known to have {soname}")),
            };
        };
        if let Some(next) = self.next {
            return match next.files.iter().any(|p| p.file_name().is_some_and(|name| name == soname)) {
                false => (Compatible::No, format!("the new version has no {soname}")),
                true => by_symbols(&next.symbols, soname, used),
            };
        }
        let since = symbols_of(self.symbols, soname);
        let too_new = used
            .iter()
            .filter_map(|name| Some((name, since.get(name.as_str())?)))
            .find(|(_, since)| compare_versions(since, new).is_gt());
        if let Some((name, since)) = too_new {
            return (Compatible::No, format!("it uses '{name}', which is there since {since}"));
        }
        let minimum = minimum_of(self.shlibs, soname);
        if let Some(minimum) = minimum.filter(|m| since.is_empty() && compare_versions(m, new).is_gt()) {
            return (Compatible::Unknown, format!("what is built with it asks for {minimum} or newer"));
        }
        match (action.operation, since.is_empty()) {
            (Operation::Upgrade, _) => (
                Compatible::Assumed,
                "newer versions of a library package keep what older ones had".to_owned(),
            ),
            (_, false) => (Compatible::Assumed, "all symbols that it uses were there by then".to_owned()),
            (_, true) => (Compatible::Unknown, "nothing tells which symbols were there by then".to_owned()),
        }
    }
}

/// By the symbols file that comes.
fn by_symbols(symbols: &str, soname: &str, used: &BTreeSet<String>) -> (Compatible, String) {
    let there = symbols_of(symbols, soname);
    if there.is_empty() {
        return (Compatible::Unknown, format!("it has {soname}, and no symbols file that tells more"));
    }
    match used.iter().find(|name| !there.contains_key(name.as_str())) {
        Some(lost) => (Compatible::No, format!("it uses '{lost}', which the new version has not got")),
        None => (Compatible::Yes, "all symbols that it uses are in the new version".to_owned()),
    }
}

/// Symbols of a library, and the version since which each is there; the first where it has several.
fn symbols_of<'a>(symbols: &'a str, soname: &str) -> BTreeMap<&'a str, &'a str> {
    let mut found: BTreeMap<&str, &str> = BTreeMap::new();
    let mut ours = false;
    for line in symbols.lines() {
        match line.strip_prefix(' ') {
            // `*` and `|` are more about the library
            None if line.starts_with(['*', '|', '#']) => {}
            None => ours = line.split(' ').next() == Some(soname),
            Some(line) if ours => {
                let mut words = line.split(' ');
                let (Some(symbol), Some(since)) = (words.next(), words.next()) else { continue };
                let name = symbol.split('@').next().unwrap_or(symbol);
                let known = found.entry(name).or_insert(since);
                if compare_versions(since, known).is_lt() {
                    *known = since;
                }
            }
            Some(_) => {}
        }
    }
    found
}

/// The version that a shlibs file asks for: `libz 1 zlib1g (>= 1:1.2.3)`.
fn minimum_of<'a>(shlibs: &'a str, soname: &str) -> Option<&'a str> {
    shlibs.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().filter(|word| !word.ends_with(':')).collect();
        let (name, version) = (words.first()?, words.get(1)?);
        let ours =
            [format!("{name}.so.{version}"), format!("{name}-{version}.so")].iter().any(|n| n == soname);
        let (_, rest) = line.split_once("(>=")?;
        ours.then(|| rest.split(')').next().unwrap_or_default().trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYMBOLS: &str = "libx.so.1 libx1 #MINVER#\n* Build-Depends-Package: libx-dev\n old@Base 1.0\n new@X_2 2.0\n\
        \x20new@X_1 1.5\nliby.so.1 libx1\n y@Base 9\n";

    #[test]
    fn promises_are_read() {
        let found = symbols_of(SYMBOLS, "libx.so.1");
        assert_eq!(found.into_iter().collect::<Vec<_>>(), [("new", "1.5"), ("old", "1.0")]);
        let table = [
            ("libz 1 zlib1g (>= 1:1.2.3)\n", "libz.so.1", Some("1:1.2.3")),
            ("udeb: libz 1 zlib1g-udeb\nlibz 1 zlib1g (>= 2)\n", "libz.so.1", Some("2")),
            ("libfoo 3.0 libfoo-3.0-0 (>= 3.0.1)\n", "libfoo-3.0.so", Some("3.0.1")),
            ("libz 1 zlib1g\n", "libz.so.1", None),
            ("", "libz.so.1", None),
        ];
        for (shlibs, soname, expected) in table {
            assert_eq!(minimum_of(shlibs, soname), expected, "{shlibs}");
        }
    }
}
