//! The main thread of a run: it starts the queues' threads, moves them through the stages, and
//! watches the back end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signal_hook::consts::SIGINT;
use signal_hook::flag::{register, register_conditional_shutdown};

use crate::load::Error;
use crate::load::control::{Control, Stage};
use crate::load::front::{Front, PATIENCE};
use crate::load::options::{Driver, Options, Plan};
use crate::load::process::{self, Sample};
use crate::load::queue::results::QueueResults;
use crate::load::queue::thread::{EventFds, QueueThread};
use crate::load::report::{Interval, Measured, Report};
use crate::load::virtqueue::eventfd::EventFd;
use crate::load::virtqueue::memory::Memory;
use crate::load::virtqueue::slots::Layout;
use crate::threads::{self, Role};

/// The interval between two checks for progress.
const LOOK: Duration = Duration::from_millis(100);

/// Make load as `options` say, and report the results.
///
/// # Errors
/// The options are impossible, or the back end violates the protocol. Requests that complete with
/// an error are in the report.
pub fn run(options: &Options) -> Result<Report, Error> {
    options.check()?;
    let mut front = Front::connect(options)?;
    let plan = Plan::new(options.clone(), &front.disk())?;
    let (layouts, bytes) = lay_out(&plan);
    let memory = Memory::new(bytes).map_err(|source| Error::System {
        what: "get memory for rings and data (a smaller --depth or --block-size takes less)",
        source,
    })?;
    let control = Control::new(options.queues)?;
    let (mut drivers, mut calls, mut rings) = (Vec::new(), Vec::new(), Vec::new());
    for (queue, layout) in (0..).zip(layouts) {
        let kick = EventFd::new(false)?;
        let call = EventFd::new(options.driver == Driver::Sleep)?;
        rings.push((layout.ring, kick.try_clone()?, call.try_clone()?));
        calls.push(call.try_clone()?);
        let eventfds = EventFds { kick, call };
        drivers.push(QueueThread::new(
            (&plan, &control),
            (&memory, layout),
            queue,
            eventfds,
        )?);
    }
    front.start(&plan, &memory, &rings)?;
    let pid = process::peer(front.stream());
    let mut supervisor = Supervisor::new(&plan, &control, &front, &calls)?;
    let (measured, results) = thread::scope(|scope| {
        let mut threads = Vec::new();
        for (queue, driver) in (0..).zip(drivers) {
            let control = &control;
            let thread = threads::spawn_scoped(scope, Role::LoadQueue(queue), move || {
                let result = driver.run(queue);
                control.ended(result.is_err());
                result
            });
            threads.push(thread.map_err(|source| Error::System {
                what: "start a thread",
                source,
            }));
        }
        let measured = supervisor.all_stages(pid);
        let failed = measured.is_err() || threads.iter().any(Result::is_err);
        if failed {
            control.enter(Stage::Abort, &calls);
        }
        (measured, threads.into_iter().map(join).collect::<Vec<_>>())
    });
    let results = settle(measured.is_ok(), results)?;
    let measured = measured?;
    front.stop(results.len());
    Ok(Report::new(&plan, &results, pid, measured))
}

/// The layout of each queue, and the size of all in bytes.
fn lay_out(plan: &Plan) -> (Vec<Layout>, usize) {
    let mut end = 0;
    let layouts = (0..plan.options.queues).map(|_| {
        let (layout, next) = Layout::new(&plan.shape, plan.ring_size, end);
        end = next;
        layout
    });
    let layouts = layouts.collect();
    (layouts, end)
}

type Handle<'s> = thread::ScopedJoinHandle<'s, Result<QueueResults, Error>>;

fn join(thread: Result<Handle<'_>, Error>) -> Result<QueueResults, Error> {
    thread?
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// The results of all queues, or the first error that isn't only a consequence of another one.
/// `measured` is false if the supervisor gave up.
fn settle(
    measured: bool,
    results: Vec<Result<QueueResults, Error>>,
) -> Result<Vec<QueueResults>, Error> {
    let mut good = Vec::new();
    let mut aborted = None;
    for result in results {
        match result {
            Ok(result) => good.push(result),
            Err(Error::Aborted) => aborted = Some(Error::Aborted),
            Err(error) => return Err(error),
        }
    }
    // If the supervisor gave up, its error explains what threads did.
    match aborted {
        Some(error) if measured => Err(error),
        _ => Ok(good),
    }
}

/// The main thread's view of a run.
struct Supervisor<'r> {
    plan: &'r Plan,
    control: &'r Control,
    front: &'r Front,
    calls: &'r [EventFd],
    /// Set by SIGINT, which ends the run with the results so far.
    interrupted: Arc<AtomicBool>,
    /// Requests that each queue has completed, and since when.
    seen: Vec<(u64, Instant)>,
}

