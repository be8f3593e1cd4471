//! Who may read and write over NBD when, and what ends a view.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::{Serving, attach, nbd, ok};
use crate::driver::data::pattern;
use crate::driver::disk::{ALL, Disk};
use crate::driver::ring::Ring;
use crate::harness::eventually;
use crate::verbs::{Daemon, text};

fn qemu_io(uri: &str, command: &str) -> bool {
    let mut program = Command::new("qemu-io");
    let output = program.args(["-f", "raw", "-c", command, uri]).output();
    let output = output.unwrap();
    output.status.success() && !text(&output.stdout).contains("failed")
}

fn charged(daemon: &Daemon) -> u64 {
    daemon.json("pool")["charged_bytes"].as_u64().unwrap()
}

fn front_ends(daemon: &Daemon) -> usize {
    let shown = daemon.json("show vm1");
    shown["front_ends"].as_array().unwrap().len()
}

#[test]
fn it_ends_with_its_command_and_its_exit_code() {
    let daemon = Daemon::start();
    daemon.ok("create vm1 --size 1M");
    for (script, code) in [("true", 0), ("exit 7", 7), ("kill -9 $$", 137)] {
        let output = nbd(&daemon, "vm1", script);
        assert_eq!(output.status.code(), Some(code), "{script}");
        assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
    }
    let all = ok(
        &daemon,
        "vm1",
        "echo {uri}; echo $uri; echo ${uri}; env | grep ^uri= | cut -c5-",
    );
    let lines: Vec<&str> = all.lines().collect();
    assert_eq!(lines.len(), 4);
    assert!(lines.iter().all(|line| *line == lines[0]), "{all}");
    let socket = lines[0].split_once("socket=").unwrap().1;
    assert!(!Path::new(socket).exists(), "{socket}");
    let mut none = daemon.command(&["nbd", "vm1", "--", "/no/such/program"]);
    assert_eq!(none.output().unwrap().status.code(), Some(1));
    let own = daemon.path("own nbd.sock");
    let words = ["nbd", "vm1", "--socket", own.to_str().unwrap(), "--"];
    let words = [&words[..], &["nbdinfo", "--size", "$uri"]].concat();
    let output = daemon.command(&words).output().unwrap();
    assert_eq!(
        text(&output.stdout),
        "1048576\n",
        "{}",
        text(&output.stderr)
    );
    assert!(!own.exists());
}

#[test]
fn a_view_of_this_moment_is_taken_away_at_its_end() {
    let daemon = Daemon::start();
    daemon.ok("create vm1 --size 8M");
    let mut disk = attach(&daemon, "vm1");
    disk.q().write(0, &pattern(1 << 20, 1)).unwrap();
    let before = charged(&daemon);
    for signal in [Signal::TERM, Signal::INT, Signal::KILL] {
        let serving = Serving::start(&daemon, "vm1");
        // The view keeps what the guest overwrites.
        disk.q().write(0, &pattern(1 << 20, 2)).unwrap();
        assert!(charged(&daemon) >= before + (1 << 20));
        assert_eq!(daemon.json("snapshots vm1"), json!([]));
        assert_eq!(front_ends(&daemon), 1, "the guest");
        let (socket, killed) = (serving.socket().to_owned(), signal == Signal::KILL);
        assert_eq!(serving.end(signal), (!killed).then_some(0));
        if killed {
            eventually("the view is gone", || charged(&daemon) <= before);
        } else {
            assert_eq!(charged(&daemon), before, "gone when the verb has ended");
            assert!(!Path::new(&socket).exists());
        }
    }
}

