// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # What a program or library links
//!
//! The files are anybody's: whatever is wrong with one makes it a file of which nothing is known. Of a file only the
//! tables that matter are read, however large it is, and what is read and kept is bounded, so that none can use up the
//! memory.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs::File;
use std::ops::Range;

use object::elf::{self, FileHeader32, FileHeader64};
use object::read::elf::{Dyn, FileHeader, SectionHeader, Sym};
use object::read::{ReadCache, ReadRef};
use object::{Endianness, FileKind};

/// No name of a library or symbol is longer, but for those of C++, of which few are.
const MAX_NAME: usize = 4096;
/// What the tables of one file may take; those of the largest programs that we know take a quarter of it.
const MAX_TABLES: usize = 64 << 20;
/// What the names of all files that are kept at a time may take: some millions.
pub(super) const MAX_NAMES: usize = 256 << 20;
/// What it takes to keep a name, besides its bytes.
const PER_NAME: usize = 64;

/// The dynamic part of an ELF file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Elf {
    pub soname: Option<String>,
    /// Sonames of the libraries that it links.
    pub needed: BTreeSet<String>,
    /// Symbols that it has not got itself.
    pub wants: BTreeSet<String>,
    /// Symbols that it has for others.
    pub has: BTreeSet<String>,
}

/// There is more in a file than may be read or kept.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooMuch;

/// Reads the dynamic part, if there is one. What its names take is taken from `room`.
pub(super) fn read(file: File, room: &mut usize) -> Result<Option<Elf>, TooMuch> {
    let (cache, limits) = (ReadCache::new(file), Limits::new(*room));
    let tables = Tables { file: &cache, limits: &limits };
    let found = match FileKind::parse(tables) {
        Ok(FileKind::Elf32) => parse::<FileHeader32<Endianness>>(tables),
        Ok(FileKind::Elf64) => parse::<FileHeader64<Endianness>>(tables),
        _ => None,
    };
    if limits.reached.get() {
        return Err(TooMuch);
    }
    *room = limits.names.get();
    Ok(found)
}

/// What may still be read and kept of a file, in bytes.
struct Limits {
    tables: Cell<usize>,
    names: Cell<usize>,
    reached: Cell<bool>,
}

impl Limits {
    fn new(names: usize) -> Self {
        Self { tables: Cell::new(MAX_TABLES), names: Cell::new(names), reached: Cell::new(false) }
    }

    fn take(&self, of: &Cell<usize>, size: usize) -> Option<()> {
        let Some(rest) = of.get().checked_sub(size) else {
            self.reached.set(true);
            return None;
        };
        of.set(rest);
        Some(())
    }
}

/// A file of which parts are read.
#[derive(Clone, Copy)]
struct Tables<'a> {
    file: &'a ReadCache<File>,
    limits: &'a Limits,
}

impl<'a> ReadRef<'a> for Tables<'a> {
    fn len(self) -> Result<u64, ()> {
        self.file.len()
    }

    fn read_bytes_at(self, offset: u64, size: u64) -> Result<&'a [u8], ()> {
        // what goes beyond the end is damaged rather than large
        let end = offset.checked_add(size).ok_or(())?;
        if end > self.file.len()? {
            return Err(());
        }
        let bytes = usize::try_from(size).unwrap_or(usize::MAX);
        self.limits.take(&self.limits.tables, bytes).ok_or(())?;
        self.file.read_bytes_at(offset, size)
    }

    /// For single names, which we take from tables.
    fn read_bytes_at_until(self, _: Range<u64>, _: u8) -> Result<&'a [u8], ()> {
        Err(())
    }
}

