//! SIGKILL at each write of a record while the power of several disks is cut: all of them have lost
//! it, or none has.

use serde_json::Value;

use crate::daemon::Daemon;
use crate::driver::disk::Disk as Guest;
use crate::driver::kind::{FLUSH, OUT};

const DISKS: [&str; 3] = ["a", "b", "c"];

/// What a daemon did that dies at a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Died {
    Before,
    During,
    Never,
}

/// Disks that hold "2" where "1" is stable. Returns whether the daemon lives.
fn prepare(daemon: &mut Daemon) -> bool {
    while daemon.verb(&["ping"]).is_none() {
        if daemon.ended().is_some() {
            return false;
        }
    }
    let made = DISKS.iter().all(|name| {
        let words = ["create", name, "--size", "1M", "--write-cache", "volatile"];
        daemon.verb(&words).is_some()
    });
    made && DISKS.iter().all(|name| {
        let mut guest = Guest::attach(&daemon.socket(name));
        daemon.answers_to(guest.q(), OUT, 0, &[b'1'; 512])
            && daemon.answers_to(guest.q(), FLUSH, 0, &[])
            && daemon.answers_to(guest.q(), OUT, 0, &[b'2'; 512])
    })
}

/// Cut the power of all disks, in a daemon that dies at this point.
fn cut(point: &str, count: u64) -> Died {
    let at = format!("{point}:{count}");
    let mut daemon = Daemon::start();
    daemon.kill();
    daemon.set_environment(&[("RAMBLK_KILL_AT", at.clone())]);
    daemon.start_again();
    if !prepare(&mut daemon) {
        daemon.is_killed();
        return Died::Before;
    }
    let answered = daemon.verb(&["power-cut", "a", "b", "c"]).is_some();
    let died = match answered {
        true => {
            daemon.kill();
            Died::Never
        }
        false => {
            daemon.is_killed();
            Died::During
        }
    };
    daemon.set_environment(&[]);
    daemon.start_again();
    daemon.answers();
    let read = |name: &&str| daemon.say(&["read", name, "0", "1"]);
    let found: Vec<String> = DISKS.iter().map(read).collect();
    let all = |byte: &str| found.iter().all(|found| found == byte);
    assert!(all("1") || (all("2") && !answered), "{at}: {found:?}");
    let listed: Value = serde_json::from_str(&daemon.say(&["list", "-o", "json"])).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), DISKS.len(), "{at}");
    daemon.stop();
    let state = daemon.state();
    daemon.say(&["fsck", state.to_str().unwrap()]);
    died
}

#[test]
#[cfg_attr(not(ramblk_hooks), ignore = "there are no hooks in this build")]
fn all_disks_of_a_cut_lose_their_power_or_none_wherever_the_daemon_dies() {
    for point in ["record-written", "slot-published"] {
        // The first ones are those of its start.
        let mut during = 0;
        for count in 1..200 {
            match cut(point, count) {
                Died::Before => {}
                Died::During => during += 1,
                Died::Never => break,
            }
        }
        eprintln!("{point}: {during} kills while the power was cut");
        assert!(
            during > 6,
            "{point}: {during} kills while the power was cut"
        );
    }
}
