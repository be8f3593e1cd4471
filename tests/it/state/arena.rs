//! The file that disks lie in, as a list of blocks: to compare, damage, keep and restore it.

use std::fmt::Write;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::SeekFrom;
use tempfile::TempDir;

const BLOCK_BYTES: usize = 4096;

/// A directory on a tmpfs, which every system has here.
pub(crate) fn scratch() -> TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap()
}

/// A sparse file: its length, and the blocks that have memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Arena {
    pub(crate) len_bytes: u64,
    pub(crate) blocks: Vec<(u64, Vec<u8>)>,
}

impl Arena {
    pub(crate) fn load(path: &Path) -> Self {
        let file = File::open(path).unwrap();
        let len_bytes = file.metadata().unwrap().len();
        let (mut blocks, mut at) = (Vec::new(), 0);
        while let Ok(start) = rustix::fs::seek(&file, SeekFrom::Data(at)) {
            at = rustix::fs::seek(&file, SeekFrom::Hole(start)).unwrap();
            for block in start / BLOCK_BYTES as u64..at.div_ceil(BLOCK_BYTES as u64) {
                let start = block * BLOCK_BYTES as u64;
                let len = (len_bytes - start).min(BLOCK_BYTES as u64);
                let mut bytes = vec![0; usize::try_from(len).unwrap()];
                file.read_exact_at(&mut bytes, start).unwrap();
                blocks.push((block, bytes));
            }
        }
        Self { len_bytes, blocks }
    }

    /// Write it into a new file.
    pub(crate) fn store_at(&self, path: &Path) -> File {
        let mut options = File::options();
        let file = options.read(true).write(true).create(true).truncate(true);
        let file = file.open(path).unwrap();
        file.set_len(self.len_bytes).unwrap();
        for (block, bytes) in &self.blocks {
            file.write_all_at(bytes, block * BLOCK_BYTES as u64)
                .unwrap();
        }
        file
    }

    /// A word of the block with this index.
    pub(crate) fn word(&self, block: usize, at: usize) -> u64 {
        let bytes = self.blocks[block].1.get(at * 8..at * 8 + 8);
        u64::from_le_bytes(bytes.unwrap().try_into().unwrap())
    }

    pub(crate) fn set_word(&mut self, block: usize, at: usize, word: u64) {
        self.blocks[block].1[at * 8..at * 8 + 8].copy_from_slice(&word.to_le_bytes());
    }

    /// Truncate it.
    pub(crate) fn cut(&mut self, len_bytes: u64) {
        self.len_bytes = len_bytes;
        self.blocks
            .retain(|(block, _)| block * BLOCK_BYTES as u64 <= len_bytes);
        for (block, bytes) in &mut self.blocks {
            let left = len_bytes - *block * BLOCK_BYTES as u64;
            bytes.truncate(usize::try_from(left).unwrap());
        }
        self.blocks.retain(|(_, bytes)| !bytes.is_empty());
    }

    /// Text that is short where words repeat: a line for each block, and one for each run of equal
    /// words in it that are not 0.
    pub(crate) fn to_text(&self) -> String {
        let mut text = format!("arena of {} bytes\n", self.len_bytes);
        for (index, (block, _)) in self.blocks.iter().enumerate() {
            let _ = writeln!(text, "block {block}");
            let mut at = 0;
            while at < BLOCK_BYTES / 8 {
                let word = self.word(index, at);
                let run = (at..BLOCK_BYTES / 8).take_while(|&at| self.word(index, at) == word);
                let run = run.count();
                if word != 0 {
                    let _ = writeln!(text, "{at} {run} {word:x}");
                }
                at += run;
            }
        }
        text
    }

    /// The inverse of `to_text`.
    pub(crate) fn from_text(text: &str) -> Self {
        let mut lines = text.lines();
        let head: Vec<&str> = lines.next().unwrap().split(' ').collect();
        let len_bytes = head[2].parse().unwrap();
        let blocks = Vec::new();
        let mut arena = Self { len_bytes, blocks };
        for line in lines {
            let words: Vec<&str> = line.split(' ').collect();
            if let ["block", number] = words[..] {
                let zeros = vec![0; BLOCK_BYTES];
                arena.blocks.push((number.parse().unwrap(), zeros));
                continue;
            }
            let [at, run, word] = words[..] else {
                panic!("{line}")
            };
            let first: usize = at.parse().unwrap();
            for at in first..first + run.parse::<usize>().unwrap() {
                let word = u64::from_str_radix(word, 16).unwrap();
                arena.set_word(arena.blocks.len() - 1, at, word);
            }
        }
        arena
    }
}
