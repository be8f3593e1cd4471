//! Bits that go wrong at rest: no rule, but a change of the disk, made at once.

use std::fmt;
use std::str::FromStr;

use super::dice::Flips;
use super::rule::{MOST_BITS, MOST_RANGES, RuleError, Span};
use super::units;
use crate::store::{Disk, Error, SECTOR_BYTES};

/// Bytes of a sector, as the length of an array.
const SECTOR: usize = 512;

/// Which bits go wrong: some of what is mapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rot {
    bits: u32,
    /// Only in these ranges, if there are any.
    ranges: Vec<Span>,
    seed: u64,
}

/// Bits of a byte that have gone wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotten {
    /// The byte of the disk.
    pub at_bytes: u64,
    /// The bits.
    pub mask: u8,
}

impl FromStr for Rot {
    type Err = RuleError;

    /// `rot` or `rot=N`, with `range` and `seed`.
    fn from_str(text: &str) -> Result<Self, RuleError> {
        let wrong = |field, text: &str, wants| RuleError::Value {
            field,
            text: text.to_owned(),
            wants,
        };
        let mut fields = text.split(',');
        let kind = fields.next().unwrap_or_default();
        let bits = match kind.strip_prefix("rot") {
            Some("") => Some(1),
            Some(rest) => rest.strip_prefix('=').and_then(units::parse_count),
            None => None,
        };
        let bits = bits.and_then(|bits| u32::try_from(bits).ok());
        let bits = bits.filter(|bits| (1..=MOST_BITS).contains(bits));
        let bits = bits.ok_or_else(|| wrong("rot", kind, "a number of bits, 1 to 4096"))?;
        let mut rot = Self {
            bits,
            ranges: Vec::new(),
            seed: 0,
        };
        for field in fields {
            match field.split_once('=') {
                Some(("range", range)) if rot.ranges.len() < MOST_RANGES => {
                    let wants = "START+LEN in whole sectors of 512 bytes, as in 1M+4K";
                    let span = units::parse_span(range);
                    rot.ranges
                        .push(span.ok_or_else(|| wrong("range", range, wants))?);
                }
                Some(("seed", seed)) => {
                    let number = units::parse_count(seed);
                    rot.seed = number.ok_or_else(|| wrong("seed", seed, "a whole number"))?;
                }
                _ => {
                    let wants = "no fields but range and seed, since it happens at once";
                    return Err(wrong("rot", field, wants));
                }
            }
        }
        Ok(rot)
    }
}

impl fmt::Display for Rot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rot={}", self.bits)?;
        for range in &self.ranges {
            write!(f, ",range={}", units::span(*range))?;
        }
        match self.seed {
            0 => Ok(()),
            seed => write!(f, ",seed={seed}"),
        }
    }
}

impl Rot {
    /// Check that its ranges are inside a disk of this size.
    ///
    /// # Errors
    /// [`RuleError::Never`].
    pub fn check_size(&self, size_bytes: u64) -> Result<(), RuleError> {
        super::rule::check_size(&self.ranges, size_bytes)
    }

    /// Have the bits of a disk go wrong, and return them. Without any that are mapped there are
    /// none. A write of the same sector at the same moment may be lost.
    ///
    /// # Errors
    /// The disk can't be changed. Some bits may have gone wrong by then.
    pub fn carry_out(&self, disk: &Disk) -> Result<Vec<Rotten>, Error> {
        let spans = self.mapped(disk)?;
        let total = spans.iter().map(|span| span.len_bytes).sum();
        let flips = Flips::new(self.seed, self.bits, total);
        let mut rotten = Vec::new();
        for (index, mask) in flips.within(0..total) {
            if let Some(at_bytes) = nth_byte(&spans, index) {
                let start = at_bytes / SECTOR_BYTES;
                let range = disk.capacity().range_512(start, SECTOR_BYTES)?;
                let mut sector = [0; SECTOR];
                disk.read_into(range, &[(&mut sector[..]).into()])?;
                let at = usize::try_from(at_bytes % SECTOR_BYTES).unwrap_or(0);
                sector[at] ^= mask;
                disk.write_from(range, &[(&sector[..]).into()])?;
                rotten.push(Rotten { at_bytes, mask });
            }
        }
        Ok(rotten)
    }

    /// What is mapped of its ranges, in order.
    fn mapped(&self, disk: &Disk) -> Result<Vec<Span>, Error> {
        let unit = disk.sector_size().bytes();
        let whole = Span {
            start_bytes: 0,
            len_bytes: disk.capacity().bytes(),
        };
        let ranges = match self.ranges.is_empty() {
            true => vec![whole],
            false => self.ranges.clone(),
        };
        let mut spans = Vec::new();
        for extent in disk.extents()? {
            let extent = extent?;
            let (start, end) = (extent.start_sector, extent.start_sector + extent.sectors);
            for range in ranges.iter().filter(|_| extent.mapped) {
                let start_bytes = (start * unit).max(range.start_bytes);
                let end_bytes = (end * unit).min(range.end_bytes());
                if start_bytes < end_bytes {
                    spans.push(Span {
                        start_bytes,
                        len_bytes: end_bytes - start_bytes,
                    });
                }
            }
        }
        Ok(spans)
    }
}

/// The byte of the disk that has this number in the spans.
fn nth_byte(spans: &[Span], mut index: u64) -> Option<u64> {
    for span in spans {
        if index < span.len_bytes {
            return Some(span.start_bytes + index);
        }
        index -= span.len_bytes;
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::store::{DiskSpec, SectorSize, Store};

    #[test]
    fn bits_rot_where_something_is_mapped_and_nowhere_else() {
        let store = Store::new(64 << 20).unwrap();
        let disk = store
            .create("a", &DiskSpec::new(SectorSize::S512, 1 << 20))
            .unwrap();
        let rot: Rot = "rot=20,seed=3".parse().unwrap();
        assert_eq!(rot.carry_out(&disk).unwrap(), []);
        let data = [0x55; 2048];
        disk.write(8, &[&data]).unwrap();
        disk.write(100, &[&data]).unwrap();
        let rotten = rot.carry_out(&disk).unwrap();
        assert_eq!(
            rotten.iter().map(|it| it.mask.count_ones()).sum::<u32>(),
            20
        );
        let mut wrong = 0;
        for start in [8, 100] {
            let mut found = [0; 2048];
            disk.read(start, &mut [&mut found]).unwrap();
            wrong += found
                .iter()
                .map(|byte| (byte ^ 0x55).count_ones())
                .sum::<u32>();
        }
        assert_eq!(wrong, 20);
        let info = disk.get_info().unwrap();
        assert_eq!(info.mapped_bytes, 4096, "nothing more is mapped");
        // Once more puts the same bits right.
        assert_eq!(rot.carry_out(&disk).unwrap(), rotten);
        let one: Rot = "rot,range=50K+512".parse().unwrap();
        let rotten = one.carry_out(&disk).unwrap();
        let sectors: Vec<u64> = rotten.iter().map(|it| it.at_bytes / 512).collect();
        assert_eq!(sectors, [100]);
    }

    #[test]
    fn what_a_rot_cannot_have_is_refused() {
        for text in [
            "rot=0",
            "rot=5000",
            "rot,op=write",
            "rot,nth=2",
            "rotten",
            "rot,range=1+1",
        ] {
            assert!(text.parse::<Rot>().is_err(), "{text}");
        }
        for text in ["rot=1", "rot=7,range=0+4K,range=1M+512,seed=9"] {
            assert_eq!(text.parse::<Rot>().unwrap().to_string(), text);
        }
    }
}
