//! Which front ends a disk has had: what the end of its life depends on.

use parking_lot::Mutex;

use crate::daemon::disks::settings::life::now_ms;
use crate::model::{Ending, EndsBy, Life, OnDetach};

/// The least time that a disk waits for a front end after a restart of the daemon, in milliseconds.
const LEAST_AFTER_RESTART_MS: u64 = 60_000;

/// Whether a front end is or was connected.
#[derive(Debug, Default)]
pub(crate) struct Attendance(Mutex<State>);

#[derive(Clone, Copy, Debug, Default)]
struct State {
    connected: usize,
    /// Whether one was connected since the disk was made or reset.
    used: bool,
    /// When the last one left, on the boot clock, and how long the disk waits at least.
    left: Option<(u64, u64)>,
    /// Whether it was told that the disk's time is over and the disk is protected.
    told: bool,
}

impl Attendance {
    /// A front end connected.
    pub(crate) fn attached(&self) {
        let mut state = self.0.lock();
        state.connected += 1;
        state.used = true;
        state.left = None;
    }

    /// A front end disconnected.
    pub(crate) fn detached(&self) {
        let mut state = self.0.lock();
        state.connected = state.connected.saturating_sub(1);
        if state.connected == 0 {
            state.left = Some((now_ms(), 0));
        }
    }

    /// The daemon was restarted, which is no detach: a disk that was in use waits again.
    pub(crate) fn taken_up(&self, used: bool) {
        let mut state = self.0.lock();
        state.used |= used;
        if state.used && state.connected == 0 {
            state.left = Some((now_ms(), LEAST_AFTER_RESTART_MS));
        }
    }

    /// The disk has the content again that it was made with.
    pub(crate) fn renewed(&self) {
        let mut state = self.0.lock();
        state.used = state.connected > 0;
        state.left = None;
    }

    /// The disk stays, though its front end has left.
    pub(crate) fn spared(&self) {
        self.0.lock().left = None;
    }

    /// Whether a front end was connected since the disk was made or reset.
    pub(crate) fn is_used(&self) -> bool {
        self.0.lock().used
    }

    /// Note that it was told that the disk stays though its time is over. Returns whether that is
    /// new.
    pub(crate) fn tell(&self, told: bool) -> bool {
        std::mem::replace(&mut self.0.lock().told, told) != told
    }

    /// The next end of a disk with this life, whose time is over at `ends_at_ms`.
    pub(crate) fn ending(&self, life: &Life, ends_at_ms: Option<u64>) -> Option<Ending> {
        let state = *self.0.lock();
        let now = now_ms();
        let by_time = ends_at_ms.map(|at| Ending {
            in_ms: at.saturating_sub(now),
            by: EndsBy::Ttl,
            action: OnDetach::Destroy,
        });
        let left = state.left.filter(|_| !life.on_detach.is_keep());
        let by_detach = left.map(|(left, least)| Ending {
            in_ms: left
                .saturating_add(life.grace().max(least))
                .saturating_sub(now),
            by: EndsBy::Detach,
            action: life.on_detach,
        });
        let ends = by_time.into_iter().chain(by_detach);
        ends.min_by_key(|end| end.in_ms)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn life(on_detach: OnDetach, grace_ms: u64) -> Life {
        Life {
            on_detach,
            grace_ms: Some(grace_ms),
            ..Life::default()
        }
    }

    #[test]
    fn a_disk_waits_for_its_front_end_and_not_for_one_that_never_came() {
        let attendance = Attendance::default();
        let destroy = life(OnDetach::Destroy, 5000);
        assert_eq!(attendance.ending(&destroy, None), None);
        attendance.taken_up(false);
        assert_eq!(attendance.ending(&destroy, None), None, "it was never used");
        attendance.attached();
        attendance.attached();
        attendance.detached();
        assert_eq!(
            attendance.ending(&destroy, None),
            None,
            "one is still there"
        );
        attendance.detached();
        let end = attendance.ending(&destroy, None).unwrap();
        assert!(end.in_ms > 4000 && end.in_ms <= 5000, "{end:?}");
        assert_eq!((end.by, end.action), (EndsBy::Detach, OnDetach::Destroy));
        assert_eq!(attendance.ending(&Life::default(), None), None);
        let sooner = attendance.ending(&destroy, Some(now_ms() + 1000)).unwrap();
        assert_eq!(sooner.by, EndsBy::Ttl);
        attendance.attached();
        assert_eq!(attendance.ending(&destroy, None), None, "it came back");
    }

    #[test]
    fn after_a_restart_a_disk_waits_for_a_minute_or_longer() {
        for (grace_ms, least) in [(1, 60_000), (90_000, 90_000)] {
            let attendance = Attendance::default();
            attendance.taken_up(true);
            let end = attendance.ending(&life(OnDetach::Reset, grace_ms), None);
            let in_ms = end.unwrap().in_ms;
            assert!(in_ms > least - 1000 && in_ms <= least, "{in_ms}");
            attendance.renewed();
            assert!(!attendance.is_used());
        }
    }
}
