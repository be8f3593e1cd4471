//! One image of a chain: where the bytes of a place of the disk are.

use std::sync::Arc;

use super::super::Error;
use super::super::medium::ReadAt;
use super::header::Header;

/// How much of a table is read at once.
const PIECE_BYTES: u64 = 64 << 10;
/// The offset of a cluster or table in an entry.
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
const PACKED: u64 = 1 << 62;
const ZERO: u64 = 1;
const SUBCLUSTERS: u64 = 32;

/// Where the bytes of a place are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Not in this image.
    Hole,
    /// They are zeros.
    Zero,
    /// In the file, from this offset on.
    Data(u64),
    /// `skip_bytes` behind the beginning of a compressed cluster.
    Packed {
        at: u64,
        packed_bytes: u32,
        skip_bytes: u32,
    },
}

/// An image of a chain.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    pub(super) medium: Arc<dyn ReadAt>,
    /// `None` if it is raw.
    pub(super) header: Option<Arc<Header>>,
    l1: Piece,
    l2: Piece,
    /// The table of the second level that was looked at last.
    l2_at: u64,
    /// Bytes of the file that tables and data have taken. They can't be more than it has.
    taken_bytes: u64,
}

impl Layer {
    /// A qcow2 image.
    pub(super) fn qcow2(medium: Arc<dyn ReadAt>) -> Result<Self, Error> {
        let header = Header::read(&*medium)?;
        let taken_bytes = header.cluster_bytes() + header.l1_bytes;
        Ok(Self {
            header: Some(Arc::new(header)),
            taken_bytes,
            ..Self::raw(medium)
        })
    }

    /// A raw image.
    pub(super) fn raw(medium: Arc<dyn ReadAt>) -> Self {
        Self {
            medium,
            header: None,
            l1: Piece::default(),
            l2: Piece::default(),
            l2_at: 0,
            taken_bytes: 0,
        }
    }

    /// The size of its disk.
    pub(super) fn size_bytes(&self) -> u64 {
        let header = self.header.as_ref();
        header.map_or(self.medium.size_bytes(), |header| header.size_bytes)
    }

    pub(super) fn cluster_bytes(&self) -> u64 {
        let header = self.header.as_ref();
        header.map_or(512, |header| header.cluster_bytes())
    }

    /// Where the bytes from `at` on are, and how many of them at least. `at` is below the disk's
    /// size.
    pub(super) fn look(&mut self, at: u64) -> Result<(Place, u64), Error> {
        let rest = self.size_bytes() - at;
        let Some(header) = self.header.clone() else {
            let data = self.medium.next_data(at);
            return match data.map_err(|source| self.failed(source))? {
                None => Ok((Place::Zero, rest)),
                Some(data) if data <= at => Ok((Place::Data(at), rest.min(PIECE_BYTES))),
                Some(data) => Ok((Place::Zero, data - at)),
            };
        };
        let region_bits = header.cluster_bits + header.l2_bits();
        let to_end = |bits: u32| ((1 << bits) - (at & ((1 << bits) - 1))).min(rest);
        let entry_at = header.l1_at + (at >> region_bits) * 8;
        let l1_end = header.l1_at + header.l1_bytes;
        let table = self.l1.entry(&*self.medium, entry_at, l1_end)? & OFFSET;
        if table == 0 {
            return Ok((Place::Hole, to_end(region_bits)));
        }
        self.check_table(&header, table)?;
        let index = (at >> header.cluster_bits) & ((1 << header.l2_bits()) - 1);
        let table_end = table + header.cluster_bytes();
        if header.is_extended {
            return self.look_extended(&header, at, table + index * 16, table_end);
        }
        let entry = self.l2.entry(&*self.medium, table + index * 8, table_end)?;
        let rest = to_end(header.cluster_bits);
        let skip = at & (header.cluster_bytes() - 1);
        if entry & PACKED != 0 {
            return Ok((self.packed(&header, entry, skip)?, rest));
        }
        if entry & ZERO != 0 {
            return match header.version {
                2 => Err(self.damaged(format!("the entry {entry:#x} is not one of version 2"))),
                _ => Ok((Place::Zero, rest)),
            };
        }
        match entry & OFFSET {
            0 => Ok((Place::Hole, rest)),
            data => Ok((self.data(&header, data, skip, rest)?, rest)),
        }
    }

    /// As [`Self::look`], with subclusters.
    fn look_extended(
        &mut self,
        header: &Header,
        at: u64,
        entry_at: u64,
        table_end: u64,
    ) -> Result<(Place, u64), Error> {
        let entry = self.l2.entry(&*self.medium, entry_at, table_end)?;
        let bitmap = self.l2.entry(&*self.medium, entry_at + 8, table_end)?;
        let skip = at & (header.cluster_bytes() - 1);
        let rest = (header.cluster_bytes() - skip).min(header.size_bytes - at);
        if entry & PACKED != 0 {
            return Ok((self.packed(header, entry, skip)?, rest));
        }
        let (there, zero) = (bitmap & 0xffff_ffff, bitmap >> 32);
        let offset = entry & OFFSET;
        if there & zero != 0 || (offset == 0 && there != 0) {
            return Err(self.damaged(format!("the subclusters {bitmap:#x} contradict each other")));
        }
        let sub_bytes = header.cluster_bytes() / SUBCLUSTERS;
        let index = skip / sub_bytes;
        let kind = |index: u64| ((there >> index) & 1, (zero >> index) & 1);
        let alike = (index..SUBCLUSTERS).take_while(|&it| kind(it) == kind(index));
        let end = (index + alike.count() as u64) * sub_bytes;
        let length = (end - skip).min(rest);
        let place = match kind(index) {
            (1, _) => self.data(header, offset, skip, length)?,
            (_, 1) => Place::Zero,
            _ => Place::Hole,
        };
        Ok((place, length))
    }

