//! Requests that no honest client makes, by libnbd without its own checks and by hand.

use std::path::Path;
use std::process::Command;

use super::{Serving, attach};
use crate::driver::data::pattern;
use crate::verbs::{Daemon, text};

fn refused(daemon: &Daemon, options: &str, mode: &str) {
    let serving = Serving::start(daemon, options);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/nbd/wrong.py");
    let output = Command::new("/usr/bin/python3")
        .arg(script)
        .args([&serving.uri, &(16 << 20).to_string(), mode])
        .output()
        .unwrap();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(out, "all refused\n", "{options}: {err}");
}

#[test]
fn wrong_requests_and_options_are_refused_and_the_connection_goes_on() {
    let daemon = Daemon::start();
    daemon.ok("create vm1 --size 16M");
    let mut guest = attach(&daemon, "vm1");
    guest.q().write(0, &pattern(1 << 20, 1)).unwrap();
    daemon.ok("snapshot vm1 s");
    refused(&daemon, "vm1", "ro");
    refused(&daemon, "vm1@s", "ro");
    assert_eq!(guest.q().read(0, 1 << 20).unwrap(), pattern(1 << 20, 1));
    drop(guest);
    daemon.eventually_detached("vm1");
    refused(&daemon, "vm1 --rw", "rw");
    let after = attach(&daemon, "vm1").q().read(8, 4096).unwrap();
    assert_eq!(after, pattern(8192, 1)[4096..]);
}
