//! Personalities: how long requests take on a device of a kind, as a model of its parts.
//!
//! A device has a number of places at which requests are served at the same time, a medium that
//! takes a time for each access (and, if it turns, for seeking), a link that moves bytes one after
//! the other, a rate of requests, and a cache of writes. A request takes the time that it waits for
//! these. The figures are in `docs/guide/test-rig.md`, with where they come from.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::dice::Dice;
use super::personality::Personality;
use super::rule::TargetOperation;
use super::target::Target;

/// The most writes that a cache keeps apart; further ones wait for the medium.
const MOST_CACHED: usize = 1 << 16;

/// What a device does for one direction.
#[derive(Clone, Copy, Debug)]
struct Way {
    /// An access of the medium.
    access: Duration,
    /// Requests a second, once there are no credits; 0 if nothing else bounds them.
    iops: u64,
    bytes_per_second: u64,
}

/// The parameters of a device.
#[derive(Clone, Copy, Debug)]
struct Device {
    /// Requests that are served at the same time.
    depth: usize,
    read: Way,
    write: Way,
    /// Requests that may come at once after a pause, beyond the rate.
    credits: u64,
    seek: Option<Seek>,
    cache: Option<Cache>,
}

/// A medium that turns, with arms that move.
#[derive(Clone, Copy, Debug)]
struct Seek {
    /// To the next place, and over the whole disk. Between, it grows with the root of the distance.
    least: Duration,
    most: Duration,
    turn: Duration,
}

/// Writes that are answered before they are on the medium.
#[derive(Clone, Copy, Debug)]
struct Cache {
    bytes: u64,
    access: Duration,
}

const fn way(access_us: u64, iops: u64, bytes_per_second: u64) -> Way {
    Way {
        access: Duration::from_micros(access_us),
        iops,
        bytes_per_second,
    }
}

const HDD_7200: Device = Device {
    depth: 1,
    // Seeking and turning are all that bounds its requests.
    read: way(0, 0, 175_000_000),
    write: way(0, 0, 175_000_000),
    credits: 0,
    seek: Some(Seek {
        least: Duration::from_micros(500),
        most: Duration::from_micros(14_900),
        turn: Duration::from_micros(8333),
    }),
    cache: Some(Cache {
        bytes: 64 << 20,
        access: Duration::from_micros(100),
    }),
};

const SATA_SSD: Device = Device {
    depth: 9,
    read: way(110, 72_000, 500_000_000),
    write: way(52, 33_000, 490_000_000),
    credits: 0,
    seek: None,
    cache: None,
};

const NVME: Device = Device {
    depth: 43,
    read: way(85, 490_000, 3_200_000_000),
    write: way(20, 38_000, 1_050_000_000),
    credits: 0,
    seek: None,
    cache: None,
};

const EBS_GP3: Device = Device {
    depth: 64,
    read: way(1000, 3000, 125 << 20),
    write: way(1000, 3000, 125 << 20),
    credits: 30,
    seek: None,
    cache: None,
};

impl Personality {
    fn device(self) -> Device {
        match self {
            Self::Hdd7200 => HDD_7200,
            Self::SataSsd => SATA_SSD,
            Self::Nvme => NVME,
            Self::EbsGp3 => EBS_GP3,
        }
    }

    /// Its parameters in words.
    pub fn parameters(self) -> String {
        let device = self.device();
        let us = |time: Duration| format!("{} us", time.as_micros());
        let mut words = vec![format!("depth {}", device.depth)];
        for (name, way) in [("reads", device.read), ("writes", device.write)] {
            let mut parts = Vec::new();
            if !way.access.is_zero() {
                parts.push(us(way.access));
            }
            if way.iops > 0 {
                parts.push(format!("{}/s", way.iops));
            }
            parts.push(format!("{} MB/s", way.bytes_per_second / 1_000_000));
            words.push(format!("{name} {}", parts.join(", ")));
        }
        if let Some(seek) = device.seek {
            let (least, most, turn) = (us(seek.least), us(seek.most), us(seek.turn));
            words.push(format!("seeks {least} to {most}, turns in {turn}"));
        }
        if let Some(cache) = device.cache {
            let (mib, access) = (cache.bytes >> 20, us(cache.access));
            words.push(format!("write cache {mib} MiB, {access}"));
        }
        words.push(format!("burst credits {}", device.credits));
        words.join("; ")
    }
}

