//! `ramblk serve --check`: it finds what would keep a daemon from starting, names all of it, and
//! changes nothing. What it calls a problem is refused by a start, and what it calls fine starts.

use std::fs;
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use ramblk::store::{Store, StoreOptions};
use rustix::process::Signal;
use serde_json::Value;

use super::arena::Arena;
use super::home::{Home, RAMBLK};
use crate::verbs::text;

/// What a check of these options finds. `serve` makes the command.
fn found(mut serve: Command) -> (Output, Value) {
    serve.arg("--check").stdout(std::process::Stdio::piped());
    let people = serve.output().unwrap();
    serve.args(["-o", "json"]);
    let programs = serve.output().unwrap();
    assert_eq!(people.status.code(), programs.status.code());
    let json: Value = serde_json::from_slice(&programs.stdout).unwrap();
    let lines = text(&people.stdout).lines().count();
    let diagnoses = json["diagnoses"].as_array().unwrap();
    assert_eq!(lines, diagnoses.len(), "a line each: {people:?}");
    (people, json)
}

/// Check that must be fine. Returns what it printed.
fn fine(serve: Command) -> String {
    let (output, json) = found(serve);
    let told = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert!(json["worst"] != "problem", "{json}");
    told
}

/// Check that must find problems. Returns what it printed of these.
fn problems(serve: Command) -> Vec<String> {
    let (output, json) = found(serve);
    let told = text(&output.stdout);
    assert_eq!(output.status.code(), Some(9), "{told}");
    assert_eq!(json["worst"], "problem");
    let lines = told.lines().filter(|line| line.starts_with("problem "));
    lines.map(str::to_owned).collect()
}

/// Check that there is one problem, whose line has this text, and that a start ends with `code`.
fn refused(home: &Home, serve: impl Fn() -> Command, wanted: &str, code: i32) {
    let told = problems(serve());
    assert!(
        told.len() == 1 && told[0].contains(wanted),
        "{wanted}: {told:#?}"
    );
    let (status, line) = home.refused(serve());
    assert_eq!(status, Some(code), "{line}");
}

#[test]
fn a_host_where_a_daemon_can_start_is_fine_and_nothing_is_made_there() {
    let home = Home::new();
    let told = fine(home.serve(&[]));
    assert!(told.contains("the start creates it"), "{told}");
    assert!(!home.path("run").exists() && !home.path("state").exists());
    let _daemon = home.start(home.serve(&[]));
}

#[test]
fn a_daemon_that_runs_is_no_problem_and_notices_nothing() {
    let home = Home::new();
    let daemon = home.start(home.serve(&[]));
    home.image("in", 1 << 20, &[(8192, 7)]);
    for line in [
        "group create fast --iops 1000",
        "create a --size 1M --group fast",
        "import a in",
        "snapshot a one",
        "fork a b",
    ] {
        home.ok(line);
    }
    let events = home.ok("events --since 1h --no-follow");
    let told = fine(home.serve(&[]));
    assert!(told.contains("a daemon, serves at"), "{told}");
    assert!(told.contains("layout 2; disks: 2, "), "{told}");
    assert!(
        told.contains(&format!("process {}", daemon.child.id())),
        "{told}"
    );
    assert_eq!(home.ok("events --since 1h --no-follow"), events);
    // Nor does one that can't answer; the others free memory by themselves.
    daemon.signal(Signal::STOP);
    let before = Arena::load(&home.arena());
    fine(home.serve(&[]));
    assert!(Arena::load(&home.arena()) == before, "the file has changed");
    daemon.signal(Signal::CONT);
}

