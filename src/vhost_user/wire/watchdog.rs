//! Interrupts a worker whose write to a front end's descriptor hangs.
//!
//! A worker calls a driver by writing to an eventfd that the front end passed. The front end shares
//! the file: it can make it blocking at any moment and fill it, and then the write waits as long as
//! the front end likes, and with it all other rings of the worker. Polling the eventfd first leaves
//! a gap. So a worker notes when it is inside such a call, and a thread checks every few
//! milliseconds whether a worker is still inside the same call. If so, a signal interrupts the
//! write, it fails, and the front end's connection ends.
//!
//! The thread sleeps without waking while no worker calls a driver.
#![allow(unsafe_code)]

use std::io;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering, fence};
use std::sync::{Arc, Once};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

use crate::threads::{self, Role};

/// A call that lasts longer than one to two of these is interrupted.
const PERIOD: Duration = Duration::from_millis(10);
/// Periods without a call after which the thread goes to sleep.
const CALM: u32 = 10;
/// A signal that is ignored by default and not used otherwise, so a thread that gets it by mistake
/// is only interrupted.
const SIGNAL: libc::c_int = libc::SIGURG;

/// What a worker and the watchdog share.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    /// Incremented before and after each call, so that it is odd inside a call.
    calls: AtomicU64,
    /// The kernel's number of the worker's thread; 0 before it runs.
    thread: AtomicI32,
}

/// A worker's side of the watchdog.
#[derive(Clone, Debug)]
pub(crate) struct Watched {
    pulse: Arc<Pulse>,
    asleep: Arc<AtomicBool>,
    watchdog: Thread,
}

impl Watched {
    /// The worker's own thread must call this once, before [`Watched::during`].
    pub(crate) fn begin(&self) {
        let thread = rustix::thread::gettid().as_raw_nonzero().get();
        self.pulse.thread.store(thread, Ordering::Relaxed);
    }

    /// Make a call that may block, until it is interrupted.
    pub(crate) fn during<T>(&self, call: impl FnOnce() -> T) -> T {
        // Only the worker writes it.
        let calls = self.pulse.calls.load(Ordering::Relaxed);
        debug_assert!(calls.is_multiple_of(2), "a worker is inside two calls");
        self.pulse.calls.store(calls + 1, Ordering::Relaxed);
        // Either the watchdog sees the call before it sleeps, or we see that it sleeps.
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) {
            self.watchdog.unpark();
        }
        let result = call();
        self.pulse.calls.store(calls + 2, Ordering::Release);
        result
    }
}

/// The watching thread. Drop it after the workers have ended.
#[derive(Debug)]
pub(crate) struct Watchdog {
    pulses: Vec<Arc<Pulse>>,
    asleep: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    /// Watch `workers` workers.
    pub(crate) fn start(workers: usize) -> io::Result<Self> {
        make_signal_harmless()?;
        let pulses: Vec<Arc<Pulse>> = (0..workers).map(|_| Arc::default()).collect();
        let asleep = Arc::new(AtomicBool::new(false));
        let stop = Arc::new(AtomicBool::new(false));
        let (watch, sleeps, ends) = (pulses.clone(), Arc::clone(&asleep), Arc::clone(&stop));
        let thread = threads::spawn_vital(Role::Watchdog, move || {
            run(&watch, &sleeps, &ends);
            Ok(())
        })?;
        Ok(Self {
            pulses,
            asleep,
            stop,
            thread: Some(thread),
        })
    }

    /// The handle for worker `number`.
    pub(crate) fn watched(&self, number: usize) -> Option<Watched> {
        Some(Watched {
            pulse: Arc::clone(self.pulses.get(number)?),
            asleep: Arc::clone(&self.asleep),
            watchdog: self.thread.as_ref()?.thread().clone(),
        })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

fn run(pulses: &[Arc<Pulse>], asleep: &AtomicBool, stop: &AtomicBool) {
    let look = || -> Vec<u64> {
        let calls = pulses
            .iter()
            .map(|pulse| pulse.calls.load(Ordering::Acquire));
        calls.collect()
    };
    let is_calm = |calls: &[u64], last: &[u64]| calls == last && calls.iter().all(|n| n % 2 == 0);
    let mut last = look();
    let mut calm = 0;
    while !stop.load(Ordering::Acquire) {
        if calm < CALM {
            std::thread::park_timeout(PERIOD);
        } else {
            asleep.store(true, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            if is_calm(&look(), &last) && !stop.load(Ordering::Acquire) {
                std::thread::park();
            }
            asleep.store(false, Ordering::Relaxed);
            // The worker that woke this thread has only just begun its call.
            last = look();
            calm = 0;
            continue;
        }
        let calls = look();
        for ((pulse, now), before) in pulses.iter().zip(&calls).zip(&last) {
            if now % 2 == 1 && now == before {
                interrupt(pulse.thread.load(Ordering::Relaxed));
            }
        }
        calm = if is_calm(&calls, &last) { calm + 1 } else { 0 };
        last = calls;
    }
}

/// Interrupt the system call of a thread of this process.
fn interrupt(thread: libc::pid_t) {
    if thread == 0 {
        return;
    }
    let process = rustix::process::getpid().as_raw_nonzero().get();
    // SAFETY: `tgkill` takes three integers; a thread that has ended is an error, no harm.
    let _ = unsafe { libc::syscall(libc::SYS_tgkill, process, thread, SIGNAL) };
}

extern "C" fn nothing(_: libc::c_int) {}

/// Install a handler that does nothing, so that the signal only interrupts.
fn make_signal_harmless() -> io::Result<()> {
    static ONCE: Once = Once::new();
    let mut outcome = Ok(());
    ONCE.call_once(|| {
        // SAFETY: all zeros is a valid `sigaction`; without SA_RESTART it interrupts.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = nothing as *const () as usize;
        // SAFETY: a valid action with a handler that does nothing; no old one asked for.
        let result = unsafe { libc::sigaction(SIGNAL, &raw const action, std::ptr::null_mut()) };
        if result != 0 {
            outcome = Err(io::Error::last_os_error());
        }
    });
    outcome
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_call_that_hangs_is_interrupted_also_after_a_long_calm() {
        let watchdog = Watchdog::start(2).unwrap();
        let watched = watchdog.watched(1).unwrap();
        assert!(watchdog.watched(2).is_none());
        let hang = move || {
            watched.begin();
            let (reader, _writer) = std::io::pipe().unwrap();
            for calm in [0, 300] {
                std::thread::sleep(Duration::from_millis(calm));
                let began = Instant::now();
                let result = watched.during(|| rustix::io::read(&reader, &mut [0; 1]));
                assert_eq!(result, Err(rustix::io::Errno::INTR));
                assert!(began.elapsed() < Duration::from_secs(2));
            }
        };
        std::thread::spawn(hang).join().unwrap();
    }

    #[test]
    fn it_sleeps_while_nobody_calls_and_short_calls_are_left_alone() {
        let watchdog = Watchdog::start(1).unwrap();
        let watched = watchdog.watched(0).unwrap();
        let asleep = || watchdog.asleep.load(Ordering::Relaxed);
        watched.begin();
        for _ in 0..2 {
            let deadline = Instant::now() + Duration::from_secs(5);
            while !asleep() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(1));
            }
            assert!(asleep());
            assert_eq!(watched.during(|| 7), 7);
        }
    }
}