/// A device at work.
#[derive(Debug)]
pub(super) struct Latency {
    device: Device,
    /// When each place is free.
    places: Vec<Instant>,
    /// When the link is free.
    link: Instant,
    /// When the next request is due by the rate.
    due: Instant,
    /// Where the arms are, in bytes of the disk.
    head: u64,
    /// Writes that are answered and not yet on the medium: when they will be, and their bytes.
    cached: VecDeque<(Instant, u64)>,
    cached_bytes: u64,
    /// When all writes are on the medium.
    written: Instant,
}

impl Latency {
    pub(super) fn new(personality: Personality, now: Instant) -> Self {
        let device = personality.device();
        Self {
            device,
            places: vec![now; device.depth],
            link: now,
            due: now,
            head: 0,
            cached: VecDeque::new(),
            cached_bytes: 0,
            written: now,
        }
    }

    /// How long a request takes that begins now.
    pub(super) fn serve(&mut self, target: &Target<'_>, dice: &mut Dice) -> Duration {
        let now = target.now;
        while self.cached.front().is_some_and(|(at, _)| *at <= now) {
            self.cached_bytes -= self.cached.pop_front().map_or(0, |(_, bytes)| bytes);
        }
        let (way, bytes, is_write) = match target.operation {
            TargetOperation::Flush => {
                let done = self.written.max(now) + self.device.write.access;
                return done.saturating_duration_since(now);
            }
            TargetOperation::Read => (self.device.read, target.bytes(), false),
            TargetOperation::Write => (self.device.write, target.bytes(), true),
            // They move no bytes.
            TargetOperation::Discard | TargetOperation::WriteZeroes => (self.device.write, 0, true),
        };
        let begins = self.pace(way, now);
        let medium = self.medium(way, begins, target, bytes, dice);
        let mut done = medium;
        if is_write {
            self.written = self.written.max(medium);
            if let Some(cache) = self.device.cache
                && self.cached_bytes + bytes <= cache.bytes
                && self.cached.len() < MOST_CACHED
            {
                self.cached.push_back((medium, bytes));
                self.cached_bytes += bytes;
                done = begins + cache.access + transfer(bytes, way);
            }
        }
        done.saturating_duration_since(now)
    }

    /// When the rate lets a request begin.
    fn pace(&mut self, way: Way, now: Instant) -> Instant {
        let every_ns = 1_000_000_000_u64.checked_div(way.iops).unwrap_or(0);
        let every = Duration::from_nanos(every_ns);
        let credit = Duration::from_nanos(every_ns.saturating_mul(self.device.credits));
        let due = self.due.max(now);
        self.due = due + every;
        // What is saved up lets it begin earlier than it is due.
        due.checked_sub(credit).map_or(now, |at| at.max(now))
    }

    /// When the medium has done a request.
    fn medium(
        &mut self,
        way: Way,
        begins: Instant,
        target: &Target<'_>,
        bytes: u64,
        dice: &mut Dice,
    ) -> Instant {
        let start = target.first().start_bytes;
        let access = match self.device.seek {
            Some(seek) if start != self.head => {
                let distance = start.abs_diff(self.head).min(target.size_bytes);
                #[expect(clippy::cast_precision_loss, reason = "a part of the disk")]
                let part = distance as f64 / target.size_bytes.max(1) as f64;
                let turn_ns = u64::try_from(seek.turn.as_nanos()).unwrap_or(u64::MAX);
                let turns = Duration::from_nanos(dice.below(turn_ns));
                seek.least + (seek.most - seek.least).mul_f64(part.sqrt()) + turns
            }
            _ => way.access,
        };
        self.head = start.saturating_add(bytes);
        let Some(place) = self.places.iter_mut().min() else {
            return begins;
        };
        let found = begins.max(*place) + access;
        let moved = found.max(self.link) + transfer(bytes, way);
        self.link = moved;
        *place = moved;
        moved
    }
}

