//! Changes of content and identifiers beside a SIGKILL of the daemon.

use std::io::Write;
use std::process::{Command, Stdio};

use super::home::{Home, RAMBLK};
use crate::driver::data::pattern;

fn feed(home: &Home, line: &str, bytes: &[u8]) -> bool {
    let mut child = Command::new(RAMBLK)
        .args(line.split_whitespace())
        .env("RAMBLK_API", home.path("run/api.sock"))
        .current_dir(home.path("."))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // It may be refused before it has read all.
    let _ = child.stdin.take().unwrap().write_all(bytes);
    child.wait().unwrap().success()
}

fn digest(home: &Home, target: &str) -> String {
    let digest = home.json(&format!("digest {target}"));
    digest["blake3"].as_str().unwrap().to_owned()
}

/// At each step of a snapshot, a write and an applied change, the daemon kills itself: then the
/// disk has the content before or after, and an identifier only if it has the very content.
#[test]
fn a_kill_amid_a_change_leaves_the_one_content_or_the_other_and_no_wrong_identifier() {
    let home = Home::new();
    let daemon = home.start(home.serve(&[]));
    home.ok("create a --size 4M");
    assert!(feed(&home, "write a 0", &pattern(1 << 20, 1)));
    home.ok("snapshot a one");
    assert!(feed(&home, "write a 64K", &[0; 9000]));
    home.ok("snapshot a two");
    home.ok("export a@two change.zst --since one");
    let known = ["one", "two"].map(|name| {
        let shown = home.json(&format!("show a@{name}"));
        (
            digest(&home, &format!("a@{name}")),
            shown["content_id"].clone(),
        )
    });
    daemon.stop();
    let mut kills = 0;
    for point in ["record-written", "slot-published"] {
        for step in 1..=8 {
            // What is done before the point is reached is done by another daemon.
            let daemon = home.start(home.serve(&[]));
            home.run("destroy b --snapshots");
            home.ok("fork a@one b");
            daemon.stop();
            let mut command = home.serve(&[]);
            command.env("RAMBLK_KILL_AT", format!("{point}:{step}"));
            let daemon = home.start(command);
            let done = home.run("import b change.zst --base").status.success();
            let done = done && home.run("snapshot b s").status.success();
            let done = done && feed(&home, "write b 3M", &[9; 512]);
            match done {
                true => daemon.stop(),
                false => {
                    kills += 1;
                    daemon.kill();
                }
            }
            let daemon = home.start(home.serve(&[]));
            let (shown, what) = (home.json("show b"), format!("{point}:{step}"));
            let had = digest(&home, "b");
            let id = &shown["content_id"];
            match known.iter().find(|(digest, _)| *digest == had) {
                Some((_, wanted)) => assert_eq!(id, wanted, "{what}"),
                None => assert!(done && id.is_null(), "{what}: {shown}"),
            }
            for snapshot in shown["snapshots"].as_array().unwrap() {
                let name = format!("b@{}", snapshot.as_str().unwrap());
                let id = home.json(&format!("show {name}"))["content_id"].clone();
                assert!(id.is_string(), "{what}: {name} has no identifier");
                let is = known
                    .iter()
                    .find(|(digest, _)| *digest == self::digest(&home, &name));
                assert!(is.is_some_and(|(_, wanted)| *wanted == id || id != known[0].1));
            }
            daemon.stop();
        }
    }
    assert!(kills >= 8, "{kills}");
}