    /// Check a table of the second level, once for each time that it is changed to.
    fn check_table(&mut self, header: &Header, table: u64) -> Result<(), Error> {
        if table == self.l2_at {
            return Ok(());
        }
        let end = table + header.cluster_bytes();
        let l1 = header.l1_at..header.l1_at + header.l1_bytes;
        if !table.is_multiple_of(header.cluster_bytes())
            || table < header.cluster_bytes()
            || (table < l1.end && end > l1.start)
        {
            return Err(self.damaged(format!("a second table is at {table}")));
        }
        if end > self.medium.size_bytes() {
            return Err(self.cut_off("a second table", table));
        }
        self.l2_at = table;
        self.take(header.cluster_bytes())
    }

    fn data(&self, header: &Header, data: u64, skip: u64, rest: u64) -> Result<Place, Error> {
        if !data.is_multiple_of(header.cluster_bytes()) || data < header.cluster_bytes() {
            return Err(self.damaged(format!("a cluster is at {data}")));
        }
        if data + skip + rest > self.medium.size_bytes() {
            return Err(self.cut_off("a cluster", data));
        }
        Ok(Place::Data(data + skip))
    }

    /// A compressed cluster's place. It ends at the end of a sector, where the file may end before.
    fn packed(&self, header: &Header, entry: u64, skip: u64) -> Result<Place, Error> {
        let offset_bits = 62 - (header.cluster_bits - 8);
        let at = entry & ((1 << offset_bits) - 1);
        let sectors = ((entry & (PACKED - 1)) >> offset_bits) + 1;
        let file_bytes = self.medium.size_bytes();
        if at < header.cluster_bytes() {
            return Err(self.damaged(format!("a compressed cluster is at {at}")));
        }
        if at >= file_bytes {
            return Err(self.cut_off("a compressed cluster", at));
        }
        let packed_bytes = (sectors * 512 - (at & 511)).min(file_bytes - at);
        let short = |bytes: u64| u32::try_from(bytes).unwrap_or(u32::MAX);
        Ok(Place::Packed {
            at,
            packed_bytes: short(packed_bytes),
            skip_bytes: short(skip),
        })
    }

    /// Count bytes of the file that are used once. What is used twice makes more than there are.
    pub(super) fn take(&mut self, bytes: u64) -> Result<(), Error> {
        self.taken_bytes += bytes;
        let file_bytes = self.medium.size_bytes();
        match self.taken_bytes > file_bytes.saturating_add(self.cluster_bytes()) {
            false => Ok(()),
            true => Err(self.damaged(format!(
                "its clusters overlap: they have more than the {file_bytes} bytes of the file"
            ))),
        }
    }

    fn damaged(&self, what: String) -> Error {
        Error::Damaged {
            name: self.medium.name().to_owned(),
            what,
        }
    }

    fn cut_off(&self, what: &str, at: u64) -> Error {
        let file_bytes = self.medium.size_bytes();
        self.damaged(format!(
            "it is cut off: {what} is at {at}, and the file has {file_bytes} bytes"
        ))
    }

    fn failed(&self, source: std::io::Error) -> Error {
        Error::Read {
            name: self.medium.name().to_owned(),
            source,
        }
    }
}

/// The piece of a table that was read last.
#[derive(Clone, Debug, Default)]
struct Piece {
    at: u64,
    bytes: Vec<u8>,
}

impl Piece {
    /// The entry at this offset of the file, in a table that ends at `end`, which is inside of the
    /// file.
    fn entry(&mut self, medium: &dyn ReadAt, at: u64, end: u64) -> Result<u64, Error> {
        let is_inside = at >= self.at && at + 8 <= self.at + self.bytes.len() as u64;
        if !is_inside {
            let length = PIECE_BYTES.min(end.saturating_sub(at));
            self.bytes.clear();
            self.bytes.resize(usize::try_from(length).unwrap_or(0), 0);
            self.at = at;
            let read = medium.read_at(at, &mut self.bytes);
            read.map_err(|source| Error::Read {
                name: medium.name().to_owned(),
                source,
            })?;
        }
        let within = usize::try_from(at - self.at).unwrap_or(usize::MAX);
        let entry = self.bytes.get(within..).and_then(<[u8]>::first_chunk);
        Ok(entry.map_or(0, |entry| u64::from_be_bytes(*entry)))
    }
}
