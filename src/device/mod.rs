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
//! | `mod` | the one `match` that executes an operation, and the one place that writes a status |

mod config;
mod request;

pub use config::{
    CONFIG_BYTES, MAX_DISCARD_SECTORS, MAX_SEGMENTS, SEG_MAX, SERIAL_BYTES, Serial, SerialError,
};

use std::num::NonZeroU16;

use virtio_bindings::virtio_blk;

use crate::store::{self, ByteRange, Disk, Sink, Source};
use request::{Operation, Segments};

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

/// A virtio-blk device over one disk. Immutable, and shared by all queues of all its front ends.
#[derive(Debug)]
pub struct BlockDevice {
    disk: Disk,
    serial: Serial,
    queues: NonZeroU16,
}

impl BlockDevice {
    /// A device with `queues` request queues. It is read-only if the connection to the disk is.
    pub fn new(disk: Disk, serial: Serial, queues: NonZeroU16) -> Self {
        Self {
            disk,
            serial,
            queues,
        }
    }

    /// How many request queues it has.
    pub fn queues(&self) -> NonZeroU16 {
        self.queues
    }

    /// Its serial.
    pub fn serial(&self) -> &Serial {
        &self.serial
    }

    /// Serve one request (virtio 1.3 §5.2.6) and give the number of bytes written, for the used
    /// ring.
    ///
    /// `acked` are the feature bits that the driver accepted. `readable` and `writable` are the
    /// request's buffers in order, cut into descriptors in any way (§2.6.4.1: no layout may be
    /// assumed); the pieces are used up. `damaged` says that the ring could not make sense of all
    /// of them: the request fails then. Without a writable byte there is no place for a status, and
    /// nothing is done.
    pub fn handle(
        &self,
        acked: u64,
        damaged: bool,
        readable: &mut [Source<'_>],
        writable: &mut [Sink<'_>],
    ) -> u32 {
        let Some((status_at, data_in)) = request::split_status(writable) else {
            return 0;
        };
        let data_in_bytes = store::total_bytes(data_in);
        let outcome = if damaged {
            Err(Status::IoErr)
        } else {
            request::parse(self.disk.capacity(), acked, readable, data_in)
                .and_then(|operation| self.execute(operation))
        };
        let (status, data_bytes) = match outcome {
            Ok(data_bytes) => (Status::Ok, data_bytes),
            Err(status) => (status, 0),
        };
        status_at.copy_from(&[status.byte()]);
        // The length counts from the first writable byte (§2.7.8.2): the status, which is the last
        // one, can only be counted if everything before it was written too.
        if data_bytes == data_in_bytes || status == Status::Ok && data_bytes > 0 {
            u32::try_from(data_bytes + 1).unwrap_or(u32::MAX)
        } else {
            0
        }
    }

    /// Do it, and give the number of data bytes written for the driver.
    fn execute(&self, operation: Operation<'_>) -> Result<u64, Status> {
        match operation {
            Operation::Read { range, to } => {
                self.disk.read_into(range, to)?;
                Ok(range.len_bytes())
            }
            Operation::Write { range, from } => {
                self.disk.write_from(range, from)?;
                Ok(0)
            }
            Operation::Flush => {
                self.disk.flush()?;
                Ok(0)
            }
            Operation::GetId { to } => Ok(self.serial.copy_to(to)),
            Operation::Discard(segments) => {
                self.on_ranges(&segments, |range, _| self.disk.discard_range(range))
            }
            Operation::WriteZeroes(segments) => self.on_ranges(&segments, |range, unmap| {
                self.disk.write_zeroes_range(range, unmap)
            }),
        }
    }

    /// Prove every range before the first is touched: all or nothing.
    fn on_ranges(
        &self,
        segments: &Segments,
        apply: impl Fn(ByteRange, bool) -> Result<(), store::Error>,
    ) -> Result<u64, Status> {
        if self.disk.is_read_only() {
            return Err(Status::IoErr);
        }
        let capacity = self.disk.capacity();
        for segment in segments.iter() {
            segment.range(capacity)?;
        }
        for segment in segments.iter() {
            apply(segment.range(capacity)?, segment.unmap())?;
        }
        Ok(0)
    }
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
