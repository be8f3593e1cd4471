//! A disk that changes its size while a guest uses it, through the library: the guest's kernel
//! learns of it by a configuration interrupt.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ramblk::daemon::SocketAccess;
use ramblk::daemon::disks::{self, Disks, DisksOptions, change, create, describe};
use ramblk::model::{DiskPatch, DiskSettings, Patched, Problem, ProblemKind};
use ramblk::store::Store;
use ramblk::vhost_user::{Hub, WorkerOptions};

use crate::harness::{Guest, MIB, Machine};

/// The disks of this process, with sockets in `run_dir`.
fn open(run_dir: &Path) -> Arc<Disks> {
    let workers = WorkerOptions {
        count: 4,
        poll: Duration::from_micros(32),
        cpus: Vec::new(),
    };
    let options = DisksOptions {
        run_dir: run_dir.to_owned(),
        access: SocketAccess::default(),
        most_disks: 1,
        workers: workers.count,
        limit_from: "a test".to_owned(),
        import_timeout: Duration::MAX,
    };
    let store = Arc::new(Store::new(256 * MIB).unwrap());
    disks::open(store, Hub::new(&workers).unwrap(), options).unwrap()
}

fn resize(disks: &Disks, size_bytes: u64, shrink: bool) -> Result<Patched, Problem> {
    let patch = DiskPatch {
        size_bytes: Some(size_bytes),
        shrink,
        ..DiskPatch::default()
    };
    change::patch(disks, "growing", patch)
}

#[test]
fn a_running_guest_sees_its_disk_grow_and_shrink_at_once() {
    let scratch = tempfile::tempdir().unwrap();
    let disks = open(scratch.path());
    let settings = DiskSettings {
        queues: 4,
        ..DiskSettings::new(64 * MIB)
    };
    let (disk, _) = create::put(&disks, "growing", settings).unwrap();

    let job = "
        size() { cat /sys/block/vda/size; }
        becomes() { # SECTORS, within ten seconds
            for _ in $(seq 100); do [ \"$(size)\" = $1 ] && return; sleep 0.1; done
            fail \"the size is $(size), not $1\"
        }
        check_eq 'size at first' \"$(size)\" 131072
        mkfs.ext4 -q /dev/vda
        mount -t ext4 /dev/vda /mnt
        echo kept >/mnt/file
        sync
        host grow
        becomes 262144
        # The new half is there to be used, online.
        resize2fs /dev/vda
        dd if=/dev/zero of=/mnt/big bs=1M count=80
        sync
        rm /mnt/big
        umount /mnt
        e2fsck -fn /dev/vda
        dd if=/dev/vda of=/tmp/head bs=1M count=1
        host shrink
        becomes 65536
        check_eq head \"$(dd if=/dev/vda bs=1M count=1 | sum)\" \"$(sum </tmp/head)\"
    ";
    let mut guest = Guest::start(&Machine::new(), Path::new(&disk.socket), job);
    guest.wait_for_request("grow");
    let grown = resize(&disks, 128 * MIB, false).unwrap();
    let told = grown.resized.unwrap().notified;
    assert_eq!(told, 1, "one front end is told");
    guest.answer("ok");
    guest.wait_for_request("shrink");
    let refused = resize(&disks, 32 * MIB, false).unwrap_err();
    assert!(refused.is(ProblemKind::WouldLoseData), "{refused:?}");
    let found = || describe::get(&disks, "growing").unwrap();
    assert_eq!(found().size_bytes, 128 * MIB);
    resize(&disks, 32 * MIB, true).unwrap();
    assert!(found().mapped_bytes <= 32 * MIB);
    guest.answer("ok");
    guest.finish();
}
