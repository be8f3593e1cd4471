//! Work on several threads whose results come in the order of the jobs.

use std::collections::VecDeque;
use std::fmt::{self, Debug};
use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use parking_lot::Mutex;

use crate::threads::{self, Role};

/// The most threads: more would wait for the one that writes.
const MOST_THREADS: usize = 8;

/// What a thread does with each job. Each thread has its own.
pub(super) trait Work: Send + 'static {
    /// What has to be done.
    type Job: Send + 'static;
    /// What comes out.
    type Done: Send + 'static;

    /// Do it.
    fn run(&mut self, job: Self::Job) -> Self::Done;
}

/// A job, and where its result goes.
type Order<W> = (<W as Work>::Job, SyncSender<<W as Work>::Done>);

/// Threads that work on jobs, at most twice as many at a time as there are threads.
pub(super) struct Ordered<W: Work> {
    orders: Sender<Order<W>>,
    /// Results, those that aren't there yet too, oldest first.
    results: VecDeque<Receiver<W::Done>>,
    most: usize,
}

impl<W: Work> Debug for Ordered<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ordered({} of {})", self.results.len(), self.most)
    }
}

impl<W: Work> Ordered<W> {
    /// Start a thread for each processor, but at least two.
    ///
    /// # Errors
    /// The system has no threads left.
    pub(super) fn new(make: impl Fn() -> W) -> io::Result<Self> {
        let processors = std::thread::available_parallelism().map_or(2, NonZeroUsize::get);
        let count = processors.clamp(2, MOST_THREADS);
        let (orders, incoming) = channel::<Order<W>>();
        let incoming = Arc::new(Mutex::new(incoming));
        for _ in 0..count {
            let (mut work, incoming) = (make(), Arc::clone(&incoming));
            threads::spawn(Role::Image, move || {
                loop {
                    // Not in the condition of a `while let`, which would hold the lock too long.
                    let order = incoming.lock().recv();
                    let Ok((job, result)) = order else { return };
                    // The image is dropped before its end if this fails.
                    let _ = result.send(work.run(job));
                }
            })?;
        }
        Ok(Self {
            orders,
            results: VecDeque::new(),
            most: 2 * count,
        })
    }

    /// Whether another job can be taken now.
    pub(super) fn has_room(&self) -> bool {
        self.results.len() < self.most
    }

    /// Take a job.
    pub(super) fn push(&mut self, job: W::Job) {
        let (result, receiver) = sync_channel(1);
        // If all threads are gone, the receiver says so.
        let _ = self.orders.send((job, result));
        self.results.push_back(receiver);
    }

    /// The result of the oldest job; `None` if there is no job.
    ///
    /// # Errors
    /// Its thread is gone.
    pub(super) fn pop(&mut self) -> io::Result<Option<W::Done>> {
        let Some(result) = self.results.pop_front() else {
            return Ok(None);
        };
        let gone = |_| io::Error::other("bug: a thread that reads it panicked");
        result.recv().map(Some).map_err(gone)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    struct Sleep;

    impl Work for Sleep {
        type Job = u64;
        type Done = u64;

        fn run(&mut self, job: u64) -> u64 {
            std::thread::sleep(std::time::Duration::from_millis(job % 3));
            assert_ne!(job, 1000, "a bug");
            job
        }
    }

    #[test]
    fn results_come_in_the_order_of_the_jobs_and_a_panic_is_an_error() {
        let mut ordered = Ordered::new(|| Sleep).unwrap();
        let mut jobs = (0..40).chain([1000]).peekable();
        let mut found = Vec::new();
        let end = loop {
            while ordered.has_room() && jobs.peek().is_some() {
                ordered.push(jobs.next().unwrap());
            }
            match ordered.pop() {
                Ok(Some(done)) => found.push(done),
                end => break end,
            }
        };
        assert!(end.is_err());
        assert_eq!(found, (0..40).collect::<Vec<_>>());
    }
}
