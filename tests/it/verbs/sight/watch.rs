//! `stats`, `pool`, `events`, `ping`, `top`.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use crate::driver::disk::{ALL, Disk};
use crate::verbs::{Daemon, RAMBLK, text};

#[test]
fn what_guests_did_is_counted() {
    let daemon = Daemon::start();
    daemon.ok("create a --size 1M");
    let mut disk = Disk::attach_with(&daemon.socket("a"), ALL, 1, 64);
    for _ in 0..10 {
        disk.q().write(0, &[1; 4096]).unwrap();
    }
    let stats = daemon.json("stats a");
    assert_eq!(stats["operations"]["write"]["completed"], 10);
    assert_eq!(stats["operations"]["write"]["bytes"], 40960);
    let shown = daemon.ok("stats a");
    assert!(
        shown.contains("REQUESTS") && shown.contains("40K"),
        "{shown}"
    );
    assert_eq!(daemon.json("stats")[0]["disk"], "a");
    daemon.ok("create b --size 1M --label tenant=x");
    let all = daemon.ok("stats");
    let row: Vec<&str> = all.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row[..6], ["a", "0", "10", "0", "0", "40K"], "{all}");
    assert_eq!(daemon.ok("stats -l tenant=x").lines().count(), 2);
    let sums = daemon.ok("pool --by label=tenant");
    let first = sums.lines().map(|line| line.split_whitespace().next());
    assert_eq!(
        first.collect::<Vec<_>>(),
        [Some("TENANT"), Some("x"), Some("-")]
    );
    daemon.refused("pool --by colour", 2);
    daemon.ok("destroy b");
    daemon.refused("stats b", 3);
    daemon.refused("stats a -l tenant=x", 2);
    let pool = daemon.json("pool");
    assert_eq!(
        (&pool["disks"], &pool["limit_bytes"]),
        (&1.into(), &(1u64 << 30).into())
    );
    assert!(daemon.ok("pool").contains("1G (1073741824 bytes)"));
    assert!(daemon.json("ping")["version"].is_string());
    assert!(daemon.ok("openapi").contains("\"openapi\""));
}

