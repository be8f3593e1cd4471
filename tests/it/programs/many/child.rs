//! The process that serves many disks through the library. It is this program again, so that its
//! threads, descriptors and memory are separate.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ramblk::daemon::SocketAccess;
use ramblk::daemon::disks::{self, DestroyOptions, Disks, DisksOptions, create, destroy};
use ramblk::model::DiskSettings;
use ramblk::store::Store;
use ramblk::vhost_user::{Hub, WorkerOptions};
use rustix::process::Resource;
use tempfile::TempDir;

use crate::driver::memory::MIB;
use crate::harness::eventually;

const FOLDER: &str = "RAMBLK_TEST_MANY_FOLDER";
const DISKS: &str = "RAMBLK_TEST_MANY_DISKS";
const QUEUES: u16 = 16;

/// A process that was started by [`Many::start`].
pub(super) struct Many {
    child: Child,
    stdin: Option<ChildStdin>,
    folder: TempDir,
}

/// The kernel's figures of a process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Figures {
    pub(super) threads: usize,
    pub(super) fds: usize,
    pub(super) rss_kib: u64,
    /// Processor time used so far, in hundredths of a second.
    pub(super) ticks: u64,
    /// How often its threads went to sleep.
    pub(super) wake_ups: u64,
}

impl Many {
    /// Serve `disks` disks of 16 MiB, each at its own socket.
    pub(super) fn start(disks: usize) -> Self {
        let folder = TempDir::new().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["programs::many::child::entry", "--exact", "--nocapture"])
            .env(FOLDER, folder.path())
            .env(DISKS, disks.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(File::create(folder.path().join("stderr")).unwrap())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take();
        let mut many = Self {
            child,
            stdin,
            folder,
        };
        let ready = many.folder.path().join("ready");
        let deadline = Instant::now() + Duration::from_secs(60);
        while !ready.exists() {
            assert!(Instant::now() < deadline, "not ready: {}", many.stderr());
            let ended = many.child.try_wait().unwrap();
            assert!(ended.is_none(), "{}", many.stderr());
            std::thread::sleep(Duration::from_millis(2));
        }
        many
    }

    pub(super) fn stderr(&self) -> String {
        fs::read_to_string(self.folder.path().join("stderr")).unwrap()
    }

    pub(super) fn socket(&self, disk: usize) -> PathBuf {
        socket(self.folder.path(), disk)
    }

    /// The time in which all disks were created.
    pub(super) fn made_within(&self) -> Duration {
        let text = fs::read_to_string(self.folder.path().join("ready")).unwrap();
        Duration::from_micros(text.parse().unwrap())
    }

    pub(super) fn figures(&self) -> Figures {
        let pid = self.child.id();
        let count = |what: &str| fs::read_dir(format!("/proc/{pid}/{what}")).unwrap().count();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let rss = rss.and_then(|line| line.split_whitespace().next());
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields = stat.rsplit_once(')').unwrap().1.split_whitespace();
        let sleeps = |task: fs::DirEntry| {
            let status = fs::read_to_string(task.path().join("status")).ok()?;
            let mut lines = status.lines();
            let sleeps = lines.find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
            sleeps.trim().parse::<u64>().ok()
        };
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        Figures {
            wake_ups: tasks.filter_map(|task| sleeps(task.ok()?)).sum(),
            threads: count("task"),
            fds: count("fd"),
            rss_kib: rss.unwrap().parse().unwrap(),
            ticks: fields
                .skip(11)
                .take(2)
                .map(|text| text.parse::<u64>().unwrap())
                .sum(),
        }
    }

    /// Make it create, serve and destroy one more disk, again and again, until it is told to stop.
    pub(super) fn churn(&mut self) -> PathBuf {
        self.say("churn");
        self.socket(usize::MAX)
    }

    /// Make it run out of descriptors.
    pub(super) fn starve(&mut self) {
        self.say("starve");
        let starved = self.folder.path().join("starved");
        eventually("it has no descriptors to spare", || starved.exists());
    }

    /// Allow it descriptors again.
    pub(super) fn feed(&mut self) {
        self.say("feed");
    }

    /// Make it drop all disks.
    pub(super) fn drop_disks(&mut self) {
        self.say("drop");
        let dropped = self.folder.path().join("dropped");
        eventually("all disks are dropped", || dropped.exists());
    }

    fn say(&mut self, word: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{word}").unwrap();
    }

