//! The part of a service manager, played by the tests: it keeps descriptors, makes the API's
//! socket, and is notified when everything is ready.

use std::io::{IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};

use super::home::{Home, RAMBLK, Running, listens};

/// The socket for the daemon's notifications.
struct Manager(UnixDatagram);

impl Manager {
    fn new(home: &Home) -> Self {
        let socket = UnixDatagram::bind(home.path("notify")).unwrap();
        let patience = Some(Duration::from_secs(20));
        socket.set_read_timeout(patience).unwrap();
        Self(socket)
    }

    /// The next message, and the descriptors that came with it.
    fn hear(&self) -> (String, Vec<OwnedFd>) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut bytes = [0; 4096];
        let got = rustix::net::recvmsg(
            &self.0,
            &mut [IoSliceMut::new(&mut bytes)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        );
        let length = got.expect("the daemon says something").bytes;
        let mut descriptors = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                descriptors.extend(fds);
            }
        }
        let text = String::from_utf8(bytes[..length].to_vec()).unwrap();
        (text, descriptors)
    }

    /// All messages up to the one with this line.
    fn hear_until(&self, line: &str) -> Vec<(String, Vec<OwnedFd>)> {
        let mut heard = Vec::new();
        while !heard
            .last()
            .is_some_and(|(text, _): &(String, _)| text.lines().any(|it| it == line))
        {
            heard.push(self.hear());
        }
        heard
    }
}

/// A daemon as a manager starts it, with a descriptor as number 3.
fn serve(home: &Home, passed: Option<(&OwnedFd, &str)>) -> Command {
    // exec keeps the process id, which the daemon compares.
    let script = "exec 3<&0 </dev/null; LISTEN_PID=$$ exec \"$@\"";
    let mut command = Command::new("sh");
    let script = if passed.is_some() {
        script
    } else {
        "exec \"$@\""
    };
    command.args(["-c", script, "sh", RAMBLK]);
    command.args(["serve", "--memory-limit", "64M", "--run-dir"]);
    command.arg(home.path("run"));
    home.surround(&mut command);
    if let Some((fd, name)) = passed {
        command.stdin(Stdio::from(fd.try_clone().unwrap()));
        command.env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", name);
    }
    command.env("NOTIFY_SOCKET", home.path("notify"));
    command
}

fn start<'a>(home: &'a Home, manager: &Manager, command: Command) -> Running<'a> {
    let running = home.start(command);
    manager.hear_until("READY=1");
    running
}

#[test]
fn disks_that_the_manager_keeps_outlive_the_daemon() {
    let home = Home::new();
    let manager = Manager::new(&home);
    let mut command = serve(&home, None);
    command.env("FDSTORE", "16");
    let daemon = home.start(command);
    let heard = manager.hear_until("READY=1");
    let mut stored = heard.into_iter().filter(|(_, fds)| !fds.is_empty());
    let (text, mut fds) = stored.next().expect("a descriptor is handed over");
    assert!(text.lines().any(|line| line == "FDSTORE=1"), "{text}");
    assert!(
        text.lines().any(|line| line == "FDNAME=ramblk-arena"),
        "{text}"
    );
    assert!(fds.len() == 1 && stored.next().is_none());
    let kept = fds.remove(0);
    assert!(!home.path("run/arena").exists(), "it is kept in one place");
    home.image("in", 1 << 20, &[(8192, 7)]);
    home.ok("create a --size 1M --label vm=one");
    home.ok("import a in");
    home.ok("snapshot a one");
    daemon.kill();
    for _ in 0..2 {
        let mut command = serve(&home, Some((&kept, "ramblk-arena")));
        command.env("FDSTORE", "16");
        let daemon = home.start(command);
        for (text, fds) in manager.hear_until("READY=1") {
            assert!(fds.is_empty(), "it is there already: {text}");
        }
        assert_eq!(home.json("show a")["labels"]["vm"], "one");
        for name in ["a", "a@one"] {
            assert_eq!(
                &home.ok(&format!("export {name} -"))[8192..8200],
                7u64.to_le_bytes()
            );
        }
        daemon.kill();
    }
    // A daemon with another state directory leaves the manager's descriptors alone.
    let mut command = serve(&home, Some((&kept, "ramblk-arena")));
    command.args(["--state-dir", "none"]);
    let daemon = start(&home, &manager, command);
    assert_eq!(home.json("list").as_array().unwrap().len(), 0);
    drop(daemon);
    let mut command = serve(&home, Some((&kept, "ramblk-arena")));
    command.args(["--state-dir", "systemd"]);
    let _daemon = start(&home, &manager, command);
    assert_eq!(home.json("show a")["snapshots"][0], "one");
}