#[test]
fn a_writer_is_a_front_end_and_only_one_uses_a_disk_that_is_not_shared() {
    let daemon = Daemon::start();
    daemon.ok("create vm1 --size 1M");
    let guest = attach(&daemon, "vm1");
    let refused = daemon.refused("nbd vm1 --rw", 4);
    assert!(refused.contains("a front end uses disk"), "{refused}");
    assert!(refused.contains("without --rw"), "{refused}");
    ok(&daemon, "vm1", "nbdinfo \"$uri\"");
    drop(guest);
    daemon.eventually_detached("vm1");

    let writer = Serving::start(&daemon, "vm1 --rw");
    let shown = daemon.json("show vm1");
    assert_eq!(shown["attached"], true);
    assert_eq!(shown["front_ends"][0]["protocol"], "nbd");
    assert!(daemon.ok("show vm1").contains("over NBD"));
    let listed = daemon.ok("list");
    let is_attached = |line: &str| line.starts_with("vm1") && line.contains("yes");
    assert!(listed.lines().any(is_attached), "{listed}");
    daemon.refused("destroy vm1", 4);
    daemon.refused("nbd vm1 --rw", 4);
    assert!(qemu_io(&writer.uri, "write -P 1 0 4k"));
    // A guest that comes meanwhile may negotiate, and its rings are not started.
    let mut late = Disk::prepare(&daemon.socket("vm1"), ALL);
    late.client.acks = false;
    late.client.start(&Ring::new(&late.mem, 0, 64, true));
    let began = Instant::now();
    assert!(late.client.closes_within(Duration::from_secs(9)));
    assert!(began.elapsed() > Duration::from_secs(4), "withheld");
    drop(late);
    eventually("the guest is gone", || front_ends(&daemon) == 1);
    assert_eq!(writer.end(Signal::TERM), Some(0));
    // The writer has let go when the verb has ended.
    assert_eq!(daemon.json("show vm1")["attached"], false);
    assert_eq!(attach(&daemon, "vm1").q().read(0, 4096), Ok(vec![1; 4096]));
}

#[test]
fn a_shared_disk_has_writers_beside_its_guests() {
    let daemon = Daemon::start();
    daemon.ok("create vm1 --size 1M --share rw");
    let mut guest = attach(&daemon, "vm1");
    let writer = Serving::start(&daemon, "vm1 --rw");
    let second = Serving::start(&daemon, "vm1 --rw");
    assert!(qemu_io(&writer.uri, "write -P 3 0 4k"));
    assert!(qemu_io(&second.uri, "read -P 3 0 4k"), "at once");
    assert_eq!(guest.q().read(0, 4096), Ok(vec![3; 4096]));
    guest.q().write(0, &[4; 4096]).unwrap();
    assert!(qemu_io(&writer.uri, "read -P 4 0 4k"), "at once");
    assert_eq!(front_ends(&daemon), 3);
}

#[test]
fn what_cannot_be_served_is_refused_with_what_to_do() {
    let daemon = Daemon::start();
    daemon.ok("create ro --size 1M --read-only");
    daemon.ok("snapshot ro s");
    let refused = daemon.refused("nbd ro --rw", 4);
    assert!(refused.contains("read-only"), "{refused}");
    let refused = daemon.refused("nbd ro@s --rw", 2);
    assert!(refused.contains("fork it"), "{refused}");
    daemon.refused("nbd nowhere", 3);
    daemon.refused("nbd ro@nowhere", 3);
    std::fs::write(daemon.path("a-file"), "x").unwrap();
    daemon.refused("nbd ro --socket a-file", 1);
    // What programs get instead of the URI alone.
    let mut json = daemon.command(&["nbd", "ro@s", "--socket", "a.sock", "-o", "json"]);
    let mut child = json.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut line).unwrap();
    let said: Value = serde_json::from_str(&line).unwrap();
    let socket = daemon.path("a.sock");
    let uri = format!("nbd+unix:///?socket={}", socket.display());
    assert_eq!(
        (&said["uri"], &said["size_bytes"]),
        (&json!(uri), &json!(1 << 20))
    );
    child.kill().unwrap();
    child.wait().unwrap();
    // A socket that a killed process left is replaced.
    assert!(socket.exists());
    ok(&daemon, "ro@s --socket a.sock", "nbdinfo $uri");
    // Writes to what is read-only fail, whatever a client thinks.
    let serving = Serving::start(&daemon, "ro@s");
    assert!(!qemu_io(&serving.uri, "write 0 4k"));
    let read = ["-r", "-f", "raw", "-c", "read 0 4k", &serving.uri];
    assert!(
        Command::new("qemu-io")
            .args(read)
            .status()
            .unwrap()
            .success()
    );
}

