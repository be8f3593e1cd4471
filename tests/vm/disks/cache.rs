//! The cache mode, as a guest's kernel reads and sets it.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::harness::{Guest, Machine, Ramblk};

/// One vhost-user message: code, flags, body.
fn message(code: u32, flags: u32, body: &[u8]) -> Vec<u8> {
    let header = [code, flags, u32::try_from(body.len()).unwrap()];
    [&header.map(u32::to_ne_bytes).concat(), body].concat()
}

/// The cache mode that another front end reads, which leaves the rings alone.
fn mode(socket: &Path) -> u8 {
    let mut stream = UnixStream::connect(socket).unwrap();
    let config = 1u64 << 9;
    let request = [[32u32, 1, 0].map(u32::to_ne_bytes).concat(), vec![0]].concat();
    // SET_PROTOCOL_FEATURES with CONFIG, then GET_CONFIG.
    stream
        .write_all(&message(16, 1, &config.to_ne_bytes()))
        .unwrap();
    stream.write_all(&message(24, 1, &request)).unwrap();
    let mut reply = [0; 12 + 13];
    stream.read_exact(&mut reply).unwrap();
    reply[24]
}

#[test]
fn a_guest_chooses_the_cache_mode_and_finds_it_chosen() {
    let ramblk = Ramblk::run("64M", &[]);
    let job = "
        mode() { cat /sys/block/vda/cache_type /sys/block/vda/queue/write_cache | tr '\\n' ,; }
        back='write back,write back,' through='write through,write through,'
        check_eq 'mode at first' \"$(mode)\" \"$back\"
        host first
        for turn in one two; do
            echo 'write through' >/sys/block/vda/cache_type
            check_eq 'mode then' \"$(mode)\" \"$through\"
            host through $turn
            dd if=/dev/urandom of=/tmp/data bs=64k count=16
            dd if=/tmp/data of=/dev/vda bs=64k oflag=direct conv=fsync
            cmp -n 1048576 /tmp/data /dev/vda
            echo 'write back' >/sys/block/vda/cache_type
            check_eq 'mode in the end' \"$(mode)\" \"$back\"
            host back $turn
        done
    ";
    let mut guest = Guest::start(&Machine::new(), ramblk.socket(), job);
    let stages = [
        "first",
        "through one",
        "back one",
        "through two",
        "back two",
    ];
    for (stage, expected) in stages.into_iter().zip([1, 0, 1, 0, 1]) {
        guest.wait_for_request(stage);
        assert_eq!(mode(ramblk.socket()), expected, "{stage}");
        guest.answer("ok");
    }
    guest.finish();
}
