//! A split virtqueue, read through host pointers that were checked once (virtio 1.3 §2.7).
//!
//! The pointers are resolved when the ring starts and stay good for as long as the ring holds its
//! [`MemoryMap`]. Every field that the guest can write is read once, into memory of our own. A
//! request that is wrong in itself (a chain that can't be followed, a buffer outside memory) fails
//! alone; a ring whose indexes or heads make no sense is a [`RingError`], after which nothing it
//! says can be believed.
//!
//! This file does not know what a request means: it hands its bytes to a closure, and returns the
//! length that the closure gives to the driver.
#![allow(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering, fence};

use virtio_bindings::virtio_ring as vring;
use virtio_queue::desc::split::Descriptor;
use vm_memory::ByteValued;

use super::aside::{Aside, Origin, Taken};
use super::chain::{ChainFault, LONGEST_CHAIN};
pub(crate) use super::fault::RingError;
use super::inflight::{Inflight, Tracker};
use super::pieces::Pieces;
use crate::device::{Lane, SEG_MAX, Transfer};
use crate::store::{self, MOST_BATCHED, Sink, Source, points};
use crate::vhost_user::memory::map::{MAX_SLOTS, MemoryMap};

pub(super) const DESC_BYTES: u64 = 16;
/// Header and status come on top of the data segments.
const _: () = assert!(SEG_MAX + 2 <= LONGEST_CHAIN as u32);

pub(super) const F_NEXT: u16 = 1;
pub(super) const F_INDIRECT: u16 = 4;
const _: () = assert!(
    F_NEXT as u32 == vring::VRING_DESC_F_NEXT && F_INDIRECT as u32 == vring::VRING_DESC_F_INDIRECT
);
const AVAIL_F_NO_INTERRUPT: u16 = 1;
const USED_F_NO_NOTIFY: u16 = 1;

/// What became of a request, as the one who serves it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Served {
    /// It is done; the length goes to the driver.
    Done(u32),
    /// It takes long: some of it is done, and the pieces hold the rest.
    Unfinished,
    /// It must wait.
    Held(Lane),
}

/// What [`Ring::serve_one`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// There is no request.
    Dry,
    /// One request was completed.
    Completed,
    /// Some of a request was done.
    Continued,
    /// A request must wait. Whether it is the first of those that wait for the same.
    Held { is_first: bool },
}

/// Where a front end says that a ring is, in its own addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RingAddress {
    pub(crate) desc: u64,
    pub(crate) avail: u64,
    pub(crate) used: u64,
}

impl RingAddress {
    /// Where a driver that uses its ring leaves something: address and bytes, which every ring has.
    /// Of the used ring that is the index: the flags before it are ours to write at any time.
    pub(crate) fn places(self) -> [(u64, usize); 3] {
        let used_idx = self.used.saturating_add(2);
        [(self.desc, 16), (self.avail, 6), (used_idx, 2)]
    }
}

/// What driver and device have agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RingOptions {
    pub(crate) event_idx: bool,
    /// Whether requests are to come back in the order in which they were made available.
    pub(crate) in_order: bool,
}

/// A ring that is being served.
#[derive(Debug)]
pub(crate) struct Ring {
    pub(super) memory: Arc<MemoryMap>,
    desc: *const u8,
    avail: *const u8,
    used: *mut u8,
    size: u16,
    options: RingOptions,
    /// The next entry of the avail ring to take.
    pub(super) next_avail: u16,
    /// The avail index when last read.
    seen_avail: u16,
    /// The next entry of the used ring to fill.
    next_used: u16,
    /// The used index that the driver has been shown.
    shown_used: u16,
    /// The request that is being served, whose buffers `pieces` holds: between two steps of it.
    pub(super) current: Option<Taken>,
    /// Requests that a process before us had taken and not returned; the last one comes first.
    pub(super) unreturned: Vec<u16>,
    /// Requests that wait, while those behind them go on.
    pub(super) aside: Aside,
    /// What the next request in order waits for, which could not be set aside: so do all others.
    pub(super) at_front: Option<Lane>,
    /// So many requests are to be served one by one, since the process may have died of one.
    pub(super) alone: u16,
    pub(super) tracker: Option<Tracker>,
    /// Heads completed since the used index was shown, for the tracker.
    batch: Vec<u16>,
    /// Whether the driver has been asked not to kick.
    quiet: bool,
    pub(super) pieces: Pieces,
    /// Descriptors of the request whose pieces those are that were looked at.
    pub(super) walked: u32,
    /// The last request that was refused for its chain, by its head, until somebody was told.
    pub(crate) refused: Option<(u16, ChainFault)>,
    /// Room for requests that are taken together; empty in between.
    pub(super) plain: Vec<Transfer<'static>>,
    /// Where the last plain request had its header. Never read.
    pub(super) last_header: *const u8,
}