#[test]
fn the_managers_socket_is_the_apis() {
    let home = Home::new();
    let manager = Manager::new(&home);
    let listener = UnixListener::bind(home.path("given.sock")).unwrap();
    let listener = OwnedFd::from(listener);
    let state = home.path("state");
    for _ in 0..2 {
        // A client that connects before the daemon has started waits for it.
        let mut early = UnixStream::connect(home.path("given.sock")).unwrap();
        early
            .write_all(b"GET /v1/version HTTP/1.0\r\nhost: it\r\n\r\n")
            .unwrap();
        let mut command = serve(&home, Some((&listener, "api")));
        command.arg("--state-dir").arg(&state);
        let mut child = command.spawn().unwrap();
        manager.hear_until("READY=1");
        let mut answer = String::new();
        early
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        early.read_to_string(&mut answer).ok();
        assert!(
            answer.starts_with("HTTP/1.") && answer.contains(" 200 "),
            "{answer}"
        );
        assert!(!home.path("run/api.sock").exists());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(home.path("given.sock").exists(), "it is the manager's");
    }
}

#[test]
fn the_managers_socket_for_reading_has_a_name_of_its_own() {
    let home = Home::new();
    let manager = Manager::new(&home);
    let listener = UnixListener::bind(home.path("given.sock")).unwrap();
    let listener = OwnedFd::from(listener);
    let mut command = serve(&home, Some((&listener, "api-ro")));
    command.args(["--state-dir", "none"]);
    let _daemon = start(&home, &manager, command);
    assert!(home.path("run/api.sock").exists(), "the API has its own");
    for (request, status) in [("GET", "200"), ("POST", "403")] {
        let mut client = UnixStream::connect(home.path("given.sock")).unwrap();
        let head = format!("{request} /v1/disks HTTP/1.0\r\nhost: it\r\n\r\n");
        client.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.contains(&format!(" {status} ")), "{answer}");
    }
}

#[test]
fn ready_is_said_when_all_sockets_listen() {
    let home = Home::new();
    let manager = Manager::new(&home);
    let state = home.path("state");
    let serve = || {
        let mut command = serve(&home, None);
        command.arg("--state-dir").arg(&state);
        command
    };
    let daemon = start(&home, &manager, serve());
    let names: Vec<String> = (0..50).map(|at| format!("disk-{at}")).collect();
    for name in &names {
        home.ok(&format!("create {name} --size 1M"));
    }
    daemon.kill();
    let mut child = serve().spawn().unwrap();
    let heard = manager.hear_until("READY=1");
    let sockets = names
        .iter()
        .map(|name| home.path("run").join(name).join("vhost.sock"));
    let deaf: Vec<_> = sockets.filter(|socket| !listens(socket)).collect();
    let api = listens(&home.path("run/api.sock"));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(api && deaf.is_empty(), "{deaf:?} do not listen");
    assert_eq!(heard.len(), 1, "nothing is said before: {heard:?}");
    assert!(heard[0].0.contains("STATUS=serving 50 disks"), "{heard:?}");
}

#[test]
fn a_check_looks_at_disks_that_the_manager_keeps_through_the_daemon_that_has_them() {
    let home = Home::new();
    let manager = Manager::new(&home);
    let mut command = serve(&home, None);
    command.env("FDSTORE", "16");
    let _daemon = home.start(command);
    let heard = manager.hear_until("READY=1");
    let mut kept = heard.into_iter().flat_map(|(_, fds)| fds);
    let kept = kept.next().expect("a descriptor is handed over");
    home.ok("create a --size 1M");
    let check = || {
        let output = serve(&home, None)
            .arg("--check")
            .stdout(Stdio::piped())
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
        )
    };
    let (code, told) = check();
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("layout 2; disks: 1, "), "{told}");
    // As a newer version leaves the superblock: its layout, and no sum of this version's.
    let kept = std::fs::File::from(kept);
    kept.write_all_at(&3u64.to_le_bytes(), 8).unwrap();
    kept.write_all_at(&0u64.to_le_bytes(), 6 * 8).unwrap();
    let (code, told) = check();
    assert_eq!(code, Some(9), "{told}");
    assert!(told.contains("has layout 3"), "{told}");
}

#[test]
fn the_manager_learns_that_a_configuration_is_being_applied() {
    let home = Home::new();
    let manager = Manager::new(&home);
    std::fs::write(home.path("ramblk.toml"), "").unwrap();
    let mut command = serve(&home, None);
    command.arg("--config").arg(home.path("ramblk.toml"));
    let daemon = start(&home, &manager, command);
    for text in ["[[disk]]\nname = \"a\"\nsize = \"1M\"\n", "wrong"] {
        std::fs::write(home.path("ramblk.toml"), text).unwrap();
        daemon.signal(rustix::process::Signal::HUP);
        let heard = manager.hear_until("READY=1");
        let began = &heard[0].0;
        assert!(began.contains("RELOADING=1"), "{heard:?}");
        assert!(began.contains("MONOTONIC_USEC="), "{heard:?}");
        let ended = &heard[1].0;
        assert!(ended.contains("STATUS=serving 1 disks"), "{heard:?}");
    }
}
