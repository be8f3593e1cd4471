//! Compressed images: what gzip, xz and zstd make is read, whatever is inside.

use ramblk::image::{Content, Creating, ImageFormat, Opening, Packing, Written, create, open};

use super::rig::{KIB, MIB, Rig, mixed, named};

const PACKED: [(&str, &str); 9] = [
    ("gzip -1", "gzip"),
    ("pigz -c || gzip -c", "two members"),
    ("xz -0", "xz"),
    ("xz -0 -T2 --block-size=1MiB", "xz in blocks"),
    ("xz -0 --check=none", "xz without a check"),
    ("zstd -q", "zstd"),
    ("zstd -q --long=27", "a long window"),
    ("zstd -q --no-check", "zstd without a check"),
    ("pzstd -q -p 2", "zstd in frames"),
];

#[test]
fn raw_and_qcow2_inside_of_any_compression_are_read_from_files_and_pipes() {
    let rig = Rig::new();
    let content = mixed(3 * MIB + 512);
    rig.write("raw", &content);
    rig.sh("qemu-img convert -f raw -O qcow2 raw qcow2");
    for inner in ["raw", "qcow2"] {
        for (program, what) in PACKED {
            rig.sh(&format!("({program}) < {inner} > packed"));
            assert!(rig.content("packed").unwrap() == content, "{inner}, {what}");
            let pipe = rig.feed("packed");
            assert!(
                rig.content(&pipe).unwrap() == content,
                "{inner}, {what}, a pipe"
            );
        }
    }
}

#[test]
fn streams_that_follow_each_other_are_one_image() {
    let rig = Rig::new();
    let content = mixed(2 * MIB);
    rig.write("raw", &content);
    for program in ["gzip -c", "xz -0c", "zstd -qc"] {
        rig.sh(&format!(
            "head -c 1000000 raw | {program} > packed; tail -c +1000001 raw | {program} >> packed"
        ));
        assert!(rig.content("packed").unwrap() == content, "{program}");
    }
    // xz allows zeros between streams.
    rig.sh(
        "head -c 1000000 raw | xz -0c > packed; head -c 8 /dev/zero >> packed
         tail -c +1000001 raw | xz -0c >> packed; head -c 4 /dev/zero >> packed",
    );
    assert!(rig.content("packed").unwrap() == content);
}

#[test]
fn what_is_cut_off_or_changed_is_refused_in_one_line() {
    let rig = Rig::new();
    rig.write("raw", &mixed(MIB));
    for program in ["gzip -c", "xz -0c", "zstd -qc"] {
        rig.sh(&format!("{program} raw > packed"));
        let packed = rig.read("packed");
        for length in [packed.len() / 2, packed.len() - 3] {
            rig.write("short", &packed[..length]);
            let error = rig.why_not("short", &Opening::default());
            assert!(
                error.contains("is damaged: it can't be decompressed"),
                "{program}: {error}"
            );
        }
        let mut changed = packed.clone();
        changed[packed.len() / 2] ^= 0x40;
        rig.write("changed", &changed);
        let error = rig.why_not("changed", &Opening::default());
        assert!(error.contains("is damaged"), "{program}: {error}");
        rig.write("more", &[&packed[..], b"something else"].concat());
        let error = rig.why_not("more", &Opening::default());
        assert!(error.contains("is damaged"), "{program}: {error}");
    }
}

