//! What a virtio-blk device is: the meaning of a request, and what the device says of itself.
//!
//! [`BlockDevice::handle`] takes the bytes of one request, as the ring found them, and gives back
//! how many bytes it wrote. Whatever a guest sends, that call returns, and the status byte is all
//! that the guest learns. Nothing here knows sockets, eventfds, threads or descriptors.
//!
//! | file | what it holds |
//! |---|---|
//! | `config` | feature bits, limits, the configuration space, the serial |
//! | `request` | guest bytes to an `Operation`: every mistake of a guest is caught there |
//! | `batch` | plain reads and writes, several at a time, each with its status |
//! | `limits` | how many requests and bytes a second there may be |
//! | `waiting` | requests that must wait, for their limits or for memory |
//! | `state` | what a VM's snapshot holds of the disk |
//! | `stats` | what was done, queue by queue, for who wants to know |
//! | `steps` | an operation carried out, a long one in steps |
//! | `tally` | counting what one ring does |
//! | `mod` | the device: one request from its buffers to its status, of any shape |

mod batch;
mod config;
mod limits;
mod request;
mod state;
mod stats;
mod steps;
mod tally;
mod waiting;

pub use batch::Transfer;
pub use config::{
    CONFIG_BYTES, ConfigError, MAX_DISCARD_SECTORS, MAX_SEGMENTS, SEG_MAX, SERIAL_BYTES, Serial,
    SerialError,
};

use std::num::NonZeroU16;
use std::sync::atomic::{AtomicBool, Ordering};

use virtio_bindings::virtio_blk;

pub use limits::{Class, Limit, Limiter, Limits};
pub use request::HEADER_BYTES;
pub use state::{MOST_STATE_BYTES, SavedState, StateError};
pub use stats::{
    LATENCY_BOUNDS_NS, LATENCY_CLASSES, LatencyHistogram, OperationStats, QueueStats, Stats,
};
pub use steps::{Pace, Unfinished};
pub use tally::{Batched, Tally};
pub use waiting::{Admission, Hold, Lane, Served, Waiting};

use crate::store::{self, Disk, Sink, Source, points};
use stats::Blocks;
use steps::Progress;
use tally::{Answered, Asked};
use waiting::{Gate, Refusal};

/// The status byte of a request (virtio 1.3 §5.2.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Done (0).
    Ok,
    /// Not done: a device or driver error (1).
    IoErr,
    /// A request that this device does not serve (2).
    Unsupported,
}

impl Status {
    /// The value on the wire.
    pub fn byte(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::IoErr => 1,
            Self::Unsupported => 2,
        }
    }
}

impl From<store::Error> for Status {
    /// Whatever the store refuses is an I/O error to the guest.
    fn from(_: store::Error) -> Self {
        Self::IoErr
    }
}

/// A virtio-blk device over one disk, shared by all queues of all its front ends.
#[derive(Debug)]
pub struct BlockDevice {
    disk: Disk,
    serial: Serial,
    queues: NonZeroU16,
    /// Limits, what to do without memory, and who waits for either.
    gate: Gate,
    state: Option<Box<dyn SavedState>>,
    /// Whether every request fails.
    failed: AtomicBool,
    /// `writeback` of the configuration space: what the driver chose. A write to memory is as
    /// stable when it completes as after a flush, so both modes are kept alike.
    writeback: AtomicBool,
    /// What its queues count in.
    blocks: Blocks,
}

impl BlockDevice {
    /// A device with `queues` request queues. It is read-only if the connection to the disk is.
    pub fn new(disk: Disk, serial: Serial, queues: NonZeroU16) -> Self {
        Self {
            gate: Gate::new(),
            // A queue has other things to do than to wait for memory.
            disk: disk.into_never_waiting(),
            serial,
            queues,
            state: None,
            failed: AtomicBool::new(false),
            writeback: AtomicBool::new(true),
            blocks: Blocks::default(),
        }
    }

    /// With what saves and loads the state of its disk.
    #[must_use]
    pub fn with_state(self, state: Box<dyn SavedState>) -> Self {
        Self {
            state: Some(state),
            ..self
        }
    }

    /// What saves and loads the state of its disk, if there is such a thing.
    pub fn state(&self) -> Option<&dyn SavedState> {
        self.state.as_deref()
    }

    /// How many request queues it has.
    pub fn queues(&self) -> NonZeroU16 {
        self.queues
    }

    /// The store's number of the disk; 0 once that is gone.
    pub fn disk_id(&self) -> u64 {
        self.disk.get_info().map_or(0, |info| info.id)
    }

    /// Have every request fail from now on, or be served again. For a disk that must not be touched
    /// before somebody has looked at it.
    pub fn set_failed(&self, failed: bool) {
        self.failed.store(failed, Ordering::Release);
    }

    fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Its serial.
    pub fn serial(&self) -> &Serial {
        &self.serial
    }

