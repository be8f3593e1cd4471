//! The disks of a daemon, called as the API calls them, with drivers attached to some of them.

mod apply;
mod branch;
mod faults;
mod fleet;
mod golden;
mod history;
mod imports;
mod lifecycle;
mod lives;
mod names;
mod power;
mod pressure;
mod sanitize;
mod settings;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ramblk::daemon::SocketAccess;
use ramblk::daemon::disks::{Disks, DisksOptions, UploadOptions, create};
use ramblk::model::{DiskSettings, Event, EventKind, Problem, ProblemKind};
use ramblk::store::Store;
use ramblk::vhost_user::{Hub, WorkerOptions};

/// Upload new content even if a front end is connected.
const FORCED: UploadOptions = UploadOptions {
    force: true,
    importing: false,
};

/// Disks in their own directory.
pub(crate) struct World {
    pub(crate) disks: Arc<Disks>,
    pub(crate) dir: tempfile::TempDir,
}

impl World {
    pub(crate) fn new(limit_bytes: u64) -> Self {
        Self::with(limit_bytes, 100)
    }

    pub(crate) fn with(limit_bytes: u64, most_disks: usize) -> Self {
        let store = Arc::new(Store::new(limit_bytes).unwrap());
        Self::of(store, most_disks)
    }

    /// The disks of an existing store.
    pub(crate) fn of(store: Arc<Store>, most_disks: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let workers = WorkerOptions {
            count: 1,
            poll: Duration::ZERO,
            cpus: Vec::new(),
        };
        let options = DisksOptions {
            run_dir: dir.path().to_owned(),
            access: SocketAccess::default(),
            most_disks,
            workers: 1,
            limit_from: "a test".to_owned(),
            import_timeout: Duration::from_secs(60),
        };
        let disks =
            ramblk::daemon::disks::open(store, Hub::new(&workers).unwrap(), options).unwrap();
        Self { disks, dir }
    }

    pub(crate) fn create(&self, name: &str) -> PathBuf {
        self.create_with(name, DiskSettings::new(16 << 20))
    }

    pub(crate) fn create_with(&self, name: &str, settings: DiskSettings) -> PathBuf {
        PathBuf::from(create::put(&self.disks, name, settings).unwrap().0.socket)
    }
}

pub(crate) fn is(problem: &Problem, kind: ProblemKind) -> bool {
    problem.type_uri == format!("{}{}", Problem::PREFIX, kind.name())
}

/// Check the kind and the text of a problem.
pub(crate) fn says<T: std::fmt::Debug>(
    result: Result<T, Problem>,
    kind: ProblemKind,
    words: &[&str],
) {
    let problem = result.unwrap_err();
    assert!(is(&problem, kind), "{problem:?}");
    for word in words {
        assert!(problem.detail.contains(word), "{word}: {}", problem.detail);
    }
}

/// The events up to the first one of a kind.
pub(crate) fn until(
    events: &mut tokio::sync::broadcast::Receiver<Event>,
    kind: EventKind,
) -> Event {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match events.try_recv() {
            Ok(event) if event.kind == kind => return event,
            Ok(_) => {}
            Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(1)),
            Err(error) => panic!("no event {kind:?}: {error}"),
        }
    }
}

/// Wait until a condition holds.
pub(crate) fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !is() {
        assert!(Instant::now() < deadline, "not in ten seconds: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
