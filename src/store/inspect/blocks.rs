//! The file itself: which blocks it has memory for, and their words.
//!
//! It is read and never mapped. Touching a hole through a mapping takes memory, and touching what
//! lies behind the end of a cut file kills the process.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

use crate::store::layout::words::Words;
use crate::store::memory::arena::{BLOCK_BYTES, BLOCK_WORDS, Block};

/// Neighbouring blocks that have memory.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    first: u32,
    count: u32,
    /// How many blocks with memory come before it.
    before: usize,
}

/// The blocks of a file that have memory.
#[derive(Debug)]
pub(super) struct Blocks {
    file: File,
    stretches: Vec<Stretch>,
    count: usize,
}

impl Blocks {
    /// Find them. A block that the end of the file cuts doesn't count.
    pub(super) fn look(file: File) -> io::Result<Self> {
        let whole = u32::try_from(file.metadata()?.len() / BLOCK_BYTES as u64).unwrap_or(u32::MAX);
        let end_bytes = u64::from(whole) * BLOCK_BYTES as u64;
        let (mut stretches, mut count, mut at) = (Vec::<Stretch>::new(), 0, 0);
        while at < end_bytes {
            let start = match rustix::fs::seek(&file, SeekFrom::Data(at)) {
                Ok(start) => start,
                Err(Errno::NXIO) => break,
                Err(errno) => return Err(errno.into()),
            };
            // If each page has a hole behind it, the list is as large as the file.
            at = rustix::fs::seek(&file, SeekFrom::Hole(start))?.max(start + 1);
            let first = u32::try_from(start / BLOCK_BYTES as u64).unwrap_or(u32::MAX);
            let last = at.min(end_bytes).div_ceil(BLOCK_BYTES as u64);
            let last = u32::try_from(last).unwrap_or(u32::MAX).min(whole);
            // A file system with smaller blocks may report the same one twice.
            let had = stretches.last().map_or(0, |had| had.first + had.count);
            let first = first.max(had);
            if first < last {
                stretches.push(Stretch {
                    first,
                    count: last - first,
                    before: count,
                });
                count += (last - first) as usize;
            }
        }
        Ok(Self {
            file,
            stretches,
            count,
        })
    }

    /// The number of blocks with memory.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// All blocks with memory, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = Block> {
        let stretches = self.stretches.iter();
        stretches.flat_map(|stretch| (stretch.first..stretch.first + stretch.count).map(Block))
    }

    /// How many blocks with memory come before this one, if it has memory itself.
    pub(super) fn rank(&self, block: Block) -> Option<usize> {
        let behind = self.stretches.partition_point(|it| it.first <= block.0);
        let stretch = self.stretches.get(behind.checked_sub(1)?)?;
        let within = block.0 - stretch.first;
        (within < stretch.count).then_some(stretch.before + within as usize)
    }

    /// The words of a block.
    pub(super) fn words(&self, block: Block) -> io::Result<Words> {
        let mut bytes = [0; BLOCK_BYTES];
        self.read(block, &mut bytes)?;
        let mut words = [0; BLOCK_WORDS];
        for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = u64::from_le_bytes(bytes.try_into().unwrap_or_default());
        }
        Ok(words)
    }

    /// Fill `bytes` from the start of a block on.
    pub(super) fn read(&self, block: Block, bytes: &mut [u8]) -> io::Result<()> {
        let at = u64::from(block.0) * BLOCK_BYTES as u64;
        self.file.read_exact_at(bytes, at)
    }
}

impl Drop for Blocks {
    fn drop(&mut self) {
        // The same as an arena does.
        let _ = rustix::fs::flock(&self.file, rustix::fs::FlockOperation::Unlock);
    }
}
