//! What the monitor knows of a disk, and how near a charge is to its bound.

use crate::model::DiskState;

/// Percentages of a bound at which an event is sent.
pub(crate) const LEVELS: [u64; 2] = [80, 95];
/// A charge must fall this many percent below a mark before passing it causes another event.
const SLACK: u64 = 5;
/// What the monitor knows of a disk.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Health {
    pub(crate) state: DiskState,
    /// The number of requests that had found no memory.
    pub(crate) full_events: u64,
    /// How near its charge was to its quota: the number of [`LEVELS`] that it had reached.
    pub(crate) level: usize,
}

/// The level that a charge has reached, given its level before.
pub(crate) fn level(charged_bytes: u64, bound_bytes: u64, had: usize) -> usize {
    let percent = u128::from(charged_bytes) * 100 / u128::from(bound_bytes.max(1));
    let reached = |at: u64| percent >= u128::from(at);
    let stays = |(number, &at): (usize, &u64)| reached(at) || number < had && reached(at - SLACK);
    LEVELS.iter().enumerate().filter(|&it| stays(it)).count()
}

/// The marks above and below which a charge of this level must be checked again.
pub(crate) fn marks(bound_bytes: u64, level: usize) -> (u64, u64) {
    let part = |percent: u64| {
        let bytes = u128::from(bound_bytes) * u128::from(percent) / 100;
        u64::try_from(bytes).unwrap_or(u64::MAX)
    };
    let above = LEVELS.get(level).map_or(u64::MAX, |&at| part(at));
    let below = level.checked_sub(1).and_then(|level| LEVELS.get(level));
    (above, below.map_or(0, |&at| part(at - SLACK)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_left_later_than_it_is_reached() {
        assert_eq!(level(79, 100, 0), 0);
        assert_eq!(level(80, 100, 0), 1);
        assert_eq!(level(76, 100, 1), 1);
        assert_eq!(level(74, 100, 1), 0);
        assert_eq!(level(100, 100, 0), 2);
        assert_eq!(level(90, 100, 2), 2);
        assert_eq!(level(89, 100, 2), 1);
    }

    #[test]
    fn marks_are_where_the_level_changes() {
        assert_eq!(marks(1000, 0), (800, 0));
        assert_eq!(marks(1000, 1), (950, 750));
        assert_eq!(marks(1000, 2), (u64::MAX, 900));
    }
}
