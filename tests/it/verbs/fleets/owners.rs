//! `--socket-owner`: the users and groups that own sockets of disks.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::json;

use crate::driver::disk::Disk as Guest;
use crate::harness::eventually;
use crate::verbs::{Daemon, RAMBLK, text};

/// Whether these tests run as root. Only root can give a file to another user.
fn may_give() -> bool {
    rustix::process::geteuid().is_root()
}

/// A daemon whose directory others may pass through.
fn open_daemon(more: &[&str]) -> Daemon {
    let daemon = Daemon::start_with(more);
    fs::set_permissions(daemon.path("."), fs::Permissions::from_mode(0o755)).unwrap();
    daemon
}

/// User, group and mode of a disk's socket.
fn of_socket(daemon: &Daemon, disk: &str) -> (u32, u32, u32) {
    let about = fs::symlink_metadata(daemon.path(&format!("run/{disk}/vhost.sock"))).unwrap();
    (about.uid(), about.gid(), about.mode() & 0o777)
}

/// Whether a process of this user, in no other group than its own, can connect.
fn connects(socket: &Path, user: u32) -> bool {
    let user = user.to_string();
    let tried = Command::new("setpriv")
        .args(["--reuid", &user, "--regid", &user, "--clear-groups"])
        .args(["socat", "-u", "OPEN:/dev/null"])
        .arg(format!("UNIX-CONNECT:{}", socket.display()))
        .stderr(Stdio::null())
        .status();
    tried.unwrap().success()
}

#[test]
fn the_owner_of_a_socket_connects_and_another_user_does_not() {
    if !may_give() {
        return;
    }
    let daemon = open_daemon(&[]);
    daemon.ok("create a --size 1M --socket-owner 12345");
    daemon.ok("create b --size 1M --socket-owner 23456:34567");
    daemon.ok("create c --size 1M");
    assert_eq!(of_socket(&daemon, "a"), (12345, 0, 0o660));
    assert_eq!(of_socket(&daemon, "b"), (23456, 34567, 0o660));
    assert_eq!(of_socket(&daemon, "c"), (0, 0, 0o660));
    for (disk, user, can) in [
        ("a", 12345, true),
        ("a", 23456, false),
        ("b", 23456, true),
        ("b", 34567, true),
        ("b", 12345, false),
        ("c", 12345, false),
    ] {
        assert_eq!(connects(&daemon.socket(disk), user), can, "{disk} {user}");
        daemon.ok(&format!("wait {disk} --for detached"));
    }
    // Only the daemon writes to the directory.
    let directory = fs::metadata(daemon.path("run/a")).unwrap();
    assert_eq!((directory.uid(), directory.mode() & 0o033), (0, 0o011));
    let shown = daemon.ok("show a");
    assert!(shown.contains("12345 (forks don't inherit it)"), "{shown}");
    assert_eq!(daemon.json("show b")["socket_owner"], "23456:34567");
    assert_eq!(daemon.json("show c").get("socket_owner"), None);
    daemon.ok("destroy a");
    assert!(!daemon.path("run/a").exists());
}

#[test]
fn an_owner_changes_while_a_guest_works_and_follows_the_socket() {
    if !may_give() {
        return;
    }
    let daemon = open_daemon(&["--socket-mode", "0600"]);
    daemon.ok("create a --size 1M --write-cache volatile");
    let socket = daemon.socket("a");
    let mut guest = Guest::attach(&socket);
    guest.q().write(0, &[1; 512]).unwrap();
    daemon.ok("set a --socket-owner 12345:7");
    assert_eq!(of_socket(&daemon, "a"), (12345, 7, 0o600));
    assert!(connects(&socket, 12345) && !connects(&socket, 23456));
    daemon.ok("set a --socket-owner :8");
    assert_eq!(of_socket(&daemon, "a"), (0, 8, 0o600));
    daemon.ok("set a --socket-owner 12345");
    guest.q().write(8, &[2; 512]).unwrap();
    assert_eq!(guest.q().read(0, 512).unwrap(), [1; 512]);
    // A socket that was removed is made again for the same user.
    fs::remove_file(&socket).unwrap();
    eventually("it is there again", || socket.exists());
    eventually("it is given", || of_socket(&daemon, "a").0 == 12345);
    assert_eq!(guest.q().read(8, 512).unwrap(), [2; 512]);
    drop(guest);
    daemon.ok("wait a --for detached");
    daemon.ok("rename a b");
    assert_eq!(of_socket(&daemon, "b"), (12345, 0, 0o600));
    daemon.ok("power-cut b");
    daemon.ok("set b --socket-owner 23456");
    daemon.ok("power-on b");
    assert_eq!(of_socket(&daemon, "b"), (23456, 0, 0o600));
    daemon.ok("set b --socket-owner none");
    assert_eq!(of_socket(&daemon, "b"), (0, 0, 0o600));
    assert_eq!(daemon.json("show b").get("socket_owner"), None);
    let told = daemon.ok("events --disk b --since 10m --no-follow -o json");
    let change = r#"{"field":"socket_owner","old":"23456","new":null}"#;
    assert!(told.contains(change), "{told}");
}

