//! Arenas of every released layout, as they lay on hosts: each opens with its whole content, or is
//! refused with what to do.
//!
//! A daemon of layout N made `tests/fixtures/arena-layout-N.txt`. `scripts/make-fixture` makes the
//! one of the current layout. Run it once for a new layout and never again: what a released version
//! wrote does not change. `arena-layout-1-changed.txt` comes from 0.1.0. Its disks have records
//! that differ from the settings beside them, which that version stored twice and changed in one
//! place only.

use std::fs;
use std::path::PathBuf;

use serde_json::json;

use super::arena::Arena;
use super::home::Home;

const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;
/// The layout that this version writes.
const LAYOUT: u64 = 2;

fn fixture(layout: impl std::fmt::Display) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    folder.join(format!("arena-layout-{layout}.txt"))
}

/// Put a fixture where a daemon looks for its state.
fn lay_down(home: &Home, layout: impl std::fmt::Display) -> Arena {
    fs::create_dir(home.path("state")).unwrap();
    let arena = Arena::from_text(&fs::read_to_string(fixture(layout)).unwrap());
    arena.store_at(&home.arena());
    arena
}

/// Images that the fixture's disks were filled with.
fn images(home: &Home) {
    let many: Vec<(u64, u64)> = (0..20).map(|at| (at * 40_960, 0x1000 + at)).collect();
    home.image("old", 8 * MIB, &many);
    home.image("new", 8 * MIB, &[(0, 0x2000), (7 * MIB, 0x2001)]);
    home.image(
        "big",
        TIB,
        &[(0, 0x3000), (TIB / 2, 0x3001), (TIB - 4096, 0x3002)],
    );
}

/// What a daemon did before it was killed.
fn furnish(home: &Home) {
    images(home);
    for line in [
        "group create fast --iops 1000 --write-bps 10M",
        "create golden --size 8M --label vm=web-1 --label os=debian --quota 16M --group fast",
        "import golden old",
        "snapshot golden monday",
        "fork golden@monday copy",
        "import golden new",
        "snapshot golden tuesday",
        "create big --size 1T --block-size 4096 --serial number-1 --queues 3 --on-full stall",
        "import big big",
        "limit big --read-iops 500 --read-iops-burst 50",
        "create empty --size 1G --read-only --detect-zeroes --share ro",
    ] {
        home.ok(line);
    }
}

#[test]
#[ignore = "scripts/make-fixture: once for each new layout"]
fn make() {
    let home = Home::new();
    let daemon = home.start(home.serve(&["--no-huge-pages"]));
    furnish(&home);
    daemon.kill();
    fs::write(fixture(LAYOUT), Arena::load(&home.arena()).to_text()).unwrap();
}

/// Check that a disk holds an image's data, and its last bytes.
fn holds(home: &Home, name: &str, image: &str) {
    home.ok(&format!("export {name} out --overwrite"));
    let (got, wanted) = (home.path("out"), home.path(image));
    assert!(Arena::load(&got) == Arena::load(&wanted), "{name}");
}

/// Compare fields of `show`'s output.
fn shows(home: &Home, name: &str, wanted: &serde_json::Value) {
    let disk = home.json(&format!("show {name}"));
    for (field, value) in wanted.as_object().unwrap() {
        assert_eq!(&disk[field], value, "{name}: {field} of {disk}");
    }
}

