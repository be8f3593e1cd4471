//! `RAMBLK_LOG_FORMAT`: lines of JSON, messages for the journal, and text.

use std::fs::{self, File};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::driver::disk::Disk as Guest;
use crate::harness::eventually;
use crate::verbs::{RAMBLK, text};

/// A daemon in a folder, which `before` starts if there is anything before it.
fn serve(folder: &Path, before: &[&str], format: &str) -> Child {
    let words = [before, &[RAMBLK, "serve", "--state-dir", "none"]].concat();
    Command::new(words[0])
        .args(&words[1..])
        .args(["--memory-limit", "64M", "--run-dir"])
        .arg(folder.join("run"))
        .env("RAMBLK_LOG_FORMAT", format)
        .env("RAMBLK_LOG", "debug")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(folder.join("log")).unwrap())
        .spawn()
        .unwrap()
}

fn verb(folder: &Path, line: &str) -> bool {
    let mut command = Command::new(RAMBLK);
    command.args(line.split(' '));
    command.env("RAMBLK_API", folder.join("run/api.sock"));
    command.output().unwrap().status.success()
}

/// Have a guest come, break its ring, and leave.
fn use_a_disk(folder: &Path) {
    eventually("the daemon answers", || verb(folder, "ping"));
    assert!(verb(folder, "create vm-1 --size 1M --serial another"));
    let mut guest = Guest::attach(&folder.join("run/vm-1/vhost.sock"));
    guest.q().write(0, &[1; 512]).unwrap();
    // There is no such descriptor.
    guest.q().submit(999);
    assert!(guest.q().broken_within(Duration::from_secs(10)));
    drop(guest);
}

fn stop(mut child: Child) {
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    child.wait().unwrap();
}

#[test]
fn each_line_of_a_log_in_json_is_an_object_and_those_of_a_session_name_it() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let daemon = serve(folder, &[], "json");
    use_a_disk(folder);
    let log = || fs::read_to_string(folder.join("log")).unwrap();
    eventually("it is logged", || log().contains("front end disconnected"));
    stop(daemon);
    let log = log();
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    for line in &lines {
        for key in ["timestamp", "level", "message"] {
            assert!(line[key].is_string(), "{key}: {line}");
        }
    }
    for message in [
        "front end connected",
        "ring is broken and stops",
        "front end disconnected",
    ] {
        let line = lines.iter().find(|line| line["message"] == message);
        let line = line.unwrap_or_else(|| panic!("{message}: {log}"));
        let session = &line["span"];
        assert_eq!(session["disk"], "vm-1", "{line}");
        assert_eq!(session["session"], 0, "{line}");
        assert_eq!(session["pid"], std::process::id(), "{line}");
    }
    let serving = lines.iter().find(|line| line["message"] == "serving");
    assert_eq!(serving.unwrap()["disks"], 0);
}

#[test]
fn an_error_that_ends_the_program_is_an_object_of_a_log_in_json() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let taken = format!("serve --memory-limit 64M --run-dir {}/x", file.display());
    for (line, code) in [
        ("serve --memory-limit much", 2),
        ("serve --no-such-option", 2),
        (
            "serve --memory-limit 64M --run-dir /tmp --socket-group no-such-group",
            2,
        ),
        ("serve --config /nowhere/ramblk.toml", 1),
        (taken.as_str(), 1),
        ("run --socket-path /nowhere/s", 2),
        ("run --size 1M --socket-path /nowhere/s", 1),
        ("run --size 1M --image /nowhere/image -- true", 1),
    ] {
        let run = |format: &str| {
            let mut command = Command::new(RAMBLK);
            command
                .args(line.split(' '))
                .env("RAMBLK_LOG_FORMAT", format);
            let output = command.output().unwrap();
            assert_eq!(output.status.code(), Some(code), "{line}: {output:?}");
            text(&output.stderr)
        };
        let said = run("text");
        let error = said.lines().last().unwrap().strip_prefix("error: ");
        let said = run("json");
        let lines: Vec<Value> = said
            .lines()
            .map(|it| serde_json::from_str(it).unwrap_or_else(|why| panic!("{why}: {it}")))
            .collect();
        let last = lines.last().unwrap();
        assert_eq!(last["message"].as_str(), error, "{line}");
        assert_eq!(
            (&last["level"], &last["exit_code"]),
            (&"ERROR".into(), &code.into())
        );
        assert!(last["timestamp"].is_string());
    }
    // Verbs have no log.
    let mut list = Command::new(RAMBLK);
    list.args(["list", "--bogus"])
        .env("RAMBLK_LOG_FORMAT", "json");
    let said = text(&list.output().unwrap().stderr);
    assert!(said.starts_with("error: "), "{said}");
}