// SAFETY: the pointers point into mappings that `memory` keeps alive, whichever thread uses them.
unsafe impl Send for Ring {}

/// A descriptor as it lies in memory, little-endian.
pub(super) fn decode(bytes: [u8; 16]) -> Descriptor {
    let mut descriptor = Descriptor::default();
    descriptor.as_mut_slice().copy_from_slice(&bytes);
    descriptor
}

impl Ring {
    /// A ring at `address` in `memory`. It goes on where the used index in memory says that it was
    /// left: a device that completes in order has nothing in between.
    pub(crate) fn new(
        memory: Arc<MemoryMap>,
        size: u32,
        address: RingAddress,
        options: RingOptions,
    ) -> Result<Self, RingError> {
        let entries = u16::try_from(size)
            .ok()
            .filter(|size| size.is_power_of_two());
        let entries = entries.ok_or(RingError::Size { size })?;
        let n = u64::from(entries);
        let event = if options.event_idx { 2 } else { 0 };
        let find = |what, address: u64, len, align: u64| {
            let aligned = address.is_multiple_of(align);
            memory
                .user(address, len)
                .filter(|ptr| aligned && (ptr.addr() as u64).is_multiple_of(align))
                .ok_or(RingError::Address { what, address })
        };
        let desc = find("descriptor table", address.desc, n * DESC_BYTES, 16)?;
        let avail = find("avail ring", address.avail, 4 + n * 2 + event, 2)?;
        let used = find("used ring", address.used, 4 + n * 8 + event, 4)?;
        let mut ring = Self {
            memory,
            desc,
            avail,
            used,
            size: entries,
            options,
            next_avail: 0,
            seen_avail: 0,
            next_used: 0,
            shown_used: 0,
            current: None,
            unreturned: Vec::new(),
            aside: Aside::default(),
            at_front: None,
            alone: 0,
            tracker: None,
            batch: Vec::new(),
            quiet: false,
            pieces: Pieces::default(),
            walked: 0,
            refused: None,
            plain: Vec::with_capacity(MOST_BATCHED),
            last_header: std::ptr::null(),
        };
        let used_index = ring.used_u16(2).load(Ordering::Acquire);
        let used_index = u16::from_le(used_index);
        ring.next_avail = used_index;
        ring.seen_avail = used_index;
        ring.next_used = used_index;
        ring.shown_used = used_index;
        // Room for every descriptor of a chain to be cut in two by the border of a region, so that
        // nothing is allocated while serving. A chain that needs more is damaged.
        let most = usize::from(ring.longest_chain()) * 2 + MAX_SLOTS;
        ring.pieces.readable.reserve_exact(most);
        ring.pieces.writable.reserve_exact(most);
        Ok(ring)
    }

    /// The index that a front end is told when the ring stops ("GET_VRING_BASE"): what was taken
    /// and not returned is taken again from there.
    pub(crate) fn position(&self) -> u16 {
        self.next_used
    }

    /// Drivers should keep a chain within the ring (§2.7.5), but Linux fills an indirect table up
    /// to `seg_max` and Windows beyond that, whatever the size of the ring.
    pub(super) fn longest_chain(&self) -> u16 {
        self.size.max(LONGEST_CHAIN)
    }

    /// Write down what is taken and returned in the part of `region` for queue `index`; whether it
    /// has one that is long enough. What was taken and not returned before, as the region says, is
    /// served first, and what the avail ring has after it next.
    pub(crate) fn track(&mut self, region: &Arc<Inflight>, index: u16) -> Result<bool, RingError> {
        let tracked = Tracker::new(region, index, self.size, self.next_used)?;
        let Some((mut tracker, mut unreturned)) = tracked else {
            return Ok(false);
        };
        let to = self.avail_index();
        if unreturned.len() > usize::from(to.wrapping_sub(self.next_used)) {
            // More than the driver ever asked for: it is about one that is gone.
            tracker.forget(&unreturned);
            unreturned.clear();
        }
        // They were taken in order, so the avail ring goes on behind them. No more than `size`.
        let count = u16::try_from(unreturned.len()).unwrap_or(self.size);
        self.next_avail = self.next_used.wrapping_add(count);
        self.seen_avail = self.next_avail;
        unreturned.reverse();
        self.unreturned = unreturned;
        self.tracker = Some(tracker);
        if !self.options.in_order {
            self.aside = Aside::new(self.size);
        }
        self.batch.reserve_exact(usize::from(self.size));
        Ok(true)
    }

    /// Whether the front end took away memory that this ring uses.
    pub(crate) fn is_lost(&self) -> bool {
        self.memory.is_lost() || self.tracker.as_ref().is_some_and(Tracker::is_lost)
    }

