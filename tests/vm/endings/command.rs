//! `ramblk run -- COMMAND`: a disk that lives as long as the machine that uses it.

use std::ffi::OsStr;

use crate::harness::{Guest, Machine, Ramblk};

#[test]
fn ramblk_runs_the_machine_as_its_command_and_ends_with_it_and_its_status() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("disk.sock");
    let job = "
        seq 1 100000 >/tmp/pattern
        dd if=/tmp/pattern of=/dev/vda bs=64k conv=fsync
        echo 3 >/proc/sys/vm/drop_caches
        cmp -n $(stat -c %s /tmp/pattern) /tmp/pattern /dev/vda
    ";
    let guest = Guest::within(job, |file| {
        let mut ramblk = Ramblk::command(&socket, "64M");
        // QEMU can't exit with a status that we choose, but a shell around it can.
        ramblk.args(["--", "sh", "-c", "\"$@\" && exit 7", "sh"]);
        ramblk.args(Machine::new().linux(OsStr::new("{socket}"), file));
        ramblk
    });
    let (status, transcript) = guest.finish_with_status();
    assert_eq!(
        status.code(),
        Some(7),
        "ramblk ended with {status}\n{transcript}"
    );
    assert!(!socket.exists(), "ramblk left its socket behind");
}
