//! `crash-explore`: what a check finds in the states that a crash may leave.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::driver::disk::{ALL, Disk};
use crate::harness::eventually;
use crate::verbs::{Daemon, text};

/// A disk whose log has data at sector 0, then a commit record at sector 8, both of 4 KiB. Between
/// them is a flush, or not.
pub(super) fn recorded(with_flush: bool) -> Daemon {
    recorded_in(Daemon::start(), with_flush)
}

/// The same of this daemon.
pub(super) fn recorded_in(daemon: Daemon, with_flush: bool) -> Daemon {
    recorded_with(daemon, with_flush, |_| ())
}

/// The same of a guest that does something before the recording starts.
fn recorded_with(daemon: Daemon, with_flush: bool, prepare: impl Fn(&Disk)) -> Daemon {
    daemon.ok("create a --size 1M");
    let mut disk = Disk::attach_with(&daemon.socket("a"), ALL, 1, 64);
    prepare(&disk);
    daemon.ok("record start a");
    disk.q().write(800, &[b'X'; 512]).unwrap();
    disk.q().flush().unwrap();
    daemon.ok("record mark a begin");
    disk.q().write(0, &[b'A'; 4096]).unwrap();
    if with_flush {
        disk.q().flush().unwrap();
    }
    disk.q().write(8, &[b'B'; 4096]).unwrap();
    disk.q().flush().unwrap();
    daemon.ok("record mark a committed");
    daemon.ok("record stop a");
    daemon
}

/// Bad: there is a commit record, and not all of the data.
pub(super) const COMMITTED: &str = r#"
a=$(head -c 4096 "$1" | tr -d '\0' | wc -c)
b=$(tail -c +4097 "$1" | head -c 1)
[ "$b" != B ] || [ "$a" = 4096 ] || { echo "a commit of $a bytes"; exit 1; }
"#;

impl Daemon {
    /// Explore with the check `script`, which gets the file. Returns the exit code, and the report
    /// or what stderr has.
    pub(super) fn explore(&self, options: &str, script: &str) -> (i32, Value) {
        let words = format!("crash-explore a -o json {options}");
        let mut words: Vec<&str> = words.split_whitespace().collect();
        words.extend(["--", "sh", "-c", script, "check", "{file}"]);
        let output = self.command(&words).output().unwrap();
        let code = output.status.code().unwrap();
        let report = match code {
            0 | 1 => text(&output.stdout),
            _ => text(&output.stderr),
        };
        (code, serde_json::from_str(&report).unwrap())
    }
}

#[test]
fn a_lost_write_is_found_made_small_and_made_again_from_its_name() {
    let daemon = recorded(false);
    let (code, report) = daemon.explore("--minimize --jobs 1 --tear-unit 4096", COMMITTED);
    assert_eq!(code, 1, "{report}");
    let found = &report["found"];
    assert_eq!(found.as_array().unwrap().len(), 1, "{report}");
    let found = &found[0];
    assert_eq!(found["verdict"], "exit code 1");
    assert_eq!(found["output"], "a commit of 0 bytes");
    assert_eq!(found["last_mark"], "begin");
    let losses = found["losses"].as_array().unwrap();
    assert_eq!(losses.len(), 1, "{report}");
    assert_eq!(
        (
            &losses[0]["sector"],
            &losses[0]["length_bytes"],
            &losses[0]["fate"]
        ),
        (&json!(0), &json!(4096), &json!("lost"))
    );
    assert_eq!(losses[0]["after_mark"], "begin");

    // The same on any number of threads, and from its name.
    let (_, again) = daemon.explore("--minimize --jobs 3 --tear-unit 4096", COMMITTED);
    assert_eq!(again["found"], report["found"]);
    let state = found["state"].as_str().unwrap();
    let (code, one) = daemon.explore(&format!("--state {state}"), COMMITTED);
    assert_eq!((code, &one["states"]), (1, &json!(1)), "{one}");
    let (code, none) = daemon.explore("--at flush:1", COMMITTED);
    assert_eq!((code, &none["points"]), (0, &json!(1)), "{none}");
}

#[test]
fn a_flush_between_leaves_nothing_to_find_and_torn_data_needs_a_tear() {
    let daemon = recorded(true);
    let (code, report) = daemon.explore("--tear-unit 512", COMMITTED);
    assert_eq!(code, 0, "{report}");
    assert!(
        report["states"].as_u64() > report["distinct"].as_u64(),
        "{report}"
    );
    let whole = r#"a=$(head -c 4096 "$1" | tr -d '\0' | wc -c); [ "$a" = 0 ] || [ "$a" = 4096 ]"#;
    let (code, report) = daemon.explore("--tear-unit 512 --minimize", whole);
    assert_eq!(code, 1, "{report}");
    let fate = report["found"][0]["losses"][0]["fate"].as_str().unwrap();
    assert!(fate.starts_with("torn: units "), "{report}");
    for options in ["--tear-unit 4096", "--tear-unit 512 --no-torn"] {
        let (code, report) = daemon.explore(options, whole);
        assert_eq!(code, 0, "{options}: {report}");
    }
}

