// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Users and groups that are left
//!
//! Nothing records which package has made an account. Its scripts say so, its sysusers.d files do, and sometimes the
//! name or the home directory. An account that another package makes as well is that one's, too, and those of
//! base-passwd are everybody's.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::LeftoverKind::{Group, User};
use super::{Leaving, Leftover};
use crate::error::Result;
use crate::system::{Accounts, Kind, Records, Tree, accounts, plain};

/// Programs that make accounts.
const MAKERS: [&str; 4] = ["adduser", "addgroup", "useradd", "groupadd"];
/// The first number of accounts of people.
const PEOPLE: u32 = 1000;

pub(super) fn find(
    tree: &Tree,
    records: &Records<'_>,
    gone: &[Leaving],
    found: &mut Vec<Leftover>,
) -> Result<()> {
    let now = accounts(tree)?;
    let mut candidates: BTreeMap<String, &Leaving> = BTreeMap::new();
    for leaving in gone {
        for name in guessed(leaving, &now).into_iter().chain(leaving.accounts.iter().cloned()) {
            if now.users.contains_key(&name) || now.groups.contains_key(&name) {
                candidates.entry(name).or_insert(leaving);
            }
        }
    }
    if candidates.is_empty() {
        return Ok(());
    }
    for master in ["passwd.master", "group.master"] {
        for line in tree.text(format!("/usr/share/base-passwd/{master}"))?.lines() {
            candidates.remove(line.split(':').next().unwrap_or_default());
        }
    }
    for name in claimed(tree, records)? {
        candidates.remove(&name);
    }
    for (name, leaving) in candidates {
        if let Some(user) = now.users.get(&name) {
            let detail = format!("number {}, home {}", user.uid, user.home.display());
            found.push(leaving.leftover(User, &name, detail));
        }
        if let Some(group) = now.groups.get(&name) {
            let members = match group.members.as_slice() {
                [] => String::new(),
                some => format!(", with {}", some.join(", ")),
            };
            found.push(leaving.leftover(Group, &name, format!("number {}{members}", group.gid)));
        }
    }
    Ok(())
}

/// System users that have the name of the package, or live in one of its directories.
fn guessed(leaving: &Leaving, now: &Accounts) -> BTreeSet<String> {
    let package = leaving.package.as_str();
    let home = |path: &Path| {
        // not one that it shares with others
        let at = leaving.files.binary_search_by(|(p, _)| p.as_path().cmp(path));
        at.is_ok_and(|at| leaving.files[at].1 == Kind::Directory) && path.to_string_lossy().contains(package)
    };
    now.users
        .iter()
        .filter(|(name, user)| {
            let named = [package.to_owned(), format!("_{package}"), format!("Debian-{package}")];
            (1..PEOPLE).contains(&user.uid) && (named.contains(name) || home(&plain(&user.home)))
        })
        .map(|(name, _)| name.clone())
        .collect()
}

/// Accounts that the packages make that are there now.
fn claimed(tree: &Tree, records: &Records<'_>) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for what in ["preinst", "postinst"] {
        for (_, script) in records.all(what)? {
            names.extend(in_script(&String::from_utf8_lossy(&script)));
        }
    }
    for dir in ["/usr/lib/sysusers.d", "/etc/sysusers.d"] {
        for (name, _) in tree.list(dir)? {
            names.extend(in_sysusers(&tree.text(Path::new(dir).join(name))?));
        }
    }
    Ok(names)
}

/// Names in the calls of adduser and its like in a shell script: all words that could be one. What is no account in the
/// end does not matter.
pub(super) fn in_script(script: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    if !MAKERS.iter().any(|maker| script.contains(maker)) {
        return names;
    }
    let mut variables: BTreeMap<&str, &str> = BTreeMap::new();
    let script = script.replace("\\\n", " ");
    for line in script.lines().filter(|line| !line.trim_start().starts_with('#')) {
        let mut making = false;
        for word in line.split([' ', '\t', ';', '|', '&', '(', ')', '<', '>']) {
            let word = word.trim_matches(['"', '\'', '`']);
            if MAKERS.contains(&word.rsplit('/').next().unwrap_or(word)) {
                making = true;
            } else if making {
                let word = expand(word, &variables);
                if is_account(word) {
                    names.insert(word.to_owned());
                }
            } else if let Some((name, value)) = word.split_once('=')
                && !name.is_empty()
                && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            {
                variables.insert(name, value.trim_matches(['"', '\'']));
            }
        }
    }
    names
}

/// `$NAME`, `${NAME}` and `${NAME:-default}`.
fn expand<'a>(word: &'a str, variables: &BTreeMap<&str, &'a str>) -> &'a str {
    let Some(name) = word.strip_prefix('$') else { return word };
    let name = name.strip_prefix('{').and_then(|n| n.strip_suffix('}')).unwrap_or(name);
    let (name, default) = name.split_once(":-").unwrap_or((name, ""));
    variables.get(name).copied().filter(|value| !value.is_empty()).unwrap_or(default)
}

fn is_account(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && word.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c))
}

/// Names in a sysusers.d file.
pub(super) fn in_sysusers(text: &str) -> BTreeSet<String> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let (kind, name) = (words.next()?, words.next()?);
            (kind.starts_with(['u', 'g']) && is_account(name)).then(|| name.to_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_name_accounts() {
        let table = [
            ("adduser --system --quiet --home /run/x \\\n  --group uuidd", vec!["uuidd"]),
            ("USER='sshd'\nif ! id $USER; then\n  useradd -r \"$USER\" || true\nfi", vec!["sshd", "true"]),
            (
                "MB=messagebus\nadduser --system ${MB:-x} --ingroup ${G:-mygroup}",
                vec!["messagebus", "mygroup"],
            ),
            ("# adduser nobody-does\necho adding; /usr/sbin/groupadd -r crontab>/dev/null", vec!["crontab"]),
            ("adduser $UNKNOWN", vec![]),
            ("deluser me", vec![]),
        ];
        for (script, expected) in table {
            assert_eq!(in_script(script).into_iter().collect::<Vec<_>>(), expected, "{script}");
        }
        let text = "#Type Name ID\nu messagebus - \"D-Bus\"\ng input -\nm a b\nu! locked 1\n";
        assert_eq!(in_sysusers(text).into_iter().collect::<Vec<_>>(), ["input", "locked", "messagebus"]);
    }
}
