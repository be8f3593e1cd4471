//! UEFI firmware finds GRUB on the disk, GRUB finds Linux there, and Linux uses the disk: three
//! drivers in turn. The image is made without a mount, and is what images of clouds are: a
//! compressed qcow2 file with a partition table, a boot loader and a kernel.

use std::path::Path;
use std::process::Command;

use crate::harness::{Daemon, Guest, Machine, guest_file, numbers, sha256};

/// GRUB's configuration.
const CONFIG: &str = "
    serial --unit=0 --speed=115200
    terminal_output serial
    search --no-floppy --file --set=root /vmlinuz
    linux /vmlinuz console=ttyS0 quiet panic=-1 no_timer_check by=grub
    initrd /initramfs
    boot
";

/// GRUB's modules: for finding a file system on the disk, and for the commands.
const BUILT_IN: &str = "part_gpt fat serial linux search echo";
const MODULES: &str =
    "part_gpt fat serial linux search search_fs_file echo normal configfile terminal boot";

/// In MiB, the size of the disk, and the size and start of its partition; in bytes, what the guest
/// writes.
const DISK: u64 = 192;
const PARTITION: u64 = 160;
const BEGINS: u64 = 1;
const WRITTEN_AT: usize = 168 << 20;
const WRITTEN: usize = 2 << 20;

/// Run a program of a package that `scripts/setup --soak` installs.
fn tool(dir: &Path, package: &str, line: &str) {
    // File system tools are in sbin, which a user's PATH may lack.
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let output = Command::new("sh")
        .args(["-ec", line])
        .current_dir(dir)
        .env("PATH", path)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{line} (of {package}; scripts/setup --soak installs it): {output:?}"
    );
}

/// Make `disk.raw` in `dir`, and `disk.qcow2` of it.
fn make_disk(dir: &Path) {
    std::fs::write(dir.join("grub.cfg"), CONFIG).unwrap();
    let grub = format!(
        "grub-mkstandalone -O x86_64-efi -o grub.efi --modules='{BUILT_IN}' \
         --install-modules='{MODULES}' --locales= --themes= --fonts= boot/grub/grub.cfg=grub.cfg"
    );
    tool(dir, "grub-efi-amd64-bin and grub-common", &grub);
    let truncate = format!("truncate -s {PARTITION}M partition; truncate -s {DISK}M disk.raw");
    tool(dir, "coreutils", &truncate);
    tool(dir, "dosfstools", "mkfs.vfat -F 32 partition");
    tool(dir, "mtools", "mmd -i partition ::/EFI ::/EFI/BOOT");
    let copy = |from: &Path, to: &str| {
        let line = format!("mcopy -i partition '{}' ::/{to}", from.display());
        tool(dir, "mtools", &line);
    };
    copy(&dir.join("grub.efi"), "EFI/BOOT/BOOTX64.EFI");
    copy(&guest_file("vmlinuz"), "vmlinuz");
    copy(&guest_file("initramfs.cpio"), "initramfs");
    let table = format!(
        "printf 'label: gpt\\nstart={BEGINS}MiB, size={PARTITION}MiB, type=U\\n' |
         sfdisk --quiet disk.raw"
    );
    tool(dir, "fdisk", &table);
    let place = format!("dd if=partition of=disk.raw bs=1M seek={BEGINS} conv=notrunc,sparse");
    tool(dir, "coreutils", &place);
    let convert =
        "qemu-img convert -c -f raw -O qcow2 -o compression_type=zstd disk.raw disk.qcow2";
    tool(dir, "qemu-utils", convert);
}

#[test]
#[ignore = "firmware, boot loader and kernel read 110 MB, half a minute; scripts/soak runs it"]
fn uefi_grub_and_linux_boot_from_a_disk_one_after_the_other() {
    let scratch = tempfile::tempdir().unwrap();
    make_disk(scratch.path());
    let image = scratch.path().join("disk.raw");
    let published = scratch.path().join("disk.qcow2");
    let daemon = Daemon::serve(&[]);
    let socket = daemon.create("disk", "256M", &["--image", published.to_str().unwrap()]);
    let job = format!(
        "grep -w by=grub /proc/cmdline
         [ -b /dev/vda1 ]
         echo '@host: it runs'
         check_eq image \"$(dd if=/dev/vda bs=1M count={DISK} iflag=direct | sum)\" {}
         seq 10000000 99999999 | head -c {WRITTEN} |
             dd of=/dev/vda bs=64k iflag=fullblock seek={} conv=fsync\n",
        sha256(&image),
        WRITTEN_AT / 65536
    );
    let variables = scratch.path().join("variables");
    let machine = Machine::new().memory("768M").uefi(&variables);
    let mut guest = Guest::boot_disk(&machine, &socket, &job);
    guest.wait_for_request("it runs");
    guest.finish();
    let mut wanted = std::fs::read(&image).unwrap();
    wanted.resize(256 << 20, 0);
    wanted[WRITTEN_AT..][..WRITTEN].copy_from_slice(&numbers(10_000_000, WRITTEN));
    assert!(
        daemon.content("disk") == wanted,
        "the host sees other bytes"
    );
}