#[test]
fn what_is_stable_when_it_has_completed_is_in_every_later_state() {
    let daemon = recorded_with(Daemon::start(), false, |disk| disk.client.set_writeback(0));
    let (code, report) = daemon.explore("--tear-unit 4096", COMMITTED);
    assert_eq!(code, 0, "{report}");
    // With writeback on again it may be lost, as before.
    let daemon = recorded_with(Daemon::start(), false, |disk| {
        disk.client.set_writeback(0);
        disk.client.set_writeback(1);
    });
    let (code, report) = daemon.explore("--tear-unit 4096", COMMITTED);
    assert_eq!(code, 1, "{report}");
}

#[test]
fn a_check_knows_the_marks_and_what_it_writes_is_gone_at_the_next_state() {
    let daemon = recorded(true);
    // Acknowledged, and yet not there.
    let acked = r#"
case "$RAMBLK_MARKS" in *committed*) [ "$(tail -c +4097 "$1" | head -c 1)" = B ];; esac"#;
    let (code, report) = daemon.explore("", acked);
    assert_eq!(code, 0, "{report}");
    let never = r#"case "$RAMBLK_MARKS" in *committed*) exit 3;; esac"#;
    let (code, report) = daemon.explore("", never);
    assert_eq!(
        (code, &report["found"][0]["verdict"]),
        (1, &json!("exit code 3"))
    );

    let writes = r#"
[ "$(tail -c +8193 "$1" | head -c 1 | tr -d '\0')" = "" ] || exit 1
[ "$(stat -c %s "$1")" = 1048576 ] || exit 1
case $(( $(od -An -N1 -tu1 /dev/urandom) % 3 )) in
0) printf Z | dd of="$1" bs=1 seek=8192 conv=notrunc status=none;;
1) cp "$1" "$1.new"
   printf Z | dd of="$1.new" bs=1 seek=8192 conv=notrunc status=none
   mv "$1.new" "$1";;
2) truncate -s 5000 "$1";;
esac"#;
    let (code, report) = daemon.explore("--tear-unit 512", writes);
    assert_eq!(code, 0, "{report}");
    assert!(report["good"].as_u64().unwrap() > 10, "{report}");
}

#[test]
fn a_check_that_hangs_is_found_and_one_that_cannot_be_run_is_an_error() {
    let daemon = recorded(true);
    let begun = Instant::now();
    let pids = daemon.path("pids");
    let hangs = format!("sleep 100 & echo $! >> {}; wait", pids.display());
    let (code, report) = daemon.explore("--timeout 300ms --stop-at 1 --jobs 1", &hangs);
    assert_eq!(code, 1, "{report}");
    assert_eq!(report["found"][0]["verdict"], "no end after 0.3 s");
    assert!(begun.elapsed() < Duration::from_secs(50));
    for pid in fs::read_to_string(pids).unwrap().lines() {
        eventually("what it started has ended", || {
            let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            status.is_empty() || status.contains(") Z ")
        });
    }
    // One that itself can't be run by a shell.
    let (code, refused) = daemon.explore("", "no-such-program");
    assert_eq!(code, 127, "{refused}");
    let (code, refused) = daemon.explore("", "exec /");
    assert_eq!(
        (code, &refused["exit_code"]),
        (126, &json!(126)),
        "{refused}"
    );
    daemon.refused("crash-explore b -- true", 3);
    daemon.refused("crash-explore a --at flush:99 -- true", 2);
    daemon.refused("crash-explore a --state 1:all-99 -- true", 2);
}

#[test]
fn a_check_that_is_missing_is_named_before_anything_else_as_a_shell_does() {
    let daemon = Daemon::start();
    fs::write(daemon.path("plain"), "exit 0\n").unwrap();
    fs::write(daemon.path("odd"), "#!/no/such/interpreter\n").unwrap();
    let mode = fs::Permissions::from_mode(0o755);
    fs::set_permissions(daemon.path("odd"), mode).unwrap();
    // There is no recording, so whatever comes later is another error.
    for (check, code) in [
        ("no-such-program {file}", 127),
        ("./no-such-program", 127),
        ("no-such-program {nbd}", 127),
        ("./plain", 126),
        ("/", 126),
        ("true", 3),
        ("./odd", 3),
        ("{file}", 3),
    ] {
        let line = format!("crash-explore a -- {check}");
        let refused = daemon.refused(&line, code);
        let named = check.split(' ').next().unwrap();
        assert!(code == 3 || refused.contains(named), "{refused}");
    }
    let refused = daemon.refused("crash-explore a --no-check", 3);
    assert!(refused.contains("a"), "{refused}");
    let daemon = recorded_in(daemon, true);
    let refused = daemon.refused("crash-explore a -- ./odd", 127);
    assert!(refused.contains("./odd"), "{refused}");
    // What a state holds can't be executed.
    daemon.refused("crash-explore a -- {file}", 126);
}

