//! The in-flight region: which requests were taken and not yet returned, for the process after a
//! crash ("Inflight I/O tracking", split virtqueue).
//!
//! The region is a file that the back end makes and the front end keeps. The front end passes it
//! with SET_INFLIGHT_FD after every reconnect. Another program or version may have written it, so
//! the part of a queue is laid out as the specification says:
//!
//! ```text
//! per queue, at a multiple of 64 bytes, in native byte order:
//!   u64 features   u16 version   u16 desc_num   u16 last_batch_head   u16 used_idx
//!   desc_num times:  u8 inflight   u8[5] unused   u16 next   u64 counter
//! ```
//!
//! The specification leaves open where the parts are. First comes one part for each queue, one
//! after the other, with as many entries as the front end asked for, as in every back end. A driver
//! may use longer rings than its front end asked for (over virtio-mmio QEMU asks for 128, and its
//! guest uses 1024). So a region that we make has a second part of [`ROOM`] entries for each queue
//! behind these. The file is sparse: a queue that starts takes one or two pages for each of its
//! parts, and an unused queue none. A ring is tracked in the first part that is long enough. If
//! none is, it is served untracked: after a crash it goes on from its used index.
//!
//! The process may be killed between any two stores, and recovery relies on their order. When a
//! request is taken: its counter, then its mark. When a batch is returned: links from each head to
//! the one before, the last head, the used index of the ring, the marks removed, the used index
//! noted here. If the process dies before the last of these stores, the links show which batch
//! *was* returned.
//!
//! The front end can write to this region at any time. Each field is read once, every index is
//! compared with the queue size, and the size bounds every walk. So a front end can harm only its
//! own guest.
#![allow(unsafe_code)]

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU64, Ordering};

use rustix::fs::{FileType, MemfdFlags, SealFlags};
use vhost::vhost_user::message::VhostUserInflight;
use vm_memory::ByteValued;

use crate::store::points;
use crate::vhost_user::memory::map::page_bytes;
use crate::vhost_user::memory::mapping::Mapping;

/// The longest ring that every region of ours has room for, whatever the front end asked for.
/// QEMU's guests have no longer ones. A larger region would cost a front end that migrates it more
/// copying.
const ROOM: u16 = 1024;
/// Longest split ring (virtio 1.3 §2.7).
pub(crate) const LARGEST_RING: u16 = 1 << 15;
const HEADER_BYTES: usize = 16;
const ENTRY_BYTES: usize = 16;
/// The alignment of each queue's part, as in other back ends.
const QUEUE_ALIGNMENT: usize = 64;
const VERSION: u16 = 1;
/// The version of a region whose requests are owed to no one, which no back end takes.
const DISOWNED: u16 = u16::MAX;

/// Offsets of the header's fields, and of an entry's.
mod at {
    pub(super) const VERSION: usize = 8;
    pub(super) const DESC_NUM: usize = 10;
    pub(super) const LAST_BATCH_HEAD: usize = 12;
    pub(super) const USED_IDX: usize = 14;
    pub(super) const INFLIGHT: usize = 0;
    pub(super) const NEXT: usize = 6;
    pub(super) const COUNTER: usize = 8;
}

/// Why a region can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InflightError {
    #[error("an in-flight region for {queues} queues of {queue_size}, of at most {most_queues}")]
    Shape {
        queues: u16,
        queue_size: u16,
        most_queues: u16,
    },
    #[error(
        "an in-flight region of {size_bytes} bytes at {offset_bytes}, where {wanted_bytes} are \
         needed, in a file of {file_bytes}"
    )]
    Size {
        size_bytes: u64,
        offset_bytes: u64,
        wanted_bytes: u64,
        file_bytes: u64,
    },
    #[error(
        "an in-flight region that is not a regular file, or not at a multiple of its page size"
    )]
    NotAFile,
    #[error("can't make or map an in-flight region: {0}")]
    System(#[from] std::io::Error),
    #[error("the in-flight region has version {version}; {VERSION} is known")]
    Version { version: u16 },
    #[error("the in-flight region is damaged: it names head {head} on a ring of {size}")]
    Head { head: u16, size: u16 },
}

/// Bytes for one queue.
fn stride(queue_size: u16) -> usize {
    (HEADER_BYTES + ENTRY_BYTES * usize::from(queue_size)).next_multiple_of(QUEUE_ALIGNMENT)
}

/// Where the parts of a region are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Layout {
    queues: u16,
    queue_size: u16,
    /// Whether there is a second part for each queue, of [`ROOM`].
    has_room: bool,
}

/// The place of a part, in bytes from the start of the region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    offset: usize,
    /// Its number of entries.
    entries: u16,
    /// Whether it is a second part, which no other back end has.
    is_room: bool,
}

