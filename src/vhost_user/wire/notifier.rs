//! A front end's eventfd that we signal: its call or its error descriptor.
//!
//! The file behind it is shared with the front end, so its flags are not ours to change. Where it
//! may block, it is asked first whether it would: a full one has its reader's attention anyway, and
//! a worker must not wait for it. A front end that makes it block after that is caught by the
//! [watchdog](super::watchdog).

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
    /// Add 1 to it. A failure can't be helped and is ignored, but for one: `false` means that the
    /// write hung until it was interrupted.
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
