//! Where state may lie: what is refused, and what a restart keeps.

use std::fs;
use std::io::{Write, stderr};
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::{Command, Stdio};

use rustix::process::Signal;

use super::arena::Arena;
use super::home::{Home, RAMBLK, listens};

/// A home with one disk, `a`, whose daemon is gone.
fn left() -> Home {
    let home = Home::new();
    let daemon = home.start(home.serve(&[]));
    home.image("in", 1 << 20, &[(8192, 7)]);
    home.ok("create a --size 1M");
    home.ok("import a in");
    daemon.kill();
    home
}

#[test]
fn a_second_daemon_on_the_same_state_is_refused_and_touches_nothing() {
    let home = left();
    let first = home.start(home.serve(&[]));
    let mut second = Command::new(RAMBLK);
    second.args(["serve", "--memory-limit", "64M", "--run-dir"]);
    second.arg(home.path("elsewhere")).arg("--state-dir");
    second.arg(home.path("state"));
    home.surround(&mut second);
    // The first daemon would free memory that the killed one left; a stopped one does not.
    first.signal(Signal::STOP);
    let before = Arena::load(&home.arena());
    let (code, line) = home.refused(second);
    assert_eq!(code, Some(4), "{line}");
    assert!(
        line.contains("in use by another process; stop that"),
        "{line}"
    );
    assert!(Arena::load(&home.arena()) == before, "the file has changed");
    assert!(!home.path("elsewhere/api.sock").exists());
    first.signal(Signal::CONT);
    // Nor does a daemon that shares only the sockets.
    let (code, line) = home.refused(home.serve(&[]));
    assert_eq!(code, Some(4), "{line}");
    assert!(listens(&home.path("run/api.sock")) && listens(&home.path("run/a/vhost.sock")));
    assert_eq!(&home.ok("export a -")[8192..8200], 7u64.to_le_bytes());
    // Nor can fsck read it now.
    let output = home.run("fsck state");
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    let output = home.run("export --state-dir state a out");
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    first.stop();
    let _third = home.start(home.serve(&[]));
    assert_eq!(&home.ok("export a -")[8192..8200], 7u64.to_le_bytes());
}

#[test]
fn a_memory_limit_below_what_disks_take_is_refused_with_the_figures() {
    let home = Home::new();
    let with_limit = |limit: &str| {
        let mut command = Command::new(RAMBLK);
        command.args(["serve", "--memory-limit", limit, "--run-dir"]);
        command.arg(home.path("run")).arg("--state-dir");
        command.arg(home.path("state"));
        home.surround(&mut command);
        command
    };
    let daemon = home.start(with_limit("8M"));
    let pages: Vec<(u64, u64)> = (0..1024).map(|at| (at * 4096, at + 1)).collect();
    home.image("in", 4 << 20, &pages);
    home.ok("create a --size 16M");
    home.ok("import a in");
    let charged = home.json("pool")["charged_bytes"].to_string();
    daemon.kill();
    let before = Arena::load(&home.arena());
    let (code, line) = home.refused(with_limit("4M"));
    assert_eq!(code, Some(5), "{line}");
    let mut look = with_limit("1M");
    let looked = look.arg("--check").stdout(Stdio::piped()).output().unwrap();
    let found = String::from_utf8(looked.stdout).unwrap();
    assert_eq!(looked.status.code(), Some(9), "{found}");
    assert!(found.contains("and the limit is 1M"), "{found}");
    let words = ["4194304", charged.as_str(), "larger --memory-limit"];
    assert!(words.iter().all(|word| line.contains(word)), "{line}");
    assert!(!listens(&home.path("run/a/vhost.sock")), "it has served");
    assert!(Arena::load(&home.arena()) == before, "the file has changed");
    // A limit that is just large enough is enough, even where disks are full to the last block.
    let daemon = home.start(with_limit(&charged));
    home.ok("set a --label k=v");
    daemon.kill();
    let daemon = home.start(with_limit(&charged));
    home.ok("set a --on-full stall");
    daemon.stop();
}

