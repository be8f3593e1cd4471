//! What it costs to wake a thread that sleeps, measured when the workers start.
//!
//! It depends on the machine, and under a hypervisor on the hour: from 3 to 50 µs. A worker must
//! know it before it has served anything, to tell whether polling pays
//! ([`polling`](super::polling)), which corrects it from then on.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};
use vmm_sys_util::eventfd::EventFd;

/// How often a thread is woken; the median counts.
const ROUNDS: usize = 15;
/// How long the other one is left alone, so that it sleeps.
const PAUSE: Duration = Duration::from_micros(50);
/// A machine that is busy at the start says nothing of itself.
const MOST: Duration = Duration::from_micros(50);

/// The thread that wakes.
#[derive(Debug)]
pub(super) struct Waker {
    eventfd: EventFd,
    sent: SyncSender<Instant>,
    took: Receiver<Duration>,
}

/// The thread that is woken.
#[derive(Debug)]
pub(super) struct Sleeper {
    eventfd: EventFd,
    sent: Receiver<Instant>,
    took: SyncSender<Duration>,
}

/// Both ends.
pub(super) fn pair() -> io::Result<(Waker, Sleeper)> {
    let eventfd = EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC)?;
    let (sender, sent) = sync_channel(1);
    let (answer, took) = sync_channel(1);
    let waker = Waker {
        eventfd: eventfd.try_clone()?,
        sent: sender,
        took,
    };
    let sleeper = Sleeper {
        eventfd,
        sent,
        took: answer,
    };
    Ok((waker, sleeper))
}

impl Waker {
    /// The time from a write to an eventfd until the thread that waited for it runs. If that thread
    /// ends, what is known by then.
    pub(super) fn measure(&self) -> Duration {
        let mut times = [MOST; ROUNDS];
        for time in &mut times {
            std::thread::sleep(PAUSE);
            let sent = self.sent.send(Instant::now());
            let written = self.eventfd.write(1);
            match self.took.recv() {
                Ok(took) if sent.is_ok() && written.is_ok() => *time = took,
                _ => break,
            }
        }
        times.sort_unstable();
        times[ROUNDS / 2].min(MOST)
    }
}

impl Drop for Waker {
    /// The sleeper may wait for what will not come, such as when another worker can't start. It
    /// wakes, and finds that no time comes.
    fn drop(&mut self) {
        let _ = self.eventfd.write(1);
    }
}

impl Sleeper {
    /// Be woken as a worker is.
    ///
    /// # Errors
    /// If the system doesn't let it wait.
    pub(super) fn answer(&self) -> io::Result<()> {
        let epoll = Epoll::new()?;
        let event = EpollEvent::new(EventSet::IN | EventSet::EDGE_TRIGGERED, 0);
        epoll.ctl(ControlOperation::Add, self.eventfd.as_raw_fd(), event)?;
        let mut events = [EpollEvent::default()];
        for _ in 0..ROUNDS {
            loop {
                match epoll.wait(-1, &mut events) {
                    Ok(0) => {}
                    Ok(_) => break,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            let now = Instant::now();
            let Ok(sent) = self.sent.recv() else {
                return Ok(());
            };
            if self.took.send(now.duration_since(sent)).is_err() {
                return Ok(());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waking_a_thread_takes_some_microseconds() -> io::Result<()> {
        let (waker, sleeper) = pair()?;
        std::thread::scope(|scope| {
            let sleeps = scope.spawn(move || sleeper.answer());
            let took = waker.measure();
            assert!(took > Duration::ZERO && took <= MOST, "{took:?}");
            assert!(matches!(sleeps.join(), Ok(Ok(()))));
        });
        Ok(())
    }

    #[test]
    fn a_waker_that_is_gone_leaves_no_thread_asleep() -> io::Result<()> {
        let (waker, sleeper) = pair()?;
        std::thread::scope(|scope| {
            let sleeps = scope.spawn(move || sleeper.answer());
            std::thread::sleep(PAUSE);
            drop(waker);
            assert!(matches!(sleeps.join(), Ok(Ok(()))));
        });
        Ok(())
    }

    #[test]
    fn a_thread_that_ends_leaves_nobody_waiting() -> io::Result<()> {
        let (waker, sleeper) = pair()?;
        drop(sleeper);
        assert_eq!(waker.measure(), MOST);
        Ok(())
    }
}
