//! Requests of a guest, against a model of a disk.
//!
//! An input selects a disk and features. Then it makes requests, nearly valid ones or arbitrary
//! bytes, and cuts their readable and writable bytes into pieces. For each request the status, the
//! length for the used ring and every byte that the driver sees must match the model, and nothing
//! beside the writable pieces may change. At the end the disk must hold the expected content.

mod disk;
mod model;

use std::cell::RefCell;

use ramblk::store::{Sink, Source};

use super::bytes::Bytes;
use super::reached::Reached;
use disk::{KINDS, Target};
use model::{Change, Expected, IOERR, OK};

pub(crate) const ACKED_DISCARD: u64 = 1 << 13;
pub(crate) const ACKED_ZEROES: u64 = 1 << 14;
const MOST_REQUESTS: u32 = 16;
/// What writable bytes, and those between the pieces, are before the request.
const NOTHING: u8 = 0xee;
/// Bytes between two writable pieces.
const BETWEEN: usize = 3;

/// The data of writes, from some offset on. Copied, because the fuzzer counts each step of a loop.
static NOISE: [u8; 20 << 10] = {
    let mut bytes = [0; 20 << 10];
    let mut at = 0;
    while at < bytes.len() {
        bytes[at] = (at * 31 + at / 512 * 7 + 1) as u8 | 1;
        at += 1;
    }
    bytes
};

thread_local! {
    /// Created once; each input finds its disk as good as new.
    static TARGETS: RefCell<[Target; 6]> = RefCell::new(KINDS.map(Target::new));
}

/// A request as the driver puts it together.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) readable: Vec<u8>,
    /// How many bytes may be written, with the status.
    pub(crate) writable: usize,
    pub(crate) damaged: bool,
    readable_cuts: Vec<usize>,
    writable_cuts: Vec<usize>,
}

/// Run one input.
pub(crate) fn check(input: &[u8]) -> Reached {
    TARGETS.with_borrow_mut(|targets| {
        let mut bytes = Bytes::new(input);
        let target = &mut targets[usize::from(bytes.below(KINDS.len() as u8))];
        let acked = u64::from(bytes.u8()) << 13 & (ACKED_DISCARD | ACKED_ZEROES);
        target.reset();
        let mut reached = Reached::default();
        let mut budget = Budget::default();
        for _ in 0..MOST_REQUESTS {
            if bytes.is_empty() {
                break;
            }
            let asked = request(&mut bytes, target, &mut budget);
            reached.add(serve(target, acked, &asked));
        }
        target.compare();
        reached
    })
}

fn request(bytes: &mut Bytes<'_>, target: &Target, budget: &mut Budget) -> Asked {
    let how = bytes.u8();
    let more = bytes.u8();
    let kind = match how & 15 {
        0..=2 => model::IN,
        3..=5 => model::OUT,
        6 => model::FLUSH,
        7 | 8 => model::GET_ID,
        9..=11 => model::DISCARD,
        12..=14 => model::WRITE_ZEROES,
        _ => bytes.u32(),
    };
    let sector = sector(bytes, target);
    let mut readable = Vec::from(kind.to_le_bytes());
    readable.extend(0xffff_ffff_u32.to_le_bytes());
    readable.extend(sector.to_le_bytes());
    match kind {
        model::OUT => payload(bytes, &mut readable),
        model::DISCARD | model::WRITE_ZEROES => segments(bytes, target, budget, &mut readable),
        _ => {}
    }
    let mut writable = match kind {
        model::IN => usize::from(bytes.u8()) % 40 * 512,
        model::GET_ID => usize::from(bytes.u8()),
        _ => 0,
    } + 1;
    // Most requests are valid up to here.
    if more & 1 != 0 {
        let extra = usize::from(bytes.u8());
        readable.extend(bytes.take(extra));
    }
    if more & 2 != 0 {
        readable.truncate(usize::from(bytes.u16()));
    }
    if more & 4 != 0 {
        writable += usize::from(bytes.u16());
    }
    if more & 8 != 0 {
        writable = writable.saturating_sub(usize::from(bytes.u8()));
    }
    let damaged = more & 0x70 == 0x70;
    let readable_cuts = cuts(bytes, how >> 4 & 3);
    let writable_cuts = cuts(bytes, how >> 6);
    Asked {
        readable,
        writable,
        damaged,
        readable_cuts,
        writable_cuts,
    }
}