#[test]
fn a_daemon_that_was_started_with_relative_paths_is_no_problem_from_anywhere() {
    let home = Home::new();
    let deep = format!("{}/{}", "d".repeat(60), "e".repeat(60));
    for (directory, is_whole) in [("here", true), (deep.as_str(), false)] {
        let directory = home.path(directory);
        fs::create_dir_all(directory.join("below")).unwrap();
        let run_dir = directory.join("tm");
        // In place of the home's own, which waits until that daemon answers.
        let _ = fs::remove_file(home.path("run"));
        symlink(&run_dir, home.path("run")).unwrap();
        let serve = |from: &str, run_dir: &Path| {
            let mut command = Command::new(RAMBLK);
            command.args(["serve", "--memory-limit", "64M", "--run-dir"]);
            command.arg(run_dir).current_dir(directory.join(from));
            home.surround(&mut command);
            command
        };
        let daemon = home.start(serve("", Path::new("tm")));
        let api = run_dir.join("api.sock");
        let logged = format!("api_socket={}", api.display());
        assert!(home.log().contains(&logged), "{logged}: {}", home.log());
        let mut from = vec![("", PathBuf::from("tm"))];
        if is_whole {
            from.push(("", run_dir.clone()));
            from.push(("below", "../tm".into()));
            from.push(("/", home.path("run")));
        }
        for (from, run_dir) in from {
            let told = fine(serve(from, &run_dir));
            let who = format!("process {}, a daemon, serves at", daemon.child.id());
            assert!(told.contains(&who), "{told}");
        }
        daemon.stop();
    }
}

#[test]
fn records_that_change_meanwhile_are_not_taken_for_damage() {
    let home = Home::new();
    let _daemon = home.start(home.serve(&[]));
    std::thread::scope(|scope| {
        let churn = scope.spawn(|| {
            for round in 0..30 {
                home.ok(&format!("create c{round} --size 1M --label a={round}"));
                home.ok(&format!("fork c{round} d{{1..5}}"));
                home.ok("destroy d1 d2 d3 d4 d5");
            }
        });
        while !churn.is_finished() {
            fine(home.serve(&[]));
        }
    });
}

#[test]
fn a_layout_that_this_version_cant_read_is_found_while_its_daemon_runs() {
    let home = Home::new();
    let daemon = home.start(home.serve(&[]));
    home.ok("create a --size 1M");
    // As the next version leaves the superblock: the layout, and no sum of this version's.
    let arena = fs::File::options().write(true).open(home.arena()).unwrap();
    arena.write_all_at(&3u64.to_le_bytes(), 8).unwrap();
    arena.write_all_at(&0u64.to_le_bytes(), 6 * 8).unwrap();
    let told = problems(home.serve(&[]));
    assert!(
        told.len() == 1 && told[0].contains("has layout 3"),
        "{told:#?}"
    );
    assert!(
        told[0].contains("leave the daemon that has it running"),
        "{told:#?}"
    );
    home.ok("ping");
    daemon.kill();
    refused(&home, || home.serve(&[]), "has layout 3", 1);
}

#[test]
fn settings_of_a_newer_version_are_found_and_named() {
    let home = Home::new();
    let daemon = home.start(home.serve(&[]));
    home.ok("create old --size 1M");
    home.ok("create new --size 1M");
    daemon.kill();
    let store = Store::open_at(&home.arena(), &StoreOptions::new(64 << 20)).unwrap();
    let disk = store.open("new").unwrap();
    let mut settings: Value = serde_json::from_slice(&disk.settings().unwrap()).unwrap();
    settings["colour"] = "red".into();
    disk.set_settings(settings.to_string().as_bytes()).unwrap();
    drop((disk, store));
    let told = problems(home.serve(&[]));
    assert!(told.len() == 1, "{told:#?}");
    assert!(
        told[0].contains("\"new\"") && told[0].contains("colour"),
        "{told:#?}"
    );
    refused(&home, || home.serve(&[]), "colour", 1);
}

