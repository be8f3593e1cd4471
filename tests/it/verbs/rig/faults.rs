//! `fault`, and faults from the start.

use std::process::Stdio;

use serde_json::json;

use crate::driver::disk::Disk;
use crate::driver::status::IOERR;
use crate::verbs::Daemon;

#[test]
fn faults_are_added_listed_logged_and_taken_away() {
    let daemon = Daemon::start();
    daemon.ok("create a --size 1M");
    assert_eq!(
        daemon.ok("fault add a error --op write,discard --range 4K+4K --times 2"),
        "fault f1 of a: error,id=f1,op=write+discard,range=4K+4K,times=2\n"
    );
    daemon.ok("fault add a delay=1ms..2ms --id slow --probability 0.5 --seed 7");
    let listed = daemon.ok("fault list a");
    assert!(
        listed.contains("delay=1ms..2ms,id=slow,probability=0.5,seed=7"),
        "{listed}"
    );
    let mut disk = Disk::attach(&daemon.socket("a"));
    assert_eq!(disk.q().write(8, &[1; 512]), Err(IOERR));
    assert_eq!(disk.q().write(0, &[1; 512]), Ok(()));
    assert_eq!(disk.q().write(7, &[1; 1024]), Err(IOERR));
    assert_eq!(disk.q().write(8, &[1; 512]), Ok(()), "twice is over");
    let fault = &daemon.json("fault list a")[0];
    assert_eq!(
        (&fault["fired"], &fault["spent"], &fault["id"]),
        (&json!(2), &json!(true), &json!("f1"))
    );
    let log = daemon.json("fault log a");
    let first = &log["firings"][0];
    assert_eq!(
        (
            &first["id"],
            &first["op"],
            &first["start_bytes"],
            &first["length_bytes"]
        ),
        (&json!("f1"), &json!("write"), &json!(4096), &json!(512))
    );
    assert!(daemon.ok("fault log a").contains("f1"));
    let stats = daemon.json("stats a");
    assert!(stats["faults_total"].as_u64().unwrap() >= 2, "{stats}");
    assert_eq!(daemon.ok("fault rm a f1"), "fault f1 is removed\n");
    assert_eq!(
        daemon.ok("fault release a slow"),
        "fault slow holds no request now, and stays armed for later ones\n"
    );
    let said = daemon.ok("fault add a personality=ebs-gp3 --id slow-too");
    assert!(said.contains("reads 1000 us, 3000/s"), "{said}");
    assert!(daemon.ok("show a").contains("burst credits 30"));
    disk.q().write(0, &[9; 4096]).unwrap();
    let rotten = daemon.json("fault add a rot=3 --range 0+4K --seed 5");
    let mut bits = 0;
    let mut content = vec![9; 4096];
    for byte in rotten["rotten"].as_array().unwrap() {
        let (at, mask) = (
            byte["at_bytes"].as_u64().unwrap(),
            byte["mask"].as_u64().unwrap(),
        );
        content[at as usize] ^= mask as u8;
        bits += mask.count_ones();
    }
    assert_eq!(bits, 3);
    assert_eq!(disk.q().read(0, 4096), Ok(content));
    assert_eq!(daemon.ok("fault clear a"), "a has no faults\n");
    assert_eq!(daemon.json("fault list a"), json!([]));
}

#[test]
fn what_is_wrong_with_a_fault_is_said_with_what_is_possible() {
    let daemon = Daemon::start();
    daemon.ok("create a --size 1M --fault error,id=f1,op=write,range=0+512");
    for (line, code, said) in [
        (
            "fault add a crash",
            2,
            "\"crash\" is not a fault: use error, unsupported",
        ),
        (
            "fault add a error --nth 0",
            2,
            "nth of a fault can't be \"0\"",
        ),
        (
            "fault add a error --range 1M+512",
            2,
            "does not lie on the disk",
        ),
        (
            "fault add a error --op erase",
            2,
            "read, write, flush, discard or write-zeroes",
        ),
        (
            "fault add a error --op flush --range 0+512",
            2,
            "a flush has no range",
        ),
        ("fault add a error --id f1", 2, "two faults called \"f1\""),
        (
            "fault add a personality=tape",
            2,
            "hdd-7200, sata-ssd, nvme or ebs-gp3",
        ),
        ("fault add a rot=0", 2, "a number of bits, 1 to 4096"),
        ("fault add a rot --nth 1", 2, "no fields but range and seed"),
        ("fault add a rot", 2, "nothing is mapped there"),
        ("fault add b error", 3, "\"b\""),
        ("fault rm a f9", 3, "no fault named \"f9\""),
        ("fault release a f9", 3, "no fault named \"f9\""),
        (
            "create b --size 1M --fault error,nth=0",
            2,
            "nth of a fault can't be",
        ),
        (
            "resize a 256 --shrink",
            2,
            "range 0+512 does not lie on the disk",
        ),
    ] {
        let refused = daemon.refused(line, code);
        assert!(refused.contains(said), "{line}: {refused}");
    }
    assert_eq!(
        daemon.json("show a")["faults"],
        json!(["error,id=f1,op=write,range=0+512"])
    );
    let many: Vec<String> = (0..31).map(|_| "--fault stall".to_owned()).collect();
    daemon.ok(&format!(
        "create c --size 1M {} --fault error",
        many.join(" ")
    ));
    let refused = daemon.refused("fault add c error", 2);
    assert!(refused.contains("33 faults are too many"), "{refused}");
}

#[test]
fn a_file_has_the_faults_of_its_disks() {
    let daemon = Daemon::start();
    let file = daemon.path("disks.toml");
    let text = "[[disk]]\nname = \"a\"\nsize = \"1M\"\nfaults = [\"error,op=write,range=0+512\"]\n";
    std::fs::write(&file, text).unwrap();
    daemon.ok("apply -f disks.toml");
    let mut disk = Disk::attach(&daemon.socket("a"));
    assert_eq!(disk.q().write(0, &[1; 512]), Err(IOERR));
    let exported = daemon.ok("export-config");
    assert!(
        exported.contains("error,id=f1,op=write,range=0+512"),
        "{exported}"
    );
    assert!(
        daemon
            .ok("apply -f disks.toml --dry-run")
            .contains("unchanged"),
        "as it is"
    );
    std::fs::write(&file, text.replace("0+512", "512+512")).unwrap();
    daemon.ok("apply -f disks.toml");
    assert_eq!(disk.q().write(0, &[1; 512]), Ok(()));
    assert_eq!(disk.q().write(1, &[1; 512]), Err(IOERR));
}

#[test]
fn a_disk_that_is_run_has_faults_too() {
    let daemon = Daemon::start();
    let socket = daemon.path("run.sock");
    let words = [
        "run",
        "--size",
        "1M",
        "--fault",
        "error,op=read",
        "--socket-path",
    ];
    let mut command = daemon.command(&words);
    let mut child = command.arg(&socket).stderr(Stdio::null()).spawn().unwrap();
    crate::harness::eventually("it listens", || socket.exists());
    let mut disk = Disk::attach(&socket);
    assert_eq!(disk.q().read(0, 512), Err(IOERR));
    assert_eq!(disk.q().write(0, &[1; 512]), Ok(()));
    child.kill().unwrap();
    child.wait().unwrap();
    let refused = daemon.refused("run --size 1M --socket-path s --fault error,nth=0", 2);
    assert!(
        refused.contains("nth of a fault") && refused.contains("--fault"),
        "{refused}"
    );
}