#[test]
fn disks_of_every_layout_are_there_with_all_that_they_held() {
    for layout in 1..=LAYOUT {
        let home = Home::new();
        lay_down(&home, layout);
        let report = home.json("fsck state");
        assert_eq!(
            (&report["clean"], &report["layout"]),
            (&json!(true), &json!(layout))
        );
        home.ok("export --state-dir state big out");
        let daemon = home.start(home.serve(&[]));
        images(&home);
        shows(
            &home,
            "golden",
            &json!({
                "size_bytes": 8 * MIB, "block_size": 512, "quota_bytes": 16 * MIB, "group": "fast",
                "labels": {"vm": "web-1", "os": "debian"}, "snapshots": ["monday", "tuesday"],
                "mapped_bytes": 8192, "read_only": false, "parent": null,
            }),
        );
        shows(
            &home,
            "copy",
            &json!({
                "size_bytes": 8 * MIB, "mapped_bytes": 20 * 4096, "parent": "golden@monday",
                "snapshots": [],
            }),
        );
        shows(
            &home,
            "big",
            &json!({
                "size_bytes": TIB, "block_size": 4096, "serial": "number-1", "queues": 3,
                "on_full": "stall", "mapped_bytes": 3 * 4096, "quota_bytes": null,
            }),
        );
        shows(
            &home,
            "empty",
            &json!({
                "size_bytes": 1024 * MIB, "read_only": true, "detect_zeroes": true, "share": "ro",
                "mapped_bytes": 0,
            }),
        );
        let big = home.json("show big");
        assert_eq!(big["limits"]["read"]["iops"], 500, "{big}");
        let group = home.json("group show fast");
        assert_eq!(group["limits"]["total"]["iops"], 1000, "{group}");
        for (name, image) in [("golden@monday", "old"), ("copy", "old"), ("golden", "new")] {
            holds(&home, name, image);
        }
        holds(&home, "golden@tuesday", "new");
        holds(&home, "big", "big");
        // And it can be used: writes to the fork are in the fork alone.
        home.ok("import copy new");
        holds(&home, "copy", "new");
        holds(&home, "golden@monday", "old");
        daemon.stop();
        let report = home.json("fsck state");
        assert_eq!(
            (&report["clean"], &report["layout"]),
            (&json!(true), &json!(LAYOUT))
        );
    }
}

#[test]
fn disks_that_0_1_0_changed_in_one_of_two_places_are_as_it_served_them() {
    let home = Home::new();
    lay_down(&home, "1-changed");
    assert_eq!(home.json("fsck state")["clean"], true);
    // First what it converted, then what it wrote itself.
    for _ in 0..2 {
        let daemon = home.start(home.serve(&[]));
        for (name, on_full, read_only) in [
            ("a", "stall", false),
            ("b", "stall", false),
            ("c", "error", false),
            ("r", "error", true),
            ("w", "error", false),
        ] {
            let wanted = json!({"on_full": on_full, "read_only": read_only});
            shows(&home, name, &wanted);
        }
        shows(
            &home,
            "a",
            &json!({"quota_bytes": 16 * MIB, "labels": {"vm": "1"}}),
        );
        images(&home);
        for name in ["a", "a@before", "b", "r", "w"] {
            holds(&home, name, "old");
        }
        daemon.kill();
    }
    // A disk that is read-only for guests can be filled by its owner.
    let daemon = home.start(home.serve(&[]));
    home.ok("import r new");
    holds(&home, "r", "new");
    daemon.stop();
    assert_eq!(home.json("fsck state")["clean"], true);
}

#[test]
fn a_layout_that_is_not_known_is_refused_with_what_to_do() {
    let current = Arena::from_text(&fs::read_to_string(fixture(LAYOUT)).unwrap());
    for layout in [0, LAYOUT + 1, 99] {
        let home = Home::new();
        fs::create_dir(home.path("state")).unwrap();
        let mut arena = current.clone();
        arena.set_word(0, 1, layout);
        // The checksums of that layout's whole arena differ, too.
        arena.set_word(0, 4, 12345);
        arena.set_word(0, 6, 12345);
        arena.store_at(&home.arena());
        let (code, line) = home.refused(home.serve(&[]));
        assert_eq!(code, Some(1), "{line}");
        let words = format!("layout {layout}, this version reads layouts 1 to {LAYOUT}");
        assert!(
            line.contains(&words) && line.contains("use the version"),
            "{line}"
        );
        for verb in ["fsck state", "export --state-dir state golden out"] {
            let output = home.run(verb);
            assert_eq!(output.status.code(), Some(1), "{output:?}");
            let told = crate::verbs::text(&output.stderr);
            assert!(told.contains(&words), "{told}");
        }
        assert_eq!(Arena::load(&home.arena()), arena);
    }
}
