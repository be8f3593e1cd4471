//! A guest's kernel starts another kernel during I/O: no firmware resets the disk in between.

use crate::harness::{Daemon, Guest, MIB, Machine, guest_file, numbers};

/// Where the guest writes what is compared later, and what it writes without end.
const WRITTEN_AT: usize = 128 << 20;
const LOAD_AT: usize = 160 << 20;
const LEN: usize = 4 << 20;

/// Starts the kernel and the files on the disk during reads and writes. The new kernel writes
/// again, beside what was written before.
const JOB: &str = "
    write() { # NUMBER, how many times LEN further on
        seq \"${1}0000000\" 99999999 | head -c $len |
            dd of=/dev/vda bs=64k iflag=fullblock seek=$((written_at / 65536 + $1 * 64)) conv=fsync
    }
    load() { # MORE WORDS
        fio --name=load --filename=/dev/vda --offset=$load_at --size=32M --rw=randrw --bs=16k \
            --direct=1 --ioengine=libaio --iodepth=64 --minimal \"$@\" >/tmp/out
    }
    dd if=/dev/vda bs=1M count=$kernel_mib iflag=direct | head -c $kernel >/tmp/vmlinuz
    dd if=/dev/vda bs=1M skip=$kernel_mib count=$files_mib iflag=direct |
        head -c $files >/tmp/initramfs
    if ! grep -w again /proc/cmdline; then
        kexec --kexec-file-syscall --load /tmp/vmlinuz --initrd=/tmp/initramfs \
            --command-line=\"$(cat /proc/cmdline) again\"
        write 1
        load --time_based --runtime=1000 &
        start=$(awk '{ print $7 }' /sys/block/vda/stat)
        until [ $(($(awk '{ print $7 }' /sys/block/vda/stat) - start)) -gt 4000 ]; do
            sleep 0.1
        done
        echo '@host: kexec'
        kexec --exec
    fi
    write 2
    load --verify=crc32c --verify_fatal=1
    blkdiscard -o $load_at -l 33554432 /dev/vda
";

#[test]
#[ignore = "boots two kernels and reads them from the disk, half a minute; scripts/soak runs it"]
fn a_kernel_that_is_started_by_another_one_amid_io_finds_the_disk_whole() {
    let kernel = std::fs::read(guest_file("vmlinuz")).unwrap();
    let files = std::fs::read(guest_file("initramfs.cpio")).unwrap();
    let mib = |bytes: &Vec<u8>| bytes.len().div_ceil(1 << 20);
    let mut image = kernel.clone();
    image.resize(mib(&kernel) << 20, 0);
    image.extend_from_slice(&files);
    image.resize(192 << 20, 0);
    assert!(
        (mib(&kernel) + mib(&files)) << 20 <= WRITTEN_AT,
        "the disk is too small"
    );
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("disk.raw");
    std::fs::write(&path, &image).unwrap();

    let daemon = Daemon::serve(&[]);
    let size = format!("{}M", image.len() as u64 / MIB);
    let socket = daemon.create("disk", &size, &["--image", path.to_str().unwrap()]);
    let job = format!(
        "kernel={}; kernel_mib={}; files={}; files_mib={}\n\
         written_at={WRITTEN_AT}; load_at={LOAD_AT}; len={LEN}\n{JOB}",
        kernel.len(),
        mib(&kernel),
        files.len(),
        mib(&files)
    );
    let machine = Machine::new().cpus(2).memory("1G");
    let mut guest = Guest::start(&machine, &socket, &job);
    guest.wait_for_request("kexec");
    guest.finish();
    for number in [1, 2] {
        image[WRITTEN_AT + number * LEN..][..LEN]
            .copy_from_slice(&numbers(number * 10_000_000, LEN));
    }
    assert!(
        daemon.content("disk") == image,
        "other bytes than were written"
    );
}
