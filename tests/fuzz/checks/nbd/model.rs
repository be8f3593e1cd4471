//! A disk of 64 KiB in a vector, as an export, and what a client may expect of it.

use std::sync::Mutex;

use ramblk::nbd::{About, Errno, Export, Operation, Run};

pub(crate) const SIZE: usize = 64 << 10;
const SECTOR: usize = 512;

#[derive(Debug)]
pub(crate) struct Model {
    about: About,
    content: Mutex<Content>,
    /// Reads fail from here on.
    pub(crate) bad_from: usize,
}

#[derive(Clone, Debug)]
pub(crate) struct Content {
    pub(crate) bytes: Vec<u8>,
    /// By sector.
    pub(crate) mapped: Vec<bool>,
}

impl Content {
    pub(crate) fn write(&mut self, at: usize, from: &[u8]) {
        self.bytes[at..at + from.len()].copy_from_slice(from);
        self.map(at, from.len(), true);
    }

    pub(crate) fn zero(&mut self, at: usize, len: usize, may_unmap: bool) {
        self.bytes[at..at + len].fill(0);
        self.map(at, len, !may_unmap);
    }

    fn map(&mut self, at: usize, len: usize, mapped: bool) {
        self.mapped[at / SECTOR..(at + len) / SECTOR].fill(mapped);
    }
}

impl Model {
    pub(crate) fn new(block_bytes: u32, is_writable: bool, is_shared: bool) -> Self {
        let mut content = Content {
            bytes: vec![0; SIZE],
            mapped: vec![false; SIZE / SECTOR],
        };
        for (at, len) in [(0, 8192), (16384, 512), (17408, 512), (40960, 16384)] {
            let bytes: Vec<u8> = (0..len).map(|n| (n * 7 + at / 512) as u8 | 1).collect();
            content.write(at, &bytes);
        }
        Self {
            about: About {
                name: "vm1".into(),
                description: "a disk".into(),
                size_bytes: SIZE as u64,
                block_bytes,
                is_writable,
                is_shared,
            },
            content: Mutex::new(content),
            bad_from: SIZE,
        }
    }

    pub(crate) fn content(&self) -> Content {
        self.content.lock().unwrap().clone()
    }
}

impl Export for Model {
    fn about(&self) -> &About {
        &self.about
    }

    fn execute(&self, operation: Operation<'_>, is_gone: &dyn Fn() -> bool) -> Result<(), Errno> {
        let place = |at: u64, len: usize| {
            let at = usize::try_from(at).unwrap();
            assert!(len > 0 && at + len <= SIZE, "{len} bytes at {at}");
            at
        };
        let mut content = self.content.lock().unwrap();
        match operation {
            Operation::Read { at_bytes, into } => {
                let at = place(at_bytes, into.len());
                if at + into.len() > self.bad_from {
                    return Err(Errno::Io);
                }
                into.copy_from_slice(&content.bytes[at..at + into.len()]);
            }
            Operation::Write { at_bytes, from } => {
                assert!(self.about.is_writable && !is_gone());
                content.write(place(at_bytes, from.len()), from);
            }
            Operation::Zero {
                at_bytes,
                len_bytes,
                may_unmap,
            } => {
                assert!(self.about.is_writable);
                let len = len_bytes as usize;
                content.zero(place(at_bytes, len), len, may_unmap);
            }
            Operation::Discard {
                at_bytes,
                len_bytes,
            } => {
                assert!(self.about.is_writable);
                let len = len_bytes as usize;
                content.zero(place(at_bytes, len), len, true);
            }
            Operation::Flush => {}
        }
        Ok(())
    }

    fn allocation(&self, at_bytes: u64, end_bytes: u64) -> Result<Run, Errno> {
        let content = self.content.lock().unwrap();
        let (at, end) = (at_bytes as usize, end_bytes as usize);
        assert!(at < end && end <= SIZE, "from {at} to {end}");
        let is_set = content.mapped[at / SECTOR];
        let same = content.mapped[at / SECTOR..].iter();
        let sectors = same.take_while(|mapped| **mapped == is_set).count();
        let ends_at = (at / SECTOR + sectors) * SECTOR;
        Ok(Run {
            len_bytes: (ends_at.min(end) - at) as u64,
            is_set,
        })
    }

    fn bitmaps(&self) -> Vec<String> {
        vec!["s1".into(), "s2".into()]
    }

    fn has_bitmap(&self, name: &str) -> bool {
        ["s1", "s2"].contains(&name)
    }

    fn changes(
        &self,
        name: &str,
        at_bytes: u64,
        end_bytes: u64,
        most: usize,
    ) -> Result<Vec<Run>, Errno> {
        assert!(self.has_bitmap(name) && at_bytes < end_bytes && most > 0);
        let len_bytes = end_bytes - at_bytes;
        let is_set = name == "s1";
        Ok(vec![Run { len_bytes, is_set }])
    }
}
