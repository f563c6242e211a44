// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # The ids that files can have
//!
//! All of them, for root of a machine. In a user namespace, the helper's own or that of a container, root has those that the
//! namespace maps, and cannot make devices: see [`crate::device`].

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::OnceLock;

use crate::error::{Error, IoContext, Kind, Result};

/// The inode of a machine's first user namespace: a constant of the kernel.
const FIRST_NAMESPACE: u64 = 0xEFFF_FFFD;

/// Ids from `inside` on are those from `outside` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The first id in the namespace.
    pub inside: u32,
    /// The first id outside of it.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.inside, self.outside, self.count)
    }
}

/// The ids that a user namespace maps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Map {
    /// Of users.
    pub uids: Vec<Range>,
    /// Of groups.
    pub gids: Vec<Range>,
}

impl fmt::Display for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |ranges: &[Range]| ranges.iter().map(Range::to_string).collect::<Vec<_>>().join(" ");
        write!(f, "users {}, groups {}", list(&self.uids), list(&self.gids))
    }
}

impl Map {
    /// An error for an owner that the namespace does not map.
    pub fn check(&self, path: impl fmt::Display, uid: u32, gid: u32) -> Result<()> {
        for (what, id, ranges) in [("user", uid, &self.uids), ("group", gid, &self.gids)] {
            if !ranges.iter().any(|r| id >= r.inside && id - r.inside < r.count) {
                let count: u64 = ranges.iter().map(|r| u64::from(r.count)).sum();
                return Err(Error::new(
                    Kind::Privilege,
                    format!("'{path}' belongs to {what} {id}, and without root there are {count} ids for {what}s here"),
                )
                .hint(format!("give your account more ids in /etc/sub{}id, or run it with sudo", &what[..1])));
            }
        }
        Ok(())
    }
}

/// The map of the user namespace that this process is in; none in the first one of the machine. A process that enters one
/// does so before it asks.
pub fn map() -> Option<&'static Map> {
    static MAP: OnceLock<Option<Map>> = OnceLock::new();
    MAP.get_or_init(|| {
        read().unwrap_or_else(|e| {
            log::debug!("it is not known which user namespace this is: {e}");
            None
        })
    })
    .as_ref()
}

fn read() -> Result<Option<Map>> {
    let namespace = "/proc/self/ns/user";
    if fs::metadata(namespace).doing("reading", namespace)?.ino() == FIRST_NAMESPACE {
        return Ok(None);
    }
    let ranges = |path: &str| fs::read_to_string(path).map(|text| parse(&text)).doing("reading", path);
    Ok(Some(Map { uids: ranges("/proc/self/uid_map")?, gids: ranges("/proc/self/gid_map")? }))
}

fn parse(text: &str) -> Vec<Range> {
    let range = |line: &str| {
        let mut numbers = line.split_whitespace().map(str::parse);
        Some(Range {
            inside: numbers.next()?.ok()?,
            outside: numbers.next()?.ok()?,
            count: numbers.next()?.ok()?,
        })
    };
    text.lines().filter_map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_parsed_and_asked() {
        let ranges = parse("         0       1001          1\n         1     100000      65536\n");
        let map = Map { uids: ranges.clone(), gids: ranges };
        assert_eq!(map.to_string(), "users 0:1001:1 1:100000:65536, groups 0:1001:1 1:100000:65536");
        assert!(map.check("f", 0, 65536).is_ok());
        let e = map.check("f", 65537, 0).unwrap_err();
        assert!(e.message.contains("'f' belongs to user 65537") && e.message.contains("65537 ids"), "{e}");
        assert_eq!(e.kind, Kind::Privilege);
        assert!(map.check("f", 0, u32::MAX - 1).unwrap_err().message.contains("group 4294967294"));
    }
}
