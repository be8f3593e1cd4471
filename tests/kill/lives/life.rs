//! One disk's life: when it must end, and whether an end was on time.

use ramblk::model::{EndsBy, OnDetach};

use super::clock::Moment;

/// How far from its time an end may be.
pub(super) const EXACT_MS: u64 = 1000;
/// The least time that a disk waits for its front end after a restart of the daemon.
const LEAST_AFTER_RESTART_MS: u64 = 60_000;
/// What is lost where times are cut to milliseconds.
const CUT_MS: u64 = 3;

/// When the life of a disk ends, as far as this test can know.
#[derive(Clone, Copy, Debug)]
pub(super) struct Life {
    /// When its time to live began.
    began: Moment,
    ttl_ms: u64,
    pub(super) on_detach: OnDetach,
    grace_ms: u64,
    /// Whether a front end was connected since it was made or reset.
    used: bool,
    /// Since when it waits for its front end, and how long at least.
    waits: Option<(Moment, u64)>,
}

impl Life {
    pub(super) fn new(began: Moment, ttl_ms: u64, on_detach: OnDetach, grace_ms: u64) -> Self {
        Self {
            began,
            ttl_ms,
            on_detach,
            grace_ms,
            used: false,
            waits: None,
        }
    }

    /// Its time to live begins again.
    pub(super) fn renew(&mut self, began: Moment, ttl_ms: u64) {
        (self.began, self.ttl_ms) = (began, ttl_ms);
    }

    /// Its front end has connected.
    pub(super) fn attached(&mut self) {
        self.used = true;
        self.waits = None;
    }

    /// Its front end has left.
    pub(super) fn left(&mut self, when: Moment) {
        self.waits = Some((when, 0));
    }

    /// The daemon was started again.
    pub(super) fn taken_up(&mut self, when: Moment) {
        if self.used {
            self.waits = Some((when, LEAST_AFTER_RESTART_MS));
        }
    }

    /// It was reset.
    pub(super) fn reset(&mut self) {
        self.used = false;
        self.waits = None;
    }

    fn due(&self, by: EndsBy) -> Option<Moment> {
        match by {
            EndsBy::Ttl => Some(self.began.after(self.ttl_ms)),
            EndsBy::Detach => {
                let (since, least) = self.waits?;
                let waits = self.on_detach != OnDetach::Keep;
                waits.then(|| since.after(self.grace_ms.max(least)))
            }
        }
    }

    fn all_due(&self) -> impl Iterator<Item = Moment> {
        let by = [EndsBy::Ttl, EndsBy::Detach];
        by.into_iter().filter_map(|by| self.due(by))
    }

    /// Whether it may have ended at this time.
    pub(super) fn may_be_over(&self, at: u64) -> bool {
        self.all_due().any(|due| due.from <= at + CUT_MS)
    }

    /// Whether it may have been reset, by a daemon that could not tell any more.
    pub(super) fn may_be_reset(&self, at: u64) -> bool {
        let due = self.due(EndsBy::Detach).filter(|due| due.from <= at);
        due.is_some() && self.on_detach == OnDetach::Reset
    }

    /// By when an event must have said that it is over, from a daemon that has answered since
    /// `up`.
    pub(super) fn over_by(&self, up: u64) -> u64 {
        let due = self.all_due().map(|due| due.to).min().unwrap();
        due.max(up) + EXACT_MS
    }

    /// How many milliseconds late an end at `at` was, from a daemon that has answered since `up`.
    pub(super) fn lateness(&self, by: EndsBy, at: u64, up: u64) -> u64 {
        let due = self.due(by);
        let due = due.unwrap_or_else(|| panic!("there is no such end ({by:?}): {self:?}"));
        assert!(
            at + CUT_MS >= due.from,
            "{} ms too early: {self:?}",
            due.from - at
        );
        at.saturating_sub(due.to.max(up))
    }
}