/// How long the link is busy.
fn transfer(bytes: u64, way: Way) -> Duration {
    let ns = u128::from(bytes) * 1_000_000_000 / u128::from(way.bytes_per_second.max(1));
    Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::super::dice::About;
    use super::super::rule::Span;
    use super::*;

    const SIZE: u64 = 1 << 40;

    /// The mean time of requests of 4 KiB with `depth` at once, in microseconds, and how many a
    /// second that makes.
    fn load(personality: Personality, operation: TargetOperation, depth: usize) -> (f64, f64) {
        let start = Instant::now();
        let mut latency = Latency::new(personality, start);
        let mut dice = Dice::new(About {
            seed: 1,
            rule: 0,
            operation,
            start_bytes: 0,
            count: 0,
        });
        let mut ends = vec![start; depth];
        let (mut sum, count) = (Duration::ZERO, 20_000_u32);
        for _ in 0..count {
            ends.sort_unstable();
            let span = Span {
                start_bytes: dice.below(SIZE / 4096) * 4096,
                len_bytes: 4096,
            };
            let target = Target {
                operation,
                spans: &[span],
                size_bytes: SIZE,
                waits_for_memory: false,
                now: ends[0],
            };
            let wait = latency.serve(&target, &mut dice);
            sum += wait;
            ends[0] += wait;
        }
        let all = ends
            .iter()
            .max()
            .map_or(0.0, |end| (*end - start).as_secs_f64());
        (
            sum.as_secs_f64() * 1e6 / f64::from(count),
            f64::from(count) / all,
        )
    }

    #[test]
    fn devices_have_the_figures_of_their_data_sheets() {
        use Personality::{EbsGp3, Hdd7200, Nvme, SataSsd};
        use TargetOperation::{Read, Write};
        let near = |found: f64, wanted: f64| (0.9..1.1).contains(&(found / wanted));
        for (personality, operation, depth, us, iops) in [
            // A mean seek of 8.2 ms, half a turn, and 4 KiB at 175 MB/s.
            (Hdd7200, Read, 1, 12_390.0, 80.7),
            (SataSsd, Read, 1, 118.0, 8470.0),
            (SataSsd, Read, 32, 444.0, 72_000.0),
            (SataSsd, Write, 32, 970.0, 33_000.0),
            (Nvme, Read, 1, 86.0, 11_600.0),
            (Nvme, Read, 128, 261.0, 490_000.0),
            (Nvme, Write, 32, 842.0, 38_000.0),
            (EbsGp3, Read, 1, 1031.0, 970.0),
            (EbsGp3, Write, 16, 5333.0, 3000.0),
        ] {
            let (mean_us, rate) = load(personality, operation, depth);
            assert!(
                near(mean_us, us),
                "{personality} {operation:?} {depth}: {mean_us} us"
            );
            assert!(
                near(rate, iops),
                "{personality} {operation:?} {depth}: {rate}/s"
            );
        }
    }

    #[test]
    fn a_cache_answers_writes_at_once_until_it_is_full_and_a_flush_waits_for_it() {
        let now = Instant::now();
        let mut latency = Latency::new(Personality::Hdd7200, now);
        let mut dice = Dice::new(About {
            seed: 1,
            rule: 0,
            operation: TargetOperation::Write,
            start_bytes: 0,
            count: 0,
        });
        let mut ask = |operation, mib: u64| {
            let span = Span {
                start_bytes: mib << 20,
                len_bytes: 1 << 20,
            };
            let target = Target {
                operation,
                spans: &[span],
                size_bytes: SIZE,
                waits_for_memory: false,
                now,
            };
            latency.serve(&target, &mut dice)
        };
        for mib in 0..64 {
            assert!(ask(TargetOperation::Write, mib * 100) < Duration::from_millis(7));
        }
        let full = ask(TargetOperation::Write, 9);
        assert!(full > Duration::from_millis(500), "{full:?}");
        assert!(ask(TargetOperation::Flush, 0) >= full);
    }

    #[test]
    fn parameters_say_what_the_figures_are() {
        let said = Personality::EbsGp3.parameters();
        let wanted = "depth 64; reads 1000 us, 3000/s, 131 MB/s; writes 1000 us, 3000/s, 131 MB/s; \
                      burst credits 30";
        assert_eq!(said, wanted);
        let said = Personality::Hdd7200.parameters();
        assert!(
            said.contains("seeks 500 us to 14900 us, turns in 8333 us"),
            "{said}"
        );
        assert!(said.contains("write cache 64 MiB, 100 us"), "{said}");
        for it in Personality::ALL {
            assert_eq!(it.name().parse(), Ok(it));
        }
    }
}
