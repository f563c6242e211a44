// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # The sub-ids of a user
//!
//! Lines `USER:FIRST:COUNT` of /etc/subuid and /etc/subgid, the user by name or number.

use std::fs;
use std::io;
use std::path::Path;

use nix::unistd::{Uid, User};

use crate::error::{ChrootError, Result};

/// With the caller as 0, up to 65535: `nogroup` is 65534, and is used by apt.
const NEEDED: u64 = 65535;

/// How many useradd gives.
const COUNT: u64 = 65536;

/// The first id and how many, of each line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SubIds(Vec<(u32, u32)>);

impl SubIds {
    /// Those of a user in the files for users and for groups, or what is to be done to have them.
    pub fn of(user: Uid, files: [&Path; 2]) -> Result<[Self; 2]> {
        let read = |file: &Path| match fs::read_to_string(file) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            other => other.map_err(|e| ChrootError::io("reading", file, e)),
        };
        let texts = [read(files[0])?, read(files[1])?];
        let name = User::from_uid(user).ok().flatten().map_or_else(|| user.to_string(), |user| user.name);
        Self::check(&name, user, files, [&texts[0], &texts[1]])
    }

    fn check(name: &str, user: Uid, files: [&Path; 2], texts: [&str; 2]) -> Result<[Self; 2]> {
        let ids = texts.map(|text| Self::parse(text, name, user));
        let Some(lacking) = ids.iter().position(|ids| ids.count() < NEEDED) else { return Ok(ids) };
        let has = match ids[lacking].count() {
            0 => "no ids".to_owned(),
            count => format!("{count} ids"),
        };
        let file = files[lacking].display();
        let (first, last) = free(texts);
        let options: Vec<String> = ["--add-subuids", "--add-subgids"]
            .iter()
            .zip(&ids)
            .filter(|(_, ids)| ids.count() < NEEDED)
            .map(|(option, _)| format!("{option} {first}-{last}"))
            .collect();
        Err(ChrootError::MissingPrivilege {
            message: format!("user '{name}' has {has} in {file}, and the files of a template need {NEEDED}"),
            hint: Some(format!(
                "give it some that nobody else has: sudo usermod {} {name}",
                options.join(" ")
            )),
        })
    }

    fn parse(text: &str, name: &str, user: Uid) -> Self {
        let number = user.to_string();
        let of_user = |(who, first, count)| (who == name || who == number).then_some((first, count));
        Self(lines(text).filter_map(of_user).collect())
    }

    fn count(&self) -> u64 {
        self.0.iter().map(|(_, count)| u64::from(*count)).sum()
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

/// The user, the first id and how many, of each line that has some.
fn lines(text: &str) -> impl Iterator<Item = (&str, u32, u32)> {
    text.lines().filter_map(|line| {
        let (who, rest) = line.split_once(':')?;
        let (first, count) = rest.split_once(':')?;
        let (first, count) = (first.trim().parse().ok()?, count.trim().parse().ok()?);
        (count > 0).then_some((who, first, count))
    })
}

/// The first range from 100000 on, where Debian's useradd begins, of which nobody has any.
fn free(texts: [&str; 2]) -> (u64, u64) {
    let range = |(_, first, count)| (u64::from(first), u64::from(first) + u64::from(count));
    let mut taken: Vec<(u64, u64)> = texts.iter().flat_map(|text| lines(text)).map(range).collect();
    taken.sort_unstable();
    let mut start = 100_000;
    for (first, end) in taken {
        if first >= start + COUNT {
            break;
        }
        start = start.max(end);
    }
    (start, start + COUNT - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(uids: &str, gids: &str) -> Result<[SubIds; 2]> {
        let files = [Path::new("/etc/subuid"), Path::new("/etc/subgid")];
        SubIds::check("alice", Uid::from_raw(1000), files, [uids, gids])
    }

    #[test]
    fn lines_of_the_user_count() {
        let text =
            "alice:100000:65536\nbob:165536:65536\n1000:231072:10\n# alice:1:1\nalice:x:1\nalice:5:0\n";
        let alice = SubIds::parse(text, "alice", Uid::from_raw(1000));
        assert_eq!(alice.0, [(100000, 65536), (231072, 10)]);
        assert_eq!(alice.map(1000).join(" "), "0 1000 1 1 100000 65536 65537 231072 10");
        assert!(check(text, text).is_ok());
    }

    #[test]
    fn too_few_are_told() {
        assert_eq!(check("", "").unwrap_err().exit_code(), 5);
        let error = check("alice:1:70000", "bob:1:70000\n").unwrap_err();
        assert!(error.to_string().contains("user 'alice' has no ids in /etc/subgid"), "{error}");
        assert!(error.hint().unwrap().ends_with("sudo usermod --add-subgids 100000-165535 alice"));
        assert!(check("alice:1:1000\n", "").unwrap_err().to_string().contains("has 1000 ids"));
    }

    #[test]
    fn what_others_have_is_not_proposed() {
        let hint = check("bob:100000:65536\n", "bob:100000:65536\ncarol:165536:65536\n")
            .unwrap_err()
            .hint()
            .unwrap();
        assert!(
            hint.ends_with("usermod --add-subuids 231072-296607 --add-subgids 231072-296607 alice"),
            "{hint}"
        );
    }
}
