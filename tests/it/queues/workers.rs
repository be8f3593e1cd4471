//! The threads that serve queues: they sleep when there is nothing to do, share the work when there
//! is, and run on the processors that they are given.

use std::collections::BTreeMap;
use std::fs::{read_dir, read_to_string};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::driver::client::code;
use crate::driver::data::pattern;
use crate::driver::disk::{ALL, Disk};
use crate::driver::load::{prepare_reads, publish_reads};
use crate::harness::{Ramblk, eventually};

/// How long nobody uses a disk, and how often all threads together may wake in that time.
const QUIET: Duration = Duration::from_secs(10);
const MOST_WAKE_UPS: u64 = 1;

/// A worker thread, as the kernel sees it.
struct Thread(String);

impl Thread {
    fn all(ramblk: &Ramblk) -> Vec<Self> {
        let folder = format!("/proc/{}/task", ramblk.pid());
        let tasks = read_dir(folder).unwrap();
        tasks
            .map(|task| Self(task.unwrap().path().to_str().unwrap().to_owned()))
            .collect()
    }

    fn workers(ramblk: &Ramblk) -> Vec<Self> {
        let mut workers = Self::all(ramblk);
        workers.retain(|thread| thread.name().starts_with("ramblk-work-"));
        workers.sort_by_key(Self::name);
        workers
    }

    fn read(&self, what: &str) -> String {
        read_to_string(format!("{}/{what}", self.0)).unwrap()
    }

    fn name(&self) -> String {
        self.read("comm").trim().to_owned()
    }

    fn status(&self, key: &str) -> String {
        let status = self.read("status");
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        line.unwrap().trim_start_matches(':').trim().to_owned()
    }

    /// How often it went to sleep.
    fn sleeps(&self) -> u64 {
        self.status("voluntary_ctxt_switches").parse().unwrap()
    }

    /// How long it ran.
    fn ran(&self) -> Duration {
        let schedstat = self.read("schedstat");
        let ran_ns = schedstat.split_whitespace().next().unwrap();
        Duration::from_nanos(ran_ns.parse().unwrap())
    }
}

/// How often each thread went to sleep.
fn sleeps(ramblk: &Ramblk) -> BTreeMap<String, u64> {
    let sleeps = Thread::all(ramblk).into_iter().map(|thread| {
        let sleeps = thread.sleeps();
        (format!("{} {}", thread.name(), thread.0), sleeps)
    });
    sleeps.collect()
}

/// Keep two queues busy while `more` returns true.
fn read_on(disk: &mut Disk, queues: [usize; 2], mut more: impl FnMut() -> bool) {
    const READS: u16 = 80;
    for index in queues {
        prepare_reads(&disk.queues[index], READS);
    }
    while more() {
        for index in queues {
            publish_reads(&mut disk.queues[index], READS);
            disk.queues[index].kick();
        }
        for index in queues {
            for _ in 0..READS {
                assert_eq!(disk.queues[index].spin().len, 65537);
            }
        }
    }
}

#[test]
fn a_disk_that_nobody_uses_wakes_no_thread() {
    let ramblk = Ramblk::run(&[]);
    let mut disk = Disk::attach_with(ramblk.socket(), ALL, 4, 256);
    for _ in 0..1000 {
        disk.q().read(0, 512).unwrap();
    }
    // A busy machine delays what ends after the last request (the watchdog stops 100 ms after a
    // call), so the count begins after a second without a wake-up.
    let mut before = sleeps(&ramblk);
    eventually("nothing wakes for a second", || {
        std::thread::sleep(Duration::from_secs(1));
        std::mem::replace(&mut before, sleeps(&ramblk)) == before
    });
    std::thread::sleep(QUIET);
    // The system may wake a thread once, for example because of its memory.
    let woken: Vec<_> = sleeps(&ramblk)
        .into_iter()
        .map(|(thread, sleeps)| (sleeps - before.get(&thread).unwrap_or(&0), thread))
        .collect();
    let wake_ups: u64 = woken.iter().map(|(wake_ups, _)| wake_ups).sum();
    assert!(wake_ups <= MOST_WAKE_UPS, "woken in {QUIET:?}: {woken:?}");
    assert!(disk.q().read(0, 512).is_ok());
}

