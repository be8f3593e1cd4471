//! Parsing a guest's bytes into an operation with proven ranges, or into the status of its mistake.
//!
//! Each byte of the header and of the discard segments is copied once, so a guest that changes it
//! later changes nothing. Only payload stays where it is.

use arrayvec::ArrayVec;
use virtio_bindings::virtio_blk;

use super::config::{MAX_DISCARD_SECTORS, MAX_SEGMENTS};
use crate::device::block::{Operation, OperationKind, Segment};
use crate::store::{self, Capacity, Piece, SECTOR_BYTES, Sink, Source};

/// Bytes of a request's header (virtio 1.3 §5.2.6).
pub const HEADER_BYTES: usize = 16;
const SEGMENT_BYTES: usize = 16;
const UNMAP: u32 = virtio_blk::VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;

/// The status byte of a request (virtio 1.3 §5.2.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    /// Done (0).
    Ok,
    /// Not done: a device or driver error (1).
    IoErr,
    /// The device does not support the request (2).
    Unsupported,
}

impl Status {
    /// The value on the wire.
    pub(super) fn byte(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::IoErr => 1,
            Self::Unsupported => 2,
        }
    }
}

impl From<store::Error> for Status {
    /// Every error of the store is an I/O error for the guest.
    fn from(_: store::Error) -> Self {
        Self::IoErr
    }
}

/// The supported request types. Any other type gets [`Status::Unsupported`].
pub(super) mod kind {
    use super::virtio_blk;

    pub(crate) const IN: u32 = virtio_blk::VIRTIO_BLK_T_IN;
    pub(crate) const OUT: u32 = virtio_blk::VIRTIO_BLK_T_OUT;
    pub(crate) const FLUSH: u32 = virtio_blk::VIRTIO_BLK_T_FLUSH;
    pub(crate) const GET_ID: u32 = virtio_blk::VIRTIO_BLK_T_GET_ID;
    pub(crate) const DISCARD: u32 = virtio_blk::VIRTIO_BLK_T_DISCARD;
    pub(crate) const WRITE_ZEROES: u32 = virtio_blk::VIRTIO_BLK_T_WRITE_ZEROES;
}

/// The ranges of one DISCARD or WRITE_ZEROES. Not an array, since filling one costs more than a
/// flush.
pub(super) type Segments = ArrayVec<Segment, MAX_SEGMENTS>;

/// A request that can't be parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mistake {
    /// What it asks for, as far as that is known.
    pub(super) kind: OperationKind,
    /// What to answer.
    pub(super) status: Status,
}

/// Find the status byte, the last byte of the writable buffers (§5.2.6), in whichever descriptor it
/// is. Returns it, and what comes before it.
pub(super) fn split_status<'s, 'a>(
    writable: &'s mut [Sink<'a>],
) -> Option<(Sink<'a>, &'s mut [Sink<'a>])> {
    let last = writable.iter().rposition(|piece| !piece.is_empty())?;
    let (data, status) = writable[last].split_at(writable[last].len() - 1);
    writable[last] = data;
    Some((status, &mut writable[..=last]))
}

/// Parse a request. `room` is for its ranges.
///
/// # Errors
/// The mistake, with the status to answer with.
pub(super) fn parse<'a, 'm>(
    capacity: Capacity,
    acked: u64,
    readable: &'a mut [Source<'m>],
    data_in: &'a mut [Sink<'m>],
    room: &'a mut Segments,
) -> Result<Operation<'a, 'm>, Mistake> {
    let mut header = [0; HEADER_BYTES];
    let Some(data_out) = take(readable, &mut header) else {
        let (kind, status) = (OperationKind::Other, Status::IoErr);
        return Err(Mistake { kind, status });
    };
    let number = u32::from_le_bytes(field(&header, 0));
    let sector = u64::from_le_bytes(field(&header, 8));
    let kind = kind_of(number);
    let has = |feature: u32| acked & 1 << feature != 0;
    let operation = match number {
        kind::IN => match capacity.range_512(sector, store::total_bytes(data_in)) {
            Ok(range) => Ok(Operation::Read { range, to: data_in }),
            Err(error) => Err(error.into()),
        },
        kind::OUT => {
            let from = data_out;
            match capacity.range_512(sector, store::total_bytes(from)) {
                Ok(range) => Ok(Operation::Write { range, from }),
                Err(error) => Err(error.into()),
            }
        }
        kind::FLUSH => Ok(Operation::Flush),
        kind::GET_ID if store::total_bytes(data_in) == 0 => Err(Status::IoErr),
        kind::GET_ID => Ok(Operation::GetId { to: data_in }),
        kind::DISCARD if has(virtio_blk::VIRTIO_BLK_F_DISCARD) => {
            segments(capacity, data_out, 0, room).map(Operation::Discard)
        }
        kind::WRITE_ZEROES if has(virtio_blk::VIRTIO_BLK_F_WRITE_ZEROES) => {
            segments(capacity, data_out, UNMAP, room).map(Operation::WriteZeroes)
        }
        _ => Err(Status::Unsupported),
    };
    operation.map_err(|status| Mistake { kind, status })
}

