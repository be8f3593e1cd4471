//! Threads that serve rings. A ring belongs to one worker from start to stop, so nothing on the
//! data path is shared or locked: whoever wants to change a ring stops it, which hands its position
//! back, and starts a new one.
//!
//! A worker sleeps in epoll on the kick descriptors of its rings and on its mailbox. Kicks are
//! watched edge-triggered and never read: each write to an eventfd is an edge, so no read can block
//! on what a front end passed, and a wake-up costs one system call less. A ring gets a bounded
//! turn, then the next one does.

use std::fs::File;
use std::io;
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};
use vmm_sys_util::eventfd::EventFd;

use super::guard;
use super::hush::Hush;
use super::notifier::Notifier;
use super::ring::{Ring, RingError, Served, Step};
use super::watchdog::{Watchdog, Watched};
use crate::device::{BlockDevice, Unfinished};

/// Requests between two updates of the used index, at most.
const BATCH_REQUESTS: u32 = 32;
/// Bytes that make a batch end before that, so that the first request needn't wait for megabytes.
const BATCH_BYTES: u64 = 256 << 10;
/// Batches of one turn, at most.
const TURN_BATCHES: u32 = 4;
/// When the turns of all rings together end before that: stops and other rings wait no longer than
/// this and one batch. Where many are busy each has its share, so that a guest gains little by
/// having many rings.
const TURN_TIME: Duration = Duration::from_millis(1);
/// The least share: below that, going from ring to ring would be all that is done.
const LEAST_TURN_TIME: Duration = Duration::from_micros(50);
/// Requests whose cost does not show in their bytes (ranges to discard or to zero) may each take a
/// millisecond, so a batch is not only counted but timed, every so many requests.
const TIMED_REQUESTS: u32 = 8;
const MAILBOX: u64 = u64::MAX;

/// What a worker needs to serve one ring.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) ring: Ring,
    pub(super) index: u16,
    pub(super) device: Arc<BlockDevice>,
    /// Feature bits the driver accepted.
    pub(super) acked: u64,
    pub(super) kick: Arc<File>,
    pub(super) call: Option<Arc<Notifier>>,
    pub(super) err: Option<Arc<Notifier>>,
    /// The connection, to be ended when the front end takes its memory away.
    pub(super) hangup: Arc<UnixStream>,
    /// A long request that is half done.
    pub(super) unfinished: Unfinished,
    /// [`guard::losses`] when we looked last, first before the ring was made.
    pub(super) losses: usize,
}

/// What a worker has besides its rings.
#[derive(Debug)]
struct Tools {
    watched: Watched,
    hush: Hush,
}

/// A ring that a worker has; [`Running::stop`] gets it back.
#[derive(Debug)]
pub(super) struct Running {
    id: u64,
    mailbox: Arc<Mailbox>,
}

#[derive(Debug)]
enum Message {
    Start {
        id: u64,
        job: Box<Job>,
        reply: SyncSender<io::Result<()>>,
    },
    Stop {
        id: u64,
        reply: SyncSender<Option<u16>>,
    },
    SetCall {
        id: u64,
        call: Option<Arc<Notifier>>,
        reply: SyncSender<()>,
    },
    Quit,
}

#[derive(Debug)]
struct Mailbox {
    sender: Sender<Message>,
    bell: EventFd,
}

impl Mailbox {
    fn post(&self, message: Message) -> bool {
        self.sender.send(message).is_ok() && self.bell.write(1).is_ok()
    }
}

impl Running {
    /// Stop serving. When this returns, the worker touches neither the ring nor guest memory for
    /// it. Gives the avail index where the ring was left, unless the worker is gone.
    pub(super) fn stop(self) -> Option<u16> {
        let (reply, answer) = sync_channel(1);
        if !self.mailbox.post(Message::Stop { id: self.id, reply }) {
            return None;
        }
        answer.recv().ok().flatten()
    }

    /// Use another call descriptor from now on.
    pub(super) fn set_call(&self, call: Option<Arc<Notifier>>) {
        let (reply, answer) = sync_channel(1);
        if self.mailbox.post(Message::SetCall {
            id: self.id,
            call,
            reply,
        }) {
            let _ = answer.recv();
        }
    }
}

/// The workers of a server.
#[derive(Debug)]
pub(super) struct Workers {
    mailboxes: Vec<Arc<Mailbox>>,
    threads: Vec<JoinHandle<()>>,
    /// Frees workers that hang, until all have ended.
    watchdog: Watchdog,
    /// Jobs so far: the number of the next one. Sessions share the workers.
    jobs: AtomicU64,
}

