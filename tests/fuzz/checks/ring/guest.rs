//! Guest memory: files that the ring has mapped, and a model of their content.
//!
//! The regions touch each other, leave a hole, end at the last address, begin in the middle of a
//! page, and are parts of larger files, so that a stray write next to them is noticed.

use std::fs::File;
use std::os::unix::fs::FileExt;

use ramblk::vhost_user::fuzz::{Memory, Region};
use rustix::fs::MemfdFlags;

/// The front end's address of guest address 0.
pub(crate) const USER: u64 = 0x7f00_0010_0000;
/// The last region ends with the last possible address.
pub(crate) const TOP: u64 = 0xffff_ffff_ffff_f000;

/// How large the first region is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Fits rings of 1024.
    Small,
    /// Fits rings of 32768.
    Large,
}

#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) region: Region,
    file: File,
    /// The expected content of the file.
    image: Vec<u8>,
    pristine: [Vec<u8>; 2],
}

/// Guest memory that is reused.
#[derive(Debug)]
pub(crate) struct Guest {
    pub(crate) memory: Memory,
    pub(crate) parts: Vec<Part>,
    /// A buffer for reading files.
    found: Vec<u8>,
}

fn memfd(bytes: &[u8]) -> File {
    let file = File::from(rustix::fs::memfd_create("guest", MemfdFlags::CLOEXEC).unwrap());
    file.write_all_at(bytes, 0).unwrap();
    file
}

impl Guest {
    pub(crate) fn new(extent: Extent) -> Self {
        let first = match extent {
            Extent::Small => 0x8000,
            Extent::Large => 0x10_0000,
        };
        let parts = [
            (0, first, USER, 0, first),
            (first, 0x1000, USER + 0x100_0000, 0x1000, 0x3000),
            (first + 0x2000, 0x804, USER + first, 0x123, 0x1000),
            (TOP, 0xfff, USER + 0x200_0000, 0, 0x1000),
        ];
        let parts: Vec<Part> = parts
            .into_iter()
            .map(|(guest, size_bytes, user, file_offset, file_bytes)| {
                let noise = (0..file_bytes)
                    .map(|i: u64| {
                        (guest + i)
                            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                            .to_le_bytes()[7]
                    })
                    .collect();
                let zeros = vec![0; file_bytes as usize];
                Part {
                    region: Region {
                        guest,
                        size_bytes,
                        user,
                        file_offset,
                    },
                    file: memfd(&zeros),
                    image: zeros.clone(),
                    pristine: [zeros, noise],
                }
            })
            .collect();
        let regions = parts
            .iter()
            .map(|part| (part.region, part.file.try_clone().unwrap()));
        Self {
            memory: Memory::new(regions).unwrap(),
            parts,
            found: Vec::new(),
        }
    }

    /// Restore everything to zeros or noise.
    pub(crate) fn reset(&mut self, noise: bool) {
        let begun = usize::from(noise);
        for part in &mut self.parts {
            if part.image != part.pristine[begun] {
                part.image.copy_from_slice(&part.pristine[begun]);
                part.file.write_all_at(&part.image, 0).unwrap();
            }
        }
    }

    /// Check every byte of every file, in the regions and beside them.
    pub(crate) fn compare(&mut self) {
        let found = &mut self.found;
        for part in &self.parts {
            found.resize(part.image.len(), 0);
            part.file.read_exact_at(found, 0).unwrap();
            if *found != part.image {
                let at = (0..found.len()).find(|&at| found[at] != part.image[at]);
                panic!(
                    "byte {at:x?} of the region at {:#x} differs",
                    part.region.guest
                );
            }
        }
    }

    /// The region that contains guest address `at`, and the distance from there to its end.
    pub(crate) fn find(&self, at: u64) -> Option<(usize, u64)> {
        self.parts.iter().enumerate().find_map(|(index, part)| {
            let offset = at.checked_sub(part.region.guest)?;
            let rest = part.region.size_bytes.checked_sub(offset)?;
            (rest > 0).then_some((index, rest))
        })
    }

    /// The guest address at a front end's address, if `len` bytes from there lie in one region.
    pub(crate) fn guest_of(&self, user: u64, len: u64) -> Option<u64> {
        self.parts.iter().find_map(|part| {
            let offset = user.checked_sub(part.region.user)?;
            let fits = offset.checked_add(len)? <= part.region.size_bytes;
            fits.then(|| part.region.guest + offset)
        })
    }

    /// Whether the address in our own memory is aligned, for alignments of up to a page.
    pub(crate) fn is_aligned(&self, at: u64, align: u64) -> bool {
        let (index, _) = self.find(at).unwrap();
        let region = &self.parts[index].region;
        (region.file_offset + (at - region.guest)).is_multiple_of(align)
    }

    /// At most `len` expected bytes at `at`, up to the end of the region.
    pub(crate) fn peek(&self, at: u64, len: usize) -> &[u8] {
        let Some((index, rest)) = self.find(at) else {
            return &[];
        };
        let part = &self.parts[index];
        let from = (at - part.region.guest + part.region.file_offset) as usize;
        &part.image[from..from + len.min(rest as usize)]
    }

    /// `N` bytes, across regions.
    pub(crate) fn read<const N: usize>(&self, at: u64) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        let mut done = 0;
        while done < N {
            let piece = self.peek(at.checked_add(done as u64)?, N - done);
            if piece.is_empty() {
                return None;
            }
            bytes[done..done + piece.len()].copy_from_slice(piece);
            done += piece.len();
        }
        Some(bytes)
    }

    pub(crate) fn u16(&self, at: u64) -> u16 {
        u16::from_le_bytes(self.read(at).unwrap())
    }

    /// Expect the device to have written these bytes.
    pub(crate) fn expect(&mut self, at: u64, bytes: &[u8]) {
        self.each(at, bytes, |_, _, _| {});
    }

    /// The driver writes these bytes; those outside all regions are lost.
    pub(crate) fn write(&mut self, at: u64, bytes: &[u8]) {
        self.each(at, bytes, |file, from, bytes| {
            file.write_all_at(bytes, from).unwrap();
        });
    }

    fn each(&mut self, mut at: u64, mut bytes: &[u8], also: impl Fn(&File, u64, &[u8])) {
        while !bytes.is_empty() {
            let Some((index, rest)) = self.find(at) else {
                return;
            };
            let part = &mut self.parts[index];
            let from = at - part.region.guest + part.region.file_offset;
            let (head, tail) = bytes.split_at(bytes.len().min(rest as usize));
            part.image[from as usize..][..head.len()].copy_from_slice(head);
            also(&part.file, from, head);
            at = at.wrapping_add(head.len() as u64);
            bytes = tail;
        }
    }
}
