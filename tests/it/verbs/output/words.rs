//! Messages: about mistakes, about what was done, and to a reader that is gone; and the
//! environment.

use std::io::Read;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::harness::eventually;
use crate::verbs::{Daemon, RAMBLK, text};

/// Mistakes, and the message for each.
const MISTAKES: [(&str, &str); 43] = [
    (
        "frobnicate",
        "ramblk has no verb 'frobnicate'; see 'ramblk --help'",
    ),
    (
        "snapsho a s",
        "ramblk has no verb 'snapsho'; did you mean 'snapshot' or 'snapshots'?; see \
             'ramblk --help'",
    ),
    (
        "create a --sise 1M",
        "ramblk create has no option '--sise'; did you mean '--size'?; see \
             'ramblk create --help'",
    ),
    (
        "create a",
        "ramblk create needs --size SIZE; see 'ramblk create --help'",
    ),
    (
        "create",
        "ramblk create needs --size SIZE and NAME; see 'ramblk create --help'",
    ),
    (
        "attach a",
        "ramblk attach needs --print VMM, which is one of qemu, qmp, libvirt, cloud-hypervisor, \
             crosvm, firecracker; see 'ramblk attach --help'",
    ),
    (
        "create a --size",
        "--size SIZE needs a value; see 'ramblk create --help'",
    ),
    (
        "create a --size 10GB",
        "--size SIZE can't be '10GB': GB could mean powers of 1000 or of 1024; write 10G for \
             powers of 1024; see 'ramblk create --help'",
    ),
    (
        "create a --size 1M --size 2M",
        "--size SIZE can be given only once; see 'ramblk create --help'",
    ),
    (
        "create a --size 1M --queues x",
        "--queues QUEUES can't be 'x': give a whole number; see \
             'ramblk create --help'",
    ),
    (
        "stats a --watch --interval 0",
        "--interval SECONDS can't be '0': give a whole number from 1 on; see \
             'ramblk stats --help'",
    ),
    (
        "fork a b --queues 70000",
        "--queues QUEUES can't be '70000': give a whole number from 0 to 65535; see \
             'ramblk fork --help'",
    ),
    (
        "attach a --print vmware",
        "--print VMM can't be 'vmware': it is one of qemu, qmp, libvirt, cloud-hypervisor, \
             crosvm, firecracker; see 'ramblk attach --help'",
    ),
    (
        "set a --ttl -5s",
        "ramblk set has no option '-5', and nothing that it takes is below 0; see \
             'ramblk set --help'",
    ),
    (
        "history vm1 on",
        "ramblk history has no verb 'vm1'; write 'ramblk history on vm1'; see \
             'ramblk history --help'",
    ),
    (
        "record vm1 start --limit 1G",
        "ramblk record has no verb 'vm1'; write 'ramblk record start vm1'; see \
             'ramblk record --help'",
    ),
    (
        "fault vm1 add error",
        "ramblk fault has no verb 'vm1'; write 'ramblk fault add vm1'; see \
             'ramblk fault --help'",
    ),
    (
        "image debian pull",
        "ramblk image has no verb 'debian'; write 'ramblk image pull debian'; see \
             'ramblk image --help'",
    ),
    (
        "vm1 show",
        "ramblk has no verb 'vm1'; write 'ramblk show vm1'; see 'ramblk --help'",
    ),
    (
        "history vm1",
        "ramblk history has no verb 'vm1': its verbs are on, list, off; see \
             'ramblk history --help'",
    ),
    (
        "show",
        "no disk is named: give names, labels with -l KEY=VALUE, or --all",
    ),
    (
        "list a",
        "ramblk list takes no argument 'a'; see 'ramblk list --help'",
    ),
    (
        "export a out --partial",
        "ramblk export needs --state-dir DIR; see 'ramblk export --help'",
    ),
    (
        "crate x",
        "ramblk has no verb 'crate'; did you mean 'create'?; see 'ramblk --help'",
    ),
    (
        "help creat",
        "ramblk has no verb 'creat'; did you mean 'create'?; see 'ramblk --help'",
    ),
    (
        "delete x",
        "ramblk has no verb 'delete'; did you mean 'destroy'?; see 'ramblk --help'",
    ),
    (
        "remove x",
        "ramblk has no verb 'remove'; did you mean 'destroy'?; see 'ramblk --help'",
    ),
    (
        "rm x",
        "ramblk has no verb 'rm'; did you mean 'destroy'?; see 'ramblk --help'",
    ),
    (
        "image delete x",
        "ramblk image has no verb 'delete'; did you mean 'rm'?; see 'ramblk image --help'",
    ),
    (
        "start",
        "ramblk has no verb 'start'; did you mean 'serve'?; see 'ramblk --help'",
    ),
    (
        "clone a b",
        "ramblk has no verb 'clone'; did you mean 'fork'?; see 'ramblk --help'",
    ),
    (
        "info a",
        "ramblk has no verb 'info'; did you mean 'show'?; see 'ramblk --help'",
    ),
    (
        "inspect a",
        "ramblk has no verb 'inspect'; did you mean 'show'?; see 'ramblk --help'",
    ),
    (
        "nbd vm1 nbdinfo",
        "ramblk nbd takes no argument 'nbdinfo'; put the command behind --; see \
             'ramblk nbd --help'",
    ),
    (
        "apply fleet.toml",
        "ramblk apply takes no argument 'fleet.toml'; use -f fleet.toml; see \
             'ramblk apply --help'",
    ),
    (
        "create q 1G",
        "ramblk create takes no argument '1G'; use --size 1G; see 'ramblk create --help'",
    ),
    (
        "group create g 1G",
        "ramblk group create takes no argument '1G'; see 'ramblk group create --help'",
    ),
    (
        "set a --iops 10",
        "ramblk set has no option '--iops'; use 'ramblk limit' for limits; see \
             'ramblk set --help'",
    ),
    (
        "set a --size 2G",
        "ramblk set has no option '--size'; use 'ramblk resize' for the size; see \
             'ramblk set --help'",
    ),
    (
        "history on a --every 1m",
        "--every WHEN can't be '1m': 1m could be minutes or MiB: write 1min or 1M; see \
             'ramblk history on --help'",
    ),
    (
        "show image://debian",
        "[NAME[@SNAPSHOT]]... can't be 'image://debian': it is a golden image: use \
             'ramblk image show debian' or 'ramblk image rm debian'; see 'ramblk show --help'",
    ),
    (
        "export image://debian out",
        "NAME[@SNAPSHOT] can't be 'image://debian': it is a golden image: use \
             'ramblk image show debian' or 'ramblk image rm debian'",
    ),
    (
        "group destory g",
        "ramblk group has no verb 'destory'; did you mean 'destroy'?; see \
             'ramblk group --help'",
    ),
];

