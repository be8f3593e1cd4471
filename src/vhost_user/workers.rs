//! The workers of a hub, and the ways to them: where a ring is served, and how it is had back.
//!
//! A new ring goes to the worker that has the fewest. A worker that is busy with several while
//! another has nothing to do hands one over; whoever asks it for that ring later is sent on.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use vmm_sys_util::eventfd::EventFd;

use super::job::Job;
use super::notifier::Notifier;
use super::parking::Stop;
use super::polling::PollTime;
use super::slice;
use super::watchdog::Watchdog;
use super::worker::Worker;

/// How a hub's workers are to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerOptions {
    /// Threads; at least one is started.
    pub count: usize,
    /// How long a worker looks at a ring that has run dry before it sleeps, at most; 0 for not at
    /// all.
    pub poll: Duration,
    /// Processors by number: worker `n` runs on the `n`-th only, and from the start again where
    /// there are fewer. Empty for anywhere.
    pub cpus: Vec<usize>,
}

/// A ring that a worker has; [`Running::stop`] gets it back.
#[derive(Debug)]
pub(super) struct Running {
    id: u64,
    place: Place,
    mailboxes: Arc<[Arc<Mailbox>]>,
}

/// Which worker has a ring, by number. A worker that is given one says so here; a message that
/// comes too late for the one before is sent on.
pub(super) type Place = Arc<AtomicUsize>;

/// No worker has it.
pub(super) const NOWHERE: usize = usize::MAX;

/// What a worker is told.
#[derive(Debug)]
pub(super) enum Message {
    Start {
        id: u64,
        job: Box<Job>,
        place: Place,
        reply: SyncSender<io::Result<()>>,
    },
    /// A ring that another worker had.
    Adopt {
        id: u64,
        job: Box<Job>,
        place: Place,
        poll: PollTime,
    },
    Stop {
        id: u64,
        how: Stop,
        place: Place,
        reply: SyncSender<Option<u16>>,
    },
    SetCall {
        id: u64,
        call: Option<Arc<Notifier>>,
        place: Place,
        reply: SyncSender<()>,
    },
    Quit,
}

/// The way to a worker, and what others may know of it.
#[derive(Debug)]
pub(super) struct Mailbox {
    sender: Sender<Message>,
    bell: EventFd,
    /// Whether there may be a message: a worker that is busy looks here, and one that sleeps is
    /// woken by the bell.
    waiting: AtomicBool,
    /// Rings that it has.
    rings: AtomicUsize,
    /// Rings that it had work for lately.
    busy: AtomicUsize,
}

impl Mailbox {
    fn new() -> io::Result<(Arc<Self>, Receiver<Message>)> {
        let (sender, receiver) = channel();
        let mailbox = Self {
            sender,
            bell: EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC)?,
            waiting: AtomicBool::new(false),
            rings: AtomicUsize::new(0),
            busy: AtomicUsize::new(0),
        };
        Ok((Arc::new(mailbox), receiver))
    }

    /// Hand in a message; `false`: the worker is gone.
    pub(super) fn post(&self, message: Message) -> bool {
        let sent = self.sender.send(message).is_ok();
        self.waiting.store(true, Ordering::Release);
        sent && self.bell.write(1).is_ok()
    }

    /// Whether there may be a message, for the worker, who then takes all.
    pub(super) fn take_waiting(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) && self.waiting.swap(false, Ordering::Acquire)
    }

    pub(super) fn bell(&self) -> &EventFd {
        &self.bell
    }

    pub(super) fn set_rings(&self, rings: usize) {
        self.rings.store(rings, Ordering::Relaxed);
    }

    pub(super) fn set_busy(&self, busy: usize) {
        self.busy.store(busy, Ordering::Relaxed);
    }

    pub(super) fn busy(&self) -> usize {
        self.busy.load(Ordering::Relaxed)
    }
}

impl Running {
    /// Stop serving. When this returns, no worker touches the ring or guest memory for it. Gives
    /// the avail index where the ring was left, unless the worker is gone.
    pub(super) fn stop(self, how: Stop) -> Option<u16> {
        let (reply, answer) = sync_channel(1);
        let (id, place) = (self.id, Arc::clone(&self.place));
        let message = Message::Stop {
            id,
            how,
            place,
            reply,
        };
        if !self.post(message) {
            return None;
        }
        answer.recv().ok().flatten()
    }

