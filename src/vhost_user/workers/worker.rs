//! A thread that serves rings. A ring belongs to one worker at a time, so nothing on the data path
//! is shared or locked: whoever wants to change a ring stops it, which hands its position back, and
//! starts a new one.
//!
//! A ring is *hot* while it has requests and for a [bounded time](super::polling) after: its driver
//! is asked not to kick, and the worker looks at its avail index. Then it is *cold*: its driver is
//! asked to kick, and the worker is told by epoll. A worker without a hot ring sleeps. Kicks are
//! watched edge-triggered and never read: each write to an eventfd is an edge, so no read can block
//! on what a front end passed, and a wake-up costs one system call less. A cold ring with requests
//! that wait (see [`parking`](crate::vhost_user::queue::parking)) is hot again when the first of
//! them may go on, and one whose driver can't kick after a nap (see [`polling`](super::polling)).

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};

use super::alarm::Alarm;
use super::mail::{self, Desk, Mailbox, Mailboxes, Parcel, Tenancy};
use super::polling::Nap;
use super::pool::{Carried, Order, Served};
use super::slot::{Slot, State, Tools};
use crate::device::Pace;
use crate::store::points;
use crate::vhost_user::log_limit::LogLimit;
use crate::vhost_user::queue::job::Turn;
use crate::vhost_user::queue::parking::Stop;
use crate::vhost_user::wire::watchdog::Watched;

const MAILBOX: u64 = u64::MAX;
const ALARM: u64 = u64::MAX - 1;
/// Rounds that found nothing between two looks at the clock.
const DRY_ROUNDS: u32 = 16;
/// What is done between two looks at the clock, in bytes, and what a request counts for beside its
/// own: some 20 µs.
const CLOCK_BYTES: u64 = 256 << 10;
const REQUEST_BYTES: u64 = 4 << 10;
/// How often a worker with a hot ring looks whether a cold one was kicked.
const KICKS_EVERY: Duration = Duration::from_micros(20);
/// How long a ring is served as one of several after there was another: its next request may come
/// at any moment, and should not find a megabyte being copied.
const COMPANY: Duration = Duration::from_millis(10);
/// How often it counts its busy rings, and how many counts in a row must find it overloaded before
/// it hands one over.
const COUNT_EVERY: Duration = Duration::from_millis(1);
const OVERLOADED_COUNTS: u32 = 20;

/// What a worker's thread owns.
#[derive(Debug)]
pub(super) struct Worker {
    number: usize,
    mailbox: Arc<Mailbox<Served>>,
    /// Those of all workers.
    mailboxes: Mailboxes<Served>,
    epoll: Epoll,
    events: Vec<EpollEvent>,
    slots: Vec<Option<Slot>>,
    /// Slots whose ring is hot.
    hot: Vec<usize>,
    /// Slots whose ring is cold, but has requests that wait for a moment.
    parked: Vec<usize>,
    /// Slots whose ring is hot and to leave, once it has returned what it set aside.
    leaving: VecDeque<usize>,
    alarm: Alarm,
    looked_for_kicks: Instant,
    /// When two rings were hot last, and whether that is not long ago.
    had_company: Instant,
    has_company: bool,
    counted: Instant,
    overloaded: u32,
    tools: Tools,
}

/// What came of a turn of some rings.
#[derive(Debug, Default)]
struct Round {
    turn: Turn,
    /// Whether one of them broke.
    broken: bool,
    /// Whether one of them may leave.
    left: bool,
}

impl Round {
    fn serve(&mut self, slots: &mut [Option<Slot>], at: usize, pace: Pace, tools: &Tools) {
        if let Some(slot) = slots.get_mut(at).and_then(Option::as_mut) {
            // A new call descriptor may have broken it since it was hot.
            if slot.state != State::Broken {
                let turn = slot.turn(pace, tools);
                self.turn.steps += turn.steps;
                self.turn.bytes += turn.bytes;
            }
            self.broken |= slot.state == State::Broken;
            self.left |= slot.may_leave();
        }
    }
}

