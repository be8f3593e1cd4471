//! qcow2 beside `qemu-img`: every variant that it writes, and chains.

use ramblk::image::Opening;

use super::rig::{KIB, MIB, Rig, mixed};

/// Options of `qemu-img convert`.
pub(super) const VARIANTS: [&str; 19] = [
    "-o compat=0.10",
    "-c -o compat=0.10",
    "-o compat=1.1",
    "-c",
    "-c -o compression_type=zstd",
    "-o compression_type=zstd",
    "-o cluster_size=512",
    "-c -o cluster_size=512",
    "-c -o cluster_size=4k,compression_type=zstd",
    "-o cluster_size=2M",
    "-c -o cluster_size=2M",
    "-c -o cluster_size=2M,compression_type=zstd",
    "-o extended_l2=on,cluster_size=16k",
    "-o extended_l2=on,cluster_size=128k",
    "-c -o extended_l2=on",
    "-c -o extended_l2=on,compression_type=zstd,cluster_size=2M",
    "-o preallocation=metadata",
    "-o preallocation=full",
    "-o lazy_refcounts=on,refcount_bits=1",
];

#[test]
fn every_variant_that_qemu_img_writes_has_the_same_content() {
    let rig = Rig::new();
    // The second ends in the middle of a cluster, of a page and of a table's region.
    for length in [3 * MIB, 4 * MIB + 37 * KIB + 512] {
        rig.write("raw", &mixed(length));
        for options in VARIANTS {
            rig.sh(&format!(
                "qemu-img convert -f raw -O qcow2 {options} raw image"
            ));
            let content = rig.content("image").unwrap();
            assert!(content == mixed(length), "{options}, {length}");
        }
    }
}

#[test]
fn subclusters_are_read_one_by_one() {
    let rig = Rig::new();
    rig.sh(
        "qemu-img create -q -f qcow2 -o extended_l2=on,cluster_size=64k image 3M
         qemu-io -c 'write -P 1 2k 2k' -c 'write -P 2 6k 4k' -c 'write -P 3 512 512' \
             -c 'write -P 4 1M 64k' -c 'write -z 1030k 6k' -c 'discard 1040k 4k' \
             -c 'write -P 5 2047k 3k' image >/dev/null",
    );
    assert!(rig.content("image").unwrap() == rig.qemu_reads("image"));
}

/// A chain of three: raw, with small clusters, and with large ones; parts of each are covered.
pub(super) fn chain(rig: &Rig) {
    rig.write("base", &mixed(3 * MIB));
    rig.sh(
        "qemu-img convert -f raw -O qcow2 -c -o cluster_size=2M,compression_type=zstd base low
         qemu-img create -q -f qcow2 -b low -F qcow2 -o cluster_size=4k middle 5M
         qemu-io -c 'write -P 1 0 5k' -c 'write -z 340k 60k' -c 'write -P 2 1M 4k' \
             -c 'write -P 3 4M 10k' middle >/dev/null
         qemu-img create -q -f qcow2 -b middle -F qcow2 -o extended_l2=on top 4800k
         qemu-io -c 'write -P 4 2k 2k' -c 'write -P 5 1M 4k' -c 'discard 4M 4k' \
             -c 'write -P 6 4790k 10k' top >/dev/null",
    );
}

#[test]
fn a_chain_of_three_with_other_cluster_sizes_is_read_through() {
    let rig = Rig::new();
    chain(&rig);
    let wanted = rig.qemu_reads("top");
    let given = Opening {
        backing: vec![rig.medium("middle"), rig.medium("low")],
        ..Opening::default()
    };
    assert!(rig.content_as("top", &given).unwrap() == wanted);
    let follow = Opening {
        follow_backing: true,
        ..Opening::default()
    };
    assert!(rig.content_as("top", &follow).unwrap() == wanted);
    // The first base is given, and the next one is looked for.
    let both = Opening {
        backing: vec![rig.medium("middle")],
        ..follow
    };
    assert!(rig.content_as("top", &both).unwrap() == wanted);
}

