// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # What a program or library links
//!
//! The files are anybody's: whatever is wrong with one makes it a file of which nothing is known. Names and numbers of
//! entries are bounded, so that none can keep us busy.

use std::collections::BTreeSet;

use object::elf::{self, FileHeader32, FileHeader64};
use object::read::elf::{Dyn, FileHeader, SectionHeader, Sym};
use object::{Endianness, FileKind};

/// How an ELF file begins.
pub(super) const MAGIC: &[u8] = b"\x7fELF";
/// No name of a library or symbol is longer, but for those of C++, of which few are.
const MAX_NAME: usize = 4096;
const MAX_LIBRARIES: usize = 1000;
const MAX_SYMBOLS: usize = 500_000;

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

/// Reads the dynamic part, if there is one.
pub(super) fn read(data: &[u8]) -> Option<Elf> {
    match FileKind::parse(data).ok()? {
        FileKind::Elf32 => parse::<FileHeader32<Endianness>>(data),
        FileKind::Elf64 => parse::<FileHeader64<Endianness>>(data),
        _ => None,
    }
}

fn parse<H: FileHeader<Endian = Endianness>>(data: &[u8]) -> Option<Elf> {
    let header = H::parse(data).ok()?;
    let endian = header.endian().ok()?;
    let sections = header.sections(endian, data).ok()?;
    let (dynamic, strings) = sections.dynamic(endian, data).ok()??;
    let strings = sections.section(strings).ok()?.data(endian, data).ok()?;
    let mut found = Elf::default();
    for entry in dynamic.iter().take_while(|entry| entry.d_tag(endian) != elf::DT_NULL).take(MAX_LIBRARIES) {
        let value: u64 = entry.d_val(endian).into();
        if entry.d_tag(endian) == elf::DT_NEEDED {
            found.needed.extend(name(strings, value));
        } else if entry.d_tag(endian) == elf::DT_SONAME {
            found.soname = name(strings, value);
        }
    }
    let symbols = sections.symbols(endian, data, elf::SHT_DYNSYM).ok()?;
    let strings = match sections.section(symbols.string_section()) {
        Ok(section) => section.data(endian, data).ok()?,
        Err(_) => return Some(found),
    };
    for symbol in symbols.iter().take(MAX_SYMBOLS) {
        if let Some(name) = name(strings, symbol.st_name(endian).into()).filter(|name| !name.is_empty()) {
            let names = if symbol.is_undefined(endian) { &mut found.wants } else { &mut found.has };
            names.insert(name);
        }
    }
    Some(found)
}

/// A name in a table of strings.
fn name(strings: &[u8], offset: u64) -> Option<String> {
    let rest = strings.get(usize::try_from(offset).ok()?..)?;
    let end = rest.iter().take(MAX_NAME).position(|byte| *byte == 0)?;
    std::str::from_utf8(rest.get(..end)?).ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_tell_what_they_link() {
        // this test is one
        let data = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let elf = read(&data).unwrap();
        assert!(elf.needed.iter().any(|name| name.starts_with("libc.so")), "{:?}", elf.needed);
        assert!(elf.wants.contains("malloc"));
        assert_eq!(elf.soname, None);
    }

    #[test]
    fn damaged_files_are_harmless() {
        let mut data = std::fs::read("/bin/sh").unwrap();
        for cut in [0, 3, 16, 64, 1000, data.len() / 2] {
            let _ = read(&data[..cut]);
        }
        // a wrong byte everywhere in the header, and here and there
        for at in (0..data.len()).step_by(997).chain(0..64) {
            let old = std::mem::replace(&mut data[at], 0xff);
            let _ = read(&data);
            data[at] = old;
        }
        assert_eq!(read(b"\x7fELFnonsense and more of it"), None);
    }
}
