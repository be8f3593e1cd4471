//! Raw images on disks: every byte arrives, and holes stay holes.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use ramblk::image::{Error, Format, ImageFormat, ImageReader, Opening, Probe, load};
use ramblk::store::{Disk, DiskSpec, SectorSize, Store};
use tempfile::TempDir;

const MIB: u64 = 1 << 20;

struct Rig {
    dir: TempDir,
    store: Store,
}

impl Rig {
    fn new() -> Self {
        Self {
            dir: TempDir::new().unwrap(),
            store: Store::new(64 * MIB).unwrap(),
        }
    }

    fn disk(&self, sector_size: SectorSize, size_bytes: u64) -> Disk {
        self.store
            .create("disk", &DiskSpec::new(sector_size, size_bytes))
            .unwrap()
    }

    /// A file of this size with these bytes, and holes between them.
    fn file(&self, size_bytes: u64, parts: &[(u64, &[u8])]) -> PathBuf {
        let path = self.dir.path().join("image");
        let file = File::create(&path).unwrap();
        file.set_len(size_bytes).unwrap();
        for (at, bytes) in parts {
            file.write_all_at(bytes, *at).unwrap();
        }
        path
    }
}

fn open(path: &Path) -> Result<Box<dyn ImageReader>, Error> {
    ramblk::image::open(path, &Opening::default())
}

fn open_as_raw(path: &Path) -> Result<Box<dyn ImageReader>, Error> {
    let format = Some(ImageFormat::Raw);
    let how = Opening {
        format,
        ..Opening::default()
    };
    ramblk::image::open(path, &how)
}

fn mapped(disk: &Disk) -> Vec<(u64, u64)> {
    let extents = disk
        .extents()
        .unwrap()
        .map(Result::unwrap)
        .filter(|extent| extent.mapped);
    extents
        .map(|extent| (extent.start_sector, extent.sectors))
        .collect()
}

fn bytes(disk: &Disk) -> Vec<u8> {
    let mut all = vec![0xee; usize::try_from(disk.get_info().unwrap().size_bytes).unwrap()];
    disk.read(0, &mut [&mut all]).unwrap();
    all
}

#[test]
fn holes_and_pages_of_zeros_stay_unmapped() {
    let rig = Rig::new();
    let disk = rig.disk(SectorSize::S512, 8 * MIB);
    let parts: &[(u64, &[u8])] = &[
        (0, b"first"),
        (3 * MIB + 5000, b"middle"),
        (8 * MIB - 1, b"!"),
    ];
    let path = rig.file(8 * MIB, parts);
    // For the file system, written zeros are not a hole.
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .write_all_at(&[0; 65536], MIB)
        .unwrap();
    load(&mut *open(&path).unwrap(), &disk).unwrap();
    assert_eq!(mapped(&disk), [(0, 8), (6152, 8), (16376, 8)]);
    assert_eq!(bytes(&disk), std::fs::read(&path).unwrap());
}

#[test]
fn an_image_may_be_smaller_than_the_disk_and_end_inside_a_sector() {
    for sector_size in [SectorSize::S512, SectorSize::S4096] {
        let rig = Rig::new();
        let disk = rig.disk(sector_size, MIB);
        let path = rig.file(12345, &[(0, &[7; 12345])]);
        let mut image = open(&path).unwrap();
        assert_eq!(image.about().size_bytes, Some(12345));
        load(&mut *image, &disk).unwrap();
        let all = bytes(&disk);
        assert!(all[..12345].iter().all(|&byte| byte == 7));
        assert!(all[12345..].iter().all(|&byte| byte == 0));
    }
}

#[test]
fn a_disk_whose_size_is_no_multiple_of_a_page_takes_an_image_of_its_size() {
    let rig = Rig::new();
    let disk = rig.disk(SectorSize::S512, 4096 + 512);
    let path = rig.file(4096 + 512, &[(0, &[9; 4608])]);
    load(&mut *open(&path).unwrap(), &disk).unwrap();
    assert_eq!(bytes(&disk), vec![9; 4608]);
}

#[test]
fn an_image_that_does_not_fit_changes_nothing() {
    let rig = Rig::new();
    let disk = rig.disk(SectorSize::S512, 4096);
    let path = rig.file(8192, &[(0, b"x")]);
    let result = load(&mut *open(&path).unwrap(), &disk);
    assert!(matches!(
        result,
        Err(Error::TooLarge {
            image_bytes: 8192,
            disk_bytes: 4096,
            ..
        })
    ));
    assert!(mapped(&disk).is_empty());
}

