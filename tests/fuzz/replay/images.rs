//! Seeds that are images: small qcow2 images made by hand, and zstd frames as they are written.
#![allow(clippy::cast_possible_truncation, reason = "the images are small")]

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use ramblk::image::{Base, Creating, Error, Labels, Output, Written, create};

/// A qcow2 image with clusters of `1 << bits` bytes: a header, a table of each level, and clusters.
fn image(bits: u32, version: u32, features: u64, entries: &[u64], tail: &[u8]) -> Vec<u8> {
    let cluster = 1_usize << bits;
    let size = 9 * cluster as u64 + 100;
    let mut file = vec![0; 3 * cluster];
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"QFI\xfb");
    put(4, &version.to_be_bytes());
    put(20, &bits.to_be_bytes());
    put(24, &size.to_be_bytes());
    put(36, &1_u32.to_be_bytes());
    put(40, &(cluster as u64).to_be_bytes());
    if version == 3 {
        put(72, &features.to_be_bytes());
        put(96, &4_u32.to_be_bytes());
        put(100, &112_u32.to_be_bytes());
        put(104, &[u8::from(features & 8 != 0)]);
    }
    put(cluster, &((1 << 63) | (2 * cluster as u64)).to_be_bytes());
    for (number, entry) in entries.iter().enumerate() {
        put(2 * cluster + number * 8, &entry.to_be_bytes());
    }
    file.extend_from_slice(tail);
    file
}

pub(crate) fn qcow2s() -> Vec<Vec<u8>> {
    let data: Vec<u8> = (0..1536_u32).map(|at| (at % 251) as u8).collect();
    let at = |number: u64| (1 << 63) | (number * 512);
    let mut seeds = vec![
        image(9, 3, 0, &[at(3), 0, at(4), 1, 0, at(5)], &data),
        image(9, 2, 0, &[at(3), at(4), 0, at(5)], &data),
        image(9, 3, 1, &[at(3), 1, at(3)], &data),
        image(9, 2, 0, &[at(3), 1], &data),
        image(9, 3, 2, &[], &[]),
        image(9, 3, 4, &[], &[]),
        image(9, 3, 1 << 40, &[], &[]),
        image(9, 3, 0, &[at(900)], &data),
        image(9, 3, 0, &[at(2), at(1), at(0)], &data),
    ];
    // A stored block of deflate, and zstd's frame of one repeated byte.
    let stored = [&[1, 0, 2, 0xff, 0xfd][..], &data[..512]].concat();
    let packed = (1 << 62) | (1 << 61) | 1536;
    seeds.push(image(9, 3, 0, &[packed, 0, packed], &stored));
    let repeated = [0x28, 0xb5, 0x2f, 0xfd, 0x60, 0, 1, 3, 0x10, 0, 7];
    seeds.push(image(
        9,
        3,
        8,
        &[(1 << 62) | 1536, 0, at(4)],
        &[&repeated[..], &data].concat(),
    ));
    seeds.push(image(9, 3, 8, &[(1 << 62) | 1536], &[1; 40]));
    // Subclusters: some there, some zeros, and both, which can't be.
    let there = vec![5; 16 << 10];
    for bitmap in [0x00ff_0000_0000_ff00, 0xffff_ffff_0000_0000, (3 << 32) | 1] {
        let offset = (1 << 63) | (3 << 14);
        seeds.push(image(14, 3, 16, &[offset, bitmap, 0, 2 << 32], &there));
    }
    // A base.
    let mut based = image(9, 3, 0, &[at(3), 1], &data);
    based[8..16].copy_from_slice(&400_u64.to_be_bytes());
    based[16..20].copy_from_slice(&4_u32.to_be_bytes());
    based[400..404].copy_from_slice(b"base");
    based[112..124].copy_from_slice(b"\xe2\x79\x2a\xca\0\0\0\x03raw\0");
    seeds.push(based);
    let mut large = image(14, 3, 0, &[], &[]);
    large[24..32].copy_from_slice(&(10_u64 << 20).to_be_bytes());
    seeds.push(large);
    let cut = seeds[0][..3000].to_vec();
    seeds.push(cut);
    seeds
}

/// What an image is written into.
#[derive(Debug)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Output for Memory {
    fn name(&self) -> &str {
        "memory"
    }

    fn finish(self: Box<Self>) -> Result<(), Error> {
        Ok(())
    }
}

fn written(base: Option<Base>) -> Vec<u8> {
    let bytes = Arc::new(Mutex::new(Vec::new()));
    let content_id = Some("new".to_owned());
    let how = Creating {
        labels: Labels { content_id, base },
        ..Creating::whole(Written::Zstd)
    };
    let mut image = create(Box::new(Memory(Arc::clone(&bytes))), how).unwrap();
    image.data(4096, &[7; 5120]).unwrap();
    image.zero(12_288..16_384).unwrap();
    image.data(2 << 20, &[9; 512]).unwrap();
    image.finish((2 << 20) + 1000).unwrap();
    std::mem::take(&mut *bytes.lock().unwrap())
}

/// zstd's frame of `length` times one byte, of at most 64 KiB.
fn repeated(byte: u8, length: u16) -> Vec<u8> {
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x60];
    frame.extend_from_slice(&(length - 256).to_le_bytes());
    let header = (u32::from(length) << 3) | 3;
    frame.extend_from_slice(&header.to_le_bytes()[..3]);
    frame.push(byte);
    frame
}

/// Frames and a seek table that ramblk did not write.
fn foreign(lengths: &[u16], flags: u8) -> Vec<u8> {
    let mut file = Vec::new();
    let mut rows = Vec::new();
    for (byte, &length) in (1..).zip(lengths) {
        let frame = repeated(byte, length);
        rows.extend_from_slice(&(frame.len() as u32).to_le_bytes());
        rows.extend_from_slice(&u32::from(length).to_le_bytes());
        if flags == 0x80 {
            rows.extend_from_slice(&[0; 4]);
        }
        file.extend_from_slice(&frame);
    }
    file.extend_from_slice(&0x184d_2a5e_u32.to_le_bytes());
    file.extend_from_slice(&(rows.len() as u32 + 9).to_le_bytes());
    file.extend_from_slice(&rows);
    file.extend_from_slice(&(lengths.len() as u32).to_le_bytes());
    file.push(flags);
    file.extend_from_slice(&0x8f92_eab1_u32.to_le_bytes());
    file
}

pub(crate) fn frames() -> Vec<Vec<u8>> {
    let base = Base {
        content_id: Some("old".into()),
        name: Some("base.zst".into()),
        format: None,
    };
    let (whole, change) = (written(None), written(Some(base)));
    let large = {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let how = Creating::whole(Written::Zstd);
        let image = create(Box::new(Memory(Arc::clone(&bytes))), how).unwrap();
        image.finish(300 << 20).unwrap();
        std::mem::take(&mut *bytes.lock().unwrap())
    };
    let mut lies = foreign(&[4096, 8192], 0);
    lies[20] ^= 1;
    let mut damaged = whole.clone();
    damaged[80] ^= 1;
    let cut = whole[..whole.len() - 20].to_vec();
    let mut seeds = vec![whole, change, large, lies, damaged, cut];
    for flags in [0, 0x80, 4] {
        seeds.push(foreign(&[4096, 8192, 5000], flags));
        seeds.push(foreign(&[5000, 4096], flags));
    }
    seeds
}
