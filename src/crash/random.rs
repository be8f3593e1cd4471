//! Random numbers that are the same on every machine and in every version.

/// A stream of random numbers: SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Clone, Debug)]
pub struct Draws(u64);

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

impl Draws {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The stream of one part of what a seed decides, independent of how much the others draw.
    pub fn part(seed: u64, part: u64) -> Self {
        let mut draws = Self(seed);
        let seed = draws.draw();
        let mut draws = Self(seed ^ part.wrapping_mul(STEP));
        Self(draws.draw())
    }

    /// 64 random bits.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`; 0 if that is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        let wide = u128::from(self.draw()) * u128::from(end);
        u64::try_from(wide >> 64).unwrap_or(0)
    }

    /// True in one of `of` cases.
    pub fn one_in(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }

    /// Bring `items` into a random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for end in (1..items.len()).rev() {
            let other = usize::try_from(self.below(end as u64 + 1)).unwrap_or(0);
            items.swap(end, other);
        }
    }

    /// Fill a piece of memory with random bytes.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let word = self.draw().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The published test vector of SplitMix64 with the seed 1234567.
    #[test]
    fn the_numbers_are_those_of_splitmix64() {
        let mut draws = Draws::new(1_234_567);
        let drawn: Vec<u64> = (0..5).map(|_| draws.draw()).collect();
        let known = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
            4_593_380_528_125_082_431,
            16_408_922_859_458_223_821,
        ];
        assert_eq!(drawn, known);
    }

    #[test]
    fn a_number_below_an_end_reaches_all_and_nothing_else() {
        let mut draws = Draws::new(7);
        let mut seen = [false; 6];
        for _ in 0..1000 {
            seen[usize::try_from(draws.below(6)).unwrap_or(usize::MAX)] = true;
        }
        assert_eq!(seen, [true; 6]);
        assert_eq!(draws.below(0), 0);
    }
}
