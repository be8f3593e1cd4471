//! How fast the machine itself copies, in the order and with the memory of a disk.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::generator::SPAN_BYTES;
use crate::measure::{self, Failure, KIB, Order, Pass, Rng};
use crate::place::{BACK_END_CPU, pinned};
use crate::yardstick::{Mapping, Routine};

/// The routines, with their names in the table.
pub(crate) const ROUTINES: [(Routine, &str); 3] = [
    (Routine::Memcpy, "memcpy"),
    (Routine::RepMovsb, "rep movsb"),
    (Routine::NonTemporal, "non-temporal"),
];

/// Copies like those of a load with this block size and number of buffers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Copies {
    pub(crate) writes: bool,
    pub(crate) block_kib: u64,
    pub(crate) depth: u64,
    /// Whether the span lies in huge pages.
    pub(crate) huge: bool,
    pub(crate) millis: u64,
}

impl Copies {
    /// Bytes per second of each of [`ROUTINES`], measured in a process of its own.
    pub(crate) fn measure(self) -> Result<[f64; 3], Failure> {
        let mut command = Command::new(std::env::current_exe()?);
        let numbers = [self.block_kib, self.depth, self.millis];
        command.arg("--copies").args(numbers.map(|n| n.to_string()));
        command.args(self.writes.then_some("writes"));
        command.args(self.huge.then_some("huge"));
        let output = pinned(BACK_END_CPU, || command.output())??;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).trim().into());
        }
        let printed = String::from_utf8(output.stdout)?;
        let figures: Result<Vec<f64>, _> = printed.split_whitespace().map(str::parse).collect();
        let figures: Result<[f64; 3], _> = figures?.try_into();
        figures.map_err(|figures| format!("copies printed {figures:?}").into())
    }

    /// Parse the words of [`Copies::measure`]'s command.
    pub(crate) fn parse(words: &[String]) -> Result<Self, Failure> {
        let number = |at: usize| -> Result<u64, Failure> {
            let word: &String = words.get(at).ok_or("a number is missing")?;
            Ok(word.parse()?)
        };
        let has = |flag: &str| words.iter().any(|word| word == flag);
        Ok(Self {
            block_kib: number(0)?,
            depth: number(1)?,
            millis: number(2)?,
            writes: has("writes"),
            huge: has("huge"),
        })
    }

    /// The output of that command.
    pub(crate) fn here(self) -> Result<String, Failure> {
        let mut figures = Vec::new();
        for (routine, _) in ROUTINES {
            figures.push(format!("{:.0}", self.one(routine)?));
        }
        Ok(figures.join(" "))
    }

    fn one(self, routine: Routine) -> Result<f64, Failure> {
        let span = Mapping::populated(SPAN_BYTES)?.copied_with(routine);
        if self.huge {
            span.collapse()?;
        }
        measure::fill(&span, SPAN_BYTES)?;
        let op_bytes = self.block_kib * KIB;
        let mut buffers = Mapping::populated(op_bytes * self.depth)?;
        let ops = (64 << 20) / op_bytes;
        let pass = Pass {
            writes: self.writes,
            start_bytes: 0,
            span_bytes: SPAN_BYTES,
            op_bytes,
            ops,
        };
        let start = Instant::now();
        let (mut time, mut bytes) = (Duration::ZERO, 0);
        for round in 0.. {
            let order = Order::Random(Rng::new(round));
            let took = pass.run(&span, buffers.bytes_mut(), order)?;
            // In the first round the buffers are in no cache.
            if round > 0 {
                time += took;
                bytes += ops * op_bytes;
            }
            if bytes > 0 && start.elapsed().as_millis() >= u128::from(self.millis) {
                break;
            }
        }
        Ok(bytes as f64 / time.as_secs_f64())
    }
}
