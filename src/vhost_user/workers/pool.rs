//! The workers of a hub, and which of them serves a new ring.
//!
//! A new ring goes to the worker that has the fewest. A worker that is busy with several while
//! another has nothing to do hands one over; orders find it there (see [`mail`](super::mail)).

use std::io;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use vmm_sys_util::eventfd::EventFd;

use super::mail::{Mailbox, Mailboxes, Message, Placed, orders};
use super::order::{RingHandle, RingMail};
use super::polled::PolledTime;
use super::polling::PollTime;
use super::slice;
use super::slot::Slot;
use super::wake;
use super::worker::Worker;
use crate::threads::{self, Role};
use crate::vhost_user::queue::job::Job;
use crate::vhost_user::wire::watchdog::Watchdog;

/// How many workers a hub has, where they run, and how long they poll.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerOptions {
    /// Threads; at least one is started.
    pub count: usize,
    /// How long a worker polls a ring that has run dry before it sleeps, at most; 0 for not at
    /// all.
    pub poll: Duration,
    /// Processors by number: worker `n` runs on the `n`-th only, and from the start again where
    /// there are fewer. Empty for anywhere.
    pub cpus: Vec<usize>,
}

/// The workers of a hub.
#[derive(Debug)]
pub(crate) struct Workers {
    mailboxes: Mailboxes<RingMail>,
    threads: Vec<JoinHandle<()>>,
    poll: Duration,
    /// What it costs to wake one.
    wake: Duration,
    /// Frees workers that hang, until all have ended.
    watchdog: Watchdog,
    /// How long each has polled in vain.
    polled: Vec<Arc<PolledTime>>,
    /// The number of the next ring. Held while a worker is chosen for one.
    next: Mutex<u64>,
}

impl Workers {
    /// Start them.
    pub(crate) fn start(options: &WorkerOptions) -> io::Result<Self> {
        let count = options.count.max(1);
        let waker = || EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC);
        let mailbox = || waker().map(|waker| Arc::new(Mailbox::new(waker)));
        let mut workers = Self {
            mailboxes: (0..count).map(|_| mailbox()).collect::<io::Result<_>>()?,
            threads: Vec::new(),
            poll: options.poll,
            wake: Duration::ZERO,
            watchdog: Watchdog::start(count)?,
            polled: Vec::new(),
            next: Mutex::new(0),
        };
        // Only a controller that may poll asks for the cost.
        let polls = !options.poll.is_zero();
        let (waker, mut sleeper) = polls.then(wake::pair).transpose()?.unzip();
        for number in 0..count {
            let watched = workers.watchdog.watched(number);
            let watched = watched.ok_or_else(|| io::Error::other("no watchdog"))?;
            let polled = Arc::<PolledTime>::default();
            workers.polled.push(Arc::clone(&polled));
            let worker = Worker::new(number, &workers.mailboxes, watched, polled)?;
            let cpu = options.cpus.iter().cycle().nth(number).copied();
            let (pinned, answer) = sync_channel(1);
            let sleeper = sleeper.take();
            let thread = threads::spawn_vital(Role::Worker(number), move || {
                slice::shorten();
                let pin = cpu.map_or(Ok(()), pin);
                let is_pinned = pin.is_ok();
                let _ = pinned.send(pin);
                if !is_pinned {
                    return Ok(());
                }
                sleeper.map_or(Ok(()), |sleeper: wake::Sleeper| sleeper.answer())?;
                worker.run()
            })?;
            workers.threads.push(thread);
            answer
                .recv()
                .map_err(|_| io::Error::other("a worker ended"))??;
        }
        if let Some(waker) = waker {
            workers.wake = waker.measure();
            tracing::debug!(wake = ?workers.wake, "what it costs to wake a worker");
        }
        Ok(workers)
    }

    /// How long each worker has polled in vain, in nanoseconds, by its number.
    pub(crate) fn polled_ns(&self) -> Vec<u64> {
        self.polled.iter().map(|time| time.ns()).collect()
    }

    /// Serve a ring, on the worker that has the fewest.
    pub(crate) fn serve(&self, job: Job) -> io::Result<RingHandle> {
        let (starting, answer) = sync_channel(1);
        let slot = Slot::new(job, PollTime::new(self.poll, self.wake), starting);
        let handle = self.place(Box::new(slot));
        // By then others may be placed: they needn't wait for this worker, whatever it is doing.
        let gone = || io::Error::other("the worker thread is gone");
        answer.recv().map_err(|_| gone())??;
        Ok(handle)
    }

    fn place(&self, ring: Box<Slot>) -> RingHandle {
        let mut next = self.next.lock();
        let id = *next;
        *next += 1;
        let rings = self.mailboxes.iter().map(|mailbox| mailbox.rings());
        let least = rings.enumerate().min_by_key(|(_, rings)| *rings);
        let number = least.map_or(0, |(number, _)| number);
        let (sender, orders) = orders(id, number, &self.mailboxes);
        // It counts at once, so that the next one finds it counted.
        self.mailboxes[number].hand_in(Placed { id, orders, ring });
        RingHandle(sender)
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
            format!("can't run on processor {cpu}: {error}; choose others with --pin"),
        )
    })
}
