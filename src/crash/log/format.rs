//! The sectors of a log, to and from bytes.
//!
//! All numbers are little-endian. A header is `sector`, `nr_sectors`, `flags` and `data_len`, of 8
//! bytes each (`struct log_write_entry` of Linux); a mark's text follows it in the same sector.
//! ramblk's own part is the last [`OWN_BYTES`] of the sector:
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 8 | `ramblk\0\1` |
//! | 8 | 1 | 0 write, 1 write zeroes, 2 write zeroes and unmap, 3 discard, 4 flush, 5 mark |
//! | 16 | 8 | the moment of submission |
//! | 24 | 8 | the moment of completion; all ones: never |
//! | 32 | 8 | nanoseconds since 1970 |

use super::request::{Request, What};

/// Bytes of a sector of ramblk's own logs.
pub const OWN_SECTOR_BYTES: u64 = SECTOR as u64;
/// The longest text of a mark.
pub const MOST_MARK_BYTES: usize = SECTOR - HEADER_BYTES - OWN_BYTES;

const SECTOR: usize = 512;
pub(super) const HEADER_BYTES: usize = 32;
pub(super) const OWN_BYTES: usize = 48;
const MAGIC: u64 = 0x6a_7366_7773_6872;
const VERSION: u64 = 1;
const OWN_MAGIC: [u8; 8] = *b"ramblk\0\x01";

pub(super) const FLUSH: u64 = 1 << 0;
pub(super) const FUA: u64 = 1 << 1;
pub(super) const DISCARD: u64 = 1 << 2;
pub(super) const MARK: u64 = 1 << 3;
pub(super) const METADATA: u64 = 1 << 4;
pub(super) const KNOWN_FLAGS: u64 = FLUSH | FUA | DISCARD | MARK | METADATA;

/// A sector of ramblk's own logs.
pub type OwnSector = [u8; SECTOR];

/// What one of ramblk's logs has, as its superblock says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Entries.
    pub entries: u64,
    /// The length of the log.
    pub length_bytes: u64,
    /// Entries of writes.
    pub writes: u64,
    /// Entries of flushes.
    pub flushes: u64,
    /// Entries of marks.
    pub marks: u64,
}

impl Totals {
    /// Those of a log without entries.
    pub const NONE: Self = Self {
        entries: 0,
        length_bytes: OWN_SECTOR_BYTES,
        writes: 0,
        flushes: 0,
        marks: 0,
    };

    /// Count one more request, whose header and data are at the end of the log.
    pub fn add(&mut self, request: &Request) {
        self.entries += 1;
        self.length_bytes += OWN_SECTOR_BYTES * (1 + data_sectors(request));
        match request.what {
            What::Write => self.writes += 1,
            What::Flush => self.flushes += 1,
            What::Mark(_) => self.marks += 1,
            What::WriteZeroes { .. } | What::Discard => {}
        }
    }

    /// The superblock.
    pub fn superblock(&self) -> OwnSector {
        let mut sector = [0; SECTOR];
        put(&mut sector, 0, MAGIC);
        put(&mut sector, 8, VERSION);
        put(&mut sector, 16, self.entries);
        put(&mut sector, 24, OWN_SECTOR_BYTES);
        let own = SECTOR - OWN_BYTES;
        sector[own..own + 8].copy_from_slice(&OWN_MAGIC);
        put(&mut sector, own + 8, self.length_bytes);
        put(&mut sector, own + 16, self.writes);
        put(&mut sector, own + 24, self.flushes);
        put(&mut sector, own + 32, self.marks);
        sector
    }

    /// What a superblock says, if it is one of ramblk's own logs.
    pub fn parse(sector: &OwnSector) -> Option<Self> {
        let own = SECTOR - OWN_BYTES;
        let is_own = get(sector, 0) == MAGIC && sector[own..own + 8] == OWN_MAGIC;
        is_own.then(|| Self {
            entries: get(sector, 16),
            length_bytes: get(sector, own + 8),
            writes: get(sector, own + 16),
            flushes: get(sector, own + 24),
            marks: get(sector, own + 32),
        })
    }
}

