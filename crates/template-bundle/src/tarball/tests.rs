// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Tars as others write them, and as attackers would

use std::io::Cursor;

use tar::Header;

use super::*;

fn header(kind: u8, name: &str, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(EntryType::new(kind));
    header.set_size(size);
    header.set_mode(0o644);
    header.set_uid(1);
    header.set_gid(2);
    header.set_mtime(3);
    header.set_cksum();
    header
}

fn member(kind: u8, name: &str, content: &[u8]) -> Vec<u8> {
    let mut bytes = header(kind, name, content.len() as u64).as_bytes().to_vec();
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

/// A pax record with its length.
fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let length = (rest..).find(|n| n.to_string().len() + rest == *n).unwrap();
    [format!("{length} {key}=").as_bytes(), value, b"\n"].concat()
}

fn pax(records: &[(&str, &[u8])]) -> Vec<u8> {
    member(b'x', "pax", &records.iter().flat_map(|(key, value)| record(key, value)).collect::<Vec<_>>())
}

fn scanned_within(parts: &[Vec<u8>], max: usize) -> Result<Vec<Entry>> {
    let stream = Cursor::new([parts.concat(), vec![0; 1024]].concat());
    scan(Path::new("x.tar"), Members::new(Source::Compressed(Box::new(stream))), max)
        .map(|(entries, _)| entries)
}

fn scanned(parts: &[Vec<u8>]) -> Result<Vec<Entry>> {
    scanned_within(parts, MAX_KEPT)
}

fn refused(parts: &[Vec<u8>], why: &str) {
    let error = scanned(parts).unwrap_err();
    assert_eq!(error.kind, Kind::Damaged, "{error}");
    assert!(error.message.contains(why), "{error}");
}

fn file(content: &[u8]) -> Node {
    Node::File { size: content.len() as u64, digest: Digest::of(content), holes: vec![] }
}

#[test]
fn names_stay_below_the_root() {
    let name = |raw: &str| name(Path::new("x"), raw.as_bytes());
    for (raw, expected) in [("./a/b", "a/b"), ("/a//b/", "a/b"), (".", ""), ("a/..b", "a/..b")] {
        assert_eq!(name(raw).unwrap(), expected.as_bytes(), "{raw}");
    }
    assert!(name("a/../../b").is_err() && name("..").is_err());
    refused(&[pax(&[("path", b"a/../../b")]), member(b'0', "a", b"")], "leads out of it");
}

#[test]
fn pax_records_describe_the_next_member() {
    let value = b"\x01\n\n9 path=b\n\n";
    let records: &[(&str, &[u8])] = &[
        ("SCHILY.xattr.user.b", value),
        ("SCHILY.xattr.user.a", b""),
        ("path", b"long/name"),
        ("size", b"3"),
        ("uid", b"70000"),
        ("gid", b"4294967294"),
        ("mtime", b"12.5"),
        ("comment", b"whatever"),
    ];
    // the size of the header counts for nothing then
    let mut content = header(b'0', "short", 99).as_bytes().to_vec();
    content.extend_from_slice(b"abc");
    content.resize(1024, 0);
    let found = scanned(&[pax(records), content, member(b'0', "next", b"x")]).unwrap();
    assert_eq!(found[0].path.0, b"long/name");
    assert_eq!(found[0].node, file(b"abc"));
    assert_eq!((found[0].uid, found[0].gid, found[0].mtime), (70000, 4_294_967_294, (12, 500_000_000)));
    assert_eq!(found[0].xattrs, [("user.a".into(), "".into()), ("user.b".into(), value[..].into())]);
    assert_eq!((&found[1].path.0[..], &found[1].node, found[1].uid), (&b"next"[..], &file(b"x"), 1));
    assert_eq!((found[1].mtime, found[1].xattrs.len()), ((3, 0), 0));
}

#[test]
fn long_names_in_both_forms() {
    let (path, target) = ("n".repeat(5000), "t".repeat(300));
    let gnu = [
        member(b'K', "././@LongLink", format!("{target}\0").as_bytes()),
        member(b'L', "././@LongLink", format!("{path}\0").as_bytes()),
        member(b'2', "short", b""),
    ];
    let posix =
        [pax(&[("path", path.as_bytes()), ("linkpath", target.as_bytes())]), member(b'2', "short", b"")];
    let found = scanned(&gnu).unwrap();
    assert_eq!(found[0].path.0, path.as_bytes());
    assert_eq!(found[0].node, Node::Symlink { target: target[..].into() });
    assert_eq!(found, scanned(&posix).unwrap());
}

