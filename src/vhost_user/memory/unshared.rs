//! Detecting guest memory that is not shared, because the VMM was started without the right option.
//!
//! QEMU without a memory backend shares no memory, and its rings have no valid address. With a
//! backend of `share=off` it passes a file, but its guest writes into private copies of the file's
//! pages, and here the rings stay empty for ever. The first case is detected at once, the second in
//! the VMM's list of mappings if that may be read; either ends the connection. Otherwise the only
//! sign are kicks for rings that stay empty. A driver may send such kicks too ("spurious kicks",
//! virtio 1.3 §2.7.10.2). So the log names the likely cause, and the connection stays.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::linux::fs::MetadataExt;
use std::sync::OnceLock;
use std::time::Duration;

/// Why guest memory can't be used. It ends the connection, so that the VMM reports something too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unshared {
    #[error("the front end sets up rings and has shared no guest memory: {MEND}")]
    Nothing,
    #[error("the front end has mapped the guest memory at {guest:#x} privately: {MEND}")]
    Private { guest: u64 },
}

/// What to do about it.
pub(crate) const MEND: &str = "share the guest's memory (QEMU: -object \
                               memory-backend-memfd,id=mem,size=SIZE,share=on \
                               -machine memory-backend=mem; cloud-hypervisor: \
                               --memory size=SIZE,shared=on; libvirt: \
                               <access mode='shared'/>)";

/// The most bytes to read of a list of mappings. A VMM's list has a hundredth of that.
const MOST_LISTED: u64 = 8 << 20;

/// The most bytes to read of the system's information about a descriptor.
const MOST_TOLD: u64 = 4096;

/// Looks into the mappings of another process.
pub(crate) type Look = fn(pid: u32, user: u64, inode: u64) -> bool;

/// Who looks, if this process may not.
static LOOK: OnceLock<Look> = OnceLock::new();

/// From now on `look` looks into the mappings of front ends. Only the first call has an effect.
#[cfg(feature = "daemon")]
pub(crate) fn look_by(look: Look) {
    let _ = LOOK.set(look);
}

/// Whether process `pid` has `file` mapped privately at its address `user`; `false` if unknown.
pub(super) fn is_private(pid: u32, user: u64, file: &File) -> bool {
    let look = LOOK.get().copied().unwrap_or(maps_privately);
    let inode = file.metadata().map(|metadata| metadata.st_ino());
    inode.is_ok_and(|inode| look(pid, user, inode))
}

/// Whether process `pid` has the file `inode` mapped privately at its address `user`; `false` if
/// unknown.
pub(crate) fn maps_privately(pid: u32, user: u64, inode: u64) -> bool {
    let list = File::open(format!("/proc/{pid}/maps")).and_then(|maps| {
        let mut list = Vec::new();
        maps.take(MOST_LISTED).read_to_end(&mut list)?;
        // Names of files are any bytes.
        Ok(String::from_utf8_lossy(&list).into_owned())
    });
    let Ok(list) = list else {
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

/// The count of eventfd `file`. `None` if it isn't an eventfd, or the system doesn't tell. Reading
/// the file itself would reset the count, and could block.
pub(crate) fn signals(file: &File) -> Option<u64> {
    let info = File::open(format!("/proc/self/fdinfo/{}", file.as_raw_fd())).ok()?;
    let mut text = String::new();
    info.take(MOST_TOLD).read_to_string(&mut text).ok()?;
    let mut lines = text.lines();
    let count = lines.find_map(|line| line.strip_prefix("eventfd-count:"))?;
    u64::from_str_radix(count.trim(), 16).ok()
}

/// How many checks may find a kick and empty rings before that is logged.
const MOST_SILENT: u32 = 5;
const FIRST_LOOK: Duration = Duration::from_millis(200);
const NEXT_LOOK: Duration = Duration::from_secs(1);
const LAST_LOOK: Duration = Duration::from_secs(16);

/// When to check rings that have never had a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lookout {
    wait: Duration,
    /// Checks that found a kick and empty rings, until that is logged.
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
    /// How long to wait before the next check.
    pub(crate) fn wait(self) -> Duration {
        self.wait
    }

    /// The rings were still empty after [`Lookout::wait`], and `kicked` says whether a kick came.
    /// Returns whether to log that now: once, and not before a slow guest has had time to start.
    pub(crate) fn saw_nothing(&mut self, kicked: bool) -> bool {
        if !kicked || self.silent > MOST_SILENT {
            self.wait = (self.wait * 2).min(LAST_LOOK);
            return false;
        }
        self.silent += 1;
        self.wait = NEXT_LOOK;
        self.silent > MOST_SILENT
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_kick_for_nothing_is_said_once_after_a_while_and_no_kick_never() {
        let mut lookout = Lookout::default();
        let said: Vec<_> = (0..100).filter(|_| lookout.saw_nothing(true)).collect();
        assert_eq!(said, [5]);
        let mut lookout = Lookout::default();
        assert!((0..100).all(|_| !lookout.saw_nothing(false)));
        assert_eq!(lookout.wait(), LAST_LOOK);
    }

    #[test]
    fn signals_are_counted_and_left_where_they_are() {
        let flags = rustix::event::EventfdFlags::NONBLOCK;
        let mut event = File::from(rustix::event::eventfd(0x1f, flags).unwrap());
        assert_eq!([signals(&event), signals(&event)], [Some(0x1f); 2]);
        std::io::Write::write_all(&mut event, &1_u64.to_ne_bytes()).unwrap();
        assert_eq!(signals(&event), Some(0x20));
        assert_eq!(signals(&File::open("/dev/null").unwrap()), None);
    }
}
