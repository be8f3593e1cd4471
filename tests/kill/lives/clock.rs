//! The boot clock, on which lives end, and moments that are known only within bounds.

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// Milliseconds on the boot clock.
pub(super) fn now_ms() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    now.tv_sec.cast_unsigned() * 1000 + now.tv_nsec.cast_unsigned() / 1_000_000
}

/// A time of an event, in nanoseconds since 1970, on the boot clock.
pub(super) fn on_boot_clock(time_ns: u64) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let ago_ms = (now.as_nanos() as u64).saturating_sub(time_ns) / 1_000_000;
    now_ms() - ago_ms
}

/// A moment that lies between these two.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) from: u64,
    pub(super) to: u64,
}

impl Moment {
    /// The moment at which `action` has its effect.
    pub(super) fn of<T>(action: impl FnOnce() -> T) -> (Self, T) {
        let from = now_ms();
        let done = action();
        (Self { from, to: now_ms() }, done)
    }

    /// The moment `ms` later.
    pub(super) fn after(self, ms: u64) -> Self {
        Self {
            from: self.from + ms,
            to: self.to + ms,
        }
    }
}
