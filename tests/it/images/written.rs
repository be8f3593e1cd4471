//! Images that are written: QEMU and zstd find in them what went in.

use std::io::{self, Write};
use std::ops::Range;
use std::sync::Arc;

use parking_lot::Mutex;
use ramblk::image::{
    Base, Creating, Error, ImageWriter, Labels, Opening, Outline, Output, Part, Written, create,
    open,
};

use super::rig::{KIB, MIB, Rig, mixed};

/// What a writer's bytes go into: memory, which is a pipe that can't be changed, or is not.
#[derive(Debug, Default)]
struct Memory {
    bytes: Vec<u8>,
    is_pipe: bool,
    done: Arc<Mutex<Option<Vec<u8>>>>,
}

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
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

    fn head_bytes(&self) -> u64 {
        if self.is_pipe { 0 } else { 64 << 10 }
    }

    fn rewrite_head(&mut self, head: &[u8]) -> io::Result<()> {
        assert!(!self.is_pipe && head.len() <= 64 << 10);
        self.bytes[..head.len()].copy_from_slice(head);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<(), Error> {
        *self.done.lock() = Some(self.bytes);
        Ok(())
    }
}

/// The bytes of an image that `fill` writes.
pub(super) fn written(
    how: Creating,
    is_pipe: bool,
    end_bytes: usize,
    fill: impl FnOnce(&mut dyn ImageWriter),
) -> Vec<u8> {
    let done = Arc::new(Mutex::new(None));
    let output = Memory {
        is_pipe,
        done: Arc::clone(&done),
        ..Memory::default()
    };
    let mut image = create(Box::new(output), how).unwrap();
    fill(&mut *image);
    assert!(done.lock().is_none(), "it is not complete");
    image.finish(end_bytes as u64).unwrap();
    done.lock().take().unwrap()
}

/// Write content in pieces of this size, and leave out pieces of zeros.
pub(super) fn whole(image: &mut dyn ImageWriter, content: &[u8], piece: usize) {
    for (at, bytes) in (0..).step_by(piece).zip(content.chunks(piece)) {
        if bytes.iter().any(|&byte| byte != 0) {
            image.data(at, bytes).unwrap();
        }
    }
}

#[test]
fn qemu_img_finds_no_fault_and_the_same_content_in_qcow2() {
    let rig = Rig::new();
    for compressed in [false, true] {
        for (length, piece) in [(3 * MIB, MIB), (4 * MIB + 5 * KIB, 4 * KIB), (512, 512)] {
            let content = mixed(length);
            let how = Creating::whole(Written::Qcow2 { compressed });
            let bytes = written(how, compressed, length, |image| {
                whole(image, &content, piece)
            });
            rig.write("image", &bytes);
            rig.sh("qemu-img check -q image");
            assert!(rig.qemu_reads("image") == content, "{compressed}, {length}");
            assert!(rig.content("image").unwrap() == content);
        }
    }
}

#[test]
fn a_large_sparse_disk_is_a_small_qcow2() {
    let rig = Rig::new();
    for compressed in [false, true] {
        let how = Creating::whole(Written::Qcow2 { compressed });
        let bytes = written(how, false, 3 << 40, |image| {
            image.data(512 << 20, &[1; 4096]).unwrap();
            image.data((2 << 40) - 4096, &[2; 8192]).unwrap();
        });
        assert!(bytes.len() < MIB, "{} bytes", bytes.len());
        rig.write("image", &bytes);
        rig.sh("qemu-img check -q image");
        rig.sh("qemu-io -r -f qcow2 -c 'read -P 1 512M 4k' -c 'read -P 2 2199023251456 8k' image");
    }
}

/// The pieces of this size that aren't zeros, as [`whole`] writes them.
pub(super) fn outline(content: &[u8], piece: usize) -> Outline {
    let mut outline = Outline::new(content.len() as u64);
    for (at, bytes) in (0..).step_by(piece).zip(content.chunks(piece)) {
        if bytes.iter().any(|&byte| byte != 0) {
            outline.data(at..at + bytes.len() as u64);
        }
    }
    outline
}

const PLAIN: Written = Written::Qcow2 { compressed: false };

pub(super) fn outlined(outline: Outline) -> Creating {
    Creating {
        outline: Some(outline),
        ..Creating::whole(PLAIN)
    }
}

