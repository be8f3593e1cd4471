//! A device without a ring around it: requests as bytes, cut into any pieces.

use std::num::NonZeroU16;

use ramblk::device::{BlockDevice, Serial};
use ramblk::store::{Disk, DiskSpec, SectorSize, Sink, Source, Store};

pub(crate) use crate::driver::kind::{DISCARD, FLUSH, GET_ID, IN, OUT, WRITE_ZEROES};
pub(crate) use crate::driver::status::{IOERR, OK, UNSUPP};

/// DISCARD and WRITE_ZEROES, as acknowledged feature bits.
pub(crate) const ACKED: u64 = 1 << 13 | 1 << 14;
pub(crate) const SECTORS: u64 = 2048;
/// The value of a status byte before the device writes it.
pub(crate) const NOTHING: u8 = 0xee;

pub(crate) struct Rig {
    pub(crate) store: Store,
    pub(crate) device: BlockDevice,
}

/// The answer to a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u8,
    pub(crate) used: u32,
    pub(crate) data: Vec<u8>,
}

impl Rig {
    pub(crate) fn new(read_only: bool) -> Self {
        Self::with(SectorSize::S512, read_only)
    }

    pub(crate) fn with(sector_size: SectorSize, read_only: bool) -> Self {
        Self::made(sector_size, SECTORS * 512, read_only)
    }

    /// A writable disk of `size_bytes`.
    pub(crate) fn sized(sector_size: SectorSize, size_bytes: u64) -> Self {
        Self::made(sector_size, size_bytes, false)
    }

    fn made(sector_size: SectorSize, size_bytes: u64, read_only: bool) -> Self {
        let store = Store::new(512 << 20).unwrap();
        let spec = DiskSpec::new(sector_size, size_bytes);
        let disk = store.create("disk", &spec).unwrap();
        let disk = if read_only {
            disk.into_read_only()
        } else {
            disk
        };
        let serial = Serial::new("serial-of-20-bytes-x").unwrap();
        Self {
            store,
            device: BlockDevice::new(disk, serial, NonZeroU16::new(4).unwrap()),
        }
    }

    pub(crate) fn disk(&self) -> Disk {
        self.store.open("disk").unwrap()
    }

    /// Serve a request whose readable bytes are cut after each of `cuts`, with `data_len` bytes to
    /// fill before the status, which are cut at the same places.
    pub(crate) fn ask_cut(
        &self,
        acked: u64,
        readable: &[u8],
        data_len: usize,
        cuts: &[usize],
    ) -> Answer {
        let mut writable = vec![NOTHING; data_len + 1];
        let (mut sources, mut sinks) = buffers(readable, &mut writable, cuts);
        let used = self.device.handle(acked, false, &mut sources, &mut sinks);
        let status = writable.pop().unwrap();
        Answer {
            status,
            used,
            data: writable,
        }
    }

    pub(crate) fn ask(&self, readable: &[u8], data_len: usize) -> Answer {
        self.ask_cut(ACKED, readable, data_len, &[16])
    }

    pub(crate) fn status(&self, readable: &[u8]) -> u8 {
        self.ask(readable, 0).status
    }
}

/// A request's buffers, both cut at the same places.
pub(crate) fn buffers<'a>(
    readable: &'a [u8],
    writable: &'a mut [u8],
    cuts: &[usize],
) -> (Vec<Source<'a>>, Vec<Sink<'a>>) {
    let sources = pieces(readable.len(), cuts);
    let sources = sources.map(|(from, to)| Source::from(&readable[from..to]));
    let mut sinks = Vec::new();
    let mut rest = writable;
    for (from, to) in pieces(rest.len(), cuts) {
        let (head, tail) = rest.split_at_mut(to - from);
        sinks.push(Sink::from(head));
        rest = tail;
    }
    (sources.collect(), sinks)
}

/// The stretches between cuts, including empty ones.
pub(crate) fn pieces(len: usize, cuts: &[usize]) -> impl Iterator<Item = (usize, usize)> {
    let mut ends: Vec<usize> = cuts.iter().map(|&cut| cut.min(len)).collect();
    ends.push(len);
    let mut from = 0;
    ends.into_iter()
        .map(move |to| (std::mem::replace(&mut from, to), to))
}

pub(crate) fn header(kind: u32, sector: u64) -> Vec<u8> {
    [&kind.to_le_bytes()[..], &[0xff; 4], &sector.to_le_bytes()].concat()
}

pub(crate) fn write(sector: u64, data: &[u8]) -> Vec<u8> {
    [&header(OUT, sector), data].concat()
}

pub(crate) fn ranges(kind: u32, list: &[(u64, u32, u32)]) -> Vec<u8> {
    let mut bytes = header(kind, 0);
    for (sector, sectors, flags) in list {
        bytes.extend(sector.to_le_bytes());
        bytes.extend(sectors.to_le_bytes());
        bytes.extend(flags.to_le_bytes());
    }
    bytes
}

pub(crate) fn noise(len: usize) -> Vec<u8> {
    (0..len)
        .map(|i| (i * 31 + i / 512 * 7 + 1).to_le_bytes()[0] | 1)
        .collect()
}
