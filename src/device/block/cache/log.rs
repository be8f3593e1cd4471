//! The bytes of logged writes, on a hidden disk.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use crate::crash::Contents;
use crate::store::{ByteRange, Disk, DiskSpec, Error, PAGE_BYTES, SectorSize, Sink, Source};

/// The size of the hidden disk, which has memory only where something is logged.
const LOG_BYTES: u64 = 1 << 45;
/// How many bytes are copied at a time.
const CHUNK_BYTES: u64 = 1 << 20;

/// Where the bytes of each write are.
pub(super) type Places = HashMap<u64, Place>;

/// Where the bytes of a write are in the log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    start_bytes: u64,
    len_bytes: u64,
}

impl Place {
    fn cost_bytes(self) -> u64 {
        // A write without bytes takes memory too: for its entry in the ledger.
        self.len_bytes.next_multiple_of(PAGE_BYTES).max(PAGE_BYTES)
    }
}

/// The bytes of logged writes.
#[derive(Debug)]
pub(super) struct Log {
    disk: Disk,
    places: Places,
    next_bytes: u64,
    used_bytes: u64,
    copied: Vec<u8>,
}

impl Log {
    /// The spec of its disk.
    pub(super) fn spec() -> DiskSpec {
        DiskSpec::new(SectorSize::S512, LOG_BYTES)
    }

    /// An empty log on this disk.
    pub(super) fn new(disk: Disk) -> Self {
        Self {
            disk,
            places: Places::new(),
            next_bytes: 0,
            used_bytes: 0,
            copied: Vec::new(),
        }
    }

    /// Bytes of memory that it takes.
    pub(super) fn used_bytes(&self) -> u64 {
        self.used_bytes
    }

    /// What this write takes of it.
    pub(super) fn cost_bytes(&self, number: u64) -> u64 {
        self.places.get(&number).map_or(0, |it| it.cost_bytes())
    }

    /// Log the bytes that `from` has in the range now, as those of write `number`.
    ///
    /// # Errors
    /// There is no memory.
    pub(super) fn append(
        &mut self,
        from: &Disk,
        number: u64,
        range: ByteRange,
    ) -> Result<(), Error> {
        let place = Place {
            start_bytes: self.next_bytes,
            len_bytes: range.len_bytes(),
        };
        let mut rest = range;
        let mut at_bytes = place.start_bytes;
        while rest.len_bytes() > 0 {
            let (now, later) = rest.split_at(CHUNK_BYTES);
            let len = usize::try_from(now.len_bytes()).unwrap_or(0);
            self.copied.resize(self.copied.len().max(len), 0);
            let copied = &mut self.copied[..len];
            from.read_into(now, &[Sink::from(&mut *copied)])?;
            let to = part(at_bytes, now.len_bytes(), &self.disk)?;
            self.disk.write_from(to, &[Source::from(&*copied)])?;
            at_bytes += now.len_bytes();
            rest = later;
        }
        self.keep(number, place);
        Ok(())
    }

    /// Note a write without bytes of its own.
    pub(super) fn note(&mut self, number: u64) {
        let start_bytes = self.next_bytes;
        self.keep(
            number,
            Place {
                start_bytes,
                len_bytes: 0,
            },
        );
    }

    fn keep(&mut self, number: u64, place: Place) {
        self.next_bytes += place.len_bytes.next_multiple_of(PAGE_BYTES);
        self.used_bytes += place.cost_bytes();
        self.places.insert(number, place);
    }

    /// Whether it has come to the end of its disk.
    pub(super) fn is_worn(&self) -> bool {
        self.next_bytes > LOG_BYTES / 2
    }

    /// Forget a write, and free its memory.
    pub(super) fn forget(&mut self, number: u64) {
        if let Some(place) = self.places.remove(&number) {
            self.used_bytes -= place.cost_bytes();
            self.free(place.start_bytes, place.len_bytes);
        }
        if self.places.is_empty() {
            self.next_bytes = 0;
        }
    }

    /// Forget all, and free their memory.
    pub(super) fn clear(&mut self) {
        self.free(0, self.next_bytes);
        self.places.clear();
        self.next_bytes = 0;
        self.used_bytes = 0;
    }

    fn free(&self, start_bytes: u64, len_bytes: u64) {
        let len_bytes = len_bytes.next_multiple_of(PAGE_BYTES);
        let freed = part(start_bytes, len_bytes, &self.disk);
        // What can't be freed now is overwritten later.
        let _ = freed.and_then(|range| self.disk.discard_range(range));
    }

    /// Where the bytes of each write are now.
    pub(super) fn places(&self) -> Places {
        self.places.clone()
    }
}

fn part(start_bytes: u64, len_bytes: u64, of: &Disk) -> Result<ByteRange, Error> {
    of.capacity().range_512(start_bytes / 512, len_bytes)
}

/// These bytes of the write, from a disk with the log's content.
pub(super) fn read(
    disk: &Disk,
    places: &Places,
    number: u64,
    wanted: &Range<u64>,
) -> Result<Vec<u8>, Error> {
    let len_bytes = wanted.end.saturating_sub(wanted.start);
    let mut bytes = vec![0; usize::try_from(len_bytes).unwrap_or(0)];
    // A write that isn't there reads as zeros: the ledger has no such write.
    debug_assert!(places.contains_key(&number), "no write {number} in the log");
    if let Some(place) = places.get(&number) {
        let range = part(place.start_bytes + wanted.start, len_bytes, disk)?;
        disk.read_into(range, &[Sink::from(&mut bytes[..])])?;
    }
    Ok(bytes)
}

impl Contents<Error> for Log {
    fn bytes(&self, number: u64, part: Range<u64>) -> Result<Cow<'_, [u8]>, Error> {
        read(&self.disk, &self.places, number, &part).map(Cow::Owned)
    }
}
