//! Invalid names and settings are refused, and the answer says which are valid.

use ramblk::daemon::disks::{Target, check_name, create, describe};
use ramblk::model::{DiskSettings, ProblemKind, Rate};

use super::{World, says};

#[test]
fn names_that_could_be_paths_or_options_are_refused() {
    for name in ["a", "A.b-c_9", "0", &"x".repeat(64)] {
        check_name(name).unwrap();
    }
    for name in [
        "",
        ".",
        "..",
        "-a",
        ".a",
        "a/b",
        "a@b",
        "a b",
        "ä",
        "a\0",
        &"x".repeat(65),
    ] {
        says(check_name(name), ProblemKind::Invalid, &["1 to 64"]);
    }
}

#[test]
fn a_snapshot_is_named_behind_its_disk() {
    let target = Target::parse("disk@snap").unwrap();
    assert_eq!(
        (target.disk.as_str(), target.snapshot.as_deref()),
        ("disk", Some("snap"))
    );
    assert_eq!(Target::parse("disk").unwrap().snapshot, None);
    for text in ["disk@", "@snap", "a@b@c", ""] {
        assert!(Target::parse(text).is_err(), "{text}");
    }
}

#[test]
fn settings_that_no_disk_can_have_are_refused_by_their_field() {
    let world = World::new(64 << 20);
    let refused = |field: &str, words: &str, change: &dyn Fn(&mut DiskSettings)| {
        let mut settings = DiskSettings::new(1 << 20);
        change(&mut settings);
        let problem = create::put(&world.disks, "one", settings).unwrap_err();
        assert_eq!(problem.field.as_deref(), Some(field), "{problem:?}");
        assert!(problem.detail.contains(words), "{}", problem.detail);
    };
    refused("size_bytes", "nearest are 1536 and 2048", &|s| {
        s.size_bytes = 1600
    });
    refused("size_bytes", "0 bytes", &|s| s.size_bytes = 0);
    refused("size_bytes", "18446744073709551615", &|s| {
        s.size_bytes = u64::MAX
    });
    refused("block_size", "1024", &|s| s.block_size = 1024);
    refused("queues", "1 to 256", &|s| s.queues = 0);
    refused("queues", "1 to 256", &|s| s.queues = 257);
    refused("serial", "20", &|s| s.serial = Some("x".repeat(21)));
    refused("quota_bytes", "at least 64K", &|s| s.quota_bytes = Some(1));
    refused("quota_bytes", "memory limit", &|s| {
        s.quota_bytes = Some(1 << 40)
    });
    refused("limits.read", "0 iops", &|s| s.limits.read.iops = Some(0));
    refused("limits.total", "needs a limit", &|s| {
        s.limits.total = Rate {
            bytes_burst: Some(1),
            ..Rate::default()
        };
    });
    refused("labels", "at most 32", &|s| {
        s.labels = (0..33).map(|n| (format!("k{n}"), String::new())).collect();
    });
    refused("labels", "255", &|s| {
        s.labels.insert("k".into(), "x".repeat(256));
    });
    refused("labels", "4096", &|s| {
        let labels = (0..32).map(|n| (format!("key{n}"), "x".repeat(200)));
        s.labels = labels.collect();
    });
    assert!(describe::list(&world.disks, &[]).is_empty());
    assert_eq!(std::fs::read_dir(world.dir.path()).unwrap().count(), 0);
}

#[test]
fn a_group_that_is_not_there_is_refused() {
    let world = World::new(64 << 20);
    let settings = DiskSettings {
        group: Some("fast".into()),
        ..DiskSettings::new(1 << 20)
    };
    let refused = create::put(&world.disks, "one", settings);
    says(refused, ProblemKind::NotFound, &["fast", "create it first"]);
}

#[test]
fn unknown_settings_are_refused() {
    let text = r#"{"size_bytes": 1048576, "qeues": 2}"#;
    let error = serde_json::from_str::<DiskSettings>(text).unwrap_err();
    let words = error.to_string();
    assert!(
        words.contains("qeues") && words.contains("queues"),
        "{words}"
    );
}
