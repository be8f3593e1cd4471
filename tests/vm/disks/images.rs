//! Disks that begin with a published image, and what guests make of them.

use std::path::Path;
use std::process::Command;

use crate::harness::{Daemon, Guest, Machine, numbers};

/// What the file on the image has, in bytes.
const FILE: usize = 4 << 20;

/// Run a command in a folder.
fn tool(folder: &Path, line: &str) {
    // File system tools are in sbin, which a user's PATH may lack.
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let output = Command::new("sh")
        .args(["-ec", line])
        .current_dir(folder)
        .env("PATH", path)
        .output()
        .unwrap();
    assert!(output.status.success(), "{line}: {output:?}");
}

/// Reads the file of the image and leaves another one.
const JOB: &str = "
    check_eq blocks \"$(cat /sys/block/vda/queue/logical_block_size)\" BLOCKS
    mkdir -p /tmp/disk
    mount -t ext4 /dev/vda /tmp/disk
    numbers() { seq ${1}0000000 99999999 | head -c 4194304; }
    check_eq file \"$(sum </tmp/disk/file)\" \"$(numbers 1 | sum)\"
    if [ -e /tmp/disk/more ]; then
        check_eq more \"$(sum </tmp/disk/more)\" \"$(numbers 2 | sum)\"
        echo '@host: more is there'
    else
        numbers 2 >/tmp/disk/more
    fi
    umount /tmp/disk
    e2fsck -fn /dev/vda
";

#[test]
fn a_file_system_comes_as_qcow2_and_what_a_guest_makes_of_it_goes_on_as_qcow2() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path();
    std::fs::create_dir(folder.join("files")).unwrap();
    std::fs::write(folder.join("files/file"), numbers(10_000_000, FILE)).unwrap();
    tool(folder, "mkfs.ext4 -q -b 4096 -d files disk.raw 64M");
    tool(
        folder,
        "qemu-img convert -c -f raw -O qcow2 -o compression_type=zstd disk.raw published.qcow2",
    );
    let daemon = Daemon::serve(&[]);
    let path = |name: &str| folder.join(name).into_os_string().into_string().unwrap();
    daemon.say(&[
        "image",
        "pull",
        &path("published.qcow2"),
        "--name",
        "published",
    ]);
    // The fork has larger blocks than the image; the file system is made of pages anyway.
    let options = ["--image", "image://published", "--block-size", "4096"];
    let first = daemon.create("first", "64M", &options);
    Guest::start(&Machine::new(), &first, &JOB.replace("BLOCKS", "4096")).finish();
    daemon.say(&["export", "first", &path("worked.qcow2")]);
    tool(folder, "qemu-img check worked.qcow2");
    let second = daemon.create("second", "64M", &["--image", &path("worked.qcow2")]);
    let mut guest = Guest::start(&Machine::new(), &second, &JOB.replace("BLOCKS", "512"));
    guest.wait_for_request("more is there");
    guest.finish();
}
