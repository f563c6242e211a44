// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Users and groups

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::Tree;
use crate::error::Result;

/// What /etc/passwd and /etc/group have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accounts {
    /// By name.
    pub users: BTreeMap<String, User>,
    /// By name.
    pub groups: BTreeMap<String, Group>,
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its number.
    pub uid: u32,
    /// The number of its own group.
    pub gid: u32,
    /// Its home directory.
    pub home: PathBuf,
    /// Its shell.
    pub shell: PathBuf,
}

/// A group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its number.
    pub gid: u32,
    /// Users that are in it besides those whose own group it is.
    pub members: Vec<String>,
}

/// Reads the accounts of a tree.
pub fn accounts(tree: &Tree) -> Result<Accounts> {
    Ok(parse(&tree.text("/etc/passwd")?, &tree.text("/etc/group")?))
}

pub(crate) fn parse(passwd: &str, group: &str) -> Accounts {
    let user = |line: &str| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, _, home, shell] = fields.as_slice() else { return None };
        let user =
            User { uid: uid.parse().ok()?, gid: gid.parse().ok()?, home: home.into(), shell: shell.into() };
        Some(((*name).to_owned(), user))
    };
    let group_of = |line: &str| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, gid, members] = fields.as_slice() else { return None };
        let members = members.split(',').filter(|m| !m.is_empty()).map(str::to_owned).collect();
        Some(((*name).to_owned(), Group { gid: gid.parse().ok()?, members }))
    };
    Accounts {
        users: passwd.lines().filter_map(user).collect(),
        groups: group.lines().filter_map(group_of).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_parsed() {
        let found = parse(
            "root:x:0:0:root:/root:/bin/bash\nsshd:x:100:65534::/run/sshd:/usr/sbin/nologin\nbroken:x\n+::::::\n",
            "root:x:0:\nadm:x:4:syslog,me\nbad:x:many:\n",
        );
        assert_eq!(found.users.keys().collect::<Vec<_>>(), ["root", "sshd"]);
        assert_eq!(found.users["sshd"].home, PathBuf::from("/run/sshd"));
        assert_eq!(found.groups.keys().collect::<Vec<_>>(), ["adm", "root"]);
        assert_eq!(found.groups["adm"].members, ["syslog", "me"]);
    }
}
