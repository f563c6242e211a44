// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # Handing a specification and open files to a child
//!
//! Over a socket that is the child's standard input: a length and the descriptors first, then the JSON. Nothing is
//! inherited by number, so no other child can get hold of it and no foreign process sees it in argv or environment.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};

use super::spec::Spec;

/// A specification is a few kilobytes, plus apt's source lists.
const SPEC_LIMIT: u64 = 16 << 20;

/// Report channel, standard input, status channel.
const FD_LIMIT: usize = 3;

pub(super) fn send(socket: &UnixStream, spec: &Spec, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let json = serde_json::to_vec(spec)?;
    let length = (json.len() as u64).to_le_bytes();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FD_LIMIT))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::other("too many descriptors"));
    }
    let sent = rustix::net::sendmsg(socket, &[IoSlice::new(&length)], &mut control, SendFlags::NOSIGNAL)?;
    if sent != length.len() {
        return Err(io::Error::other("short write"));
    }
    (&mut &*socket).write_all(&json)
}

pub(super) fn receive(socket: &UnixStream) -> io::Result<(Spec, Vec<OwnedFd>)> {
    let mut length = [0u8; 8];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FD_LIMIT))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let got = rustix::net::recvmsg(
        socket.as_fd(),
        &mut [IoSliceMut::new(&mut length)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC | RecvFlags::WAITALL,
    )?;
    let length = u64::from_le_bytes(length);
    if got.bytes != 8 || length > SPEC_LIMIT {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
    }
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            fds.extend(received);
        }
    }
    let mut json = vec![0u8; length as usize];
    (&mut &*socket).read_exact(&mut json)?;
    Ok((serde_json::from_slice(&json)?, fds))
}

/// The socket that the parent put into our standard input, which becomes /dev/null.
pub(super) fn take_socket() -> io::Result<UnixStream> {
    let own = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    let null = std::fs::File::open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    Ok(UnixStream::from(own))
}