    /// Stop it, and return how many disks it created and destroyed beside the others.
    pub(super) fn end(mut self) -> u64 {
        drop(self.stdin.take());
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}: {}", self.stderr());
        let text = fs::read_to_string(self.folder.path().join("churned")).unwrap();
        text.parse().unwrap()
    }
}

impl Drop for Many {
    fn drop(&mut self) {
        // This fails if it has exited.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn socket(folder: &Path, disk: usize) -> PathBuf {
    folder.join(name(disk)).join("vhost.sock")
}

fn name(disk: usize) -> String {
    format!("disk-{disk}")
}

/// The registry of a daemon, without its API.
fn open(folder: &Path) -> Arc<Disks> {
    let workers = WorkerOptions {
        count: 2,
        poll: Duration::from_micros(32),
        cpus: Vec::new(),
    };
    let options = DisksOptions {
        run_dir: folder.to_owned(),
        access: SocketAccess::default(),
        most_disks: usize::MAX,
        workers: workers.count,
        limit_from: "a test".to_owned(),
        import_timeout: Duration::MAX,
    };
    let store = Arc::new(Store::new(1024 * MIB).unwrap());
    disks::open(store, Hub::new(&workers).unwrap(), options).unwrap()
}

fn make(disks: &Disks, disk: usize) {
    let settings = DiskSettings {
        queues: QUEUES,
        ..DiskSettings::new(16 * MIB)
    };
    create::put(disks, &name(disk), settings).unwrap();
}

/// Destroy it under whatever front end is connected.
fn unmake(disks: &Disks, disk: usize) {
    let options = DestroyOptions {
        force: true,
        ..DestroyOptions::default()
    };
    destroy::destroy(disks, &name(disk), options).unwrap();
}

fn limit_descriptors(count: Option<u64>) {
    let mut limit = rustix::process::getrlimit(Resource::Nofile);
    limit.current = count.or(limit.maximum);
    rustix::process::setrlimit(Resource::Nofile, limit).unwrap();
}

/// The number of ramblk's threads.
fn own_threads() -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let name = |task: fs::DirEntry| fs::read_to_string(task.path().join("comm"));
    let names = tasks.filter_map(|task| name(task.ok()?).ok());
    names.filter(|name| name.starts_with("ramblk-")).count()
}

/// Serve until the standard input ends. It is a test only in name: another test starts it.
#[test]
fn entry() {
    let Ok(folder) = std::env::var(FOLDER) else {
        return;
    };
    let folder = Path::new(&folder);
    let disks: usize = std::env::var(DISKS).unwrap().parse().unwrap();
    limit_descriptors(None);
    let registry = open(folder);
    let began = Instant::now();
    (0..disks).for_each(|disk| make(&registry, disk));
    let took_us = began.elapsed().as_micros().to_string();
    let lines = BufReader::new(std::io::stdin()).lines();
    let (words, incoming) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(move || lines.for_each(|line| words.send(line.unwrap()).unwrap()));
        fs::write(folder.join("ready-"), took_us).unwrap();
        fs::rename(folder.join("ready-"), folder.join("ready")).unwrap();
        let mut churned = 0;
        let mut next = incoming.recv().ok();
        while let Some(word) = next {
            match word.as_str() {
                "churn" => {
                    next = loop {
                        make(&registry, usize::MAX);
                        unmake(&registry, usize::MAX);
                        churned += 1;
                        match incoming.try_recv() {
                            Ok(word) => break Some(word),
                            Err(std::sync::mpsc::TryRecvError::Empty) => {}
                            Err(std::sync::mpsc::TryRecvError::Disconnected) => break None,
                        }
                    };
                }
                "starve" => {
                    fs::write(folder.join("starved"), "").unwrap();
                    // All lower numbers are in use.
                    limit_descriptors(Some(3));
                    next = incoming.recv().ok();
                }
                "feed" => {
                    limit_descriptors(None);
                    next = incoming.recv().ok();
                }
                _ => {
                    registry.close();
                    fs::write(folder.join("dropped"), "").unwrap();
                    next = incoming.recv().ok();
                }
            }
        }
        fs::write(folder.join("churned"), churned.to_string()).unwrap();
        assert!(own_threads() > 0);
        drop(registry);
        // A thread that was joined may still be in /proc for a moment.
        let deadline = Instant::now() + Duration::from_secs(2);
        while own_threads() > 0 {
            assert!(Instant::now() < deadline, "threads outlive the hub");
            std::thread::sleep(Duration::from_millis(5));
        }
    });
}
