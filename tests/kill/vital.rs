//! A vital thread ends by itself: the daemon exits at once and logs the reason, instead of living
//! on with queues that no thread serves, and its successor takes over.

use std::time::Duration;

use crate::daemon::Daemon;
use crate::driver::data::pattern;
use crate::driver::disk::Disk;

fn goes_down(fault: &str, thread: &str, why: &str) {
    let mut daemon = Daemon::start();
    daemon.say(&["create", "disk", "--size", "1M"]);
    let socket = daemon.socket("disk");
    Disk::attach(&socket)
        .q()
        .write(8, &pattern(512, 3))
        .unwrap();
    daemon.kill();
    daemon.set_environment(&[("RAMBLK_FAIL_AT", fault.to_owned())]);
    daemon.start_again();
    daemon.answers();
    // A client that comes now wakes the thread, and may get no answer.
    std::thread::sleep(Duration::from_secs(1));
    let guest = socket.clone();
    let guest = std::thread::spawn(move || {
        let mut disk = Disk::attach(&guest);
        loop {
            disk.q().read(8, 512).unwrap();
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    daemon.crashes();
    assert!(guest.join().is_err());
    let log = daemon.log();
    for said in [thread, why, "to be started again"] {
        assert!(log.contains(said), "{said}: {log}");
    }
    daemon.clear_log();
    daemon.set_environment(&[]);
    daemon.start_again();
    daemon.answers();
    let back = Disk::attach(&socket).q().read(8, 512);
    assert_eq!(back, Ok(pattern(512, 3)));
    assert_eq!(daemon.field("disk", "state"), "ok");
}

#[test]
#[cfg_attr(not(ramblk_hooks), ignore = "there are no hooks in this build")]
fn a_worker_that_can_not_wait_takes_the_daemon_down_and_the_next_one_goes_on() {
    goes_down("worker-waits:error", "ramblk-work-", "a test asked for it");
}

#[test]
#[cfg_attr(not(ramblk_hooks), ignore = "there are no hooks in this build")]
fn a_worker_that_panics_takes_the_daemon_down_and_the_next_one_goes_on() {
    goes_down("worker-waits:panic", "ramblk-work-", "it panicked");
}

#[test]
#[cfg_attr(not(ramblk_hooks), ignore = "there are no hooks in this build")]
fn an_acceptor_that_ends_takes_the_daemon_down_and_the_next_one_goes_on() {
    goes_down(
        "acceptor-waits:error",
        "ramblk-accept",
        "a test asked for it",
    );
}
