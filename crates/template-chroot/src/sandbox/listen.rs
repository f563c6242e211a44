// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Listening to a sandbox until it ends

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::disk::Disk;
use super::relay::Feed;
use super::run::Channel;
use crate::watch;

/// How long a sandbox may take to end once asked to.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// How often we look whether it has to end.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Output beyond this is not kept (it is still passed on line by line).
const KEEP_LIMIT: usize = 64 << 20;

/// Lines beyond this length are cut into pieces.
const LINE_LIMIT: usize = 64 << 10;

/// One pipe that we listen to.
pub(super) struct Pipe<'a> {
    channel: Option<Channel>,
    /// Until its end.
    file: Option<File>,
    line: Vec<u8>,
    keep: Option<&'a mut Vec<u8>>,
    /// Takes everything as it comes, instead of lines.
    copy: Option<File>,
    failed: Option<io::Error>,
}

impl<'a> Pipe<'a> {
    /// Lines for a sink; `keep` takes all of it as well.
    pub(super) fn new(channel: Option<Channel>, fd: OwnedFd, keep: Option<&'a mut Vec<u8>>) -> Self {
        Self { channel, file: Some(fd.into()), line: Vec::new(), keep, copy: None, failed: None }
    }

    /// What comes is written to `copy`.
    pub(super) fn copying(fd: OwnedFd, copy: File) -> Self {
        Self { copy: Some(copy), ..Self::new(None, fd, None) }
    }

    /// Takes what is there; calls `sink` for each complete line.
    fn take(&mut self, sink: &mut dyn FnMut(Option<Channel>, &str)) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let mut buffer = [0u8; 64 << 10];
        let got = match file.read(&mut buffer) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Ok(()),
            other => other?,
        };
        if got == 0 {
            self.file = None;
            if !self.line.is_empty() {
                self.flush(sink);
            }
            return Ok(());
        }
        if let Some(copy) = &mut self.copy {
            if let Err(e) = copy.write_all(&buffer[..got]) {
                // the writer learns it from the end of its pipe
                self.file = None;
                self.failed = Some(e);
            }
            return Ok(());
        }
        if let Some(keep) = &mut self.keep {
            let room = KEEP_LIMIT.saturating_sub(keep.len()).min(got);
            keep.extend_from_slice(&buffer[..room]);
        }
        for &byte in &buffer[..got] {
            if byte == b'\n' || (self.line.len() >= LINE_LIMIT && self.channel.is_some()) {
                self.flush(sink);
            }
            if byte != b'\n' {
                self.line.push(byte);
            }
        }
        Ok(())
    }

    fn flush(&mut self, sink: &mut dyn FnMut(Option<Channel>, &str)) {
        sink(self.channel, &String::from_utf8_lossy(&self.line));
        self.line.clear();
    }
}

/// How listening ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// Nobody is left who could say anything.
    Silence,
    /// We ended the sandbox, since the disk was nearly full.
    DiskFull,
}

/// Listens until all pipes are closed.
pub(super) fn attend(
    pipes: &mut [Pipe<'_>],
    mut feed: Option<&mut Feed>,
    disk: &Disk,
    guard: &watch::Guard,
    sink: &mut dyn FnMut(Option<Channel>, &str),
) -> io::Result<Ended> {
    let mut asked_to_end: Option<Instant> = None;
    let mut looked = Instant::now();
    let mut ended = Ended::Silence;
    while pipes.iter().any(|p| p.file.is_some()) {
        let open: Vec<usize> = (0..pipes.len()).filter(|i| pipes[*i].file.is_some()).collect();
        let mut polled: Vec<PollFd<'_>> = pipes
            .iter()
            .filter_map(|p| p.file.as_ref())
            .map(|file| PollFd::new(file, PollFlags::IN))
            .collect();
        polled.extend(
            feed.as_ref().and_then(|f| f.end()).map(|end| PollFd::from_borrowed_fd(end, PollFlags::OUT)),
        );
        let patience = Timespec { tv_sec: 0, tv_nsec: LOOK_EVERY.subsec_nanos() as _ };
        match poll(&mut polled, Some(&patience)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        let hungry = polled.get(open.len()).is_some_and(|p| !p.revents().is_empty());
        let ready: Vec<usize> =
            open.iter().zip(&polled).filter(|(_, p)| !p.revents().is_empty()).map(|(i, _)| *i).collect();
        drop(polled);
        for i in ready {
            pipes[i].take(sink)?;
        }
        if let (true, Some(feed)) = (hungry, feed.as_mut()) {
            feed.go_on();
        }
        if looked.elapsed() < LOOK_EVERY {
            continue;
        }
        looked = Instant::now();
        if asked_to_end.is_none() && disk.is_nearly_full() {
            ended = Ended::DiskFull;
            asked_to_end = Some(Instant::now());
            guard.end();
        }
        if asked_to_end.is_none() && watch::interrupted().is_some() {
            asked_to_end = Some(Instant::now());
        }
        if asked_to_end.is_some_and(|since| since.elapsed() > END_TIMEOUT) {
            guard.kill();
        }
    }
    match pipes.iter_mut().find_map(|p| p.failed.take()) {
        Some(e) => Err(e),
        None => Ok(ended),
    }
}

#[cfg(test)]
mod tests {
    use rustix::pipe::{PipeFlags, pipe_with};

    use super::*;

    #[test]
    fn pipes_are_cut_into_lines() {
        let (input, output) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let mut kept = Vec::new();
        let mut pipe = Pipe::new(Some(Channel::Stdout), input, Some(&mut kept));
        File::from(output).write_all(b"one\ntwo\n\nlast").unwrap();
        let mut lines = Vec::new();
        while pipe.file.is_some() {
            pipe.take(&mut |_, line| lines.push(line.to_owned())).unwrap();
        }
        assert_eq!(lines, ["one", "two", "", "last"]);
        assert_eq!(kept, b"one\ntwo\n\nlast");
    }

    #[test]
    fn a_copy_that_cannot_be_written_closes_the_pipe() {
        let (input, output) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut pipe = Pipe::copying(input, full);
        File::from(output).write_all(b"x").unwrap();
        pipe.take(&mut |_, _| {}).unwrap();
        assert!(pipe.file.is_none());
        assert_eq!(pipe.failed.unwrap().kind(), io::ErrorKind::StorageFull);
    }
}
