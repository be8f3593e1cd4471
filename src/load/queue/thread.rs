//! One queue's thread: it reaps completions, makes new requests, and kicks or sleeps. Between kicks
//! it makes no system call, allocates nothing, and reads the clock once per batch.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use crate::load::Error;
use crate::load::control::{Control, Lane, NUDGE, Stage};
use crate::load::options::{Driver, Plan};
use crate::load::queue::content::Content;
use crate::load::queue::pace::Pace;
use crate::load::queue::requests::{Job, Requests};
use crate::load::queue::results::{QueueResults, cpu_ns};
use crate::load::virtqueue::eventfd::EventFd;
use crate::load::virtqueue::memory::Memory;
use crate::load::virtqueue::ring::{Ring, low16};
use crate::load::virtqueue::slots::{Layout, Slots, UNSET};

/// The driver's own time is measured once in this many batches, because reading the clock costs as
/// much as a request.
const SAMPLED: u32 = 16;

/// A queue's two eventfds.
#[derive(Debug)]
pub(in crate::load) struct EventFds {
    pub(in crate::load) kick: EventFd,
    pub(in crate::load) call: EventFd,
}

/// Whether completions count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counting {
    Not,
    /// Once all earlier requests have completed.
    Soon,
    Yes,
    Over,
}

/// The thread's state.
pub(in crate::load) struct QueueThread<'m> {
    plan: &'m Plan,
    control: &'m Control,
    lane: &'m Lane,
    ring: Ring<'m>,
    slots: Slots<'m>,
    free: Vec<u16>,
    eventfds: EventFds,
    requests: Requests,
    content: Option<Content>,
    pace: Option<Pace>,
    /// Requests to make while they count.
    share: u64,
    clock: Instant,
    now_ns: u64,
    stage: Stage,
    counting: Counting,
    submitted: u64,
    completed: u64,
    /// Completed batches, and the requests completed by the last of them.
    batches: u32,
    sampled_from: u64,
    began_cpu_ns: u64,
    began_ns: u64,
    results: QueueResults,
}

