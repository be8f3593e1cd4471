//! Reads and writes of the plainest shape, several at a time.

use std::time::Instant;

use super::request;
use super::tally::Batched;
use super::{BlockDevice, Class, HEADER_BYTES, Status, kind};
use crate::store::{Data, MOST_BATCHED, Piece, Sink, points};

/// A request whose buffers are a header, one piece of data and a status byte, as most are.
#[derive(Clone, Copy, Debug)]
pub struct Transfer<'m> {
    header: [u8; HEADER_BYTES],
    data: Data<'m>,
    status: Sink<'m>,
}

impl<'m> Transfer<'m> {
    /// A request with these buffers, if it is a read or a write: others have other shapes. `status`
    /// is one byte.
    pub fn new(header: [u8; HEADER_BYTES], data: Data<'m>, status: Sink<'m>) -> Option<Self> {
        let kind = u32::from_le_bytes(request::field(&header, 0));
        let fits = match data {
            Data::In(_) => kind == kind::IN,
            Data::Out(_) => kind == kind::OUT,
        };
        (fits && status.len() == 1).then_some(Self {
            header,
            data,
            status,
        })
    }

    /// Have the place of the status at hand.
    pub fn expect_status(&self) {
        self.status.prefetch();
    }

    /// Bytes of its data.
    pub fn data_bytes(&self) -> u64 {
        self.data.len() as u64
    }

    fn class(&self) -> Class {
        match self.data {
            Data::In(_) => Class::Read,
            Data::Out(_) => Class::Write,
        }
    }

    /// Header, data and the place of the status.
    #[cfg(ramblk_hooks)]
    pub fn parts(&self) -> ([u8; HEADER_BYTES], Data<'m>, Sink<'m>) {
        (self.header, self.data, self.status)
    }
}

impl BlockDevice {
    /// How many of the first ones their limits let go now; those are counted against the limits.
    pub fn admit_batch(&self, transfers: &[Transfer<'_>]) -> usize {
        if self.has_failed() {
            // One by one they fail.
            return 0;
        }
        let limiter = self.limiter();
        if !limiter.is_active() {
            return transfers.len();
        }
        let now = Instant::now();
        let may_go = |transfer: &&Transfer<'_>| {
            limiter.take_now(transfer.class(), transfer.data_bytes(), now)
        };
        transfers.iter().take_while(may_go).count()
    }

    /// Serve some requests, as [`BlockDevice::serve`] would one after the other, but whatever their
    /// limits. `done` gets the number of bytes written for each, in their order, once all are done.
    /// [`MOST_BATCHED`] at most are served, and none from the first one on that has to wait for
    /// memory. The answer is for the [`Tally`](super::Tally) of the ring.
    pub fn serve_batch<'m>(
        &self,
        transfers: &[Transfer<'m>],
        mut done: impl FnMut(u32),
    ) -> Batched {
        let mut batched = Batched::default();
        let mut batch = self.disk.batch();
        let transfers = &transfers[..transfers.len().min(MOST_BATCHED)];
        let mut statuses = [Status::Ok; MOST_BATCHED];
        let mut served = transfers.len();
        let mut must_wait = false;
        for (at, transfer) in transfers.iter().enumerate() {
            if let Data::Out(from) = transfer.data {
                points::may_be_poison(from);
            }
            let capacity = self.disk.capacity();
            let sector = u64::from_le_bytes(request::field(&transfer.header, 8));
            let range = capacity.range_512(sector, transfer.data_bytes());
            let result = range.map_err(Status::from).and_then(|range| {
                if let Some(batch) = &mut batch {
                    if batch.add(range, transfer.data) {
                        return Ok(());
                    }
                    // It may have to wait, which nobody may do who holds parts of the disk.
                    batch.run();
                }
                let result = match transfer.data {
                    Data::In(to) => self.disk.read_into(range, &[to]),
                    Data::Out(from) => self.disk.write_from(range, &[from]),
                };
                result.map_err(|error| {
                    let is_full = error.is_want_of_memory();
                    must_wait = is_full && self.stalls();
                    if is_full && !must_wait {
                        self.gate.count_full();
                    }
                    Status::from(error)
                })
            });
            if must_wait {
                served = at;
                break;
            }
            statuses[at] = result.err().unwrap_or(Status::Ok);
        }
        if let Some(batch) = &mut batch {
            batch.run();
        }
        points::reach("batch-served");
        for (transfer, status) in transfers[..served].iter().zip(statuses) {
            transfer.status.copy_from(&[status.byte()]);
            points::reach("status-written");
            let ok = status == Status::Ok;
            let (count, data_in_bytes) = match transfer.data {
                Data::In(to) => (&mut batched.reads, to.len() as u64),
                Data::Out(_) => (&mut batched.writes, 0),
            };
            count.add(ok, transfer.data_bytes());
            done(super::written_bytes(
                if ok { data_in_bytes } else { 0 },
                data_in_bytes,
            ));
        }
        batched
    }
}
