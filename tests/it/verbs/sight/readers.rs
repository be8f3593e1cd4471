//! `serve --api-ro-mode`, `--api-ro-group` and `--api-ro-socket`: clients that only read.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Output};

use ramblk::daemon::api::{READABLE, document};

use crate::harness::eventually;
use crate::verbs::{Daemon, RAMBLK, text};

/// What a GET tells that a reader must not learn, and why.
const WITHHELD: [(&str, &str); 6] = [
    ("/v1/disks/{name}/data", "content"),
    (
        "/v1/disks/{name}/diff",
        "where content differs, and content",
    ),
    (
        "/v1/disks/{name}/digest",
        "content that was guessed is confirmed",
    ),
    ("/v1/disks/{name}/map", "the shape of content"),
    ("/v1/disks/{name}/nbd", "content, and to change it"),
    ("/v1/disks/{name}/recording/log", "content of each write"),
];

/// Run a command line as a client of the socket for reading.
fn read(daemon: &Daemon, line: &str) -> Output {
    let words: Vec<&str> = line.split_whitespace().collect();
    let mut command = daemon.command(&words);
    command.env("RAMBLK_API", daemon.path("api-ro.sock"));
    command.output().unwrap()
}

fn http(socket: &Path, head: &str) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    let head = format!("{head} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn it_is_decided_for_each_path_whether_a_reader_may_get_it() {
    let document = document();
    let paths = document["paths"].as_object().unwrap();
    let gets = paths.iter().filter(|(_, item)| item.get("get").is_some());
    let gets: BTreeSet<&str> = gets.map(|(path, _)| path.as_str()).collect();
    let withheld = WITHHELD.map(|(path, _)| path);
    let decided: BTreeSet<&str> = READABLE.into_iter().chain(withheld).collect();
    assert_eq!(decided.len(), READABLE.len() + withheld.len());
    let undecided: Vec<_> = gets.difference(&decided).collect();
    assert!(undecided.is_empty(), "{undecided:?}");
    let gone: Vec<_> = READABLE
        .iter()
        .filter(|path| !gets.contains(*path))
        .collect();
    assert!(gone.is_empty(), "{gone:?}");
}

#[test]
fn a_reader_sees_figures_and_events_and_changes_nothing() {
    let daemon = Daemon::start_with(&["--api-ro-mode", "0600"]);
    daemon.ok("create a --size 1M --label vm=one");
    daemon.ok("snapshot a s");
    let found = std::fs::metadata(daemon.path("api-ro.sock")).unwrap();
    assert_eq!(found.mode() & 0o777, 0o600);
    for line in [
        "ping",
        "list",
        "show a",
        "show a@s",
        "stats",
        "pool",
        "group list",
        "image list",
        "events --no-follow --since 1m",
        "wait a --for detached --timeout 5s",
        "fault list a",
        "export-config",
    ] {
        let output = read(&daemon, line);
        assert!(output.status.success(), "{line}: {}", text(&output.stderr));
    }
    let api = daemon.path("api.sock");
    for line in [
        "create b --size 1M",
        "set a --quota 1M",
        "limit a --iops 9",
        "resize a 2M",
        "snapshot a t",
        "fork a b",
        "protect a",
        "destroy a@s",
        "destroy a",
        "export a out",
        "read a 0 512",
        "digest a",
        "map a",
    ] {
        let output = read(&daemon, line);
        let said = text(&output.stderr);
        assert!(!output.status.success(), "{line}");
        assert!(said.contains(api.to_str().unwrap()), "{line}: {said}");
    }
    assert!(!daemon.path("out").exists(), "nothing was exported");
    let disk = daemon.json("show a");
    assert_eq!(disk["quota_bytes"], serde_json::Value::Null);
    assert_eq!(daemon.json("list").as_array().unwrap().len(), 1);
}

#[test]
fn a_reader_that_speaks_http_gets_a_problem_for_what_it_may_not_do() {
    let daemon = Daemon::start_with(&["--api-ro-mode", "0600"]);
    daemon.ok("create a --size 1M");
    let readers = daemon.path("api-ro.sock");
    for (request, status) in [
        ("HEAD /v1/disks", "200"),
        ("GET /metrics", "200"),
        ("GET /v1/nothing", "404"),
        ("GET /v1/disks/none", "404"),
        ("DELETE /v1/disks/a", "403"),
        ("POST /v1/disks", "403"),
        ("GET /v1/disks/a/nbd", "403"),
        ("GET /v1/disks/a/recording/log", "403"),
        ("HEAD /v1/disks/a/data", "403"),
    ] {
        let answer = http(&readers, request);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{request}: {answer}"
        );
    }
    let refused = http(&readers, "DELETE /v1/disks/a");
    assert!(
        refused.contains("urn:ramblk:problem:forbidden"),
        "{refused}"
    );
}

