//! One ring of a worker: hot or cold, and what becomes of it when it breaks.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use super::polling::{Nap, PollTime};
use crate::device::Pace;
use crate::vhost_user::log_limit::LogLimit;
use crate::vhost_user::queue::job::{Job, Turn};
use crate::vhost_user::queue::ring::RingError;
use crate::vhost_user::wire::notifier::Notifier;
use crate::vhost_user::wire::watchdog::Watched;

/// How long a ring that ran dry stays hot while others have requests.
const KEEP_BESIDE_OTHERS: Duration = Duration::from_millis(1);

/// What a worker has besides its rings.
#[derive(Debug)]
pub(super) struct Tools {
    pub(super) watched: Watched,
    pub(super) log_limit: LogLimit,
    /// Whether others want the worker's processor.
    pub(super) is_crowded: bool,
}

/// A ring as a worker serves it. It moves as a whole when another worker takes over.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) job: Job,
    pub(super) state: State,
    poll: PollTime,
    /// The pause before the next look, if the driver can't kick.
    nap: Option<Nap>,
    pause: Pause,
    /// Whether it had requests since busy rings were counted.
    pub(super) served: bool,
    /// When to look at it again while it is cold, for requests that wait.
    pub(super) look_at: Option<Instant>,
    /// Whether its worker has a note of that.
    pub(super) is_parked: bool,
    /// For a new ring: receives whether it is served.
    pub(super) starting: Option<SyncSender<io::Result<()>>>,
    /// For a ring that must stop once it has returned what it set aside: receives its avail index.
    pub(super) leaving: Option<SyncSender<Option<u16>>>,
}

/// What is known of a pause: the ring is dry, or was a moment ago.
#[derive(Clone, Copy, Debug, Default)]
struct Pause {
    /// When it was first found to have run dry.
    dry_since: Option<Instant>,
    /// How long it had been dry when it was looked at last, while it is polled.
    dry: Option<Duration>,
    /// When it went cold.
    cold_since: Option<Instant>,
    /// A kick ended the pause that it is served after.
    was_kicked: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Waits for a kick.
    Cold,
    /// Has requests, or is polled.
    Hot,
    /// Its ring can't be followed any more.
    Broken,
}

impl Slot {
    /// A new ring. `starting` receives whether it is served.
    pub(super) fn new(job: Job, poll: PollTime, starting: SyncSender<io::Result<()>>) -> Self {
        Self {
            job,
            state: State::Hot,
            poll,
            nap: None,
            pause: Pause::default(),
            served: false,
            look_at: None,
            is_parked: false,
            starting: Some(starting),
            leaving: None,
        }
    }

    /// It is at its worker, which has not looked at it yet.
    pub(super) fn arrive(&mut self) {
        debug_assert!(self.leaving.is_none(), "a ring moves that must stop");
        self.state = State::Hot;
        self.nap = self.job.kick.is_none().then(Nap::default);
        self.pause = Pause::default();
        self.served = false;
        self.look_at = None;
        self.is_parked = false;
    }

    /// Serve a bounded number of requests. A panic is a bug of ours, but it ends this ring only.
    pub(super) fn turn(&mut self, pace: Pace, tools: &Tools) -> Turn {
        let job = &mut self.job;
        match catch_unwind(AssertUnwindSafe(|| job.turn(pace, &tools.watched))) {
            Ok(Ok(turn)) => {
                if turn.steps > 0 {
                    if self.pause.dry_since.take().is_some() || self.pause.was_kicked {
                        self.resumed(turn.steps);
                    }
                    self.served = true;
                    if let Some(nap) = &mut self.nap {
                        *nap = Nap::default();
                    }
                }
                turn
            }
            Ok(Err(error)) => {
                self.breaks(error, tools);
                Turn::default()
            }
            Err(_) => {
                let queue = self.job.index;
                let say = || tracing::error!(queue, "bug: serving a request panicked");
                self.job.span.in_scope(say);
                self.ends(tools);
                Turn::default()
            }
        }
    }

    /// The first requests after a pause were served.
    fn resumed(&mut self, count: u32) {
        self.pause.was_kicked = false;
        self.poll.resumed_with(count);
        if let Some(dry) = self.pause.dry.take() {
            self.poll.found_after(dry);
        }
    }

