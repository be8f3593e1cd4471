//! Messages as bytes and descriptors, and their replies.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

pub(crate) const VERSION: u32 = 1;
pub(crate) const REPLY: u32 = 4;
pub(crate) const NEED_REPLY: u32 = 8;
pub(crate) const HEADER_BYTES: usize = 12;
/// Maximum number of descriptors in one message.
const MOST_FDS: usize = 40;

/// A reply.
#[derive(Debug, Default)]
pub(crate) struct Reply {
    pub(crate) bytes: Vec<u8>,
    pub(crate) fds: Vec<OwnedFd>,
}

/// Header and body of a message.
pub(crate) fn message(code: u32, flags: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len());
    for word in [code, flags, body.len() as u32] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend_from_slice(body);
    bytes
}

/// Send everything. Returns whether the other side was still connected.
pub(crate) fn send(stream: &UnixStream, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> bool {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        let fds = &fds[..fds.len().min(MOST_FDS)];
        assert!(control.push(SendAncillaryMessage::ScmRights(fds)));
    }
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    let sent = rustix::net::sendmsg(stream, &[IoSlice::new(bytes)], &mut control, flags);
    match sent {
        Ok(count) => {
            assert_eq!(count, bytes.len(), "a message fits the socket");
            true
        }
        Err(Errno::PIPE | Errno::CONNRESET) => false,
        Err(errno) => panic!("sendmsg: {errno}"),
    }
}

/// Everything that can be read now.
pub(crate) fn receive(stream: &UnixStream, room: &mut [u8]) -> Reply {
    let mut reply = Reply::default();
    loop {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let received =
            rustix::net::recvmsg(stream, &mut [IoSliceMut::new(room)], &mut control, flags);
        for item in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = item {
                reply.fds.extend(fds);
            }
        }
        match received {
            Ok(message) if message.bytes > 0 => {
                reply.bytes.extend_from_slice(&room[..message.bytes]);
            }
            Ok(_) | Err(Errno::AGAIN | Errno::CONNRESET) => return reply,
            Err(errno) => panic!("recvmsg: {errno}"),
        }
    }
}
