//! A daemon that is killed while it converts the state of 0.1.0.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::arena::Arena;
use crate::daemon::Daemon;

/// The disks of the fixture, each with its behaviour without memory and whether guests may write.
const DISKS: [(&str, &str, bool); 5] = [
    ("a", "stall", false),
    ("b", "stall", false),
    ("c", "error", false),
    ("r", "error", true),
    ("w", "error", false),
];
/// Words of the superblock.
const LAYOUT: usize = 1;
const EVEN_SUM: usize = 6;

#[test]
#[cfg_attr(not(ramblk_hooks), ignore = "there are no hooks in this build")]
fn what_0_1_0_left_is_whole_wherever_a_later_version_dies_that_carries_it_over() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let text = fs::read_to_string(folder.join("arena-layout-1-changed.txt")).unwrap();
    let before = Arena::from_text(&text);
    let points = [("layout-summed", 1), ("layout-changed", 1)].into_iter();
    let each = (1..=5).flat_map(|count| [("record-written", count), ("slot-published", count)]);
    for (point, count) in points.chain(each) {
        let at = format!("{point}:{count}");
        let mut daemon = Daemon::killed_while_it_carries_over(&before, at.clone());
        let left = Arena::load(&daemon.state().join("arena"));
        let layout = left.word(0, LAYOUT);
        assert_eq!(layout, if point == "layout-summed" { 1 } else { 2 }, "{at}");
        if layout == 1 {
            // Except for one word, which 0.1.0 does not read, this is what 0.1.0 left.
            let mut same = left.clone();
            same.len_bytes = before.len_bytes;
            same.set_word(0, EVEN_SUM, 0);
            same.set_word(0, 5, before.word(0, 5));
            same.set_word(0, 16, before.word(0, 16));
            assert!(same == before, "{at}");
        }
        let state = daemon.state();
        let state = state.to_str().unwrap();
        daemon.say(&["fsck", state]);
        daemon.start_again();
        daemon.answers();
        for (name, on_full, read_only) in DISKS {
            assert_eq!(daemon.field(name, "on_full"), on_full, "{at}: {name}");
            assert_eq!(daemon.field(name, "read_only"), read_only, "{at}: {name}");
        }
        assert_eq!(daemon.field("a", "labels"), json!({"vm": "1"}), "{at}");
        daemon.stop();
        daemon.say(&["fsck", state]);
        let left = Arena::load(&daemon.state().join("arena"));
        // And 0.1.0 finds a foreign layout, not a damaged one.
        assert_eq!((left.word(0, LAYOUT), left.word(0, 4)), (2, 0), "{at}");
    }
}
