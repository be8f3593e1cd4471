//! A thread that serves rings. A ring belongs to one worker at a time, so nothing on the data path
//! is shared or locked: to change a ring, a session stops it, which returns its position, and
//! starts a new one.
//!
//! A ring is *hot* while it has requests and for a [bounded time](super::polling) after: its driver
//! is asked not to kick, and the worker polls its avail index. Then it is *cold*: its driver is
//! asked to kick, and epoll tells the worker. A worker without a hot ring sleeps. Kicks are watched
//! edge-triggered and never read: each write to an eventfd is an edge, so no read can block on what
//! a front end passed, and a wake-up costs one system call less. A cold ring with requests that
//! wait (see [`parking`](crate::vhost_user::queue::parking)) is hot again when the first of them
//! may go on, and one whose driver can't kick after a nap (see [`polling`](super::polling)).

use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};

use super::crowd::Crowd;
use super::mail::{self, Mailbox, Mailboxes, OrderReceiver, Placed, Rings};
use super::order::{Order, RingMail};
use super::polled::{Polled, PolledTime};
use super::slot::{State, Tools};
use super::slots::Slots;
use super::timer::Timer;
use crate::device::Pace;
use crate::store::points;
use crate::vhost_user::log_limit::LogLimit;
use crate::vhost_user::queue::job::Turn;
use crate::vhost_user::queue::parking::Stop;
use crate::vhost_user::wire::watchdog::Watched;

/// What epoll knows the mailbox and the timer by; a ring's number is its place.
const MAILBOX: u64 = u64::MAX;
const TIMER: u64 = u64::MAX - 1;
/// Rounds that found nothing between two looks at the clock.
const DRY_ROUNDS: u32 = 16;
/// Work between two looks at the clock, in bytes, and what a request counts for beside its own
/// bytes: some 20 µs.
const CLOCK_BYTES: u64 = 256 << 10;
const REQUEST_BYTES: u64 = 4 << 10;
/// How often a worker with a hot ring asks whether a cold one was kicked.
const KICKS_EVERY: Duration = Duration::from_micros(20);
/// How long a ring is served as one of several after there was another: its next request may come
/// at any moment, and should not find a megabyte being copied.
const NEIGHBOURS_FOR: Duration = Duration::from_millis(10);

/// What a worker's thread owns.
#[derive(Debug)]
pub(super) struct Worker {
    number: usize,
    mailbox: Arc<Mailbox<RingMail>>,
    /// Those of all workers.
    mailboxes: Mailboxes<RingMail>,
    epoll: Epoll,
    events: Vec<EpollEvent>,
    slots: Slots,
    timer: Timer,
    looked_for_kicks: Instant,
    /// When two rings were hot last, and whether that is not long ago.
    had_neighbours: Instant,
    has_neighbours: bool,
    load: Load,
    crowd: Crowd,
    polled: Polled,
    tools: Tools,
}

impl Worker {
    /// Worker `number` of those with `mailboxes`.
    pub(super) fn new(
        number: usize,
        mailboxes: &Mailboxes<RingMail>,
        watched: Watched,
        polled: Arc<PolledTime>,
    ) -> io::Result<Self> {
        let epoll = Epoll::new()?;
        let mailbox = mailboxes.get(number).ok_or(io::ErrorKind::NotFound)?;
        let event = EpollEvent::new(EventSet::IN, MAILBOX);
        let waker = mailbox.waker().as_raw_fd();
        epoll.ctl(ControlOperation::Add, waker, event)?;
        let timer = Timer::new()?;
        let event = EpollEvent::new(EventSet::IN | EventSet::EDGE_TRIGGERED, TIMER);
        epoll.ctl(ControlOperation::Add, timer.as_raw_fd(), event)?;
        let now = Instant::now();
        Ok(Self {
            number,
            mailbox: Arc::clone(mailbox),
            mailboxes: Arc::clone(mailboxes),
            epoll,
            events: vec![EpollEvent::default(); 64],
            slots: Slots::default(),
            timer,
            looked_for_kicks: now,
            had_neighbours: now,
            has_neighbours: false,
            load: Load::new(now),
            crowd: Crowd::new(now),
            polled: Polled::new(polled),
            tools: Tools {
                watched,
                log_limit: LogLimit::default(),
                is_crowded: false,
            },
        })
    }

