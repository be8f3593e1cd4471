//! The workers of a hub, and the ways to them: where a ring is served, and how it is had back.
//!
//! A new ring goes to the worker that has the fewest. A worker that is busy with several while
//! another has nothing to do hands one over; orders find it there (see [`mail`](super::mail)).

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use vmm_sys_util::eventfd::EventFd;

use super::mail::{Address, Bell, Kind, Mailbox, Mailboxes, Message, Parcel, Tenancy};
use super::polling::PollTime;
use super::slice;
use super::worker::Worker;
use crate::threads::{self, Role};
use crate::vhost_user::queue::job::Job;
use crate::vhost_user::queue::parking::Stop;
use crate::vhost_user::wire::notifier::Notifier;
use crate::vhost_user::wire::watchdog::Watchdog;

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
pub(crate) struct Running(Address<Served>);

/// Rings that are served, in the workers' mail.
#[derive(Debug)]
pub(super) struct Served;

impl Kind for Served {
    type Ring = Carried;
    type Order = Order;
    type Bell = EventFd;
}

impl Bell for EventFd {
    fn ring(&self) {
        // It is full, which wakes its worker as well, or there is no way to wake it.
        let _ = self.write(1);
    }
}

/// A ring, and what a worker knows of it.
#[derive(Debug)]
pub(super) struct Carried {
    pub(super) job: Box<Job>,
    pub(super) poll: PollTime,
    /// Who wants to know whether it is served; nobody, if another worker had it.
    pub(super) reply: Option<SyncSender<io::Result<()>>>,
}

/// What is to be done with a ring.
#[derive(Debug)]
pub(super) enum Order {
    Stop {
        how: Stop,
        reply: SyncSender<Option<u16>>,
    },
    SetCall {
        call: Option<Arc<Notifier>>,
        reply: SyncSender<()>,
    },
}

impl Running {
    /// Stop serving. When this returns, no worker touches the ring or guest memory for it. Returns
    /// the avail index where the ring was left, unless the worker is gone.
    pub(crate) fn stop(self, how: Stop) -> Option<u16> {
        let (reply, answer) = sync_channel(1);
        self.0.post(Order::Stop { how, reply });
        // What nobody carries out is dropped, and no answer comes.
        answer.recv().ok().flatten()
    }

    /// Use another call descriptor from now on.
    pub(crate) fn set_call(&self, call: Option<Arc<Notifier>>) {
        let (reply, answer) = sync_channel(1);
        self.0.post(Order::SetCall { call, reply });
        let _ = answer.recv();
    }
}

/// The workers of a hub.
#[derive(Debug)]
pub(crate) struct Workers {
    mailboxes: Mailboxes<Served>,
    threads: Vec<JoinHandle<()>>,
    poll: Duration,
    /// Frees workers that hang, until all have ended.
    watchdog: Watchdog,
    /// The number of the next ring. Held while a worker is chosen for one.
    next: Mutex<u64>,
}

impl Workers {
    /// Start them.
    pub(crate) fn start(options: &WorkerOptions) -> io::Result<Self> {
        let count = options.count.max(1);
        let bell = || EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC);
        let mailbox = || bell().map(|bell| Arc::new(Mailbox::new(bell)));
        let mut workers = Self {
            mailboxes: (0..count).map(|_| mailbox()).collect::<io::Result<_>>()?,
            threads: Vec::new(),
            poll: options.poll,
            watchdog: Watchdog::start(count)?,
            next: Mutex::new(0),
        };
        for number in 0..count {
            let watched = workers.watchdog.watched(number);
            let watched = watched.ok_or_else(|| io::Error::other("no watchdog"))?;
            let worker = Worker::new(number, &workers.mailboxes, watched)?;
            let cpu = options.cpus.iter().cycle().nth(number).copied();
            let (pinned, answer) = sync_channel(1);
            let thread = threads::spawn_vital(Role::Worker(number), move || {
                slice::shorten();
                let pin = cpu.map_or(Ok(()), pin);
                let is_pinned = pin.is_ok();
                let _ = pinned.send(pin);
                if is_pinned { worker.run() } else { Ok(()) }
            })?;
            workers.threads.push(thread);
            answer
                .recv()
                .map_err(|_| io::Error::other("a worker ended"))??;
        }
        Ok(workers)
    }

    /// Serve a ring, on the worker that has the fewest.
    pub(crate) fn serve(&self, job: Job) -> io::Result<Running> {
        let (reply, answer) = sync_channel(1);
        let ring = Carried {
            job: Box::new(job),
            poll: PollTime::new(self.poll),
            reply: Some(reply),
        };
        let running = self.hand_in(ring);
        // By then others may be placed: whatever this worker is amid, they needn't wait for it.
        let gone = || io::Error::other("the worker thread is gone");
        answer.recv().map_err(|_| gone())??;
        Ok(running)
    }

    fn hand_in(&self, ring: Carried) -> Running {
        let mut next = self.next.lock();
        let id = *next;
        *next += 1;
        let rings = self.mailboxes.iter().map(|mailbox| mailbox.rings());
        let least = rings.enumerate().min_by_key(|(_, rings)| *rings);
        let number = least.map_or(0, |(number, _)| number);
        let (tenancy, address) = Tenancy::new(id, number, &self.mailboxes);
        let parcel = Parcel { id, tenancy, ring };
        // It counts at once, so that the next one finds it counted.
        self.mailboxes[number].hand_in(parcel);
        Running(address)
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
