//! Read-only disks, filled from an image before the first guest connects.

use std::path::Path;

use crate::harness::{Guest, MIB, Machine, Ramblk, pattern, sha256};

/// A script that checks the whole disk's hash, and that every write fails.
fn refused_writes(hash: &str) -> String {
    format!(
        "check_eq read-only \"$(blockdev --getro /dev/vda)\" 1
         check_eq content \"$(dd if=/dev/vda bs=1M iflag=direct | sum)\" {hash}
         if dd if=/dev/zero of=/dev/vda bs=4k count=1 conv=fsync; then
             fail 'a write went through'
         fi
         if blkdiscard /dev/vda; then fail 'a discard went through'; fi
         check_eq 'content after the refused write' \
             \"$(dd if=/dev/vda bs=1M iflag=direct | sum)\" {hash}\n"
    )
}

/// Write an image of `len` bytes into `dir`, and return its path and its hash.
fn image(dir: &Path, len: u64) -> (String, String) {
    let path = dir.join("disk.raw");
    std::fs::write(&path, pattern(usize::try_from(len).unwrap())).unwrap();
    let hash = sha256(&path);
    (path.into_os_string().into_string().unwrap(), hash)
}

#[test]
fn a_read_only_disk_shows_its_image_and_refuses_writes() {
    let dir = tempfile::tempdir().unwrap();
    let (image, hash) = image(dir.path(), 16 * MIB);
    let ramblk = Ramblk::run("16M", &["--read-only", "--image", &image]);
    Guest::start(&Machine::new(), ramblk.socket(), &refused_writes(&hash)).finish();
}

#[test]
fn two_guests_read_one_shared_disk_at_the_same_time_and_neither_can_write() {
    let dir = tempfile::tempdir().unwrap();
    let (image, hash) = image(dir.path(), 16 * MIB);
    let ramblk = Ramblk::run("16M", &["--share", "ro", "--image", &image]);
    let job = format!("host ready\n{}\nhost through", refused_writes(&hash));
    let machine = Machine::new();
    let mut guests = [0, 1].map(|_| Guest::start(&machine, ramblk.socket(), &job));
    // Neither guest begins before both have the disk, and neither ends before both are done.
    for stage in ["ready", "through"] {
        guests
            .iter_mut()
            .for_each(|guest| guest.wait_for_request(stage));
        guests.iter_mut().for_each(|guest| guest.answer("ok"));
    }
    guests.into_iter().for_each(Guest::finish);
}
