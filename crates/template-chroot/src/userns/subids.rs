// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # The sub-ids of a user
//!
//! Lines `USER:FIRST:COUNT` of /etc/subuid and /etc/subgid, the user by name or number.

use std::fs;
use std::io;

use nix::unistd::{Uid, User};

use crate::error::{ChrootError, Result};

/// With the caller as 0, up to 65535: `nogroup` is 65534, and is used by apt.
const NEEDED: u64 = 65535;

/// The first id and how many, of each line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SubIds(Vec<(u32, u32)>);

impl SubIds {
    /// Those of a user, or what is to be done to have them.
    pub fn of(user: Uid, file: &str, option: &str) -> Result<Self> {
        let text = match fs::read_to_string(file) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => String::new(),
            other => other.map_err(|e| ChrootError::io("reading", file, e))?,
        };
        let name = User::from_uid(user).ok().flatten().map_or_else(|| user.to_string(), |user| user.name);
        let ids = Self::parse(&text, &name, user);
        ids.check(&name, file, option).map(|()| ids)
    }

    fn parse(text: &str, name: &str, user: Uid) -> Self {
        let number = user.to_string();
        let range = |line: &str| {
            let (who, rest) = line.split_once(':')?;
            let (first, count) = rest.split_once(':')?;
            let range: (u32, u32) = (first.trim().parse().ok()?, count.trim().parse().ok()?);
            (range.1 > 0 && (who == name || who == number)).then_some(range)
        };
        Self(text.lines().filter_map(range).collect())
    }

    fn check(&self, name: &str, file: &str, option: &str) -> Result<()> {
        let count: u64 = self.0.iter().map(|(_, count)| u64::from(*count)).sum();
        if count >= NEEDED {
            return Ok(());
        }
        let has = if count == 0 { "no ids".to_owned() } else { format!("{count} ids") };
        Err(ChrootError::MissingPrivilege {
            message: format!("user '{name}' has {has} in {file}, and the files of a template need {NEEDED}"),
            hint: Some(format!(
                "give it some that nobody else has, such as: sudo usermod {option} 100000-165535 {name}"
            )),
        })
    }

    /// Arguments for newuidmap: 0 is the caller, and from 1 on come the sub-ids.
    pub fn map(&self, own: u32) -> Vec<String> {
        let mut out = vec![0, u64::from(own), 1];
        let mut next = 1;
        for (first, count) in &self.0 {
            out.extend([next, u64::from(*first), u64::from(*count)]);
            next += u64::from(*count);
        }
        out.iter().map(u64::to_string).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_user_count() {
        let text =
            "alice:100000:65536\nbob:165536:65536\n1000:231072:10\n# alice:1:1\nalice:x:1\nalice:5:0\n";
        let alice = SubIds::parse(text, "alice", Uid::from_raw(1000));
        assert_eq!(alice.0, [(100000, 65536), (231072, 10)]);
        assert_eq!(alice.map(1000).join(" "), "0 1000 1 1 100000 65536 65537 231072 10");
        assert!(alice.check("alice", "/etc/subuid", "--add-subuids").is_ok());
    }

    #[test]
    fn too_few_are_told() {
        let check = |text| {
            let ids = SubIds::parse(text, "alice", Uid::from_raw(1000));
            ids.check("alice", "/etc/subgid", "--add-subgids").unwrap_err()
        };
        assert_eq!(check("").exit_code(), 5);
        assert!(check("bob:1:70000\n").to_string().contains("user 'alice' has no ids in /etc/subgid"));
        assert!(check("alice:1:1000\n").to_string().contains("has 1000 ids"));
        assert!(check("").hint().unwrap().contains("usermod --add-subgids"));
    }
}
