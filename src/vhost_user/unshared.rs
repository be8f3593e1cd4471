//! Guest memory that is not shared with us: what a VMM that was started without the right option
//! does, and how it shows.
//!
//! QEMU without a memory backend has no memory to share, and sets rings up nowhere. With a backend
//! of `share=off` it passes a file, but its guest writes into private copies of the file's pages:
//! here the rings stay empty for ever. The first shows at once, the second in the VMM's own list of
//! mappings where that may be read, and otherwise by kicks for rings in which there is nothing.

use std::fs::File;
use std::io::Read;
use std::os::linux::fs::MetadataExt;
use std::time::Duration;

/// Why guest memory can't be used. The message ends the connection, so that the VMM says something
/// too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unshared {
    #[error("the front end sets up rings and has shared no guest memory: {MEND}")]
    Nothing,
    #[error("the front end has guest memory at {guest:#x} mapped for itself alone: {MEND}")]
    Private { guest: u64 },
    #[error("the guest kicks, and nothing of what it writes arrives: {MEND}")]
    Silent,
}

const MEND: &str = "share the guest's memory (QEMU: -object memory-backend-memfd,id=mem,size=SIZE,\
                    share=on -machine memory-backend=mem; cloud-hypervisor: --memory \
                    size=SIZE,shared=on; libvirt: <access mode='shared'/>)";

/// Bytes of the list of mappings that are looked at; a VMM's is a hundredth of that.
const MOST_LISTED: u64 = 8 << 20;

/// Whether process `pid` has `file` mapped privately at its address `user`; no if it can't be told.
pub(super) fn is_private(pid: u32, user: u64, file: &File) -> bool {
    let inode = file.metadata().map(|metadata| metadata.st_ino());
    let list = File::open(format!("/proc/{pid}/maps")).and_then(|maps| {
        let mut text = String::new();
        maps.take(MOST_LISTED).read_to_string(&mut text)?;
        Ok(text)
    });
    let (Ok(inode), Ok(list)) = (inode, list) else {
        return false;
    };
    list.lines()
        .filter_map(Line::parse)
        .find(|line| (line.start..line.end).contains(&user))
        .is_some_and(|line| line.is_private && line.inode == inode)
}

/// One mapping, as `proc_pid_maps(5)` has it.
struct Line {
    start: u64,
    end: u64,
    is_private: bool,
    inode: u64,
}

impl Line {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        let is_private = words.next()?.ends_with('p');
        let inode = words.nth(2)?.parse().ok()?;
        Some(Self {
            start: u64::from_str_radix(start, 16).ok()?,
            end: u64::from_str_radix(end, 16).ok()?,
            is_private,
            inode,
        })
    }
}

/// How often kicks may have come for rings that hold nothing at all.
const MOST_SILENT: u32 = 5;
const FIRST_LOOK: Duration = Duration::from_millis(200);
const NEXT_LOOK: Duration = Duration::from_secs(1);
const LAST_LOOK: Duration = Duration::from_secs(16);

/// A look now and then at rings in which there was nothing yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lookout {
    wait: Duration,
    /// Looks that found kicks for nothing.
    silent: u32,
}

impl Default for Lookout {
    fn default() -> Self {
        Self {
            wait: FIRST_LOOK,
            silent: 0,
        }
    }
}

impl Lookout {
    /// When to look next.
    pub(super) fn wait(self) -> Duration {
        self.wait
    }

    /// There was still nothing after [`Lookout::wait`]; `kicked` says whether a kick came.
    pub(super) fn saw_nothing(&mut self, kicked: bool) -> Result<(), Unshared> {
        if !kicked {
            self.wait = (self.wait * 2).min(LAST_LOOK);
            return Ok(());
        }
        if self.silent == MOST_SILENT {
            return Err(Unshared::Silent);
        }
        self.silent += 1;
        self.wait = NEXT_LOOK;
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn kicks_for_nothing_are_borne_for_a_while_and_no_kicks_for_ever() {
        let mut lookout = Lookout::default();
        let borne = (0..100).take_while(|_| lookout.saw_nothing(true).is_ok());
        assert_eq!(borne.count(), 5);
        let mut lookout = Lookout::default();
        for _ in 0..100 {
            lookout.saw_nothing(false).unwrap();
        }
        assert_eq!(lookout.wait(), LAST_LOOK);
    }
}
