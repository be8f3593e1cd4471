//! Many disks at once, as a file declares them.

use ramblk::daemon::disks::{
    ApplyOptions, DestroyOptions, apply, change, describe, destroy, fork, groups, reset, snapshots,
};
use ramblk::model::{
    Applied, Declaration, DiskSettings, ForkRequest, OnFull, Problem, ProblemKind,
};
use serde_json::{Value, json};

use super::{World, says};
use crate::driver::disk::Disk as Guest;

fn declared(text: &str) -> Declaration {
    serde_json::from_str(text).unwrap()
}

const DRY: ApplyOptions = ApplyOptions {
    dry_run: true,
    prune: false,
    starting: false,
};
const PRUNE: ApplyOptions = ApplyOptions {
    dry_run: false,
    prune: true,
    starting: false,
};

fn apply(world: &World, text: &str) -> Result<Applied, Problem> {
    apply::apply(&world.disks, &declared(text), ApplyOptions::default())
}

/// The existing disks and groups, as JSON.
fn config(world: &World) -> Value {
    serde_json::to_value(apply::config(&world.disks)).unwrap()
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
    let dry = apply::apply(&world.disks, &declared(TWO), DRY).unwrap();
    assert_eq!(dry.created, ["a", "b"]);
    assert!(describe::list(&world.disks, &[]).is_empty() && groups::list(&world.disks).is_empty());
    assert_eq!(apply(&world, TWO).unwrap(), dry);
    let again = apply(&world, TWO).unwrap();
    assert_eq!(again.unchanged, ["a", "b"]);
    assert!(again.created.is_empty() && again.changed.is_empty() && again.groups.is_empty());
    assert!(again.changes.is_empty());
    // The exported file declares exactly what exists.
    let exported = config(&world).to_string();
    let again = apply::apply(&world.disks, &declared(&exported), PRUNE).unwrap();
    assert!(again.changes.is_empty(), "{again:?}");
    assert_eq!(exported, config(&world).to_string());
}

#[test]
fn what_a_file_does_not_name_is_not_stripped_from_a_disk() {
    let world = World::new(64 << 20);
    apply(&world, TWO).unwrap();
    let more = r#"{"quota_bytes": 1048576, "on_full": "stall", "labels": {"l": "w"},
        "limits": {"read": {"iops": 5, "iops_burst": 6}}, "size_bytes": 4194304}"#;
    let patch = serde_json::from_str(more).unwrap();
    let disk = change::patch(&world.disks, "a", patch).unwrap().disk;
    let names = r#"{"group": [{"name": "slow"}], "disk": [{"name": "a"}, {"name": "b"}]}"#;
    let applied = apply(&world, names).unwrap();
    assert_eq!(applied.unchanged, ["a", "b"]);
    assert_eq!(describe::list(&world.disks, &[])[0], disk);
    assert_eq!(
        groups::get(&world.disks, "slow").unwrap().limits.total.iops,
        Some(100)
    );
    // Everything that the file names changes, down to each limit and label.
    let some = r#"{"disk": [{"name": "a", "labels": {"k": "x", "l": null},
        "quota_bytes": null, "limits": {"write": {"iops": 7}}}]}"#;
    let applied = apply(&world, some).unwrap();
    let fields: Vec<_> = applied.changes[0]
        .fields
        .iter()
        .map(|it| (it.field.as_str(), it.old.clone(), it.new.clone()))
        .collect();
    assert_eq!(
        fields,
        [
            ("labels.k", json!("v"), json!("x")),
            ("labels.l", json!("w"), Value::Null),
            ("limits.write.iops", Value::Null, json!(7)),
            ("quota_bytes", json!(1_048_576), Value::Null),
        ]
    );
    let disk = &describe::list(&world.disks, &[])[0];
    assert_eq!(
        (disk.on_full, disk.quota_bytes, disk.group.as_deref()),
        (OnFull::Stall, None, Some("slow"))
    );
    assert_eq!(disk.labels.len(), 1);
    assert_eq!(
        (disk.limits.read.iops_burst, disk.limits.write.iops),
        (Some(6), Some(7))
    );
}

