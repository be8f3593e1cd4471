//! The back-end request channel: how a front end learns that the configuration changed.

use std::os::fd::OwnedFd;

use parking_lot::Mutex;
use rustix::net::{RecvFlags, SendFlags};
use vhost::vhost_user::message::BackendReq;

/// The channel of one session, if its front end has given one ("SET_BACKEND_REQ_FD").
#[derive(Debug, Default)]
pub(super) struct Channel(Mutex<Option<OwnedFd>>);

impl Channel {
    /// Use `socket` from now on; an earlier one is closed.
    pub(super) fn replace(&self, socket: Option<OwnedFd>) {
        *self.0.lock() = socket;
    }

    /// Send CONFIG_CHANGE_MSG; whether it went out. It is sent without NEED_REPLY: QEMU reads the
    /// configuration back before it acknowledges, from the thread that would wait for us.
    pub(super) fn config_changed(&self) -> bool {
        let channel = self.0.lock();
        let Some(socket) = &*channel else {
            return false;
        };
        // Nothing is expected here, but what a front end sends must not fill the socket.
        let mut unread = [0u8; 256];
        for _ in 0..16 {
            let received = rustix::net::recv(socket, &mut unread, RecvFlags::DONTWAIT);
            if !received.is_ok_and(|(_, count)| count > 0) {
                break;
            }
        }
        let words = [BackendReq::CONFIG_CHANGE_MSG as u32, 1, 0];
        let message = words.map(u32::to_ne_bytes).concat();
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        rustix::net::send(socket, &message, flags).is_ok_and(|sent| sent == message.len())
    }
}
