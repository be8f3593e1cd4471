//! One ring's requests, always at full depth, and the expected result of each.
//!
//! A ring has its own sectors, and its reads, writes and discards on them overlap. They must
//! complete in order. A read sees what was written before it. A read that was repeated after a
//! crash may also see later writes that were outstanding at the same time, one of them perhaps half
//! done: the process was killed during it, and it is repeated after the read. At the end the disk
//! must hold the result of the writes in order.

use std::collections::VecDeque;

use crate::content::{self, NONE, SECTOR};
use crate::driver::data::Random;
use crate::driver::disk::{encode, request_header, segment};
use crate::driver::kind::{DISCARD, IN, OUT};
use crate::driver::ring::{Piece, Ring, readable_at, writable_at};
use crate::driver::status::{OK, UNTOUCHED};

/// Number of outstanding requests.
pub(crate) const DEPTH: usize = 128;
/// Descriptors of each: header, data in up to two pieces, status.
const PER_REQUEST: u16 = 4;
pub(crate) const RING: u16 = 512;
/// Sectors of a ring: so few that most requests overlap outstanding ones.
const SECTORS: u64 = 256;

/// Where things are in a ring's area.
const STATUSES: u64 = 0x8000;
const DATA: u64 = 0x1_0000;
const DATA_EACH: u64 = 0x4000;
/// Data of the first request, which may cover all sectors.
const LARGE: u64 = 0x22_0000;
const _: () = assert!(DATA + DATA_EACH * DEPTH as u64 <= LARGE);

#[derive(Debug)]
struct Request {
    kind: u32,
    first: u64,
    sectors: u64,
    /// Its position in the order of all requests.
    number: u32,
    /// What it reads if it is served in its place.
    expected: Vec<u32>,
}

/// A ring under load.
pub(crate) struct Load {
    pub(crate) ring: Ring,
    random: Random,
    out: [Option<Request>; DEPTH],
    order: VecDeque<usize>,
    /// The number of the next request.
    next: u32,
    /// What each sector holds when all outstanding requests are done.
    holds: Vec<u32>,
    /// The last request that discarded the sector.
    discarded: Vec<u32>,
    pub(crate) done: u64,
    /// Reads that saw a later write.
    pub(crate) late_reads: u64,
}