fn parse<H: FileHeader<Endian = Endianness>>(data: Tables<'_>) -> Option<Elf> {
    let header = H::parse(data).ok()?;
    let endian = header.endian().ok()?;
    let sections = header.sections(endian, data).ok()?;
    let (dynamic, strings) = sections.dynamic(endian, data).ok()??;
    let strings = sections.section(strings).ok()?.data(endian, data).ok()?;
    let keep = |name: &str| {
        data.limits.take(&data.limits.names, name.len() + PER_NAME)?;
        Some(name.to_owned())
    };
    let mut found = Elf::default();
    for entry in dynamic.iter().take_while(|entry| entry.d_tag(endian) != elf::DT_NULL) {
        let Some(name) = name(strings, entry.d_val(endian).into()) else { continue };
        if entry.d_tag(endian) == elf::DT_NEEDED {
            found.needed.insert(keep(name)?);
        } else if entry.d_tag(endian) == elf::DT_SONAME {
            found.soname = Some(keep(name)?);
        }
    }
    let symbols = sections.symbols(endian, data, elf::SHT_DYNSYM).ok()?;
    let strings = match sections.section(symbols.string_section()) {
        Ok(section) => section.data(endian, data).ok()?,
        Err(_) => return Some(found),
    };
    for symbol in symbols.iter() {
        if let Some(name) = name(strings, symbol.st_name(endian).into()).filter(|name| !name.is_empty()) {
            let names = if symbol.is_undefined(endian) { &mut found.wants } else { &mut found.has };
            names.insert(keep(name)?);
        }
    }
    Some(found)
}

/// A name in a table of strings.
fn name(strings: &[u8], offset: u64) -> Option<&str> {
    let rest = strings.get(usize::try_from(offset).ok()?..)?;
    let end = rest.iter().take(MAX_NAME).position(|byte| *byte == 0)?;
    std::str::from_utf8(rest.get(..end)?).ok()
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::FileExt;

    use super::*;

    fn this_test() -> File {
        File::open(std::env::current_exe().unwrap()).unwrap()
    }

    fn of_bytes(data: &[u8]) -> Option<Elf> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(data).unwrap();
        read(file, &mut { MAX_NAMES }).unwrap_or_default()
    }

    #[test]
    fn programs_tell_what_they_link() {
        let elf = read(this_test(), &mut { MAX_NAMES }).unwrap().unwrap();
        assert!(elf.needed.iter().any(|name| name.starts_with("libc.so")), "{:?}", elf.needed);
        assert!(elf.wants.contains("malloc"));
        assert_eq!(elf.soname, None);
    }

    #[test]
    fn names_take_no_more_than_there_is_room() {
        let mut room = MAX_NAMES;
        let elf = read(this_test(), &mut room).unwrap().unwrap();
        let taken = MAX_NAMES - room;
        let names = elf.needed.iter().chain(&elf.wants).chain(&elf.has);
        assert!(taken >= names.map(|name| name.len() + PER_NAME).sum());
        let mut room = taken;
        assert!(read(this_test(), &mut room).is_ok());
        assert_eq!((read(this_test(), &mut room), room), (Err(TooMuch), 0));
        room = taken - 1;
        assert_eq!((read(this_test(), &mut room), room), (Err(TooMuch), taken - 1));
    }

    #[test]
    fn files_may_be_large_and_tables_not() {
        let data = std::fs::read("/bin/sh").unwrap();
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&data, 0).unwrap();
        file.set_len(1 << 40).unwrap();
        let read = || super::read(file.try_clone().unwrap(), &mut { MAX_NAMES });
        assert!(read().unwrap().unwrap().wants.contains("malloc"));
        // so many sections that the number is in the first of them
        let header = FileHeader64::<Endianness>::parse(&*data).unwrap();
        let at = header.e_shoff(Endianness::default());
        file.write_all_at(&0u16.to_ne_bytes(), 60).unwrap();
        file.write_all_at(&(1u64 << 30).to_ne_bytes(), at + 32).unwrap();
        assert_eq!(read(), Err(TooMuch));
    }

    #[test]
    fn damaged_files_are_harmless() {
        let mut data = std::fs::read("/bin/sh").unwrap();
        for cut in [0, 3, 16, 64, 1000, data.len() / 2] {
            let _ = of_bytes(&data[..cut]);
        }
        // a wrong byte everywhere in the header, and here and there
        for at in (0..data.len()).step_by(997).chain(0..64) {
            let old = std::mem::replace(&mut data[at], 0xff);
            let _ = of_bytes(&data);
            data[at] = old;
        }
        assert_eq!(of_bytes(b"\x7fELFnonsense and more of it"), None);
        assert_eq!(of_bytes(b"#!/bin/sh\n"), None);
    }
}