    /// Serve until told to quit.
    ///
    /// # Errors
    /// If the system doesn't let it wait for kicks and mail: it can't go on.
    pub(super) fn run(mut self) -> io::Result<()> {
        self.tools.watched.begin();
        let mut dry_rounds = 0;
        let mut done_bytes = 0;
        loop {
            if self.mailbox.take_waiting() && !self.read_mail() {
                return Ok(());
            }
            let turn = self.round();
            if turn.steps > 0 {
                self.polled.served();
                dry_rounds = 0;
                done_bytes += turn.bytes + u64::from(turn.steps) * REQUEST_BYTES;
                if done_bytes < CLOCK_BYTES {
                    continue;
                }
            } else {
                dry_rounds += 1;
                if dry_rounds < DRY_ROUNDS && self.slots.hot() > 0 {
                    std::hint::spin_loop();
                    continue;
                }
            }
            dry_rounds = 0;
            done_bytes = 0;
            self.tick(turn.steps > 0)?;
        }
    }

    /// `false`: the end.
    fn read_mail(&mut self) -> bool {
        let mailbox = Arc::clone(&self.mailbox);
        mail::read(self.number, &mailbox, self)
    }

    /// A turn of each hot ring, or of some if there is mail.
    fn round(&mut self) -> Turn {
        let pace = if self.slots.hot() > 1 || self.has_neighbours {
            Pace::BesideOthers
        } else {
            Pace::Alone
        };
        let mailbox = &self.mailbox;
        let round = self.slots.round(pace, &self.tools, || mailbox.is_waiting());
        if round.left {
            self.let_go();
        }
        round.turn
    }

    /// What has to be done now and then: let rings go cold, look for kicks, sleep.
    /// `worked` says whether there was something to serve since the last time.
    fn tick(&mut self, worked: bool) -> io::Result<()> {
        let now = Instant::now();
        self.polled.look(now);
        let is_busy = worked && self.slots.hot() > 1;
        self.slots.cool(now, is_busy, &self.tools);
        // After that: they have a turn before they are found to be dry again.
        self.slots.wake_parked(now);
        if self.slots.hot() > 1 {
            self.had_neighbours = now;
        }
        self.has_neighbours = now.duration_since(self.had_neighbours) < NEIGHBOURS_FOR;
        if self.load.is_due(now) {
            self.tools.is_crowded = self.crowd.look(now);
            self.balance();
        }
        if self.slots.hot() == 0 {
            self.mailbox.set_busy(0);
            if let Some(at) = self.slots.next_wake() {
                self.timer.set(at)?;
            }
            self.polled.sleeps();
            return self.wait(-1);
        }
        if self.slots.may_have_cold() && now.duration_since(self.looked_for_kicks) >= KICKS_EVERY {
            self.looked_for_kicks = now;
            return self.wait(0);
        }
        Ok(())
    }

