// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # The state of the tree
//!
//! What is installed and which files of apt there are, read by one script inside.

use std::collections::BTreeMap;

use super::status::Status;
use super::transaction::Transaction;
use crate::error::{ChrootError, Result};

/// What a script prints with [`PUT`]: by name.
pub(super) type Files = BTreeMap<String, String>;

/// For scripts: prints a file, with a name and its size before it.
pub(super) const PUT: &str = r#"
put() { printf '%s\n%s\n' "$1" "$(wc -c < "$2")"; cat "$2"; echo; }
"#;

/// Prints each file. Also what is below /var/lib/apt/lists, and dpkg's architecture.
const READ_FILES: &str = r#"
t=$(mktemp); dpkg --print-architecture > "$t"; put architecture "$t"
ls /var/lib/apt/lists > "$t" 2>/dev/null; put lists "$t"
dpkg --audit > "$t" 2>&1; put audit "$t"
for f in /var/lib/dpkg/status /var/lib/apt/extended_states "$@"; do
    if [ -f "$f" ]; then put "$f" "$f"; fi
done
rm "$t"
"#;

impl Transaction<'_> {
    /// Reads files of the tree; `extra` are shell patterns.
    pub(super) fn read_files(&self, extra: &[&str]) -> Result<Files> {
        let script = format!("{PUT}{}", READ_FILES.replace("\"$@\"", &extra.join(" ")));
        let captured = self.sandbox(false).capture(&["sh", "-c", &script])?;
        if !captured.exit.success() {
            return Err(ChrootError::Usage {
                message: format!("reading the state of the tree: {}", captured.errors().trim()),
                hint: Some("it must be a Debian root filesystem with dpkg and apt".to_owned()),
            });
        }
        parse_files(&captured.stdout).ok_or_else(|| {
            ChrootError::Internal("reading the state of the tree: it makes no sense".to_owned())
        })
    }

    /// What is installed now, and the complaints of `dpkg --audit`.
    pub(super) fn read_status(&mut self) -> Result<(Status, String)> {
        match self.status.take() {
            Some(read) => Ok(read),
            None => Ok(status_of(&mut self.read_files(&[])?)),
        }
    }
}

/// What is installed, and the complaints of `dpkg --audit`.
pub(super) fn status_of(files: &mut Files) -> (Status, String) {
    let mut take = |name: &str| files.remove(name).unwrap_or_default();
    let architecture = take("architecture").trim().to_owned();
    let status =
        Status::parse(&take("/var/lib/dpkg/status"), &take("/var/lib/apt/extended_states"), &architecture);
    (status, take("audit").trim().to_owned())
}

pub(super) fn parse_files(mut bytes: &[u8]) -> Option<Files> {
    let mut files = Files::new();
    while !bytes.is_empty() {
        let mut line = || {
            let end = bytes.iter().position(|b| *b == b'\n')?;
            let line = String::from_utf8_lossy(&bytes[..end]).into_owned();
            bytes = &bytes[end + 1..];
            Some(line)
        };
        let path = line()?;
        let size: usize = line()?.trim().parse().ok()?;
        let content = bytes.get(..size)?;
        files.insert(path, String::from_utf8_lossy(content).into_owned());
        bytes = bytes.get(size + 1..)?;
    }
    Some(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_parsed() {
        let files = parse_files(b"a\n4\nx\ny\n\nb\n0\n\n").unwrap();
        assert_eq!(files["a"], "x\ny\n");
        assert_eq!(files["b"], "");
        assert!(parse_files(b"a\n9\nx\n").is_none());
    }
}
