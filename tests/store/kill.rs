//! SIGKILL at any instant, and at named points of the store: acknowledged changes are there,
//! unfinished ones are done or not, sector by sector, and nothing else has changed.
//!
//! The killed process is this program again, as `child::child_entry`. Its logs are replayed into a
//! model, which is compared with the reopened store; the next process continues from there.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use ramblk::store::{Error, Store, StoreOptions};

use super::child::{FIRST, FOLDER, OPTIONS, SEED, arena, ready};
use super::history::{History, Seen};
use super::log;
use super::random::{Random, Seed, from_env, seed};

const KILLS: u64 = 50;
/// The number of rounds after which a new arena is used.
const ROUNDS_OF_ARENA: u64 = 20;
const SIGKILL: i32 = 9;

/// Held while a process starts: until it runs its program it has copies of all open files, and an
/// arena is locked as long as any copy is open.
static STARTING: Mutex<()> = Mutex::new(());

/// Open an arena while no starting process has a copy of it.
pub(crate) fn open(path: &Path, options: &StoreOptions) -> Result<Store, Error> {
    let _nobody = STARTING.lock();
    Store::open_at(path, options)
}

/// Superblock, disk table, and the free blocks of a group that is partly in use, which may have
/// been backed again since.
pub(crate) const OVERHEAD_BYTES: u64 = 2 << 20;

/// The memory that the host holds for a file.
pub(crate) fn held_bytes(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().blocks() * 512
}

/// When a process dies.
#[derive(Clone, Copy, Debug)]
enum When {
    /// This long after it began to work.
    Working(Duration),
    /// This long after it was started: perhaps while it recovers what the last one left.
    Opening(Duration),
    /// By itself, when it reaches this point of the store for this number of times.
    Point(&'static str, u64),
}

struct Test {
    folder: tempfile::TempDir,
    random: Random,
    history: History,
    round: u64,
    seen: Seen,
}

fn start(folder: &Path, seed: u64, round: u64, when: When) -> Child {
    let log = File::create(folder.join("stderr")).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["child::child_entry", "--exact", "--nocapture"])
        .env(FOLDER, folder)
        .env(SEED, seed.to_string())
        // Numbers and tags of one round don't occur in another.
        .env(FIRST, (round << 32).to_string())
        .env_remove("RAMBLK_KILL_AT")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    if let When::Point(point, count) = when {
        command.env("RAMBLK_KILL_AT", format!("{point}:{count}"));
    }
    let _alone = STARTING.lock();
    command.spawn().unwrap()
}

/// Wait for a file.
fn wait_for(path: &Path, child: &mut Child) {
    let began = Instant::now();
    while !path.exists() && child.try_wait().unwrap().is_none() {
        assert!(began.elapsed() < Duration::from_secs(20), "it never began");
        std::thread::sleep(Duration::from_micros(200));
    }
}

impl Test {
    fn new(seed: u64) -> Self {
        let mut test = Self {
            folder: tempfile::tempdir_in("/dev/shm").unwrap(),
            random: Random::new(seed),
            history: History::default(),
            round: 0,
            seen: Seen::default(),
        };
        test.new_arena();
        test
    }

    fn arena(&self) -> PathBuf {
        arena(self.folder.path())
    }

    fn new_arena(&mut self) {
        drop(Store::create_at(&self.arena(), &OPTIONS).unwrap());
        self.history = History::default();
    }

    /// Destroy everything; nothing must be left.
    fn end_arena(&mut self) {
        let store = open(&self.arena(), &OPTIONS).unwrap();
        for key in store.keys() {
            store.destroy(&key).unwrap();
        }
        assert_eq!(store.charged_bytes(), 0, "memory was lost");
        drop(store);
        std::fs::remove_file(self.arena()).unwrap();
    }

    /// Start a process, kill it, and check what it left.
    fn round(&mut self, when: When) {
        self.round += 1;
        let folder = self.folder.path().to_owned();
        let mut child = start(&folder, self.random.next(), self.round, when);
        match when {
            When::Working(after) => {
                wait_for(&ready(&folder), &mut child);
                std::thread::sleep(after);
            }
            When::Opening(after) => std::thread::sleep(after),
            When::Point(..) => {
                let began = Instant::now();
                while child.try_wait().unwrap().is_none() {
                    let late = began.elapsed() > Duration::from_secs(10);
                    assert!(!late, "{when:?} was never reached");
                    std::thread::sleep(Duration::from_micros(500));
                }
            }
        }
        // It may have exited by itself, which its status tells.
        let _ = child.kill();
        let status = child.wait().unwrap();
        let _ = std::fs::remove_file(ready(&folder));
        if status.signal() != Some(SIGKILL) {
            let said = std::fs::read_to_string(folder.join("stderr")).unwrap();
            panic!("round {}, {when:?}: {status}: {said}", self.round);
        }
        self.look(when);
        if self.round.is_multiple_of(ROUNDS_OF_ARENA) {
            self.end_arena();
            self.new_arena();
        }
    }

    fn look(&mut self, when: When) {
        let entries = log::take(self.folder.path());
        let store = open(&self.arena(), &OPTIONS)
            .unwrap_or_else(|error| panic!("round {}, {when:?}: {error}", self.round));
        let fresh_tag = (self.round << 32) | 0xffff_ffff;
        match self.history.check(&store, &entries, fresh_tag) {
            Ok(seen) => self.seen += seen,
            Err(what) => panic!("round {}, {when:?}: {what}", self.round),
        }
        store.reclaim();
        let (held, charged) = (held_bytes(&self.arena()), store.charged_bytes());
        assert!(
            held <= charged + OVERHEAD_BYTES,
            "round {}, {when:?}: {held} bytes of memory for {charged}",
            self.round
        );
    }
}

#[test]
fn a_store_survives_a_kill_at_any_instant() {
    let seed = Seed(seed());
    let mut test = Test::new(seed.0);
    for _ in 0..from_env("RAMBLK_KILLS").unwrap_or(KILLS) {
        let micros = |test: &mut Test, most| Duration::from_micros(test.random.below(most));
        let when = match test.random.below(12) {
            0 => When::Opening(micros(&mut test, 15_000)),
            // Long enough to return memory to the host.
            1 => When::Working(micros(&mut test, 900_000)),
            _ => When::Working(micros(&mut test, 50_000)),
        };
        test.round(when);
    }
    test.end_arena();
    eprintln!("{:?}", test.seen);
    assert!(test.seen.done > 0 && test.seen.begun > 0, "{:?}", test.seen);
}

#[test]
fn a_store_that_publishes_before_it_copies_does_not_survive() {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["kill::a_store_survives_a_kill_at_any_instant", "--exact"])
        .env("RAMBLK_TEST_BROKEN", "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        said.contains("test result: FAILED. 0 passed; 1 failed"),
        "{said}"
    );
}

/// Named points, and how often they may be passed before the kill.
const POINTS: [(&str, u64); 11] = [
    ("page-copied", 3000),
    ("entry-published", 3000),
    ("leaf-copied", 60),
    ("leaf-published", 60),
    ("inner-copied", 30),
    ("inner-published", 30),
    ("record-written", 40),
    ("slot-published", 40),
    ("shrink-committed", 8),
    ("page-freed", 1000),
    ("before-punch", 3),
];

#[test]
fn a_store_survives_a_kill_at_each_point() {
    let seed = Seed(seed());
    let mut test = Test::new(seed.0);
    for _ in 0..3 {
        for (point, most) in POINTS {
            let count = 1 + test.random.below(most);
            test.round(When::Point(point, count));
        }
    }
    test.end_arena();
    eprintln!("{:?}", test.seen);
}