    /// Wait for kicks or mail, or look whether there are any.
    fn wait(&mut self, timeout_ms: i32) -> io::Result<()> {
        points::may_fail("worker-waits")?;
        let count = match self.epoll.wait(timeout_ms, &mut self.events) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(error),
        };
        let now = Instant::now();
        for event in &self.events[..count] {
            if event.data() == MAILBOX {
                let _ = self.mailbox.waker().read();
                continue;
            }
            // The timer's number is no ring's: the clock tells which ring has waited long enough.
            let at = usize::try_from(event.data()).unwrap_or(usize::MAX);
            self.slots.kicked(at, now, timeout_ms != 0);
        }
        Ok(())
    }

    /// Count the rings that had requests lately. If those are more than another worker has, time
    /// and again, one of them goes there.
    fn balance(&mut self) {
        let (busy, movable) = self.slots.take_busy();
        self.mailbox.set_busy(busy);
        let others = self.mailboxes.iter().enumerate();
        let others = others.filter(|(number, _)| *number != self.number);
        let calmest = others
            .map(|(_, mailbox)| mailbox)
            .min_by_key(|mailbox| mailbox.busy());
        let calmer = calmest.filter(|calm| calm.busy() + 2 <= busy);
        if !self.load.is_over(calmer.is_some()) {
            return;
        }
        if let Some(mailbox) = calmer.map(Arc::clone)
            && let Some(placed) = movable.and_then(|at| self.take_out(at))
        {
            // No worker is gone before all were told to quit.
            mailbox.hand_in(placed);
        }
    }

    /// Serve a ring from now on; it is returned if its kicks can't be watched.
    fn add(&mut self, placed: Placed<RingMail>) -> Result<(), (io::Error, Placed<RingMail>)> {
        let at = self.slots.free();
        let event = EpollEvent::new(EventSet::IN | EventSet::EDGE_TRIGGERED, at as u64);
        if let Some(kick) = &placed.ring.job.kick
            && let Err(error) = self
                .epoll
                .ctl(ControlOperation::Add, kick.as_raw_fd(), event)
        {
            return Err((error, placed));
        }
        self.slots.insert(at, placed);
        Ok(())
    }

    /// Give up a ring: now, or when it has returned what it set aside, beside all others.
    fn stop(&mut self, id: u64, how: Stop, reply: SyncSender<Option<u16>>) {
        let found = self.slots.find(id);
        if let (Stop::Drain(by), Some(at)) = (how, found)
            && let Some(slot) = self.slots.get_mut(at)
            && slot.state != State::Broken
            && slot.job.begins_to_drain(by)
        {
            slot.leaving = Some(reply);
            self.slots.begin_to_leave(at);
            return;
        }
        let placed = found.and_then(|at| self.take_out(at));
        let _ = reply.send(placed.map(|placed| placed.ring.job.ring.position()));
    }

    /// Give up the rings that have returned what they had set aside.
    fn let_go(&mut self) {
        while let Some(mut placed) = self.slots.may_leave().and_then(|at| self.take_out(at)) {
            if let Some(reply) = placed.ring.leaving.take() {
                let _ = reply.send(Some(placed.ring.job.ring.position()));
            }
        }
    }

    fn take_out(&mut self, at: usize) -> Option<Placed<RingMail>> {
        let placed = self.slots.remove(at)?;
        // The kick is closed by its last owner; epoll must have forgotten it by then.
        if let Some(kick) = &placed.ring.job.kick {
            let (kick, event) = (kick.as_raw_fd(), EpollEvent::default());
            let _ = self.epoll.ctl(ControlOperation::Delete, kick, event);
        }
        self.mailbox.lost_ring();
        Some(placed)
    }
}

impl Rings<RingMail> for Worker {
    fn take(&mut self, mut placed: Placed<RingMail>) {
        let starting = placed.ring.starting.take();
        let id = placed.id;
        let added = self.add(placed).map_err(|(error, placed)| {
            self.mailbox.lost_ring();
            if starting.is_none() {
                // No worse than a connection that is lost, and the front end can have it again.
                let job = &placed.ring.job;
                let _inside = job.span.enter();
                tracing::warn!(queue = job.index, %error, "ring can't go on; its connection ends");
                job.hang_up();
            }
            error
        });
        if let Some(starting) = starting {
            // A process before us may have shown the driver something, and died before the call.
            if let Some(slot) = self.slots.find(id).and_then(|at| self.slots.get_mut(at)) {
                slot.call_if_owed(&self.tools);
            }
            // A receiver that has gone away no longer wants the answer.
            let _ = starting.send(added);
        }
    }

    fn orders(&self, id: u64) -> Option<&OrderReceiver<RingMail>> {
        self.slots.orders(id)
    }

    fn carry_out(&mut self, id: u64, order: Order) {
        match order {
            Order::Stop { how, reply } => self.stop(id, how, reply),
            Order::SetCall { call, reply } => {
                let found = self.slots.find(id);
                if let Some(slot) = found.and_then(|at| self.slots.get_mut(at)) {
                    slot.set_call(call, &self.tools);
                }
                let _ = reply.send(());
            }
        }
    }
}

/// How long a worker has had more to do than another one.
#[derive(Debug)]
struct Load {
    counted: Instant,
    overloaded: u32,
}

/// How often a worker counts its busy rings, and how many counts in a row must find it overloaded
/// before it hands one over.
const COUNT_EVERY: Duration = Duration::from_millis(1);
const OVERLOADED_COUNTS: u32 = 20;

impl Load {
    fn new(now: Instant) -> Self {
        Self {
            counted: now,
            overloaded: 0,
        }
    }

    /// Whether it is time to count.
    fn is_due(&mut self, now: Instant) -> bool {
        let is_due = now.duration_since(self.counted) >= COUNT_EVERY;
        if is_due {
            self.counted = now;
        }
        is_due
    }

    /// Whether this count, which found an overload or not, is the last of enough in a row that did.
    fn is_over(&mut self, overloaded: bool) -> bool {
        self.overloaded = if overloaded { self.overloaded + 1 } else { 0 };
        let is_over = self.overloaded == OVERLOADED_COUNTS;
        if is_over {
            self.overloaded = 0;
        }
        is_over
    }
}
