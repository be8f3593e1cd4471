//! The file that disks lie in, removed from under the daemon.

use std::fs;

use super::home::Home;
use crate::harness::eventually;

#[test]
fn a_removed_arena_is_said_and_no_second_daemon_takes_its_place() {
    let home = Home::new();
    let running = home.start(home.serve(&[]));
    home.ok("create vm1 --size 8M");
    fs::remove_dir_all(home.path("run")).unwrap();
    fs::remove_file(home.arena()).unwrap();
    eventually("the API answers again", || {
        home.run("ping").status.success()
    });
    eventually("it is said", || {
        home.json("pool")["warnings"][0].is_string()
    });
    assert!(
        home.log().contains("was removed: all disks are lost when"),
        "{}",
        home.log()
    );
    assert!(
        String::from_utf8(home.ok("pool"))
            .unwrap()
            .contains("warning")
    );
    let (code, line) = home.refused(home.serve(&[]));
    assert_eq!(code, Some(4), "{line}");
    home.ok("show vm1");
    running.stop();
    assert!(!home.path("run/api.sock").exists());
}