impl Layout {
    /// The same layout, with second parts of [`ROOM`] entries if these are longer.
    fn with_room(self) -> Self {
        let has_room = self.queue_size < ROOM;
        Self { has_room, ..self }
    }

    /// Bytes of the first parts, which every back end has.
    fn asked_bytes(self) -> usize {
        usize::from(self.queues) * stride(self.queue_size)
    }

    fn bytes(self) -> usize {
        let more = if self.has_room { stride(ROOM) } else { 0 };
        self.asked_bytes() + usize::from(self.queues) * more
    }

    /// The parts of a queue, the shorter one first.
    fn parts(self, queue: u16) -> impl Iterator<Item = Part> {
        let at = usize::from(queue);
        let asked = Part {
            offset: at * stride(self.queue_size),
            entries: self.queue_size,
            is_room: false,
        };
        let room = Part {
            offset: self.asked_bytes() + at * stride(ROOM),
            entries: ROOM,
            is_room: true,
        };
        let is_there = queue < self.queues;
        let asked = is_there.then_some(asked);
        asked
            .into_iter()
            .chain((is_there && self.has_room).then_some(room))
    }
}

/// The mapped in-flight region of a front end.
#[derive(Debug)]
pub(crate) struct Inflight {
    mapping: Mapping,
    layout: Layout,
}

/// Check the shape that a front end asks for or passes. Returns the layout without second parts.
fn shape(spec: &VhostUserInflight, most_queues: u16) -> Result<Layout, InflightError> {
    // Copied out: the message's layout is packed on the wire.
    let (queues, queue_size) = (spec.num_queues, spec.queue_size);
    let fits = (1..=most_queues).contains(&queues)
        && queue_size.is_power_of_two()
        && queue_size <= LARGEST_RING;
    if fits {
        Ok(Layout {
            queues,
            queue_size,
            has_room: false,
        })
    } else {
        Err(InflightError::Shape {
            queues,
            queue_size,
            most_queues,
        })
    }
}

/// Make a region (GET_INFLIGHT_FD): a file of zeros that can't become shorter, which the front end
/// keeps and passes again.
pub(crate) fn create(
    spec: &VhostUserInflight,
    most_queues: u16,
) -> Result<(VhostUserInflight, File), InflightError> {
    let asked = shape(spec, most_queues)?;
    let bytes = asked.with_room().bytes() as u64;
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let made = rustix::fs::memfd_create("ramblk-inflight", flags).and_then(|file| {
        rustix::fs::ftruncate(&file, bytes)?;
        rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        Ok(file)
    });
    let file = File::from(made.map_err(std::io::Error::from)?);
    // Zero it as a whole: the padding is sent to the front end too, and must not leak memory.
    let mut answer = VhostUserInflight::default();
    answer.as_mut_slice().fill(0);
    answer.mmap_size = bytes;
    answer.num_queues = spec.num_queues;
    answer.queue_size = spec.queue_size;
    Ok((answer, file))
}

impl Inflight {
    /// Map the region that a front end passes (SET_INFLIGHT_FD). Its content is checked only when a
    /// ring starts with it.
    pub(crate) fn open(
        spec: &VhostUserInflight,
        file: &File,
        most_queues: u16,
    ) -> Result<Self, InflightError> {
        let asked = shape(spec, most_queues)?;
        let stat = rustix::fs::fstat(file).map_err(std::io::Error::from)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(InflightError::NotAFile);
        }
        let unit_bytes = page_bytes(file).map_err(std::io::Error::from)?;
        let (size_bytes, offset_bytes) = (spec.mmap_size, spec.mmap_offset);
        if !offset_bytes.is_multiple_of(unit_bytes) {
            return Err(InflightError::NotAFile);
        }
        let file_bytes = u64::try_from(stat.st_size).unwrap_or(0);
        let has = |layout: &Layout| {
            let bytes = layout.bytes() as u64;
            let end_bytes = offset_bytes.checked_add(bytes);
            size_bytes >= bytes && end_bytes.is_some_and(|end| end <= file_bytes)
        };
        let whole = asked.with_room();
        let layout = if has(&whole) { whole } else { asked };
        let wanted = layout.bytes();
        if !has(&layout) {
            let wanted_bytes = wanted as u64;
            return Err(InflightError::Size {
                size_bytes,
                offset_bytes,
                wanted_bytes,
                file_bytes,
            });
        }
        let unit = usize::try_from(unit_bytes).unwrap_or(usize::MAX);
        let mapping = Mapping::new(file, offset_bytes, wanted.next_multiple_of(unit), false)?;
        Ok(Self { mapping, layout })
    }

    /// The requests in it are owed to no one from now on, whichever process finds it.
    pub(crate) fn disown(self: &Arc<Self>) {
        let versions = self.all_parts();
        versions.for_each(|part| part.header(at::VERSION).store(DISOWNED, Ordering::Release));
    }

    /// Whether a process has disowned it.
    pub(crate) fn is_disowned(self: &Arc<Self>) -> bool {
        let mut versions = self.all_parts();
        versions.any(|part| part.header(at::VERSION).load(Ordering::Acquire) == DISOWNED)
    }

    fn all_parts(self: &Arc<Self>) -> impl Iterator<Item = Tracker> {
        let parts = (0..self.layout.queues).flat_map(|queue| self.layout.parts(queue));
        parts.map(|part| Tracker::at(self, part, part.entries))
    }

    /// Whether the front end truncated the file.
    pub(crate) fn is_lost(&self) -> bool {
        self.mapping.is_lost()
    }
}