#[test]
#[cfg_attr(not(ramblk_hooks), ignore = "there are no hooks in this build")]
fn a_panic_is_an_object_of_a_log_in_json() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let daemon = serve(folder, &["env", "RAMBLK_FAIL_AT=api-asked:panic"], "json");
    let log = || fs::read_to_string(folder.join("log")).unwrap();
    eventually("it panics", || {
        verb(folder, "ping");
        log().contains("panicked")
    });
    stop(daemon);
    let log = log();
    let lines = log.lines().map(|line| {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|why| panic!("{why}: {line}"));
        line
    });
    let lines: Vec<Value> = lines.collect();
    let says = |line: &&Value| line["message"].as_str().unwrap().contains("panicked");
    let line = lines.iter().find(says).unwrap();
    assert_eq!(line["level"], "ERROR", "{line}");
    assert!(
        line["message"]
            .as_str()
            .unwrap()
            .contains("a test asked for it"),
        "{line}"
    );
    assert_eq!(line["thread"], "ramblk-api", "{line}");
    assert!(
        line["at"]
            .as_str()
            .unwrap()
            .starts_with("src/store/base/points.rs:"),
        "{line}"
    );
}

#[test]
fn a_line_of_text_about_a_session_names_it_too() {
    let folder = TempDir::new().unwrap();
    let daemon = serve(folder.path(), &[], "text");
    use_a_disk(folder.path());
    stop(daemon);
    let log = fs::read_to_string(folder.path().join("log")).unwrap();
    let session = format!(
        "front_end{{disk=\"vm-1\" session=0 pid={}}}",
        std::process::id()
    );
    for message in ["front end connected", "ring is broken and stops"] {
        let line = log.lines().find(|line| line.contains(message)).unwrap();
        assert!(line.contains(&session), "{line}");
    }
}

/// Only root can have a journal of its own; elsewhere the test does nothing.
#[test]
fn messages_for_the_journal_have_fields_and_need_a_journal() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let folder = TempDir::new().unwrap();
    let journal = folder.path().join("journal");
    fs::create_dir(&journal).unwrap();
    let socket = UnixDatagram::bind(journal.join("socket")).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let script = "mount -t tmpfs none /run && mkdir -p /run/systemd/journal && \
                  mount --bind \"$0\" /run/systemd/journal && exec \"$@\"";
    let journal = journal.to_str().unwrap();
    let unshared = ["unshare", "-m", "sh", "-c", script, journal];
    let daemon = serve(folder.path(), &unshared, "journald");
    use_a_disk(folder.path());
    let mut bytes = vec![0; 1 << 16];
    let message = loop {
        let length = socket.recv(&mut bytes).unwrap();
        let message = String::from_utf8_lossy(&bytes[..length]).into_owned();
        if message.contains("front end connected") {
            break message;
        }
    };
    for field in ["DISK", "vm-1", "SESSION", "PID", "PRIORITY"] {
        assert!(message.contains(field), "{field}: {message}");
    }
    stop(daemon);
    assert_eq!(fs::read_to_string(folder.path().join("log")).unwrap(), "");
    let script = "mount -t tmpfs none /run && exec \"$@\"";
    let mut daemon = serve(
        folder.path(),
        &["unshare", "-m", "sh", "-c", script, "sh"],
        "journald",
    );
    assert_eq!(daemon.wait().unwrap().code(), Some(2));
    let said = fs::read_to_string(folder.path().join("log")).unwrap();
    assert!(
        said.contains("there is no journal") && said.contains("json"),
        "{said}"
    );
}

#[test]
fn a_format_that_is_none_is_refused_at_the_start() {
    for format in ["JSON", "xml", "journal"] {
        for line in ["serve --state-dir none", "run --size 1M --socket-path s"] {
            let folder = TempDir::new().unwrap();
            let output = Command::new(RAMBLK)
                .args(line.split(' '))
                .env("RAMBLK_LOG_FORMAT", format)
                .env("RUNTIME_DIRECTORY", folder.path())
                .current_dir(folder.path())
                .output()
                .unwrap();
            let said = text(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{said}");
            let wanted =
                format!("error: RAMBLK_LOG_FORMAT has {format:?}: use text, json or journald\n");
            assert_eq!(said, wanted);
        }
    }
}