/// The header of a request in one of ramblk's logs. A mark's text is cut off after
/// [`MOST_MARK_BYTES`].
pub fn header(request: &Request) -> OwnSector {
    let mut sector = [0; SECTOR];
    let mut flags = if request.at_once { FUA } else { 0 };
    let kind = match &request.what {
        What::Write => 0,
        What::WriteZeroes { unmap } => 1 + u8::from(*unmap),
        What::Discard => {
            flags |= DISCARD;
            3
        }
        What::Flush => {
            flags |= FLUSH;
            4
        }
        What::Mark(text) => {
            flags |= MARK;
            let text = &text.as_bytes()[..text.len().min(MOST_MARK_BYTES)];
            sector[HEADER_BYTES..HEADER_BYTES + text.len()].copy_from_slice(text);
            put(&mut sector, 24, text.len() as u64);
            5
        }
    };
    put(&mut sector, 0, request.start_bytes / OWN_SECTOR_BYTES);
    put(&mut sector, 8, request.length_bytes / OWN_SECTOR_BYTES);
    put(&mut sector, 16, flags);
    let own = SECTOR - OWN_BYTES;
    sector[own..own + 8].copy_from_slice(&OWN_MAGIC);
    sector[own + 8] = kind;
    put(&mut sector, own + 16, request.submitted);
    put(&mut sector, own + 24, request.completed);
    put(&mut sector, own + 32, request.time_ns);
    sector
}

/// How many sectors of data follow the header of a request in one of ramblk's logs. Those of a
/// write-zeroes are zeros.
pub fn data_sectors(request: &Request) -> u64 {
    match request.what {
        What::Write | What::WriteZeroes { .. } => request.length_bytes / OWN_SECTOR_BYTES,
        What::Discard | What::Flush | What::Mark(_) => 0,
    }
}

/// A superblock that was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Superblock {
    pub(super) magic_fits: bool,
    pub(super) version: u64,
    pub(super) entries: u64,
    pub(super) sector_bytes: u32,
}

impl Superblock {
    pub(super) const BYTES: usize = 28;
    pub(super) const VERSION: u64 = VERSION;

    pub(super) fn parse(bytes: &[u8; Self::BYTES]) -> Self {
        Self {
            magic_fits: get(bytes, 0) == MAGIC,
            version: get(bytes, 8),
            entries: get(bytes, 16),
            sector_bytes: u32::from_le_bytes([bytes[24], bytes[25], bytes[26], bytes[27]]),
        }
    }
}

/// A header that was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) sector: u64,
    pub(super) sectors: u64,
    pub(super) flags: u64,
    pub(super) data_bytes: u64,
    pub(super) own: Option<Own>,
}

/// ramblk's own part of a header.
#[derive(Clone, Copy, Debug)]
pub(super) struct Own {
    pub(super) kind: u8,
    pub(super) submitted: u64,
    pub(super) completed: u64,
    pub(super) time_ns: u64,
}

impl Header {
    /// Parse the sector of a header, which has at least 512 bytes.
    pub(super) fn parse(sector: &[u8]) -> Self {
        let own = sector.len().saturating_sub(OWN_BYTES);
        let is_own = sector.len() == SECTOR && sector[own..own + 8] == OWN_MAGIC;
        Self {
            sector: get(sector, 0),
            sectors: get(sector, 8),
            flags: get(sector, 16),
            data_bytes: get(sector, 24),
            own: is_own.then(|| Own {
                kind: sector[own + 8],
                submitted: get(sector, own + 16),
                completed: get(sector, own + 24),
                time_ns: get(sector, own + 32),
            }),
        }
    }
}

fn put(sector: &mut [u8], at: usize, value: u64) {
    sector[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

fn get(bytes: &[u8], at: usize) -> u64 {
    let mut value = [0; 8];
    value.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(value)
}