impl Workers {
    /// Start `count` of them, at least one.
    pub(super) fn start(count: usize) -> io::Result<Self> {
        let count = count.max(1);
        let mut workers = Self {
            mailboxes: Vec::new(),
            threads: Vec::new(),
            watchdog: Watchdog::start(count)?,
            jobs: AtomicU64::new(0),
        };
        for number in 0..count {
            let (sender, receiver) = channel();
            let bell = EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC)?;
            let epoll = Epoll::new()?;
            epoll.ctl(
                ControlOperation::Add,
                bell.as_raw_fd(),
                EpollEvent::new(EventSet::IN, MAILBOX),
            )?;
            let mailbox = Arc::new(Mailbox { sender, bell });
            let watched = workers.watchdog.watched(number);
            let watched = watched.ok_or_else(|| io::Error::other("no watchdog"))?;
            let worker = Worker {
                epoll,
                mailbox: Arc::clone(&mailbox),
                receiver,
                slots: Vec::new(),
                tools: Tools {
                    watched,
                    hush: Hush::default(),
                },
            };
            let thread = std::thread::Builder::new()
                .name(format!("ramblk-work-{number}"))
                .spawn(move || worker.run())?;
            workers.mailboxes.push(mailbox);
            workers.threads.push(thread);
        }
        Ok(workers)
    }

    /// Serve a ring, on one worker after the other: front ends of one queue each use all of them.
    pub(super) fn serve(&self, job: Job) -> io::Result<Running> {
        let id = self.jobs.fetch_add(1, Ordering::Relaxed);
        let number = usize::try_from(id).unwrap_or(0) % self.mailboxes.len();
        let mailbox = Arc::clone(&self.mailboxes[number]);
        let (reply, answer) = sync_channel(1);
        let gone = || io::Error::other("the worker thread is gone");
        if !mailbox.post(Message::Start {
            id,
            job: Box::new(job),
            reply,
        }) {
            return Err(gone());
        }
        answer.recv().map_err(|_| gone())??;
        Ok(Running { id, mailbox })
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        for mailbox in &self.mailboxes {
            mailbox.post(Message::Quit);
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// What a worker's thread owns.
#[derive(Debug)]
struct Worker {
    epoll: Epoll,
    mailbox: Arc<Mailbox>,
    receiver: Receiver<Message>,
    slots: Vec<Option<Slot>>,
    tools: Tools,
}

#[derive(Debug)]
struct Slot {
    id: u64,
    job: Box<Job>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Waits for a kick.
    Idle,
    /// Has, or may have, requests to serve.
    Busy,
    /// Its ring can't be followed any more.
    Broken,
}

impl Worker {
    fn run(mut self) {
        self.tools.watched.begin();
        let mut events = vec![EpollEvent::default(); 64];
        loop {
            let busy = self
                .slots
                .iter()
                .flatten()
                .any(|slot| slot.state == State::Busy);
            let timeout = if busy { 0 } else { -1 };
            let count = match self.epoll.wait(timeout, &mut events) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
                Err(error) => {
                    tracing::error!(%error, "worker can't wait for kicks and ends");
                    return;
                }
            };
            for event in &events[..count] {
                if event.data() == MAILBOX {
                    let _ = self.mailbox.bell.read();
                    if !self.read_mail() {
                        return;
                    }
                } else if let Some(slot) = self.slot(event.data())
                    && slot.state == State::Idle
                {
                    slot.state = State::Busy;
                }
            }
            let busy = self.slots.iter().flatten();
            let busy = busy.filter(|slot| slot.state == State::Busy).count();
            let time = LEAST_TURN_TIME.max(TURN_TIME / u32::try_from(busy.max(1)).unwrap_or(1));
            for slot in self.slots.iter_mut().flatten() {
                if slot.state == State::Busy {
                    slot.turn(time, &self.tools);
                }
            }
        }
    }

    fn slot(&mut self, number: u64) -> Option<&mut Slot> {
        self.slots.get_mut(usize::try_from(number).ok()?)?.as_mut()
    }

    fn position(&self, id: u64) -> Option<usize> {
        self.slots
            .iter()
            .position(|slot| slot.as_ref().is_some_and(|slot| slot.id == id))
    }

    /// `false`: the end.
    fn read_mail(&mut self) -> bool {
        while let Ok(message) = self.receiver.try_recv() {
            // A receiver that has gone away no longer wants the answer.
            match message {
                Message::Start { id, job, reply } => {
                    let _ = reply.send(self.add(id, job));
                }
                Message::Stop { id, reply } => {
                    let _ = reply.send(self.remove(id));
                }
                Message::SetCall { id, call, reply } => {
                    if let Some(slot) = self.position(id).and_then(|at| self.slots[at].as_mut()) {
                        slot.set_call(call, &self.tools);
                    }
                    let _ = reply.send(());
                }
                Message::Quit => return false,
            }
        }
        true
    }

    fn add(&mut self, id: u64, job: Box<Job>) -> io::Result<()> {
        let at = self
            .slots
            .iter()
            .position(Option::is_none)
            .unwrap_or(self.slots.len());
        let event = EpollEvent::new(EventSet::IN | EventSet::EDGE_TRIGGERED, at as u64);
        self.epoll
            .ctl(ControlOperation::Add, job.kick.as_raw_fd(), event)?;
        // Busy: kicks sent before we listened are not seen, so the ring is looked at once.
        let slot = Some(Slot {
            id,
            job,
            state: State::Busy,
        });
        if at == self.slots.len() {
            self.slots.push(slot);
        } else {
            self.slots[at] = slot;
        }
        Ok(())
    }

    fn remove(&mut self, id: u64) -> Option<u16> {
        let slot = self.position(id).and_then(|at| self.slots[at].take())?;
        // The kick is closed by its last owner; epoll must have forgotten it by then.
        let _ = self.epoll.ctl(
            ControlOperation::Delete,
            slot.job.kick.as_raw_fd(),
            EpollEvent::default(),
        );
        Some(slot.job.ring.position())
    }
}

impl Slot {
    /// Serve a bounded number of requests. A panic is a bug of ours, but it ends this ring only.
    fn turn(&mut self, time: Duration, tools: &Tools) {
        let job = &mut *self.job;
        match catch_unwind(AssertUnwindSafe(|| job.turn(time, &tools.watched))) {
            Ok(Ok(true)) => self.state = State::Busy,
            Ok(Ok(false)) => self.state = State::Idle,
            // What memory that is gone looks like is no fault of the ring's.
            Ok(Err(_)) if self.job.ring.is_lost() => self.breaks(&RingError::MemoryLost, tools),
            Ok(Err(error)) => self.breaks(&error, tools),
            Err(_) => {
                tracing::error!(queue = self.job.index, "bug: serving a request panicked");
                self.state = State::Broken;
            }
        }
        if self.state == State::Broken
            && let Some(err) = &self.job.err
        {
            tools.watched.during(|| err.signal());
        }
    }

    /// Call another descriptor from now on, once at once: the old one may have been signalled and
    /// never looked at.
    fn set_call(&mut self, call: Option<Arc<Notifier>>, tools: &Tools) {
        self.job.call = call;
        if let Err(error) = self.job.call(&tools.watched) {
            self.breaks(&error, tools);
        }
    }

    fn breaks(&mut self, error: &RingError, tools: &Tools) {
        if let Some(withheld) = tools.hush.may_say() {
            let queue = self.job.index;
            tracing::warn!(queue, withheld, %error, "ring is broken and stops");
        }
        if matches!(error, RingError::MemoryLost | RingError::Hung) {
            // No ring of this front end can go on; its session ends at the end of file.
            let _ = self.job.hangup.shutdown(Shutdown::Both);
        }
        self.state = State::Broken;
    }
}

impl Job {
    /// Whether there may be more to do.
    fn turn(&mut self, time: Duration, watched: &Watched) -> Result<bool, RingError> {
        let began = Instant::now();
        for _ in 0..TURN_BATCHES {
            self.ring.quiet();
            let dry = self.batch(began, time);
            self.look_for_losses()?;
            // What was done before a ring broke is the driver's to know.
            if self.ring.publish() {
                self.call(watched)?;
            }
            if dry? && !self.ring.listen()? {
                self.look_for_losses()?;
                return Ok(false);
            }
            if began.elapsed() >= time {
                break;
            }
        }
        Ok(true)
    }

    /// Whether memory was taken away under us, since we looked last; most likely another's.
    fn look_for_losses(&mut self) -> Result<(), RingError> {
        let losses = guard::losses();
        if losses != self.losses {
            self.losses = losses;
            if self.ring.is_lost() {
                return Err(RingError::MemoryLost);
            }
        }
        Ok(())
    }

    /// Serve until the ring is dry, which is then `true`, or the batch is full.
    fn batch(&mut self, turn_began: Instant, time: Duration) -> Result<bool, RingError> {
        let Self {
            ring,
            device,
            acked,
            unfinished,
            ..
        } = self;
        let mut bytes = 0;
        for count in 1..=BATCH_REQUESTS {
            let step = ring.serve_one(|damaged, readable, writable| {
                bytes += crate::store::total_bytes(readable) + crate::store::total_bytes(writable);
                match device.serve(*acked, damaged, readable, writable, unfinished) {
                    Some(len) => Served::Done(len),
                    None => Served::Unfinished,
                }
            })?;
            if step == Step::Dry {
                return Ok(true);
            }
            let timed = count % TIMED_REQUESTS == 0 || step == Step::Continued;
            let late = timed && turn_began.elapsed() >= time;
            if late || step == Step::Completed && bytes >= BATCH_BYTES {
                break;
            }
        }
        Ok(false)
    }

    fn call(&self, watched: &Watched) -> Result<(), RingError> {
        match &self.call {
            Some(call) if !watched.during(|| call.signal()) => Err(RingError::Hung),
            _ => Ok(()),
        }
    }
}
