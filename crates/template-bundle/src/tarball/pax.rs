// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Extended headers of a tar
//!
//! pax records are cut by the length that each has in front, as values are bytes: an attribute may hold newlines. Whoever
//! reads them more kindly than others would see another file than they do, so that what is malformed is refused.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};

use crate::bytes::Bytes;

const XATTR: &[u8] = b"SCHILY.xattr.";
const SPARSE: &[u8] = b"GNU.sparse.";

/// What extended headers say of the member that follows them.
#[derive(Default, Debug, PartialEq)]
pub struct Said {
    pub path: Option<Vec<u8>>,
    pub link: Option<Vec<u8>>,
    pub size: Option<u64>,
    pub uid: Option<u64>,
    pub gid: Option<u64>,
    pub mtime: Option<(i64, u32)>,
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    pub sparse: Option<Sparse>,
}

/// Of a file with holes.
#[derive(Default, Debug, PartialEq)]
pub struct Sparse {
    pub version: (u64, u64),
    pub name: Option<Vec<u8>>,
    pub size: Option<u64>,
}

pub fn invalid(why: impl Into<String>) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, why.into())
}

/// `LENGTH KEY=VALUE\n`, where the length is that of all of it: the key, the value and what follows.
fn cut(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().position(|c| *c == b' ')?;
    let length = usize::try_from(decimal(&bytes[..space])?).ok()?;
    let record = bytes.get(space + 1..length)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|c| *c == b'=')?;
    (equals > 0).then(|| (&record[..equals], &record[equals + 1..], &bytes[length..]))
}

/// Digits alone: no sign, no space.
pub fn decimal(text: &[u8]) -> Option<u64> {
    let digits = text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| digits)?.parse().ok()
}

/// `1700000000.123456789`, or without a fraction. Before 1970 it has a minus, and nanoseconds count forward all the same.
fn parse_time(text: &[u8]) -> Option<(i64, u32)> {
    let text = std::str::from_utf8(text).ok()?;
    let (before, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !fraction.bytes().all(|c| c.is_ascii_digit()) {
        return None;
    }
    let seconds = i64::try_from(decimal(seconds.as_bytes())?).ok()?;
    let nanos: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    match (before, nanos.parse().ok()?) {
        (false, nanos) => Some((seconds, nanos)),
        (true, 0) => Some((-seconds, 0)),
        (true, nanos) => Some((-seconds - 1, 1_000_000_000 - nanos)),
    }
}

impl Said {
    /// Reads the records of one extended header. A later record of the same key counts, and an empty value takes an earlier
    /// one back.
    pub fn read(&mut self, mut rest: &[u8]) -> io::Result<()> {
        while !rest.is_empty() {
            let (key, value, after) = cut(rest).ok_or_else(|| invalid("a pax record is malformed"))?;
            self.record(key, value)?;
            rest = after;
        }
        Ok(())
    }

    fn record(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        if let Some(name) = key.strip_prefix(XATTR) {
            self.xattrs.insert(name.to_vec(), value.to_vec());
            return Ok(());
        }
        let wrong = || {
            let (key, value) = (Bytes::from(key).display(), Bytes::from(value).display());
            invalid(format!("the pax record {key} cannot be '{value}'"))
        };
        let given = Some(value).filter(|v| !v.is_empty());
        let text = || given.map(<[u8]>::to_vec);
        let number = || given.map(|v| decimal(v).ok_or_else(wrong)).transpose();
        match key {
            b"path" => self.path = text(),
            b"linkpath" => self.link = text(),
            b"size" => self.size = number()?,
            b"uid" => self.uid = number()?,
            b"gid" => self.gid = number()?,
            b"mtime" => self.mtime = given.map(|v| parse_time(v).ok_or_else(wrong)).transpose()?,
            _ => {
                if let Some(key) = key.strip_prefix(SPARSE) {
                    let sparse = self.sparse.get_or_insert_default();
                    match key {
                        b"major" => sparse.version.0 = number()?.unwrap_or(0),
                        b"minor" => sparse.version.1 = number()?.unwrap_or(0),
                        b"name" => sparse.name = text(),
                        b"realsize" => sparse.size = number()?,
                        // of older versions, as the version itself tells
                        _ => {}
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(records: &[u8]) -> io::Result<Said> {
        let mut said = Said::default();
        said.read(records)?;
        Ok(said)
    }

    #[test]
    fn records_are_cut_by_their_length() {
        // a value that looks like the end of it and another record, and one that is empty
        let value = b"\n\n12 path=no\n=";
        let mut records = format!("{} SCHILY.xattr.user.x=", 24 + value.len()).into_bytes();
        records.extend_from_slice(value);
        records.extend_from_slice(b"\n23 SCHILY.xattr.empty=\n12 path=a/b\n");
        let said = said(&records).unwrap();
        assert_eq!(said.path.unwrap(), b"a/b");
        assert_eq!(said.xattrs[&b"user.x"[..]], value);
        assert_eq!(said.xattrs[&b"empty"[..]], b"");
    }

    #[test]
    fn malformed_records_are_refused() {
        for wrong in [
            "12 path=a/bc\n",
            "11 path=a/b\n",
            "99 path=a/b\n",
            "2 path=a/b\n",
            "0 path=a/b\n",
            "-12 path=a/b\n",
            "+12 path=a/b\n",
            " 12 path=a/b\n",
            "99999999999999999999999 path=a/b\n",
            "path=a/b\n",
            "11 patha/b\n",
            "6 =ab\n",
            "\n",
            "12 path=a/b\n\n",
            "12 path=a/b\n\0\0",
        ] {
            assert!(said(wrong.as_bytes()).is_err(), "{wrong:?}");
        }
        assert_eq!(said(b"").unwrap(), Said::default());
    }

    #[test]
    fn numbers_are_digits() {
        assert_eq!(said(b"10 uid=12\n10 gid=34\n").unwrap().gid, Some(34));
        assert_eq!(said(b"29 size=18446744073709551615\n").unwrap().size, Some(u64::MAX));
        assert_eq!(said(b"10 uid=12\n7 uid=\n").unwrap().uid, None);
        for wrong in ["10 uid=-1\n", "10 gid=+1\n", "30 size=184467440737095516150\n", "11 size=1a\n"] {
            assert!(said(wrong.as_bytes()).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn times_have_fractions() {
        let time = |text: &str| parse_time(text.as_bytes());
        assert_eq!(time("12"), Some((12, 0)));
        assert_eq!(time("12.5"), Some((12, 500_000_000)));
        assert_eq!(time("12.0000000019"), Some((12, 1)));
        assert_eq!(time("-12"), Some((-12, 0)));
        assert_eq!(time("-0.25"), Some((-1, 750_000_000)));
        for wrong in ["x", "", "+1", "--1", "1.+5", "1.5.5", "99999999999999999999"] {
            assert_eq!(time(wrong), None, "{wrong:?}");
        }
    }
}
