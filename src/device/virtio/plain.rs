//! Plain reads and writes, several at a time.

use super::parse::{Status, field, kind};
use super::request::{finish, written_bytes};
use super::{BlockDevice, HEADER_BYTES};
use crate::device::block::{Count, OperationKind, QueueCounters, Refusal};
use crate::store::{Data, MOST_BATCHED, Piece, Sink, points};

/// A request whose buffers are a header, one piece of data and a status byte, as most are.
#[derive(Clone, Copy, Debug)]
pub struct PlainRequest<'m> {
    header: [u8; HEADER_BYTES],
    data: Data<'m>,
    status: Sink<'m>,
}

impl<'m> PlainRequest<'m> {
    /// A request with these buffers, if it is a read or a write. `status` is one byte.
    #[inline]
    pub fn new(header: [u8; HEADER_BYTES], data: Data<'m>, status: Sink<'m>) -> Option<Self> {
        let number = u32::from_le_bytes(field(&header, 0));
        let fits = match data {
            Data::In(_) => number == kind::IN,
            Data::Out(_) => number == kind::OUT,
        };
        (fits && status.len() == 1).then_some(Self {
            header,
            data,
            status,
        })
    }

    /// Prefetch the status byte, for writing.
    pub fn prefetch_status(&self) {
        self.status.prefetch();
    }

    /// Bytes of its data.
    #[inline]
    pub fn data_bytes(&self) -> u64 {
        self.data.len() as u64
    }

    /// Header, data and the place of the status.
    #[cfg(ramblk_rings)]
    pub fn parts(&self) -> ([u8; HEADER_BYTES], Data<'m>, Sink<'m>) {
        (self.header, self.data, self.status)
    }
}

/// The results of the first of several plain requests. Serve those behind them one by one with
/// [`BlockDevice::serve`]: the next one would have to wait.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Outcomes {
    written: [u32; MOST_BATCHED],
    done: usize,
    reads: Count,
    writes: Count,
}

impl Outcomes {
    /// The used length of each request that is done, in their order.
    pub fn written(&self) -> &[u32] {
        &self.written[..self.done]
    }

    /// Count them.
    pub fn count(&self, counters: &mut QueueCounters) {
        counters.answered(OperationKind::Read, self.reads);
        counters.answered(OperationKind::Write, self.writes);
    }
}

impl BlockDevice {
    /// Serve up to [`MOST_BATCHED`] requests, as [`BlockDevice::serve`] would one after the other.
    /// Stops before the first one that must wait.
    pub fn serve_plain(&self, requests: &[PlainRequest<'_>]) -> Outcomes {
        let mut outcomes = Outcomes {
            written: [0; MOST_BATCHED],
            done: 0,
            reads: Count::default(),
            writes: Count::default(),
        };
        let mut statuses = [Status::Ok; MOST_BATCHED];
        let capacity = self.volume.capacity();
        let mut batch = self.volume.batch();
        for (request, status) in requests.iter().zip(&mut statuses) {
            let sector = u64::from_le_bytes(field(&request.header, 8));
            let range = capacity.range_512(sector, request.data_bytes());
            match range
                .map_err(Refusal::from)
                .and_then(|range| batch.add(range, request.data))
            {
                Ok(()) => {}
                Err(Refusal::Wait(_)) => break,
                Err(Refusal::Unsupported) => *status = Status::Unsupported,
                Err(Refusal::Failed | Refusal::Fault | Refusal::Error(_)) => {
                    *status = Status::IoErr;
                }
            }
            outcomes.done += 1;
        }
        batch.run();
        points::reach("batch-served");
        let done = requests.iter().zip(statuses).zip(&mut outcomes.written);
        for ((request, status), written) in done.take(outcomes.done) {
            finish(request.status, status);
            let ok = status == Status::Ok;
            let data_bytes = request.data_bytes();
            *written = match request.data {
                Data::In(_) => {
                    outcomes.reads.add(ok, data_bytes);
                    written_bytes(if ok { data_bytes } else { 0 }, data_bytes)
                }
                Data::Out(_) => {
                    outcomes.writes.add(ok, data_bytes);
                    written_bytes(0, 0)
                }
            };
        }
        outcomes
    }
}