#[test]
fn every_mistake_of_a_file_is_named_and_so_is_what_cant_be_applied() {
    let home = Home::new();
    let daemon = home.start(home.serve(&[]));
    home.ok("create a --size 2M");
    daemon.kill();
    let config = home.path("ramblk.toml");
    let serve = || home.serve(&["--config", config.to_str().unwrap()]);
    fs::write(
        &config,
        "[daemon]\nshape = 1\n[[disk]]\nname = \"b\"\nsize = \"1M\"\nsiez = 1\n\
         [[disk]]\nname = \"c\"\nsize = \"1MB\"\n",
    )
    .unwrap();
    let told = problems(serve());
    assert_eq!(told.len(), 4, "{told:#?}");
    for (line, wanted) in told.iter().zip([
        "line 2: this version doesn't know the key \"daemon.shape\"",
        "line 6: this version doesn't know the key \"disk[0].siez\"",
        "line 9: ",
        "disk \"c\": it does not exist, and a new one needs a size",
    ]) {
        assert!(line.contains(wanted), "{wanted}: {told:#?}");
    }
    let wrong = [
        (
            "[[disk]]\nname = \"a\"\nsize = \"1M\"\n",
            "would lose the data",
        ),
        (
            "[[disk]]\nname = \"a\"\nblock_size = 4096\n",
            "can't be changed",
        ),
        (
            "[[disk]]\nname = \"arena\"\nsize = \"1M\"\n",
            "name of a file",
        ),
        (
            "[[disk]]\nname = \"api-ro.sock\"\nsize = \"1M\"\n",
            "name of a file",
        ),
        (
            "[[disk]]\nname = \"b\"\nsize = \"1M\"\ngroup = \"g\"\n",
            "group \"g\"",
        ),
        (
            "[[disk]]\nname = \"b\"\nsize = \"1M\"\nqueues = 0\n",
            "0 queues",
        ),
        ("[[group]]\nname = \"g h\"\n", "is not a name"),
    ];
    for (text, wanted) in wrong {
        fs::write(&config, text).unwrap();
        refused(&home, serve, wanted, 2);
    }
    fs::write(&config, "[[disk]]\nname = \"a\"\nsize = \"4M\"\n").unwrap();
    assert!(fine(serve()).contains("can be applied; disks: 1, groups: 0"));
    let _daemon = home.start(serve());
}

#[test]
fn mistakes_are_told_by_line_and_what_a_broken_file_declares_is_not_called_fine() {
    let home = Home::new();
    let config = home.path("ramblk.toml");
    let serve = || home.serve(&["--config", config.to_str().unwrap()]);
    fs::write(&config, "[daemon]\nshape = 1\n").unwrap();
    // A start ends with the first that it finds, on one line.
    let (status, line) = home.refused(serve());
    assert_eq!(status, Some(2));
    let wanted = "ramblk.toml: line 2: daemon.shape: unknown field `shape`, expected one of";
    assert!(line.contains(wanted), "{line}");
    // What can be read of a broken file is not called fine.
    fs::write(
        &config,
        "[[disk]]\nname = \"a\"\nread_only = \"no\"\n[daemon]\npoll_us = \"64\"\n",
    )
    .unwrap();
    let (output, _) = found(serve());
    let told = text(&output.stdout);
    assert!(!told.contains("can be applied"), "{told}");
    let at = |wanted: &str| {
        told.find(wanted)
            .unwrap_or_else(|| panic!("{wanted}: {told}"))
    };
    assert!(
        at("line 3: disk[0].read_only: give true") < at("line 5: daemon.poll_us: give a whole")
    );
}