#[test]
fn forks_have_owners_of_their_own() {
    if !may_give() {
        return;
    }
    let daemon = open_daemon(&[]);
    daemon.ok("create golden --size 1M --socket-owner 12345");
    daemon.ok("fork golden plain");
    daemon.ok("fork golden 1001 1002 --socket-owner {name}:7");
    assert_eq!(of_socket(&daemon, "plain"), (0, 0, 0o660));
    assert_eq!(of_socket(&daemon, "1001"), (1001, 7, 0o660));
    assert_eq!(of_socket(&daemon, "1002"), (1002, 7, 0o660));
    // The same command again is no conflict, and another owner is one.
    daemon.ok("fork golden 1001 1002 --socket-owner {name}:7");
    let refused = daemon.refused("fork golden 1001 --socket-owner 5", 4);
    assert!(refused.contains("socket_owner"), "{refused}");
    let refused = daemon.refused("fork golden x1 no-user --socket-owner {name}", 2);
    assert!(refused.contains("\"x1\" in /etc/passwd"), "{refused}");
    assert_eq!(daemon.ok("list -o name"), "1001\n1002\ngolden\nplain\n");
}

#[test]
fn a_file_declares_owners_and_an_export_has_them() {
    if !may_give() {
        return;
    }
    let daemon = open_daemon(&[]);
    let file = daemon.path("disks.toml");
    let declare = |owner: &str| {
        let disk = format!("[[disk]]\nname = \"a\"\nsize = \"1M\"\n{owner}\n");
        fs::write(&file, disk).unwrap();
    };
    declare("socket_owner = \"12345:7\"");
    daemon.ok("apply -f disks.toml");
    assert_eq!(of_socket(&daemon, "a"), (12345, 7, 0o660));
    let exported = daemon.ok("export-config");
    assert!(
        exported.contains("socket_owner = \"12345:7\""),
        "{exported}"
    );
    declare("socket_owner = \"23456\"");
    let dry = daemon.run("apply -f disks.toml --dry-run");
    assert_eq!(dry.status.code(), Some(8));
    let dry = text(&dry.stdout);
    assert!(dry.contains("socket_owner: 12345:7 → 23456"), "{dry}");
    assert_eq!(of_socket(&daemon, "a"), (12345, 7, 0o660));
    declare("socket_owner = \"no-such-user\"");
    for line in ["apply -f disks.toml --dry-run", "apply -f disks.toml"] {
        let refused = daemon.refused(line, 2);
        assert!(refused.contains("no user \"no-such-user\""), "{refused}");
    }
    // What isn't named stays, unless everything else is to go.
    declare("");
    daemon.ok("apply -f disks.toml");
    assert_eq!(of_socket(&daemon, "a"), (12345, 7, 0o660));
    daemon.ok("apply -f disks.toml --prune");
    assert_eq!(of_socket(&daemon, "a"), (0, 0, 0o660));
    declare("socket_owner = \":9\"");
    daemon.ok("apply -f disks.toml");
    declare("socket_owner = \"none\"");
    daemon.ok("apply -f disks.toml");
    assert_eq!(of_socket(&daemon, "a"), (0, 0, 0o660));
}

#[test]
fn an_owner_that_is_not_there_or_wrong_is_refused_and_nothing_changes() {
    let daemon = open_daemon(&[]);
    daemon.ok("create a --size 1M");
    let before = (of_socket(&daemon, "a"), daemon.json("show a"));
    for (owner, why) in [
        ("no-such-user", "no user \"no-such-user\" in /etc/passwd"),
        (":no-such-group", "no group \"no-such-group\" in /etc/group"),
        ("root:no-such-group", "no group \"no-such-group\""),
        ("4294967295", "give a number below 4294967295"),
        ("root:", "give USER, USER:GROUP or :GROUP"),
        ("a:b:c", "give USER, USER:GROUP or :GROUP"),
        ("../passwd", "give USER, USER:GROUP or :GROUP"),
    ] {
        for line in ["set a", "create b --size 1M", "fork a b"] {
            let refused = daemon.refused(&format!("{line} --socket-owner {owner}"), 2);
            assert!(refused.contains(why), "{line} {owner}: {refused}");
        }
    }
    // Nor if something else of the same change is refused.
    if may_give() {
        daemon.refused("set a --socket-owner 12345 --quota 1K", 2);
        daemon.refused("set a --socket-owner 12345 --group none-such", 3);
    }
    assert_eq!((of_socket(&daemon, "a"), daemon.json("show a")), before);
    assert_eq!(daemon.ok("list -o name"), "a\n");
}