    /// Use another call descriptor from now on.
    pub(super) fn set_call(&self, call: Option<Arc<Notifier>>) {
        let (reply, answer) = sync_channel(1);
        let (id, place) = (self.id, Arc::clone(&self.place));
        let message = Message::SetCall {
            id,
            call,
            place,
            reply,
        };
        if self.post(message) {
            let _ = answer.recv();
        }
    }

    fn post(&self, message: Message) -> bool {
        let mailbox = self.mailboxes.get(self.place.load(Ordering::Acquire));
        mailbox.is_some_and(|mailbox| mailbox.post(message))
    }
}

/// The workers of a hub.
#[derive(Debug)]
pub(super) struct Workers {
    mailboxes: Arc<[Arc<Mailbox>]>,
    threads: Vec<JoinHandle<()>>,
    /// Frees workers that hang, until all have ended.
    watchdog: Watchdog,
    /// The number of the next job. Held while one is placed, since sessions share the workers.
    next: Mutex<u64>,
}

impl Workers {
    /// Start them.
    pub(super) fn start(options: &WorkerOptions) -> io::Result<Self> {
        let count = options.count.max(1);
        let mut mailboxes = Vec::new();
        let mut receivers = Vec::new();
        for _ in 0..count {
            let (mailbox, receiver) = Mailbox::new()?;
            mailboxes.push(mailbox);
            receivers.push(receiver);
        }
        let mut workers = Self {
            mailboxes: mailboxes.into(),
            threads: Vec::new(),
            watchdog: Watchdog::start(count)?,
            next: Mutex::new(0),
        };
        for (number, receiver) in receivers.into_iter().enumerate() {
            let watched = workers.watchdog.watched(number);
            let watched = watched.ok_or_else(|| io::Error::other("no watchdog"))?;
            let mailboxes = Arc::clone(&workers.mailboxes);
            let worker = Worker::new(number, mailboxes, receiver, watched, options.poll)?;
            let cpu = options.cpus.iter().cycle().nth(number).copied();
            let (pinned, answer) = sync_channel(1);
            let thread = std::thread::Builder::new()
                .name(format!("ramblk-work-{number}"))
                .spawn(move || {
                    slice::shorten();
                    let pin = cpu.map_or(Ok(()), pin);
                    let is_pinned = pin.is_ok();
                    let _ = pinned.send(pin);
                    if is_pinned {
                        worker.run();
                    }
                })?;
            workers.threads.push(thread);
            answer
                .recv()
                .map_err(|_| io::Error::other("a worker ended"))??;
        }
        Ok(workers)
    }

    /// Serve a ring, on the worker that has the fewest.
    pub(super) fn serve(&self, job: Job) -> io::Result<Running> {
        // Held until the worker has counted the ring.
        let mut next = self.next.lock();
        let id = *next;
        *next += 1;
        let gone = || io::Error::other("the worker thread is gone");
        let least = self
            .mailboxes
            .iter()
            .enumerate()
            .min_by_key(|(_, mailbox)| mailbox.rings.load(Ordering::Relaxed));
        let (number, mailbox) = least.ok_or_else(gone)?;
        let place = Arc::new(AtomicUsize::new(number));
        let (reply, answer) = sync_channel(1);
        if !mailbox.post(Message::Start {
            id,
            job: Box::new(job),
            place: Arc::clone(&place),
            reply,
        }) {
            return Err(gone());
        }
        answer.recv().map_err(|_| gone())??;
        Ok(Running {
            id,
            place,
            mailboxes: Arc::clone(&self.mailboxes),
        })
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        for mailbox in self.mailboxes.iter() {
            mailbox.post(Message::Quit);
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Have the calling thread run on one processor only.
fn pin(cpu: usize) -> io::Result<()> {
    let mut set = rustix::thread::CpuSet::new();
    if cpu < rustix::thread::CpuSet::MAX_CPU {
        set.set(cpu);
    }
    rustix::thread::sched_setaffinity(None, &set).map_err(|errno| {
        let error = io::Error::from(errno);
        io::Error::new(
            error.kind(),
            format!("can't run on processor {cpu}: {error}; give ones that this process may use"),
        )
    })
}