#[test]
fn rates_are_printed_until_nobody_reads() {
    let daemon = Daemon::start();
    daemon.ok("create a --size 1M");
    let mut child = daemon
        .command(&["stats", "a", "--watch"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("READ/s"));
    assert!(lines.next().unwrap().unwrap().contains("0/s"));
    drop(lines);
    let ended = child.wait().unwrap();
    assert_eq!(
        ended.code(),
        Some(141),
        "a closed pipe ends it, without a word, as it ends other filters"
    );
}

#[test]
fn events_come_as_they_happen() {
    let daemon = Daemon::start();
    daemon.ok("create b --size 1M");
    let mut children: Vec<_> = [&["events", "-o", "json"][..], &["events", "--disk", "b"]]
        .into_iter()
        .map(|words| {
            daemon
                .command(words)
                .stdout(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let mut outs = children
        .iter_mut()
        .map(|child| child.stdout.take().unwrap());
    let (all, one) = (outs.next().unwrap(), outs.next().unwrap());
    // A listener does not get earlier events.
    std::thread::sleep(Duration::from_millis(300));
    daemon.ok("create a --size 1M");
    daemon.ok("resize b 2M");
    daemon.ok("destroy a b");
    let mut lines = BufReader::new(all).lines();
    for (kind, disk) in [
        ("created", "a"),
        ("resized", "b"),
        ("destroyed", "a"),
        ("destroyed", "b"),
    ] {
        let event: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert_eq!(
            (&event["type"], &event["disk"]),
            (&kind.into(), &disk.into())
        );
    }
    let mut lines = BufReader::new(one).lines();
    let first = lines.next().unwrap().unwrap();
    assert!(
        first.contains("Z  resized  ") && first.contains("  b"),
        "{first}"
    );
    for child in &mut children {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[test]
fn past_events_are_kept_with_who_did_what() {
    let daemon = Daemon::start();
    daemon.ok("create a --size 1M");
    daemon.ok("set a --quota 1M --label vm=x");
    daemon.ok("destroy a");
    let past = daemon.ok("events --since 10m --no-follow");
    let lines: Vec<&str> = past.lines().collect();
    let kinds = lines
        .iter()
        .map(|line| line.split_whitespace().nth(1).unwrap());
    assert_eq!(
        kinds.collect::<Vec<_>>(),
        ["started", "created", "changed", "destroyed"]
    );
    let changed = lines[2];
    for word in [
        "quota_bytes: none → 1M",
        "labels.vm: none → \"x\"",
        "/ramblk(",
    ] {
        assert!(changed.contains(word), "{word}: {changed}");
    }
    let json = daemon.ok("events --since 10m --no-follow --disk a -o json");
    let events: Vec<Value> = json
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(events.len(), 3);
    let id = format!("{}-{}", events[1]["run"].as_str().unwrap(), events[1]["id"]);
    let after = daemon.ok(&format!("events --after {id} --no-follow"));
    assert!(
        after.contains("destroyed") && after.lines().count() == 1,
        "{after}"
    );
    let other = daemon.ok("events --after 00000000-1 --no-follow");
    assert!(other.starts_with("the daemon was started again"), "{other}");
    daemon.refused("events --since 10", 2);
    daemon.refused("events --after 17", 2);
}

#[test]
fn what_is_waited_for_comes_at_its_moment_or_the_time_is_up() {
    let daemon = Daemon::start();
    daemon.ok("create a --size 1M");
    let said = daemon.refused("wait a --for attached --timeout 100ms", 7);
    assert!(said.contains("a is not attached after 100ms"), "{said}");
    for wrong in ["gone", "written>=x", "quiet=2", "flushes>=1.5", "writes>1"] {
        daemon.refused(&format!("wait a --for {wrong}"), 2);
    }
    daemon.refused("wait nope --for attached", 3);
    let waiting = ["attached", "written>=40K", "flushes>=1", "detached"].map(|condition| {
        daemon
            .command(&["wait", "a", "--for", condition, "--timeout", "60s"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    });
    let mut disk = Disk::attach_with(&daemon.socket("a"), ALL, 1, 64);
    let mut waiting = waiting.into_iter();
    let mut ends = |what: &str| {
        let ended = waiting.next().unwrap().wait_with_output().unwrap();
        assert_eq!(text(&ended.stdout), format!("a: {what}\n"));
        assert!(ended.status.success());
    };
    ends("attached");
    for _ in 0..10 {
        disk.q().write(0, &[1; 4096]).unwrap();
    }
    ends("written>=40960");
    disk.q().flush().unwrap();
    ends("flushes>=1");
    assert_eq!(
        daemon.ok("wait a --for quiet=200ms --timeout 60s"),
        "a: quiet=200ms\n"
    );
    drop(disk);
    // It held before the front end came, too.
    ends("detached");
    daemon.ok("wait a --for detached --timeout 60s");
    let mut lost = daemon
        .command(&["wait", "a", "--for", "attached"])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(300));
    daemon.ok("destroy a");
    assert_eq!(lost.wait().unwrap().code(), Some(3));
}

#[test]
fn lists_have_the_columns_and_the_order_that_are_asked_for() {
    let daemon = Daemon::start();
    for line in [
        "a --size 1M --label t=x",
        "b --size 3M",
        "c --size 2M --label t=x",
    ] {
        daemon.ok(&format!("create {line}"));
    }
    assert_eq!(daemon.ok("list -o name -l t=x"), "a\nc\n");
    assert_eq!(
        daemon.ok("list --columns name --no-headers --sort size:desc"),
        "b\nc\na\n"
    );
    let wide = daemon.ok("list -o wide");
    for heading in ["AGE", "GROUP", "ID", "LABELS"] {
        assert!(wide.lines().next().unwrap().contains(heading), "{wide}");
    }
    let said = daemon.refused("list --columns colour", 2);
    assert!(said.contains("generation"), "{said}");
    daemon.refused("list --sort size:up", 2);
    let shown = daemon.json("show a");
    let id = shown["id"].as_str().unwrap().to_owned();
    assert_eq!((id.len(), &shown["generation"]), (36, &1.into()));
    daemon.ok("set a --quota 1M");
    let changed = daemon.json("show a");
    assert_eq!(
        (&changed["id"], &changed["generation"]),
        (&id.into(), &2.into())
    );
    assert_eq!(changed["created_ns"], shown["created_ns"]);
    assert!(daemon.ok("show a").contains(" ago)"));
}

#[test]
fn top_needs_a_terminal() {
    let daemon = Daemon::start();
    let said = daemon.refused("top", 2);
    assert!(said.contains("ramblk stats"), "{said}");
}

/// Runs a command on a new terminal, types `q` or another key when it has drawn, and prints
/// everything that came out.
const TERMINAL: &str = r#"
import fcntl, os, pty, select, signal, struct, sys, termios
typed = sys.argv[1].encode().decode("unicode_escape").encode()
pid, fd = pty.fork()
if pid == 0:
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 20, 120, 0, 0))
    os.execvp(sys.argv[2], sys.argv[2:])
out = b""
sent = False
while True:
    ready, _, _ = select.select([fd], [], [], 10)
    try:
        part = os.read(fd, 65536) if ready else b""
    except OSError:
        part = b""
    if not part:
        break
    out += part
    if not sent and b"STATE" in out:
        sent = True
        os.write(fd, typed)
if not sent:
    os.kill(pid, signal.SIGKILL)
_, status = os.waitpid(pid, 0)
sys.stdout.buffer.write(out)
sys.exit(os.waitstatus_to_exitcode(status))
"#;

fn on_a_terminal(daemon: &Daemon, typed: &str) -> (Option<i32>, String) {
    let mut child = std::process::Command::new("python3")
        .args(["-", typed, RAMBLK, "top"])
        .env("RAMBLK_API", daemon.path("api.sock"))
        .env("TERM", "xterm")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(TERMINAL.as_bytes()).unwrap();
    drop(stdin);
    let mut out = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut out).unwrap();
    (child.wait().unwrap().code(), text(&out))
}

#[test]
fn top_draws_and_leaves_the_terminal_as_it_was() {
    let daemon = Daemon::start();
    daemon.ok("create scratch --size 1M");
    // q, Escape and Control-C.
    for typed in ["q", r"\x1b", r"\x03"] {
        let (code, out) = on_a_terminal(&daemon, typed);
        assert_eq!(code, Some(0), "{typed}: {out}");
        assert!(out.contains("scratch") && out.contains("WAITING"), "{out}");
        let (enter, leave) = (out.find("\x1b[?1049h"), out.rfind("\x1b[?1049l"));
        assert!(enter.is_some() && leave > enter, "{typed}: {out:?}");
        let shown = out.rfind("\x1b[?25h");
        assert!(
            shown > out.rfind("\x1b[?25l"),
            "the cursor is back: {out:?}"
        );
    }
    let (code, out) = on_a_terminal(&daemon, r"nibm jk q");
    assert_eq!(code, Some(0), "{out}");
}