/// A process that ends with the test.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// As a user without capabilities, in the group 7 too, under a umask that closes directories.
#[test]
fn without_the_capability_a_daemon_gives_sockets_only_to_its_own_groups() {
    const USER: u32 = 65534;
    if !may_give() {
        return;
    }
    let folder = tempfile::TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // The folder of the build may be closed to others.
    fs::copy(RAMBLK, path("ramblk")).unwrap();
    fs::create_dir(path("run")).unwrap();
    std::os::unix::fs::chown(path("run"), Some(USER), Some(USER)).unwrap();
    let daemon = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--groups=7"])
        .args(["sh", "-c", "umask 0077 && exec \"$0\" \"$@\""])
        .arg(path("ramblk"))
        .args([
            "serve",
            "--state-dir",
            "none",
            "--memory-limit",
            "64M",
            "--run-dir",
        ])
        .arg(path("run"))
        .stdin(Stdio::null())
        .stderr(fs::File::create(path("log")).unwrap())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let _ends = Ends(daemon);
    let verb = |line: &str| {
        let mut command = Command::new(RAMBLK);
        command.args(line.split(' '));
        let output = command.env("RAMBLK_API", path("run/api.sock")).output();
        let output = output.unwrap();
        (output.status.code(), text(&output.stderr))
    };
    eventually("the daemon answers", || verb("ping").0 == Some(0));
    let owner = |disk: &str| {
        let about = fs::metadata(path(&format!("run/{disk}/vhost.sock"))).unwrap();
        (about.uid(), about.gid())
    };
    assert_eq!(verb("create a --size 1M --socket-owner :7").0, Some(0));
    assert_eq!(owner("a"), (USER, 7));
    let directory = fs::metadata(path("run/a")).unwrap();
    assert_eq!(directory.mode() & 0o777, 0o711, "its users can pass");
    assert!(connects(&path("run/a/vhost.sock"), 7));
    for other in ["root", ":root", "12345:7"] {
        for line in ["set a", "create b --size 1M", "fork a b"] {
            let (code, said) = verb(&format!("{line} --socket-owner {other}"));
            assert_eq!(code, Some(2), "{said}");
            assert!(said.contains("CAP_CHOWN"), "{line}: {said}");
        }
    }
    assert_eq!(owner("a"), (USER, 7));
    assert!(!path("run/b").exists());
    assert_eq!(verb("set a --socket-owner none").0, Some(0));
    assert_eq!(owner("a"), (USER, USER));
}

#[test]
fn the_socket_of_run_has_an_owner_too() {
    let folder = tempfile::TempDir::new().unwrap();
    let socket = folder.path().join("s");
    let run = |more: &[&str]| {
        let mut command = Command::new(RAMBLK);
        command.args(["run", "--size", "1M", "--socket-path"]);
        command.arg(&socket).args(more);
        command
    };
    for (words, why) in [
        (&["--socket-owner", "no-such-user"][..], "no-such-user"),
        (&["--socket-owner", "root:"], "--socket-owner"),
    ] {
        let refused = run(words).output().unwrap();
        assert_eq!(refused.status.code(), Some(2));
        assert!(text(&refused.stderr).contains(why), "{refused:?}");
        assert!(!socket.exists());
    }
    if !may_give() {
        return;
    }
    let check = format!(
        "test $(stat -c %u:%g:%a {}) = 12345:7:660",
        socket.display()
    );
    let ran = run(&["--socket-owner", "12345:7", "--", "sh", "-c", &check]);
    assert!({ ran }.status().unwrap().success());
    assert!(!socket.exists());
    // A socket on which no process listens is replaced, whatever user owns it.
    let mut killed = run(&["--socket-owner", "12345"])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    eventually("it listens", || {
        std::os::unix::net::UnixStream::connect(&socket).is_ok()
    });
    killed.kill().unwrap();
    killed.wait().unwrap();
    let ran = run(&["--socket-owner", "7", "--", "true"]);
    assert!({ ran }.status().unwrap().success());
    // In a directory of its own, which its user can pass.
    let mut private = Command::new(RAMBLK);
    private.args(["run", "--size", "1M", "--socket-owner", "12345", "--"]);
    private.args([
        "setpriv",
        "--reuid=12345",
        "--clear-groups",
        "test",
        "-w",
        "{socket}",
    ]);
    assert!(private.status().unwrap().success());
}

#[test]
fn an_owner_is_a_string_of_the_api() {
    let daemon = Daemon::start();
    daemon.ok("create a --size 1M");
    let before = daemon.json("show a");
    let own = rustix::process::getegid().as_raw();
    daemon.ok(&format!("set a --socket-owner :{own}"));
    let after = daemon.json("show a");
    assert_eq!(after["socket_owner"], json!(format!(":{own}")));
    assert_eq!(
        after["generation"],
        json!(before["generation"].as_u64().unwrap() + 1)
    );
    daemon.ok("set a --socket-owner none");
    assert_eq!(daemon.json("show a").get("socket_owner"), None);
}
