//! An eventfd: the front end's crate wants its own type, and waiting for a time wants another one.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use crate::load::Error;

/// One end of an eventfd.
#[derive(Debug)]
pub(in crate::load) struct Bell(EventFd);

impl Bell {
    /// Not rung yet; one that `blocks` is read with one system call instead of two.
    ///
    /// # Errors
    /// There are too many.
    pub(in crate::load) fn new(blocks: bool) -> Result<Self, Error> {
        let flags = if blocks { 0 } else { EFD_NONBLOCK };
        EventFd::new(flags | EFD_CLOEXEC).map(Self).map_err(fail)
    }

    /// Another end.
    ///
    /// # Errors
    /// There are too many.
    pub(in crate::load) fn try_clone(&self) -> Result<Self, Error> {
        self.0.try_clone().map(Self).map_err(fail)
    }

    /// Add `count`.
    pub(in crate::load) fn ring(&self, count: u64) {
        // It only fails when it is full, and then it has been heard.
        let _ = self.0.write(count);
    }

    /// What was added since the last time; waits until there is something.
    ///
    /// # Errors
    /// What the system says.
    pub(in crate::load) fn read(&self) -> Result<u64, Error> {
        loop {
            match self.0.read() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => false,
                // Some back ends make their end of it one that doesn't block, and this one with it.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait(None),
                other => return other.map_err(fail),
            };
        }
    }

    /// Whether there is something to read: now, or within `most_ns` if that is given.
    pub(in crate::load) fn wait(&self, most_ns: Option<u64>) -> bool {
        let timeout = most_ns.and_then(|ns| Timespec::try_from(Duration::from_nanos(ns)).ok());
        let mut wanted = [PollFd::new(self, PollFlags::IN)];
        poll(&mut wanted, timeout.as_ref()).is_ok_and(|ready| ready > 0)
    }

    /// For the front end.
    pub(in crate::load) fn event_fd(&self) -> &EventFd {
        &self.0
    }
}

impl AsFd for Bell {
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
