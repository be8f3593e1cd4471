//! Imports whose client or daemon is killed: no disk claims to be whole with other bytes than an
//! image's.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::home::{Home, RAMBLK};
use crate::driver::data::pattern;
use crate::verbs::text;

const IMAGE_BYTES: usize = 12 << 20;

/// The outcomes of killed imports.
#[derive(Debug, Default)]
struct Counts {
    /// Kills of the client, and of the daemon.
    kills: [u32; 2],
    /// No disk of that name.
    none: u32,
    importing: u32,
    /// The content is the whole image.
    whole: u32,
    /// An import that should have replaced content, and did not.
    old: u32,
}

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

fn content(home: &Home, disk: &str) -> Vec<u8> {
    home.ok(&format!("export {disk} out --overwrite"));
    fs::read(home.path("out")).unwrap()
}

impl Counts {
    /// Check the disk after a kill: no disk says `ok` and has other bytes than an image's.
    fn found(&mut self, home: &Home, replaces: bool, images: &[Vec<u8>; 2], what: &str) {
        let shown = home.run("show disk -o json");
        if !shown.status.success() {
            assert_eq!(shown.status.code(), Some(3), "{}", text(&shown.stderr));
            assert!(!replaces, "{what}: the disk is gone");
            self.none += 1;
            return;
        }
        let disk: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
        match disk["state"].as_str().unwrap() {
            "importing" => self.importing += 1,
            "ok" => {
                let bytes = content(home, "disk");
                let old = replaces && bytes == images[0];
                let new = bytes == images[usize::from(replaces)];
                assert!(old || new, "{what}: {disk}");
                self.old += u32::from(old);
                self.whole += u32::from(new);
            }
            other => panic!("{what}: {other}"),
        }
    }
}

/// `RAMBLK_IMPORT_KILLS` times; `scripts/soak` sets many.
#[test]
#[allow(clippy::print_stdout, reason = "the counts are wanted")]
fn an_image_that_is_killed_on_its_way_never_becomes_a_disk_that_says_ok() {
    let kills = std::env::var("RAMBLK_IMPORT_KILLS");
    let kills: u32 = kills.map_or(6, |kills| kills.parse().unwrap());
    let seed = std::env::var("RAMBLK_SEED").map_or(1, |seed| seed.parse().unwrap());
    let mut state: u64 = seed | 1;
    let mut random = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below.max(1)
    };
    let home = Home::new();
    let mut daemon = home.start(home.serve(&[]));
    let images = [pattern(IMAGE_BYTES, 1), pattern(IMAGE_BYTES, 2)];
    for (name, image) in ["a.raw", "b.raw"].iter().zip(&images) {
        fs::write(home.path(name), image).unwrap();
    }
    let began = Instant::now();
    home.ok("create whole --image a.raw");
    let takes_us = u64::try_from(began.elapsed().as_micros()).unwrap();
    home.ok("destroy whole");
    let mut counts = Counts::default();
    for round in 0..kills {
        let kills_daemon = round % 2 == 1;
        let replaces = round % 4 >= 2;
        if replaces {
            home.ok("create disk --image a.raw");
        }
        let line = match replaces {
            true => "import disk b.raw",
            false => "create disk --image a.raw",
        };
        let mut sender = client(&home, line);
        std::thread::sleep(Duration::from_micros(random(takes_us * 5 / 4)));
        if kills_daemon {
            daemon.kill();
            sender.wait().unwrap();
            daemon = home.start(home.serve(&[]));
        } else {
            sender.kill().unwrap();
            sender.wait().unwrap();
        }
        counts.kills[usize::from(kills_daemon)] += 1;
        counts.found(
            &home,
            replaces,
            &images,
            &format!("round {round}, seed {seed}: {line}"),
        );
        // The same command makes it whole, whatever was left.
        home.ok(line);
        let wanted = &images[usize::from(replaces)];
        assert!(
            content(&home, "disk") == *wanted,
            "round {round}, seed {seed}"
        );
        home.ok("destroy disk");
        let pool = home.json("pool");
        assert_eq!(
            pool["charged_bytes"], 0,
            "round {round}, seed {seed}: {pool}"
        );
    }
    println!("{counts:?}");
    assert_eq!(counts.kills.iter().sum::<u32>(), kills);
    drop(daemon);
}

#[test]
fn a_disk_that_was_importing_can_not_be_exported_without_a_daemon() {
    let home = Home::new();
    let daemon = home.start(home.serve(&[]));
    let mut sender = Command::new(RAMBLK)
        .args(["create", "disk", "--size", "4M", "--image", "-"])
        .env("RAMBLK_API", home.path("run/api.sock"))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Enough bytes to rule out any other format; the rest never arrives.
    let mut stdin = sender.stdin.take().unwrap();
    std::io::Write::write_all(&mut stdin, &[7; 2 << 20]).unwrap();
    crate::harness::eventually("it is importing", || {
        home.run("show disk -o json").status.success()
    });
    daemon.kill();
    drop(stdin);
    sender.wait().unwrap();
    let output = home.run("export --state-dir state disk out");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("importing"), "{output:?}");
    assert!(!home.path("out").exists());
    let report = home.json("fsck state");
    assert_eq!(report["disks"][0]["importing"], true, "{report}");
}