impl Worker {
    /// Worker `number` of those with `mailboxes`.
    pub(super) fn new(
        number: usize,
        mailboxes: &Mailboxes<Served>,
        watched: Watched,
    ) -> io::Result<Self> {
        let epoll = Epoll::new()?;
        let mailbox = mailboxes.get(number).ok_or(io::ErrorKind::NotFound)?;
        let event = EpollEvent::new(EventSet::IN, MAILBOX);
        let bell = mailbox.bell().as_raw_fd();
        epoll.ctl(ControlOperation::Add, bell, event)?;
        let alarm = Alarm::new()?;
        let event = EpollEvent::new(EventSet::IN | EventSet::EDGE_TRIGGERED, ALARM);
        epoll.ctl(ControlOperation::Add, alarm.as_raw_fd(), event)?;
        let now = Instant::now();
        Ok(Self {
            number,
            mailbox: Arc::clone(mailbox),
            mailboxes: Arc::clone(mailboxes),
            epoll,
            events: vec![EpollEvent::default(); 64],
            slots: Vec::new(),
            hot: Vec::new(),
            parked: Vec::new(),
            leaving: VecDeque::new(),
            alarm,
            looked_for_kicks: now,
            had_company: now,
            has_company: false,
            counted: now,
            overloaded: 0,
            tools: Tools {
                watched,
                log_limit: LogLimit::default(),
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
                dry_rounds = 0;
                done_bytes += turn.bytes + u64::from(turn.steps) * REQUEST_BYTES;
                if done_bytes < CLOCK_BYTES {
                    continue;
                }
            } else {
                dry_rounds += 1;
                if dry_rounds < DRY_ROUNDS && !self.hot.is_empty() {
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

    /// One turn of each hot ring, in their order. Where there is mail, or a ring may leave, the
    /// rest of them comes after that: who waits for either doesn't wait for thousands of rings.
    fn round(&mut self) -> Turn {
        let pace = if self.hot.len() > 1 || self.has_company {
            Pace::BesideOthers
        } else {
            Pace::Alone
        };
        let mut round = Round::default();
        let mut served = 0;
        while let Some(&at) = self.hot.get(served) {
            served += 1;
            round.serve(&mut self.slots, at, pace, &self.tools);
            // Rings that are to leave soon come in between, in turn.
            if let Some(at) = self.leaving.pop_front() {
                self.leaving.push_back(at);
                round.serve(&mut self.slots, at, pace, &self.tools);
            }
            if served < self.hot.len() && (round.left || self.mailbox.is_waiting()) {
                self.hot.rotate_left(served);
                break;
            }
        }
        if round.broken {
            self.keep_hot();
        }
        if round.left {
            self.let_go();
        }
        round.turn
    }

    /// What has to be done now and then: let rings go cold, look for kicks, sleep.
    /// `worked` says whether there was something to serve since the last time.
    fn tick(&mut self, worked: bool) -> io::Result<()> {
        let now = Instant::now();
        let is_busy = worked && self.hot.len() > 1;
        let mut cooled = false;
        for &at in &self.hot {
            if let Some(slot) = self.slots.get_mut(at).and_then(Option::as_mut) {
                slot.cool(now, is_busy, &self.tools);
                cooled |= slot.state != State::Hot;
                if slot.state == State::Cold && slot.look_at.is_some() && !slot.is_parked {
                    slot.is_parked = true;
                    self.parked.push(at);
                }
            }
        }
        if cooled {
            self.keep_hot();
        }
        // After that: they have a turn before they are found to be dry again.
        self.wake_parked(now);
        if self.hot.len() > 1 {
            self.had_company = now;
        }
        self.has_company = now.duration_since(self.had_company) < COMPANY;
        if now.duration_since(self.counted) >= COUNT_EVERY {
            self.counted = now;
            self.count_busy();
        }
        if self.hot.is_empty() {
            self.mailbox.set_busy(0);
            self.set_alarm()?;
            return self.wait(-1);
        }
        // Slots that are free or broken count as cold, at the price of a few looks.
        if self.hot.len() < self.slots.len()
            && now.duration_since(self.looked_for_kicks) >= KICKS_EVERY
        {
            self.looked_for_kicks = now;
            return self.wait(0);
        }
        Ok(())
    }

    /// Rings whose requests have waited long enough are hot again.
    fn wake_parked(&mut self, now: Instant) {
        let (slots, hot) = (&mut self.slots, &mut self.hot);
        self.parked.retain(|&at| {
            let Some(slot) = slots.get_mut(at).and_then(Option::as_mut) else {
                return false;
            };
            let is_cold = slot.state == State::Cold;
            slot.is_parked = is_cold && slot.look_at.is_some_and(|at| at > now);
            if is_cold && !slot.is_parked {
                slot.state = State::Hot;
                hot.push(at);
            }
            slot.is_parked
        });
    }

    /// Have epoll return when the first of them has waited long enough.
    fn set_alarm(&mut self) -> io::Result<()> {
        let slots = self.parked.iter().filter_map(|&at| self.slots[at].as_ref());
        match slots.filter_map(|slot| slot.look_at).min() {
            Some(at) => self.alarm.set(at),
            None => Ok(()),
        }
    }

    fn keep_hot(&mut self) {
        let slots = &self.slots;
        let is_hot = |at: &usize| {
            let slot = slots.get(*at).and_then(Option::as_ref);
            slot.is_some_and(|slot| slot.state == State::Hot)
        };
        self.hot.retain(is_hot);
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
                let _ = self.mailbox.bell().read();
                continue;
            }
            // The alarm's number is no slot's: who has waited long enough is found by the clock.
            let at = usize::try_from(event.data()).unwrap_or(usize::MAX);
            if let Some(slot) = self.slots.get_mut(at).and_then(Option::as_mut)
                && slot.state == State::Cold
            {
                slot.kicked(now);
                self.hot.push(at);
            }
        }
        Ok(())
    }

    /// How many rings had requests lately. When that is more than another worker has, time and
    /// again, one of them goes there.
    fn count_busy(&mut self) {
        let (mut busy, mut last) = (0, None);
        for &at in &self.hot {
            if let Some(slot) = self.slots.get_mut(at).and_then(Option::as_mut)
                && std::mem::take(&mut slot.served)
            {
                busy += 1;
                last = Some(at).filter(|_| slot.leaving.is_none()).or(last);
            }
        }
        self.mailbox.set_busy(busy);
        let others = self.mailboxes.iter().enumerate();
        let others = others.filter(|(number, _)| *number != self.number);
        let calmest = others
            .map(|(_, mailbox)| mailbox)
            .min_by_key(|mailbox| mailbox.busy());
        let Some(mailbox) = calmest.filter(|calm| calm.busy() + 2 <= busy) else {
            self.overloaded = 0;
            return;
        };
        self.overloaded += 1;
        if self.overloaded < OVERLOADED_COUNTS {
            return;
        }
        self.overloaded = 0;
        let mailbox = Arc::clone(mailbox);
        if let Some(slot) = last.and_then(|at| self.take_out(at)) {
            // No worker is gone before all were told to quit.
            mailbox.hand_in(Parcel {
                id: slot.id,
                tenancy: slot.tenancy,
                ring: Carried {
                    job: slot.job,
                    poll: slot.poll,
                    reply: None,
                },
            });
        }
    }

    fn position(&self, id: u64) -> Option<usize> {
        self.slots
            .iter()
            .position(|slot| slot.as_ref().is_some_and(|slot| slot.id == id))
    }

    /// Serve a ring from now on; it is given back if its kicks can't be watched.
    fn add(&mut self, parcel: Parcel<Served>) -> Result<(), (io::Error, Parcel<Served>)> {
        let free = self.slots.iter().position(Option::is_none);
        let at = free.unwrap_or(self.slots.len());
        let event = EpollEvent::new(EventSet::IN | EventSet::EDGE_TRIGGERED, at as u64);
        if let Some(kick) = &parcel.ring.job.kick
            && let Err(error) = self
                .epoll
                .ctl(ControlOperation::Add, kick.as_raw_fd(), event)
        {
            return Err((error, parcel));
        }
        let nap = parcel.ring.job.kick.is_none().then(Nap::default);
        // Hot: kicks sent before we listened are not seen, so the ring is looked at once.
        let slot = Some(Slot {
            id: parcel.id,
            job: parcel.ring.job,
            tenancy: parcel.tenancy,
            state: State::Hot,
            poll: parcel.ring.poll,
            nap,
            dry_since: None,
            served: false,
            look_at: None,
            is_parked: false,
            leaving: None,
        });
        if at == self.slots.len() {
            self.slots.push(slot);
        } else {
            self.slots[at] = slot;
        }
        self.hot.push(at);
        Ok(())
    }

    /// Give up a ring: now, or when it has returned what it set aside, beside all others.
    fn stop(&mut self, id: u64, how: Stop, reply: SyncSender<Option<u16>>) {
        let found = self.position(id);
        if let (Stop::Drain(by), Some(at)) = (how, found)
            && let Some(slot) = self.slots[at].as_mut()
            && slot.state != State::Broken
            && slot.job.begins_to_drain(by)
        {
            slot.leaving = Some(reply);
            self.leaving.push_back(at);
            if slot.state == State::Cold {
                slot.state = State::Hot;
                self.hot.push(at);
            }
            return;
        }
        let slot = found.and_then(|at| self.take_out(at));
        let _ = reply.send(slot.map(|slot| slot.job.ring.position()));
    }

    /// Give up the rings that have returned what they had set aside.
    fn let_go(&mut self) {
        for at in 0..self.slots.len() {
            if self.slots[at].as_ref().is_some_and(Slot::may_leave)
                && let Some(mut slot) = self.take_out(at)
                && let Some(reply) = slot.leaving.take()
            {
                let _ = reply.send(Some(slot.job.ring.position()));
            }
        }
    }

    fn take_out(&mut self, at: usize) -> Option<Slot> {
        let slot = self.slots.get_mut(at)?.take()?;
        // The kick is closed by its last owner; epoll must have forgotten it by then.
        if let Some(kick) = &slot.job.kick {
            let (kick, event) = (kick.as_raw_fd(), EpollEvent::default());
            let _ = self.epoll.ctl(ControlOperation::Delete, kick, event);
        }
        self.keep_hot();
        self.leaving.retain(|&other| other != at);
        self.mailbox.lost_ring();
        Some(slot)
    }
}

impl Desk<Served> for Worker {
    fn take(&mut self, mut parcel: Parcel<Served>) {
        let reply = parcel.ring.reply.take();
        let added = self.add(parcel).map_err(|(error, parcel)| {
            self.mailbox.lost_ring();
            if reply.is_none() {
                // No worse than a connection that is lost, and the front end can have it again.
                let job = &parcel.ring.job;
                tracing::warn!(queue = job.index, %error, "ring can't go on; its connection ends");
                job.hang_up();
            }
            error
        });
        if let Some(reply) = reply {
            // A receiver that has gone away no longer wants the answer.
            let _ = reply.send(added);
        }
    }

    fn tenancy(&self, id: u64) -> Option<&Tenancy<Served>> {
        let slot = self.slots.get(self.position(id)?)?.as_ref()?;
        Some(&slot.tenancy)
    }

    fn carry_out(&mut self, id: u64, order: Order) {
        match order {
            Order::Stop { how, reply } => self.stop(id, how, reply),
            Order::SetCall { call, reply } => {
                if let Some(slot) = self.position(id).and_then(|at| self.slots[at].as_mut()) {
                    slot.set_call(call, &self.tools);
                }
                let _ = reply.send(());
            }
        }
    }
}
