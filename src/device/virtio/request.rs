//! Guest bytes to an operation with proven ranges, or to the status that the mistake deserves.
//!
//! Each byte of the header and of the discard segments is read once, into memory of our own: a
//! guest that changes them afterwards changes nothing. Only payload stays where it is.

use virtio_bindings::virtio_blk;

use super::config::{MAX_DISCARD_SECTORS, MAX_SEGMENTS};
use super::tally::{Asked, OperationKind};
use super::{Status, kind};
use crate::store::{self, ByteRange, Capacity, Piece, SECTOR_BYTES, Sink, Source, points};

/// Bytes of a request's header (virtio 1.3 §5.2.6).
pub const HEADER_BYTES: usize = 16;
const SEGMENT_BYTES: usize = 16;
const UNMAP: u32 = virtio_blk::VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;

/// What a request asks for.
#[derive(Debug)]
pub(super) enum Operation<'a, 'm> {
    /// IN: the disk's bytes into the guest.
    Read {
        range: ByteRange,
        to: &'a mut [Sink<'m>],
    },
    /// OUT: the guest's bytes onto the disk.
    Write {
        range: ByteRange,
        from: &'a mut [Source<'m>],
    },
    /// FLUSH.
    Flush,
    /// GET_ID: the serial.
    GetId { to: &'a [Sink<'m>] },
    /// DISCARD: give the ranges back.
    Discard(Segments),
    /// WRITE_ZEROES: the ranges read zero afterwards.
    WriteZeroes(Segments),
}

impl Operation<'_, '_> {
    /// For tests of what becomes of a request that the process dies of.
    #[inline]
    pub(super) fn may_be_poison(&self) {
        if let Self::Write { from, .. } = self {
            from.iter().for_each(|&from| points::may_be_poison(from));
        }
    }
}

/// The ranges of one DISCARD or WRITE_ZEROES.
#[derive(Clone, Debug)]
pub(super) struct Segments {
    list: [Segment; MAX_SEGMENTS],
    count: usize,
}

/// One of them (virtio 1.3 §5.2.6 `virtio_blk_discard_write_zeroes`), flags already judged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    sector: u64,
    sectors: u32,
    flags: u32,
}

impl Segments {
    pub(super) fn iter(&self) -> impl Iterator<Item = Segment> {
        self.list.iter().copied().take(self.count)
    }

    /// Bytes that they name together.
    fn total_bytes(&self) -> u64 {
        let bytes = |segment: Segment| u64::from(segment.sectors) * SECTOR_BYTES;
        self.iter().map(bytes).sum()
    }

    pub(super) fn get(&self, index: usize) -> Option<Segment> {
        self.list[..self.count].get(index).copied()
    }
}

impl Segment {
    /// The bytes it names.
    pub(super) fn range(self, capacity: Capacity) -> Result<ByteRange, Status> {
        if self.sectors > MAX_DISCARD_SECTORS {
            return Err(Status::IoErr);
        }
        Ok(capacity.range_512(self.sector, u64::from(self.sectors) * SECTOR_BYTES)?)
    }

    /// Whether the driver allows the range to be given back.
    pub(super) fn unmap(self) -> bool {
        self.flags & UNMAP != 0
    }
}

