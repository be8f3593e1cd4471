//! Requests of the plainest shape, taken out of the ring several at a time.
//!
//! Most requests are a header, one buffer and a status byte, in descriptors of their own. Those
//! need no lists of pieces, so several can be held at once, and the store can overlap what they
//! wait for. Anything else about the next request (a longer chain, a buffer across regions, a
//! mistake) ends the gathering, and [`Ring::serve_one`] reads that request anew and judges it.
#![allow(unsafe_code)]

use virtio_queue::desc::split::Descriptor;

use super::pieces::F_WRITE;
use super::ring::{F_INDIRECT, F_NEXT, Ring, RingError, decode};
use crate::device::{HEADER_BYTES, Transfer};
use crate::store::{Data, MOST_BATCHED, Sink, Source};
use crate::vhost_user::memory::map::HostRange;

const FLAGS: u16 = F_NEXT | F_WRITE | F_INDIRECT;

/// A request with more data than this takes a while, and is served by itself.
const MOST_BYTES: u32 = 64 << 10;
/// Descriptors of a plain request.
const PLAIN: usize = 3;
const TABLE_BYTES: usize = PLAIN * 16;

/// Requests that were taken together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Gathered {
    pub(crate) requests: u32,
    /// Bytes of data.
    pub(crate) bytes: u64,
}

impl Gathered {
    /// One of them stays in the ring.
    fn leave(&mut self, transfer: &Transfer<'_>) {
        self.requests -= 1;
        self.bytes -= transfer.data_bytes();
    }
}

impl Ring {
    /// Serve the requests that come next as far as they are plain: at most `most_requests`, from 1
    /// on, and about `most_bytes` of data. `admit` says how many of the first ones may go on.
    /// `serve` gets those, and hands the length for the driver of each, in order, to the function
    /// that it gets too; one from which on it doesn't stays where it is. Nothing is done where the
    /// next request isn't plain, or there is none: ask [`Ring::serve_one`].
    pub(crate) fn serve_plain(
        &mut self,
        most_requests: u32,
        most_bytes: u64,
        admit: impl FnOnce(&[Transfer<'_>]) -> usize,
        serve: impl for<'m> FnOnce(&[Transfer<'m>], &mut dyn FnMut(u32)),
    ) -> Result<Gathered, RingError> {
        let mut gathered = Gathered::default();
        let Some(first) = self.next_position()? else {
            return Ok(gathered);
        };
        let mut heads = [0; MOST_BATCHED];
        // The room is the ring's; the lifetimes are those of its memory, and only ever shown to a
        // closure that must work for any lifetime.
        let mut transfers = std::mem::take(&mut self.plain);
        for (position, at) in self.positions_from(first).zip(&mut heads) {
            let head = self.head(position);
            let Some(transfer) = self.plain(head) else {
                break;
            };
            *at = head;
            gathered.requests += 1;
            gathered.bytes += transfer.data_bytes();
            transfers.push(transfer);
            if gathered.bytes >= most_bytes || gathered.requests == most_requests {
                break;
            }
        }
        let admitted = admit(&transfers);
        if admitted < transfers.len() {
            let left = transfers.drain(admitted..);
            left.for_each(|transfer| gathered.leave(&transfer));
        }
        let heads = &heads[..transfers.len()];
        if !heads.is_empty() {
            if let [transfer] = &transfers[..] {
                // Nothing else hides the wait for them.
                transfer.expect_status();
                self.expect_used();
            }
            self.have_taken(heads);
            let mut left = heads.iter();
            serve(&transfers, &mut |len| {
                if let Some(&head) = left.next() {
                    self.have_served(head, len);
                }
            });
            let left = left.as_slice();
            if !left.is_empty() {
                self.have_left(left);
                let first = heads.len() - left.len();
                transfers[first..]
                    .iter()
                    .for_each(|transfer| gathered.leave(transfer));
            }
        }
        transfers.clear();
        self.plain = transfers;
        Ok(gathered)
    }

    /// The next requests were taken from the avail ring.
    fn have_taken(&mut self, heads: &[u16]) {
        if let Some(tracker) = &mut self.tracker {
            heads.iter().for_each(|&head| tracker.taken(head));
        }
    }

    /// Those of them that were not served are still there.
    fn have_left(&mut self, heads: &[u16]) {
        if let Some(tracker) = &self.tracker {
            heads.iter().for_each(|&head| tracker.not_taken(head));
        }
    }

    /// The next one of those that were taken was served; `len` goes to the driver.
    fn have_served(&mut self, head: u16, len: u32) {
        self.next_avail = self.next_avail.wrapping_add(1);
        self.return_used(head, len);
    }

    /// The request at `head`, if it is plain.
    fn plain(&mut self, head: u16) -> Option<Transfer<'static>> {
        if head >= self.size() {
            return None;
        }
        let first = self.descriptor(head);
        let [first, second, third] = if first.flags() & F_INDIRECT != 0 {
            self.plain_table(first)?
        } else {
            let second = self.descriptor(self.next_of(first)?);
            let third = self.descriptor(self.next_of(second)?);
            [first, second, third]
        };
        let write = second.flags() & F_WRITE;
        let is_plain = first.flags() & FLAGS == F_NEXT
            && second.flags() & FLAGS == F_NEXT | write
            && third.flags() & FLAGS == F_WRITE
            && first.len() as usize == HEADER_BYTES
            && (1..=MOST_BYTES).contains(&second.len())
            && third.len() == 1;
        if !is_plain {
            return None;
        }
        let mut header = [0; HEADER_BYTES];
        let data = self.whole(second)?;
        let status = self.whole(third)?;
        let from = self.whole(first)?;
        self.last_header = from.ptr;
        // SAFETY: `whole` gives mapped memory that no Rust reference points into, and the ring's
        // map keeps it mapped; the pieces are dropped before the next request. Here and below.
        unsafe { Source::new(from.ptr, from.len) }.copy_to(&mut header);
        let data = if write == 0 {
            // SAFETY: as above.
            Data::Out(unsafe { Source::new(data.ptr, data.len) })
        } else {
            // SAFETY: as above.
            Data::In(unsafe { Sink::new(data.ptr, data.len) })
        };
        // SAFETY: as above.
        let status = unsafe { Sink::new(status.ptr, status.len) };
        Transfer::new(header, data, status)
    }

    fn next_of(&self, descriptor: Descriptor) -> Option<u16> {
        let next = descriptor.next();
        (descriptor.flags() & F_NEXT != 0 && next < self.size()).then_some(next)
    }

    /// The descriptors of an indirect table that has as many as a plain request, in order.
    fn plain_table(&self, referring: Descriptor) -> Option<[Descriptor; PLAIN]> {
        let is_plain = referring.flags() & F_NEXT == 0 && referring.len() as usize == TABLE_BYTES;
        let table = self.whole(referring).filter(|_| is_plain)?;
        let mut bytes = [[0; 16]; PLAIN];
        // SAFETY: as in `plain`.
        unsafe { Source::new(table.ptr, table.len) }.copy_to(bytes.as_flattened_mut());
        let [first, second, third] = bytes.map(decode);
        (first.next() == 1 && second.next() == 2).then_some([first, second, third])
    }

    /// A buffer, if it lies in one region.
    #[inline]
    fn whole(&self, descriptor: Descriptor) -> Option<HostRange> {
        let len = descriptor.len();
        let range = self.memory().host(descriptor.addr().0, u64::from(len))?;
        (range.len == len as usize).then_some(range)
    }
}
