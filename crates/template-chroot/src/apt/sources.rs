// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Package sources of a tree
//!
//! Sorted by what it takes to read them: local ones (`file:`, `copy:`) need no network. Both formats of apt are read;
//! what is not needed to install packages (`deb-src`) is left out.

use std::path::{Path, PathBuf};

use super::failure::without_credentials;
use crate::error::{ChrootError, Result};
use crate::system::Tree;

/// A file below /etc/apt: its base name and its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SourceFile {
    pub name: String,
    pub text: String,
}

impl SourceFile {
    fn deb822(&self) -> bool {
        self.name.ends_with(".sources")
    }
}

/// The option of a line that tells where its keys are.
const SIGNED_BY: &str = "signed-by=";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Local,
    Remote,
}

/// A repository and a suite of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Suite {
    pub uri: String,
    pub suite: String,
    /// The keyring, or the keys themselves.
    pub signed_by: Option<String>,
}

impl Suite {
    /// The directory of a local one.
    pub fn directory(&self) -> Option<&str> {
        let (_, path) = self.uri.split_once(':').filter(|_| kind(&self.uri) == Kind::Local)?;
        Some(path.strip_prefix("//").unwrap_or(path))
    }

    /// The name that apt gives to its Release file below /var/lib/apt/lists, without the ending.
    pub fn list_name(&self) -> String {
        let uri = without_credentials(&self.uri);
        let uri = uri.split_once("://").or(uri.split_once(':')).map_or(uri.as_str(), |(_, rest)| rest);
        let uri = uri.trim_end_matches('/');
        let path = match self.suite.strip_suffix('/') {
            Some(flat) => format!("{uri}/{flat}/"),
            None => format!("{uri}/dists/{}/", self.suite),
        };
        let mut name = String::new();
        for c in path.chars() {
            match c {
                '/' => name.push('_'),
                c if "\\|{}[]<>\"^~_=!@#$%&*".contains(c) || !c.is_ascii_graphic() => {
                    let mut bytes = [0; 4];
                    for byte in c.encode_utf8(&mut bytes).bytes() {
                        name.push_str(&format!("%{byte:02x}"));
                    }
                }
                c => name.push(c),
            }
        }
        name
    }
}

pub(crate) fn kind(uri: &str) -> Kind {
    if ["file:", "copy:", "cdrom:"].iter().any(|scheme| uri.starts_with(scheme)) {
        Kind::Local
    } else {
        Kind::Remote
    }
}

/// The source files of a tree, read from outside.
pub(crate) fn read(tree: &Tree) -> Result<Vec<SourceFile>> {
    let dir = Path::new("etc/apt/sources.list.d");
    let mut paths = vec![PathBuf::from("etc/apt/sources.list")];
    paths.extend(tree.list(dir)?.into_iter().map(|(name, _)| dir.join(name)));
    let wanted =
        |path: &PathBuf| path.extension().is_some_and(|end| ["list", "sources"].iter().any(|e| end == *e));
    paths
        .into_iter()
        .filter(wanted)
        .map(|path| Ok(SourceFile { name: path.display().to_string(), text: tree.text(&path)? }))
        .collect()
}

/// What a source file has of the wanted URIs, and the suites named there.
pub(crate) fn select(file: &SourceFile, wanted: &dyn Fn(&str) -> bool) -> (SourceFile, Vec<Suite>) {
    let mut suites = Vec::new();
    let text = if file.deb822() {
        select_deb822(&file.text, wanted, &mut suites)
    } else {
        select_lines(&file.text, wanted, &mut suites)
    };
    (SourceFile { name: file.name.clone(), text }, suites)
}