    /// Serve the next request, if there is one, or the rest of one that is unfinished. `serve` gets
    /// whether the request is damaged, and its readable and writable pieces.
    pub(crate) fn serve_one(
        &mut self,
        serve: impl for<'m> FnOnce(bool, &mut [Source<'m>], &mut [Sink<'m>]) -> Served,
    ) -> Result<Step, RingError> {
        let taken = match self.current {
            Some(taken) => taken,
            None => match self.take()? {
                Some(taken) => taken,
                None => return Ok(Step::Dry),
            },
        };
        Ok(self.serve_taken(taken, serve))
    }

    pub(super) fn serve_taken(
        &mut self,
        taken: Taken,
        serve: impl for<'m> FnOnce(bool, &mut [Source<'m>], &mut [Sink<'m>]) -> Served,
    ) -> Step {
        let pieces = &mut self.pieces;
        let served = serve(pieces.damaged, &mut pieces.readable, &mut pieces.writable);
        self.current = None;
        match served {
            Served::Unfinished => {
                self.current = Some(taken);
                Step::Continued
            }
            Served::Done(len) => {
                let len = if self.pieces.gap { 0 } else { len };
                self.leave(taken.from);
                self.return_used(taken.head, len);
                Step::Completed
            }
            Served::Held(lane) => self.hold(taken, lane),
        }
    }

    /// A driver with one request at a time uses the same header again: have it at hand, and the
    /// place in the avail ring, when the index says that they are new, instead of one after the
    /// other.
    fn expect_next(&self) {
        let slot = usize::from(self.next_avail & (self.size - 1));
        store::prefetch(self.avail.wrapping_add(4 + slot * 2), 1);
        store::prefetch(self.last_header, 1);
    }

    /// Where the next request is in the avail ring, if there is one and nothing comes before it.
    pub(super) fn next_position(&mut self) -> Result<Option<u16>, RingError> {
        let first = !self.is_amid() && self.at_front.is_none();
        let is_there = first && (self.next_avail != self.seen_avail || self.look()?);
        Ok(is_there.then_some(self.next_avail))
    }

    /// Whether there was a request when the avail ring was looked at last, or is one before it.
    pub(super) fn has_next(&self) -> bool {
        self.is_amid() || self.next_avail != self.seen_avail
    }

    /// Its position and those of the requests behind it that are known.
    pub(super) fn positions_from(&self, first: u16) -> impl Iterator<Item = u16> + use<> {
        let waiting = self.seen_avail.wrapping_sub(first);
        (0..waiting).map(move |offset| first.wrapping_add(offset))
    }

    /// Have the next entry of the used ring at hand.
    pub(super) fn expect_used(&self) {
        let slot = usize::from(self.next_used & (self.size - 1));
        store::prefetch_write(self.used.wrapping_add(4 + slot * 8));
    }

    pub(super) fn return_used(&mut self, head: u16, len: u32) {
        if self.tracker.is_some() {
            self.batch.push(head);
        }
        self.put_used(head, len);
    }

    /// Take the next request out of the ring, with its pieces collected.
    fn take(&mut self) -> Result<Option<Taken>, RingError> {
        let left = self.unreturned.last().copied();
        if self.at_front.is_some() {
            return Ok(None);
        }
        if left.is_none() && self.next_avail == self.seen_avail && !self.look()? {
            return Ok(None);
        }
        let head = left.unwrap_or_else(|| self.head(self.next_avail));
        if head >= self.size {
            return Err(RingError::Head {
                head,
                size: self.size,
            });
        }
        self.collect(head);
        let from = match left {
            Some(_) => Origin::Unreturned,
            None => Origin::Avail,
        };
        if from == Origin::Avail
            && let Some(tracker) = &mut self.tracker
        {
            tracker.taken(head);
        }
        Ok(Some(Taken { head, from }))
    }

    /// Collect the pieces of the request at `head`, which is below the ring's size.
    pub(super) fn collect(&mut self, head: u16) {
        self.walk(head);
        if self.pieces.no_status {
            self.pieces.writable.clear();
        }
    }

    /// What the avail ring has at `position`: any number.
    pub(super) fn head(&self, position: u16) -> u16 {
        let slot = usize::from(position & (self.size - 1));
        u16::from_le(self.avail_u16(4 + slot * 2).load(Ordering::Relaxed))
    }

    /// The ring's own table has descriptors below this number.
    pub(super) fn size(&self) -> u16 {
        self.size
    }

    /// The guest's memory.
    pub(super) fn memory(&self) -> &MemoryMap {
        &self.memory
    }