impl<'r> Supervisor<'r> {
    fn new(
        plan: &'r Plan,
        control: &'r Control,
        front: &'r Front,
        calls: &'r [EventFd],
    ) -> Result<Self, Error> {
        let seen = vec![(0, Instant::now()); control.lanes.len()];
        let interrupted = Arc::new(AtomicBool::new(false));
        // A second signal ends the process at once.
        let first = register_conditional_shutdown(SIGINT, 130, Arc::clone(&interrupted))
            .and_then(|_| register(SIGINT, Arc::clone(&interrupted)));
        first.map_err(|source| Error::System {
            what: "handle SIGINT",
            source,
        })?;
        Ok(Self {
            plan,
            control,
            front,
            calls,
            interrupted,
            seen,
        })
    }

    /// Run all stages, and return what was noted during the measurement.
    fn all_stages(&mut self, pid: Option<u32>) -> Result<Measured, Error> {
        let options = &self.plan.options;
        if options.fill {
            self.wait(None, Control::all_filled)?;
        }
        self.control.enter(Stage::WarmUp, self.calls);
        self.wait(Some(options.warm_up), Control::all_ended)?;
        let before = Sample::new(pid);
        self.control.enter(Stage::Measure, self.calls);
        let most = options.duration.unwrap_or(Duration::MAX);
        let intervals = match options.interval {
            Some(each) => Some(self.measure_by(each, most)?),
            None => {
                self.wait(Some(most), Control::all_counted)?;
                None
            }
        };
        let spent = before.and_then(|before| Some(Sample::new(pid)?.since(&before)));
        self.control.enter(Stage::Stop, self.calls);
        self.wait(None, Control::all_ended)?;
        Ok(Measured { spent, intervals })
    }

    /// Wait until the measurement is over, and no longer than `most`. Counts what completes in each
    /// interval; the times are those at which this thread ran, so that a late one changes no rate.
    fn measure_by(&mut self, each: Duration, most: Duration) -> Result<Vec<Interval>, Error> {
        let began = Instant::now();
        let completed = |control: &Control| -> u64 {
            let lanes = control.lanes.iter();
            lanes
                .map(|lane| lane.completed.load(Ordering::Relaxed))
                .sum()
        };
        let mut intervals = Vec::new();
        let (mut from, mut seen) = (Duration::ZERO, completed(self.control));
        let mut due = each;
        while from < most && !self.is_over(Control::all_counted, true) {
            let until = due.min(most).saturating_sub(began.elapsed());
            self.wait(Some(until), Control::all_counted)?;
            let (now, count) = (began.elapsed(), completed(self.control));
            let [from_s, now_s] = [from, now].map(|time| time.as_secs_f64());
            intervals.push(Interval::new(from_s, now_s, count - seen));
            (from, seen) = (now, count);
            due += each;
        }
        Ok(intervals)
    }

    /// Whether a wait ends. `interruptible`: SIGINT ends it.
    fn is_over(&self, is_over: fn(&Control) -> bool, interruptible: bool) -> bool {
        let interrupted = interruptible && self.interrupted.load(Ordering::Relaxed);
        is_over(self.control) || self.control.has_failed() || interrupted
    }

    /// Wait until `is_over`, and no longer than `most`. SIGINT ends a wait that has such a bound.
    fn wait(&mut self, most: Option<Duration>, is_over: fn(&Control) -> bool) -> Result<(), Error> {
        let began = Instant::now();
        loop {
            if self.is_over(is_over, most.is_some()) {
                return Ok(());
            }
            let left = most.map_or(LOOK, |most| most.saturating_sub(began.elapsed()).min(LOOK));
            if left.is_zero() {
                return Ok(());
            }
            let mut wanted = [
                PollFd::new(self.front.stream(), PollFlags::IN | PollFlags::RDHUP),
                PollFd::new(self.control.news(), PollFlags::IN),
            ];
            let timeout = Timespec::try_from(left).ok();
            let polled = poll(&mut wanted, timeout.as_ref());
            if polled.is_ok_and(|ready| ready > 0) {
                // The back end has nothing to send, so this is the end of the connection.
                if !wanted[0].revents().is_empty() {
                    return Err(Error::Lost {
                        socket: self.plan.options.socket.clone(),
                    });
                }
                if self.control.news().wait(Some(0)) {
                    let _ = self.control.news().read();
                }
            }
            self.look()?;
        }
    }

    /// Check that each queue with requests in flight makes progress.
    fn look(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        for (lane, (seen, since)) in self.control.lanes.iter().zip(&mut self.seen) {
            let completed = lane.completed.load(Ordering::Relaxed);
            let submitted = lane.submitted.load(Ordering::Relaxed);
            if completed != *seen || submitted == completed {
                (*seen, *since) = (completed, now);
            } else if now.duration_since(*since) >= PATIENCE {
                return Err(Error::Stalled {
                    socket: self.plan.options.socket.clone(),
                    in_flight: submitted.saturating_sub(completed),
                });
            }
        }
        Ok(())
    }
}
