// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Package files and repository folders of the request

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::request::Add;
use super::state::{PUT, parse_files};
use super::status::{Stanza, parse_stanzas};
use super::transaction::Transaction;
use crate::error::{ChrootError, Result};
use crate::sandbox::OWN_DIR;

/// A folder deeper than any repository we know is not one.
const DEPTH_LIMIT: usize = 8;

/// A package file, copied to where nobody changes it between the plan and the transaction.
#[derive(Debug, Clone)]
pub(crate) struct LocalDeb {
    /// On the host.
    pub source: PathBuf,
    /// Inside.
    pub inside: String,
    pub name: String,
    pub version: String,
    pub architecture: String,
    pub size: u64,
    /// In kibibytes.
    pub installed_size: Option<u64>,
    pub sha256: String,
    /// Its control file.
    pub fields: Stanza,
}

/// Prints the control files of all arguments, numbered; ends with the first that has none.
const READ_FIELDS: &str = r#"
t=$(mktemp); n=0
for f; do
    dpkg-deb --field "$f" > "$t" || exit
    put $n "$t"
    n=$((n + 1))
done
rm "$t"
"#;

impl Transaction<'_> {
    /// Copies the package files of the request, and asks dpkg what they are.
    pub(super) fn take_debs(&mut self) -> Result<()> {
        let mut copies = Vec::new();
        let mut argv = vec!["sh".to_owned(), "-c".to_owned(), format!("{PUT}{READ_FIELDS}"), "sh".to_owned()];
        for add in &self.request.add {
            if let Add::Deb(source) = add {
                let name = format!("{}.deb", copies.len());
                let copy = self.scratch("debs").join(&name);
                let (size, sha256) = copy_deb(source, &copy)?;
                copies.push((source.clone(), copy, size, sha256));
                argv.push(format!("{OWN_DIR}/apt/debs/{name}"));
            }
        }
        if copies.is_empty() {
            return Ok(());
        }
        let read = self.sandbox(false).capture(&argv)?;
        let fields = parse_files(&read.stdout).unwrap_or_default();
        for (number, (source, copy, size, sha256)) in copies.into_iter().enumerate() {
            let Some(fields) = fields.get(&number.to_string()) else {
                // by the name that the user knows
                let inside = format!("{OWN_DIR}/apt/debs/{number}.deb");
                let why = read.errors().replace(&inside, &source.display().to_string());
                return Err(ChrootError::usage(
                    format!("package file: {}: {}", source.display(), why.trim()),
                    "it is no Debian package, or a damaged one: build or fetch it again",
                ));
            };
            let mut deb = parse_deb(&source, fields, size, sha256)?;
            if let Some(other) =
                self.debs.iter().find(|d| d.name == deb.name && d.architecture == deb.architecture)
            {
                return Err(ChrootError::usage(
                    format!(
                        "'{}' and '{}' are both package '{}'",
                        other.source.display(),
                        deb.source.display(),
                        deb.name
                    ),
                    "give one of them",
                ));
            }
            // the name that people know from apt's output
            let name = format!("{}_{}_{}.deb", deb.name, deb.version.replace(':', "%3a"), deb.architecture);
            let target = self.scratch("debs").join(&name);
            fs::rename(&copy, &target).map_err(|e| ChrootError::io("renaming to", &target, e))?;
            deb.inside = format!("{OWN_DIR}/apt/debs/{name}");
            self.debs.push(deb);
        }
        Ok(())
    }
}

/// Copies and hashes in one pass.
pub(crate) fn copy_deb(source: &Path, target: &Path) -> Result<(u64, String)> {
    // a pipe would be waited for
    let opened =
        fs::metadata(source).and_then(|m| if m.is_file() { File::open(source).map(Some) } else { Ok(None) });
    let mut input = match opened {
        Ok(Some(input)) => input,
        Ok(None) => {
            return Err(ChrootError::usage(
                format!("package file: {}: it is no file", source.display()),
                "give a .deb",
            ));
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Err(ChrootError::Usage {
                message: format!("package file: {}: it does not exist", source.display()),
                hint: Some(
                    "what ends in .deb is taken for a file, anything else for a package's name".to_owned(),
                ),
            });
        }
        Err(e) => return Err(ChrootError::io("reading package", source, e)),
    };
    let mut output = File::create(target).map_err(|e| ChrootError::io("writing", target, e))?;
    let mut hash = Sha256::new();
    let mut size = 0;
    let mut buffer = vec![0; 1 << 20];
    loop {
        let got = match input.read(&mut buffer) {
            Ok(0) => break,
            Ok(got) => got,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(ChrootError::io("reading package", source, e)),
        };
        hash.update(&buffer[..got]);
        output.write_all(&buffer[..got]).map_err(|e| ChrootError::io("writing", target, e))?;
        size += got as u64;
    }
    Ok((size, format!("{:x}", hash.finalize())))
}

