//! What sessions tell workers to do with a ring.

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};

use vmm_sys_util::eventfd::EventFd;

use super::mail::{Kind, OrderSender, Waker};
use super::slot::Slot;
use crate::vhost_user::queue::parking::Stop;
use crate::vhost_user::wire::notifier::Notifier;

/// The workers' mail: rings move as whole slots.
#[derive(Debug)]
pub(super) struct RingMail;

impl Kind for RingMail {
    type Ring = Box<Slot>;
    type Order = Order;
    type Waker = EventFd;
}

impl Waker for EventFd {
    fn wake(&self) {
        // An eventfd that is full wakes its worker as well; any other failure leaves no way to.
        let _ = self.write(1);
    }
}

/// What a worker does with a ring that it has.
#[derive(Debug)]
pub(super) enum Order {
    Stop {
        how: Stop,
        /// Receives the avail index where the ring was left.
        reply: SyncSender<Option<u16>>,
    },
    SetCall {
        call: Option<Arc<Notifier>>,
        reply: SyncSender<()>,
    },
}

/// A session's handle for a ring that is served. [`RingHandle::stop`] stops serving it.
#[derive(Debug)]
pub(crate) struct RingHandle(pub(super) OrderSender<RingMail>);

impl RingHandle {
    /// Stop serving. When this returns, no worker touches the ring or guest memory for it. Returns
    /// the avail index where the ring was left, unless the worker is gone.
    pub(crate) fn stop(self, how: Stop) -> Option<u16> {
        let (reply, answer) = sync_channel(1);
        self.0.post(Order::Stop { how, reply });
        // An order that is not carried out is dropped, and its reply with it.
        answer.recv().ok().flatten()
    }

    /// Use another call descriptor from now on.
    pub(crate) fn set_call(&self, call: Option<Arc<Notifier>>) {
        let (reply, answer) = sync_channel(1);
        self.0.post(Order::SetCall { call, reply });
        let _ = answer.recv();
    }
}
