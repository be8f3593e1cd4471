//! Detects that a socket of this process, or the file of its arena, was removed.
//!
//! Cleaners of temporary files remove them, and so do people. The thread waits for inotify events,
//! looks at what they name, and sleeps otherwise. Only while something is missing, or if the kernel
//! has refused a watch, it looks once a second: at what is missing, and at a few of the sockets
//! without a watch, in turn. So however many disks there are, an idle daemon does next to nothing.

use std::collections::{BTreeSet, HashMap};
use std::mem::MaybeUninit;
use std::ops::Bound::{Excluded, Unbounded};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::time::Timespec;

use crate::daemon::Error;
use crate::threads::{self, Role};

/// How long to wait for a cleaner to finish. A file that is created again while it works would be
/// removed too, or keep it from removing a directory.
const SETTLED_AFTER: Duration = Duration::from_millis(150);
/// How often to check while something is missing.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How many sockets without a watch are looked at each second: 0.2 ms of processor time.
const REFUSED_AT_ONCE: usize = 100;

/// What to look at.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Round {
    /// Look at all disks: events were lost.
    pub(crate) all: bool,
    /// Disks whose socket may have changed.
    pub(crate) names: BTreeSet<String>,
}

/// A check that also repairs what it finds. Returns whether something is still missing.
pub(crate) type Look = Box<dyn Fn(&Round) -> bool + Send>;

/// Which disk a watch is for, and which have none.
#[derive(Debug, Default)]
struct Watches {
    names: HashMap<i32, String>,
    /// The directory with those of disks, which have their names.
    run_dir: Option<i32>,
    /// Disks for whose socket the kernel has refused a watch.
    refused: BTreeSet<String>,
    /// The last of them that was looked at.
    last: String,
}

impl Watches {
    /// The next disks without a watch, in turn.
    fn next_refused(&mut self) -> BTreeSet<String> {
        let behind = self
            .refused
            .range::<str, _>((Excluded(&*self.last), Unbounded));
        let all = behind.chain(&self.refused).take(self.refused.len());
        let next: Vec<String> = all.take(REFUSED_AT_ONCE).cloned().collect();
        self.last = next.last().cloned().unwrap_or_default();
        next.into_iter().collect()
    }

    /// Add what an event says to the round.
    fn add(&mut self, event: &inotify::Event<'_>, round: &mut Round) {
        let (descriptor, events) = (event.wd(), event.events());
        round.all |= events.contains(ReadFlags::QUEUE_OVERFLOW);
        if self.run_dir == Some(descriptor) {
            let gone = events.contains(ReadFlags::IGNORED);
            self.run_dir = self.run_dir.filter(|_| !gone);
            round.all |= gone || events.contains(ReadFlags::MOVE_SELF);
            let moved = event.file_name().and_then(|name| name.to_str().ok());
            round.names.extend(moved.map(str::to_owned));
            return;
        }
        let name = match events.contains(ReadFlags::IGNORED) {
            // The file is gone, and its watch with it.
            true => self.names.remove(&descriptor),
            false => self.names.get(&descriptor).cloned(),
        };
        round.names.extend(name);
    }
}

/// The thread that detects removals, and what it watches.
#[derive(Debug)]
pub(crate) struct Removals {
    /// `None` if the system has no inotify instance left.
    inotify: Option<OwnedFd>,
    /// Whether the kernel refused a watch, so that the thread must check once a second.
    lacks_watches: AtomicBool,
    watches: Mutex<Watches>,
    /// Whether events were read, and not all that they name was looked at.
    is_looking: AtomicBool,
    /// An eventfd that wakes the thread.
    wake_up: OwnedFd,
    ends: AtomicBool,
    thread: Mutex<Option<JoinHandle<()>>>,
    looks: Looks,
}

/// The checks to make when a watched file has changed, in this order.
#[derive(Default)]
struct Looks(Mutex<Vec<Look>>);

impl std::fmt::Debug for Looks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Looks({})", self.0.lock().len())
    }
}