    /// Read the avail index; whether there is something new.
    fn look(&mut self) -> Result<bool, RingError> {
        let to = self.avail_index();
        if to.wrapping_sub(self.next_avail) > self.size {
            return Err(RingError::AvailJump {
                from: self.next_avail,
                to,
                size: self.size,
            });
        }
        self.seen_avail = to;
        if to == self.next_avail {
            self.expect_next();
        }
        Ok(to != self.next_avail)
    }

    /// Descriptor `index`, which is below the ring's size.
    pub(super) fn descriptor(&self, index: u16) -> Descriptor {
        let at = self.desc.wrapping_add(usize::from(index) * 16);
        // SAFETY: the table was checked to be mapped for `size` descriptors and aligned to 16, and
        // every caller has compared `index` with `size`. The guest may write meanwhile: volatile.
        let low = unsafe { at.cast::<u64>().read_volatile() };
        // SAFETY: as above; the second half of the same descriptor.
        let high = unsafe { at.cast::<u64>().wrapping_add(1).read_volatile() };
        decode((u128::from(low) | u128::from(high) << 64).to_ne_bytes())
    }

    /// Fill an entry of the used ring; the driver does not see it before [`Ring::publish`].
    fn put_used(&mut self, head: u16, len: u32) {
        let slot = usize::from(self.next_used & (self.size - 1));
        let at = self.used.wrapping_add(4 + slot * 8).cast::<u32>();
        // SAFETY: the used ring was checked to be mapped for `size` entries and aligned to 4, and
        // `slot` is below `size`.
        unsafe { at.write_volatile(u32::from(head).to_le()) };
        points::reach("used-head-put");
        // SAFETY: as above; the second field of the same entry.
        unsafe { at.wrapping_add(1).write_volatile(len.to_le()) };
        points::reach("used-entry-put");
        self.next_used = self.next_used.wrapping_add(1);
    }

    /// Show the driver what has been completed, if anything was since the last time; whether it
    /// wants to be called for that.
    pub(crate) fn publish(&mut self) -> Option<bool> {
        let (old, new) = (self.shown_used, self.next_used);
        if old == new {
            return None;
        }
        if let Some(tracker) = &self.tracker {
            tracker.returning(&self.batch);
        }
        self.used_u16(2).store(new.to_le(), Ordering::Release);
        points::reach("used-index-shown");
        if let Some(tracker) = &self.tracker {
            tracker.returned(&self.batch, new);
        }
        self.batch.clear();
        self.shown_used = new;
        // The index must be visible before the driver's wish is read, or both sides may wait.
        fence(Ordering::SeqCst);
        Some(if self.options.event_idx {
            let at = 4 + usize::from(self.size) * 2;
            let event = u16::from_le(self.avail_u16(at).load(Ordering::Relaxed));
            // §2.7.10: call if `event` lies in [old, new).
            new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
        } else {
            u16::from_le(self.avail_u16(0).load(Ordering::Relaxed)) & AVAIL_F_NO_INTERRUPT == 0
        })
    }

    /// Ask the driver not to kick while we look by ourselves. With EVENT_IDX nothing needs to be
    /// said: the event index stays behind, and the driver kicks only when it passes it.
    pub(crate) fn quiet(&mut self) {
        if !self.quiet && !self.options.event_idx {
            self.used_u16(0)
                .store(USED_F_NO_NOTIFY.to_le(), Ordering::Relaxed);
        }
        self.quiet = true;
    }

    /// Ask for a kick from here on; whether something came meanwhile, which is then ours to find.
    pub(crate) fn listen(&mut self) -> Result<bool, RingError> {
        if self.options.event_idx {
            let at = 4 + usize::from(self.size) * 8;
            self.used_u16(at)
                .store(self.next_avail.to_le(), Ordering::Relaxed);
        } else {
            self.used_u16(0).store(0, Ordering::Relaxed);
        }
        self.quiet = false;
        // The wish must be visible before the index is read again (§2.7.10.1).
        fence(Ordering::SeqCst);
        self.look()
    }

    /// Where the driver says that the next request will be put.
    pub(super) fn avail_index(&self) -> u16 {
        u16::from_le(self.avail_u16(2).load(Ordering::Acquire))
    }

    fn avail_u16(&self, offset: usize) -> &AtomicU16 {
        // SAFETY: the avail ring was checked to be mapped up to its event field and aligned to 2;
        // every `offset` used here is even and within. The guest's own accesses are not Rust's.
        unsafe { AtomicU16::from_ptr(self.avail.wrapping_add(offset).cast_mut().cast()) }
    }

    fn used_u16(&self, offset: usize) -> &AtomicU16 {
        // SAFETY: as in `avail_u16`, for the used ring.
        unsafe { AtomicU16::from_ptr(self.used.wrapping_add(offset).cast()) }
    }
}
