//! Raw images onto disks: every byte arrives, and holes stay holes.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use ramblk::image::{Error, RawImage};
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

    /// A file of this size with bytes at some places, and holes between them.
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
    // Zeros that were written are no hole to the file system.
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .write_all_at(&[0; 65536], MIB)
        .unwrap();
    RawImage::open(&path).unwrap().load(&disk).unwrap();
    assert_eq!(mapped(&disk), [(0, 8), (6152, 8), (16376, 8)]);
    assert_eq!(bytes(&disk), std::fs::read(&path).unwrap());
}

#[test]
fn an_image_may_be_smaller_than_the_disk_and_end_inside_a_sector() {
    for sector_size in [SectorSize::S512, SectorSize::S4096] {
        let rig = Rig::new();
        let disk = rig.disk(sector_size, MIB);
        let path = rig.file(12345, &[(0, &[7; 12345])]);
        let image = RawImage::open(&path).unwrap();
        assert_eq!(image.size_bytes(), 12345);
        image.load(&disk).unwrap();
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
    RawImage::open(&path).unwrap().load(&disk).unwrap();
    assert_eq!(bytes(&disk), vec![9; 4608]);
}

#[test]
fn an_image_that_does_not_fit_changes_nothing() {
    let rig = Rig::new();
    let disk = rig.disk(SectorSize::S512, 4096);
    let path = rig.file(8192, &[(0, b"x")]);
    let result = RawImage::open(&path).unwrap().load(&disk);
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
        (&b"QFI\xfb"[..], "qcow2"),
        (b"KDMV", "VMDK"),
        (b"vhdxfile", "VHDX"),
    ] {
        let path = rig.file(4096, &[(0, start)]);
        let error = RawImage::open(&path).unwrap_err().to_string();
        assert!(
            error.contains(format) && error.contains("qemu-img convert"),
            "{error}"
        );
    }
    let missing = rig.dir.path().join("missing");
    assert!(matches!(RawImage::open(&missing), Err(Error::Read { .. })));
}

#[test]
fn an_empty_image_is_an_empty_disk() {
    let rig = Rig::new();
    let disk = rig.disk(SectorSize::S512, 4096);
    RawImage::open(&rig.file(0, &[]))
        .unwrap()
        .load(&disk)
        .unwrap();
    assert!(mapped(&disk).is_empty());
}
