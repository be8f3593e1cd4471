//! Bytes and descriptors on the socket: the 12-byte header, without the meaning of messages.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recvmsg,
    sendmsg, socket_with,
};

/// Header flags: version 1 in the two low bits, then REPLY and NEED_REPLY.
pub(crate) const VERSION: u32 = 1;
pub(crate) const REPLY: u32 = 4;
pub(crate) const NEED_REPLY: u32 = 8;

/// A message as received.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) code: u32,
    pub(crate) flags: u32,
    pub(crate) payload: Vec<u8>,
    pub(crate) fds: Vec<OwnedFd>,
}

impl Message {
    pub(crate) fn u64(&self) -> u64 {
        u64::from_le_bytes(self.payload[..].try_into().unwrap())
    }
}

/// The outcome of a wait for an answer.
#[derive(Debug)]
pub(crate) enum Answer {
    Message(Message),
    Closed,
    Silence,
}

/// Header and payload of a message, to be sent whole or in pieces.
pub(crate) fn message(code: u32, flags: u32, payload: &[u8]) -> Vec<u8> {
    header(code, flags, payload.len() as u32)
        .iter()
        .chain(payload)
        .copied()
        .collect()
}

/// A header whose size may be wrong.
pub(crate) fn header(code: u32, flags: u32, size: u32) -> [u8; 12] {
    let mut bytes = [0; 12];
    for (at, word) in bytes.chunks_exact_mut(4).zip([code, flags, size]) {
        at.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

/// Wait until `fd` can be read or is closed. Returns false after the limit.
pub(crate) fn readable(fd: impl AsFd, limit: Duration) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        let rest = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(rest).unwrap();
        match poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&timeout)) {
            Ok(n) => return n > 0,
            Err(Errno::INTR) => {}
            Err(e) => panic!("poll: {e}"),
        }
    }
}

/// A connected socket.
pub(crate) struct Wire {
    socket: OwnedFd,
}

impl Wire {
    pub(crate) fn connect(path: &Path) -> Self {
        Self::try_connect(path).unwrap_or_else(|| panic!("nothing listens at {path:?}"))
    }

    /// `None`: nothing listens there.
    pub(crate) fn try_connect(path: &Path) -> Option<Self> {
        let flags = SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
        match connect(&socket, &SocketAddrUnix::new(path).unwrap()) {
            Ok(()) => Some(Self { socket }),
            Err(Errno::NOENT | Errno::CONNREFUSED) => None,
            Err(e) => panic!("connect: {e}"),
        }
    }

    /// Send all of `bytes`, with the descriptors on the first byte. Returns false if the peer has
    /// closed.
    pub(crate) fn send(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> bool {
        let mut room = [MaybeUninit::uninit(); 4096];
        let mut control = SendAncillaryBuffer::new(&mut room);
        if !fds.is_empty() {
            assert!(control.push(SendAncillaryMessage::ScmRights(fds)));
        }
        let mut sent = 0;
        while sent < bytes.len() {
            let slice = [IoSlice::new(&bytes[sent..])];
            match sendmsg(&self.socket, &slice, &mut control, SendFlags::NOSIGNAL) {
                Ok(n) => sent += n,
                Err(Errno::PIPE | Errno::CONNRESET) => return false,
                Err(e) => panic!("sendmsg: {e}"),
            }
            control.clear();
        }
        true
    }

    /// Send as much of `bytes` as the socket takes at once.
    pub(crate) fn send_now(&self, bytes: &[u8]) -> usize {
        let mut control = SendAncillaryBuffer::default();
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        sendmsg(&self.socket, &[IoSlice::new(bytes)], &mut control, flags).unwrap_or(0)
    }

    /// One whole message, or what happened instead within `limit`.
    pub(crate) fn receive(&self, limit: Duration) -> Answer {
        let mut fds = Vec::new();
        let mut head = [0; 12];
        match self.fill(&mut head, &mut fds, limit) {
            Answer::Message(_) => {}
            other => return other,
        }
        let word = |i: usize| u32::from_le_bytes(head[4 * i..4 * i + 4].try_into().unwrap());
        assert!(
            word(2) <= 0x1_0000,
            "the back end announces {} bytes",
            word(2)
        );
        let mut payload = vec![0; word(2) as usize];
        match self.fill(&mut payload, &mut fds, Duration::from_secs(5)) {
            Answer::Message(_) => {}
            other => panic!("a message that stops in the middle: {other:?}"),
        }
        Answer::Message(Message {
            code: word(0),
            flags: word(1),
            payload,
            fds,
        })
    }

    /// Fill `bytes`; an empty message stands for success.
    fn fill(&self, bytes: &mut [u8], fds: &mut Vec<OwnedFd>, limit: Duration) -> Answer {
        let mut have = 0;
        while have < bytes.len() {
            if !readable(&self.socket, limit) {
                assert_eq!(have, 0, "a message that stops in the middle");
                return Answer::Silence;
            }
            let mut room = [MaybeUninit::uninit(); 1024];
            let mut control = RecvAncillaryBuffer::new(&mut room);
            let mut slice = [IoSliceMut::new(&mut bytes[have..])];
            match recvmsg(
                &self.socket,
                &mut slice,
                &mut control,
                RecvFlags::CMSG_CLOEXEC,
            ) {
                Ok(got) if got.bytes == 0 => return Answer::Closed,
                Ok(got) => have += got.bytes,
                Err(Errno::CONNRESET) => return Answer::Closed,
                Err(e) => panic!("recvmsg: {e}"),
            }
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(got) = message {
                    fds.extend(got);
                }
            }
        }
        Answer::Message(Message {
            code: 0,
            flags: 0,
            payload: Vec::new(),
            fds: Vec::new(),
        })
    }
}
