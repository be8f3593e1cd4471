//! Bounds on lines in the log that a guest or a front end can cause at will.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

const WINDOW: Duration = Duration::from_secs(10);
const LINES_PER_WINDOW: u32 = 20;
/// How long the same failure is not logged again.
const REPEATED_WITHIN: Duration = Duration::from_secs(60);

/// Lets at most [`LINES_PER_WINDOW`] lines through in each [`WINDOW`], and counts the rest. It
/// takes a lock, so never use it while serving requests: only where a connection or a ring ends.
#[derive(Debug, Default)]
pub(crate) struct LogLimit(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    window_began: Option<Instant>,
    lines: u32,
    withheld: u64,
}

impl LogLimit {
    /// Whether a line may be written now. If so: how many were withheld since the last one.
    pub(crate) fn may_log(&self) -> Option<u64> {
        self.at(Instant::now())
    }

    fn at(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock();
        if state
            .window_began
            .is_none_or(|began| now.duration_since(began) >= WINDOW)
        {
            state.window_began = Some(now);
            state.lines = 0;
        }
        debug_assert!(state.lines <= LINES_PER_WINDOW);
        if state.lines == LINES_PER_WINDOW {
            state.withheld += 1;
            return None;
        }
        state.lines += 1;
        Some(std::mem::take(&mut state.withheld))
    }
}

/// The last failure that was logged, and when. So a front end that connects every second, and fails
/// in the same way each time, doesn't fill the log.
#[derive(Debug, Default)]
pub(super) struct LastFailure(Mutex<Option<(String, Instant)>>);

impl LastFailure {
    /// Whether anything failed in the last minute.
    pub(super) fn is_recent(&self) -> bool {
        let last = self.0.lock();
        last.as_ref()
            .is_some_and(|(_, at)| at.elapsed() < REPEATED_WITHIN)
    }

    /// Whether the same failure was logged in the last minute; if not, it counts as logged now.
    pub(super) fn is_repeated(&self, failure: &str) -> bool {
        let mut last = self.0.lock();
        let repeated = last
            .as_ref()
            .is_some_and(|(text, at)| text == failure && at.elapsed() < REPEATED_WITHIN);
        if !repeated {
            *last = Some((failure.to_owned(), Instant::now()));
        }
        repeated
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_off_and_counted() {
        let limit = LogLimit::default();
        let began = Instant::now();
        for _ in 0..LINES_PER_WINDOW {
            assert_eq!(limit.at(began), Some(0));
        }
        for _ in 0..1000 {
            assert_eq!(limit.at(began + Duration::from_secs(9)), None);
        }
        assert_eq!(limit.at(began + WINDOW), Some(1000));
        assert_eq!(limit.at(began + WINDOW), Some(0));
    }
}
