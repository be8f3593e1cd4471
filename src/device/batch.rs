//! Reads and writes of the plainest shape, several at a time.

use super::request;
use super::tally::Batched;
use super::{BlockDevice, HEADER_BYTES, Status, kind};
use crate::store::{Data, MOST_BATCHED, Piece, Sink};

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
        self.status.expect();
    }

    /// Bytes of its data.
    pub fn data_bytes(&self) -> u64 {
        self.data.len() as u64
    }

    /// Header, data and the place of the status.
    #[cfg(feature = "test-fuzz")]
    pub fn parts(&self) -> ([u8; HEADER_BYTES], Data<'m>, Sink<'m>) {
        (self.header, self.data, self.status)
    }
}

impl BlockDevice {
    /// Serve some requests, as [`BlockDevice::handle`] would one after the other. `done` gets the
    /// number of bytes written for each, in their order, once all are done. [`MOST_BATCHED`] at
    /// most are served. The answer is for the [`Tally`](super::Tally) of the ring.
    pub fn serve_batch<'m>(
        &self,
        transfers: &[Transfer<'m>],
        mut done: impl FnMut(u32),
    ) -> Batched {
        let mut batched = Batched::default();
        let mut batch = self.disk.batch();
        let transfers = &transfers[..transfers.len().min(MOST_BATCHED)];
        let mut statuses = [Status::Ok; MOST_BATCHED];
        for (at, transfer) in transfers.iter().enumerate() {
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
                match transfer.data {
                    Data::In(to) => self.disk.read_into(range, &[to]),
                    Data::Out(from) => self.disk.write_from(range, &[from]),
                }
                .map_err(Status::from)
            });
            statuses[at] = result.err().unwrap_or(Status::Ok);
        }
        if let Some(batch) = &mut batch {
            batch.run();
        }
        for (transfer, status) in transfers.iter().zip(statuses) {
            transfer.status.copy_from(&[status.byte()]);
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
