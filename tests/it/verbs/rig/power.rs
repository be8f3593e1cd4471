//! `power-cut` and `power-on`.

use serde_json::json;

use crate::driver::disk::Disk;
use crate::verbs::Daemon;

#[test]
fn a_power_cut_says_what_was_lost_and_power_on_serves_the_disk_again() {
    let daemon = Daemon::start();
    daemon.ok("create vm1 --size 1M --write-cache volatile --log-limit 2M");
    daemon.ok("create other --size 1M");
    let shown = daemon.json("show vm1");
    assert_eq!(shown["write_cache"], "volatile");
    let none = json!({
        "writes": 0, "bytes": 0, "stable_by": "flush", "log_bytes": 0, "log_limit_bytes": 2 << 20,
    });
    assert_eq!(shown["volatile"], none);
    let mut guest = Disk::attach(shown["socket"].as_str().unwrap().as_ref());
    guest.q().write(8, &[1; 1024]).unwrap();
    let shown = daemon.ok("show vm1");
    let volatile = "volatile       1 write of 1K; a write is stable after a flush; log 4K of 2M\n";
    assert!(shown.contains(volatile), "{shown}");
    let beside = daemon.ok("power-cut vm1 --fork after --keep subset --torn --seed 3");
    assert!(
        beside.starts_with("after is vm1 after a power cut: volatile writes: 1"),
        "{beside}"
    );
    let said = daemon.ok("power-cut vm1 --off --tear-unit 512");
    for line in [
        "vm1 lost its power: volatile writes: 1, of these not wholly there: 1\n",
        "the power is off until 'ramblk power-on vm1'\n",
        "    0  write  4096    1024  lost  no flush\n",
        "end it, and start it again",
        "keep none, seed 0, tear unit 512\n",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    let off = daemon.ok("show vm1");
    let state = "state          powered-off: 'ramblk power-on vm1' turns it on\n";
    assert!(off.contains(state), "{off}");
    let listed = daemon.ok("list --columns name,state --no-headers");
    assert_eq!(listed, "after  ok\nother  ok\nvm1    powered-off\n");
    let all = daemon.json("list");
    assert_eq!(
        (&all[2]["state"], &all[2]["unreachable"]),
        (&json!("powered-off"), &json!(null))
    );
    let doctor = daemon.command(&["doctor"]).output().unwrap();
    let doctor = crate::verbs::text(&doctor.stdout);
    assert!(doctor.contains("the power of \"vm1\" is off"), "{doctor}");
    assert!(
        !doctor.contains("taken the place of its socket"),
        "{doctor}"
    );
    assert_eq!(daemon.ok("power-on vm1"), "vm1 has power\n");
    assert_eq!(daemon.json("show vm1")["state"], "ok");
    for (line, code) in [
        ("power-cut other", 2),
        ("power-cut vm1 --tear-unit 1000", 2),
        ("power-cut vm1 --torn", 2),
        ("power-on gone", 3),
        ("set other --log-limit 2M", 2),
    ] {
        daemon.refused(line, code);
    }
    daemon.ok("set vm1 --write-cache stable --log-limit none");
    assert_eq!(daemon.json("show vm1")["volatile"], json!(null));
}

/// The daemon is not the disk: what a read saw is there when the next one starts.
#[test]
fn a_daemon_that_is_killed_loses_no_volatile_write() {
    let state = tempfile::TempDir::new_in("/dev/shm").unwrap();
    let options = ["--state-dir", state.path().to_str().unwrap()];
    let mut daemon = Daemon::start_with(&options);
    daemon.ok("create vm1 --size 1M --write-cache volatile");
    let socket = daemon.json("show vm1")["socket"].clone();
    let mut guest = Disk::attach(socket.as_str().unwrap().as_ref());
    guest.q().write(0, &[1; 512]).unwrap();
    guest.q().flush().unwrap();
    guest.q().write(0, &[2; 512]).unwrap();
    daemon.kill_and_start(&options);
    let mut guest = Disk::attach(socket.as_str().unwrap().as_ref());
    assert_eq!(guest.q().read(0, 512).unwrap(), [2; 512]);
    assert_eq!(daemon.json("show vm1")["volatile"]["writes"], 0);
    guest.q().write(0, &[3; 512]).unwrap();
    daemon.ok("power-cut vm1");
    let mut guest = Disk::attach(socket.as_str().unwrap().as_ref());
    assert_eq!(guest.q().read(0, 512).unwrap(), [2; 512]);
    assert_eq!(daemon.json("list").as_array().unwrap().len(), 1);
}
