//! A disk that changes its size while a guest uses it, through the library: the guest's kernel
//! learns of it by a configuration interrupt.

use std::sync::Arc;

use ramblk::daemon::{Export, RunConfig, RunOptions};
use ramblk::model::Share;
use ramblk::store::{Shrink, Store};
use ramblk::vhost_user::Hub;

use crate::harness::{Guest, MIB, Machine};

#[test]
fn a_running_guest_sees_its_disk_grow_and_shrink_at_once() {
    let scratch = tempfile::tempdir().unwrap();
    let socket = scratch.path().join("disk.sock");
    let store = Store::new(256 * MIB).unwrap();
    let options = RunOptions {
        size_bytes: Some(64 * MIB),
        socket_path: Some(socket.clone()),
        queues: 4,
        share: Share::None,
        memory_limit_bytes: Some(256 * MIB),
        ..RunOptions::default()
    };
    let config = RunConfig::new("growing", options).unwrap();
    let hub = Hub::new(config.workers()).unwrap();
    let mut export = Export::create(&Arc::new(store), &config, &hub).unwrap();
    export.listen_at(&socket).unwrap();

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
    let mut guest = Guest::start(&Machine::new(), &socket, job);
    guest.wait_for_request("grow");
    assert_eq!(
        export.resize(128 * MIB, Shrink::Refuse).unwrap(),
        1,
        "one front end is told"
    );
    guest.answer("ok");
    guest.wait_for_request("shrink");
    assert!(
        export.resize(32 * MIB, Shrink::Refuse).is_err(),
        "not without being asked"
    );
    assert_eq!(export.info().unwrap().size_bytes, 128 * MIB);
    export.resize(32 * MIB, Shrink::Allow).unwrap();
    assert!(export.info().unwrap().mapped_bytes <= 32 * MIB);
    guest.answer("ok");
    guest.finish();
}
