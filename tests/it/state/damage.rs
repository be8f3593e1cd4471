//! Damaged state and the programs: the daemon refuses it and leaves it alone, `fsck` reports the
//! loss, and `export` takes out what is left.

use std::fs;

use super::arena::Arena;
use super::home::Home;
use crate::verbs::text;

const MIB: u64 = 1 << 20;

/// Disks `a`, its snapshot and fork, and `b`, which shares nothing with them; their daemon has
/// ended.
fn left() -> Home {
    let home = Home::new();
    let daemon = home.start(home.serve(&[]));
    home.image("a.raw", 4 * MIB, &[(0, 0xa0), (3 * MIB, 0xa1)]);
    home.image("b.raw", 64 * MIB, &[(4096, 0xb0), (40 * MIB, 0xb1)]);
    home.ok("create a --size 4M --label vm=one");
    home.ok("import a a.raw");
    home.ok("snapshot a one");
    home.ok("fork a@one c");
    home.ok("create b --size 64M --quota 32M");
    home.ok("import b b.raw");
    // It gets a new record in front of the data.
    home.ok("set b --label vm=two");
    daemon.kill();
    home
}

/// Index and number of the block that is full of this word.
fn page(arena: &Arena, word: u64) -> (usize, u64) {
    let bytes = word.to_le_bytes().repeat(512);
    let at = arena.blocks.iter().position(|(_, all)| *all == bytes);
    (at.unwrap(), arena.blocks[at.unwrap()].0)
}

/// Change every entry that names this block.
fn damage_names(arena: &mut Arena, block: u64) -> usize {
    let mut changed = 0;
    for at in 0..arena.blocks.len() {
        for word in 0..512 {
            let entry = arena.word(at, word);
            if entry >> 12 == block && entry & 0xff0 == 0xff0 && entry & 0xc == 0 {
                arena.set_word(at, word, entry | 0xff << 56);
                changed += 1;
            }
        }
    }
    changed
}

#[test]
fn what_is_sound_is_called_clean_and_can_be_taken_out() {
    let home = left();
    let before = Arena::load(&home.arena());
    let report = home.json("fsck state");
    assert_eq!(report["clean"], true, "{report}");
    assert_eq!(report["layout"], 2);
    let disks = report["disks"].as_array().unwrap();
    let names: Vec<_> = disks
        .iter()
        .map(|disk| disk["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["a", "a@one", "b", "c"]);
    assert_eq!(disks[2]["mapped_bytes"], 8192);
    assert_eq!(disks[2]["quota_bytes"], 32 * MIB);
    let human = text(&home.ok("fsck state"));
    assert!(
        human.contains("nothing is wrong") && human.contains("a@one"),
        "{human}"
    );
    for (name, image) in [
        ("a", "a.raw"),
        ("a@one", "a.raw"),
        ("c", "a.raw"),
        ("b", "b.raw"),
    ] {
        home.ok(&format!("export --state-dir state {name} out --overwrite"));
        let (got, wanted) = (fs::read(home.path("out")), fs::read(home.path(image)));
        assert!(got.unwrap() == wanted.unwrap(), "{name}");
    }
    assert_eq!(
        home.ok("export --state-dir state b -").len() as u64,
        64 * MIB
    );
    let blocks = Arena::load(&home.path("out")).blocks.len();
    assert_eq!(blocks, 2, "holes stay holes");
    for (line, code) in [
        ("export --state-dir state nobody out --overwrite", 3),
        ("export --state-dir state a@two out --overwrite", 3),
        ("export --state-dir state b out", 1),
        ("export --state-dir run b new", 1),
        ("export --partial b new", 2),
        ("fsck run", 1),
        ("fsck", 2),
    ] {
        let output = home.run(line);
        assert_eq!(output.status.code(), Some(code), "{line}: {output:?}");
    }
    assert_eq!(Arena::load(&home.arena()), before, "looking changed it");
}

#[test]
fn a_damaged_disk_is_told_from_whole_ones_and_saved_in_part() {
    let home = left();
    let mut arena = Arena::load(&home.arena());
    let (_, block) = page(&arena, 0xb1);
    assert_eq!(damage_names(&mut arena, block), 1);
    arena.store_at(&home.arena());
    let (code, line) = home.refused(home.serve(&[]));
    assert_eq!(code, Some(1), "{line}");
    let advice = format!("'ramblk fsck {}'", home.path("state").display());
    assert!(
        line.contains(&advice) && line.contains("left as it is"),
        "{line}"
    );
    let output = home.run("fsck state -o json");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("ramblk export"), "{output:?}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        report["findings"][0]["disks"],
        serde_json::json!(["b"]),
        "{report}"
    );
    let whole: Vec<_> = report["disks"].as_array().unwrap().iter().collect();
    let whole: Vec<_> = whole.iter().map(|disk| disk["whole"] == true).collect();
    assert_eq!(whole, [true, true, false, true]);
    let human = text(&home.run("fsck state").stdout);
    assert!(
        human.contains("(affects b)") && human.contains("in part"),
        "{human}"
    );

    home.ok("export --state-dir state c out");
    assert!(fs::read(home.path("out")).unwrap() == fs::read(home.path("a.raw")).unwrap());
    let output = home.run("export --state-dir state b part");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("--partial"), "{output:?}");
    assert!(!home.path("part").exists());
    let output = home.run("export --state-dir state b part --partial");
    assert!(output.status.success(), "{output:?}");
    let told = text(&output.stderr);
    assert!(
        told.contains(&format!("lost: 4K at byte {}", 40 * MIB)),
        "{told}"
    );
    home.image("wanted", 64 * MIB, &[(4096, 0xb0)]);
    assert!(fs::read(home.path("part")).unwrap() == fs::read(home.path("wanted")).unwrap());
    assert_eq!(Arena::load(&home.arena()), arena, "something changed it");
}

