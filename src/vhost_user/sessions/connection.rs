//! A front end's connection, as its session and its server share it.

use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use crate::vhost_user::wire::channel::Channel;
use crate::vhost_user::wire::peek::{self, Peer};

/// Handles for controlling a session from outside, and for asking about it. The session's own
/// thread reads messages from a duplicate of the socket.
#[derive(Debug)]
pub(crate) struct Connection {
    /// For ending the connection.
    pub(super) stream: Arc<UnixStream>,
    pub(crate) channel: Channel,
    /// The process that connected, if the system knows it.
    pub(super) peer: Option<Peer>,
    polled_queues: AtomicU16,
    untracked_queues: AtomicU16,
}

/// A front end that is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrontEnd {
    /// The number of its session, which no other session of the same server has.
    pub session: u64,
    /// Whether any of its rings is served.
    pub live: bool,
    /// Whether it passed a channel for CONFIG_CHANGE.
    pub notifiable: bool,
    /// Rings that are polled because the front end passed no kick descriptor.
    pub polled_queues: u16,
    /// Rings that its in-flight region has no room for.
    pub untracked_queues: u16,
    /// The process that connected, if the system knows it.
    pub peer: Option<Peer>,
    /// Whether it came through another front door than vhost-user.
    pub is_visitor: bool,
}

impl FrontEnd {
    /// A visitor with session number `session`. Its disk is in use as long as it is there.
    pub(super) fn visitor(session: u64, peer: Option<Peer>) -> Self {
        Self {
            session,
            live: true,
            notifiable: false,
            polled_queues: 0,
            untracked_queues: 0,
            peer,
            is_visitor: true,
        }
    }
}

impl Connection {
    /// Prepare `stream` for a session.
    pub(crate) fn new(stream: &UnixStream) -> io::Result<Self> {
        peek::prepare(stream)?;
        Ok(Self {
            stream: Arc::new(stream.try_clone()?),
            channel: Channel::default(),
            peer: peek::peer(stream),
            polled_queues: AtomicU16::new(0),
            untracked_queues: AtomicU16::new(0),
        })
    }

    /// Shut the connection down. The session's thread then reads the end of the stream.
    pub(super) fn hang_up(&self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// Note how many rings are served without a kick descriptor, and how many without room in the
    /// in-flight region. Returns how many of the latter there were before.
    pub(super) fn count_queues(&self, polled: u16, untracked: u16) -> u16 {
        self.polled_queues.store(polled, Ordering::Relaxed);
        self.untracked_queues.swap(untracked, Ordering::Relaxed)
    }

    /// Its front end, which has session number `session`.
    pub(super) fn front_end(&self, session: u64) -> FrontEnd {
        FrontEnd {
            session,
            live: self.channel.is_live(),
            notifiable: self.channel.is_there(),
            polled_queues: self.polled_queues.load(Ordering::Relaxed),
            untracked_queues: self.untracked_queues.load(Ordering::Relaxed),
            peer: self.peer,
            is_visitor: false,
        }
    }
}