#[test]
fn a_base_is_read_only_if_it_is_given_or_looked_for_in_the_same_folder() {
    let rig = Rig::new();
    chain(&rig);
    let error = rig.why_not("top", &Opening::default());
    assert!(
        error.contains(r#"is a change of "middle": give that with --backing"#),
        "{error}"
    );
    let extra = Opening {
        backing: vec![rig.medium("middle"), rig.medium("low"), rig.medium("base")],
        ..Opening::default()
    };
    assert!(
        rig.why_not("top", &extra)
            .contains("has no base: leave out --backing")
    );
    let follow = Opening {
        follow_backing: true,
        ..Opening::default()
    };
    for path in ["$PWD/low", "../low", "x/../low"] {
        rig.sh(&format!(
            "qemu-img rebase -u -f qcow2 -F qcow2 -b {path} middle"
        ));
        let error = rig.why_not("middle", &follow);
        assert!(
            error.contains("is a path: give it with --backing"),
            "{error}"
        );
    }
    rig.sh("qemu-img rebase -u -f qcow2 -F qcow2 -b gone middle");
    assert!(rig.why_not("middle", &follow).contains("gone"));
    // A base that is a pipe would never end.
    rig.sh("mkfifo pipe; qemu-img rebase -u -f qcow2 -F raw -b pipe middle");
    assert!(rig.why_not("middle", &follow).contains("it isn't a file"));
}

#[test]
fn a_base_whose_format_is_raw_is_never_taken_for_something_else() {
    let rig = Rig::new();
    // A guest wrote the beginning of a qcow2 image to its raw disk.
    let mut guest = mixed(MIB);
    guest[..8].copy_from_slice(b"QFI\xfb\0\0\0\x03");
    rig.write("guest", &guest);
    rig.sh("qemu-img create -q -f qcow2 -b guest -F raw image");
    let follow = Opening {
        follow_backing: true,
        ..Opening::default()
    };
    assert!(rig.content_as("image", &follow).unwrap() == guest);
}

#[test]
fn without_its_base_an_image_has_only_its_changes() {
    use ramblk::image::{Part, open};
    let rig = Rig::new();
    chain(&rig);
    let how = Opening {
        without_base: true,
        ..Opening::default()
    };
    let mut image = open(&rig.path("middle"), &how).unwrap();
    let base = image.about().labels.base.clone().unwrap();
    assert_eq!(base.name.as_deref(), Some("low"));
    let mut parts = Vec::new();
    while let Some(part) = image.next().unwrap() {
        parts.push(match part {
            Part::Data { start_bytes, bytes } => (start_bytes, bytes.len() as u64, true),
            Part::Zero(range) => (range.start, range.end - range.start, false),
        });
    }
    let kib = |n: u64| n << 10;
    // QEMU reads the rest of a cluster of 4 KiB from the base, when it writes a part of it.
    let mut joined: Vec<(u64, u64, bool)> = Vec::new();
    for (start, length, data) in parts {
        match joined.last_mut() {
            Some(last) if last.0 + last.1 == start && last.2 == data => last.1 += length,
            _ => joined.push((start, length, data)),
        }
    }
    let wanted = [
        (0, kib(8), true),
        (kib(340), kib(60), false),
        (kib(1024), kib(4), true),
        (kib(4096), kib(12), true),
    ];
    assert_eq!(joined, wanted);
}

#[test]
fn extents_are_known_from_the_tables() {
    use ramblk::image::open;
    let rig = Rig::new();
    rig.sh("qemu-img create -q -f qcow2 image 1T
         qemu-io -c 'write -P 1 1M 128k' -c 'write -P 2 900G 64k' image >/dev/null");
    let mut image = open(&rig.path("image"), &Opening::default()).unwrap();
    let extents = image.extents().unwrap().unwrap();
    assert_eq!((extents.count, extents.data_bytes), (2, 192 << 10));
    // And reading it takes no longer than what it has.
    let mut parts = 0;
    while image.next().unwrap().is_some() {
        parts += 1;
    }
    assert_eq!(parts, 2);
}
