//! The back-end request channel: how a front end learns that the configuration changed.

use std::os::fd::OwnedFd;

use parking_lot::Mutex;
use rustix::net::SendFlags;
use vhost::vhost_user::message::BackendReq;

/// The channel of one session.
#[derive(Debug, Default)]
pub(crate) struct Channel(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// What the front end passed, if it did ("SET_BACKEND_REQ_FD").
    socket: Option<OwnedFd>,
    /// Whether a ring is served. A front end whose rings are stopped must be left alone ("Ring
    /// states"), and QEMU would ignore the message.
    live: bool,
    /// A change that could not be told yet.
    pending: bool,
}

impl Channel {
    /// Use `socket` from now on; an earlier one is closed.
    pub(crate) fn replace(&self, socket: Option<OwnedFd>) {
        let mut state = self.0.lock();
        state.socket = socket;
        state.tell();
    }

    /// Set whether a ring is served. A pending CONFIG_CHANGE is sent as soon as one is.
    pub(crate) fn set_live(&self, live: bool) {
        let mut state = self.0.lock();
        state.live = live;
        state.tell();
    }

    /// Whether a ring is served.
    pub(crate) fn is_live(&self) -> bool {
        self.0.lock().live
    }

    /// Whether the front end passed a channel.
    pub(crate) fn is_there(&self) -> bool {
        self.0.lock().socket.is_some()
    }

    /// Send CONFIG_CHANGE now or as soon as possible. Returns whether it was sent now.
    pub(crate) fn config_changed(&self) -> bool {
        let mut state = self.0.lock();
        state.pending = true;
        state.tell()
    }
}

impl State {
    /// Send a pending CONFIG_CHANGE_MSG. Returns whether it was sent. It has no NEED_REPLY: before
    /// it answers, QEMU would read the configuration from the session that waits for the answer.
    fn tell(&mut self) -> bool {
        let Some(socket) = self.socket.as_ref().filter(|_| self.live && self.pending) else {
            return false;
        };
        // No answer is expected, and anything that a front end sends stays unread: it may hold this
        // end of the socket too, and our receive would wait for one that it has begun.
        let words = [BackendReq::CONFIG_CHANGE_MSG as u32, 1, 0];
        let message = words.map(u32::to_ne_bytes).concat();
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let sent = rustix::net::send(socket, &message, flags);
        self.pending = !sent.is_ok_and(|count| count == message.len());
        !self.pending
    }
}
