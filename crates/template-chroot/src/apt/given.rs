// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Package sources that come with the request
//!
//! Files of the host, as apt has them: sources, preferences, keyrings. They hold for one transaction, and nothing of
//! them stays in the tree. They are read once, at its beginning.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::sources::{self, SourceFile};
use super::status::parse_stanzas;
use super::transaction::Transaction;
use crate::error::{ChrootError, Result};
use crate::sandbox::OWN_DIR;

/// More than all keys of Debian take.
const SIZE_LIMIT: u64 = 16 << 20;

/// The directory with keyrings, in the sandbox and in the scratch directory.
pub(super) const KEYRINGS: &str = "keyrings";

/// The file with all records of preferences.
pub(super) const PREFERENCES: &str = "preferences";

/// Where the tree has its own.
pub(super) const PREFERENCES_OF_TREE: &str = "/etc/apt/preferences";

/// What is in the files.
#[derive(Debug, Default)]
pub(super) struct Given {
    /// In the order of the request; the names make apt read them before the tree's: of several archives with one
    /// version, it takes the first.
    pub files: Vec<SourceFile>,
    /// Records of preferences, the tree's after those of the request; none when the request has none.
    pub preferences: Option<String>,
}

impl Transaction<'_> {
    /// Reads the files of the request. `preferences` are the tree's.
    pub(super) fn take_given(&mut self, preferences: &str) -> Result<()> {
        let keyrings = self.take_keyrings()?;
        let mut given = Given::default();
        for (number, path) in self.request.sources.iter().enumerate() {
            let file = SourceFile { name: source_name(path, number)?, text: text(path)? };
            let file = sources::sign(&file, &|signed_by| replaced(signed_by, &keyrings));
            if sources::select(&file, &|_| true).1.is_empty() {
                return Err(ChrootError::Usage {
                    message: format!("package sources: {}: it names no repository", path.display()),
                    hint: Some(
                        "a .list file has lines such as 'deb URI SUITE COMPONENT', a .sources file has \
                         Types: deb, URIs, Suites and Components (see sources.list(5))"
                            .to_owned(),
                    ),
                });
            }
            given.files.push(file);
        }
        if !self.request.preferences.is_empty() {
            let mut all = String::new();
            for path in &self.request.preferences {
                let text = text(path)?;
                check_preferences(&text).map_err(|why| {
                    ChrootError::usage(
                        format!("package preferences: {}: {why}", path.display()),
                        "write it as apt_preferences(5) says",
                    )
                })?;
                all.push_str(text.trim_end());
                all.push_str("\n\n");
            }
            all.push_str(preferences);
            given.preferences = Some(all);
        }
        self.given = given;
        Ok(())
    }

    /// Copies the keyrings to where apt's own user can read them.
    fn take_keyrings(&self) -> Result<Vec<Keyring>> {
        let write = |path: &Path, content: &[u8]| {
            fs::write(path, content)
                .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o644)))
                .map_err(|e| ChrootError::io("writing", path, e))
        };
        let mut keyrings = Vec::new();
        for (number, path) in self.request.keyrings.iter().enumerate() {
            let content = read(path, "keyring")?;
            // apt goes by the name
            let armored = content.starts_with(b"-----BEGIN PGP PUBLIC KEY BLOCK-----");
            // packets have the first bit set; the keybox of gpg has no packets, and apt cannot read it
            if !armored && content.first().is_none_or(|byte| byte & 0x80 == 0) {
                return Err(ChrootError::Usage {
                    message: format!("keyring: {}: it holds no OpenPGP keys", path.display()),
                    hint: Some("export them with: gpg --export KEY > FILE".to_owned()),
                });
            }
            let name = format!("{number}.{}", if armored { "asc" } else { "gpg" });
            write(&self.keyrings_dir().join(&name), &content)?;
            let base = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            keyrings.push(Keyring { base, inside: format!("{OWN_DIR}/{KEYRINGS}/{name}") });
        }
        Ok(keyrings)
    }
}

/// A keyring of the request.
#[derive(Debug)]
struct Keyring {
    /// Its file name on the host.
    base: String,
    inside: String,
}

