//! Peeking at the next message before the `vhost` crate reads it.
//!
//! The crate reads a message with one call for the header and one for the body, and doesn't pass on
//! the back-end request channel. So this shim waits until a whole message has arrived, in however
//! many pieces, and takes duplicates of its descriptors. With `SO_PEEK_OFF` each peek goes on where
//! the last one ended, so every byte and every descriptor is seen once. Reading the message later
//! moves the offset back.
#![allow(unsafe_code)]

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags};
use vhost::vhost_user::message::{MAX_ATTACHED_FD_ENTRIES, MAX_MSG_SIZE};

use crate::vhost_user::error::{Error, patience};

/// Bytes of a message's header: request, flags, size of the body.
pub(super) const HEADER_BYTES: usize = 12;

/// The kernel's own bound on descriptors of one `sendmsg` (`SCM_MAX_FD`).
const MOST_FDS: usize = 253;

/// A message that has arrived completely.
#[derive(Debug)]
pub(crate) struct Peeked {
    /// The request code.
    pub(crate) request: u32,
    flags: u32,
    /// Bytes of its body.
    size: usize,
    /// Duplicates of its descriptors.
    pub(crate) fds: Vec<OwnedFd>,
}

/// Version 1 in the two low bits, and whether an answer is asked for.
const VERSION: u32 = 1;
const REPLY: u32 = 4;
const NEED_REPLY: u32 = 8;

impl Peeked {
    /// Whether its header is valid for a front end's message.
    pub(super) fn is_sound(&self) -> bool {
        self.flags & !NEED_REPLY == VERSION
    }

    /// Whether the front end asks for an acknowledgement (NEED_REPLY).
    pub(super) fn needs_reply(&self) -> bool {
        self.flags & NEED_REPLY != 0
    }

    /// Remove it from the connection unread. Its descriptors are closed.
    pub(crate) fn pass_over(self, stream: &UnixStream) -> Result<(), Error> {
        let mut left = HEADER_BYTES + self.size;
        let mut unread = [0; HEADER_BYTES + MAX_MSG_SIZE];
        while left > 0 {
            match rustix::net::recv(stream, &mut unread[..left], RecvFlags::empty()) {
                Ok((_, 0)) => return Err(Error::CutOff { seen_bytes: 0 }),
                Ok((_, count)) => left -= count,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::Socket(errno.into())),
            }
        }
        Ok(())
    }

    /// Remove it from the connection unread, and answer with a failure (REPLY_ACK).
    pub(crate) fn refuse(self, stream: &UnixStream) -> Result<(), Error> {
        let words = [self.request, VERSION | REPLY, 8, 1, 0];
        self.pass_over(stream)?;
        let reply = words.map(u32::to_ne_bytes).concat();
        let sent = rustix::net::send(stream, &reply, SendFlags::NOSIGNAL);
        sent.map(|_| ())
            .map_err(|errno| Error::Socket(errno.into()))
    }
}

/// Prepare a connection for [`next`].
pub(crate) fn prepare(stream: &UnixStream) -> std::io::Result<()> {
    let zero: libc::c_int = 0;
    // SAFETY: the option's value is one `int`, which `zero` is; the descriptor is the stream's own.
    let result = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEEK_OFF,
            (&raw const zero).cast(),
            4,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(std::io::Error::last_os_error())
    }
}

/// The process at the other end of a connection, when it connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its number; `None` if it has none in our namespace.
    pub pid: Option<u32>,
    /// Its user.
    pub uid: u32,
}

/// The process at the other end, if the system knows it.
pub(crate) fn peer(stream: &UnixStream) -> Option<Peer> {
    let mut found = libc::ucred {
        pid: 0,
        uid: 0,
        gid: 0,
    };
    let mut len = libc::socklen_t::try_from(size_of_val(&found)).ok()?;
    // SAFETY: the option's value is one `ucred`, which `found` is, and `len` is its size; the
    // descriptor is the stream's own.
    let result = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut found).cast(),
            &raw mut len,
        )
    };
    (result == 0).then_some(Peer {
        pid: u32::try_from(found.pid).ok().filter(|&pid| pid > 0),
        uid: found.uid,
    })
}

