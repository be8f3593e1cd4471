//! A daemon that is killed while it makes a fleet: after the restart there is all of it, or none.

use crate::daemon::Daemon;

const FLEET: usize = 600;

/// The named points of a transaction, and whether it has taken effect there.
const POINTS: [(&str, u64, bool); 8] = [
    ("record-written", 1, false),
    ("record-written", FLEET as u64, false),
    ("intent-written", 1, false),
    ("intent-named", 1, true),
    ("intent-slot-set", 1, true),
    ("intent-slot-set", FLEET as u64 / 2, true),
    ("intent-slot-set", FLEET as u64, true),
    ("intent-done", 1, true),
];

fn names(daemon: &Daemon) -> Vec<String> {
    let list: serde_json::Value =
        serde_json::from_str(&daemon.say(&["list", "-o", "json"])).unwrap();
    let disks = list.as_array().unwrap().iter();
    disks
        .map(|disk| disk["name"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
#[cfg_attr(not(ramblk_hooks), ignore = "there are no hooks in this build")]
fn a_fleet_is_there_or_not_wherever_the_daemon_dies() {
    let mut daemon = Daemon::start();
    daemon.say(&["create", "golden", "--size", "16M"]);
    let state = daemon.state();
    let state = state.to_str().unwrap();
    let pattern = format!("vm-{{1..{FLEET}}}");
    for (point, count, all) in POINTS {
        daemon.stop();
        daemon.set_environment(&[("RAMBLK_KILL_AT", format!("{point}:{count}"))]);
        daemon.start_again();
        daemon.answers();
        assert!(
            daemon.verb(&["fork", "golden", &pattern]).is_none(),
            "{point}"
        );
        daemon.is_killed();
        daemon.say(&["fsck", state]);
        daemon.set_environment(&[]);
        daemon.start_again();
        daemon.answers();
        let found = names(&daemon).len() - 1;
        assert_eq!(found, if all { FLEET } else { 0 }, "{point}:{count}");
        // The same command again makes what is missing, and each of them works.
        daemon.say(&["fork", "golden", &pattern]);
        assert_eq!(names(&daemon).len() - 1, FLEET, "{point}:{count}");
        let each = names(&daemon).into_iter().filter(|name| name != "golden");
        let each: Vec<String> = each.collect();
        for part in each.chunks(100) {
            let mut words = vec!["destroy"];
            words.extend(part.iter().map(String::as_str));
            daemon.say(&words);
        }
    }
}
