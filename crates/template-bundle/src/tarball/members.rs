// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # The members of a tar
//!
//! Long names and pax records come in members of their own that a small compressed tar can declare to be huge: they are
//! bounded here before they are read. Files with holes are read as GNU tar and libarchive write them.

use std::io::{self, BufReader, ErrorKind, Read, Seek, Write};

use tar::{EntryType, GnuExtSparseHeader, GnuSparseHeader, Header};

use super::pax::{Said, decimal, invalid};
use crate::bytes::Bytes;
use crate::error::Error;
use crate::limits::{MAX_EXTENSION, MAX_PIECES, MAX_TREE};

const BLOCK: u64 = 512;
/// Of one member, with those that are extended.
const MAX_HEADERS: usize = 64;

/// Where a tar is read from.
pub enum Source {
    Plain(BufReader<Box<dyn Seekable>>),
    Compressed(Box<dyn Read>),
}

/// What one can go on in without reading all of it.
pub trait Seekable: Read + Seek {}

impl<T: Read + Seek> Seekable for T {}

impl Read for Source {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Source::Plain(file) => file.read(buf),
            Source::Compressed(stream) => stream.read(buf),
        }
    }
}

impl Source {
    fn skip(&mut self, mut count: u64) -> io::Result<()> {
        if let (Source::Plain(file), 1..) = (&mut *self, count) {
            let but_one = i64::try_from(count - 1).map_err(|_| invalid("a size is impossible"))?;
            file.seek_relative(but_one)?;
            // the last byte is read, to notice what has been cut off
            count = 1;
        }
        exactly(self, count, &mut io::sink())
    }

