// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Configuration files that were changed in the template
//!
//! dpkg keeps them when a package gets another version (we ask for that), and they go when it is removed. Both is worth a
//! note, since it is the template's author who changed them and somebody else who makes the product.

use super::action::{Action, Operation};
use super::status::Status;
use super::transaction::Transaction;
use crate::error::Result;
use crate::sandbox::OWN_DIR;

const FAILED: &str = ": FAILED";

impl Transaction<'_> {
    /// Notes about the configuration files of what changes.
    pub(super) fn note_conffiles(&self, actions: &[Action], status: &Status) -> Result<Vec<String>> {
        let mut owners = Vec::new();
        let mut sums = String::new();
        for action in actions.iter().filter(|a| a.old_version.is_some()) {
            let Some(package) = status.get(&format!("{}:{}", action.package, action.architecture)) else {
                continue;
            };
            for (path, md5) in &package.conffiles {
                // md5sum would take it for an escape
                if !path.contains('\\') {
                    sums.push_str(&format!("{md5}  {path}\n"));
                    owners.push((path.as_str(), action));
                }
            }
        }
        if owners.is_empty() {
            return Ok(Vec::new());
        }
        let sums_file = format!("{OWN_DIR}/conffiles.md5");
        let sandbox = self.sandbox(false).own_file("conffiles.md5", sums);
        let said = sandbox.capture(&["md5sum", "--check", "--quiet", "--", &sums_file])?.text();
        Ok(said.lines().filter_map(|line| note(line, &owners)).collect())
    }
}

/// What a line of `md5sum --check --quiet` means.
fn note(line: &str, owners: &[(&str, &Action)]) -> Option<String> {
    let (path, how) = line.rsplit_once(FAILED)?;
    let (_, action) = owners.iter().find(|(p, _)| *p == path)?;
    let name = &action.package;
    // "FAILED open or read"
    let gone = !how.is_empty();
    match (action.operation, gone) {
        (Operation::Remove, true) => None,
        (Operation::Remove, false) => {
            Some(format!("'{path}' was changed in the template, and goes with '{name}'"))
        }
        (_, true) => {
            Some(format!("'{path}' of '{name}' was removed from the template, and is not made again"))
        }
        (_, false) => {
            Some(format!("'{path}' of '{name}' was changed in the template, and is kept as it is there"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_files_are_told() {
        let action = |operation| Action::example(operation, "nano");
        let told = |operation, line: &str| note(line, &[("/etc/nanorc", &action(operation))]);
        let kept = told(Operation::Upgrade, "/etc/nanorc: FAILED").unwrap();
        assert_eq!(kept, "'/etc/nanorc' of 'nano' was changed in the template, and is kept as it is there");
        assert!(told(Operation::Remove, "/etc/nanorc: FAILED").unwrap().contains("goes with 'nano'"));
        assert!(
            told(Operation::Downgrade, "/etc/nanorc: FAILED open or read")
                .unwrap()
                .contains("not made again")
        );
        assert_eq!(told(Operation::Remove, "/etc/nanorc: FAILED open or read"), None);
        assert_eq!(told(Operation::Upgrade, "/etc/other: FAILED"), None);
        assert_eq!(told(Operation::Upgrade, "/etc/nanorc: OK"), None);
    }
}