/// Makes a [`LocalDeb`] of what `dpkg-deb --field` prints; without its place inside.
pub(crate) fn parse_deb(source: &Path, fields: &str, size: u64, sha256: String) -> Result<LocalDeb> {
    let wrong = |what: &str| {
        ChrootError::usage(
            format!("package file: {}: it has no proper {what}", source.display()),
            "it is no Debian package, or a damaged one: build or fetch it again",
        )
    };
    let stanza = parse_stanzas(fields).into_iter().next().unwrap_or_default();
    let get = |name: &str| stanza.get(name).cloned().unwrap_or_default();
    let (name, version, architecture) = (get("package"), get("version"), get("architecture"));
    super::request::check_name(&name).map_err(|_| wrong("name"))?;
    super::request::check_version(&version).map_err(|_| wrong("version"))?;
    super::request::check_name(&format!("x:{architecture}")).map_err(|_| wrong("architecture"))?;
    Ok(LocalDeb {
        source: source.to_owned(),
        inside: String::new(),
        name,
        version,
        architecture,
        size,
        installed_size: get("installed-size").parse().ok(),
        sha256,
        fields: stanza,
    })
}

/// The paths, relative to `folder`, of what may be index files of a repository.
pub(crate) fn index_files(folder: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut todo = vec![(folder.to_owned(), String::new(), 0)];
    while let Some((path, prefix, depth)) = todo.pop() {
        let entries = fs::read_dir(&path).map_err(|e| ChrootError::io("reading repository", &path, e))?;
        for entry in entries {
            let entry = entry.map_err(|e| ChrootError::io("reading repository", &path, e))?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let here = format!("{prefix}{name}");
            // packages themselves are in pool/, or anywhere else but here
            if entry.path().is_dir() {
                if (here == "dists" || here.starts_with("dists/")) && depth < DEPTH_LIMIT {
                    todo.push((entry.path(), format!("{here}/"), depth + 1));
                }
            } else {
                found.push(here);
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_a_package_file_are_checked() {
        let path = Path::new("x.deb");
        let good = "Package: my-tool\nVersion: 1:1.0-1\nArchitecture: all\nInstalled-Size: 12\n";
        let deb = parse_deb(path, good, 1, "00".into()).unwrap();
        assert_eq!(
            (deb.name.as_str(), deb.version.as_str(), deb.installed_size),
            ("my-tool", "1:1.0-1", Some(12))
        );
        for bad in [
            "",
            "Package: -x\nVersion: 1\nArchitecture: all\n",
            "Package: x\nVersion: a/b\nArchitecture: all\n",
            "Package: x\nVersion: 1\n",
        ] {
            assert!(parse_deb(path, bad, 1, String::new()).is_err(), "{bad}");
        }
    }

    #[test]
    fn index_files_are_found() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("dists/isar/main/binary-amd64")).unwrap();
        fs::create_dir_all(dir.path().join("pool/main")).unwrap();
        for name in ["dists/isar/main/binary-amd64/Packages", "dists/isar/Release", "pool/main/Packages"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let expected = ["dists/isar/Release", "dists/isar/main/binary-amd64/Packages"];
        assert_eq!(index_files(dir.path()).unwrap(), expected);
    }

    #[test]
    fn copies_are_hashed() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("a"), dir.path().join("b"));
        fs::write(&from, "abc").unwrap();
        let (size, hash) = copy_deb(&from, &to).unwrap();
        assert_eq!(size, 3);
        assert_eq!(hash, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(fs::read_to_string(&to).unwrap(), "abc");
    }
}
