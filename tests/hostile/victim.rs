//! A disk under attack, with an honest front end on it, and the check that it is unharmed.

use std::fs::File;
use std::io::pipe;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::attacks::{Attack, named};
use crate::driver::client::Client;
use crate::driver::data::pattern;
use crate::driver::disk::{ALL, Disk};
use crate::driver::memory::{MIB, Memory};
use crate::harness::{Ramblk, eventually};
use crate::honest::{Honest, Part, Record};

/// The first sector that hostile guests may write, up to [`LAST`]; the sectors around it belong to
/// the honest front end.
pub(crate) const MINE: u64 = 2048;
/// Where a hostile guest keeps bytes that must survive, too.
pub(crate) const KEPT: u64 = 100_000;
/// Entries of a hostile guest's queues.
pub(crate) const SIZE: u16 = 256;
/// Guest addresses between the third region of memory and the fourth.
pub(crate) const HOLE: u64 = 1024 * MIB;
/// The end of the third region, with nothing behind it.
pub(crate) const EDGE: u64 = 96 * MIB;
/// The first sector of the last part, at the end of a disk of 64 MiB.
pub(crate) const LAST: u64 = 64 * 2048 - 1024;

/// The honest front end's parts: the first sectors, where everything lands that was shortened or
/// overflowed, and the last ones.
pub(crate) const PARTS: [Part; 2] = [
    Part {
        first: 0,
        sectors: MINE,
    },
    Part {
        first: LAST,
        sectors: 1024,
    },
];
/// The rest between two requests of the honest front end: about a thousand requests per second, and
/// not all of a core.
pub(crate) const PAUSE: Duration = Duration::from_micros(200);

/// How long a test runs an endless attack.
pub(crate) const A_WHILE: Duration = Duration::from_secs(1);

/// A disk with data.
pub(crate) struct Victim {
    // Dropped first: it must end well before the process is killed.
    pub(crate) honest: Honest,
    pub(crate) ramblk: Ramblk,
    fds: usize,
    threads: usize,
    pub(crate) mappings: usize,
}

impl Victim {
    /// A disk of 64 MiB.
    pub(crate) fn new() -> Self {
        Self::sized("64M", &PARTS, &[])
    }

    /// A disk of another size, with other honest parts and `more` arguments.
    pub(crate) fn sized(size: &str, parts: &[Part], more: &[&str]) -> Self {
        let ramblk = Ramblk::sized(size, &[&["--share", "rw"], more].concat());
        let honest = Honest::start(ramblk.socket(), parts, PAUSE);
        let mut disk = Disk::attach(ramblk.socket());
        disk.q().write(KEPT, &pattern(8192, 42)).unwrap();
        drop(disk);
        // The first session may leave some memory behind; the second must not leave more.
        std::thread::sleep(Duration::from_millis(50));
        let (fds, threads, mappings) = (ramblk.fds(), ramblk.threads(), ramblk.mappings());
        Self {
            honest,
            ramblk,
            fds,
            threads,
            mappings,
        }
    }

    /// A hostile guest's disk: two queues of [`SIZE`] entries.
    pub(crate) fn guest(&self, features: u64) -> Disk {
        Disk::attach_with(self.ramblk.socket(), features, 2, SIZE)
    }

    pub(crate) fn client(&self) -> Client {
        Client::negotiated(self.ramblk.socket(), ALL)
    }

    /// A negotiated client with memory.
    pub(crate) fn with_memory(&self) -> (Client, Memory) {
        let (client, memory) = (self.client(), Memory::standard());
        client.set_memory(&memory);
        (client, memory)
    }

    /// Check that the honest front end makes progress, that another one finds its bytes and can
    /// write, and that nothing of the hostile ones is left.
    pub(crate) fn is_unharmed(&self, by: &str) {
        self.honest.gets_on(by);
        let mut disk = Disk::attach(self.ramblk.socket());
        assert_eq!(
            disk.q().read(KEPT, 8192),
            Ok(pattern(8192, 42)),
            "after {by}"
        );
        assert_eq!(disk.q().write(MINE, &[1; 512]), Ok(()), "after {by}");
        drop(disk);
        self.leaves_nothing(by);
    }

    /// Check that the honest front end makes progress, that another one is served, and that nothing
    /// of the hostile ones is left: for attacks that may have taken all memory, including the bytes
    /// of the victim.
    pub(crate) fn goes_on(&self, by: &str) {
        self.honest.gets_on(by);
        let mut disk = Disk::attach(self.ramblk.socket());
        assert!(disk.q().read(0, 8192).is_ok(), "after {by}");
        drop(disk);
        self.leaves_nothing(by);
    }

    /// Check that the numbers of descriptors and threads are those of before.
    pub(crate) fn leaves_nothing(&self, by: &str) {
        eventually(
            &format!("descriptors and threads are given back after {by}"),
            || self.ramblk.fds() <= self.fds && self.ramblk.threads() <= self.threads,
        );
    }
}

/// Run `attack` for `time`.
pub(crate) fn attack_for(attack: &Attack, socket: &Path, time: Duration) {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| (attack.run)(socket, &stop));
        std::thread::sleep(time);
        stop.store(true, Ordering::Relaxed);
    });
}

/// Run the attack with that name beside an honest front end, and return what the honest one
/// measured.
pub(crate) fn withstand(name: &str, time: Duration) -> Record {
    let attack = named(name);
    let victim = Victim::sized("1T", attack.parts, &["--memory-limit", "512M"]);
    attack_for(attack, victim.ramblk.socket(), time);
    victim.goes_on(name);
    victim.honest.finish()
}

/// Descriptors that are neither files nor eventfds, by name.
pub(crate) fn odd_descriptors() -> Vec<(&'static str, OwnedFd)> {
    let (socket, _) = UnixStream::pair().unwrap();
    let (reader, _) = pipe().unwrap();
    let (_, writer) = pipe().unwrap();
    vec![
        ("closed socket", socket.into()),
        ("pipe without a writer", reader.into()),
        ("pipe without a reader", writer.into()),
        ("null device", File::open("/dev/null").unwrap().into()),
        ("directory", File::open("/proc/self").unwrap().into()),
        ("regular file", tempfile::tempfile().unwrap().into()),
    ]
}
