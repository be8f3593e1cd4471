//! The file that a check sees: the content of one state, made from that of the one before.
//!
//! Each job has two files in a directory in memory: `stable` has what is stable at the moment of
//! the crash, and the other one, which checks see, a state. For a state only its volatile writes
//! are written, and afterwards these ranges are copied back. Only if a check has written too, which
//! the time of the last change shows, all of it is copied back.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, SeekFrom, Timespec, Timestamps, UTIME_OMIT, fallocate, futimens};

use crate::crash::explore::ByteRange;
use crate::crash::log::Log;
use crate::crash::{Choice, Contents, Logged, Medium, Window};
use crate::daemon::is_zero;

/// How much is copied at a time.
const CHUNK_BYTES: u64 = 256 << 10;
/// The unit in which content is compared.
const PAGE_BYTES: u64 = 4096;
/// The time of the last change, in seconds since 1970, of a file that no check has written.
const UNWRITTEN_S: i64 = 1_000_000_000;

/// The data of a log's writes.
#[derive(Debug)]
pub(super) struct Data<'l> {
    pub(super) log: &'l Log,
    pub(super) file: &'l File,
}

impl Contents<io::Error> for Data<'_> {
    fn bytes(&self, number: u64, part: Range<u64>) -> io::Result<Cow<'_, [u8]>> {
        let request = usize::try_from(number).ok();
        let request = request.and_then(|number| self.log.requests.get(number));
        let request = request.ok_or(io::ErrorKind::NotFound)?;
        let length = usize::try_from(part.end - part.start).map_err(io::Error::other)?;
        let mut bytes = vec![0; length];
        self.file
            .read_exact_at(&mut bytes, request.data_at + part.start)?;
        Ok(Cow::Owned(bytes))
    }
}

/// The two files of a job.
#[derive(Debug)]
pub(super) struct Stage {
    path: PathBuf,
    file: File,
    stable: File,
    size_bytes: u64,
    touched: Vec<Range<u64>>,
    /// What tells the stable content from that of another moment.
    stable_print: u128,
}

/// A medium of one or both files.
struct Files<'s> {
    files: [Option<&'s File>; 2],
    touched: &'s mut Vec<Range<u64>>,
}

impl Medium<io::Error> for Files<'_> {
    fn write(&mut self, range: ByteRange, data: &[u8]) -> io::Result<()> {
        self.touched.push(range.start_bytes()..range.end_bytes());
        let mut files = self.files.iter().flatten();
        files.try_for_each(|file| file.write_all_at(data, range.start_bytes()))
    }

    fn discard(&mut self, range: ByteRange) -> io::Result<()> {
        self.zero(range)
    }

    fn zero(&mut self, range: ByteRange) -> io::Result<()> {
        self.touched.push(range.start_bytes()..range.end_bytes());
        let mut files = self.files.iter().flatten();
        files.try_for_each(|file| punch(file, range.start_bytes()..range.end_bytes()))
    }
}

impl Stage {
    /// A stage in `folder` with the content of `base`.
    pub(super) fn new(folder: &Path, base: &File) -> io::Result<Self> {
        let size_bytes = base.metadata()?.len();
        let open = |path: &Path| {
            let mut options = File::options();
            options.read(true).write(true).create(true).truncate(true);
            let file = options.open(path)?;
            file.set_len(size_bytes)?;
            copy(base, &file, 0..size_bytes)?;
            Ok::<_, io::Error>(file)
        };
        let path = folder.join("disk");
        Ok(Self {
            file: open(&path)?,
            stable: open(&folder.join("stable"))?,
            path,
            size_bytes,
            touched: Vec::new(),
            stable_print: 0,
        })
    }

    /// The path of the file that checks see.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Apply writes that have become stable.
    pub(super) fn advance(&mut self, writes: &[Logged], data: &Data<'_>) -> io::Result<()> {
        for write in writes {
            let range = write.range.start_bytes()..write.range.end_bytes();
            let before = self.stable_print_of(&range)?;
            let mut both = Files {
                files: [Some(&self.file), Some(&self.stable)],
                touched: &mut Vec::new(),
            };
            write.apply(write.range, data, &mut both)?;
            self.stable_print ^= before ^ self.stable_print_of(&range)?;
        }
        Ok(())
    }

    fn stable_print_of(&self, range: &Range<u64>) -> io::Result<u128> {
        let pages = pages(&[&self.stable], std::slice::from_ref(range))?;
        print(&self.stable, &pages)
    }

    /// Make a state. Returns what tells it from states with other content.
    pub(super) fn make(
        &mut self,
        window: &Window,
        choice: &Choice,
        data: &Data<'_>,
    ) -> io::Result<u128> {
        debug_assert!(self.touched.is_empty(), "the state before is undone");
        let mut file = Files {
            files: [Some(&self.file), None],
            touched: &mut self.touched,
        };
        choice.apply(window, data, &mut file)?;
        let pages = pages(&[&self.file, &self.stable], &self.touched)?;
        let print = self.stable_print ^ print(&self.file, &pages)? ^ print(&self.stable, &pages)?;
        Ok(print)
    }

