//! Detects that a socket of this process, or the file of its arena, was removed.
//!
//! Cleaners of temporary files remove them, and so do people. The thread waits for inotify events
//! and sleeps otherwise. It checks once a second only while something is missing, or if the kernel
//! has refused a watch.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::time::Timespec;

use crate::daemon::Error;
use crate::threads::{self, Role};

/// How long to wait for a cleaner to finish. A file that is created again while it works would be
/// removed too, or keep it from removing a directory.
const SETTLED_AFTER: Duration = Duration::from_millis(150);
/// How often to check while something is missing.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A check that also repairs what it finds. Returns whether something is still missing.
pub(crate) type Look = Box<dyn Fn() -> bool + Send>;

/// The thread that detects removals, and what it watches.
#[derive(Debug)]
pub(crate) struct Removals {
    /// `None` if the system has no inotify instance left.
    inotify: Option<OwnedFd>,
    /// Whether the kernel refused a watch, so that the thread must check once a second.
    lacks_watches: AtomicBool,
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
            wake_up: wake_up.map_err(Error::system("make an eventfd"))?,
            ends: AtomicBool::new(false),
            thread: Mutex::new(None),
            looks: Looks::default(),
        };
        Ok(Arc::new(removals))
    }

    /// Watch the file at `path`: run all checks when it is removed, replaced or moved. Other files
    /// in its directory don't wake the thread.
    pub(crate) fn watch(&self, path: &Path) {
        // Removing a name changes the number of links, which is an attribute. The file itself lives
        // on while it is open, so it isn't deleted yet.
        let flags = WatchFlags::ATTRIB | WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF;
        let watched = self.inotify.as_ref().map(|inotify| {
            inotify::add_watch(inotify, path, flags | WatchFlags::DONT_FOLLOW).map(|_| ())
        });
        if !matches!(watched, Some(Ok(()))) && !self.lacks_watches.swap(true, Ordering::Relaxed) {
            let error = watched.and_then(Result::err);
            tracing::warn!(
                ?path,
                ?error,
                "the system has no more watches (fs.inotify): sockets are looked at once a second"
            );
            self.wake();
        }
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
                self.forget_events();
            }
            if self.ends.load(Ordering::Acquire) {
                return;
            }
            is_missing = false;
            for look in &*self.looks.0.lock() {
                is_missing |= look();
            }
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

    /// Discard all pending events. Their content doesn't matter, since each check looks for itself.
    fn forget_events(&self) {
        let mut events = [0; 4096];
        let Some(inotify) = &self.inotify else {
            return;
        };
        while rustix::io::read(inotify, &mut events).is_ok_and(|count| count > 0) {}
    }
}
