//! The main thread of a run: starts the queues' threads, tells them the stages, and watches that
//! the back end is there and gets on.

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
use crate::load::process::{self, Sample, Spent};
use crate::load::queue::tally::Tally;
use crate::load::queue::thread::{Bells, Pump};
use crate::load::report::Report;
use crate::load::virtqueue::eventfd::Bell;
use crate::load::virtqueue::memory::Memory;
use crate::load::virtqueue::slots::Layout;
use crate::threads::{self, Role};

/// How often it looks whether there is progress.
const LOOK: Duration = Duration::from_millis(100);

/// Make load as `options` say, and report what came of it.
///
/// # Errors
/// The options can't be followed, or the back end does what it must not. Requests that it
/// completes with an error are in the report.
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
    let (mut pumps, mut calls, mut rings) = (Vec::new(), Vec::new(), Vec::new());
    for (queue, layout) in (0..).zip(layouts) {
        let kick = Bell::new(false)?;
        let call = Bell::new(options.driver == Driver::Sleep)?;
        rings.push((layout.ring, kick.try_clone()?, call.try_clone()?));
        calls.push(call.try_clone()?);
        let bells = Bells { kick, call };
        pumps.push(Pump::new(
            (&plan, &control),
            (&memory, layout),
            queue,
            bells,
        )?);
    }
    front.start(&plan, &memory, &rings)?;
    let pid = process::peer(front.stream());
    let mut lead = Lead::new(&plan, &control, &front, &calls)?;
    let (spent, tallies) = thread::scope(|scope| {
        let mut threads = Vec::new();
        for (queue, pump) in (0..).zip(pumps) {
            let control = &control;
            let thread = threads::spawn_scoped(scope, Role::LoadQueue(queue), move || {
                let result = pump.run(queue);
                control.ended(result.is_err());
                result
            });
            threads.push(thread.map_err(|source| Error::System {
                what: "start a thread",
                source,
            }));
        }
        let spent = lead.all_stages(pid);
        let failed = spent.is_err() || threads.iter().any(Result::is_err);
        if failed {
            control.enter(Stage::Abort, &calls);
        }
        (spent, threads.into_iter().map(join).collect::<Vec<_>>())
    });
    let tallies = settle(&spent, tallies)?;
    let spent = spent?;
    front.stop(tallies.len());
    Ok(Report::new(&plan, &tallies, pid, spent))
}

/// Where each queue lies, and the bytes of all.
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

type Handle<'s> = thread::ScopedJoinHandle<'s, Result<Tally, Error>>;

fn join(thread: Result<Handle<'_>, Error>) -> Result<Tally, Error> {
    thread?
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// All tallies, or the error that explains the others.
fn settle(
    spent: &Result<Option<Spent>, Error>,
    tallies: Vec<Result<Tally, Error>>,
) -> Result<Vec<Tally>, Error> {
    let mut good = Vec::new();
    let mut aborted = None;
    for tally in tallies {
        match tally {
            Ok(tally) => good.push(tally),
            Err(Error::Aborted) => aborted = Some(Error::Aborted),
            Err(error) => return Err(error),
        }
    }
    // A lead that gave up says why; then it doesn't matter what threads did.
    match aborted {
        Some(error) if spent.is_ok() => Err(error),
        _ => Ok(good),
    }
}

/// What the main thread watches.
struct Lead<'r> {
    plan: &'r Plan,
    control: &'r Control,
    front: &'r Front,
    calls: &'r [Bell],
    /// Whether the user wants an end, and what there is so far.
    interrupted: Arc<AtomicBool>,
    /// What each queue had completed, and since when.
    seen: Vec<(u64, Instant)>,
}

impl<'r> Lead<'r> {
    fn new(
        plan: &'r Plan,
        control: &'r Control,
        front: &'r Front,
        calls: &'r [Bell],
    ) -> Result<Self, Error> {
        let seen = vec![(0, Instant::now()); control.lanes.len()];
        let interrupted = Arc::new(AtomicBool::new(false));
        // The second signal ends the process, whatever it waits for.
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

    /// From fill to the end; what the back end spent while requests were measured.
    fn all_stages(&mut self, pid: Option<u32>) -> Result<Option<Spent>, Error> {
        let options = &self.plan.options;
        if options.fill {
            self.wait(None, Control::all_filled)?;
        }
        self.control.enter(Stage::WarmUp, self.calls);
        self.wait(Some(options.warm_up), Control::all_ended)?;
        let before = Sample::new(pid);
        self.control.enter(Stage::Measure, self.calls);
        let most = options.duration.unwrap_or(Duration::MAX);
        self.wait(Some(most), Control::all_counted)?;
        let spent = before.and_then(|before| Some(Sample::new(pid)?.since(&before)));
        self.control.enter(Stage::Stop, self.calls);
        self.wait(None, Control::all_ended)?;
        Ok(spent)
    }

    /// For some time, or until something is so; where it has an end, SIGINT is one too.
    fn wait(&mut self, most: Option<Duration>, is_over: fn(&Control) -> bool) -> Result<(), Error> {
        let began = Instant::now();
        loop {
            let interrupted = self.interrupted.load(Ordering::Relaxed);
            if is_over(self.control) || self.control.has_failed() || interrupted && most.is_some() {
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
                // It has no reason to say anything, so it is the end of the connection.
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

    /// Whether each queue that waits for something has got something.
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
