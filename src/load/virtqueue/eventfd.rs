//! An eventfd that can be waited for with a timeout, around the type that the front end's crate
//! needs.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use vmm_sys_util::eventfd::{self, EFD_CLOEXEC, EFD_NONBLOCK};

use crate::load::Error;

/// An eventfd.
#[derive(Debug)]
pub(in crate::load) struct EventFd(eventfd::EventFd);

impl EventFd {
    /// An eventfd that counts 0. Reading one that `blocks` takes one system call instead of two.
    ///
    /// # Errors
    /// The system has no descriptor for it.
    pub(in crate::load) fn new(blocks: bool) -> Result<Self, Error> {
        let flags = if blocks { 0 } else { EFD_NONBLOCK };
        eventfd::EventFd::new(flags | EFD_CLOEXEC)
            .map(Self)
            .map_err(fail)
    }

    /// Another descriptor of the same eventfd.
    ///
    /// # Errors
    /// The system has no descriptor for it.
    pub(in crate::load) fn try_clone(&self) -> Result<Self, Error> {
        self.0.try_clone().map(Self).map_err(fail)
    }

    /// Add `count`.
    pub(in crate::load) fn add(&self, count: u64) {
        // It fails only if the counter is full, and then it is readable already.
        let _ = self.0.write(count);
    }

    /// Wait until something was added since the last time, and return the sum.
    ///
    /// # Errors
    /// It can't be read.
    pub(in crate::load) fn read(&self) -> Result<u64, Error> {
        loop {
            match self.0.read() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => false,
                // Some back ends set O_NONBLOCK, which holds for this descriptor too.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait(None),
                other => return other.map_err(fail),
            };
        }
    }

    /// Wait until there is something to read, no longer than `most_ns` if that is given, and return
    /// whether there is.
    pub(in crate::load) fn wait(&self, most_ns: Option<u64>) -> bool {
        let timeout = most_ns.and_then(|ns| Timespec::try_from(Duration::from_nanos(ns)).ok());
        let mut wanted = [PollFd::new(self, PollFlags::IN)];
        poll(&mut wanted, timeout.as_ref()).is_ok_and(|ready| ready > 0)
    }

    /// The type that the front end's crate needs.
    pub(in crate::load) fn inner(&self) -> &eventfd::EventFd {
        &self.0
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the eventfd stays open for as long as `self` is borrowed.
        unsafe { BorrowedFd::borrow_raw(self.0.as_raw_fd()) }
    }
}

fn fail(source: io::Error) -> Error {
    Error::System {
        what: "use an eventfd",
        source,
    }
}
