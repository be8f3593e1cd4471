//! Signalling a front end's eventfd: its call or its error descriptor.
//!
//! The file is shared with the front end, so we must not change its flags. If it may block, poll
//! tells first whether it would: a full eventfd wakes its reader anyway, and a worker must not wait
//! for it. If the front end makes it block after that, the [watchdog](super::watchdog) interrupts
//! the write.

use std::fs::File;

use rustix::event::{PollFd, PollFlags};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::time::Timespec;

/// A descriptor to signal.
#[derive(Debug)]
pub(crate) struct Notifier {
    file: File,
    may_block: bool,
}

impl From<File> for Notifier {
    fn from(file: File) -> Self {
        let flags = rustix::fs::fcntl_getfl(&file).unwrap_or(OFlags::empty());
        Self {
            file,
            may_block: !flags.contains(OFlags::NONBLOCK),
        }
    }
}

impl Notifier {
    /// Add 1 to it. Returns `false` if the write hung until it was interrupted. Other failures are
    /// ignored, since nothing can be done about them.
    pub(crate) fn signal(&self) -> bool {
        if self.may_block {
            let mut poll = [PollFd::new(&self.file, PollFlags::OUT)];
            let now = Timespec::default();
            let ready = rustix::event::poll(&mut poll, Some(&now));
            if !ready.is_ok_and(|count| count > 0) {
                return true;
            }
        }
        rustix::io::write(&self.file, &1u64.to_ne_bytes()) != Err(Errno::INTR)
    }
}
