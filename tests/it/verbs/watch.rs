//! `stats`, `pool`, `events`, `ping`, `top`.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use super::{Daemon, RAMBLK, text};
use crate::driver::disk::{ALL, Disk};

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
    daemon.refused("stats b", 3);
    daemon.refused("stats --watch", 2);
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