/// Slow cases, which may occur only once.
#[derive(Debug)]
struct Budget {
    /// A request with the maximum number of segments.
    many: bool,
    /// Sectors of long segments.
    sectors: u32,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            many: true,
            sectors: 9 << 20,
        }
    }
}

impl Budget {
    /// The requested number of sectors if that many are left, otherwise a few.
    fn grant(&mut self, sectors: u32) -> u32 {
        // A request that is refused takes no time.
        if sectors > 8_388_600 {
            return sectors;
        }
        match self.sectors.checked_sub(sectors) {
            Some(left) => {
                self.sectors = left;
                sectors
            }
            None => sectors & 0xff,
        }
    }
}

/// A sector near the start, around the end, or anywhere.
fn sector(bytes: &mut Bytes<'_>, target: &Target) -> u64 {
    let end = target.kind.size_bytes / 512;
    match bytes.below(8) {
        0 => bytes.u64(),
        1 => (end + 8).wrapping_sub(u64::from(bytes.u8())),
        2 => u64::from(bytes.u32()),
        3 => 1 << (bytes.u8() & 63),
        4 => u64::from(bytes.u16()),
        _ => u64::from(bytes.u8()) * 4,
    }
}

fn payload(bytes: &mut Bytes<'_>, into: &mut Vec<u8>) {
    let how = usize::from(bytes.u8());
    let len = usize::from(bytes.u8()) % 36 * 512;
    if how & 0x80 != 0 {
        // Zeros, which a disk may leave unmapped.
        into.resize(into.len() + len, 0);
    } else {
        into.extend_from_slice(&NOISE[how * 8..][..len]);
    }
}

fn segments(bytes: &mut Bytes<'_>, target: &Target, budget: &mut Budget, into: &mut Vec<u8>) {
    let count = match bytes.u8() {
        count @ 250.. if std::mem::take(&mut budget.many) => usize::from(count) + 2,
        count => usize::from(count % 8),
    };
    let mut segment = None;
    for number in 0..count {
        // Segments after the eighth repeat it, each further on.
        let (sector, sectors, flags) = match segment {
            Some((sector, sectors, flags)) if number > 8 => (
                u64::wrapping_add(sector, u64::from(sectors)),
                budget.grant(sectors),
                flags,
            ),
            _ => {
                let sector = sector(bytes, target);
                let sectors = match bytes.below(6) {
                    0 => budget.grant(bytes.u32()),
                    1 => budget.grant(8_388_608 - u32::from(bytes.u8())),
                    2 => budget.grant(u32::from(bytes.u16())),
                    _ => u32::from(bytes.u8()),
                };
                let flags = match bytes.u8() {
                    flags @ 0..8 => u32::from(flags & 1),
                    8 => bytes.u32(),
                    flags => u32::from(flags & 3),
                };
                (sector, sectors, flags)
            }
        };
        segment = Some((sector, sectors, flags));
        into.extend(sector.to_le_bytes());
        into.extend(sectors.to_le_bytes());
        into.extend(flags.to_le_bytes());
    }
}

fn cuts(bytes: &mut Bytes<'_>, how: u8) -> Vec<usize> {
    match how {
        0 => Vec::new(),
        1 => vec![16],
        2 => vec![usize::from(bytes.u8()); 2],
        _ => {
            let count = bytes.below(12);
            let mut at = 0;
            let mut next = || {
                at += usize::from(bytes.u16() & 0x0fff);
                at
            };
            (0..count).map(|_| next()).collect()
        }
    }
}

