//! A bound on lines in the log that a guest or a front end can cause at will.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

const WINDOW: Duration = Duration::from_secs(10);
const LINES_PER_WINDOW: u32 = 20;

/// Lets so many lines through in so much time, and counts the rest. Never used while serving
/// requests: only where a connection or a ring ends.
#[derive(Debug, Default)]
pub(super) struct Hush(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    window_began: Option<Instant>,
    lines: u32,
    withheld: u64,
}

impl Hush {
    /// Whether a line may be written now; if so, how many were withheld since the last one.
    pub(super) fn may_say(&self) -> Option<u64> {
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
        if state.lines == LINES_PER_WINDOW {
            state.withheld += 1;
            return None;
        }
        state.lines += 1;
        Some(std::mem::take(&mut state.withheld))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_off_and_counted() {
        let hush = Hush::default();
        let began = Instant::now();
        for _ in 0..LINES_PER_WINDOW {
            assert_eq!(hush.at(began), Some(0));
        }
        for _ in 0..1000 {
            assert_eq!(hush.at(began + Duration::from_secs(9)), None);
        }
        assert_eq!(hush.at(began + WINDOW), Some(1000));
        assert_eq!(hush.at(began + WINDOW), Some(0));
    }
}