#[test]
fn a_limit_is_told_with_where_it_comes_from_and_a_place_that_is_passed_over_with_one_remedy() {
    let home = Home::new();
    let config = home.path("ramblk.toml");
    fs::write(&config, "[daemon]\nmemory_limit = \"32M\"\n").unwrap();
    let serve = |words: &[&str]| {
        let mut command = Command::new(RAMBLK);
        command
            .arg("serve")
            .args(words)
            .arg("--config")
            .arg(&config);
        home.surround(&mut command);
        command
    };
    let run_dir = home.path("run");
    let run_dir = run_dir.to_str().unwrap();
    let told = fine(serve(&["--run-dir", run_dir]));
    assert!(
        told.contains("32M, from memory_limit of the file"),
        "{told}"
    );
    let told = fine(serve(&["--run-dir", run_dir, "--memory-limit", "64M"]));
    assert!(told.contains("64M, from --memory-limit"), "{told}");
    // The build directory is on a real disk, wherever this is built; and if not, there is no less.
    let told = fine(serve(&["--run-dir", env!("CARGO_MANIFEST_DIR")]));
    if let Some(line) = told.lines().find(|line| line.contains("a real disk")) {
        assert!(
            line.contains("to keep them, give --state-dir a directory"),
            "{line}"
        );
        assert!(!line.contains("--state-dir none"), "{line}");
    }
}

#[test]
fn places_limits_and_options_that_stop_a_start_are_problems() {
    let home = Home::new();
    fs::write(home.path("file"), "").unwrap();
    let place = |name: &str| home.path(name).display().to_string();
    let cases = [
        (
            vec!["--state-dir".to_owned(), env!("CARGO_MANIFEST_DIR").into()],
            "tmpfs",
            1,
        ),
        (
            vec!["--api-socket".to_owned(), place("file")],
            "not a socket",
            1,
        ),
        (
            vec!["--api-socket".to_owned(), place("a/b/c")],
            "can't create it",
            1,
        ),
        (
            vec!["--socket-mode".to_owned(), "0060".into()],
            "keeps ramblk itself out",
            2,
        ),
        (
            vec!["--socket-group".to_owned(), "no-such-group".into()],
            "there is no group",
            2,
        ),
        (
            vec!["--socket-group".to_owned(), u32::MAX.to_string()],
            "below 4294967295",
            2,
        ),
        (vec!["--pin".to_owned(), "1000".into()], "processor 1000", 1),
        (vec!["--workers".to_owned(), "300".into()], "300 workers", 2),
        (
            vec!["--import-timeout".to_owned(), "0".into()],
            "--import-timeout",
            2,
        ),
        (vec!["--metrics-label".to_owned(), "a b".into()], "a b", 2),
        (
            vec!["--metrics-listen".to_owned(), "192.0.2.1:9111".into()],
            "192.0.2.1",
            2,
        ),
    ];
    for (words, wanted, code) in cases {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let serve = || home.serve_at(&words);
        refused(&home, serve, wanted, code);
    }
}

#[test]
fn limits_of_the_process_that_stop_a_start_are_problems() {
    let home = Home::new();
    let limited = |how: &str| {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("{how}; exec \"$@\""), "sh", RAMBLK, "serve"]);
        command
            .args(["--memory-limit", "64M", "--run-dir"])
            .arg(home.path("run"));
        home.surround(&mut command);
        command
    };
    refused(&home, || limited("ulimit -f 1000"), "the size of files", 1);
    let told = fine(limited("ulimit -n 500"));
    assert!(told.contains("warning  descriptors "), "{told}");
    let told = problems(limited("ulimit -n 50"));
    assert!(
        told.len() == 1 && told[0].contains("LimitNOFILE="),
        "{told:#?}"
    );
}

#[test]
fn another_daemon_that_has_the_disks_is_a_problem_and_its_process_is_named() {
    let home = Home::new();
    let daemon = home.start(home.serve(&[]));
    let serve = || {
        let mut command = Command::new(RAMBLK);
        command.args(["serve", "--memory-limit", "64M", "--run-dir"]);
        command.arg(home.path("elsewhere")).arg("--state-dir");
        command.arg(home.path("state"));
        home.surround(&mut command);
        command
    };
    let told = problems(serve());
    let who = format!("process {} uses", daemon.child.id());
    assert!(told.len() == 1 && told[0].contains(&who), "{told:#?}");
    refused(&home, serve, "does not serve at this API's socket", 4);
}