/// The stretches between cuts, which may be empty.
fn pieces(len: usize, cuts: &[usize]) -> impl Iterator<Item = usize> {
    let mut from = 0;
    cuts.iter().copied().chain([len]).map(move |cut| {
        let to = cut.clamp(from, len);
        to - std::mem::replace(&mut from, to)
    })
}

/// Have the device serve a request, and check every result.
fn serve(target: &mut Target, acked: u64, asked: &Asked) -> &'static str {
    let (expected, change) = if asked.writable == 0 {
        // No byte for a status: nothing is done.
        let data = Vec::new();
        (
            Expected {
                status: NOTHING,
                data,
            },
            Change::None,
        )
    } else {
        model::expect(target, acked, asked)
    };
    let lens: Vec<usize> = pieces(asked.writable, &asked.writable_cuts).collect();
    let mut memory = vec![NOTHING; asked.writable + (lens.len() + 1) * BETWEEN];
    let mut sinks = Vec::new();
    let mut rest = memory.as_mut_slice();
    for &len in &lens {
        let (head, tail) = rest[BETWEEN..].split_at_mut(len);
        sinks.push(Sink::from(head));
        rest = tail;
    }
    let mut readable = asked.readable.as_slice();
    let mut sources = Vec::new();
    for len in pieces(asked.readable.len(), &asked.readable_cuts) {
        let (head, tail) = readable.split_at(len);
        sources.push(Source::from(head));
        readable = tail;
    }
    let used = target
        .device
        .handle(acked, asked.damaged, &mut sources, &mut sinks);

    let (found, data) = gather(&memory, &lens);
    if target.kind.is_tight() && found == IOERR && expected.status == OK {
        // Out of memory: the affected range holds old or new bytes.
        match change {
            Change::None => panic!("{asked:?} changes nothing and fails"),
            Change::Write(start, bytes) => target.adopt(start, start + bytes.len() as u64),
            Change::Zero(ranges) => ranges
                .into_iter()
                .for_each(|(start, end)| target.adopt(start, end)),
        }
        return "out of memory";
    }
    assert_eq!(found, expected.status, "status of {asked:?}");
    let written = expected.data.len();
    assert_eq!(data[..written], expected.data, "data of {asked:?}");
    // As slices: the fuzzer counts each comparison of single bytes.
    let untouched = data[written..] == vec![NOTHING; data.len() - written];
    assert!(untouched, "bytes after the data of {asked:?}");
    // The length counts from the first byte: it includes the status only if all bytes before it
    // were written too.
    let whole = written == data.len() && asked.writable > 0;
    let len = written + usize::from(whole);
    assert_eq!(used as usize, len, "length for {asked:?}");
    assert!(used as usize <= asked.writable);
    target.change(change);
    match found {
        model::OK => "OK",
        model::IOERR => "IOERR",
        model::UNSUPP => "UNSUPP",
        _ => "no status",
    }
}

/// The status and the bytes before it. Nothing beside the pieces may have changed.
fn gather(memory: &[u8], lens: &[usize]) -> (u8, Vec<u8>) {
    let mut bytes = Vec::new();
    let mut rest = memory;
    for &len in lens {
        let (between, tail) = rest.split_at(BETWEEN);
        assert_eq!(between, [NOTHING; BETWEEN], "before a piece");
        let (piece, tail) = tail.split_at(len);
        bytes.extend_from_slice(piece);
        rest = tail;
    }
    assert_eq!(rest, [NOTHING; BETWEEN], "after the last piece");
    (bytes.pop().unwrap_or(NOTHING), bytes)
}

impl Target {
    /// Apply a completed request to the model.
    fn change(&mut self, change: Change) {
        match change {
            Change::None => {}
            Change::Write(start, bytes) => self.write(start, &bytes),
            Change::Zero(ranges) => ranges
                .into_iter()
                .for_each(|(start, end)| self.zero(start, end)),
        }
    }
}