    /// Whether there was another block.
    fn block(&mut self, block: &mut [u8]) -> io::Result<bool> {
        let mut have = 0;
        while have < block.len() {
            match self.read(&mut block[have..]) {
                Ok(0) if have == 0 => return Ok(false),
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(n) => have += n,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(true)
    }
}

fn exactly(from: &mut impl Read, count: u64, into: &mut impl Write) -> io::Result<()> {
    match io::copy(&mut from.take(count), into)? == count {
        true => Ok(()),
        false => Err(io::Error::new(ErrorKind::UnexpectedEof, "it ends early")),
    }
}

fn padded(size: u64) -> io::Result<u64> {
    size.checked_next_multiple_of(BLOCK).ok_or_else(|| invalid("a size is impossible"))
}

/// A member, with all that is said of it.
pub struct Member {
    pub header: Header,
    pub path: Vec<u8>,
    pub link: Vec<u8>,
    pub uid: u64,
    pub gid: u64,
    pub mtime: (i64, u32),
    pub xattrs: Vec<(Bytes, Bytes)>,
    /// Of its content, holes included.
    pub size: u64,
    /// Where data is in it, and how much.
    pieces: Vec<(u64, u64)>,
}

/// All members, in their order.
pub struct Members {
    source: Source,
    /// What is unread of the present one.
    left: u64,
    /// Of the contents of all so far.
    total: u64,
}

impl Member {
    /// Whether the tar has all of its content in one piece.
    pub fn is_whole(&self) -> bool {
        self.pieces == [(0, self.size)]
    }
}

impl Members {
    pub fn new(source: Source) -> Self {
        Members { source, left: 0, total: 0 }
    }

    /// Where the content of the present member begins.
    pub fn position(&mut self) -> io::Result<u64> {
        match &mut self.source {
            Source::Plain(file) => file.stream_position(),
            Source::Compressed(_) => Err(ErrorKind::NotSeekable.into()),
        }
    }

    /// The next one that is no extended header.
    pub fn next(&mut self) -> io::Result<Option<Member>> {
        let (mut said, mut pax) = (Said::default(), false);
        let (mut long_path, mut long_link) = (None, None);
        for _ in 0..MAX_HEADERS {
            self.source.skip(std::mem::take(&mut self.left))?;
            let mut header = Header::new_old();
            let more = self.source.block(header.as_mut_bytes())?;
            if !more || header.as_bytes().iter().all(|c| *c == 0) {
                return match pax || long_path.is_some() || long_link.is_some() {
                    true => Err(invalid("an extended header has no member that follows it")),
                    false => Ok(None),
                };
            }
            check_sum(&header)?;
            let kind = header.entry_type();
            let twice = match kind {
                EntryType::XHeader => std::mem::replace(&mut pax, true),
                EntryType::GNULongName => long_path.is_some(),
                EntryType::GNULongLink => long_link.is_some(),
                // of the archive as a whole: comments, as a rule
                EntryType::XGlobalHeader => false,
                _ => {
                    said.path = long_path.or(said.path);
                    said.link = long_link.or(said.link);
                    return self.member(header, said).map(Some);
                }
            };
            if twice {
                return Err(invalid("two extended headers of a kind belong to one member"));
            }
            let within = |e: io::Error| {
                // one of ours, which says where
                if e.get_ref().is_some_and(|inner| inner.is::<Error>()) {
                    return e;
                }
                let name = Bytes(header.path_bytes().into_owned()).display();
                io::Error::new(e.kind(), format!("extended header '{name}': {e}"))
            };
            let content = self.extension(&header).map_err(within)?;
            let text = || content.split(|c| *c == 0).next().unwrap_or_default().to_vec();
            match kind {
                EntryType::XHeader => said.read(&content).map_err(within)?,
                EntryType::GNULongName => long_path = Some(text()),
                EntryType::GNULongLink => long_link = Some(text()),
                _ => {}
            }
        }
        Err(invalid(format!("more than {MAX_HEADERS} headers belong to one member")))
    }

    fn extension(&mut self, header: &Header) -> io::Result<Vec<u8>> {
        let size = header.entry_size()?;
        if size > MAX_EXTENSION {
            return Err(invalid(format!("it has {size} bytes, {MAX_EXTENSION} is the limit")));
        }
        self.left = padded(size)?;
        let mut content = Vec::new();
        self.take(size, &mut content)?;
        Ok(content)
    }

    fn member(&mut self, header: Header, said: Said) -> io::Result<Member> {
        let size = said.size.map_or_else(|| header.entry_size(), Ok)?;
        self.left = padded(size)?;
        let mut member = Member {
            path: said.path.unwrap_or_else(|| header.path_bytes().into_owned()),
            link: said.link.or_else(|| Some(header.link_name_bytes()?.into_owned())).unwrap_or_default(),
            uid: said.uid.map_or_else(|| header.uid(), Ok)?,
            gid: said.gid.map_or_else(|| header.gid(), Ok)?,
            // a number before 1970 is a two's complement
            mtime: said.mtime.map_or_else(|| Ok((header.mtime()?.cast_signed(), 0)), io::Result::Ok)?,
            xattrs: said.xattrs.into_iter().map(|(name, value)| (Bytes(name), Bytes(value))).collect(),
            size,
            pieces: vec![(0, size)],
            header,
        };
        let sparse = match said.sparse {
            Some(sparse) => {
                member.path = sparse.name.unwrap_or(member.path);
                if sparse.version != (1, 0) {
                    let name = Bytes::from(&member.path[..]).display();
                    let why =
                        format!("'{name}' has holes as they were written before version 1.0 of that format");
                    return Err(io::Error::new(ErrorKind::Unsupported, why));
                }
                let real =
                    sparse.size.ok_or_else(|| invalid("a file with holes has no GNU.sparse.realsize"))?;
                Some((real, self.map_in_front(size)?))
            }
            None if member.header.entry_type() == EntryType::GNUSparse => {
                Some(self.map_in_headers(&member.header, size)?)
            }
            None => None,
        };
        if let Some((real, (pieces, data))) = sparse {
            check_pieces(&pieces, data, real)?;
            (member.size, member.pieces) = (real, pieces);
        }
        // holes take neither room nor time to send
        self.total = self.total.saturating_add(member.size);
        if self.total > MAX_TREE {
            return Err(invalid(format!("its files are larger than {MAX_TREE} bytes")));
        }
        Ok(member)
    }

    /// The content of the present member, which is read once.
    pub fn content(&mut self, member: &Member, into: &mut impl Write) -> io::Result<()> {
        let mut at = 0;
        for (start, length) in &member.pieces {
            exactly(&mut io::repeat(0), start - at, into)?;
            self.take(*length, into)?;
            at = start + length;
        }
        exactly(&mut io::repeat(0), member.size - at, into)
    }

    fn take(&mut self, count: u64, into: &mut impl Write) -> io::Result<()> {
        self.left =
            self.left.checked_sub(count).ok_or_else(|| invalid("a file has less data than it says"))?;
        exactly(&mut self.source, count, into)
    }

    /// Where data is, in headers of the GNU format.
    fn map_in_headers(&mut self, header: &Header, size: u64) -> io::Result<(u64, Map)> {
        let gnu = header.as_gnu().ok_or_else(|| invalid("a file with holes is not in the GNU format"))?;
        let mut pieces = Vec::new();
        let mut add = |found: &[GnuSparseHeader]| -> io::Result<()> {
            for piece in found.iter().filter(|p| !p.is_empty()) {
                pieces.push((piece.offset()?, piece.length()?));
            }
            check_count(pieces.len() as u64)
        };
        add(&gnu.sparse)?;
        let mut more = gnu.is_extended();
        while more {
            let mut further = GnuExtSparseHeader::new();
            if !self.source.block(further.as_mut_bytes())? {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            add(further.sparse())?;
            more = further.is_extended();
        }
        Ok((gnu.real_size()?, (pieces, size)))
    }

    /// Where data is, in blocks in front of it: how many pieces there are, and the start and the length of each.
    fn map_in_front(&mut self, size: u64) -> io::Result<Map> {
        let (mut block, mut at, mut read) = ([0; BLOCK as usize], BLOCK as usize, 0);
        let mut number = || -> io::Result<u64> {
            let mut digits = Vec::new();
            loop {
                if at == block.len() {
                    self.take(BLOCK, &mut &mut block[..])?;
                    (at, read) = (0, read + BLOCK);
                }
                let byte = block[at];
                at += 1;
                match byte {
                    b'\n' => {
                        return decimal(&digits)
                            .ok_or_else(|| invalid("where the holes of a file are is malformed"));
                    }
                    _ if digits.len() < 20 => digits.push(byte),
                    _ => return Err(invalid("where the holes of a file are is malformed")),
                }
            }
        };
        let count = number()?;
        check_count(count)?;
        let pieces = (0..count).map(|_| Ok((number()?, number()?))).collect::<io::Result<_>>()?;
        let data = size.checked_sub(read).ok_or_else(|| invalid("a file has less data than it says"))?;
        Ok((pieces, data))
    }
}

/// Where data is in a file with holes, and how much data the tar has for it.
type Map = (Vec<(u64, u64)>, u64);

fn check_sum(header: &Header) -> io::Result<()> {
    let bytes = header.as_bytes();
    let sum: u32 = bytes[..148].iter().chain(&bytes[156..]).map(|c| u32::from(*c)).sum();
    // its own eight bytes count as spaces
    match header.cksum()? == sum + 8 * 32 {
        true => Ok(()),
        false => Err(invalid("the checksum of a header is wrong")),
    }
}

fn check_count(count: u64) -> io::Result<()> {
    match count <= MAX_PIECES as u64 {
        true => Ok(()),
        false => Err(invalid(format!("a file has holes between more than {MAX_PIECES} pieces"))),
    }
}

/// One after the other, and together what the tar has.
fn check_pieces(pieces: &[(u64, u64)], data: u64, size: u64) -> io::Result<()> {
    let (mut end, mut used) = (0u64, 0u64);
    for (start, length) in pieces {
        // GNU tar begins a new block for each
        let aligned = *length == 0 || used.is_multiple_of(BLOCK);
        let next = start.checked_add(*length).filter(|next| *start >= end && *next <= size && aligned);
        end = next.ok_or_else(|| invalid("the pieces of a file with holes do not fit"))?;
        used += length;
    }
    match used == data {
        true => Ok(()),
        false => Err(invalid("the pieces of a file with holes are not all of its data")),
    }
}