fn select_lines(text: &str, wanted: &dyn Fn(&str) -> bool, suites: &mut Vec<Suite>) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let Some((options, rest)) = entry(line) else { continue };
        let signed_by = options.split_whitespace().find_map(|o| o.strip_prefix(SIGNED_BY)).map(str::to_owned);
        let mut words = rest.split('#').next().unwrap_or_default().split_whitespace();
        let (Some(uri), Some(suite)) = (words.next(), words.next()) else { continue };
        if wanted(uri) {
            suites.push(Suite { uri: uri.to_owned(), suite: suite.to_owned(), signed_by });
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

/// The options of a line, and what comes after them.
fn entry(line: &str) -> Option<(&str, &str)> {
    let entry = line.trim().strip_prefix("deb").filter(|e| e.starts_with([' ', '\t']))?.trim_start();
    let with_options = entry.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    Some(with_options.map_or(("", entry), |(options, rest)| (options, rest.trim_start())))
}

fn select_deb822(text: &str, wanted: &dyn Fn(&str) -> bool, suites: &mut Vec<Suite>) -> String {
    let mut out = String::new();
    for fields in stanzas(text) {
        let get = |name: &str| {
            let field = fields.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
            field.map(|(_, value)| value.clone()).unwrap_or_default()
        };
        let off = ["no", "false", "off", "0", "without", "disable"];
        if !get("Types").split_whitespace().any(|t| t == "deb")
            || off.contains(&get("Enabled").to_lowercase().as_str())
        {
            continue;
        }
        let uris: Vec<String> =
            get("URIs").split_whitespace().filter(|uri| wanted(uri)).map(str::to_owned).collect();
        if uris.is_empty() {
            continue;
        }
        for uri in &uris {
            for suite in get("Suites").split_whitespace() {
                let signed_by = Some(get("Signed-By")).filter(|keys| !keys.is_empty());
                suites.push(Suite { uri: uri.clone(), suite: suite.to_owned(), signed_by });
            }
        }
        for (name, value) in &fields {
            let value = match name.to_ascii_lowercase().as_str() {
                "types" => "deb".to_owned(),
                "uris" => uris.join(" "),
                _ => value.clone(),
            };
            out.push_str(&format!("{name}: {value}\n"));
        }
        out.push('\n');
    }
    out
}

/// The fields of each stanza, with their continuation lines.
fn stanzas(text: &str) -> Vec<Vec<(String, String)>> {
    let mut all = Vec::new();
    let lines: Vec<&str> = text.lines().filter(|l| !l.starts_with('#')).collect();
    for stanza in lines.split(|line| line.trim().is_empty()) {
        let mut fields: Vec<(String, String)> = Vec::new();
        for line in stanza {
            match (line.starts_with([' ', '\t']), line.split_once(':'), fields.last_mut()) {
                (true, _, Some((_, value))) => {
                    value.push('\n');
                    value.push_str(line);
                }
                (false, Some((name, value)), _) => {
                    fields.push((name.trim().to_owned(), value.trim().to_owned()))
                }
                _ => {}
            }
        }
        all.push(fields);
    }
    all
}

/// Has each source say where its keys are, as `keyring` tells for what it says now; as it was where that tells nothing.
pub(crate) fn sign(file: &SourceFile, keyring: &dyn Fn(Option<&str>) -> Option<String>) -> SourceFile {
    let mut text = String::new();
    if file.deb822() {
        for mut fields in stanzas(&file.text) {
            let old = fields.iter().position(|(name, _)| name.eq_ignore_ascii_case("signed-by"));
            if let Some(new) = keyring(old.map(|at| fields[at].1.as_str())) {
                old.map(|at| fields.remove(at));
                fields.push(("Signed-By".to_owned(), new));
            }
            for (name, value) in fields {
                text.push_str(&format!("{name}: {value}\n"));
            }
            text.push('\n');
        }
    } else {
        for line in file.text.lines() {
            let new = entry(line).and_then(|(options, rest)| {
                let signed_by = options.split_whitespace().find_map(|o| o.strip_prefix(SIGNED_BY));
                let new = format!("{SIGNED_BY}{}", keyring(signed_by)?);
                let others = options.split_whitespace().filter(|o| !o.starts_with(SIGNED_BY));
                Some(format!("deb [{}] {rest}", others.chain([new.as_str()]).collect::<Vec<_>>().join(" ")))
            });
            text.push_str(new.as_deref().unwrap_or(line));
            text.push('\n');
        }
    }
    SourceFile { name: file.name.clone(), text }
}

/// The source lines for a repository folder of the host, which is seen at `inside`.
///
/// `files` are the paths of its index files, relative to it: `Packages`, `dists/SUITE/Release` and so on.
pub(crate) fn folder_sources(inside: &str, files: &[String]) -> Result<String> {
    let index = |name: &str| {
        let base = name.rsplit('/').next().unwrap_or(name);
        base == "Packages"
            || ["gz", "xz", "bz2", "zst", "lz4"].iter().any(|e| base == format!("Packages.{e}"))
    };
    let mut lines = Vec::new();
    if files.iter().any(|f| !f.contains('/') && index(f)) {
        lines.push(format!("deb [trusted=yes] file:{inside} ./"));
    }
    // dists/SUITE/COMPONENT/binary-ARCHITECTURE/Packages, where a suite may have slashes in it
    let mut found: Vec<(String, String)> = Vec::new();
    for file in files.iter().filter(|f| index(f)) {
        let parts: Vec<&str> = file.split('/').collect();
        let ["dists", suite @ .., component, binary, _] = parts.as_slice() else { continue };
        if binary.starts_with("binary-") && !suite.is_empty() {
            let entry = (suite.join("/"), (*component).to_owned());
            if !found.contains(&entry) {
                found.push(entry);
            }
        }
    }
    found.sort();
    for chunk in found.chunk_by(|a, b| a.0 == b.0) {
        let components: Vec<&str> = chunk.iter().map(|(_, c)| c.as_str()).collect();
        lines.push(format!("deb [trusted=yes] file:{inside} {} {}", chunk[0].0, components.join(" ")));
    }
    if lines.is_empty() {
        return Err(ChrootError::Usage {
            message: "it has neither a Packages file nor dists/SUITE/COMPONENT/binary-ARCHITECTURE/Packages"
                .to_owned(),
            hint: Some(
                "make an index with: apt-ftparchive packages . > Packages (of the package apt-utils)"
                    .to_owned(),
            ),
        });
    }
    Ok(lines.join("\n") + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, text: &str) -> SourceFile {
        SourceFile { name: name.into(), text: text.into() }
    }

    #[test]
    fn sources_of_a_tree_are_read() {
        let (_dir, tree) = crate::system::of_files(&[
            ("etc/apt/sources.list", "deb http://a x main\n"),
            ("etc/apt/sources.list.d/b.sources", "Types: deb\nURIs: http://b\nSuites: y\n"),
            ("etc/apt/sources.list.d/c.save", "deb http://c z main\n"),
        ]);
        let suites: Vec<Suite> =
            read(&tree).unwrap().iter().flat_map(|file| select(file, &|_| true).1).collect();
        let uris: Vec<&str> = suites.iter().map(|suite| suite.uri.as_str()).collect();
        assert_eq!(uris, ["http://a", "http://b"]);
    }

    #[test]
    fn keyrings_are_put_in() {
        let keyring = |old: Option<&str>| match old {
            Some("/kept") => None,
            Some(_) => Some("/other".to_owned()),
            None => Some("/new".to_owned()),
        };
        let list = "# x\ndeb http://a x main # why\ndeb [arch=amd64 signed-by=/old] http://b y\ndeb [signed-by=/kept] http://c z\n";
        assert_eq!(
            sign(&file("x.list", list), &keyring).text,
            "# x\ndeb [signed-by=/new] http://a x main # why\ndeb [arch=amd64 signed-by=/other] http://b y\n\
             deb [signed-by=/kept] http://c z\n"
        );
        let own = "Types: deb\nURIs: http://a\nSuites: x\n\nURIs: http://b\nSigned-By:\n -----BEGIN\n .\n x\nTypes: deb\n";
        assert_eq!(
            sign(&file("x.sources", own), &|old| old.is_none().then(|| "/new".to_owned())).text,
            "Types: deb\nURIs: http://a\nSuites: x\nSigned-By: /new\n\n\
             URIs: http://b\nSigned-By: \n -----BEGIN\n .\n x\nTypes: deb\n\n"
        );
    }

    #[test]
    fn one_line_sources_are_sorted() {
        let list = file(
            "x.list",
            "# comment\ndeb [trusted=yes arch=amd64] file:///isar-apt isar main\ndeb-src file:///isar-apt isar main\n\
             deb http://mirror.example/debian bookworm main # why\n\tdeb copy:/x ./\ndebfoo y z\n",
        );
        let (local, suites) = select(&list, &|uri| kind(uri) == Kind::Local);
        assert_eq!(local.text, "deb [trusted=yes arch=amd64] file:///isar-apt isar main\n\tdeb copy:/x ./\n");
        let directories: Vec<_> = suites.iter().map(Suite::directory).collect();
        assert_eq!(directories, [Some("/isar-apt"), Some("/x")]);
        let (remote, suites) = select(&list, &|uri| kind(uri) == Kind::Remote);
        assert_eq!(remote.text, "deb http://mirror.example/debian bookworm main # why\n");
        let debian = |signed_by: Option<&str>| Suite {
            uri: "http://mirror.example/debian".into(),
            suite: "bookworm".into(),
            signed_by: signed_by.map(str::to_owned),
        };
        assert_eq!(suites, [debian(None)]);
        assert_eq!(select(&list, &|_| true).1.len(), 3);
        let list =
            file("y.list", "deb [arch=amd64 signed-by=/k.gpg] http://mirror.example/debian bookworm main\n");
        assert_eq!(select(&list, &|_| true).1, [debian(Some("/k.gpg"))]);
    }

    #[test]
    fn deb822_sources_are_sorted() {
        let sources = file(
            "debian.sources",
            "Types: deb deb-src\n# c\nURIs: http://mirror.example/debian file:/base-apt\nSuites: bookworm\n bookworm-updates\nComponents: main\n\
             Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc\n\nTypes: deb\nURIs: http://off\nSuites: x\nEnabled: no\n\n\
             Types: deb-src\nURIs: http://src\nSuites: x\n",
        );
        let (remote, suites) = select(&sources, &|uri| kind(uri) == Kind::Remote);
        assert_eq!(
            remote.text,
            "Types: deb\nURIs: http://mirror.example/debian\nSuites: bookworm\n bookworm-updates\nComponents: main\n\
             Signed-By: \n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc\n\n"
        );
        assert_eq!(suites.len(), 2);
        let (local, suites) = select(&sources, &|uri| kind(uri) == Kind::Local);
        assert!(local.text.contains("URIs: file:/base-apt\n"));
        assert_eq!(suites[0].directory(), Some("/base-apt"));
    }

    #[test]
    fn lists_are_named_as_apt_names_them() {
        let table = [
            ("http://mirror.example/debian", "bookworm", "mirror.example_debian_dists_bookworm_"),
            (
                "http://mirror.example/debian/",
                "bookworm-updates",
                "mirror.example_debian_dists_bookworm-updates_",
            ),
            ("https://user:pw@host:8080/a_b~c", "x/updates", "host:8080_a%5fb%7ec_dists_x_updates_"),
            ("file:///isar-apt", "isar", "_isar-apt_dists_isar_"),
            ("file:/tmp/repo", "./", "_tmp_repo_._"),
        ];
        for (uri, suite, expected) in table {
            let suite = Suite { uri: uri.into(), suite: suite.into(), signed_by: None };
            assert_eq!(suite.list_name(), expected);
        }
    }

    #[test]
    fn folders_become_sources() {
        let own = |files: &[&str]| files.iter().map(|f| (*f).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            folder_sources("/r/0", &own(&["Packages.gz", "a.deb"])).unwrap(),
            "deb [trusted=yes] file:/r/0 ./\n"
        );
        assert_eq!(
            folder_sources(
                "/r/0",
                &own(&[
                    "dists/isar/main/binary-amd64/Packages",
                    "dists/isar/main/binary-amd64/Packages.gz",
                    "dists/isar/contrib/binary-amd64/Packages",
                    "dists/x/updates/main/binary-all/Packages.xz",
                    "dists/isar/Release",
                ])
            )
            .unwrap(),
            "deb [trusted=yes] file:/r/0 isar contrib main\ndeb [trusted=yes] file:/r/0 x/updates main\n"
        );
        assert_eq!(folder_sources("/r/0", &own(&["a.deb"])).unwrap_err().exit_code(), 2);
    }
}
