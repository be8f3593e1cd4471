//! What a request does by virtio 1.3 §5.2.6: the status, the bytes, and the content of the disk
//! afterwards.

use super::disk::{SERIAL, Target};
use super::{ACKED_DISCARD, ACKED_ZEROES, Asked};

pub(crate) const OK: u8 = 0;
pub(crate) const IOERR: u8 = 1;
pub(crate) const UNSUPP: u8 = 2;

pub(crate) const IN: u32 = 0;
pub(crate) const OUT: u32 = 1;
pub(crate) const FLUSH: u32 = 4;
pub(crate) const GET_ID: u32 = 8;
pub(crate) const DISCARD: u32 = 11;
pub(crate) const WRITE_ZEROES: u32 = 13;

/// Maximum number of sectors in one segment.
const MOST_SECTORS: u32 = 8_388_600;
/// Maximum number of segments in one request.
const MOST_SEGMENTS: usize = 256;

/// What the driver must see.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) status: u8,
    /// The new content of the first writable bytes.
    pub(crate) data: Vec<u8>,
}

/// What a valid request changes on the disk.
#[derive(Debug)]
pub(crate) enum Change {
    None,
    Write(u64, Vec<u8>),
    /// Ranges in bytes, from and to.
    Zero(Vec<(u64, u64)>),
}

fn status(status: u8) -> (Expected, Change) {
    (
        Expected {
            status,
            data: Vec::new(),
        },
        Change::None,
    )
}

fn word<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    std::array::from_fn(|i| bytes[at + i])
}

/// A range of the disk, from and to.
fn range(target: &Target, sector: u64, len: u64) -> Option<(u64, u64)> {
    let start = u128::from(sector) * 512;
    let end = start + u128::from(len);
    let inside = len.is_multiple_of(512) && end <= u128::from(target.kind.size_bytes);
    inside.then_some((start as u64, end as u64))
}

/// The expected result of `asked`.
pub(crate) fn expect(target: &Target, acked: u64, asked: &Asked) -> (Expected, Change) {
    if asked.damaged || asked.readable.len() < 16 {
        return status(IOERR);
    }
    let (header, data) = asked.readable.split_at(16);
    let kind = u32::from_le_bytes(word(header, 0));
    let sector = u64::from_le_bytes(word(header, 8));
    let room = asked.writable - 1;
    match kind {
        IN => match range(target, sector, room as u64) {
            Some((start, _)) => {
                let mut answer = status(OK);
                answer.0.data = target.read(start, room);
                answer
            }
            None => status(IOERR),
        },
        OUT => match range(target, sector, data.len() as u64) {
            Some((start, _)) if !target.kind.read_only => {
                (status(OK).0, Change::Write(start, data.to_vec()))
            }
            _ => status(IOERR),
        },
        FLUSH => status(OK),
        GET_ID if room == 0 => status(IOERR),
        GET_ID => {
            let mut answer = status(OK);
            answer.0.data = SERIAL[..room.min(SERIAL.len())].to_vec();
            answer
        }
        DISCARD if acked & ACKED_DISCARD != 0 => segments(target, data, false),
        WRITE_ZEROES if acked & ACKED_ZEROES != 0 => segments(target, data, true),
        _ => status(UNSUPP),
    }
}

fn segments(target: &Target, data: &[u8], zeroes: bool) -> (Expected, Change) {
    if data.is_empty() || !data.len().is_multiple_of(16) || data.len() / 16 > MOST_SEGMENTS {
        return status(IOERR);
    }
    let known = u32::from(zeroes);
    let list = || data.chunks(16);
    if list().any(|segment| u32::from_le_bytes(word(segment, 12)) & !known != 0) {
        return status(UNSUPP);
    }
    if target.kind.read_only {
        return status(IOERR);
    }
    let mut ranges = Vec::new();
    for segment in list() {
        let sector = u64::from_le_bytes(word(segment, 0));
        let sectors = u32::from_le_bytes(word(segment, 8));
        match range(target, sector, u64::from(sectors) * 512) {
            Some(range) if sectors <= MOST_SECTORS => ranges.push(range),
            _ => return status(IOERR),
        }
    }
    let unit = target.kind.sector_size.bytes();
    if !zeroes {
        // Only whole sectors are unmapped; the others keep their content.
        for (start, end) in &mut ranges {
            *start = start.next_multiple_of(unit);
            *end = *end / unit * unit;
        }
        ranges.retain(|(start, end)| start < end);
    }
    (status(OK).0, Change::Zero(ranges))
}
