// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! The table of contents, and the tar stream that belongs to it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use template_bundle::limits::MAX_TREE;
use template_bundle::manifest::Part;
use template_bundle::toc::Toc;
use template_bundle::{canon, frames, stack};

fuzz_target!(|data: &[u8]| {
    let Ok(toc) = Toc::read_lines(data) else { return };
    for entry in &toc.entries {
        let path = &entry.path.0;
        let names = || path.split(|c| *c == b'/');
        assert!(path.is_empty() || names().all(|name| !matches!(name, b"" | b"." | b"..")), "{entry:?}");
        assert_eq!(canon::header(entry).expect("was checked").len() % 512, 0);
    }
    if let Ok(frames) = frames::declared(&toc.entries, toc.frames.iter().map(|(_, raw)| *raw)) {
        assert_eq!(frames.iter().map(|frame| frame.len).sum::<u64>(), toc.raw_size());
    }
    // whatever is cut is read as it was meant
    if toc
        .entries
        .iter()
        .try_fold(0, |sum: u64, entry| sum.checked_add(entry.size()))
        .is_some_and(|sum| sum <= MAX_TREE)
    {
        let odd = |index: usize| index % 2 == 1;
        let cut = frames::cut(&toc.entries, &odd).expect("was checked");
        assert_eq!(
            frames::declared(&toc.entries, cut.iter().map(|frame| frame.len)).expect("was cut like this"),
            cut
        );
    }
    if [Part::Changes, Part::Finish].iter().any(|part| toc.check_part(*part).is_ok()) {
        // over itself, as a table that has all there is to remove
        let _ = stack::stack([&toc.entries[..], &toc.entries[..]]);
    }
    let mut bytes = Vec::new();
    toc.write(&mut bytes).expect("what was read can be written");
    assert_eq!(Toc::read(&bytes[..]).expect("what was written can be read"), toc);
});