#[test]
fn a_timeout_is_a_time_or_plain_seconds() {
    let daemon = recorded(true);
    for timeout in ["500ms", "0.5", "2m", "1m 30s", "30"] {
        let words = ["crash-explore", "a", "--timeout", timeout, "--", "true"];
        let output = daemon.command(&words).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
    for timeout in ["0", "0s", "-1", "1x", "soon", "inf", "1000y"] {
        let line = format!("crash-explore a --timeout={timeout} -- true");
        let refused = daemon.refused(&line, 2);
        assert!(refused.contains(timeout), "{refused}");
    }
}

#[test]
fn a_check_may_have_a_state_as_a_disk_over_vhost_user_and_nbd() {
    let daemon = recorded(false);
    // What NBD reads is what the file has.
    let check = r#"
[ -S "$1" ] || exit 9
n=$(qemu-io -f raw -c 'read -P 65 0 4k' -c 'read -P 66 4k 4k' "$2" | grep -c failed)
a=$(head -c 1 "$3"); b=$(head -c 4097 "$3" | tail -c 1)
wrong=0; [ "$a" = A ] || wrong=$((wrong + 1)); [ "$b" = B ] || wrong=$((wrong + 1))
[ "$n" = "$wrong" ]"#;
    let words = "crash-explore a --tear-unit 4096 -o json --jobs 2 --";
    let mut words: Vec<&str> = words.split_whitespace().collect();
    words.extend(["sh", "-c", check, "check", "{socket}", "{nbd}", "{file}"]);
    let output = daemon.command(&words).output().unwrap();
    let said = text(&output.stdout) + &text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    let report: Value = serde_json::from_str(&text(&output.stdout)).unwrap();
    assert!(report["good"].as_u64().unwrap() >= 4, "{report}");
    let left = daemon.json("list");
    assert_eq!(left.as_array().unwrap().len(), 1, "{left}");
}

#[test]
fn a_check_that_always_fails_or_never_does_is_named() {
    let daemon = recorded(false);
    let refused = daemon.refused("crash-explore a --good 0:first.0 -- false", 2);
    assert!(refused.contains("known to be good"), "{refused}");
    fs::write(daemon.path("broken"), [b'B'; 8192]).unwrap();
    let refused = daemon.refused("crash-explore a --bad broken -- true", 2);
    assert!(refused.contains("known to be bad"), "{refused}");
    let options = "--good 0:first.0 --bad broken --tear-unit 4096";
    let bad = COMMITTED.replace("\"$a\" = 4096", "\"$(head -c 1 \"$1\")\" = A");
    let (code, report) = daemon.explore(options, &bad);
    assert_eq!(code, 1, "{report}");
}

#[test]
fn a_state_has_the_same_bytes_as_a_disk_and_as_the_file_of_a_check() {
    let daemon = recorded(false);
    let line = "crash-states a --count 8 --seed 5 --torn --name c-{01..} --label rig=x";
    let made = daemon.json(line);
    let made = made.as_array().unwrap();
    assert_eq!(made.len(), 8);
    let mut contents = Vec::new();
    for one in made {
        let (disk, state) = (
            one["disk"].as_str().unwrap(),
            one["state"].as_str().unwrap(),
        );
        let content = daemon.run(&format!("export {disk} -")).stdout;
        let file = daemon.path(disk);
        let copy = format!("cp \"$1\" {}", file.display());
        let (code, report) = daemon.explore(&format!("--state {state}"), &copy);
        assert_eq!(code, 0, "{report}");
        assert!(content == fs::read(file).unwrap(), "{disk} is {state}");
        contents.push(content);
    }
    contents.sort();
    contents.dedup();
    assert!(contents.len() > 2, "they differ");
    let shown = daemon.json("show c-08");
    assert_eq!(
        (&shown["parent"], &shown["labels"]["rig"]),
        (&json!("a@recording"), &json!("x"))
    );
    let again = recorded(false).json(line);
    assert_eq!(again.as_array().unwrap()[7]["state"], made[7]["state"]);

    daemon.refused("crash-states a --name c-{01..}", 4);
    daemon.refused("crash-states a --name c", 2);
    daemon.refused("crash-states a --at write:99 --name d-{1..}", 2);
    daemon.refused("record rm a", 4);
    daemon.ok("record rm a --force");
    daemon.refused("crash-states a --name d-{1..}", 3);
}
