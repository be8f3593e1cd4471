//! Many disks at once, as a configuration has them.

use ramblk::daemon::model::{Config, ProblemKind};

use super::{World, says};

fn config(text: &str) -> Config {
    serde_json::from_str(text).unwrap()
}

const TWO: &str = r#"{
    "group": [{"name": "slow", "limits": {"total": {"iops": 100}}}],
    "disk": [
        {"name": "a", "size_bytes": 1048576, "group": "slow", "labels": {"k": "v"}},
        {"name": "b", "size_bytes": 2097152, "queues": 2}
    ]
}"#;

#[test]
fn applying_twice_does_nothing_more_and_gives_back_what_was_applied() {
    let world = World::new(64 << 20);
    let dry = world.disks.apply(config(TWO), true).unwrap();
    assert_eq!(dry.created, ["a", "b"]);
    assert!(world.disks.list(&[]).is_empty() && world.disks.groups().is_empty());
    assert_eq!(world.disks.apply(config(TWO), false).unwrap(), dry);
    let again = world.disks.apply(config(TWO), false).unwrap();
    assert_eq!(again.unchanged, ["a", "b"]);
    assert!(again.created.is_empty() && again.changed.is_empty() && again.groups.is_empty());
    assert_eq!(world.disks.config(), config(TWO));
}

#[test]
fn what_may_change_is_changed_and_the_rest_is_refused_before_anything_is_done() {
    let world = World::new(64 << 20);
    world.disks.apply(config(TWO), false).unwrap();
    let larger = TWO
        .replace("2097152", "4194304")
        .replace(r#""k": "v""#, r#""l": "w""#);
    let applied = world.disks.apply(config(&larger), false).unwrap();
    assert_eq!(applied.changed, ["a", "b"]);
    assert_eq!(world.disks.config(), config(&larger));
    let queues = larger
        .replace("\"queues\": 2", "\"queues\": 4")
        .replace("\"w\"", "\"x\"");
    let refused = world.disks.apply(config(&queues), false);
    says(refused, ProblemKind::Conflict, &["\"b\"", "queues"]);
    let smaller = TWO.replace("1048576", "524288");
    says(
        world.disks.apply(config(&smaller), false),
        ProblemKind::WouldLoseData,
        &["--shrink"],
    );
    assert_eq!(world.disks.config(), config(&larger));
}

#[test]
fn a_configuration_with_a_mistake_makes_nothing() {
    let world = World::new(64 << 20);
    for (change, kind) in [
        (TWO.replace("\"b\"", "\"b/\""), ProblemKind::Invalid),
        (TWO.replace("\"b\"", "\"a\""), ProblemKind::Invalid),
        (TWO.replace("2097152", "2097153"), ProblemKind::Invalid),
        (
            TWO.replace("\"name\": \"slow\"", "\"name\": \"x\""),
            ProblemKind::NotFound,
        ),
    ] {
        says(world.disks.apply(config(&change), false), kind, &[]);
        assert!(world.disks.list(&[]).is_empty(), "{change}");
    }
}

#[test]
fn groups_hold_on_to_their_disks() {
    let world = World::new(64 << 20);
    world.disks.apply(config(TWO), false).unwrap();
    assert_eq!(world.disks.group("slow").unwrap().disks, ["a"]);
    let refused = world.disks.destroy_group("slow");
    says(refused, ProblemKind::Conflict, &["(a)", "--group none"]);
    let patch = serde_json::from_str(r#"{"group": null}"#).unwrap();
    world.disks.patch("a", patch).unwrap();
    world.disks.destroy_group("slow").unwrap();
    says(world.disks.group("slow"), ProblemKind::NotFound, &["slow"]);
}