impl Removals {
    /// Nothing is watched yet.
    pub(crate) fn new() -> Result<Arc<Self>, Error> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let wake_up = eventfd(0, flags).map_err(std::io::Error::from);
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK);
        let removals = Self {
            inotify: inotify.ok(),
            lacks_watches: AtomicBool::new(false),
            watches: Mutex::default(),
            is_looking: AtomicBool::new(false),
            wake_up: wake_up.map_err(Error::system("make an eventfd"))?,
            ends: AtomicBool::new(false),
            thread: Mutex::new(None),
            looks: Looks::default(),
        };
        Ok(Arc::new(removals))
    }

    /// Watch the file at `path`, which is the socket of the disk `name` or of none: run all checks
    /// when it is removed, replaced or moved. Other files in its directory don't wake the thread.
    pub(crate) fn watch(&self, path: &Path, name: Option<&str>) {
        // Removing a name changes the number of links, which is an attribute. The file itself lives
        // on while it is open, so it isn't deleted yet.
        let flags = WatchFlags::ATTRIB | WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF;
        let flags = flags | WatchFlags::DONT_FOLLOW;
        // Held until the name is there, so that no event comes before it.
        let mut watches = self.watches.lock();
        let inotify = self.inotify.as_ref();
        let watched = inotify.map(|inotify| inotify::add_watch(inotify, path, flags));
        if let Some(Ok(descriptor)) = watched {
            if let Some(name) = name {
                watches.refused.remove(name);
                watches.names.insert(descriptor, name.to_owned());
            }
            return;
        }
        watches.refused.extend(name.map(str::to_owned));
        drop(watches);
        if !self.lacks_watches.swap(true, Ordering::Relaxed) {
            let error = watched.and_then(Result::err);
            tracing::warn!(
                ?path,
                ?error,
                "the system has no more watches: a removed socket is noticed later; raise \
                 fs.inotify.max_user_watches"
            );
            self.wake();
        }
    }

    /// Watch the directory in which each disk has one of its name: whether any is moved away, with
    /// the socket in it. Again is as good as once.
    pub(crate) fn watch_run_dir(&self, path: &Path) {
        let flags = WatchFlags::MOVED_FROM | WatchFlags::MOVE_SELF | WatchFlags::ONLYDIR;
        let mut watches = self.watches.lock();
        let added = self.inotify.as_ref();
        let added = added.and_then(|inotify| inotify::add_watch(inotify, path, flags).ok());
        watches.run_dir = added.or(watches.run_dir);
    }

    /// Forget the disk `name`, which is gone.
    pub(crate) fn forget(&self, name: &str) {
        self.watches.lock().refused.remove(name);
    }

    /// Whether everything that was ever watched is as the last checks found it. Then a list of ten
    /// thousand sockets needs no look at each.
    pub(crate) fn is_quiet(&self) -> bool {
        let Some(inotify) = &self.inotify else {
            return false;
        };
        let mut pending = [PollFd::new(inotify, PollFlags::IN)];
        let at_once = Timespec::default();
        let polled = rustix::event::poll(&mut pending, Some(&at_once));
        // In this order: the flag is there before events are taken away.
        polled == Ok(0)
            && !self.is_looking.load(Ordering::SeqCst)
            && !self.lacks_watches.load(Ordering::Relaxed)
    }

    /// Add a check, to be made when a watched file has changed.
    pub(crate) fn look_also(&self, look: Look) {
        self.looks.0.lock().push(look);
    }

    /// Start the thread.
    pub(crate) fn start(self: &Arc<Self>) -> Result<(), Error> {
        let own = Arc::clone(self);
        let thread = threads::spawn(Role::Removal, move || own.run())
            .map_err(Error::system("start a thread"))?;
        *self.thread.lock() = Some(thread);
        Ok(())
    }

    /// Stop the thread. When this returns, no check runs any more.
    pub(crate) fn stop(&self) {
        self.ends.store(true, Ordering::Release);
        self.wake();
        if let Some(thread) = self.thread.lock().take()
            // That thread may itself drop the last reference and so call this.
            && thread.thread().id() != std::thread::current().id()
        {
            let _ = thread.join();
        }
    }

    fn wake(&self) {
        let _ = rustix::io::write(&self.wake_up, &1u64.to_ne_bytes());
    }

    fn run(&self) {
        let mut is_missing = false;
        loop {
            let by_itself = is_missing || self.lacks_watches.load(Ordering::Relaxed);
            let changed = self.wait(by_itself.then_some(LOOK_EVERY), true);
            if changed && !self.ends.load(Ordering::Acquire) {
                self.wait(Some(SETTLED_AFTER), false);
            }
            if self.ends.load(Ordering::Acquire) {
                return;
            }
            self.is_looking.store(true, Ordering::SeqCst);
            let round = match changed {
                true => self.read_events(),
                false => Round {
                    all: false,
                    names: self.watches.lock().next_refused(),
                },
            };
            is_missing = false;
            for look in &*self.looks.0.lock() {
                is_missing |= look(&round);
            }
            self.is_looking.store(false, Ordering::SeqCst);
        }
    }

    /// Wait until `wake` is called, a watched file changes (only if `changes`), or the time is
    /// over. Returns whether a file changed.
    fn wait(&self, within: Option<Duration>, changes: bool) -> bool {
        let mut watched = vec![PollFd::new(&self.wake_up, PollFlags::IN)];
        let inotify = self.inotify.as_ref().filter(|_| changes);
        watched.extend(inotify.map(|it| PollFd::new(it, PollFlags::IN)));
        let within = within.and_then(|it| Timespec::try_from(it).ok());
        let _ = rustix::event::poll(&mut watched, within.as_ref());
        let is_ready = |at: usize| watched.get(at).is_some_and(|it| !it.revents().is_empty());
        if is_ready(0) {
            let _ = rustix::io::read(&self.wake_up, &mut [0; 8]);
        }
        is_ready(1)
    }

    /// What all pending events name.
    fn read_events(&self) -> Round {
        let mut round = Round::default();
        let Some(inotify) = &self.inotify else {
            return round;
        };
        let mut room = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(inotify, &mut room);
        while let Ok(event) = reader.next() {
            let mut watches = self.watches.lock();
            watches.add(&event, &mut round);
        }
        round
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::fs;

    use super::*;

    fn names(all: &[&str]) -> BTreeSet<String> {
        all.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn an_event_names_its_disk_and_what_is_gone_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let removals = Removals::new().unwrap();
        for name in ["a", "b"] {
            let path = folder.path().join(name);
            fs::write(&path, "").unwrap();
            removals.watch(&path, Some(name));
        }
        assert_eq!(removals.read_events(), Round::default());
        assert!(removals.is_quiet());
        let open = fs::File::open(folder.path().join("a")).unwrap();
        fs::remove_file(folder.path().join("a")).unwrap();
        assert!(!removals.is_quiet(), "at once, before the event is read");
        let round = removals.read_events();
        assert_eq!((round.all, round.names), (false, names(&["a"])));
        assert_eq!(removals.watches.lock().names.len(), 2, "it is open");
        drop(open);
        fs::remove_file(folder.path().join("b")).unwrap();
        assert_eq!(removals.read_events().names, names(&["a", "b"]));
        assert!(removals.watches.lock().names.is_empty());
    }

    #[test]
    fn a_directory_that_is_moved_away_names_its_disk() {
        let folder = tempfile::tempdir().unwrap();
        let (run_dir, elsewhere) = (folder.path().join("run"), folder.path().join("gone"));
        fs::create_dir_all(run_dir.join("vm1")).unwrap();
        let removals = Removals::new().unwrap();
        removals.watch_run_dir(&run_dir);
        removals.watch_run_dir(&run_dir);
        fs::create_dir(run_dir.join("vm2")).unwrap();
        fs::remove_dir(run_dir.join("vm2")).unwrap();
        assert!(
            removals.is_quiet(),
            "what is made and removed has its own watch"
        );
        fs::rename(run_dir.join("vm1"), &elsewhere).unwrap();
        assert_eq!(removals.read_events().names, names(&["vm1"]));
        fs::rename(&run_dir, elsewhere.join("run")).unwrap();
        assert!(removals.read_events().all);
    }

    #[test]
    fn sockets_without_a_watch_are_looked_at_in_turn_and_never_all_at_once() {
        let removals = Removals::new().unwrap();
        let disks = 5 * REFUSED_AT_ONCE / 2;
        for number in 0..disks {
            // There is no such file, so there is no watch either.
            let path = format!("/nowhere/{number}");
            removals.watch(Path::new(&path), Some(&format!("{number:04}")));
        }
        let mut seen = BTreeSet::new();
        for _ in 0..3 {
            let next = removals.watches.lock().next_refused();
            assert_eq!(next.len(), REFUSED_AT_ONCE);
            seen.extend(next);
        }
        assert_eq!(seen.len(), disks);
        for name in seen {
            removals.forget(&name);
        }
        assert_eq!(removals.watches.lock().next_refused(), names(&[]));
        let few = names(&["x", "y"]);
        removals.watches.lock().refused = few.clone();
        assert_eq!(removals.watches.lock().next_refused(), few);
    }
}