#[test]
fn a_view_ends_with_its_disk_and_with_its_daemon() {
    let daemon = Daemon::start();
    for (options, destroy) in [("vm1", "destroy vm1"), ("vm1 --rw", "destroy --force vm1")] {
        daemon.ok("create vm1 --size 1M");
        let mut serving = Serving::start(&daemon, options);
        daemon.ok(destroy);
        let code = serving.child.wait().unwrap().code();
        assert_eq!(code, Some(1), "{options}");
        let mut said = String::new();
        let err = serving.child.stderr.as_mut().unwrap();
        err.read_to_string(&mut said).unwrap();
        assert!(said.contains("the daemon ended the view"), "{said}");
    }
    daemon.ok("create vm1 --size 1M");
    let mut one = Serving::start(&daemon, "vm1");
    let mut two = Serving::start(&daemon, "vm1 --rw");
    drop(daemon);
    assert_eq!(one.child.wait().unwrap().code(), Some(1));
    assert_eq!(two.child.wait().unwrap().code(), Some(1));
}

#[test]
fn a_view_keeps_the_size_that_the_disk_had() {
    let daemon = Daemon::start();
    daemon.ok("create vm1 --size 1M");
    let serving = Serving::start(&daemon, "vm1 --rw");
    assert!(qemu_io(&serving.uri, "write -P 1 1020k 4k"));
    daemon.ok("resize vm1 4M");
    assert!(qemu_io(&serving.uri, "read -P 1 1020k 4k"));
    assert!(!qemu_io(&serving.uri, "write -P 1 1M 4k"));
    daemon.ok("resize vm1 512K --shrink");
    assert!(
        !qemu_io(&serving.uri, "write -P 1 1020k 4k"),
        "cut off meanwhile"
    );
    assert!(qemu_io(&serving.uri, "write -P 1 0 4k"));
}

#[test]
fn a_writer_waits_for_its_limits_and_for_memory() {
    let daemon = Daemon::start();
    daemon.ok("create slow --size 64M --write-bps 4M");
    let write = "qemu-io -f raw -c 'write 0 8M' \"$uri\"";
    let began = Instant::now();
    ok(&daemon, "slow --rw", write);
    assert!(
        began.elapsed() > Duration::from_millis(700),
        "two seconds' worth"
    );
    daemon.ok("create full --size 64M --quota 2M");
    let output = nbd(&daemon, "full --rw", write);
    let said = text(&output.stdout);
    assert!(said.contains("No space left"), "{said}");
    daemon.ok("create stalls --size 64M --quota 2M --on-full stall");
    let serving = Serving::start(&daemon, "stalls --rw");
    let mut client = Command::new("qemu-io");
    let mut client = client
        .args(["-f", "raw", "-c", "write 0 8M", &serving.uri])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let stalled = || daemon.json("stats stalls")["stalled"].as_u64();
    eventually("its write waits", || stalled() == Some(1));
    client.kill().unwrap();
    client.wait().unwrap();
    eventually("it waits no more", || stalled() == Some(0));
    assert_eq!(serving.end(Signal::TERM), Some(0));
    assert_eq!(daemon.json("show stalls")["attached"], false);
}

#[test]
fn more_connections_than_there_may_be_are_turned_away() {
    let daemon = Daemon::start();
    daemon.ok("create vm1 --size 1M");
    let serving = Serving::start(&daemon, "vm1");
    let connect = || UnixStream::connect(serving.socket()).unwrap();
    let greets = |mut stream: &UnixStream| {
        let limit = Some(Duration::from_secs(20));
        stream.set_read_timeout(limit).unwrap();
        stream.read(&mut [0; 18]).unwrap() > 0
    };
    // One more keeps the view.
    let mut held: Vec<_> = (0..63).map(|_| connect()).collect();
    assert!(held.iter().all(greets));
    assert!(!greets(&connect()));
    let refused = daemon.refused("nbd vm1", 1);
    assert!(refused.contains("too many NBD connections"), "{refused}");
    held.pop();
    eventually("there is room again", || greets(&connect()));
}
