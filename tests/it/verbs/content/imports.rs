//! Content is whole or absent: `create --image`, `import` and `export`, and imports that break off.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal};

use crate::driver::data::pattern;
use crate::driver::disk::Disk;
use crate::harness::eventually;
use crate::verbs::{Daemon, text};

#[test]
fn a_create_with_another_image_says_so_and_which_one_the_disk_was_made_from() {
    let daemon = Daemon::start();
    fs::write(daemon.path("one.img"), pattern(8192, 1)).unwrap();
    fs::write(daemon.path("two.img"), pattern(8192, 2)).unwrap();
    daemon.ok("create golden --image one.img");
    daemon.ok("create golden --image ./one.img");
    let said = daemon.refused("create golden --image two.img", 4);
    assert!(
        said.contains("one.img") && said.contains("two.img"),
        "{said}"
    );
    fs::write(daemon.path("one.img"), pattern(8192, 3)).unwrap();
    let said = daemon.refused("create golden --image one.img", 4);
    assert!(said.contains("ramblk import"), "{said}");
    assert_eq!(daemon.run("export golden -").stdout, pattern(8192, 1));
    // An explicit name identifies what no file can.
    daemon.ok("import golden two.img --image-id v2");
    daemon.ok("create golden --image one.img --image-id v2");
    let shown = daemon.ok("show golden");
    assert!(shown.contains("two.img"), "{shown}");
    daemon.ok("create plain --size 8K");
    let said = daemon.refused("create plain --image one.img", 4);
    assert!(said.contains("was not made from"), "{said}");
}

#[test]
fn a_pipe_that_ends_too_early_or_has_nothing_leaves_what_was_there() {
    let daemon = Daemon::start();
    daemon.ok("create a --size 1M");
    let old = pattern(1 << 20, 1);
    assert!(daemon.feed("import a -", &old).status.success());
    for (line, bytes, why) in [
        ("import a -", vec![], "no bytes"),
        (
            "import a - --image-size 8K",
            vec![1; 4096],
            "ended after 4K",
        ),
        (
            "import a -",
            vec![1; (1 << 20) + 1],
            "more bytes than the disk",
        ),
    ] {
        let output = daemon.feed(line, &bytes);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{line}: {said}");
        assert!(
            said.contains(why) && !said.contains("log"),
            "{line}: {said}"
        );
        assert!(daemon.run("export a -").stdout == old, "{line}");
    }
    let empty = daemon.feed("create b --size 1M --image -", b"");
    assert_eq!(empty.status.code(), Some(1));
    daemon.refused("show b", 3);
    assert_eq!(daemon.json("pool")["disks"], 1);
}

#[test]
fn half_an_image_is_a_disk_that_is_importing_until_it_goes_by_itself() {
    let daemon = Daemon::start_with(&["--import-timeout", "2"]);
    let image = pattern(4 << 20, 1);
    fs::write(daemon.path("image"), &image).unwrap();
    let start = || {
        let words = ["create", "a", "--size", "4M", "--image", "-"];
        let mut child = daemon
            .command(&words)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stdin = child.stdin.as_mut().unwrap();
        std::io::Write::write_all(stdin, &image[..3 << 20]).unwrap();
        eventually("some of it came", || {
            daemon.run("show a").status.success()
                && daemon.json("show a")["import"]["done_bytes"].as_u64() > Some(1 << 20)
        });
        child
    };
    let mut child = start();
    let disk = daemon.json("show a");
    assert_eq!(disk["state"], "importing");
    assert!(!daemon.path("run/a/vhost.sock").exists());
    assert!(daemon.ok("list").contains("importing"));
    let said = daemon.refused("fork a b", 4);
    assert!(said.contains("importing"), "{said}");
    daemon.refused("export a out", 4);
    daemon.refused("create a --size 4M", 4);
    daemon.refused("create a --size 4M --image image", 4);
    child.kill().unwrap();
    child.wait().unwrap();
    eventually("it goes", || daemon.run("show a").status.code() == Some(3));
    // And a disk that is destroyed, or whose import starts again.
    let mut child = start();
    daemon.ok("destroy a");
    assert!(!child.wait().unwrap().success());
    let mut child = start();
    child.kill().unwrap();
    child.wait().unwrap();
    let fed = daemon.feed("create a --size 4M --image -", &image);
    assert!(fed.status.success(), "{}", text(&fed.stderr));
    assert!(daemon.run("export a -").stdout == image);
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(daemon.json("show a")["state"], "ok");
}

#[test]
fn a_signal_or_a_limit_on_files_leaves_no_temporary_file_of_an_export() {
    let daemon = Daemon::start();
    daemon.ok("create a --size 48M");
    let image = pattern(48 << 20, 1);
    assert!(daemon.feed("import a -", &image).status.success());
    let folder = daemon.path("exports");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("old"), b"old").unwrap();
    let mut ended = 0;
    for round in 0..18 {
        let signal = [Signal::TERM, Signal::INT, Signal::HUP][round % 3];
        let words = match round % 2 {
            0 => vec!["export", "a", "exports/new"],
            _ => vec!["export", "a", "exports/old", "--overwrite"],
        };
        let mut child = daemon
            .command(&words)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(4 * round as u64));
        rustix::process::kill_process(Pid::from_child(&child), signal).unwrap();
        ended += u32::from(child.wait().unwrap().code().is_none());
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            let bytes = fs::read(&path).unwrap();
            assert!(["old", "new"].contains(&name), "{name} is left");
            let whole = bytes == image || name == "old" && bytes == b"old";
            assert!(whole, "{name} has {} bytes", bytes.len());
        }
        let _ = fs::remove_file(folder.join("new"));
    }
    assert!(ended > 0, "no export was ended by its signal");
    let limited = std::process::Command::new("sh")
        .args(["-c", "ulimit -f 1024; \"$0\" export a exports/new"])
        .arg(crate::verbs::RAMBLK)
        .env("RAMBLK_API", daemon.path("api.sock"))
        .current_dir(daemon.path("."))
        .output()
        .unwrap();
    assert!(!limited.status.success(), "{limited:?}");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
}

#[test]
fn whoever_is_refused_while_content_is_sent_reads_why() {
    let daemon = Daemon::start();
    // More than sockets hold.
    fs::write(daemon.path("image"), pattern(16 << 20, 1)).unwrap();
    daemon.ok("create a --size 16M");
    let _guest = Disk::attach(&daemon.socket("a"));
    for _ in 0..20 {
        let said = daemon.refused("import a image", 4);
        assert!(said.contains("a front end is connected"), "{said}");
    }
}