#[test]
fn an_archive_inside_is_refused_and_a_named_format_is_not_looked_into() {
    let rig = Rig::new();
    rig.sh("echo x > file; tar -cf - file | gzip -c > packed");
    let error = rig.why_not("packed", &Opening::default());
    assert!(
        error.contains(r#"the content of "#) && error.contains("a tar archive"),
        "{error}"
    );
    // A guest wrote the beginning of a qcow2 image to its disk.
    let mut guest = mixed(MIB);
    guest[..8].copy_from_slice(b"QFI\xfb\0\0\0\x03");
    rig.write("guest", &guest);
    rig.sh("gzip -c guest > packed");
    let error = rig.why_not("packed", &Opening::default());
    assert!(error.contains("is damaged"), "{error}");
    let raw = named(ImageFormat::Packed(Packing::Gzip, Content::Raw));
    assert!(rig.content_as("packed", &raw).unwrap() == guest);
    // What ramblk wrote itself is known to be raw.
    let output = super::rig::file(&rig.path("ours"));
    let mut image = create(output, Creating::whole(Written::Zstd)).unwrap();
    image.data(0, &guest).unwrap();
    image.finish(guest.len() as u64).unwrap();
    assert!(rig.content("ours").unwrap() == guest);
    let pipe = rig.feed("ours");
    assert!(rig.content(&pipe).unwrap() == guest);
}

#[test]
fn a_frame_that_was_changed_is_told_by_its_digest() {
    let rig = Rig::new();
    let output = super::rig::file(&rig.path("image"));
    let mut image = create(output, Creating::whole(Written::Zstd)).unwrap();
    image.data(0, &mixed(3 * MIB)).unwrap();
    image.finish(3 << 20).unwrap();
    let bytes = rig.read("image");
    let mut changed = bytes.clone();
    changed[bytes.len() / 2] ^= 1;
    rig.write("changed", &changed);
    let error = rig.why_not("changed", &Opening::default());
    assert!(
        error.contains("another digest than its index says"),
        "{error}"
    );
    // Cut off, it has no seek table, and is read as a stream, which ends too early.
    rig.write("short", &bytes[..bytes.len() / 2]);
    assert!(
        rig.why_not("short", &Opening::default())
            .contains("is damaged")
    );
}

#[test]
fn a_qcow2_in_a_stream_that_never_ends_is_given_up() {
    let rig = Rig::new();
    rig.write("raw", &[1; 64 * KIB]);
    rig.sh("qemu-img convert -f raw -O qcow2 raw qcow2
         (cat qcow2; head -c 200M /dev/zero) | zstd -q > packed");
    let error = rig.why_not("packed", &Opening::default());
    assert!(
        error.contains("more than an image of its disk can have"),
        "{error}"
    );
}

#[test]
fn what_needs_more_memory_than_an_image_may_is_refused() {
    let rig = Rig::new();
    rig.write("raw", &mixed(MIB));
    rig.sh("zstd -q --ultra --long=28 < raw > window.zst
         xz -0c --lzma2=preset=0,dict=512MiB raw > dictionary.xz");
    for name in ["window.zst", "dictionary.xz"] {
        let error = rig.why_not(name, &Opening::default());
        assert!(
            error.contains("is damaged: it can't be decompressed"),
            "{error}"
        );
    }
}

#[test]
fn the_digest_is_that_of_the_file_whatever_is_in_it() {
    let rig = Rig::new();
    let content = mixed(2 * MIB);
    rig.write("raw", &content);
    rig.sh("qemu-img convert -f raw -O qcow2 raw qcow2; zstd -q raw -o zst; xz -0c qcow2 > xz");
    for name in ["raw", "qcow2", "zst", "xz"] {
        let sum = rig.sh(&format!("sha256sum {name}"));
        let right = format!("sha256:{}", &sum[..64]);
        let wrong = format!("sha256:{}", "0".repeat(64));
        for is_pipe in [false, true] {
            let source = || match is_pipe {
                true => rig.feed(name),
                false => name.to_owned(),
            };
            let with = |digest: &str| Opening {
                digest: Some(digest.parse().unwrap()),
                ..Opening::default()
            };
            assert!(
                rig.content_as(&source(), &with(&right)).unwrap() == content,
                "{name}"
            );
            let error = rig.why_not(&source(), &with(&wrong));
            assert!(error.contains(&right) && error.contains(&wrong), "{error}");
        }
    }
    for text in [
        "",
        "md5:00",
        "sha256:",
        "sha256:zz",
        &format!("sha256:{}g", "0".repeat(63)),
    ] {
        assert!(text.parse::<ramblk::image::Digest>().is_err(), "{text}");
    }
    let image = open(&rig.path("zst"), &Opening::default()).unwrap();
    assert_eq!(image.about().format.name(), "zst");
}