#[test]
fn extended_headers_are_bounded_before_they_are_read() {
    for kind in *b"xgLK" {
        refused(&[header(kind, "huge", 10 << 30).as_bytes().to_vec()], "10737418240 bytes");
        refused(&[header(kind, "short", 1000).as_bytes().to_vec(), vec![0; 100]], "");
    }
    for kind in *b"xLK" {
        refused(&[member(kind, "one", b""), member(kind, "two", b""), member(b'0', "a", b"")], "of a kind");
        refused(&[member(kind, "one", b"")], "no member");
    }
    refused(&[pax(&[("size", b"18446744073709551615")]), member(b'0', "a", b"")], "impossible");
    refused(&[pax(&[("uid", b"4294967296")]), member(b'0', "a", b"")], "an owner is impossible");
    refused(&[pax(&[("gid", b"-1")]), member(b'0', "a", b"")], "extended header 'pax': the pax record gid");
    refused(&[member(b'x', "pax", b"13 path=a/b\n"), member(b'0', "a", b"")], "malformed");
    // what is said of the archive as a whole is no name of a member
    let found = scanned(&[member(b'g', "g", &record("path", b"b")), member(b'0', "a", b"")]).unwrap();
    assert_eq!((found.len(), &found[0].path.0[..]), (1, &b"a"[..]));
}

#[test]
fn what_is_kept_of_all_members_is_bounded() {
    let long = "n".repeat(1000);
    let name = || pax(&[("path", long.as_bytes())]);
    let tars = [
        [name(), member(b'0', "a", b""), name(), member(b'0', "b", b"")],
        // of links the first file is kept, whose name may be a long one
        [name(), member(b'0', "a", b""), pax(&[("linkpath", long.as_bytes())]), member(b'1', "b", b"")],
        [pax(&[("SCHILY.xattr.a", long.as_bytes())]), member(b'0', "a", b""), name(), member(b'0', "b", b"")],
    ];
    for tar in tars {
        assert_eq!(scanned_within(&tar, 10_000).unwrap().len(), 2);
        let error = scanned_within(&tar, 1900).unwrap_err();
        assert!(error.message.contains("take more than"), "{error}");
    }
}

#[test]
fn holes_of_files() {
    let mut whole = vec![0; 3000];
    whole[512..1024].fill(b'a');
    whole[2048..2058].fill(b'b');
    let data = [&whole[512..1024], &whole[2048..2058]].concat();
    // pax, version 1.0: a map in front of the data
    let posix = |map: &str, real: &[u8]| {
        let mut content = map.as_bytes().to_vec();
        content.resize(512, 0);
        content.extend_from_slice(&data);
        let said = pax(&[
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.name", b"s"),
            ("GNU.sparse.realsize", real),
        ]);
        [said, member(b'0', "GNUSparseFile.0/s", &content), member(b'0', "next", b"")]
    };
    let found = scanned(&posix("3\n512\n512\n2048\n10\n3000\n0\n", b"3000")).unwrap();
    assert_eq!((&found[0].path.0[..], &found[0].node, found.len()), (&b"s"[..], &file(&whole), 2));
    for (map, real) in [
        ("3\n512\n512\n2048\n10\n3000\n0\n", "2999"),
        ("2\n512\n512\n1000\n10\n", "3000"),
        ("1\n512\n512\n", "3000"),
        ("2\n512\n512\n2048\n11\n", "3000"),
        ("2\n18446744073709551615\n512\n2048\n10\n", "3000"),
        ("99999999\n512\n512\n", "3000"),
        ("-1\n", "3000"),
        ("x", "3000"),
    ] {
        refused(&posix(map, real.as_bytes()), "");
    }
    // GNU: a map in the header
    let mut sparse = header(b'S', "s", data.len() as u64);
    let gnu = sparse.as_gnu_mut().unwrap();
    gnu.set_real_size(3000);
    for (piece, (offset, length)) in gnu.sparse.iter_mut().zip([(512, 512), (2048, 10), (3000, 0)]) {
        piece.set_offset(offset);
        piece.set_length(length);
    }
    sparse.set_cksum();
    let mut content = [&sparse.as_bytes()[..], &data].concat();
    content.resize(content.len().next_multiple_of(512), 0);
    let found = scanned(&[content, member(b'0', "next", b"")]).unwrap();
    assert_eq!((&found[0].node, found.len()), (&file(&whole), 2));
    // older forms of pax
    let old = [pax(&[("GNU.sparse.map", b"0,1"), ("GNU.sparse.size", b"1")]), member(b'0', "a", b"x")];
    assert_eq!(scanned(&old).unwrap_err().kind, Kind::Unsupported);
}
