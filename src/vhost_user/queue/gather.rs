//! Plain requests, taken several at a time.
//!
//! Most requests have a header, one buffer and a status byte, each in its own descriptor. The ring
//! takes several of these at once, so that the store can overlap their waits for memory. Any other
//! request (a longer chain, a buffer across regions, a mistake) isn't plain. [`super::chain`] reads
//! such a request again and decides.
#![allow(unsafe_code)]

use super::split::{Descriptor, F_INDIRECT, F_NEXT, F_WRITE, SplitQueue};
use crate::device::{HEADER_BYTES, PlainRequest};
use crate::store::{self, Data, MOST_BATCHED, Sink, Source};
use crate::vhost_user::memory::map::MemoryMap;

const FLAGS: u16 = F_NEXT | F_WRITE | F_INDIRECT;

/// A request with more data than this takes longer, and is served by itself.
const MOST_BYTES: u32 = 64 << 10;
/// Descriptors of a plain request.
const PLAIN: usize = 3;
const TABLE_BYTES: usize = PLAIN * 16;

/// The plain requests that are taken together, and how the next ones are found.
#[derive(Debug)]
pub(super) struct Plain {
    /// They live as long as the ring's memory; callers borrow them for less.
    requests: Vec<PlainRequest<'static>>,
    heads: Vec<u16>,
    /// The region of the last buffer: guest address, length, host address.
    guest: u64,
    len_bytes: u64,
    host: *mut u8,
    /// Where the last request had its header, for prefetching. Never dereferenced.
    header: *const u8,
}

// SAFETY: the pointers point into the mappings of the ring that this is part of, which keeps them,
// whichever thread uses them.
unsafe impl Send for Plain {}

impl Plain {
    pub(super) fn new() -> Self {
        Self {
            requests: Vec::with_capacity(MOST_BATCHED),
            heads: Vec::with_capacity(MOST_BATCHED),
            guest: 0,
            len_bytes: 0,
            host: std::ptr::null_mut(),
            header: std::ptr::null(),
        }
    }

    /// Prefetch the last request's header: a driver with one request at a time uses it again.
    pub(super) fn prefetch_header(&self) {
        store::prefetch(self.header, 1);
    }

    /// Take the requests from `position` in the avail ring on, up to the first that isn't plain: at
    /// most [`MOST_BATCHED`] and `most_requests`, and about `most_bytes` of data. Returns the bytes
    /// of their data.
    #[inline]
    pub(super) fn gather(
        &mut self,
        queue: &SplitQueue,
        mut position: u16,
        most_requests: usize,
        most_bytes: u64,
    ) -> u64 {
        self.clear();
        let most = most_requests.min(MOST_BATCHED);
        let mut bytes = 0;
        while self.requests.len() < most && bytes < most_bytes {
            let head = queue.head_at(position);
            let Some(request) = self.read(queue, head) else {
                break;
            };
            bytes += request.data_bytes();
            position = position.wrapping_add(1);
            self.requests.push(request);
            self.heads.push(head);
        }
        bytes
    }

    #[inline]
    pub(super) fn requests(&self) -> &[PlainRequest<'_>] {
        &self.requests
    }

    /// Whether this can be what was written of the first ones of them: for assertions.
    pub(super) fn offered(&self, written: &[u32]) -> bool {
        let mut pairs = written.iter().zip(&self.requests);
        // The status byte comes after the data.
        written.len() <= self.requests.len()
            && pairs.all(|(&len, request)| u64::from(len) <= request.data_bytes() + 1)
    }

    /// Their heads, in the same order.
    #[inline]
    pub(super) fn heads(&self) -> &[u16] {
        &self.heads
    }

    #[inline]
    pub(super) fn clear(&mut self) {
        self.requests.clear();
        self.heads.clear();
    }

    /// The request at `head`, if it is plain.
    #[inline]
    fn read(&mut self, queue: &SplitQueue, head: u16) -> Option<PlainRequest<'static>> {
        let first = queue.descriptor(head)?;
        let [first, second, third] = if first.has(F_INDIRECT) {
            self.table(queue, first)?
        } else {
            let second = queue.descriptor(next_of(first)?)?;
            let third = queue.descriptor(next_of(second)?)?;
            [first, second, third]
        };
        let write = second.flags & F_WRITE;
        let is_plain = first.flags & FLAGS == F_NEXT
            && second.flags & FLAGS == F_NEXT | write
            && third.flags & FLAGS == F_WRITE
            && first.len as usize == HEADER_BYTES
            && (1..=MOST_BYTES).contains(&second.len)
            && third.len == 1;
        if !is_plain {
            return None;
        }
        let memory = queue.memory();
        let data_at = self.find(memory, second)?;
        let status_at = self.find(memory, third)?;
        let header_at = self.find(memory, first)?;
        self.header = header_at;
        let mut header = [0; HEADER_BYTES];
        // SAFETY: `find` returns mapped memory of the descriptor's length. No Rust reference points
        // into it, and the queue's map keeps it mapped. Requests are cleared before the ring serves
        // others. Here and below.
        unsafe { Source::new(header_at, HEADER_BYTES) }.copy_to(&mut header);
        let len = second.len as usize;
        let data = if write == 0 {
            // SAFETY: as above.
            Data::Out(unsafe { Source::new(data_at, len) })
        } else {
            // SAFETY: as above.
            Data::In(unsafe { Sink::new(data_at, len) })
        };
        // SAFETY: as above.
        let status = unsafe { Sink::new(status_at, 1) };
        PlainRequest::new(header, data, status)
    }

    /// The descriptors of an indirect table that has those of a plain request, in order.
    #[inline]
    fn table(&mut self, queue: &SplitQueue, referring: Descriptor) -> Option<[Descriptor; PLAIN]> {
        if referring.has(F_NEXT) || referring.len as usize != TABLE_BYTES {
            return None;
        }
        let at = self.find(queue.memory(), referring)?;
        let mut bytes = [[0; 16]; PLAIN];
        // SAFETY: as in `read`.
        unsafe { Source::new(at, TABLE_BYTES) }.copy_to(bytes.as_flattened_mut());
        let [first, second, third] = bytes.map(Descriptor::from_le);
        (first.next == 1 && second.next == 2).then_some([first, second, third])
    }

    /// The host address of a buffer, if it lies in one region: most often in that of the last
    /// buffer.
    #[inline]
    fn find(&mut self, memory: &MemoryMap, buffer: Descriptor) -> Option<*mut u8> {
        let offset = buffer.addr.wrapping_sub(self.guest);
        let is_inside = offset < self.len_bytes;
        if is_inside && u64::from(buffer.len) <= self.len_bytes - offset {
            return Some(self.host.wrapping_add(usize::try_from(offset).ok()?));
        }
        self.find_region(memory, buffer)
    }

    #[cold]
    fn find_region(&mut self, memory: &MemoryMap, buffer: Descriptor) -> Option<*mut u8> {
        let (guest, region) = memory.region_at(buffer.addr)?;
        (self.guest, self.len_bytes, self.host) = (guest, region.len as u64, region.ptr);
        let offset = buffer.addr - guest;
        let fits = u64::from(buffer.len) <= self.len_bytes - offset;
        let offset = usize::try_from(offset).ok().filter(|_| fits)?;
        Some(self.host.wrapping_add(offset))
    }
}

/// The number of the next descriptor, if the NEXT flag is set.
#[inline]
fn next_of(descriptor: Descriptor) -> Option<u16> {
    descriptor.has(F_NEXT).then_some(descriptor.next)
}