#[test]
fn other_formats_and_missing_files_are_refused_by_name() {
    let rig = Rig::new();
    for (start, format) in [
        (&b"QFI\xfb\0\0\0\x01"[..], "qcow "),
        (b"KDMV", "VMDK"),
        (b"vhdxfile", "VHDX"),
    ] {
        let path = rig.file(4096, &[(0, start)]);
        let error = open(&path).unwrap_err().to_string();
        assert!(
            error.contains(format) && error.contains("qemu-img convert"),
            "{error}"
        );
    }
    let missing = rig.dir.path().join("missing");
    assert!(matches!(open(&missing), Err(Error::Read { .. })));
}

#[test]
fn an_empty_image_is_an_empty_disk() {
    let rig = Rig::new();
    let disk = rig.disk(SectorSize::S512, 4096);
    let mut image = open(&rig.file(0, &[])).unwrap();
    load(&mut *image, &disk).unwrap();
    assert!(mapped(&disk).is_empty());
}

/// A boot loader's sector that begins like a gzip file, with a partition.
fn boot_sector() -> [u8; 512] {
    let mut sector = [0x90; 512];
    sector[..10].copy_from_slice(b"\x1f\x8b\x08\0\0\0\0\0\0\x03");
    sector[446..510].fill(0);
    sector[446..462].copy_from_slice(b"\x80\x20\x21\0\x83\xfe\xff\xff\0\x08\0\0\0\0\x10\0");
    sector[510..].copy_from_slice(b"\x55\xaa");
    sector
}

#[test]
fn a_disk_with_partitions_or_a_file_system_is_raw_whatever_its_boot_area_begins_with() {
    let rig = Rig::new();
    let gzip = &b"\x1f\x8b\x08\0\0\0\0\0\0\x03"[..];
    let refused = open(&rig.file(MIB, &[(0, gzip)]));
    assert!(matches!(refused, Err(Error::Damaged { .. })));
    let mut ext = vec![0; 1024];
    ext[..4].copy_from_slice(&1000_u32.to_le_bytes());
    ext[24..28].copy_from_slice(&2_u32.to_le_bytes());
    ext[56..58].copy_from_slice(b"\x53\xef");
    ext[76..80].copy_from_slice(&1_u32.to_le_bytes());
    for (what, parts) in [
        ("mbr", vec![(0, &boot_sector()[..])]),
        ("gpt", vec![(0, gzip), (512, b"EFI PART\0\0\x01\0")]),
        (
            "gpt of 4096",
            vec![(0, gzip), (4096, b"EFI PART\0\0\x01\0")],
        ),
        ("ext", vec![(0, gzip), (1024, &ext[..])]),
        ("lvm", vec![(0, gzip), (512, b"LABELONE")]),
        ("swap", vec![(0, gzip), (4086, b"SWAPSPACE2")]),
        ("md", vec![(0, gzip), (4096, b"\xfc\x4e\x2b\xa9\x01\0\0\0")]),
    ] {
        let path = rig.file(MIB, &parts);
        assert!(open(&path).is_ok(), "{what}");
    }
    // A fixed VHD has both its partitions and its footer.
    let mut footer = [0; 512];
    footer[..8].copy_from_slice(b"conectix");
    footer[12..16].copy_from_slice(&0x1_0000_u32.to_be_bytes());
    footer[60..64].copy_from_slice(&2_u32.to_be_bytes());
    let path = rig.file(MIB + 512, &[(0, &boot_sector()), (MIB, &footer)]);
    assert!(matches!(open(&path), Err(Error::Format { .. })));
    assert!(open_as_raw(&path).is_ok());
    // One word at the end is not a footer.
    let path = rig.file(MIB, &[(MIB - 512, b"conectix")]);
    assert!(open(&path).is_ok());
}

#[test]
fn what_comes_piece_by_piece_is_told_as_a_file_is() {
    let mut footer = vec![0; 512];
    footer[..8].copy_from_slice(b"koly\0\0\0\x04");
    footer[8..12].copy_from_slice(&512_u32.to_be_bytes());
    let mut dmg = vec![7; 9000];
    dmg.extend_from_slice(&footer);
    let mut tar = vec![0; 512];
    tar[..4].copy_from_slice(b"disk");
    tar[257..263].copy_from_slice(b"ustar\0");
    tar[148..156].fill(b' ');
    let sum: u32 = tar.iter().map(|&byte| u32::from(byte)).sum();
    tar[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    tar.resize(10240, 0);
    let short = b"<html>".to_vec();
    for (content, format) in [
        (dmg, Some(Format::Dmg)),
        (tar, Some(Format::Tar)),
        (short, Some(Format::Html)),
        (vec![7; 20_000], None),
        (Vec::new(), None),
    ] {
        for piece in [1, 7, 511, 512, 513, 4608, 100_000] {
            let mut probe = Probe::default();
            let mut known = None;
            for bytes in content.chunks(piece) {
                known = known.or(probe.take(bytes));
            }
            let known = known.or(probe.end()).map(|known| known.format);
            assert_eq!(known, format, "pieces of {piece}");
        }
    }
}
