//! Answers of a daemon for tests, always the same ones.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::model::{
    Digest, Disk, DiskSettings, DiskState, FrontEnd, GoldenImage, GoldenState, HistogramBucket,
    OnFull, OperationStats, Pool, Protocol, Share, Stats,
};

/// A disk of 10 GiB with a quota and a label, in use.
pub(in crate::cli) fn disk(name: &str) -> Disk {
    let usual = DiskSettings::new(10 << 30);
    Disk {
        name: name.to_owned(),
        id: "6f1c2d3e-4a5b-4c6d-8e7f-901234567890".to_owned(),
        created_ns: 0,
        generation: 1,
        size_bytes: usual.size_bytes,
        block_size: usual.block_size,
        socket: format!("/run/ramblk/{name}/vhost.sock"),
        attached: true,
        front_ends: vec![FrontEnd {
            protocol: Protocol::VhostUser,
            session: 1,
            pid: Some(4242),
            live: true,
            notifiable: true,
            polled_queues: 0,
            untracked_queues: 0,
        }],
        read_only: false,
        serial: name.to_owned(),
        queues: usual.queues,
        share: Share::None,
        in_order: false,
        detect_zeroes: false,
        on_full: OnFull::Error,
        sanitize: Default::default(),
        history: None,
        history_amount: None,
        write_cache: Default::default(),
        volatile: None,
        mapped_bytes: 3 << 29,
        charged_bytes: (3 << 29) + 8192,
        unique_bytes: Some(3 << 29),
        quota_bytes: Some(2 << 30),
        limits: usual.limits,
        group: None,
        labels: [("vm".to_owned(), "web-1".to_owned())].into(),
        life: usual.life,
        ending: None,
        protected: false,
        socket_owner: None,
        socket_not_given: None,
        faults: Vec::new(),
        personality: None,
        parent: Some("golden@v1".to_owned()),
        snapshots: vec!["before".to_owned(), "clean".to_owned()],
        children: Some(vec!["fork-1".to_owned(), "fork-2".to_owned()]),
        saved_states: Vec::new(),
        clone_of: None,
        state: DiskState::Ok,
        failure: None,
        unreachable: None,
        image: None,
        content_id: None,
        made_from: None,
        import: None,
    }
}

/// Reads of 4 KiB, most of them within 10 us.
pub(in crate::cli) fn stats(disk: &str, reads: u64) -> Stats {
    let bounds = [Some(1e-6), Some(1e-5), Some(1e-4), None];
    let counts = [0, reads - reads / 50, reads / 50, 0];
    let read = OperationStats {
        completed: reads,
        errors: 0,
        bytes: reads * 4096,
        time_ns: reads * 6000,
        latency: HistogramBucket::row(bounds.into_iter(), &counts),
    };
    Stats {
        disk: disk.to_owned(),
        operations: [("read".to_owned(), read)].into(),
        in_flight: 2,
        throttled: 1,
        throttled_total: 7,
        ..Stats::default()
    }
}

/// 8 GiB, a quarter of which is taken.
pub(in crate::cli) fn pool() -> Pool {
    Pool {
        limit_bytes: 8 << 30,
        limit_from: "half of the host's memory".to_owned(),
        charged_bytes: 2 << 30,
        mapped_bytes: 3 << 30,
        disks: 2,
        snapshots: 1,
        images: 2,
        images_charged_bytes: 3 << 28,
        history_points: 0,
        history_held_bytes: 0,
        most_disks: 1000,
        workers: 4,
        warnings: Vec::new(),
    }
}

/// Compare with what is kept in `tests/snapshots`.
pub(in crate::cli) fn compare(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/snapshots"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

/// A golden image with a name and forks, and one that is being fetched.
pub(in crate::cli) fn images() -> Vec<GoldenImage> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let now_ns = since.map_or(0, |since| since.as_nanos());
    let hours_ago = |hours: u128| {
        let ns = now_ns.saturating_sub(hours * 3_600_000_000_000);
        u64::try_from(ns).unwrap_or(u64::MAX)
    };
    let present = GoldenImage {
        digest: Digest::from([0xab; 32]),
        name: Some("debian-12".to_owned()),
        source: "/images/debian-12.raw".to_owned(),
        format: None,
        state: GoldenState::Present,
        size_bytes: 2 << 30,
        mapped_bytes: 3 << 28,
        charged_bytes: (3 << 28) + 8192,
        keep: true,
        protected: false,
        pulled_ns: hours_ago(75),
        used_ns: hours_ago(2),
        forks: vec!["vm1".to_owned(), "vm2".to_owned()],
        import: None,
    };
    let fetching = GoldenImage {
        digest: Digest::from([0x12; 32]),
        name: None,
        source: "/images/other.raw".to_owned(),
        format: None,
        state: GoldenState::Fetching,
        size_bytes: 0,
        mapped_bytes: 0,
        charged_bytes: 0,
        keep: false,
        protected: false,
        pulled_ns: 0,
        used_ns: 0,
        forks: Vec::new(),
        import: None,
    };
    vec![present, fetching]
}