#[test]
fn a_file_of_somebody_else_is_refused_and_left_alone() {
    let home = Home::new();
    fs::create_dir(home.path("state")).unwrap();
    for bytes in [&b"my notes"[..], &[0; 8192], &[0x5a; 1 << 20]] {
        fs::write(home.arena(), bytes).unwrap();
        let (code, line) = home.refused(home.serve(&[]));
        assert_eq!(code, Some(1));
        assert!(line.contains("not a ramblk arena"), "{line}");
        assert_eq!(fs::read(home.arena()).unwrap(), bytes);
    }
}

#[test]
fn an_arena_without_permission_is_named() {
    let home = left();
    let before = Arena::load(&home.arena());
    let words = ["serve", "--memory-limit", "64M", "--run-dir"];
    let mut command = if rustix::process::getuid().is_root() {
        // Root without its capabilities: the state belongs to another user than the daemon.
        chown(home.arena(), Some(65534), Some(65534)).unwrap();
        fs::set_permissions(home.arena(), fs::Permissions::from_mode(0o600)).unwrap();
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set=-dac_override,-dac_read_search", RAMBLK]);
        command
    } else {
        fs::set_permissions(home.arena(), fs::Permissions::from_mode(0o0)).unwrap();
        Command::new(RAMBLK)
    };
    command.args(words).arg(home.path("run"));
    command.arg("--state-dir").arg(home.path("state"));
    home.surround(&mut command);
    let (code, line) = home.refused(command);
    assert_eq!(code, Some(1), "{line}");
    assert!(
        line.contains("Permission denied") && line.contains("arena"),
        "{line}"
    );
    fs::set_permissions(home.arena(), fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(Arena::load(&home.arena()), before);
}

#[test]
fn a_real_file_system_is_refused_where_it_was_asked_for() {
    let home = Home::new();
    let real = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let state = real.path().to_str().unwrap();
    let (code, line) = home.refused(home.serve_at(&["--state-dir", state]));
    assert_eq!(code, Some(1), "{line}");
    assert!(
        line.contains("tmpfs") && line.contains("--state-dir none"),
        "{line}"
    );
    assert!(fs::read_dir(real.path()).unwrap().next().is_none());
    assert!(!home.path("run/api.sock").exists());
}

#[test]
fn too_small_a_tmpfs_is_explained_and_a_small_one_bounds_what_disks_take() {
    let home = Home::new();
    fs::create_dir(home.path("state")).unwrap();
    let mount = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=8M", "small"])
        .arg(home.path("state"))
        .output()
        .unwrap();
    if !mount.status.success() {
        writeln!(
            stderr(),
            "SKIPPED: this needs the right to mount: {mount:?}"
        )
        .unwrap();
        return;
    }
    let (code, line) = home.refused(home.serve(&[]));
    let mut command = Command::new(RAMBLK);
    command.args(["serve", "--run-dir"]).arg(home.path("run"));
    command.arg("--state-dir").arg(home.path("state"));
    home.surround(&mut command);
    let daemon = home.start(command);
    let limit_bytes = home.json("pool")["limit_bytes"].as_u64();
    drop(daemon);
    let unmounted = Command::new("umount").arg(home.path("state")).status();
    assert!(unmounted.unwrap().success());
    assert_eq!(code, Some(1), "{line}");
    for words in ["room for 8M", "limit is 64M", "remount,size="] {
        assert!(line.contains(words), "{line}");
    }
    assert!(
        limit_bytes.is_some_and(|bytes| bytes <= 8 << 20),
        "{limit_bytes:?}"
    );
}

#[test]
fn disks_without_a_state_go_with_the_process_and_the_log_says_so() {
    let home = Home::new();
    let daemon = home.start(home.serve_at(&["--state-dir", "none"]));
    home.ok("create a --size 1M");
    assert!(
        home.log().contains("a restart loses all disks"),
        "{}",
        home.log()
    );
    daemon.kill();
    let _daemon = home.start(home.serve_at(&["--state-dir", "none"]));
    assert_eq!(home.json("list").as_array().unwrap().len(), 0);
}

#[test]
fn disks_lie_beside_their_sockets_if_nothing_is_said() {
    let home = Home::new();
    let daemon = home.start(home.serve_at(&[]));
    home.ok("create a --size 1M");
    daemon.kill();
    assert!(home.path("run/arena").exists());
    let _daemon = home.start(home.serve_at(&[]));
    assert_eq!(home.json("list")[0]["name"], "a");
    assert!(listens(&home.path("run/a/vhost.sock")));
}
