//! Golden images whose client or daemon is killed: there is a whole image, or none.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::home::{Home, RAMBLK};
use crate::driver::data::pattern;
use crate::verbs::content::golden::digest;

const IMAGE_BYTES: usize = 12 << 20;

fn client(home: &Home, line: &str) -> Child {
    Command::new(RAMBLK)
        .args(line.split_whitespace())
        .env("RAMBLK_API", home.path("run/api.sock"))
        .current_dir(home.path("."))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn images_their_forks_and_what_is_kept_of_them_are_there_after_a_daemon_was_killed() {
    let home = Home::new();
    let daemon = home.start(home.serve(&[]));
    let bytes = pattern(IMAGE_BYTES, 1);
    fs::write(home.path("a.raw"), &bytes).unwrap();
    home.ok("image pull a.raw --name a --keep");
    home.ok("create vm --size 16M --image image://a");
    home.ok("create blocks --block-size 4096 --image image://a");
    fs::write(home.path("page"), pattern(4096, 2)).unwrap();
    home.ok("nbd blocks --rw -- nbdcopy page {uri}");
    let before = home.json("image show a");
    daemon.kill();
    let daemon = home.start(home.serve(&[]));
    assert_eq!(home.json("image show a"), before);
    assert_eq!(before["forks"], serde_json::json!(["blocks", "vm"]));
    assert_eq!(home.json("show blocks")["block_size"], 4096);
    let mut written = bytes.clone();
    written[..4096].copy_from_slice(&pattern(4096, 2));
    home.ok("export blocks written");
    assert!(fs::read(home.path("written")).unwrap() == written);
    home.ok("reset blocks");
    home.ok("export blocks reset");
    assert!(fs::read(home.path("reset")).unwrap() == bytes);
    let parent = home.json("show vm")["parent"].clone();
    assert_eq!(parent, format!("image://{}", digest(&bytes)));
    home.ok("reset vm");
    assert_eq!(home.json("show vm")["size_bytes"], 16 << 20);
    home.ok("create vm2 --image image://a");
    home.ok("export vm2 out");
    assert!(fs::read(home.path("out")).unwrap() == bytes);
    // Nothing of it is in the way of a look into the state.
    daemon.kill();
    let report = home.json("fsck state");
    assert_eq!(
        (&report["clean"], &report["disks"][1]["name"]),
        (&true.into(), &"vm".into())
    );
    assert_eq!(report["images"][0]["name"], "a", "{report}");
}

/// The records of a pull: the content on its way, its settings, and its key.
#[test]
fn a_daemon_that_is_killed_at_any_record_of_a_pull_leaves_a_whole_image_or_none() {
    let bytes = pattern(1 << 20, 1);
    let mut whole = Vec::new();
    for point in ["record-written", "slot-published"] {
        for number in 1..=4 {
            let home = Home::new();
            fs::write(home.path("a.raw"), &bytes).unwrap();
            let mut serve = home.serve(&[]);
            serve.env("RAMBLK_KILL_AT", format!("{point}:{number}"));
            let daemon = home.start(serve);
            let is_pulled = home.run("image pull a.raw --name a").status.success();
            assert_eq!(is_pulled, number == 4, "{point}:{number}");
            daemon.kill();
            let _daemon = home.start(home.serve(&[]));
            let images = home.json("image list");
            if images.as_array().unwrap().is_empty() {
                assert_eq!(home.json("pool")["charged_bytes"], 0, "{point}:{number}");
                continue;
            }
            whole.push(format!("{point}:{number}"));
            home.ok("create vm --image image://a");
            home.ok("export vm out");
            assert!(
                fs::read(home.path("out")).unwrap() == bytes,
                "{point}:{number}"
            );
        }
    }
    assert_eq!(
        whole,
        ["record-written:4", "slot-published:3", "slot-published:4"]
    );
}

/// `RAMBLK_IMPORT_KILLS` times; `scripts/soak` sets many.
#[test]
fn an_image_that_is_killed_on_its_way_is_whole_or_not_there() {
    let kills = std::env::var("RAMBLK_IMPORT_KILLS");
    let kills: u64 = kills.map_or(6, |kills| kills.parse().unwrap());
    let home = Home::new();
    let mut daemon = home.start(home.serve(&[]));
    let bytes = pattern(IMAGE_BYTES, 1);
    fs::write(home.path("a.raw"), &bytes).unwrap();
    let digest = digest(&bytes);
    let line = format!("create vm --image a.raw --digest {digest}");
    let began = Instant::now();
    home.ok(&line);
    let takes = began.elapsed();
    home.ok("destroy vm");
    home.ok(&format!("image rm {digest}"));
    for round in 0..kills {
        let mut sender = client(&home, &line);
        let part = u32::try_from(round % 7 + 1).unwrap();
        std::thread::sleep(takes * part / 8 + Duration::from_micros(round * 97 % 1000));
        if round % 2 == 1 {
            daemon.kill();
            sender.wait().unwrap();
            daemon = home.start(home.serve(&[]));
        } else {
            sender.kill().unwrap();
            sender.wait().unwrap();
        }
        // The same command works, whatever was left.
        home.ok(&line);
        home.ok("export vm out --overwrite");
        assert!(
            fs::read(home.path("out")).unwrap() == bytes,
            "round {round}"
        );
        home.ok("destroy vm");
        home.ok(&format!("image rm {digest}"));
        let pool = home.json("pool");
        assert_eq!(pool["charged_bytes"], 0, "round {round}: {pool}");
    }
    drop(daemon);
}