    /// If it has been dry for long enough, ask its driver to kick. `is_busy`: the worker doesn't
    /// sleep anyway, and to look at one more ring costs less than a kick.
    pub(super) fn cool(&mut self, now: Instant, is_busy: bool, tools: &Tools) {
        if self.state != State::Hot || self.leaving.is_some() {
            return;
        }
        self.look_at = self.job.look_at(now);
        if self.look_at.is_some_and(|at| at <= now) {
            return;
        }
        if self.job.is_held() {
            // Nothing that a kick could announce can be served.
            self.state = State::Cold;
            return;
        }
        let dry_since = *self.pause.dry_since.get_or_insert(now);
        let dry = now.duration_since(dry_since);
        if let Some(nap) = &mut self.nap {
            if dry >= self.poll.most() {
                let at = now + nap.next();
                self.look_at = Some(self.look_at.map_or(at, |other| other.min(at)));
                self.state = State::Cold;
                self.log_refused(tools);
            }
            return;
        }
        if !self.poll.is_over(dry, tools.is_crowded) || is_busy && dry < KEEP_BESIDE_OTHERS {
            self.pause.dry = Some(dry);
            return;
        }
        self.log_refused(tools);
        match self.job.enable_notification() {
            Ok(true) => (self.pause.dry_since, self.pause.dry) = (None, None),
            Ok(false) => {
                self.state = State::Cold;
                self.pause.dry = None;
                self.pause.cold_since = Some(now);
            }
            Err(error) => self.breaks(error, tools),
        }
    }

    /// Log what the driver was refused while the ring was hot, if anything.
    fn log_refused(&mut self, tools: &Tools) {
        if let Some((head, fault)) = self.job.ring.take_refused()
            && let Some(withheld) = tools.log_limit.may_log()
        {
            let (queue, _inside) = (self.job.index, self.job.span.enter());
            tracing::warn!(queue, head, withheld, %fault, "request fails for its chain");
        }
    }

    /// Whether it must stop, and has returned all that it had set aside, or never will.
    pub(super) fn may_leave(&self) -> bool {
        self.leaving.is_some() && (self.job.is_drained() || self.state == State::Broken)
    }

    /// It was kicked, and is hot. `slept`: its worker slept until then.
    pub(super) fn kicked(&mut self, now: Instant, slept: bool) {
        if let Some(dry_since) = self.pause.dry_since.take() {
            let cold_since = self.pause.cold_since.take().filter(|_| slept);
            let slept = cold_since.map(|since| now.duration_since(since));
            self.poll.kicked_after(now.duration_since(dry_since), slept);
            self.pause.was_kicked = true;
        }
        self.state = State::Hot;
    }

    /// Call another descriptor from now on, and once at once: the signal of the old one may have
    /// been missed.
    pub(super) fn set_call(&mut self, call: Option<Arc<Notifier>>, tools: &Tools) {
        self.job.call = call;
        self.call(tools);
    }

    /// Call the driver if it may wait for a call that a process before us owed it.
    pub(super) fn call_if_owed(&mut self, tools: &Tools) {
        if self.job.ring.may_owe_call() {
            self.call(tools);
        }
    }

    fn call(&mut self, tools: &Tools) {
        if let Err(error) = self.job.call(&tools.watched) {
            self.breaks(error, tools);
        }
    }

    fn breaks(&mut self, error: RingError, tools: &Tools) {
        // If memory was taken away, the ring is broken for that, whatever it looks like.
        let error = if self.job.ring.is_lost() {
            RingError::MemoryLost
        } else {
            error
        };
        if let Some(withheld) = tools.log_limit.may_log() {
            let (queue, _inside) = (self.job.index, self.job.span.enter());
            tracing::warn!(queue, withheld, %error, "ring is broken and stops");
        }
        if matches!(error, RingError::MemoryLost | RingError::Hung) {
            // No ring of this front end can go on; its session ends at the end of file.
            self.job.hang_up();
        }
        self.ends(tools);
    }

    /// Stop serving it, and tell its driver.
    fn ends(&mut self, tools: &Tools) {
        self.state = State::Broken;
        if let Some(err) = &self.job.err {
            tools.watched.during(|| err.signal());
        }
    }
}
