//! Reading a log of any program: nothing in it is believed before it was checked.

use std::io;

use super::format::{DISCARD, FLUSH, FUA, HEADER_BYTES, Header, KNOWN_FLAGS, MARK, Superblock};
use super::request::{NEVER, Request, What};

/// The largest sector of a log: that of a large block size of Linux.
const MOST_SECTOR_BYTES: u32 = 64 << 10;
/// The most entries that are read, of about 100 bytes of memory each.
const MOST_ENTRIES: u64 = 1 << 24;

/// Where the bytes of a log are.
pub trait ReadAt {
    /// How many there are.
    fn length_bytes(&self) -> u64;

    /// Fill `into` with those from `at` on, which are all there.
    ///
    /// # Errors
    /// They can't be read.
    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<()>;
}

impl ReadAt for [u8] {
    fn length_bytes(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        let end = at.saturating_add(into.len());
        let bytes = self.get(at..end);
        into.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// Why a log can't be used.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// It can't be read.
    #[error("can't read the log at byte {at}: {source}")]
    Read {
        /// Where.
        at: u64,
        /// The system's reason.
        source: io::Error,
    },
    /// It is something else.
    #[error("this is no log of dm-log-writes: it doesn't begin with its magic number")]
    Foreign,
    /// It has another version.
    #[error("the log has version {0}: only version 1 is known")]
    Version(u64),
    /// Its sectors are no sectors.
    #[error("the log has sectors of {0} bytes: 512 to 65536 are possible, in powers of 2")]
    SectorBytes(u32),
    /// It has too many entries.
    #[error("the log has {0} entries, and {MOST_ENTRIES} can be read: record a shorter run")]
    TooMany(u64),
    /// It ends too early.
    #[error(
        "the log is cut off: it ends at byte {length_bytes}, within entry {entry} of {entries}; \
         copy it again, or end its recording before you copy it"
    )]
    Cut {
        /// The entry that isn't whole.
        entry: u64,
        /// How many there should be.
        entries: u64,
        /// Where the log ends.
        length_bytes: u64,
    },
    /// It is of another disk.
    #[error(
        "entry {entry} of the log names bytes {start_bytes} to {end_bytes}, and the disk has \
         {disk_bytes}: the log is of another disk"
    )]
    Beyond {
        /// The entry.
        entry: u64,
        /// Where its range begins.
        start_bytes: u64,
        /// Where it ends.
        end_bytes: u64,
        /// The size of the disk.
        disk_bytes: u64,
    },
    /// An entry can't be understood.
    #[error("entry {entry} of the log is damaged: {what}")]
    Damaged {
        /// The entry.
        entry: u64,
        /// What is wrong with it.
        what: String,
    },
}

/// A log that was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// The requests, in the order in which they reached the disk. Both moments of each are in
    /// order, and no completion is before its submission.
    pub requests: Vec<Request>,
    /// The size of the disk.
    pub disk_bytes: u64,
    /// Whether all entries have both moments. Those of other programs have none: they count as if
    /// each had been submitted after the one before had completed.
    pub has_moments: bool,
}

/// Where the next entry is, and the clock of a log without moments.
struct Reader<'a, S: ?Sized> {
    source: &'a S,
    sector_bytes: u32,
    entries: u64,
    at: u64,
    clock: u64,
    log: Log,
}

impl Log {
    /// Read a log of a disk of this size.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn read(source: &(impl ReadAt + ?Sized), disk_bytes: u64) -> Result<Self, LogError> {
        let mut bytes = [0; Superblock::BYTES];
        if source.length_bytes() < bytes.len() as u64 {
            return Err(LogError::Foreign);
        }
        read(source, 0, &mut bytes)?;
        let superblock = Superblock::parse(&bytes);
        if !superblock.magic_fits {
            return Err(LogError::Foreign);
        }
        if superblock.version != Superblock::VERSION {
            return Err(LogError::Version(superblock.version));
        }
        let sector_bytes = superblock.sector_bytes;
        if !sector_bytes.is_power_of_two() || !(512..=MOST_SECTOR_BYTES).contains(&sector_bytes) {
            return Err(LogError::SectorBytes(sector_bytes));
        }
        if superblock.entries > MOST_ENTRIES {
            return Err(LogError::TooMany(superblock.entries));
        }
        let log = Self {
            requests: Vec::new(),
            disk_bytes,
            has_moments: true,
        };
        let mut reader = Reader {
            source,
            sector_bytes,
            entries: superblock.entries,
            at: u64::from(sector_bytes),
            clock: 0,
            log,
        };
        let mut sector = vec![0; sector_bytes as usize];
        for entry in 0..superblock.entries {
            reader.entry(entry, &mut sector)?;
        }
        Ok(reader.log)
    }

    /// The last moment of the log: everything that completed has completed.
    pub fn end(&self) -> u64 {
        let known = self.requests.iter().map(|request| match request.completed {
            NEVER => request.submitted,
            completed => completed,
        });
        known.max().unwrap_or(0)
    }
}