#[test]
fn only_a_prune_takes_away_what_is_not_declared() {
    let world = World::new(64 << 20);
    apply(&world, TWO).unwrap();
    world.create("c");
    fork::fork(&world.disks, "c", ForkRequest::new("d")).unwrap();
    let patch = r#"{"quota_bytes": 1048576, "on_full": "stall"}"#;
    let patch = serde_json::from_str(patch).unwrap();
    change::patch(&world.disks, "b", patch).unwrap();
    let one = r#"{"disk": [{"name": "b"}]}"#;
    assert_eq!(apply(&world, one).unwrap().unchanged, ["b"]);
    assert_eq!(describe::list(&world.disks, &[]).len(), 4);
    let before = config(&world);
    let options = ApplyOptions {
        dry_run: true,
        ..PRUNE
    };
    let dry = apply::apply(&world.disks, &declared(one), options).unwrap();
    assert_eq!(config(&world), before);
    assert_eq!((dry.changed.len(), dry.groups.len()), (1, 1));
    // A fork goes before what it was made from.
    assert_eq!(dry.destroyed, ["d", "c", "a"]);
    assert_eq!(
        apply::apply(&world.disks, &declared(one), PRUNE).unwrap(),
        dry
    );
    let wanted = json!({"disk": [{
        "name": "b", "size_bytes": 2_097_152, "block_size": 512, "queues": 2, "read_only": false,
        "share": "none", "in_order": false, "detect_zeroes": false, "on_full": "error",
    }]});
    assert_eq!(config(&world), wanted);
}

#[test]
fn a_prune_spares_what_holds_more_than_itself() {
    let world = World::new(64 << 20);
    let socket = world.create("a");
    world.create("b");
    world.create("c");
    fork::fork(&world.disks, "c", ForkRequest::new("d")).unwrap();
    snapshots::take(&world.disks, "b", "s").unwrap();
    let guest = Guest::attach(&socket);
    let before = config(&world);
    for (declares, kind, words) in [
        (["b", "c", "d"], ProblemKind::Attached, "\"a\""),
        (["a", "c", "d"], ProblemKind::Conflict, "(s)"),
        (["a", "b", "d"], ProblemKind::Conflict, "\"d\""),
    ] {
        let disks = declares.map(|name| json!({ "name": name }));
        let text = json!({ "disk": disks }).to_string();
        says(
            apply::apply(&world.disks, &declared(&text), PRUNE),
            kind,
            &[words],
        );
        assert_eq!(config(&world), before);
    }
    drop(guest);
}

#[test]
fn what_may_change_is_changed_and_the_rest_is_refused_before_anything_is_done() {
    let world = World::new(64 << 20);
    apply(&world, TWO).unwrap();
    let larger = TWO
        .replace("2097152", "4194304")
        .replace(r#""k": "v""#, r#""l": "w""#);
    let applied = apply(&world, &larger).unwrap();
    assert_eq!(applied.changed, ["a", "b"]);
    let before = config(&world);
    let queues = larger
        .replace("\"queues\": 2", "\"queues\": 4")
        .replace("\"w\"", "\"x\"");
    says(
        apply(&world, &queues),
        ProblemKind::Conflict,
        &["\"b\"", "queues"],
    );
    let smaller = TWO.replace("1048576", "524288");
    says(
        apply(&world, &smaller),
        ProblemKind::WouldLoseData,
        &["shrink it"],
    );
    let mut guest = Guest::attach(&world.create("c"));
    guest.q().write(0, &vec![1; 2 << 20]).unwrap();
    let quota = r#"{"disk": [{"name": "a", "labels": {"x": "y"}},
        {"name": "c", "quota_bytes": 1048576}]}"#;
    for options in [DRY, ApplyOptions::default()] {
        let refused = apply::apply(&world.disks, &declared(quota), options);
        says(refused, ProblemKind::Conflict, &["1048576", "takes"]);
    }
    drop(guest);
    super::eventually("no front end is attached", || {
        !describe::get(&world.disks, "c").unwrap().attached
    });
    destroy::destroy(&world.disks, "c", DestroyOptions::default()).unwrap();
    assert_eq!(config(&world), before);
}

#[test]
fn a_configuration_with_a_mistake_makes_nothing() {
    let world = World::new(64 << 20);
    for (change, kind) in [
        (TWO.replace("\"b\"", "\"b/\""), ProblemKind::Invalid),
        (TWO.replace("\"b\"", "\"a\""), ProblemKind::Invalid),
        (TWO.replace("2097152", "2097153"), ProblemKind::Invalid),
        (
            TWO.replace("\"size_bytes\": 2097152, ", ""),
            ProblemKind::Invalid,
        ),
        (
            TWO.replace("\"name\": \"slow\"", "\"name\": \"x\""),
            ProblemKind::NotFound,
        ),
    ] {
        says(apply(&world, &change), kind, &[]);
        assert!(describe::list(&world.disks, &[]).is_empty(), "{change}");
    }
}

#[test]
fn a_quota_that_a_smaller_pool_no_longer_allows_is_no_mistake_where_it_is() {
    use std::sync::Arc;

    use ramblk::store::{DiskSpec, SectorSize, Store};
    let store = Arc::new(Store::new(8 << 20).unwrap());
    let mut spec = DiskSpec::new(SectorSize::S512, 1 << 20);
    spec.quota_bytes = Some(64 << 20);
    store.create("a", &spec).unwrap();
    let world = World::of(store, 100);
    let same = r#"{"disk": [{"name": "a", "quota_bytes": 67108864, "labels": {"k": "v"}}]}"#;
    assert_eq!(apply(&world, same).unwrap().changed, ["a"]);
    let more = same.replace("67108864", "67108865");
    says(apply(&world, &more), ProblemKind::OverBudget, &["67108865"]);
}