/// The part of a region in which one ring is tracked.
#[derive(Debug)]
pub(super) struct Tracker {
    /// Keeps `base` mapped.
    region: Arc<Inflight>,
    base: *mut u8,
    /// The ring's.
    size: u16,
    /// Entries of the part, which are no fewer.
    entries: u16,
    is_room: bool,
    /// The next request's place in the order of requests.
    counter: u64,
}

// SAFETY: the pointer points into a mapping that `region` keeps alive, whichever thread uses it.
unsafe impl Send for Tracker {}

impl Tracker {
    /// The tracker of a ring of this size in a part that has room for it.
    fn at(region: &Arc<Inflight>, part: Part, size: u16) -> Self {
        Self {
            base: region.mapping.as_ptr().wrapping_add(part.offset),
            region: Arc::clone(region),
            size,
            entries: part.entries,
            is_room: part.is_room,
            counter: 0,
        }
    }

    /// The tracker of ring `queue`, and the heads that were taken and not returned, in the order in
    /// which they were taken. `used_idx` is the ring's used index. `None` if the region has no part
    /// for this queue that is long enough.
    ///
    /// # Errors
    /// The region has an unknown version, or is damaged.
    pub(super) fn new(
        region: &Arc<Inflight>,
        queue: u16,
        size: u16,
        used_idx: u16,
    ) -> Result<Option<(Self, Vec<u16>)>, InflightError> {
        let parts = || region.layout.parts(queue);
        let at = |part: Part| Self::at(region, part, size);
        let Some(part) = parts().find(|part| part.entries >= size) else {
            // Clear the other parts: they may describe another driver's ring, which must not be
            // taken for that of a later driver.
            parts().for_each(|other| at(other).void());
            return Ok(None);
        };
        let mut tracker = at(part);
        let unreturned = tracker.recover(used_idx)?;
        // Another driver used the part, with a ring of another length.
        parts()
            .filter(|&other| other != part)
            .for_each(|other| at(other).void());
        Ok(Some((tracker, unreturned)))
    }

    /// Whether the front end truncated the region's file.
    pub(super) fn is_lost(&self) -> bool {
        self.region.is_lost()
    }

    fn recover(&mut self, used_idx: u16) -> Result<Vec<u16>, InflightError> {
        match self.header(at::VERSION).load(Ordering::Relaxed) {
            0 => self.begin(used_idx),
            VERSION => {
                let desc_num = self.header(at::DESC_NUM).load(Ordering::Relaxed);
                // QEMU's back ends note the length that was asked for, in their parts.
                let is_asked = !self.is_room && desc_num == self.entries;
                if desc_num == self.size || is_asked {
                    self.finish_batch(used_idx)?;
                } else {
                    let size = self.size;
                    tracing::info!(
                        desc_num,
                        size,
                        "in-flight region of a ring of another length"
                    );
                    self.void();
                    self.begin(used_idx);
                }
            }
            version => return Err(InflightError::Version { version }),
        }
        let mut unreturned: Vec<(u64, u16)> = (0..self.size)
            .filter(|&head| self.mark(head).load(Ordering::Relaxed) == 1)
            .map(|head| (self.order(head).load(Ordering::Relaxed), head))
            .collect();
        unreturned.sort_unstable();
        self.counter = unreturned
            .last()
            .map_or(0, |&(counter, _)| counter.wrapping_add(1));
        Ok(unreturned.into_iter().map(|(_, head)| head).collect())
    }

    fn begin(&self, used_idx: u16) {
        self.header(at::DESC_NUM)
            .store(self.size, Ordering::Relaxed);
        self.header(at::LAST_BATCH_HEAD).store(0, Ordering::Relaxed);
        self.header(at::USED_IDX).store(used_idx, Ordering::Relaxed);
        self.header(at::VERSION).store(VERSION, Ordering::Release);
    }