impl<'m> QueueThread<'m> {
    /// A queue that has made no requests.
    ///
    /// # Errors
    /// Its parts don't fit into the memory.
    pub(in crate::load) fn new(
        (plan, control): (&'m Plan, &'m Control),
        (memory, layout): (&'m Memory, Layout),
        queue: u16,
        eventfds: EventFds,
    ) -> Result<Self, Error> {
        let options = &plan.options;
        let lay = |source| Error::System {
            what: "lay out the rings",
            source,
        };
        let mut ring = Ring::new(memory, layout.ring, plan.event_idx).map_err(lay)?;
        if options.driver == Driver::Poll {
            ring.start_without_calls();
        } else {
            ring.disable_calls();
        }
        let parts = (plan.shape, layout);
        let slots = Slots::new(memory, parts, ring.table, plan.first_kind()).map_err(lay)?;
        let mut noise = fastrand::Rng::with_seed(options.seed ^ 0x5EED);
        for slot in 0..usize::from(options.depth) {
            for word in slots.data(slot) {
                word.store(noise.u64(1..), Ordering::Relaxed);
            }
        }
        let queues = u64::from(options.queues);
        let requests = options.requests.unwrap_or(u64::MAX);
        let rest = u64::from(u64::from(queue) < requests % queues);
        let content = || {
            let block = plan.shape.block_bytes;
            Content::new(options.seed, plan.slice(queue), block, options.depth)
        };
        Ok(Self {
            lane: &control.lanes[usize::from(queue)],
            ring,
            slots,
            free: (0..options.depth).rev().collect(),
            eventfds,
            requests: Requests::new(plan, queue),
            content: options.verify.then(content),
            pace: None,
            share: requests / queues + rest,
            clock: Instant::now(),
            now_ns: 0,
            stage: Stage::Fill,
            counting: Counting::Not,
            submitted: 0,
            completed: 0,
            batches: 0,
            sampled_from: 0,
            began_cpu_ns: 0,
            began_ns: 0,
            results: QueueResults::new()?,
            plan,
            control,
        })
    }

    /// Run all stages.
    ///
    /// # Errors
    /// The back end returns a request that is not in flight, or wrong content.
    pub(in crate::load) fn run(mut self, queue: u16) -> Result<QueueResults, Error> {
        self.pin(queue)?;
        if self.plan.options.fill {
            self.work(Job::Fill)?;
            self.control.filled();
        }
        while self.control.stage() == Stage::Fill {
            thread::sleep(Duration::from_micros(200));
        }
        if let Some(rate) = self.plan.options.rate {
            let options = &self.plan.options;
            let queues = f64::from(options.queues);
            // Queues take turns.
            let group = if options.burst { options.depth } else { 1 };
            let turn = f64::from(queue) / queues;
            self.pace = Some(Pace::new(self.clock(), 1e9 * queues / rate, turn, group));
        }
        self.work(Job::Load)?;
        if self.content.is_some() {
            self.work(Job::Sweep)?;
        }
        if let Some(content) = &self.content {
            self.results.verified_sectors = content.verified_sectors;
        }
        Ok(self.results)
    }

    /// Pin the thread, and make its wake-ups precise.
    fn pin(&self, queue: u16) -> Result<(), Error> {
        let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
        let Some(&cpu) = self.plan.options.cpus.get(usize::from(queue)) else {
            return Ok(());
        };
        let refuse = || {
            Error::Option(format!(
                "--cpu {cpu} is not an available processor; see nproc"
            ))
        };
        if cpu >= rustix::thread::CpuSet::MAX_CPU {
            return Err(refuse());
        }
        let mut set = rustix::thread::CpuSet::new();
        set.set(cpu);
        rustix::thread::sched_setaffinity(None, &set).map_err(|_| refuse())
    }

    /// Do a job until it is over and all of its requests have completed.
    fn work(&mut self, job: Job) -> Result<(), Error> {
        self.begin_job(job)?;
        loop {
            let back = self.reap()?;
            if self.pace.is_some() {
                self.now_ns = self.clock();
            }
            self.check_stage()?;
            if self.counting == Counting::Soon && self.in_flight() == 0 {
                self.begin();
            }
            let room = self.room(job);
            if (room > 0 && self.submit(room)) || back {
                continue;
            }
            if self.in_flight() == 0 && (self.stage == Stage::Stop || job != Job::Load) {
                return Ok(());
            }
            self.idle(job)?;
        }
    }

    /// Measure now and then how long it took to reap a batch and to replace it. A kick is not
    /// included, because the back end may get this processor then.
    #[inline]
    fn sample(&mut self) {
        let requests = self.completed - self.sampled_from;
        self.sampled_from = self.completed;
        self.batches = self.batches.wrapping_add(1);
        let due = self.batches.is_multiple_of(SAMPLED);
        if due && requests > 0 && self.pace.is_none() && self.counting == Counting::Yes {
            let took_ns = self.clock() - self.now_ns;
            self.results.busy_ns.saturating_record(took_ns / requests);
        }
    }

    /// Begin to make requests for a job.
    pub(in crate::load) fn begin_job(&mut self, job: Job) -> Result<(), Error> {
        self.requests.begin(job);
        self.now_ns = self.clock();
        self.check_stage()
    }

    #[inline]
    fn check_stage(&mut self) -> Result<(), Error> {
        let stage = self.control.stage();
        if stage == self.stage {
            return Ok(());
        }
        self.enter(stage)
    }

    #[inline]
    fn in_flight(&self) -> u64 {
        self.submitted - self.completed
    }

    #[inline]
    fn clock(&self) -> u64 {
        u64::try_from(self.clock.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// The number of requests that may be made now.
    #[inline]
    fn room(&self, job: Job) -> usize {
        let free = self.free.len();
        if job != Job::Load {
            return free;
        }
        let mut room = match self.counting {
            Counting::Not => free,
            Counting::Soon | Counting::Over => 0,
            Counting::Yes => {
                let made = self.results.requests + self.in_flight();
                let left = self.share.saturating_sub(made);
                free.min(usize::try_from(left).unwrap_or(free))
            }
        };
        if self.stage == Stage::Stop || (self.plan.options.burst && self.in_flight() > 0) {
            return 0;
        }
        if let Some(pace) = &self.pace {
            room = room.min(usize::try_from(pace.due(self.now_ns)).unwrap_or(room));
        }
        room
    }

    /// Reap completions, and return whether there were any.
    #[inline]
    pub(in crate::load) fn reap(&mut self) -> Result<bool, Error> {
        let ready = self.ring.ready();
        if ready == 0 {
            return Ok(false);
        }
        if u64::from(ready) > self.in_flight() {
            return Err(Error::Ring(format!(
                "{ready} requests were returned, and {} were in flight",
                self.in_flight()
            )));
        }
        self.now_ns = self.clock();
        let first = self.free.len();
        let mut bad = 0;
        // Most requests of a batch began at the same time, and are recorded together.
        let (mut begun_ns, mut alike) = (0, 0);
        let counts = self.counting == Counting::Yes;
        for _ in 0..ready {
            let head = self.ring.take();
            let Some((slot, at_ns)) = self.slots.finish(head) else {
                return Err(Error::Ring(format!(
                    "descriptor {head} was returned, and no request in flight begins with it"
                )));
            };
            bad |= self.slots.status(slot);
            self.free.push(low16(slot as u64));
            if at_ns != begun_ns {
                self.record(begun_ns, alike);
                (begun_ns, alike) = (at_ns, 0);
            }
            alike += u64::from(counts);
        }
        self.record(begun_ns, alike);
        self.completed += u64::from(ready);
        self.lane.completed.store(self.completed, Ordering::Relaxed);
        if bad != 0 {
            self.count_errors(first);
        }
        if self.content.is_some() {
            self.compare(first)?;
        }
        if counts {
            self.results.requests += u64::from(ready);
            if self.results.requests >= self.share {
                self.end();
                self.control.counted();
            }
        }
        self.ring.keep_calls_disabled();
        Ok(true)
    }

    #[inline]
    fn record(&mut self, begun_ns: u64, alike: u64) {
        if alike > 0 {
            let latency = self.now_ns.saturating_sub(begun_ns);
            self.results.latency_ns.saturating_record_n(latency, alike);
        }
    }

    /// Count the errors of the slots that completed after the first `first` ones.
    #[cold]
    fn count_errors(&mut self, first: usize) {
        for &slot in &self.free[first..] {
            let kind = match self.slots.status(slot.into()) {
                0 => continue,
                1 => 0,
                2 => 1,
                UNSET => 2,
                _ => 3,
            };
            self.results.errors[kind] += 1;
        }
    }

    fn compare(&mut self, first: usize) -> Result<(), Error> {
        let Some(content) = &mut self.content else {
            return Ok(());
        };
        for &slot in &self.free[first..] {
            let slot = usize::from(slot);
            let good = self.slots.status(slot) == 0;
            let request = self.slots.request(slot);
            content.finish(slot, request, good, self.slots.data(slot))?;
        }
        Ok(())
    }

    /// Make up to `most` requests, and return whether any were made.
    #[inline]
    pub(in crate::load) fn submit(&mut self, most: usize) -> bool {
        let before = self.submitted;
        for _ in 0..most {
            let Some((kind, block)) = self.requests.next(self.content.as_ref()) else {
                break;
            };
            let Some(slot) = self.free.pop() else {
                break;
            };
            let slot = usize::from(slot);
            let at_ns = match &mut self.pace {
                Some(pace) if self.stage < Stage::Stop => pace.issue(),
                _ => self.now_ns,
            };
            let table = self.ring.table;
            self.slots.prepare(slot, kind, block, (at_ns, table));
            if let Some(content) = &mut self.content {
                content.begin(slot, (kind, block), self.slots.data(slot));
            }
            self.ring.push(self.slots.head(slot));
            self.submitted += 1;
        }
        if self.submitted == before {
            return false;
        }
        self.lane.submitted.store(self.submitted, Ordering::Relaxed);
        let wanted = self.ring.publish();
        self.sample();
        if wanted {
            self.results.kicks += 1;
            self.eventfds.kick.add(1);
        }
        true
    }

    /// Wait: nothing has completed, and nothing may be made.
    #[inline]
    fn idle(&mut self, job: Job) -> Result<(), Error> {
        if self.plan.options.driver == Driver::Poll {
            std::hint::spin_loop();
            return Ok(());
        }
        self.sleep(job)
    }

    /// Sleep until the back end calls, the next request is due, or the stage changes.
    fn sleep(&mut self, job: Job) -> Result<(), Error> {
        let may_submit = job == Job::Load
            && self.stage < Stage::Stop
            && matches!(self.counting, Counting::Not | Counting::Yes)
            && !(self.plan.options.burst && self.in_flight() > 0)
            && !self.free.is_empty();
        let wait_ns = match &self.pace {
            Some(pace) if may_submit => Some(pace.next_ns().saturating_sub(self.clock())),
            _ => None,
        };
        if self.ring.enable_calls()
            && wait_ns.is_none_or(|wait_ns| self.eventfds.call.wait(Some(wait_ns)))
        {
            self.results.calls += self.eventfds.call.read()? % NUDGE;
        }
        self.ring.disable_calls();
        Ok(())
    }

    fn enter(&mut self, stage: Stage) -> Result<(), Error> {
        self.stage = stage;
        match stage {
            Stage::Fill | Stage::WarmUp => {}
            Stage::Measure if self.plan.options.requests.is_some() => {
                self.counting = Counting::Soon
            }
            Stage::Measure => self.begin(),
            Stage::Stop => self.end(),
            Stage::Abort => return Err(Error::Aborted),
        }
        Ok(())
    }

    /// Begin to count.
    fn begin(&mut self) {
        self.counting = Counting::Yes;
        self.calls_so_far();
        self.results.kicks = 0;
        self.results.calls = 0;
        self.results.requests = 0;
        self.began_cpu_ns = cpu_ns();
        self.began_ns = self.clock();
    }

    /// Stop counting.
    fn end(&mut self) {
        if self.counting == Counting::Yes {
            self.results.wall_ns = self.clock() - self.began_ns;
            self.results.cpu_ns = cpu_ns() - self.began_cpu_ns;
            self.calls_so_far();
        }
        self.counting = Counting::Over;
    }

    /// Count calls that came without a wait.
    fn calls_so_far(&mut self) {
        if self.eventfds.call.wait(Some(0)) {
            self.results.calls += self.eventfds.call.read().unwrap_or(0) % NUDGE;
        }
    }
}
