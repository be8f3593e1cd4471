//! What a terminal shows: as wide as it, and nothing is lost.

use std::process::Command;

use crate::verbs::{Daemon, RAMBLK, text};

const COLUMNS: usize = 80;

/// What a command prints on a terminal, stdout and stderr together.
fn on_terminal(daemon: &Daemon, line: &str) -> String {
    let shell = format!("stty columns {COLUMNS} rows 40; exec {RAMBLK} {line}");
    let mut script = Command::new("script");
    script.args(["--quiet", "--command", &shell, "/dev/null"]);
    script.env("RAMBLK_API", daemon.path("api.sock"));
    let output = script.current_dir(daemon.path("")).output().unwrap();
    text(&output.stdout).replace('\r', "")
}

/// Its letters, in the order of the alphabet: folding moves words, and loses none.
fn letters(text: &str) -> Vec<char> {
    let mut all: Vec<char> = text.chars().filter(|it| it.is_alphabetic()).collect();
    all.sort_unstable();
    all
}

/// A daemon with long names, labels, limits, faults, and an image from far away.
fn crowded() -> Daemon {
    let daemon = Daemon::start();
    daemon.ok("create golden --size 1G --label owner=the-team-that-builds-all-images --label vm=g");
    daemon.ok("snapshot golden@before-the-upgrade-to-another-release");
    for line in [
        "fork golden db-of-the-second-zone --label tenant=initech --label zone=b",
        "create vm1 --size 64M --sanitize count --write-cache volatile",
        "fault add vm1 delay=p50:1ms,p99:40ms,op=read,range=32M+16M,probability=0.25,seed=12345",
        "fault add vm1 error,op=write,range=1M+4K,after-requests=1000000,times=3",
        "group create tenants --iops 1000 --iops-burst 5000 --bps 100M --read-iops 500",
        "group set tenants --write-bps 64M --write-iops 300",
        "set vm1 --group tenants",
        "power-cut vm1 --off",
    ] {
        daemon.ok(line);
    }
    let folder = daemon.path("images/by-the-builder-of-machines");
    std::fs::create_dir_all(&folder).unwrap();
    let image = folder.join("debian-12-generic.raw");
    std::fs::write(&image, [7; 1 << 16]).unwrap();
    daemon.ok(&format!("image pull {} --name debian-12", image.display()));
    daemon
}

#[test]
fn tables_and_lines_fit_a_terminal_and_lose_nothing() {
    let daemon = crowded();
    for line in [
        "list",
        "show vm1",
        "show golden",
        "image list",
        "image show debian-12",
        "events --since 1h --no-follow",
        "history list golden",
        "fault list vm1",
        "fault log vm1",
        "findings vm1",
        "children golden",
        "group list",
        "group show tenants",
        "pool",
        "pool --by label=tenant",
        "stats vm1",
        "snapshots golden",
        "map golden",
    ] {
        let (shown, piped) = (on_terminal(&daemon, line), daemon.ok(line));
        for row in shown.lines() {
            assert!(row.chars().count() <= COLUMNS, "{line}: {row}\n{shown}");
        }
        assert_eq!(
            letters(&shown),
            letters(&piped),
            "{line}:\n{shown}\n{piped}"
        );
    }
}

#[test]
fn what_is_made_or_measured_fits_a_terminal_too() {
    let daemon = Daemon::start();
    daemon.ok("create vm1 --size 1M");
    let socket = daemon.json("show vm1")["socket"].clone();
    let bench = format!("bench {} --requests 50", socket.as_str().unwrap());
    daemon.ok("record start vm1");
    daemon.ok("record stop vm1");
    for (line, words) in [
        ("fault add vm1 personality=hdd-7200", "burst credits"),
        (bench.as_str(), "wake-ups/s"),
        ("crash-explore vm1 -- true", "states a second"),
    ] {
        let shown = on_terminal(&daemon, line);
        let whole = shown.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(whole.contains(words), "{line}: {shown}");
        for row in shown.lines() {
            assert!(row.chars().count() <= COLUMNS, "{line}: {row}\n{shown}");
        }
    }
}

#[test]
fn nothing_waits_for_an_image_that_somebody_types() {
    let daemon = Daemon::start();
    daemon.ok("create a --size 1M");
    for line in [
        "import a -",
        "create b --size 1M --image -",
        "image inspect -",
        "write a 0",
    ] {
        let shown = on_terminal(&daemon, line);
        assert!(
            shown.contains("stdin is a terminal: send"),
            "{line}: {shown}"
        );
    }
}

#[test]
fn errors_are_folded_between_words_on_a_terminal_and_a_line_elsewhere() {
    let daemon = crowded();
    for (line, code) in [
        ("list --columns nme", 2),
        ("create golden --size 2G", 4),
        ("fault add vm1 nonsense", 2),
        ("resize golden 1M", 4),
        ("wait vm1 --for nonsense", 2),
    ] {
        let shown = on_terminal(&daemon, line);
        let rows: Vec<&str> = shown.lines().collect();
        assert!(rows.len() > 1, "{line}: {shown}");
        for row in &rows {
            assert!(row.chars().count() <= COLUMNS, "{line}: {row}\n{shown}");
        }
        assert!(
            rows[1..].iter().all(|row| row.starts_with("       ")),
            "{shown}"
        );
        let whole = daemon.refused(line, code);
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(words(&shown), words(&whole), "{line}");
    }
}