#[test]
fn with_an_outline_a_qcow2_goes_into_a_pipe_as_it_is_made() {
    let rig = Rig::new();
    for (length, piece) in [
        (3 * MIB, MIB),
        (4 * MIB + 5 * KIB, 4 * KIB),
        (70 * KIB, 512),
        (512, 512),
    ] {
        let content = mixed(length);
        let how = outlined(outline(&content, piece));
        let bytes = written(how, true, length, |image| whole(image, &content, piece));
        rig.write("image", &bytes);
        rig.sh("qemu-img check -q image");
        assert!(rig.qemu_reads("image") == content, "{length}");
        assert!(rig.content("image").unwrap() == content);
    }
    // Two tables, far from each other, and an image with nothing.
    let mut far = Outline::new(3 << 40);
    far.data(512 << 20..(512 << 20) + 4096);
    far.data((2 << 40) - 4096..(2 << 40) + 4096);
    let bytes = written(outlined(far), true, 3 << 40, |image| {
        image.data(512 << 20, &[1; 4096]).unwrap();
        image.data((2 << 40) - 4096, &[2; 8192]).unwrap();
    });
    assert!(bytes.len() < MIB, "{} bytes", bytes.len());
    rig.write("far", &bytes);
    rig.sh("qemu-img check -q far
         qemu-io -r -f qcow2 -c 'read -P 1 512M 4k' -c 'read -P 2 2199023251456 8k' far");
    let empty = written(outlined(Outline::new(1 << 20)), true, MIB, |_| {});
    rig.write("empty", &empty);
    rig.sh("qemu-img check -q empty");
    assert!(rig.qemu_reads("empty") == vec![0; MIB]);
}

#[test]
fn a_change_with_an_outline_is_stacked_by_qemu_and_what_was_not_announced_is_refused() {
    let rig = Rig::new();
    rig.write("base", &mixed(4 * MIB));
    let announced = || {
        let mut outline = Outline::new(4 << 20);
        outline.data(64 << 10..128 << 10);
        outline.zero(320 << 10..448 << 10);
        outline.data(2 << 20..(2 << 20) + (64 << 10));
        outline.data(3 << 20..4 << 20);
        outline
    };
    let how = Creating {
        labels: change_of("base", "the old one"),
        ..outlined(announced())
    };
    rig.write("image", &written(how, true, 4 * MIB, changes));
    rig.sh("qemu-img check -q image");
    assert!(rig.qemu_reads("image") == changed());
    let follow = Opening {
        follow_backing: true,
        ..Opening::default()
    };
    let image = open(&rig.path("image"), &follow).unwrap();
    assert_eq!(image.about().labels, change_of("base", "the old one"));
    // What was announced and never came is zeros, and what comes unannounced is an error.
    let pipe = || {
        Box::new(Memory {
            is_pipe: true,
            ..Memory::default()
        })
    };
    let mut image = create(pipe(), outlined(announced())).unwrap();
    image.data(1 << 20, &[1; 64 << 10]).unwrap();
    let error = image.data(3 << 20, &[1; 512]).unwrap_err().to_string();
    assert!(error.contains("none was announced"), "{error}");
    let image = create(pipe(), outlined(announced())).unwrap();
    let error = image.finish(5 << 20).unwrap_err().to_string();
    assert!(error.contains("was announced"), "{error}");
}

pub(super) fn change_of(name: &str, id: &str) -> Labels {
    Labels {
        content_id: Some("the new one".into()),
        base: Some(Base {
            content_id: Some(id.into()),
            name: Some(name.into()),
            format: Some("raw".into()),
        }),
    }
}

/// Changes of `mixed(4 * MIB)`: data, zeros, and both within 1 MiB.
pub(super) fn changes(image: &mut dyn ImageWriter) {
    image.data(64 << 10, &[1; 64 << 10]).unwrap();
    image.zero(320 << 10..448 << 10).unwrap();
    image.data(2 << 20, &[0; 64 << 10]).unwrap();
    image.data(3 << 20, &[3; 1 << 20]).unwrap();
}

pub(super) fn changed() -> Vec<u8> {
    let mut content = mixed(4 * MIB);
    content[64 * KIB..128 * KIB].fill(1);
    content[320 * KIB..448 * KIB].fill(0);
    content[2 * MIB..2 * MIB + 64 * KIB].fill(0);
    content[3 * MIB..].fill(3);
    content
}

#[test]
fn a_change_as_qcow2_is_stacked_by_qemu() {
    let rig = Rig::new();
    rig.write("base", &mixed(4 * MIB));
    for compressed in [false, true] {
        let how = Creating {
            labels: change_of("base", "the old one"),
            ..Creating::whole(Written::Qcow2 { compressed })
        };
        assert_eq!(how.granule_bytes(), 64 << 10);
        let bytes = written(how, false, 4 * MIB, changes);
        rig.write("image", &bytes);
        rig.sh("qemu-img check -q image");
        assert!(rig.qemu_reads("image") == changed());
        let follow = Opening {
            follow_backing: true,
            ..Opening::default()
        };
        assert!(rig.content_as("image", &follow).unwrap() == changed());
        let image = open(&rig.path("image"), &follow).unwrap();
        assert_eq!(image.about().labels, change_of("base", "the old one"));
    }
}

/// The parts of an image that is opened without its base, joined.
fn parts(rig: &Rig, name: &str) -> Vec<(Range<u64>, bool)> {
    let how = Opening {
        without_base: true,
        ..Opening::default()
    };
    let mut image = open(&rig.path(name), &how).unwrap();
    let mut joined: Vec<(Range<u64>, bool)> = Vec::new();
    while let Some(part) = image.next().unwrap() {
        let (range, data) = match part {
            Part::Data { start_bytes, bytes } => {
                (start_bytes..start_bytes + bytes.len() as u64, true)
            }
            Part::Zero(range) => (range, false),
        };
        match joined.last_mut() {
            Some((last, kind)) if last.end == range.start && *kind == data => last.end = range.end,
            _ => joined.push((range, data)),
        }
    }
    assert_eq!(image.end_bytes().unwrap(), 4 << 20);
    joined
}

#[test]
fn a_change_says_what_is_data_and_what_became_zeros() {
    let rig = Rig::new();
    rig.write("base", &mixed(4 * MIB));
    let kib = |n: u64| n << 10;
    let wanted = [
        (kib(64)..kib(128), true),
        (kib(320)..kib(448), false),
        (kib(2048)..kib(2112), false),
        (kib(3072)..kib(4096), true),
    ];
    for format in [Written::Zstd, Written::Qcow2 { compressed: true }] {
        let how = Creating {
            labels: change_of("base", "the old one"),
            ..Creating::whole(format)
        };
        let bytes = written(how, true, 4 * MIB, changes);
        rig.write("image", &bytes);
        assert_eq!(parts(&rig, "image"), wanted, "{format:?}");
        // The same from a pipe.
        assert_eq!(parts(&rig, &rig.feed("image")), wanted, "{format:?}");
    }
    rig.write(
        "change.zst",
        &written(
            Creating {
                labels: change_of("base", "the old one"),
                ..Creating::whole(Written::Zstd)
            },
            true,
            4 * MIB,
            changes,
        ),
    );
    let error = rig.why_not("change.zst", &Opening::default());
    assert!(
        error.contains("is a change of the content the old one"),
        "{error}"
    );
    let raw = Creating {
        labels: change_of("base", "the old one"),
        ..Creating::whole(Written::Raw)
    };
    assert!(create(Box::new(Memory::default()), raw).is_err());
}

#[test]
fn zstd_makes_the_exact_raw_image_of_frames_and_holes_are_small() {
    let rig = Rig::new();
    let how = || Creating::whole(Written::Zstd);
    for (length, piece) in [
        (3 * MIB, MIB),
        (4 * MIB + 5 * KIB, 4 * KIB),
        (512, 512),
        (700, 512),
    ] {
        let content = mixed(length);
        rig.write(
            "image.zst",
            &written(how(), true, length, |it| whole(it, &content, piece)),
        );
        rig.sh("zstd -qt image.zst; zstd -qdfk image.zst");
        assert!(rig.read("image") == content, "{length}, {piece}");
        assert!(
            rig.content("image.zst").unwrap() == content,
            "{length}, {piece}"
        );
    }
    // 1 TiB with two pages.
    let bytes = written(how(), true, 1 << 40, |image| {
        image.data(5 << 20, &[1; 4096]).unwrap();
        image.data((1 << 40) - 4096, &[2; 4096]).unwrap();
    });
    rig.write("large.zst", &bytes);
    let mut image = open(&rig.path("large.zst"), &Opening::default()).unwrap();
    assert_eq!(image.about().size_bytes, Some(1 << 40));
    let extents = image.extents().unwrap().unwrap();
    assert_eq!(extents.count, 2);
    let mut starts = Vec::new();
    while let Some(Part::Data { start_bytes, bytes }) = image.next().unwrap() {
        let first = bytes.iter().position(|&byte| byte != 0).unwrap();
        starts.push(start_bytes + first as u64);
    }
    assert_eq!(starts, [5 << 20, (1 << 40) - 4096]);
}