/// Wait without limit for the next message to begin, and then for all of it. `None` if the front
/// end closed the connection between two messages.
pub(crate) fn next(stream: &UnixStream) -> Result<Option<Peeked>, Error> {
    await_first(stream)?;
    let deadline = Instant::now() + patience();
    let mut header = [0; HEADER_BYTES];
    let mut fds = Vec::new();
    let mut seen = 0;
    while seen < HEADER_BYTES {
        match peek(stream, &mut header[seen..], &mut fds) {
            Ok(0) if seen == 0 => return Ok(None),
            Ok(0) => return Err(Error::CutOff { seen_bytes: seen }),
            Ok(count) => seen += count,
            Err(Errno::AGAIN) if seen == 0 => await_first(stream)?,
            Err(Errno::AGAIN) => wait(deadline, seen, HEADER_BYTES)?,
            Err(Errno::INTR) => {}
            Err(Errno::CONNRESET) => return Ok(None),
            Err(errno) => return Err(Error::Socket(errno.into())),
        }
        if fds.len() > MAX_ATTACHED_FD_ENTRIES {
            return Err(Error::TooManyFds { count: fds.len() });
        }
    }
    let word = |at: usize| u32::from_ne_bytes(std::array::from_fn(|i| header[at + i]));
    let size = word(8) as usize;
    if size > MAX_MSG_SIZE {
        return Err(Error::TooLong {
            request: word(0),
            size_bytes: size,
        });
    }
    await_bytes(stream, deadline, HEADER_BYTES + size)?;
    Ok(Some(Peeked {
        request: word(0),
        flags: word(4),
        size,
        fds,
    }))
}

/// Wait up to `limit` for bytes or the end of the stream. Returns whether either came.
pub(crate) fn comes_within(stream: &UnixStream, limit: Duration) -> Result<bool, Error> {
    let limit = rustix::time::Timespec::try_from(limit).unwrap_or_default();
    match rustix::event::poll(&mut [PollFd::new(stream, PollFlags::IN)], Some(&limit)) {
        Ok(count) => Ok(count > 0),
        Err(Errno::INTR) => Ok(false),
        Err(errno) => Err(Error::Socket(errno.into())),
    }
}

fn await_first(stream: &UnixStream) -> Result<(), Error> {
    match rustix::event::poll(&mut [PollFd::new(stream, PollFlags::IN)], None) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(errno) => Err(Error::Socket(errno.into())),
    }
}

/// Wait until `wanted` bytes can be read.
fn await_bytes(stream: &UnixStream, deadline: Instant, wanted: usize) -> Result<(), Error> {
    loop {
        let there = rustix::io::ioctl_fionread(stream).map_err(|e| Error::Socket(e.into()))?;
        let there = usize::try_from(there).unwrap_or(usize::MAX);
        if there >= wanted {
            return Ok(());
        }
        let mut poll = [PollFd::new(stream, PollFlags::RDHUP)];
        let now = rustix::time::Timespec::default();
        if rustix::event::poll(&mut poll, Some(&now)).is_ok_and(|count| count > 0) {
            return Err(Error::CutOff { seen_bytes: there });
        }
        wait(deadline, there, wanted)?;
    }
}

/// Sleep until more of a message has arrived. Messages in pieces are rare, and poll can wait only
/// for the first piece.
fn wait(deadline: Instant, seen_bytes: usize, wanted_bytes: usize) -> Result<(), Error> {
    if Instant::now() >= deadline {
        return Err(Error::Stalled {
            seen_bytes,
            wanted_bytes,
        });
    }
    std::thread::sleep(Duration::from_millis(1));
    Ok(())
}

fn peek(stream: &UnixStream, into: &mut [u8], fds: &mut Vec<OwnedFd>) -> Result<usize, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::PEEK | RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let message = rustix::net::recvmsg(stream, &mut [IoSliceMut::new(into)], &mut control, flags)?;
    for item in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = item {
            fds.extend(received);
        }
    }
    Ok(message.bytes)
}
