//! How long a ring's driver paused lately, and which window would have been the cheapest.

/// Classes of gaps, by their upper bounds: two for each power of two, from 1 µs on.
const CLASSES: usize = 20;
/// The shortest class ends here.
const FIRST_NS: u64 = 1_000;
/// What one gap counts, so that counts can fade without losing the last ones at once.
const ONE: u32 = 64;
/// All counts fade by an eighth after this many gaps: what counts are some 64 of them.
const FADE_AFTER: u32 = 8;

/// The price of a window.
#[derive(Clone, Copy, Debug)]
pub(super) struct Price {
    /// What a pause costs that the window doesn't cover, beside the window itself.
    pub(super) sleep_ns: u64,
    /// What polling for one microsecond costs, in thousandths.
    pub(super) poll_per_mille: u64,
}

/// A histogram of gaps that forgets.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Gaps {
    counts: [u32; CLASSES],
    /// Gaps since the counts faded.
    fresh: u32,
}

impl Gaps {
    /// The ring was dry for so long.
    pub(super) fn add(&mut self, gap_ns: u64) {
        self.counts[class(gap_ns)] += ONE;
        self.fresh += 1;
        if self.fresh == FADE_AFTER {
            self.fresh = 0;
            for count in &mut self.counts {
                *count -= count.div_ceil(8);
            }
        }
    }

    /// The window, of at most `most_ns`, that would have cost least; 0 if that is none.
    pub(super) fn cheapest(&self, most_ns: u64, price: Price) -> u64 {
        let all: u64 = self.counts.iter().map(|&count| u64::from(count)).sum();
        let poll = |ns: u64| ns * price.poll_per_mille / 1000;
        let (mut best, mut best_cost) = (0, all * price.sleep_ns);
        let (mut covered, mut covered_cost) = (0, 0);
        for (class, &count) in self.counts.iter().enumerate() {
            let window_ns = end_ns(class);
            // The last class has no end; a window that ends inside a class covers nothing of it.
            if window_ns > most_ns || class + 1 == CLASSES {
                break;
            }
            let count = u64::from(count);
            covered += count;
            covered_cost += count * poll(middle_ns(class));
            let missed = all - covered;
            let cost = covered_cost + missed * (poll(window_ns) + price.sleep_ns);
            if cost < best_cost {
                (best, best_cost) = (window_ns, cost);
            }
        }
        best
    }
}

/// Where a class ends: 1, 1.5, 2, 3, 4, 6 µs and so on.
fn end_ns(class: usize) -> u64 {
    let half = (class % 2) as u64;
    (FIRST_NS << (class / 2)) * (2 + half) / 2
}

fn middle_ns(class: usize) -> u64 {
    let begin = class.checked_sub(1).map_or(0, end_ns);
    (begin + end_ns(class)) / 2
}

fn class(gap_ns: u64) -> usize {
    // The power of two below it, and whether it is past the middle of that.
    let ratio = gap_ns / FIRST_NS;
    let Some(power) = ratio.checked_ilog2() else {
        return 0;
    };
    let power = power as usize;
    let is_upper = gap_ns >= (FIRST_NS << power.min(CLASSES)) * 3 / 2;
    (1 + 2 * power + usize::from(is_upper)).min(CLASSES - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_falls_into_the_class_that_ends_after_it() {
        for gap_ns in (0..400_000).step_by(250) {
            let class = class(gap_ns);
            assert!(gap_ns < end_ns(class), "{gap_ns}");
            assert!(class == 0 || gap_ns >= end_ns(class - 1), "{gap_ns}");
        }
        assert_eq!(class(u64::MAX), CLASSES - 1);
    }

    fn of(gaps_us: &[u64]) -> Gaps {
        let mut gaps = Gaps::default();
        for &gap_us in gaps_us.iter().cycle().take(100) {
            gaps.add(gap_us * 1000);
        }
        gaps
    }

    #[test]
    fn a_window_covers_what_is_cheaper_to_poll_than_to_sleep() {
        let price = Price {
            sleep_ns: 15_000,
            poll_per_mille: 500,
        };
        assert_eq!(of(&[20]).cheapest(100_000, price), 24_000);
        assert_eq!(of(&[20]).cheapest(16_000, price), 0);
        assert_eq!(of(&[50]).cheapest(100_000, price), 0);
        assert_eq!(of(&[5, 1000]).cheapest(100_000, price), 6_000);
        assert_eq!(of(&[20, 1000]).cheapest(100_000, price), 0);
        assert_eq!(Gaps::default().cheapest(100_000, price), 0);
    }

    #[test]
    fn old_gaps_are_forgotten() {
        let price = Price {
            sleep_ns: 15_000,
            poll_per_mille: 500,
        };
        let mut gaps = of(&[1000]);
        for _ in 0..100 {
            gaps.add(5000);
        }
        assert_eq!(gaps.cheapest(100_000, price), 6_000);
    }
}