fn kind_of(kind: u32) -> OperationKind {
    match kind {
        kind::IN => OperationKind::Read,
        kind::OUT => OperationKind::Write,
        kind::FLUSH => OperationKind::Flush,
        kind::DISCARD => OperationKind::Discard,
        kind::WRITE_ZEROES => OperationKind::WriteZeroes,
        _ => OperationKind::Other,
    }
}

/// Read the segments (`virtio_blk_discard_write_zeroes`) and check the flags of all of them: an
/// unknown flag is UNSUPP (§5.2.6.2 MUST), even beside a wrong range. All ranges are proven before
/// the first is touched, so it is all or nothing.
fn segments<'a>(
    capacity: Capacity,
    data_out: &mut [Source<'_>],
    known_flags: u32,
    room: &'a mut Segments,
) -> Result<&'a [Segment], Status> {
    let total = store::total_bytes(data_out);
    let count = usize::try_from(total / SEGMENT_BYTES as u64).map_err(|_| Status::IoErr)?;
    if !total.is_multiple_of(SEGMENT_BYTES as u64) || count == 0 || count > MAX_SEGMENTS {
        return Err(Status::IoErr);
    }
    let mut rest = data_out;
    let mut outside = false;
    for _ in 0..count {
        let mut bytes = [0; SEGMENT_BYTES];
        rest = take(rest, &mut bytes).ok_or(Status::IoErr)?;
        let sector = u64::from_le_bytes(field(&bytes, 0));
        let sectors = u32::from_le_bytes(field(&bytes, 8));
        let flags = u32::from_le_bytes(field(&bytes, 12));
        if flags & !known_flags != 0 {
            return Err(Status::Unsupported);
        }
        match capacity.range_512(sector, u64::from(sectors) * SECTOR_BYTES) {
            Ok(range) if sectors <= MAX_DISCARD_SECTORS => room.push(Segment {
                range,
                unmap: flags & UNMAP != 0,
            }),
            _ => outside = true,
        }
    }
    if outside {
        return Err(Status::IoErr);
    }
    Ok(room)
}

/// Copy the first bytes of the pieces, and return the remaining pieces. `None` if there are fewer.
fn take<'s, 'a>(pieces: &'s mut [Source<'a>], out: &mut [u8]) -> Option<&'s mut [Source<'a>]> {
    let mut filled = 0;
    for index in 0..pieces.len() {
        let copied = pieces[index].copy_to(&mut out[filled..]);
        filled += copied;
        // Emptied in place, so that the next step of a long request finds only what is left.
        pieces[index] = pieces[index].split_at(copied).1;
        if filled == out.len() {
            return Some(&mut pieces[index..]);
        }
    }
    None
}

#[inline]
pub(super) fn field<const N: usize>(bytes: &[u8; 16], at: usize) -> [u8; N] {
    let field = bytes.get(at..).and_then(|rest| rest.first_chunk());
    field.copied().unwrap_or([0; N])
}