/// The keys of a source: of those that name none it is all keyrings of the request, and of one that names a file it is
/// the keyring with the same file name, wherever it was to be on the product.
fn replaced(signed_by: Option<&str>, keyrings: &[Keyring]) -> Option<String> {
    match signed_by {
        None if keyrings.is_empty() => None,
        None => Some(keyrings.iter().map(|k| k.inside.as_str()).collect::<Vec<_>>().join(",")),
        Some(path) => {
            let base = path.strip_prefix('/')?.rsplit('/').next()?;
            keyrings.iter().find(|k| k.base == base).map(|k| k.inside.clone())
        }
    }
}

/// Tells the format.
fn source_name(path: &Path, number: usize) -> Result<String> {
    match path.extension().and_then(|end| end.to_str()) {
        Some(end @ ("list" | "sources")) => Ok(format!("{number:03}.{end}")),
        _ => Err(ChrootError::Usage {
            message: format!("package sources: {}: its name does not tell the format", path.display()),
            hint: Some("name it *.list, or *.sources (see sources.list(5))".to_owned()),
        }),
    }
}

/// apt would complain too, of a file that the caller does not know.
fn check_preferences(text: &str) -> Result<(), String> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let records = parse_stanzas(&lines.join("\n"));
    if records.is_empty() {
        return Err("it has no record".to_owned());
    }
    for (number, record) in records.iter().enumerate() {
        if let Some(missing) =
            ["Package", "Pin", "Pin-Priority"].iter().find(|name| !record.contains_key(&name.to_lowercase()))
        {
            return Err(format!("record {} has no '{missing}' (see apt_preferences(5))", number + 1));
        }
        let priority = record["pin-priority"].trim();
        if priority.parse::<i16>().is_err() {
            return Err(format!("record {}: '{priority}' is no priority from -32768 to 32767", number + 1));
        }
    }
    Ok(())
}

fn read(path: &Path, what: &str) -> Result<Vec<u8>> {
    let wrong = |why: String| {
        ChrootError::usage(
            format!("{what}: {}: {why}", path.display()),
            "check the path, and that it is the file that is meant",
        )
    };
    // a pipe would be waited for
    let is_file = fs::metadata(path).map_err(|e| wrong(e.to_string()))?.is_file();
    if !is_file {
        return Err(wrong("it is no file".to_owned()));
    }
    let mut content = Vec::new();
    File::open(path)
        .and_then(|file| file.take(SIZE_LIMIT + 1).read_to_end(&mut content))
        .map_err(|e| wrong(e.to_string()))?;
    if content.len() as u64 > SIZE_LIMIT {
        return Err(wrong(format!("it is larger than {SIZE_LIMIT} bytes")));
    }
    Ok(content)
}

fn text(path: &Path) -> Result<String> {
    String::from_utf8(read(path, "package sources")?).map_err(|_| {
        ChrootError::usage(
            format!("package sources: {}: it is no text", path.display()),
            "write it as sources.list(5) says",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keyrings_are_matched() {
        let keyring = |base: &str, inside: &str| Keyring { base: base.into(), inside: inside.into() };
        let two = [keyring("a.gpg", "/k/0.gpg"), keyring("b.asc", "/k/1.asc")];
        let table = [
            (None, Some("/k/0.gpg,/k/1.asc")),
            (Some("/etc/apt/keyrings/b.asc"), Some("/k/1.asc")),
            (Some("/etc/apt/keyrings/c.asc"), None),
            (Some("-----BEGIN PGP PUBLIC KEY BLOCK-----"), None),
        ];
        for (signed_by, expected) in table {
            assert_eq!(replaced(signed_by, &two).as_deref(), expected, "{signed_by:?}");
        }
        assert_eq!(replaced(None, &[]), None);
    }

    #[test]
    fn preferences_are_checked() {
        let good = "# why\nPackage: *\nPin: release n=own\nPin-Priority: 900\n\nExplanation: x\nPackage: a b\nPin: version 1*\nPin-Priority: -1\n";
        assert_eq!(check_preferences(good), Ok(()));
        let table = [
            ("", "it has no record"),
            ("Package: *\nPin: release n=own\n", "record 1 has no 'Pin-Priority' (see apt_preferences(5))"),
            (
                "Package: *\nPin: release n=own\nPin-Priority: high\n",
                "record 1: 'high' is no priority from -32768 to 32767",
            ),
        ];
        for (text, expected) in table {
            assert_eq!(check_preferences(text).unwrap_err(), expected);
        }
    }
}
