//! qcow2 beside imago, which has nothing in common with QEMU: what is written it reads, and what it
//! writes is read.

use std::io;

use imago::file::File;
use imago::qcow2::Qcow2;
use imago::{
    FormatAccess, FormatCreateBuilder, FormatDriverBuilder, PermissiveImplicitOpenGate, Storage,
    StorageCreateOptions,
};
use ramblk::image::{Creating, Labels, Opening, Written};

use super::qcow2::{VARIANTS, chain};
use super::rig::{KIB, MIB, Rig, mixed};
use super::written::{change_of, changed, changes, outline, outlined, whole, written};
use crate::driver::data::pattern;

/// What imago reads of an image, with its bases.
fn imago_reads(rig: &Rig, name: &str) -> io::Result<Vec<u8>> {
    let image = Qcow2::<File>::builder_path(rig.path(name));
    let image = FormatAccess::new(image.open(PermissiveImplicitOpenGate::default())?);
    let mut all = vec![0xee; usize::try_from(image.size()).unwrap()];
    image.read(&mut all, 0)?;
    Ok(all)
}

fn qcow2(compressed: bool, labels: Labels) -> Creating {
    Creating {
        labels,
        ..Creating::whole(Written::Qcow2 { compressed })
    }
}

#[test]
fn imago_reads_what_is_written_except_compressed_with_zstd_which_it_refuses() {
    let rig = Rig::new();
    for length in [4 * MIB, MIB + 37 * KIB + 512] {
        let content = mixed(length);
        for is_pipe in [false, true] {
            let fill =
                |image: &mut dyn ramblk::image::ImageWriter| whole(image, &content, 64 * KIB);
            let plain = written(qcow2(false, Labels::default()), is_pipe, length, fill);
            rig.write("plain", &plain);
            assert!(imago_reads(&rig, "plain").unwrap() == content, "{length}");
            let front = outlined(outline(&content, 64 * KIB));
            rig.write("front", &written(front, is_pipe, length, fill));
            assert!(imago_reads(&rig, "front").unwrap() == content, "{length}");
            let packed = written(qcow2(true, Labels::default()), is_pipe, length, fill);
            rig.write("packed", &packed);
            let refused = imago_reads(&rig, "packed").unwrap_err().to_string();
            // The bit that says which compression it is.
            assert!(refused.contains("incompatible feature(s) 3"), "{refused}");
        }
    }
    // A change, with its base.
    rig.write("base", &mixed(4 * MIB));
    let change = qcow2(false, change_of("base", "the old one"));
    rig.write("change", &written(change, false, 4 * MIB, changes));
    assert!(imago_reads(&rig, "change").unwrap() == changed());
}

#[test]
fn imago_and_ramblk_read_the_same_of_what_qemu_img_writes() {
    let rig = Rig::new();
    rig.write("raw", &mixed(4 * MIB + 37 * KIB + 512));
    let mut agreed = 0;
    for options in VARIANTS {
        rig.sh(&format!(
            "qemu-img convert -f raw -O qcow2 {options} raw image"
        ));
        // It knows neither zstd nor subclusters.
        match imago_reads(&rig, "image") {
            Ok(read) => assert!(read == rig.content("image").unwrap(), "{options}"),
            Err(error) => {
                let is_known = options.contains("zstd") || options.contains("extended_l2");
                assert!(is_known, "{options}: {error}");
                continue;
            }
        }
        agreed += 1;
    }
    assert_eq!(agreed, 11, "variants that imago reads");
}

/// Writes of many sizes, zeros and holes, all of which imago makes.
fn fill(image: &mut FormatAccess<File>, size: u64) -> io::Result<()> {
    let mut state = 1_u64;
    let mut below = |most: u64| {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        (state >> 33) % most
    };
    for number in 0..300_u64 {
        let most = [600, 5 * 1024, 70 * 1024, 300 * 1024][usize::try_from(below(4)).unwrap()];
        let start = below(size - 1);
        let length = (1 + below(most)).min(size - start);
        match below(10) {
            0 => image.write_zeroes(start, length)?,
            1 => image.discard_to_zero(start, length)?,
            _ => {
                let seed = u8::try_from(number % 251).unwrap();
                let bytes = pattern(usize::try_from(length).unwrap(), seed);
                image.write(&bytes, start)?;
            }
        }
    }
    image.flush()
}

#[test]
fn what_imago_writes_is_read() {
    let rig = Rig::new();
    let size = (5 * MIB + 12 * KIB + 512) as u64;
    for (cluster, refcount_bits) in [(512, 16), (4096, 1), (64 << 10, 16), (2 << 20, 64)] {
        let name = format!("{cluster}");
        let file = File::create_open(StorageCreateOptions::new().filename(rig.path(&name)));
        let created = Qcow2::<File>::create_builder(file.unwrap())
            .size(size)
            .cluster_size(cluster)
            .refcount_width(refcount_bits)
            .create_open(PermissiveImplicitOpenGate::default(), |file| {
                Ok(Qcow2::<File>::builder(file).write(true))
            });
        let mut image = FormatAccess::new(created.unwrap());
        fill(&mut image, size).unwrap();
        drop(image);
        let read = rig.content(&name).unwrap();
        assert!(read.iter().any(|&byte| byte != 0));
        assert!(read == imago_reads(&rig, &name).unwrap(), "{cluster}");
        assert!(read == rig.qemu_reads(&name), "{cluster}");
    }
}

#[test]
fn imago_and_ramblk_read_a_chain_of_three_alike_until_imago_knows_no_more() {
    let rig = Rig::new();
    chain(&rig);
    let follow = Opening {
        follow_backing: true,
        ..Opening::default()
    };
    // The lowest is compressed with zstd, and the one on top has subclusters.
    for (line, name) in [
        ("qemu-img convert -f qcow2 -O qcow2 -c low low2", "low"),
        (
            "qemu-img convert -f qcow2 -O qcow2 -B middle -F qcow2 top top2",
            "top",
        ),
    ] {
        rig.sh(&format!("{line}; mv {name}2 {name}"));
    }
    let wanted = rig.qemu_reads("top");
    assert!(imago_reads(&rig, "top").unwrap() == wanted);
    assert!(rig.content_as("top", &follow).unwrap() == wanted);
}