#[test]
fn a_crowd_of_readers_keeps_no_client_from_the_api() {
    let daemon = Daemon::start_with(&["--api-ro-mode", "0660"]);
    daemon.ok("create a --size 1M");
    let readers = daemon.path("api-ro.sock");
    let crowd: Vec<_> = (0..300)
        .map(|_| UnixStream::connect(&readers).unwrap())
        .collect();
    for _ in 0..3 {
        daemon.ok("set a --label turn=x");
        daemon.ok("list");
    }
    drop(crowd);
    eventually("a reader is answered again", || {
        read(&daemon, "list").status.success()
    });
}

#[test]
fn a_socket_for_reading_is_there_only_if_it_was_asked_for() {
    let daemon = Daemon::start();
    assert!(!daemon.path("api-ro.sock").exists());
    let refused = daemon.refused("create api-ro.sock --size 1M", 2);
    assert!(refused.contains("choose another"), "{refused}");
}

#[test]
fn a_socket_for_reading_that_is_removed_is_made_again() {
    let daemon = Daemon::start_with(&["--api-ro-mode", "0660"]);
    std::fs::remove_file(daemon.path("api-ro.sock")).unwrap();
    eventually("readers are answered again", || {
        read(&daemon, "ping").status.success()
    });
    assert!(!read(&daemon, "create a --size 1M").status.success());
}

/// Only root can become another user; elsewhere the test does nothing.
#[test]
fn members_of_its_group_read_and_strangers_do_only_if_its_mode_says_so() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let ask = |daemon: &Daemon, socket: &str, user: &[&str], request: &str| {
        let folder = daemon.path("").canonicalize().unwrap();
        std::fs::set_permissions(folder, PermissionsExt::from_mode(0o755)).unwrap();
        let mut command = Command::new("setpriv");
        command.args(user).args(["curl", "-is", "-X", request]);
        command.args(["http://localhost/v1/disks", "--unix-socket"]);
        let output = command.arg(daemon.path(socket)).output().unwrap();
        text(&output.stdout)
    };
    let stranger = ["--reuid=12345", "--regid=12345", "--clear-groups"];
    let member = ["--reuid=12345", "--regid=12345", "--groups=23456"];
    let daemon = Daemon::start_with(&["--api-ro-group", "23456"]);
    let gid = std::fs::metadata(daemon.path("api-ro.sock")).unwrap().gid();
    assert_eq!(gid, 23456);
    assert!(ask(&daemon, "api-ro.sock", &member, "GET").starts_with("HTTP/1.1 200"));
    assert!(ask(&daemon, "api-ro.sock", &member, "POST").starts_with("HTTP/1.1 403"));
    assert_eq!(
        ask(&daemon, "api-ro.sock", &stranger, "GET"),
        "",
        "no connection"
    );
    assert_eq!(
        ask(&daemon, "api.sock", &member, "GET"),
        "",
        "no connection"
    );
    drop(daemon);
    let daemon = Daemon::start_with(&["--api-ro-mode", "0666"]);
    assert!(ask(&daemon, "api-ro.sock", &stranger, "GET").starts_with("HTTP/1.1 200"));
    assert!(ask(&daemon, "api-ro.sock", &stranger, "POST").starts_with("HTTP/1.1 403"));
    assert_eq!(
        ask(&daemon, "api.sock", &stranger, "GET"),
        "",
        "no connection"
    );
}

#[test]
fn options_of_the_socket_for_reading_that_can_not_be_are_refused() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let taken = path("file");
    std::fs::write(&taken, "").unwrap();
    for (option, value, word) in [
        ("--api-ro-mode", "0060", "--api-ro-mode"),
        ("--api-ro-mode", "rw", "--api-ro-mode"),
        ("--api-ro-group", "no-such-group-here", "--api-ro-group"),
        (
            "--api-ro-socket",
            path("api.sock").to_str().unwrap(),
            "another path",
        ),
        ("--api-ro-socket", taken.to_str().unwrap(), "file"),
    ] {
        let output = Command::new(RAMBLK)
            .args(["serve", "--state-dir", "none", "--run-dir"])
            .arg(folder.path())
            .args([option, value])
            .output()
            .unwrap();
        let said = text(&output.stderr);
        assert!(
            !output.status.success() && said.contains(word),
            "{value}: {said}"
        );
        assert!(!path("api.sock").exists(), "{value}: nothing is left");
    }
    std::fs::write(path("c.toml"), "[daemon]\napi_ro_mode = \"0640\"\n").unwrap();
    let daemon = Daemon::start_with(&["--config", path("c.toml").to_str().unwrap()]);
    let found = std::fs::metadata(daemon.path("api-ro.sock")).unwrap();
    assert_eq!(found.mode() & 0o777, 0o640);
}
