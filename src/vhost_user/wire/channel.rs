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

    /// Say whether a ring is served: what is pending is told as soon as one is.
    pub(crate) fn set_live(&self, live: bool) {
        let mut state = self.0.lock();
        state.live = live;
        state.tell();
    }

    /// Whether a ring is served.
    pub(crate) fn is_live(&self) -> bool {
        self.0.lock().live
    }

    /// Whether the front end can be told anything.
    pub(crate) fn is_there(&self) -> bool {
        self.0.lock().socket.is_some()
    }

    /// Tell the front end that the configuration space changed: now, or as soon as it can be told.
    /// Returns whether it was told now.
    pub(crate) fn config_changed(&self) -> bool {
        let mut state = self.0.lock();
        state.pending = true;
        state.tell()
    }
}

impl State {
    /// Send CONFIG_CHANGE_MSG if one is due; whether it went out. It is sent without NEED_REPLY:
    /// QEMU reads the configuration back before it acknowledges, from the thread that would wait
    /// for us.
    fn tell(&mut self) -> bool {
        let Some(socket) = self.socket.as_ref().filter(|_| self.live && self.pending) else {
            return false;
        };
        // No answer is expected, and what a front end sends all the same stays unread. It has this
        // end of the socket too, and a receive waits for any other receive that has begun.
        let words = [BackendReq::CONFIG_CHANGE_MSG as u32, 1, 0];
        let message = words.map(u32::to_ne_bytes).concat();
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let sent = rustix::net::send(socket, &message, flags);
        self.pending = !sent.is_ok_and(|count| count == message.len());
        !self.pending
    }
}