    /// Serve one request (virtio 1.3 §5.2.6) and give the number of bytes written, for the used
    /// ring: [`BlockDevice::serve`] until it is done, however long that takes. It waits for
    /// nothing: no limit holds it, and without memory it fails.
    pub fn handle<'m>(
        &self,
        acked: u64,
        damaged: bool,
        readable: &mut [Source<'m>],
        writable: &mut [Sink<'m>],
    ) -> u32 {
        let mut unfinished = Unfinished::default();
        unfinished.set_admission(Admission::Last);
        loop {
            if let Served::Done(len) =
                self.serve(acked, damaged, readable, writable, &mut unfinished)
            {
                return len;
            }
        }
    }

    /// Serve a request, or a [`Pace`]'s worth of one that takes longer: [`Served::Unfinished`]
    /// means that it goes on with the next call, which must get what this one left of the buffers
    /// and `unfinished`. Given up in between, part of it is done. One that must wait is
    /// [`Served::Held`].
    ///
    /// `acked` are the feature bits that the driver accepted. `readable` and `writable` are the
    /// request's buffers in order, cut into descriptors in any way (§2.6.4.1: no layout may be
    /// assumed); the pieces are used up. `damaged` says that the ring could not make sense of all
    /// of them: the request fails then. Without a writable byte there is no place for a status, and
    /// nothing is done.
    pub fn serve<'m>(
        &self,
        acked: u64,
        damaged: bool,
        readable: &mut [Source<'m>],
        writable: &mut [Sink<'m>],
        unfinished: &mut Unfinished,
    ) -> Served {
        let Some((status_at, data_in)) = request::split_status(writable) else {
            unfinished.answered = Some(Answered::unknown());
            return Served::Done(0);
        };
        let admission = unfinished.admission;
        // Before the disk is asked for memory: what is freed after that is worth another try.
        let seen = if self.stalls() {
            self.disk.room_changes()
        } else {
            0
        };
        let last = data_in.len() - 1;
        let data_in_bytes = store::total_bytes(data_in);
        if unfinished.rest.is_none() {
            unfinished.asked = Asked::default();
        }
        let outcome = if damaged || self.has_failed() {
            unfinished.rest = None;
            Err(Status::IoErr.into())
        } else if let Some(rest) = unfinished.rest.take() {
            self.go_on(rest, readable, data_in, unfinished.pace)
        } else {
            let asked = &mut unfinished.asked;
            match request::parse(self.disk.capacity(), acked, readable, data_in, asked) {
                Err(status) => Err(status.into()),
                Ok(operation) => {
                    operation.may_be_poison();
                    self.execute(operation, unfinished.pace, admission)
                }
            }
        };
        let (status, data_bytes) = match outcome {
            Ok(Progress::Done(data_bytes)) => (Status::Ok, data_bytes),
            Ok(Progress::Rest(rest)) => {
                // The status byte is found again behind what is left of the data.
                writable[last] = writable[last].join(status_at);
                unfinished.rest = Some(rest);
                return Served::Unfinished;
            }
            Err(Refusal::Held(hold)) => return Served::Held(hold),
            Err(Refusal::Full) => match self.wait_for_room(seen, admission) {
                Some(hold) => return Served::Held(hold),
                None => (Status::IoErr, 0),
            },
            Err(Refusal::Status(status)) => (status, 0),
        };
        points::reach("request-served");
        status_at.copy_from(&[status.byte()]);
        points::reach("status-written");
        unfinished.answered = Some(Answered {
            asked: unfinished.asked,
            ok: status == Status::Ok,
        });
        Served::Done(written_bytes(data_bytes, data_in_bytes))
    }
}

/// The length for the used ring, when `data_bytes` of `data_in_bytes` were written before the
/// status. It counts from the first writable byte (§2.7.8.2): the status, which is the last one,
/// can only be counted if everything before it was written too.
fn written_bytes(data_bytes: u64, data_in_bytes: u64) -> u32 {
    let written_bytes = data_bytes + u64::from(data_bytes >= data_in_bytes);
    u32::try_from(written_bytes).unwrap_or(u32::MAX)
}

/// The request types that are served; everything else is [`Status::Unsupported`].
mod kind {
    use super::virtio_blk;

    pub(super) const IN: u32 = virtio_blk::VIRTIO_BLK_T_IN;
    pub(super) const OUT: u32 = virtio_blk::VIRTIO_BLK_T_OUT;
    pub(super) const FLUSH: u32 = virtio_blk::VIRTIO_BLK_T_FLUSH;
    pub(super) const GET_ID: u32 = virtio_blk::VIRTIO_BLK_T_GET_ID;
    pub(super) const DISCARD: u32 = virtio_blk::VIRTIO_BLK_T_DISCARD;
    pub(super) const WRITE_ZEROES: u32 = virtio_blk::VIRTIO_BLK_T_WRITE_ZEROES;
}