    /// Let a check begin to write.
    pub(super) fn seal(&self) -> io::Result<()> {
        let times = Timestamps {
            last_access: Timespec {
                tv_sec: 0,
                tv_nsec: UTIME_OMIT,
            },
            last_modification: Timespec {
                tv_sec: UNWRITTEN_S,
                tv_nsec: 0,
            },
        };
        Ok(futimens(&self.file, &times)?)
    }

    /// Undo a state that no check has seen.
    pub(super) fn undo(&mut self) -> io::Result<()> {
        for range in std::mem::take(&mut self.touched) {
            copy(&self.stable, &self.file, range)?;
        }
        Ok(())
    }

    /// Undo a state, and what a check has written.
    pub(super) fn undo_after_check(&mut self) -> io::Result<()> {
        let found = fs::symlink_metadata(&self.path);
        let ours = self.file.metadata()?;
        let is_ours =
            found.is_ok_and(|found| (found.ino(), found.dev()) == (ours.ino(), ours.dev()));
        let is_unwritten = ours.mtime() == UNWRITTEN_S && ours.mtime_nsec() == 0;
        if is_ours && is_unwritten && ours.len() == self.size_bytes {
            return self.undo();
        }
        self.touched.clear();
        if !is_ours {
            let _ = fs::remove_file(&self.path);
            let mut options = File::options();
            options.read(true).write(true).create_new(true);
            self.file = options.open(&self.path)?;
        }
        self.file.set_len(self.size_bytes)?;
        copy(&self.stable, &self.file, 0..self.size_bytes)
    }

    /// Show other content to a check, of a file that ends where it ends.
    pub(super) fn show(&mut self, content: &File) -> io::Result<()> {
        self.touched.clear();
        let length = content.metadata()?.len();
        self.file.set_len(length)?;
        copy(content, &self.file, 0..length)
    }
}

fn punch(file: &File, range: Range<u64>) -> io::Result<()> {
    if range.is_empty() {
        return Ok(());
    }
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    let punched = fallocate(file, flags, range.start, range.end - range.start);
    if punched.is_ok() {
        return Ok(());
    }
    let zeros = vec![0; usize::try_from(CHUNK_BYTES).unwrap_or(0)];
    in_chunks(range, |at, length| file.write_all_at(&zeros[..length], at))
}

fn in_chunks(
    range: Range<u64>,
    mut each: impl FnMut(u64, usize) -> io::Result<()>,
) -> io::Result<()> {
    let mut at = range.start;
    while at < range.end {
        let length = (range.end - at).min(CHUNK_BYTES);
        each(at, usize::try_from(length).unwrap_or(0))?;
        at += length;
    }
    Ok(())
}

/// Make a range of a file what it is in another one, with its holes.
fn copy(from: &File, to: &File, range: Range<u64>) -> io::Result<()> {
    let mut at = range.start;
    let mut bytes = vec![0; usize::try_from(CHUNK_BYTES.min(range.end - range.start)).unwrap_or(0)];
    while at < range.end {
        let data = next_data(from, at..range.end)?;
        punch(to, at..data.start)?;
        in_chunks(data.clone(), |at, length| {
            from.read_exact_at(&mut bytes[..length], at)?;
            to.write_all_at(&bytes[..length], at)
        })?;
        at = data.end;
    }
    Ok(())
}

/// The first data of a file in a range; empty at its end if there is none.
fn next_data(file: &File, range: Range<u64>) -> io::Result<Range<u64>> {
    let start = match rustix::fs::seek(file, SeekFrom::Data(range.start)) {
        Ok(start) => start.min(range.end),
        Err(rustix::io::Errno::NXIO) => range.end,
        Err(error) => return Err(error.into()),
    };
    if start == range.end {
        return Ok(start..start);
    }
    let end = rustix::fs::seek(file, SeekFrom::Hole(start))?;
    Ok(start..end.min(range.end))
}

/// The pages of these ranges that one of the files has data in.
fn pages(files: &[&File], ranges: &[Range<u64>]) -> io::Result<BTreeSet<u64>> {
    let mut pages = BTreeSet::new();
    for range in ranges {
        for file in files {
            let mut at = range.start;
            while at < range.end {
                let data = next_data(file, at..range.end)?;
                pages.extend(data.start / PAGE_BYTES..data.end.div_ceil(PAGE_BYTES));
                at = data.end;
            }
        }
    }
    Ok(pages)
}

/// What tells the content of these pages from other content: the sum of a digest of each that isn't
/// zero.
fn print(file: &File, pages: &BTreeSet<u64>) -> io::Result<u128> {
    let mut sum = 0;
    let mut page = vec![0; usize::try_from(PAGE_BYTES).unwrap_or(0)];
    let end_bytes = file.metadata()?.len();
    for number in pages {
        let at = number * PAGE_BYTES;
        let length = usize::try_from(PAGE_BYTES.min(end_bytes.saturating_sub(at))).unwrap_or(0);
        file.read_exact_at(&mut page[..length], at)?;
        if is_zero(&page[..length]) {
            continue;
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(&number.to_le_bytes());
        hasher.update(&page[..length]);
        let mut first = [0; 16];
        hasher.finalize_xof().fill(&mut first);
        sum ^= u128::from_le_bytes(first);
    }
    Ok(sum)
}