    /// Clear the part, which describes the ring of a driver that is gone.
    fn void(&self) {
        if self.header(at::VERSION).load(Ordering::Relaxed) != 0 {
            (0..self.entries).for_each(|head| self.mark(head).store(0, Ordering::Relaxed));
            self.header(at::VERSION).store(0, Ordering::Release);
        }
    }

    /// Remove the marks of a batch that the last process published, if it died before it had
    /// removed them.
    fn finish_batch(&self, used_idx: u16) -> Result<(), InflightError> {
        let noted = self.header(at::USED_IDX).load(Ordering::Relaxed);
        let returned = used_idx.wrapping_sub(noted);
        if returned > self.size {
            // One batch can't lead from the noted index to this one, so the ring was set up again
            // since, and the part describes the ring of a driver that is gone.
            tracing::info!(noted, used_idx, "in-flight region of a ring that was reset");
            (0..self.size).for_each(|head| self.mark(head).store(0, Ordering::Relaxed));
            self.header(at::USED_IDX).store(used_idx, Ordering::Release);
            return Ok(());
        }
        let mut head = self.header(at::LAST_BATCH_HEAD).load(Ordering::Relaxed);
        for _ in 0..returned {
            if head >= self.size {
                return Err(InflightError::Head {
                    head,
                    size: self.size,
                });
            }
            self.mark(head).store(0, Ordering::Relaxed);
            points::reach("batch-mark-taken-off");
            head = self.next(head).load(Ordering::Relaxed);
        }
        self.header(at::USED_IDX).store(used_idx, Ordering::Release);
        Ok(())
    }

    /// Forget `heads`, which are all unreturned requests: the driver no longer waits for them.
    pub(super) fn forget(&mut self, heads: &[u16]) {
        self.unmark(heads);
        self.counter = 0;
    }

    fn unmark(&self, heads: &[u16]) {
        for &head in heads {
            self.mark(head).store(0, Ordering::Release);
            points::reach("mark-taken-off");
        }
    }

    /// Record that request `head` was taken, before anything is done for it.
    pub(super) fn taken(&mut self, head: u16) {
        self.order(head).store(self.counter, Ordering::Relaxed);
        points::reach("request-counted");
        self.mark(head).store(1, Ordering::Release);
        points::reach("request-marked");
        self.counter = self.counter.wrapping_add(1);
    }

    /// Record that request `head` stays in the avail ring after all. It will be taken again.
    pub(super) fn not_taken(&self, head: u16) {
        self.mark(head).store(0, Ordering::Release);
        points::reach("mark-given-back");
    }

    /// Record that requests `heads` are about to be returned by one store to the used index.
    pub(super) fn returning(&self, heads: &[u16]) {
        let last = self.header(at::LAST_BATCH_HEAD);
        let mut before = last.load(Ordering::Relaxed);
        for &head in heads {
            self.next(head).store(before, Ordering::Relaxed);
            points::reach("head-linked");
            last.store(head, Ordering::Release);
            points::reach("head-last");
            before = head;
        }
    }

    /// Record that they were returned, and that the used index is `used_idx` now.
    pub(super) fn returned(&self, heads: &[u16], used_idx: u16) {
        self.unmark(heads);
        self.header(at::USED_IDX).store(used_idx, Ordering::Release);
        points::reach("used-index-noted");
    }

    fn header(&self, field: usize) -> &AtomicU16 {
        // SAFETY: `field` is one of the constants above, all even and within the header, which
        // `open` has proved to be mapped; the base is aligned to 64.
        unsafe { AtomicU16::from_ptr(self.base.wrapping_add(field).cast()) }
    }

    /// The address of `field` in entry `head`, which every caller has compared with the number of
    /// entries.
    fn entry(&self, head: u16, field: usize) -> *mut u8 {
        let head = usize::from(head & (self.entries - 1));
        self.base
            .wrapping_add(HEADER_BYTES + head * ENTRY_BYTES + field)
    }

    fn mark(&self, head: u16) -> &AtomicU8 {
        // SAFETY: `entry` stays below the part's entries, for which `open` has proved the region to
        // be mapped. The front end's own accesses are not Rust's.
        unsafe { AtomicU8::from_ptr(self.entry(head, at::INFLIGHT)) }
    }

    fn next(&self, head: u16) -> &AtomicU16 {
        // SAFETY: as in `mark`; entries are aligned to 16 and the field to 2.
        unsafe { AtomicU16::from_ptr(self.entry(head, at::NEXT).cast()) }
    }

    fn order(&self, head: u16) -> &AtomicU64 {
        // SAFETY: as in `mark`; entries are aligned to 16 and the field to 8.
        unsafe { AtomicU64::from_ptr(self.entry(head, at::COUNTER).cast()) }
    }
}