#[test]
fn mistakes_are_one_sentence_with_the_word_at_fault_and_where_to_look() {
    let daemon = Daemon::start();
    for (line, said) in MISTAKES {
        assert_eq!(
            daemon.refused(line, 2),
            format!("error: {said}\n"),
            "{line}"
        );
    }
}

#[test]
fn what_is_not_found_is_said_with_the_list_that_would_have_it() {
    let daemon = Daemon::start();
    daemon.ok("create a --size 1M");
    for (line, list) in [
        ("show none", "ramblk list"),
        ("destroy a@none", "ramblk snapshots a"),
        ("group show none", "ramblk group list"),
        ("fault rm a none", "ramblk fault list NAME"),
        ("create new --image image://none", "ramblk image list"),
    ] {
        let refused = daemon.refused(line, 3);
        let wanted = format!("; '{list}' shows those that exist\n");
        assert!(refused.ends_with(&wanted), "{line}: {refused}");
    }
}

#[test]
fn each_change_is_said_in_one_line_on_stdout() {
    let daemon = Daemon::start();
    std::fs::write(daemon.path("in"), [1; 4096]).unwrap();
    for (line, said) in [
        ("set a --label k=v", "a is changed\n"),
        ("snapshot a s", "a@s is taken\n"),
        ("reset a --to s", "a is reset to a@s\n"),
        ("import a in", "a has the content of in: 4K mapped\n"),
        ("export a out", "a is in out: 4K of data\n"),
        ("export a@s out2", "a@s is in out2: 0 of data\n"),
        ("repair a", "a is served\n"),
        ("resize a 2M", "a: 1M -> 2M; no front end is connected\n"),
        ("limit a --iops 5", "a: 5 requests/s\n"),
        ("group create g", "group g is created, without limits\n"),
        ("group set g --iops 5", "group g: 5 requests/s\n"),
        ("group destroy g", "g is destroyed\n"),
        ("destroy a@s a", "a@s is destroyed\na is destroyed\n"),
    ] {
        if line.starts_with("set") {
            daemon.ok("create a --size 1M");
        }
        let output = daemon.run(line);
        let (out, wrong) = (text(&output.stdout), text(&output.stderr));
        assert_eq!((&*out, &*wrong), (said, ""), "{line}");
    }
}