#[test]
fn groups_hold_on_to_their_disks() {
    let world = World::new(64 << 20);
    apply(&world, TWO).unwrap();
    assert_eq!(groups::get(&world.disks, "slow").unwrap().disks, ["a"]);
    let refused = groups::destroy(&world.disks, "slow");
    says(refused, ProblemKind::Conflict, &["(a)", "out of it"]);
    let patch = serde_json::from_str(r#"{"group": null}"#).unwrap();
    change::patch(&world.disks, "a", patch).unwrap();
    groups::destroy(&world.disks, "slow").unwrap();
    says(
        groups::get(&world.disks, "slow"),
        ProblemKind::NotFound,
        &["slow"],
    );
}

#[test]
fn a_group_whose_name_is_too_long_is_refused_before_anything_is_done() {
    let world = World::new(64 << 20);
    let name = "g".repeat(60);
    let text = format!(r#"{{"group": [{{"name": "a"}}, {{"name": "{name}"}}]}}"#);
    for options in [DRY, ApplyOptions::default()] {
        let refused = apply::apply(&world.disks, &declared(&text), options);
        says(refused, ProblemKind::Invalid, &["60 bytes", "shorter"]);
    }
    assert!(groups::list(&world.disks).is_empty());
}

#[test]
fn a_group_that_is_there_with_other_limits_is_not_made_again() {
    let world = World::new(64 << 20);
    apply(&world, TWO).unwrap();
    let limits = |text: &str| serde_json::from_str(text).unwrap();
    for other in ["{}", r#"{"total": {"iops": 200}}"#] {
        let refused = groups::put(&world.disks, "slow", limits(other));
        says(refused, ProblemKind::Conflict, &["total.iops 100, not"]);
        assert_eq!(
            groups::get(&world.disks, "slow").unwrap().limits.total.iops,
            Some(100)
        );
    }
    groups::put(&world.disks, "slow", limits(r#"{"total": {"iops": 100}}"#)).unwrap();
    let patch = serde_json::from_str(r#"{"read": {"iops": 5}}"#).unwrap();
    let group = groups::patch(&world.disks, "slow", patch).unwrap();
    assert_eq!(
        (group.limits.total.iops, group.limits.read.iops),
        (Some(100), Some(5))
    );
    let burst = serde_json::from_str(r#"{"write": {"iops_burst": 5}}"#).unwrap();
    let refused = groups::patch(&world.disks, "slow", burst);
    says(refused, ProblemKind::Invalid, &["burst"]);
    let none = groups::patch(&world.disks, "none", patch_of_nothing());
    says(none, ProblemKind::NotFound, &["none"]);
}

fn patch_of_nothing() -> ramblk::model::LimitsPatch {
    ramblk::model::LimitsPatch::default()
}

#[test]
fn the_base_of_a_fleet_is_not_destroyed_by_the_way() {
    let world = World::new(64 << 20);
    world.create_with("base", DiskSettings::new(1 << 20));
    snapshots::take(&world.disks, "base", "s").unwrap();
    for at in 0..3 {
        let mut request = ForkRequest::new(&format!("fork-{at}"));
        request.snapshot = Some("s".into());
        fork::fork(&world.disks, "base", request).unwrap();
    }
    let children = describe::get(&world.disks, "base")
        .unwrap()
        .children
        .unwrap();
    assert_eq!(children, ["fork-0", "fork-1", "fork-2"]);
    let snapshot = snapshots::destroy(&world.disks, "base", "s", false);
    says(
        snapshot,
        ProblemKind::Conflict,
        &["3 disks", "fork-0", "base@s"],
    );
    let mut options = DestroyOptions {
        snapshots: true,
        force: false,
        importing: false,
    };
    let refused = destroy::destroy(&world.disks, "base", options);
    says(refused, ProblemKind::Conflict, &["3 disks", "fork-0"]);
    let reset = reset::reset(&world.disks, "fork-1", Default::default());
    assert!(reset.is_ok(), "{reset:?}");
    // One fork is gone and fewer are left; the caller must confirm this.
    destroy::destroy(&world.disks, "fork-0", DestroyOptions::default()).unwrap();
    assert_eq!(
        describe::get(&world.disks, "base")
            .unwrap()
            .children
            .unwrap()
            .len(),
        2
    );
    snapshots::destroy(&world.disks, "base", "s", true).unwrap();
    options.snapshots = false;
    destroy::destroy(&world.disks, "base", options).unwrap();
    assert_eq!(describe::get(&world.disks, "fork-1").unwrap().parent, None);
}
