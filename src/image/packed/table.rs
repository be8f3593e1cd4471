//! The seek table at the end of a zstd file, which says where each frame is (zstd's
//! `seekable_format`, version 0.1.0). It is read in pieces of a fixed size.

use std::io;

use super::super::medium::ReadAt;

/// The number of the skippable frame that is the seek table, and what it ends with.
const FRAME: u32 = 0x184d_2a5e;
const END: u32 = 0x8f92_eab1;
const HEADER_BYTES: u64 = 8;
const FOOTER_BYTES: u64 = 9;
/// The most frames, as the format has it.
const MOST_FRAMES: u32 = 0x800_0000;
/// A checksum follows each row; other bits are reserved.
const CHECKSUMS: u8 = 0x80;
const RESERVED: u8 = 0x7c;
/// Rows that are read at once.
const PIECE_ROWS: u64 = 4096;

/// A frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) packed_bytes: u32,
    pub(super) length_bytes: u32,
}

impl Row {
    /// A frame whose sizes are below 4 GiB.
    pub(super) fn new(packed_bytes: u64, length_bytes: u64) -> Self {
        let short = |bytes: u64| u32::try_from(bytes).unwrap_or(u32::MAX);
        Self {
            packed_bytes: short(packed_bytes),
            length_bytes: short(length_bytes),
        }
    }
}

/// The table of frames, as a frame.
pub(super) fn frame(rows: &[Row]) -> Vec<u8> {
    let count = u32::try_from(rows.len()).unwrap_or(u32::MAX);
    let length = u64::from(count) * 8 + FOOTER_BYTES;
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    let mut frame = [FRAME.to_le_bytes(), length.to_le_bytes()].concat();
    for row in rows {
        frame.extend_from_slice(&row.packed_bytes.to_le_bytes());
        frame.extend_from_slice(&row.length_bytes.to_le_bytes());
    }
    frame.extend_from_slice(&count.to_le_bytes());
    frame.push(0);
    frame.extend_from_slice(&END.to_le_bytes());
    frame
}

/// Where the rows of a seek table are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Table {
    pub(super) frames: u32,
    rows_at: u64,
    row_bytes: u64,
    /// Where the frame of the table begins: all frames end here.
    pub(super) start: u64,
}

impl Table {
    /// Find the seek table at the end of a file. `None` if there is none that can be.
    pub(super) fn find(medium: &dyn ReadAt) -> io::Result<Option<Self>> {
        let size_bytes = medium.size_bytes();
        let Some(footer_at) = size_bytes.checked_sub(FOOTER_BYTES) else {
            return Ok(None);
        };
        let mut footer = [0; 9];
        medium.read_at(footer_at, &mut footer)?;
        let [a, b, c, d, flags, end @ ..] = footer;
        let frames = u32::from_le_bytes([a, b, c, d]);
        if u32::from_le_bytes(end) != END || flags & RESERVED != 0 || frames > MOST_FRAMES {
            return Ok(None);
        }
        let row_bytes = if flags & CHECKSUMS == 0 { 8 } else { 12 };
        let content = u64::from(frames) * row_bytes + FOOTER_BYTES;
        let Some(start) = size_bytes.checked_sub(content + HEADER_BYTES) else {
            return Ok(None);
        };
        let mut header = [0; 8];
        medium.read_at(start, &mut header)?;
        let [a, b, c, d, length @ ..] = header;
        let is_whole = u32::from_le_bytes([a, b, c, d]) == FRAME
            && u64::from(u32::from_le_bytes(length)) == content;
        Ok(is_whole.then_some(Self {
            frames,
            rows_at: start + HEADER_BYTES,
            row_bytes,
            start,
        }))
    }
}

/// Reads the rows of a table one after the other.
#[derive(Clone, Debug)]
pub(super) struct Rows {
    table: Table,
    next: u32,
    piece: Vec<u8>,
    at: usize,
}

impl Rows {
    pub(super) fn new(table: Table) -> Self {
        Self {
            table,
            next: 0,
            piece: Vec::new(),
            at: 0,
        }
    }

    /// The next row.
    pub(super) fn next(&mut self, medium: &dyn ReadAt) -> io::Result<Option<Row>> {
        if self.next == self.table.frames {
            return Ok(None);
        }
        if self.at == self.piece.len() {
            let left = u64::from(self.table.frames - self.next);
            let length = left.min(PIECE_ROWS) * self.table.row_bytes;
            self.piece.resize(usize::try_from(length).unwrap_or(0), 0);
            let at = self.table.rows_at + u64::from(self.next) * self.table.row_bytes;
            medium.read_at(at, &mut self.piece)?;
            self.at = 0;
        }
        let number = |at: usize| {
            let bytes = self.piece.get(at..).and_then(<[u8]>::first_chunk);
            bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))
        };
        let row = Row {
            packed_bytes: number(self.at),
            length_bytes: number(self.at + 4),
        };
        self.at += usize::try_from(self.table.row_bytes).unwrap_or(8);
        self.next += 1;
        Ok(Some(row))
    }
}