#[test]
fn sizes_in_sentences_are_short_and_exact() {
    let daemon = Daemon::start();
    daemon.ok("create a --size 1M");
    std::fs::write(daemon.path("in"), vec![1; (2 << 20) + 1]).unwrap();
    for (line, code, said) in [
        (
            "create c --size 1G --quota 100G",
            5,
            "a quota of 100G is more than all disks together may take, 1G:",
        ),
        (
            "import a in",
            1,
            "the image has 2M (2097153 bytes) and does not fit into a, which has 1M;",
        ),
        ("resize a -2M", 2, "a has only 1M (1048576 bytes)"),
    ] {
        let refused = daemon.refused(line, code);
        assert!(refused.contains(said), "{line}: {refused}");
    }
}

#[test]
fn a_name_that_is_too_long_is_told_the_bound_of_the_handbook() {
    let daemon = Daemon::start();
    daemon.ok("create a --size 1M");
    let long = "s".repeat(62);
    daemon.ok(&format!("snapshot a {long}"));
    let said = daemon.refused(&format!("snapshot a {long}s"), 2);
    assert!(
        said.contains("has 64 characters") && said.contains("can have 63"),
        "{said}"
    );
    let handbook = crate::house::tidy::root().join("docs/guide/operations.md");
    let handbook = std::fs::read_to_string(handbook).unwrap();
    assert!(handbook.contains("at most 63 characters together"));
}

#[test]
fn a_reader_that_has_had_enough_ends_a_verb_as_it_ends_other_filters() {
    let daemon = Daemon::start();
    daemon.ok("create a --size 64M");
    for line in [
        "export a -",
        "list",
        "show a",
        "--help",
        "show --help",
        "man",
        "completions bash",
    ] {
        // A pipe without a reader.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let words: Vec<&str> = line.split_whitespace().collect();
        let mut command = daemon.command(&words);
        let output = command
            .stdout(writer)
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(141), "{line}");
        assert_eq!(text(&output.stderr), "", "{line}");
    }
    // As in a shell, with a reader that takes a little.
    let script = "\"$0\" export a - | head -c 100000 | wc -c; echo ${PIPESTATUS[*]}";
    let output = Command::new("bash")
        .args(["-c", script, RAMBLK])
        .env("RAMBLK_API", daemon.path("api.sock"))
        .output()
        .unwrap();
    assert_eq!(text(&output.stdout), "100000\n141 0 0\n");
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn events_of_a_disk_that_is_not_there_are_not_waited_for() {
    let daemon = Daemon::start();
    let said = daemon.refused("events --disk nope", 3);
    assert!(said.contains("\"nope\""), "{said}");
}

