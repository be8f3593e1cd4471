//! `--sanitize`, and `findings`.

use serde_json::json;

use crate::driver::disk::Disk as Guest;
use crate::verbs::Daemon;

/// Write 4096 bytes by an NBD client, and say how that went.
fn write_over_nbd(daemon: &Daemon, byte: u8, start: &str) -> String {
    let command = format!("write -P {byte} {start} 4k");
    let words = ["nbd", "a", "--rw", "--", "qemu-io", "-f", "raw"];
    let words = words.into_iter().chain(["-c", &command, "{uri}"]);
    let output = daemon.command(&words.collect::<Vec<_>>()).output().unwrap();
    crate::verbs::text(&output.stdout) + &crate::verbs::text(&output.stderr)
}

#[test]
fn a_sanitizer_is_set_shown_exported_and_taken_away() {
    let daemon = Daemon::start();
    daemon.ok("create a --size 1M --sanitize log");
    assert_eq!(daemon.json("show a")["sanitize"], "log");
    assert!(daemon.ok("export-config").contains("sanitize = \"log\""));
    daemon.ok("fork a b");
    assert_eq!(daemon.json("findings b")["sanitize"], "log");
    daemon.ok("set a --sanitize fail");
    let found = daemon.json("findings a");
    assert_eq!(found["sanitize"], "fail");
    assert_eq!(found["counts"]["unwritten_reads"], 0);
    let shown = daemon.ok("show a");
    assert!(shown.contains("sanitizer"), "{shown}");
    daemon.ok("set a --sanitize off");
    assert_eq!(daemon.json("show a").get("sanitize"), None);
    assert!(!daemon.ok("stats a").contains("sanitizer"));
    daemon.refused("set a --sanitize always", 2);
    daemon.refused("findings c", 3);
}

#[test]
fn an_nbd_client_that_writes_beside_a_guest_is_the_second_writer() {
    let daemon = Daemon::start();
    daemon.ok("create a --size 1M --share rw --sanitize log");
    // Alone it is the first.
    let said = write_over_nbd(&daemon, 1, "0");
    assert!(said.contains("wrote 4096/4096"), "{said}");
    let found = daemon.json("findings a");
    assert_eq!(found["counts"]["second_writer"], 0, "{found}");
    let mut guest = Guest::attach(&daemon.socket("a"));
    assert_eq!(guest.q().read(0, 512).unwrap(), [1; 512]);
    write_over_nbd(&daemon, 2, "8k");
    let found = daemon.json("findings a");
    let last = &found["findings"][0];
    assert_eq!(
        (
            &last["kind"],
            &last["request_start_bytes"],
            &last["request_length_bytes"]
        ),
        (&json!("second-writer"), &json!(8192), &json!(4096)),
        "{found}"
    );
    assert_eq!(guest.q().read(16, 512).unwrap(), [2; 512]);
    // The guest itself may write.
    guest.q().write(24, &[3; 512]).unwrap();
    daemon.ok("set a --sanitize fail");
    let said = write_over_nbd(&daemon, 4, "8k");
    assert!(said.contains("rror"), "{said}");
    assert_eq!(guest.q().read(16, 512).unwrap(), [2; 512]);
    let counts = daemon.json("findings a")["counts"].clone();
    assert!(counts["second_writer"].as_u64() >= Some(2), "{counts}");
    // It was the first before; now the client is.
    drop(guest);
    daemon.ok("wait a --for detached");
    let said = write_over_nbd(&daemon, 5, "8k");
    assert!(said.contains("wrote 4096/4096"), "{said}");
}
