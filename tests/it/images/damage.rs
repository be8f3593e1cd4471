//! qcow2 images that are damaged, cut off, or made to do harm: one line each, and nothing read
//! beyond what they have.

use ramblk::image::{Error, ImageFormat, Opening};

use super::rig::{KIB, MIB, Rig, mixed, named};

/// A small image whose tables are where the tests below want them: a header, then L1 at 3 clusters
/// (`qemu-img` puts it there), of 64 KiB each.
fn image(rig: &Rig) -> Vec<u8> {
    rig.write("raw", &mixed(MIB));
    rig.sh("qemu-img convert -f raw -O qcow2 raw image");
    rig.read("image")
}

fn be64(bytes: &[u8], at: usize) -> usize {
    u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap()) as usize
}

fn put64(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_be_bytes());
}

fn put32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
}

/// What is said, and the change of the image that is the reason.
type Case = (&'static str, Box<dyn FnOnce(&mut Vec<u8>)>);

/// Why the image is refused after this change to it.
fn why(rig: &Rig, image: &[u8], change: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut bytes = image.to_vec();
    change(&mut bytes);
    rig.write("changed", &bytes);
    rig.why_not("changed", &named(ImageFormat::Qcow2))
}

#[test]
fn headers_that_can_not_be_are_refused_with_the_value() {
    let rig = Rig::new();
    let image = image(&rig);
    let cases: [Case; 17] = [
        ("does not begin like qcow2", Box::new(|it| it[0] = 0)),
        ("qcow2 of version 9", Box::new(|it| put32(it, 4, 9))),
        ("2^40 bytes", Box::new(|it| put32(it, 20, 40))),
        ("2^8 bytes", Box::new(|it| put32(it, 20, 8))),
        ("is encrypted", Box::new(|it| put32(it, 32, 2))),
        ("marked as corrupt", Box::new(|it| it[79] |= 2)),
        ("data in another file", Box::new(|it| it[79] |= 4)),
        ("feature of bit 63", Box::new(|it| it[72] |= 0x80)),
        ("feature of bit 5", Box::new(|it| it[79] |= 0x20)),
        (
            "compression type Some(7)",
            Box::new(|it| {
                it[79] |= 8;
                it[104] = 7;
            }),
        ),
        (
            "header has 4294967295 bytes",
            Box::new(|it| put32(it, 100, u32::MAX)),
        ),
        ("header has 80 bytes", Box::new(|it| put32(it, 100, 80))),
        (
            "more than its clusters",
            Box::new(|it| put64(it, 24, u64::MAX)),
        ),
        ("its size needs", Box::new(|it| put64(it, 24, 1 << 40))),
        (
            "first table is at 12345",
            Box::new(|it| put64(it, 40, 12345)),
        ),
        (
            "cut off: its first table",
            Box::new(|it| put64(it, 40, 1 << 40)),
        ),
        ("name of its base", Box::new(|it| put64(it, 8, 1 << 40))),
    ];
    for (text, change) in cases {
        let error = why(&rig, &image, change);
        assert!(error.contains(text), "{text}: {error}");
    }
}

#[test]
fn tables_and_clusters_outside_of_the_file_or_in_each_other_are_refused() {
    let rig = Rig::new();
    let image = image(&rig);
    let l1 = be64(&image, 40);
    let l2 = (be64(&image, l1) & 0x00ff_ffff_ffff_fe00) as u64;
    let entry = l2 as usize;
    let cases: [Case; 8] = [
        (
            "a second table is at",
            Box::new(move |it| put64(it, l1, l1 as u64)),
        ),
        (
            "a second table is at 512",
            Box::new(move |it| put64(it, l1, 512)),
        ),
        (
            "cut off: a second table",
            Box::new(move |it| put64(it, l1, 1 << 40)),
        ),
        (
            "a cluster is at 512",
            Box::new(move |it| put64(it, entry, 512)),
        ),
        (
            "cut off: a cluster",
            Box::new(move |it| put64(it, entry, 1 << 40)),
        ),
        (
            "cut off: a compressed",
            Box::new(move |it| put64(it, entry, 3 << 61 | 1 << 40)),
        ),
        (
            "can't be decompressed",
            Box::new(move |it| put64(it, entry, 1 << 62 | l2)),
        ),
        (
            "overlap",
            Box::new(move |it| {
                // Each cluster of a disk of 512 MiB is the same one.
                put64(it, 24, 512 << 20);
                for index in 0..8192 {
                    put64(it, entry + index * 8, l2 + (64 << 10));
                }
            }),
        ),
    ];
    for (text, change) in cases {
        let error = why(&rig, &image, change);
        assert!(error.contains(text), "{text}: {error}");
    }
}

#[test]
fn an_image_that_is_cut_off_anywhere_is_refused_or_lacks_nothing() {
    let rig = Rig::new();
    for options in ["", "-c", "-c -o compression_type=zstd"] {
        rig.write("raw", &mixed(MIB));
        rig.sh(&format!(
            "qemu-img convert -f raw -O qcow2 {options} raw image"
        ));
        let image = rig.read("image");
        let raw = rig.read("raw");
        let mut refused = 0;
        for length in (0..image.len()).step_by(7919).chain([image.len() - 512]) {
            rig.write("short", &image[..length]);
            match rig.content_as("short", &named(ImageFormat::Qcow2)) {
                // Nothing of the disk was behind.
                Ok(content) => assert!(content == raw, "{options}, {length} bytes"),
                Err(error) => {
                    refused += 1;
                    assert!(matches!(error, Error::Damaged { .. }), "{error}");
                }
            }
        }
        assert!(refused > 10);
    }
}

#[test]
fn a_chain_that_is_a_circle_ends() {
    let rig = Rig::new();
    rig.sh("qemu-img create -q -f qcow2 a 1M
         qemu-img create -q -f qcow2 -b a -F qcow2 b
         qemu-img rebase -u -f qcow2 -F qcow2 -b b a");
    let follow = Opening {
        follow_backing: true,
        ..Opening::default()
    };
    assert!(
        rig.why_not("a", &follow)
            .contains("is a change of it in turn")
    );
}

#[test]
fn an_encrypted_image_is_refused_and_one_that_was_not_closed_is_read() {
    let rig = Rig::new();
    // It times its own hashing, and gives up where a busy machine leaves it too little to time.
    rig.sh(
        "how=encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10; \
            for _ in 1 2 3 4 5 6 7 8 9; do \
                qemu-img create -q -f qcow2 --object secret,id=s,data=x -o $how locked 1M && exit; \
            done; exit 1",
    );
    assert!(
        rig.why_not("locked", &Opening::default())
            .contains("is encrypted")
    );
    let mut image = image(&rig);
    image[79] |= 1;
    rig.write("dirty", &image);
    assert!(rig.content("dirty").unwrap() == mixed(MIB));
}

#[test]
fn a_byte_that_changed_anywhere_in_the_tables_never_panics() {
    let rig = Rig::new();
    let image = image(&rig);
    let l1 = be64(&image, 40);
    let l2 = be64(&image, l1) & 0x00ff_ffff_ffff_fe00;
    let places = (0..200).chain(l1..l1 + 8).chain(l2..l2 + 128);
    for at in places {
        for value in [0, 1, 0x80, 0xff] {
            let mut bytes = image.clone();
            bytes[at] = value;
            // Sizes beyond this would only take time.
            if be64(&bytes, 24) > 64 * MIB {
                continue;
            }
            rig.write("changed", &bytes);
            let _ = rig.content_as("changed", &named(ImageFormat::Qcow2));
        }
    }
    assert_eq!(KIB, 1024);
}
