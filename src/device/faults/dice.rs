//! Numbers that depend on nothing but what they are for, and are the same on every machine.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use super::rule::{Delay, Probability, TargetOperation};

/// What a rule is asked about: the whole input of its chances.
#[derive(Clone, Copy, Debug)]
pub(super) struct About {
    pub(super) seed: u64,
    /// [`hash_of`] the rule's id.
    pub(super) rule: u64,
    pub(super) operation: TargetOperation,
    pub(super) start_bytes: u64,
    /// How often the operation asked for this start, this time included.
    pub(super) count: u64,
}

/// A row of numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dice(u64);

/// The finalizer of SplitMix64: each bit of the result depends on every bit of `word`.
fn mix(word: u64) -> u64 {
    let word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
}

/// FNV-1a of a text.
pub(super) fn hash_of(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

impl Dice {
    pub(super) fn new(about: About) -> Self {
        let words = [
            about.rule,
            about.operation as u64,
            about.start_bytes,
            about.count,
        ];
        let fold = |hash: u64, word: u64| mix(hash.wrapping_add(GOLDEN) ^ word);
        Self(words.into_iter().fold(mix(about.seed), fold))
    }

    /// The next number.
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }

    /// A number below `end`; 0 if that is 0.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        let wide = u128::from(self.next()) * u128::from(end);
        u64::try_from(wide >> 64).unwrap_or(0)
    }

    /// Whether something with this probability happens.
    pub(super) fn happens(&mut self, chance: Probability) -> bool {
        self.below(Probability::WHOLE.into()) < u64::from(chance.0)
    }

    /// How long to wait.
    pub(super) fn wait(&mut self, delay: Delay) -> Duration {
        match delay {
            Delay::Fixed(always) => always,
            Delay::Uniform(least, most) => {
                let more = u64::try_from((most - least).as_nanos()).unwrap_or(u64::MAX);
                least + Duration::from_nanos(self.below(more.saturating_add(1)))
            }
            Delay::Quantiles { p50, p99 } => {
                // 99 % of a normal distribution lie below this many standard deviations.
                const AT_99: f64 = 2.326;
                let ratio = p99.as_secs_f64() / p50.as_secs_f64();
                p50.mul_f64(ratio.powf(self.normal() / AT_99))
            }
        }
    }

    /// A number of the standard normal distribution, nearly: the sum of twelve even ones, which is
    /// never beyond 6.
    fn normal(&mut self) -> f64 {
        /// 2 to the power of 32, one unit of the sum.
        const UNIT: f64 = 4_294_967_296.0;
        let sum: u64 = (0..12).map(|_| self.next() >> 32).sum();
        #[expect(clippy::cast_precision_loss, reason = "the sum has 36 bits")]
        let sum = sum as f64;
        sum / UNIT - 6.0
    }
}

/// The increment of SplitMix64.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Bits of a request, or of a range at rest, that are wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flips(BTreeMap<u64, u8>);

impl Flips {
    /// As many different bits of `len_bytes` bytes, or all of them if there are no more. The same
    /// seed picks the same ones.
    pub fn new(seed: u64, bits: u32, len_bytes: u64) -> Self {
        let (mut dice, mut flips) = (Dice(seed), BTreeMap::new());
        let all = len_bytes.saturating_mul(8);
        let mut left = u64::from(bits).min(all);
        while left > 0 {
            let bit = dice.below(all);
            let mask: &mut u8 = flips.entry(bit / 8).or_default();
            let flipped = 1 << (bit % 8);
            left -= u64::from(*mask & flipped == 0);
            *mask |= flipped;
        }
        Self(flips)
    }

    /// The bytes of this part that have wrong bits, by their number from the very start, each with
    /// the mask of these bits.
    pub fn within(&self, part: Range<u64>) -> impl Iterator<Item = (u64, u8)> {
        self.0.range(part).map(|(&byte, &mask)| (byte, mask))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_bits_are_wrong_as_were_asked_for() {
        for (bits, len_bytes, wrong) in [(1, 512, 1), (4096, 512, 4096), (4096, 1, 8), (3, 0, 0)] {
            let flips = Flips::new(5, bits, len_bytes);
            let masks = flips.within(0..len_bytes);
            assert_eq!(masks.map(|(_, mask)| mask.count_ones()).sum::<u32>(), wrong);
            assert_eq!(flips, Flips::new(5, bits, len_bytes));
        }
        assert_ne!(Flips::new(5, 3, 4096), Flips::new(6, 3, 4096));
    }

    #[test]
    fn delays_have_the_quantiles_that_they_name() {
        let (p50, p99) = (Duration::from_millis(1), Duration::from_millis(40));
        let mut dice = Dice(1);
        let mut waits: Vec<_> = (0..100_000)
            .map(|_| dice.wait(Delay::Quantiles { p50, p99 }))
            .collect();
        waits.sort_unstable();
        let ms = |at: usize| waits[at].as_secs_f64() * 1e3;
        assert!((0.95..1.05).contains(&ms(50_000)), "{}", ms(50_000));
        assert!((37.0..43.0).contains(&ms(99_000)), "{}", ms(99_000));
        let even = Delay::Uniform(p50, p99);
        let waits = (0..10_000).map(|_| dice.wait(even).as_millis());
        let (least, most) = waits.fold((u128::MAX, 0), |(least, most), wait| {
            (least.min(wait), most.max(wait))
        });
        assert_eq!((least, most), (1, 39));
    }
}
