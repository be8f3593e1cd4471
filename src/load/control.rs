//! State that the threads share: the stage of the run, and each queue's progress.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU64, Ordering};

use crate::load::Error;
use crate::load::virtqueue::eventfd::EventFd;

/// Added to a call eventfd to wake its thread; the back end's calls sum up to less.
pub(super) const NUDGE: u64 = 1 << 32;

/// The stages, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Stage {
    /// Every block is written once.
    Fill,
    /// Load, not measured.
    WarmUp,
    /// Load, measured.
    Measure,
    /// No new requests.
    Stop,
    /// Something failed: give up.
    Abort,
}

/// One queue's progress, on cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Lane {
    pub(super) submitted: AtomicU64,
    pub(super) completed: AtomicU64,
}

/// Shared by all threads of a run.
#[derive(Debug)]
pub(super) struct Control {
    stage: AtomicU8,
    /// One for each queue.
    pub(super) lanes: Vec<Lane>,
    filled: AtomicU16,
    counted: AtomicU16,
    ended: AtomicU16,
    failed: AtomicBool,
    /// Written when one of the above changes.
    news: EventFd,
}

impl Control {
    pub(super) fn new(queues: u16) -> Result<Self, Error> {
        Ok(Self {
            stage: AtomicU8::new(Stage::Fill as u8),
            lanes: (0..queues).map(|_| Lane::default()).collect(),
            filled: AtomicU16::new(0),
            counted: AtomicU16::new(0),
            ended: AtomicU16::new(0),
            failed: AtomicBool::new(false),
            news: EventFd::new(false)?,
        })
    }

    #[inline]
    pub(super) fn stage(&self) -> Stage {
        match self.stage.load(Ordering::Acquire) {
            0 => Stage::Fill,
            1 => Stage::WarmUp,
            2 => Stage::Measure,
            3 => Stage::Stop,
            _ => Stage::Abort,
        }
    }

    /// Enter a stage, and wake the threads through their call eventfds.
    pub(super) fn enter(&self, stage: Stage, calls: &[EventFd]) {
        self.stage.store(stage as u8, Ordering::Release);
        for call in calls {
            call.add(NUDGE);
        }
    }

    /// A thread has written all its blocks.
    pub(super) fn filled(&self) {
        self.count(&self.filled);
    }

    /// A thread has completed its share of requests.
    pub(super) fn counted(&self) {
        self.count(&self.counted);
    }

    /// A thread has ended; `failed` if it gave up.
    pub(super) fn ended(&self, failed: bool) {
        self.failed.fetch_or(failed, Ordering::AcqRel);
        self.count(&self.ended);
    }

    fn count(&self, counter: &AtomicU16) {
        counter.fetch_add(1, Ordering::AcqRel);
        self.news.add(1);
    }

    pub(super) fn all_filled(&self) -> bool {
        self.all(&self.filled)
    }

    pub(super) fn all_counted(&self) -> bool {
        self.all(&self.counted)
    }

    pub(super) fn all_ended(&self) -> bool {
        self.all(&self.ended)
    }

    fn all(&self, counter: &AtomicU16) -> bool {
        usize::from(counter.load(Ordering::Acquire)) >= self.lanes.len()
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    pub(super) fn news(&self) -> &EventFd {
        &self.news
    }
}
