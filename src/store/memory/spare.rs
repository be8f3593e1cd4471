//! Whether the machine has processor time to spare.
//!
//! Linux says for how long some thread of the machine has waited for a processor ("pressure stall
//! information", since 4.20, where it is compiled in and not turned off). Where it doesn't, a
//! thread's own waits must do, which it always knows: they tell less, since a thread that has slept
//! is let in soon, however many others want to run.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Instant;

/// Two busy threads per processor make it 1; one per processor, and what little else there is, less
/// than 0.1.
const MOST_WAITING: f64 = 0.3;
/// Beside one busy thread on the same processor it is up to 0.5, beside two up to 0.67.
const MOST_WAITING_OWN: f64 = 0.6;

/// How long threads have waited for a processor since it was asked last.
#[derive(Debug)]
pub(super) struct Waits {
    source: Option<Source>,
    /// The last look.
    last: Option<Look>,
}

#[derive(Debug)]
enum Source {
    /// Waits of any thread, and the time that has gone by.
    Machine(Arc<File>, Instant),
    /// Waits of the thread that made this, and the time for which it ran or waited.
    Own(File),
}

/// Two clocks, both in nanoseconds since some moment.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Look {
    waited_ns: u64,
    all_ns: u64,
}

impl Waits {
    /// Those of the machine's threads, for any thread to ask. Unknown where the system doesn't say.
    pub(super) fn of_machine() -> Self {
        let file = File::open("/proc/pressure/cpu").ok();
        let source = file.map(|file| Source::Machine(Arc::new(file), Instant::now()));
        Self {
            source: source.filter(|source| source.look().is_some()),
            last: None,
        }
    }

    /// The same with looks of their own. Where the system doesn't say, the waits of the thread that
    /// calls this.
    pub(super) fn beside(&self) -> Self {
        let source = match &self.source {
            Some(Source::Machine(file, _)) => {
                Some(Source::Machine(Arc::clone(file), Instant::now()))
            }
            _ => File::open("/proc/thread-self/schedstat")
                .ok()
                .map(Source::Own),
        };
        Self { source, last: None }
    }

    /// Where nothing says.
    pub(super) fn unknown() -> Self {
        let (source, last) = (None, None);
        Self { source, last }
    }

    /// Whether threads waited for long since the last call. `None` in the first one, and where the
    /// system doesn't say.
    pub(super) fn are_long(&mut self) -> Option<bool> {
        let source = self.source.as_ref()?;
        let now = source.look()?;
        let last = self.last.replace(now)?;
        Some(now.share_since(last)? > source.most_waiting())
    }

    /// Begin a new stretch of time for [`Waits::are_long`]; not where a thread only knows its own
    /// waits, which it has while it works.
    pub(super) fn begin(&mut self) {
        if let Some(source @ Source::Machine(..)) = &self.source {
            self.last = source.look();
        }
    }
}

impl Source {
    /// The share of the time up to which waits are not long.
    fn most_waiting(&self) -> f64 {
        match self {
            Self::Machine(..) => MOST_WAITING,
            Self::Own(_) => MOST_WAITING_OWN,
        }
    }

    fn look(&self) -> Option<Look> {
        let mut bytes = [0; 256];
        let file: &File = match self {
            Self::Machine(file, _) => file,
            Self::Own(file) => file,
        };
        let len = file.read_at(&mut bytes, 0).ok()?;
        let text = std::str::from_utf8(bytes.get(..len)?).ok()?;
        match self {
            Self::Machine(_, since) => Some(Look {
                waited_ns: pressure_us(text)?.checked_mul(1000)?,
                all_ns: u64::try_from(since.elapsed().as_nanos()).ok()?,
            }),
            Self::Own(_) => own_times(text),
        }
    }
}

impl Look {
    #[allow(
        clippy::cast_precision_loss,
        reason = "a share needs no more precision"
    )]
    fn share_since(self, last: Self) -> Option<f64> {
        let waited_ns = self.waited_ns.checked_sub(last.waited_ns)?;
        let all_ns = self.all_ns.checked_sub(last.all_ns).filter(|&ns| ns > 0)?;
        Some(waited_ns as f64 / all_ns as f64)
    }
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=MICROSECONDS`, and another line.
fn pressure_us(text: &str) -> Option<u64> {
    let some = text.lines().find(|line| line.starts_with("some "))?;
    let total = some.split(' ').find_map(|word| word.strip_prefix("total="));
    total?.parse().ok()
}

/// Nanoseconds for which the thread ran and for which it waited, and a number.
fn own_times(text: &str) -> Option<Look> {
    let mut words = text.split_whitespace();
    let mut number = || words.next()?.parse::<u64>().ok();
    let (ran_ns, waited_ns) = (number()?, number()?);
    Some(Look {
        waited_ns,
        all_ns: ran_ns.checked_add(waited_ns)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_writes_is_understood() {
        let text = "some avg10=7.20 avg60=8.95 avg300=23.86 total=14202105916\n\
                    full avg10=0.00 avg60=0.00 avg300=0.00 total=7\n";
        assert_eq!(pressure_us(text), Some(14_202_105_916));
        assert_eq!(pressure_us("full avg10=0.00 total=7\n"), None);
        let (waited_ns, all_ns) = (2_658_361, 3_000_361);
        assert_eq!(
            own_times("342000 2658361 17\n"),
            Some(Look { waited_ns, all_ns })
        );
        assert_eq!(own_times(""), None);
    }

    #[test]
    fn a_share_is_of_the_time_in_between() {
        let look = |waited_ns, all_ns| Look { waited_ns, all_ns };
        assert_eq!(look(150, 400).share_since(look(100, 300)), Some(0.5));
        // No time has gone by, and a clock that went backwards.
        assert_eq!(look(100, 300).share_since(look(100, 300)), None);
        assert_eq!(look(100, 400).share_since(look(150, 300)), None);
    }

    #[test]
    fn this_machine_says_something() {
        let mut waits = Waits::of_machine().beside();
        waits.begin();
        waits.are_long();
        std::thread::sleep(std::time::Duration::from_millis(5));
        if std::path::Path::new("/proc/thread-self/schedstat").exists() {
            assert!(waits.are_long().is_some());
        }
    }
}
