// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Standard input, output and error of a command
//!
//! Who has an open file of the host can open it again by /proc/self/fd, for reading and for writing, whatever it was opened for; and
//! from an open directory `..` leads on. So terminals, pipes and sockets are handed in as they are, and anything else is copied by
//! way of a pipe.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

/// Whether a command may have this file of ours.
pub(super) fn is_harmless<F: AsFd + IsTerminal>(fd: &F) -> bool {
    let Ok(stat) = rustix::fs::fstat(fd) else { return false };
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Fifo | FileType::Socket => true,
        FileType::CharacterDevice => fd.is_terminal() || is_null(&stat),
        _ => false,
    }
}

fn is_null(stat: &rustix::fs::Stat) -> bool {
    stat.st_rdev == rustix::fs::makedev(1, 3)
}

/// Whether both are one file.
pub(super) fn are_same(one: impl AsFd, other: impl AsFd) -> bool {
    let identity = |fd: BorrowedFd<'_>| rustix::fs::fstat(fd).map(|s| (s.st_dev, s.st_ino)).ok();
    identity(one.as_fd()).is_some_and(|found| Some(found) == identity(other.as_fd()))
}

/// Standard input that is a file.
pub(super) struct Feed {
    from: File,
    /// Until the end of the file.
    to: Option<OwnedFd>,
    /// What the command reads from; kept, to know what it has left.
    pub(super) reader: OwnedFd,
    rest: Vec<u8>,
}

impl Feed {
    pub(super) fn of(from: impl AsFd) -> io::Result<Self> {
        let (reader, to) = pipe_with(PipeFlags::CLOEXEC)?;
        // a new description of the same pipe would be shared with the command, so only ours does not block
        rustix::fs::fcntl_setfl(&to, OFlags::NONBLOCK)?;
        let from = from.as_fd().try_clone_to_owned()?.into();
        Ok(Self { from, to: Some(to), reader, rest: Vec::new() })
    }

    /// Where the next bytes would go, if there are any.
    pub(super) fn end(&self) -> Option<BorrowedFd<'_>> {
        self.to.as_ref().map(AsFd::as_fd)
    }

    /// Passes on as much as fits.
    pub(super) fn go_on(&mut self) {
        let Some(to) = &self.to else { return };
        if self.rest.is_empty() {
            let mut buffer = vec![0; 64 << 10];
            match self.from.read(&mut buffer) {
                Ok(got) => buffer.truncate(got),
                Err(e) => {
                    log::warn!("reading standard input: {e}");
                    buffer.clear();
                }
            }
            self.rest = buffer;
        }
        match rustix::io::write(to, &self.rest) {
            _ if self.rest.is_empty() => self.to = None,
            Ok(written) => drop(self.rest.drain(..written)),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => self.to = None,
        }
    }

    /// Puts the file back to where the command has read it, for whoever reads it next.
    pub(super) fn give_back(mut self) {
        let in_pipe = rustix::io::ioctl_fionread(&self.reader).unwrap_or(0);
        let unread = in_pipe + self.rest.len() as u64;
        if unread > 0
            && let Err(e) = self.from.seek(SeekFrom::Current(-(unread as i64)))
        {
            log::debug!("standard input cannot be put back by {unread} bytes: {e}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn what_was_not_read_is_given_back() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"one\ntwo\n").unwrap();
        file.rewind().unwrap();
        let mut feed = Feed::of(&file).unwrap();
        while feed.end().is_some() {
            feed.go_on();
        }
        let mut line = [0; 4];
        rustix::io::read(&feed.reader, &mut line).unwrap();
        assert_eq!(&line, b"one\n");
        feed.give_back();
        let mut rest = String::new();
        file.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "two\n");
    }

    #[test]
    fn files_of_the_host_are_not_handed_in() {
        assert!(!is_harmless(&tempfile::tempfile().unwrap()));
        assert!(!is_harmless(&File::open("/").unwrap()));
        assert!(!is_harmless(&File::open("/dev/zero").unwrap()));
        assert!(is_harmless(&File::open("/dev/null").unwrap()));
        assert!(is_harmless(&pipe_with(PipeFlags::CLOEXEC).unwrap().0));
    }
}
