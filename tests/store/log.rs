//! The log of a process that will be killed. Each thread has a file in which it writes a record
//! before an operation, and a word of that record after it. The page cache keeps what was written,
//! however the process ends.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

const WORDS: usize = 8;
/// Divides the page size, so that no record lies in two pages.
const RECORD_BYTES: usize = WORDS * 8;

/// An operation. Sectors are the disk's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// Fill with this record's own tag.
    Write,
    /// Fill with zero bytes, or map zeros.
    Zero,
    Unmap,
    Resize,
    /// `disk` is the source, `other` the new one.
    Fork,
    Snapshot,
    /// `disk` gets the content of `other`.
    Reset,
    /// `disk` is renamed to `other`.
    Rename,
    Destroy,
    /// `start` is the sector size in bytes, `sectors` the disk's size.
    Create,
}

const ACTS: [Act; 10] = [
    Act::Write,
    Act::Zero,
    Act::Unmap,
    Act::Resize,
    Act::Fork,
    Act::Snapshot,
    Act::Reset,
    Act::Rename,
    Act::Destroy,
    Act::Create,
];

/// One operation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    /// Later operations on the same disk have greater tags. Also the tag of the written data.
    pub(crate) tag: u64,
    pub(crate) act: Act,
    pub(crate) disk: u64,
    pub(crate) other: u64,
    pub(crate) start: u64,
    pub(crate) sectors: u64,
    /// Whether it was acknowledged.
    pub(crate) done: bool,
}

impl Entry {
    /// An operation on sectors of a disk; otherwise both numbers are 0.
    pub(crate) fn new(act: Act, disk: u64, start: u64, sectors: u64) -> Self {
        Self {
            tag: 0,
            act,
            disk,
            other: 0,
            start,
            sectors,
            done: false,
        }
    }

    pub(crate) fn with(self, other: u64) -> Self {
        Self { other, ..self }
    }

    fn to_bytes(self) -> [u8; RECORD_BYTES] {
        let act = ACTS.iter().position(|&act| act == self.act).unwrap();
        let words = [
            self.tag,
            act as u64,
            self.disk,
            self.other,
            self.start,
            self.sectors,
            0,
            u64::from(self.done),
        ];
        let mut bytes = [0; RECORD_BYTES];
        for (into, word) in bytes.chunks_exact_mut(8).zip(words) {
            into.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Self {
        let word = |at: usize| u64::from_le_bytes(bytes[at * 8..][..8].try_into().unwrap());
        Self {
            tag: word(0),
            act: ACTS[word(1) as usize],
            disk: word(2),
            other: word(3),
            start: word(4),
            sectors: word(5),
            done: word(7) == 1,
        }
    }
}

fn path(folder: &Path, thread: usize) -> PathBuf {
    folder.join(format!("log{thread}"))
}

/// The log of one thread.
pub(crate) struct Log<'a> {
    file: File,
    at: u64,
    tags: &'a AtomicU64,
}

impl<'a> Log<'a> {
    pub(crate) fn create(folder: &Path, thread: usize, tags: &'a AtomicU64) -> Self {
        let file = File::create(path(folder, thread)).unwrap();
        Self { file, at: 0, tags }
    }

    /// Run `act` with its tag between the record of its beginning and that of its end. The caller
    /// holds the lock of the disk, so that tags are in the order of the operations.
    pub(crate) fn around(&mut self, entry: Entry, act: impl FnOnce(u64)) {
        let tag = self.tags.fetch_add(1, Ordering::SeqCst);
        let bytes = Entry { tag, ..entry }.to_bytes();
        self.file.write_all_at(&bytes, self.at).unwrap();
        act(tag);
        let done = self.at + RECORD_BYTES as u64 - 8;
        self.file.write_all_at(&1u64.to_le_bytes(), done).unwrap();
        self.at += RECORD_BYTES as u64;
    }
}

/// All operations of a process's threads, in order. Removes the logs.
pub(crate) fn take(folder: &Path) -> Vec<Entry> {
    let mut entries = Vec::new();
    for thread in 0.. {
        let path = path(folder, thread);
        let Ok(bytes) = std::fs::read(&path) else {
            break;
        };
        std::fs::remove_file(&path).unwrap();
        entries.extend(bytes.chunks_exact(RECORD_BYTES).map(Entry::from_bytes));
    }
    entries.sort_by_key(|entry| entry.tag);
    entries
}
