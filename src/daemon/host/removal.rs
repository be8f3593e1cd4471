//! Notices that a socket of ours, or the file that disks lie in, was removed from under us.
//!
//! Cleaners of temporary files do that, and so do people. The kernel tells of it (inotify), so the
//! thread sleeps while nothing happens. It looks by itself, once a second, only while something is
//! missing, or where the kernel has no watch left for us.

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

/// How long a cleaner is given to finish: what comes back while it is at work would be removed
/// again, or keep it from removing a directory.
const SETTLED_AFTER: Duration = Duration::from_millis(150);
/// How often something that is missing is looked for.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What looks at something, and mends it; whether it is still missing.
pub(crate) type Look = Box<dyn Fn() -> bool + Send>;

/// What is watched.
#[derive(Debug)]
pub(crate) struct Removals {
    /// `None` if the system has none left.
    inotify: Option<OwnedFd>,
    /// Whether something could not be watched.
    blind: AtomicBool,
    bell: OwnedFd,
    ends: AtomicBool,
    thread: Mutex<Option<JoinHandle<()>>>,
    looks: Looks,
}

/// What looks when something that is watched has changed, in this order.
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
        let bell = eventfd(0, flags).map_err(std::io::Error::from);
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK);
        let removals = Self {
            inotify: inotify.ok(),
            blind: AtomicBool::new(false),
            bell: bell.map_err(Error::system("make an eventfd"))?,
            ends: AtomicBool::new(false),
            thread: Mutex::new(None),
            looks: Looks::default(),
        };
        Ok(Arc::new(removals))
    }

    /// Have it noticed when what is at `path` is removed, replaced or moved. Nothing else that
    /// happens beside it wakes anybody.
    pub(crate) fn watch(&self, path: &Path) {
        // To remove a name changes the number of links, which is an attribute: the thing itself
        // lives on for as long as it is open.
        let flags = WatchFlags::ATTRIB | WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF;
        let watched = self.inotify.as_ref().map(|inotify| {
            inotify::add_watch(inotify, path, flags | WatchFlags::DONT_FOLLOW).map(|_| ())
        });
        if !matches!(watched, Some(Ok(()))) && !self.blind.swap(true, Ordering::Relaxed) {
            let error = watched.and_then(Result::err);
            tracing::warn!(
                ?path,
                ?error,
                "the system has no more watches (fs.inotify): sockets are looked at once a second"
            );
            self.ring();
        }
    }

    /// Have `look` called, too, when something that is watched has changed.
    pub(crate) fn look_also(&self, look: Look) {
        self.looks.0.lock().push(look);
    }

    /// Begin to look.
    pub(crate) fn start(self: &Arc<Self>) -> Result<(), Error> {
        let own = Arc::clone(self);
        let thread = threads::spawn(Role::Removal, move || own.run())
            .map_err(Error::system("start a thread"))?;
        *self.thread.lock() = Some(thread);
        Ok(())
    }

    /// Nobody looks any more when this returns.
    pub(crate) fn stop(&self) {
        self.ends.store(true, Ordering::Release);
        self.ring();
        if let Some(thread) = self.thread.lock().take()
            // The last owner of something may be that thread itself.
            && thread.thread().id() != std::thread::current().id()
        {
            let _ = thread.join();
        }
    }

    fn ring(&self) {
        let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
    }

    fn run(&self) {
        let mut is_missing = false;
        loop {
            let by_itself = is_missing || self.blind.load(Ordering::Relaxed);
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

    /// Wait for the bell, for a change if `changes` says so, or until the time is over; whether
    /// something changed.
    fn wait(&self, within: Option<Duration>, changes: bool) -> bool {
        let mut watched = vec![PollFd::new(&self.bell, PollFlags::IN)];
        let inotify = self.inotify.as_ref().filter(|_| changes);
        watched.extend(inotify.map(|it| PollFd::new(it, PollFlags::IN)));
        let within = within.and_then(|it| Timespec::try_from(it).ok());
        let _ = rustix::event::poll(&mut watched, within.as_ref());
        let is_ready = |at: usize| watched.get(at).is_some_and(|it| !it.revents().is_empty());
        if is_ready(0) {
            let _ = rustix::io::read(&self.bell, &mut [0; 8]);
        }
        is_ready(1)
    }

    /// Their content is of no interest: each look checks for itself.
    fn forget_events(&self) {
        let mut events = [0; 4096];
        let Some(inotify) = &self.inotify else {
            return;
        };
        while rustix::io::read(inotify, &mut events).is_ok_and(|count| count > 0) {}
    }
}