impl<S: ReadAt + ?Sized> Reader<'_, S> {
    fn entry(&mut self, entry: u64, sector: &mut [u8]) -> Result<(), LogError> {
        let (length_bytes, entries) = (self.source.length_bytes(), self.entries);
        let cut = || LogError::Cut {
            entry,
            entries,
            length_bytes,
        };
        let damaged = |what: String| LogError::Damaged { entry, what };
        let sector_bytes = u64::from(self.sector_bytes);
        if self.at + sector_bytes > length_bytes {
            return Err(cut());
        }
        read(self.source, self.at, sector)?;
        self.at += sector_bytes;
        let header = Header::parse(sector);
        let unknown = header.flags & !KNOWN_FLAGS;
        if unknown != 0 {
            return Err(damaged(format!("it has unknown flags {unknown:#x}")));
        }
        if header.flags & MARK != 0 {
            let text = mark(&header, sector).map_err(damaged)?;
            return self.keep(entry, &header, What::Mark(text), (0, 0));
        }
        let range = (header.sector.checked_mul(sector_bytes))
            .zip(header.sectors.checked_mul(sector_bytes))
            .and_then(|(start, length)| Some((start, length, start.checked_add(length)?)));
        let (start_bytes, length, end_bytes) =
            range.ok_or_else(|| damaged("its range has no end".into()))?;
        if end_bytes > self.log.disk_bytes && header.sectors != 0 {
            return Err(LogError::Beyond {
                entry,
                start_bytes,
                end_bytes,
                disk_bytes: self.log.disk_bytes,
            });
        }
        let range = (start_bytes, length);
        if header.flags & DISCARD != 0 {
            return self.keep(entry, &header, What::Discard, range);
        }
        if header.flags & FLUSH != 0 && (header.own.is_none() || length == 0) {
            // A flush that has data is one before it.
            self.keep(entry, &header, What::Flush, (0, 0))?;
        }
        if length == 0 {
            return Ok(());
        }
        if self
            .at
            .checked_add(length)
            .is_none_or(|end| end > length_bytes)
        {
            return Err(cut());
        }
        let what = match header.own.map(|own| own.kind) {
            Some(1) => What::WriteZeroes { unmap: false },
            Some(2) => What::WriteZeroes { unmap: true },
            _ => What::Write,
        };
        self.keep(entry, &header, what, range)?;
        self.at += length;
        Ok(())
    }

    /// Keep a request, with its moments or, if it has none, with the next two of the clock.
    fn keep(
        &mut self,
        entry: u64,
        header: &Header,
        what: What,
        (start_bytes, length_bytes): (u64, u64),
    ) -> Result<(), LogError> {
        let (submitted, completed, time_ns) = match header.own {
            Some(own) if own.submitted < own.completed && own.submitted < NEVER => {
                (own.submitted, own.completed, own.time_ns)
            }
            Some(own) => {
                let (from, to) = (own.submitted, own.completed);
                let what = format!("it completed at moment {to}, and was submitted at {from}");
                return Err(LogError::Damaged { entry, what });
            }
            None => {
                self.log.has_moments = false;
                (self.clock, self.clock + 1, 0)
            }
        };
        let last = if completed == NEVER {
            submitted
        } else {
            completed
        };
        self.clock = self.clock.max(last.saturating_add(1));
        self.log.requests.push(Request {
            what,
            start_bytes,
            length_bytes,
            submitted,
            completed,
            at_once: header.flags & FUA != 0,
            time_ns,
            data_at: self.at,
        });
        Ok(())
    }
}

/// The text of a mark.
fn mark(header: &Header, sector: &[u8]) -> Result<String, String> {
    let length = usize::try_from(header.data_bytes).unwrap_or(usize::MAX);
    let text = sector[HEADER_BYTES..].get(..length);
    let text = text.filter(|_| header.sectors == 0);
    let text = text.ok_or_else(|| format!("it is a mark of {} bytes", header.data_bytes))?;
    let text = String::from_utf8_lossy(text);
    Ok(text.trim_end_matches(['\0', '\n']).to_owned())
}

fn read(source: &(impl ReadAt + ?Sized), at: u64, into: &mut [u8]) -> Result<(), LogError> {
    let read = source.read_at(at, into);
    read.map_err(|source| LogError::Read { at, source })
}