#[test]
fn events_of_a_disk_end_with_it() {
    let daemon = Daemon::start();
    daemon.ok("create a --size 1M");
    let mut child = daemon
        .command(&["events", "--disk", "a"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = child.stdout.take().unwrap();
    // Events before it listens are not sent; then the first of these is.
    let mut first = [0];
    let reader = std::thread::spawn(move || {
        out.read_exact(&mut first).unwrap();
        out
    });
    eventually("it listens", || {
        daemon.ok("set a --label n=1");
        daemon.ok("set a --label n-");
        reader.is_finished()
    });
    let mut out = reader.join().unwrap();
    daemon.ok("destroy a");
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert!(rest.lines().last().unwrap().contains("destroyed"), "{rest}");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_snapshot_is_shown_by_its_name_and_several_names_one_by_one() {
    let daemon = Daemon::start();
    daemon.ok("create a --size 1M");
    daemon.ok("create b --size 1M");
    daemon.ok("snapshot a s");
    let shown = daemon.ok("show a@s");
    assert!(shown.contains("snapshot    s\nof          a\n"), "{shown}");
    assert_eq!(daemon.json("show a@s")["disk"], "a");
    daemon.refused("show a@none", 3);
    let output = daemon.run("show a nope a@s b -o json");
    assert_eq!(output.status.code(), Some(3));
    let names: Vec<String> = text(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["name"].to_string())
        .collect();
    assert_eq!(names, ["\"a\"", "\"s\"", "\"b\""]);
}

/// Run `serve` in its own directory with these variables while `look` runs.
fn served_with(variables: &[(&str, &str)], look: impl FnOnce(&std::path::Path)) {
    let folder = TempDir::new().unwrap();
    let run_dir = folder.path().join("run");
    let mut command = Command::new(RAMBLK);
    let line = "serve --memory-limit 64M --state-dir none --run-dir run";
    command
        .args(line.split(' '))
        .env_remove("RUNTIME_DIRECTORY")
        .current_dir(folder.path())
        .stderr(Stdio::null());
    command.envs(variables.iter().copied());
    let mut serving = Serving(command.spawn().unwrap());
    eventually("the API is where the directory is", || {
        assert!(serving.0.try_wait().unwrap().is_none());
        run_dir.join("api.sock").exists()
    });
    look(folder.path());
}

/// A daemon that ends with the test in any case.
struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[test]
fn the_variable_of_clients_does_not_move_the_daemon_s_own_socket() {
    served_with(&[("RAMBLK_API", "elsewhere.sock")], |folder| {
        assert!(!folder.join("elsewhere.sock").exists());
    });
}

#[test]
fn a_disk_s_socket_is_said_with_its_whole_path_wherever_the_daemon_was_started() {
    served_with(&[], |folder| {
        let output = Command::new(RAMBLK)
            .args(["create", "a", "--size", "1M", "--api-socket"])
            .arg(folder.join("run/api.sock"))
            .output()
            .unwrap();
        let socket = folder.join("run/a/vhost.sock");
        assert_eq!(
            text(&output.stdout),
            format!("a is at {}\n", socket.display())
        );
    });
}

#[test]
fn a_log_level_that_is_none_is_refused_at_the_start() {
    for level in ["debgu", "info,verbose", "ramblk=loud"] {
        for line in ["serve --state-dir none", "run --size 1M --socket-path s"] {
            let folder = TempDir::new().unwrap();
            let output = Command::new(RAMBLK)
                .args(line.split(' '))
                .env("RAMBLK_LOG", level)
                .env("XDG_RUNTIME_DIR", folder.path())
                .env("RUNTIME_DIRECTORY", folder.path())
                .current_dir(folder.path())
                .output()
                .unwrap();
            let said = text(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{level}: {said}");
            assert!(said.starts_with("error: RAMBLK_LOG has "), "{said}");
            assert!(said.contains("debug, trace or off"), "{said}");
        }
    }
    served_with(&[("RAMBLK_LOG", "ramblk::daemon=debug,warn")], |_| ());
}