#[test]
fn state_that_was_cut_is_refused_and_what_is_before_the_cut_is_saved() {
    let home = left();
    let mut arena = Arena::load(&home.arena());
    // Disks were created in this order, so everything before b's last page stays.
    let (_, block) = page(&arena, 0xb1);
    arena.cut(block * 4096 + 100);
    arena.store_at(&home.arena());
    let (code, line) = home.refused(home.serve(&[]));
    assert_eq!(code, Some(1), "{line}");
    assert!(
        line.contains("cut to") && line.contains("ramblk fsck"),
        "{line}"
    );
    assert_eq!(Arena::load(&home.arena()), arena);
    let output = home.run("fsck state");
    assert_eq!(output.status.code(), Some(1));
    let human = text(&output.stdout);
    assert!(human.contains("the file was cut to"), "{human}");
    assert!(
        human.contains(&format!("block {block}, which is missing")),
        "{human}"
    );
    home.ok("export --state-dir state a out");
    assert!(fs::read(home.path("out")).unwrap() == fs::read(home.path("a.raw")).unwrap());
}

#[test]
fn the_daemon_starts_on_what_is_sound_and_refuses_the_rest_unchanged() {
    let home = left();
    let arena = Arena::load(&home.arena());
    let mut refused = 0;
    for block in (0..arena.blocks.len()).step_by(3) {
        let used = (0..512).find(|&at| arena.word(block, at) != 0);
        let Some(word) = used else { continue };
        let mut damaged = arena.clone();
        damaged.set_word(block, word, arena.word(block, word) ^ 1 << 62);
        damaged.store_at(&home.arena());
        // Pages have no checksums: a daemon starts with a changed page.
        if home.run("fsck state").status.success() {
            home.start(home.serve(&[])).stop();
            continue;
        }
        let (code, line) = home.refused(home.serve(&[]));
        assert_eq!(code, Some(1), "block {block}: {line}");
        assert_eq!(Arena::load(&home.arena()), damaged, "block {block}: {line}");
        refused += 1;
    }
    assert!(refused > 2, "{refused}");
    assert!(!home.log().contains("panicked"), "{}", home.log());
}
