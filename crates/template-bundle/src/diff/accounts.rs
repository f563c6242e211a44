// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Users and groups
//!
//! As `/etc/passwd`, `/etc/group` and `/etc/shadow` have them. Of passwords only the kind is told: reports are published.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::diff::Change;
use crate::diff::side::Side;
use crate::error::Result;

/// A user or group that differs.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AccountChange {
    /// Its name.
    pub name: String,
    /// How.
    pub change: Change,
    /// In what: all that is known of one that is on one side only.
    pub fields: Vec<FieldChange>,
}

/// A property that differs.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FieldChange {
    /// Which.
    pub field: &'static str,
    /// On the left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<String>,
    /// On the right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<String>,
}

/// A property: its name, what is told of it, and what is compared.
struct Field {
    name: &'static str,
    shown: String,
    compared: String,
}

impl Field {
    fn new(name: &'static str, value: &str) -> Self {
        Field { name, shown: value.into(), compared: value.into() }
    }
}

type Accounts = BTreeMap<String, Vec<Field>>;

/// Compares users.
pub fn users(left: &Side, right: &Side) -> Result<Vec<AccountChange>> {
    Ok(compare(read_users(left)?, read_users(right)?))
}

/// Compares groups.
pub fn groups(left: &Side, right: &Side) -> Result<Vec<AccountChange>> {
    Ok(compare(read_groups(left)?, read_groups(right)?))
}

fn compare(old: Accounts, new: Accounts) -> Vec<AccountChange> {
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let mut out = Vec::new();
    for name in names {
        let (old, new) = (old.get(name), new.get(name));
        let find = |side: Option<&Vec<Field>>, field: &str| {
            side.and_then(|s| s.iter().find(|f| f.name == field))
                .map(|f| (f.shown.clone(), f.compared.clone()))
        };
        // both have the same fields
        let fields: Vec<FieldChange> = new
            .or(old)
            .into_iter()
            .flatten()
            .map(|f| (f.name, find(old, f.name), find(new, f.name)))
            .filter(|(_, old, new)| old.as_ref().map(|o| &o.1) != new.as_ref().map(|n| &n.1))
            .map(|(field, old, new)| FieldChange { field, old: old.map(|o| o.0), new: new.map(|n| n.0) })
            .collect();
        let change = Change::of(&old, &new);
        if change != Change::Changed || !fields.is_empty() {
            out.push(AccountChange { name: name.clone(), change, fields });
        }
    }
    out
}

/// The lines of a database by their first field; the first of a name counts, as it does for the system.
fn table(side: &Side, path: &str) -> Result<BTreeMap<String, Vec<String>>> {
    let text = side.read(path.as_bytes())?.unwrap_or_default();
    let mut out = BTreeMap::new();
    for line in String::from_utf8_lossy(&text).lines() {
        let fields: Vec<String> = line.split(':').map(str::to_string).collect();
        if fields.len() > 1 && !fields[0].is_empty() && !line.starts_with('#') {
            out.entry(fields[0].clone()).or_insert(fields);
        }
    }
    Ok(out)
}

fn read_users(side: &Side) -> Result<Accounts> {
    let shadow = table(side, "etc/shadow")?;
    let users = table(side, "etc/passwd")?.into_iter().map(|(name, fields)| {
        let field = |at: usize| fields.get(at).map(String::as_str).unwrap_or_default();
        let secret = match (field(1), shadow.get(&name)) {
            ("x", Some(shadowed)) => shadowed.get(1).cloned().unwrap_or_default(),
            // it is said to be elsewhere, and is not
            ("x", None) => "!".into(),
            (own, _) => own.to_string(),
        };
        let password = Field { name: "password", shown: kind_of(&secret).into(), compared: secret };
        let fields = vec![
            Field::new("uid", field(2)),
            Field::new("gid", field(3)),
            Field::new("comment", field(4)),
            Field::new("home", field(5)),
            Field::new("shell", field(6)),
            password,
        ];
        (name, fields)
    });
    Ok(users.collect())
}

/// What kind of password this is.
fn kind_of(secret: &str) -> &'static str {
    match secret.as_bytes().first() {
        None => "none is needed",
        Some(b'!' | b'*') => "locked",
        Some(_) => "set",
    }
}

fn read_groups(side: &Side) -> Result<Accounts> {
    let groups = table(side, "etc/group")?.into_iter().map(|(name, fields)| {
        let field = |at: usize| fields.get(at).map(String::as_str).unwrap_or_default();
        let mut members: Vec<&str> = field(3).split(',').filter(|m| !m.is_empty()).collect();
        members.sort_unstable();
        (name, vec![Field::new("gid", field(2)), Field::new("members", &members.join(", "))])
    });
    Ok(groups.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diff::side::tests::{memory, side};

    #[test]
    fn accounts_are_compared_by_name_and_passwords_are_not_told() {
        let left = memory(&[
            (
                "etc/passwd",
                "root:x:0:0:root:/root:/bin/bash\ngone:x:1:1::/:/bin/sh\napp:x:5:5::/srv:/bin/sh\nbad\n",
            ),
            ("etc/shadow", "root:$6$aaa:1::::::\napp:!:1::::::\n"),
            ("etc/group", "video:x:44:b,a\nsame:x:7:\n"),
        ]);
        let right = memory(&[
            (
                "etc/passwd",
                "root:x:0:0:root:/root:/bin/bash\napp:x:6:5::/srv:/bin/sh\nroot:x:9:9:::\nopen::7:7:::\n",
            ),
            ("etc/shadow", "root:$6$bbb:1::::::\napp:!:2::::::\n"),
            ("etc/group", "video:x:44:a,c,b\nsame:x:7:\n"),
        ]);
        let (left, right) = (side(&left, &[]), side(&right, &[]));
        let told: Vec<String> = users(&left, &right)
            .unwrap()
            .iter()
            .map(|c| {
                let fields: Vec<String> =
                    c.fields.iter().map(|f| format!("{}:{:?}:{:?}", f.field, f.old, f.new)).collect();
                format!("{} {} {}", c.change.word(), c.name, fields.join(" "))
            })
            .collect();
        assert_eq!(told[0], "changed app uid:Some(\"5\"):Some(\"6\")");
        assert!(told[1].starts_with("removed gone uid:Some(\"1\"):None"), "{told:?}");
        assert!(told[2].starts_with("added open") && told[2].contains("none is needed"), "{told:?}");
        assert_eq!(told[3], "changed root password:Some(\"set\"):Some(\"set\")");
        assert!(!told.join("").contains("$6$"));
        let groups = groups(&left, &right).unwrap();
        assert_eq!(groups.len(), 1);
        assert_eq!(groups[0].fields[0].new.as_deref(), Some("a, b, c"));
    }
}