/// Find the status byte, the last byte of the writable buffers (§5.2.6), in whichever descriptor it
/// is. Gives it, and what comes before it.
pub(super) fn split_status<'s, 'a>(
    writable: &'s mut [Sink<'a>],
) -> Option<(Sink<'a>, &'s mut [Sink<'a>])> {
    let last = writable.iter().rposition(|piece| !piece.is_empty())?;
    let (data, status) = writable[last].split_at(writable[last].len() - 1);
    writable[last] = data;
    Some((status, &mut writable[..=last]))
}

/// Understand a request. What is asked for is said in `asked`, too, as far as it can be told.
///
/// # Errors
/// The status to answer with.
pub(super) fn parse<'a, 'm>(
    capacity: Capacity,
    acked: u64,
    readable: &'a mut [Source<'m>],
    data_in: &'a mut [Sink<'m>],
    asked: &mut Asked,
) -> Result<Operation<'a, 'm>, Status> {
    let mut header = [0; HEADER_BYTES];
    let data_out = take(readable, &mut header).ok_or(Status::IoErr)?;
    let kind = u32::from_le_bytes(field(&header, 0));
    let sector = u64::from_le_bytes(field(&header, 8));
    asked.kind = kind_of(kind);
    match kind {
        kind::IN => {
            asked.bytes = store::total_bytes(data_in);
            let range = capacity.range_512(sector, asked.bytes)?;
            Ok(Operation::Read { range, to: data_in })
        }
        kind::OUT => {
            asked.bytes = store::total_bytes(data_out);
            let range = capacity.range_512(sector, asked.bytes)?;
            Ok(Operation::Write {
                range,
                from: data_out,
            })
        }
        kind::FLUSH => Ok(Operation::Flush),
        kind::GET_ID if store::total_bytes(data_in) == 0 => Err(Status::IoErr),
        kind::GET_ID => Ok(Operation::GetId { to: data_in }),
        kind::DISCARD if acked & 1 << virtio_blk::VIRTIO_BLK_F_DISCARD != 0 => {
            let segments = segments(data_out, 0)?;
            asked.bytes = segments.total_bytes();
            Ok(Operation::Discard(segments))
        }
        kind::WRITE_ZEROES if acked & 1 << virtio_blk::VIRTIO_BLK_F_WRITE_ZEROES != 0 => {
            let segments = segments(data_out, UNMAP)?;
            asked.bytes = segments.total_bytes();
            Ok(Operation::WriteZeroes(segments))
        }
        _ => Err(Status::Unsupported),
    }
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

/// Read the segments, and judge the flags of all of them: an unknown flag is UNSUPP (§5.2.6.2
/// MUST), also where the range next to it is wrong.
fn segments(data_out: &mut [Source<'_>], known_flags: u32) -> Result<Segments, Status> {
    let total = store::total_bytes(data_out);
    let count = usize::try_from(total / SEGMENT_BYTES as u64).map_err(|_| Status::IoErr)?;
    if !total.is_multiple_of(SEGMENT_BYTES as u64) || count == 0 || count > MAX_SEGMENTS {
        return Err(Status::IoErr);
    }
    let none = Segment {
        sector: 0,
        sectors: 0,
        flags: 0,
    };
    let mut segments = Segments {
        list: [none; MAX_SEGMENTS],
        count,
    };
    let mut rest = data_out;
    for segment in &mut segments.list[..count] {
        let mut bytes = [0; SEGMENT_BYTES];
        rest = take(rest, &mut bytes).ok_or(Status::IoErr)?;
        *segment = Segment {
            sector: u64::from_le_bytes(field(&bytes, 0)),
            sectors: u32::from_le_bytes(field(&bytes, 8)),
            flags: u32::from_le_bytes(field(&bytes, 12)),
        };
    }
    if segments
        .iter()
        .any(|segment| segment.flags & !known_flags != 0)
    {
        return Err(Status::Unsupported);
    }
    Ok(segments)
}

/// Copy the first bytes of the pieces, and give the pieces that remain. `None`: there are fewer.
fn take<'s, 'a>(pieces: &'s mut [Source<'a>], out: &mut [u8]) -> Option<&'s mut [Source<'a>]> {
    let mut filled = 0;
    for index in 0..pieces.len() {
        let copied = pieces[index].copy_to(&mut out[filled..]);
        filled += copied;
        // Emptied where they lie: who goes on with a long request finds only what is left.
        pieces[index] = pieces[index].split_at(copied).1;
        if filled == out.len() {
            return Some(&mut pieces[index..]);
        }
    }
    None
}

pub(super) fn field<const N: usize>(bytes: &[u8; 16], at: usize) -> [u8; N] {
    std::array::from_fn(|i| bytes[at + i])
}