#[test]
fn requests_that_are_far_apart_are_not_waited_for_by_polling() {
    let ramblk = Ramblk::run(&["--workers", "1", "--poll-us", "500"]);
    let mut disk = Disk::attach(ramblk.socket());
    let worker = &Thread::workers(&ramblk)[0];
    disk.q().read(0, 512).unwrap();
    let (ran, began) = (worker.ran(), Instant::now());
    for _ in 0..200 {
        disk.q().read(0, 512).unwrap();
        std::thread::sleep(Duration::from_millis(2));
    }
    let (ran, took) = (worker.ran() - ran, began.elapsed());
    // With 500 µs of polling each time, it would be more than a fifth.
    assert!(ran < took / 8, "ran for {ran:?} of {took:?}");
}

#[test]
fn a_worker_with_two_busy_queues_gives_one_to_a_worker_without() {
    // Assigned in turn, queues 0 and 2 are on the first of two workers.
    let ramblk = Ramblk::run(&["--workers", "2", "--queues", "4"]);
    let mut disk = Disk::attach_with(ramblk.socket(), ALL, 4, 256);
    disk.q().write(8, &pattern(512, 3)).unwrap();
    let workers = Thread::workers(&ramblk);
    let idle = workers[1].ran();
    let deadline = Instant::now() + Duration::from_secs(10);
    read_on(&mut disk, [0, 2], || {
        assert!(Instant::now() < deadline, "no queue was handed over");
        workers[1].ran() < idle + Duration::from_millis(50)
    });
    // The front end can still change and stop the queue that moved.
    for index in [0, 2] {
        let ring = &mut disk.queues[index as usize];
        disk.client
            .vring_fd(code::SET_VRING_CALL, index, &ring.call);
        assert_eq!(ring.read(8, 512), Ok(pattern(512, 3)));
        let used = ring.used_idx();
        assert_eq!(disk.client.stop(index), u32::from(used));
    }
    disk.queues[1].read(8, 512).unwrap();
}

#[test]
fn workers_run_where_they_are_told_to() {
    let ramblk = Ramblk::run(&["--pin", "0"]);
    let workers = Thread::workers(&ramblk);
    assert_eq!(workers.len(), 1);
    assert_eq!(workers[0].status("Cpus_allowed_list"), "0");
    drop(ramblk);
    let ramblk = Ramblk::run(&["--pin", "0", "--workers", "3"]);
    let workers = Thread::workers(&ramblk);
    assert_eq!(workers.len(), 3);
    for worker in workers {
        assert_eq!(worker.status("Cpus_allowed_list"), "0");
    }
    let mut disk = Disk::attach(ramblk.socket());
    assert!(disk.q().read(0, 512).is_ok());
}

#[test]
fn with_polling_off_a_queue_that_ran_dry_wants_a_kick_at_once() {
    let ramblk = Ramblk::run(&["--poll-us", "0"]);
    let mut disk = Disk::attach(ramblk.socket());
    let ring = disk.q();
    prepare_reads(ring, 1);
    for _ in 0..10 {
        std::thread::sleep(Duration::from_millis(20));
        let before = ring.used_idx();
        publish_reads(ring, 1);
        assert!(ring.kick_wanted(before));
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(ring.used_idx(), before, "served without a kick");
        ring.kick();
        assert_eq!(ring.spin().len, 65537);
    }
}

#[test]
fn words_that_make_no_workers_are_refused() {
    for (words, expected) in [
        (["--workers", "0"], "give --workers from 1 to 256"),
        (["--workers", "257"], "give --workers from 1 to 256"),
        (
            ["--poll-us", "1000001"],
            "give at most 1000000, or 0 to never poll",
        ),
        (["--pin", "1-"], "give numbers and ranges, as in 0,2-5"),
        (["--pin", "8191"], "can't run on processor 8191"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ramblk"));
        command.args(["run", "--size", "1M"]).args(words);
        let output = command.args(["--", "true"]).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.contains(expected), "{stderr}");
        assert!(matches!(output.status.code(), Some(1 | 2)), "{stderr}");
    }
}