impl Load {
    pub(crate) fn new(ring: Ring, seed: u64) -> Self {
        let seed = seed.wrapping_add(u64::from(ring.index).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        Self {
            ring,
            random: Random::new(seed),
            out: [const { None }; DEPTH],
            order: VecDeque::new(),
            next: 1,
            holds: vec![NONE; SECTORS as usize],
            discarded: vec![0; SECTORS as usize],
            done: 0,
            late_reads: 0,
        }
    }

    fn base(&self) -> u64 {
        u64::from(self.ring.index) * 1024
    }

    fn data_at(&self, slot: usize) -> u64 {
        self.ring.area(match slot {
            0 => LARGE,
            _ => DATA + DATA_EACH * slot as u64,
        })
    }

    fn status_at(&self, slot: usize) -> u64 {
        self.ring.area(STATUSES + slot as u64)
    }

    /// Submit requests up to the full depth. Returns whether any are new.
    pub(crate) fn fill(&mut self) -> bool {
        let old = self.ring.next_avail;
        for slot in 0..DEPTH {
            if self.out[slot].is_none() {
                self.begin(slot);
            }
        }
        let is_new = self.ring.next_avail != old;
        if is_new {
            self.ring.publish();
            if self.ring.kick_wanted(old) {
                self.ring.kick();
            }
        }
        is_new
    }

    /// Put a request into the ring, unpublished.
    fn begin(&mut self, slot: usize) {
        let random = &mut self.random;
        let most = if slot == 0 { SECTORS } else { 24 };
        let first = random.below(SECTORS);
        let sectors = (1 + random.below(most)).min(SECTORS - first);
        let kind = [IN, IN, OUT, OUT, OUT, DISCARD][random.below(6) as usize];
        let number = self.next;
        self.next += 1;
        let range = first as usize..(first + sectors) as usize;
        let (data, ring) = (self.data_at(slot), self.ring.index);
        let mut expected = Vec::new();
        match kind {
            OUT => {
                for sector in first..first + sectors {
                    let at = data + (sector - first) * SECTOR as u64;
                    let bytes = content::sector(number, ring, sector);
                    self.ring.mem.write(at, &bytes);
                }
                self.holds[range].fill(number);
            }
            DISCARD => {
                let segment = segment(self.base() + first, sectors as u32, 0);
                self.ring.mem.write(data, &encode(&[segment]));
                self.discarded[range.clone()].fill(number);
                self.holds[range].fill(NONE);
            }
            _ => {
                let bytes = sectors as usize * SECTOR;
                self.ring.mem.fill(data, bytes, 0xdd);
                expected = self.holds[range].to_vec();
            }
        }
        let request = Request {
            kind,
            first,
            sectors,
            number,
            expected,
        };
        let pieces = self.pieces(slot, &request);
        let head = self.ring.direct(slot as u16 * PER_REQUEST, &pieces);
        self.ring.put(head);
        self.out[slot] = Some(request);
        self.order.push_back(slot);
    }

    fn pieces(&mut self, slot: usize, request: &Request) -> Vec<Piece> {
        let sector = match request.kind {
            DISCARD => 0,
            _ => self.base() + request.first,
        };
        let header = self.ring.area(64 * slot as u64);
        let (data, status) = (self.data_at(slot), self.status_at(slot));
        self.ring
            .mem
            .write(header, &request_header(request.kind, sector));
        self.ring.mem.fill(status, 1, UNTOUCHED);
        let bytes = match request.kind {
            DISCARD => 16,
            _ => request.sectors as u32 * SECTOR as u32,
        };
        let piece = |at, len| match request.kind {
            IN => writable_at(at, len),
            _ => readable_at(at, len),
        };
        let mut pieces = vec![readable_at(header, 16)];
        // One in four is not plain.
        if self.random.below(4) == 0 {
            let cut = 1 + self.random.below(u64::from(bytes) - 1) as u32;
            pieces.push(piece(data, cut));
            pieces.push(piece(data + u64::from(cut), bytes - cut));
        } else {
            pieces.push(piece(data, bytes));
        }
        pieces.push(writable_at(status, 1));
        pieces
    }

    /// Take completed requests. Returns whether there were any.
    pub(crate) fn take(&mut self) -> bool {
        let mut any = false;
        while let Some(used) = self.ring.pop() {
            any = true;
            let slot = used.id as usize / usize::from(PER_REQUEST);
            let (ring, next) = (self.ring.index, self.order.pop_front());
            assert_eq!(
                next,
                Some(slot),
                "ring {ring}: the one that comes back is not the next one"
            );
            let request = self.out[slot].take().unwrap();
            let status = self.ring.mem.read(self.status_at(slot), 1)[0];
            assert_eq!(status, OK, "ring {ring}: {request:?}");
            if request.kind == IN {
                self.check(slot, &request);
            }
            self.done += 1;
        }
        any
    }

    fn check(&mut self, slot: usize, request: &Request) {
        let bytes = request.sectors as usize * SECTOR;
        let bytes = self.ring.mem.read(self.data_at(slot), bytes);
        let sectors = (request.first..).zip(bytes.chunks_exact(SECTOR));
        for ((sector, bytes), &expected) in sectors.zip(&request.expected) {
            let ring = self.ring.index;
            let found = content::version(bytes, ring, sector);
            if found == Some(expected) {
                continue;
            }
            self.late_reads += 1;
            let Some(found) = found else {
                let is_torn = self.is_torn(bytes, sector, expected);
                assert!(
                    is_torn,
                    "ring {ring}, sector {sector}: a mixture, in {request:?}"
                );
                continue;
            };
            let by = match found {
                NONE => self.discarded[sector as usize],
                version => version,
            };
            assert!(
                by > request.number && by < self.next,
                "ring {ring}, sector {sector}: {found} instead of {expected}, in {request:?}"
            );
        }
    }

    /// Whether each byte is the expected one, or one that a later outstanding request writes there.
    fn is_torn(&self, bytes: &[u8], sector: u64, expected: u32) -> bool {
        let behind = self
            .order
            .iter()
            .filter_map(|&slot| self.out[slot].as_ref());
        let writes = behind.filter(|request| {
            let range = request.first..request.first + request.sectors;
            request.kind != IN && range.contains(&sector)
        });
        let versions = writes.map(|request| match request.kind {
            OUT => request.number,
            _ => NONE,
        });
        let ring = self.ring.index;
        let contents: Vec<_> = versions
            .chain([expected])
            .map(|version| content::sector(version, ring, sector))
            .collect();
        let is_one_of = |(at, byte): (usize, &u8)| contents.iter().any(|it| it[at] == *byte);
        contents.len() > 1 && bytes.iter().enumerate().all(is_one_of)
    }

    /// Number of outstanding requests.
    pub(crate) fn out(&self) -> usize {
        self.order.len()
    }

    /// With nothing outstanding: the disk holds the result of all requests in order, and nothing
    /// further completes.
    pub(crate) fn holds(&mut self) {
        assert_eq!(self.out(), 0);
        let ring = self.ring.index;
        let bytes = self
            .ring
            .read(self.base(), SECTORS as usize * SECTOR)
            .unwrap();
        for (sector, bytes) in (0..).zip(bytes.chunks_exact(SECTOR)) {
            let found = content::version(bytes, ring, sector);
            let expected = self.holds[sector as usize];
            assert_eq!(found, Some(expected), "ring {ring}, sector {sector}");
        }
        assert_eq!(self.ring.used_idx(), self.ring.seen, "ring {ring}");
    }
}
