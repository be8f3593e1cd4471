//! What waking a thread costs here and now: hosts have phases in which everything that needs the
//! hypervisor takes twice as long, so a figure without it says little.

use std::time::Instant;

use vmm_sys_util::eventfd::EventFd;

use crate::measure::{Failure, median};
use crate::place::{BACK_END_CPU, DRIVER_CPU, pin};
use crate::report;

/// Wake-ups each way.
const TIMES: usize = 3000;

/// A line with the cost of a wake-up, between two processors and on one.
pub(crate) fn phase() -> Result<String, Failure> {
    let [across, write] = ping_pong([DRIVER_CPU, BACK_END_CPU])?;
    let [same, _] = ping_pong([DRIVER_CPU, DRIVER_CPU])?;
    Ok(format!(
        "- phase: waking a thread takes {} from another processor, of which the eventfd's write \
         is {}, and {} from its own; medians of {TIMES} halves of there and back\n",
        report::time(across),
        report::time(write),
        report::time(same),
    ))
}

/// Two threads that wake each other, one on each of `cpus`: the median of half a round trip and of
/// the write that wakes, in nanoseconds.
fn ping_pong(cpus: [usize; 2]) -> Result<[f64; 2], Failure> {
    let [there, back] = [EventFd::new(0)?, EventFd::new(0)?];
    let mut trips = Vec::with_capacity(TIMES);
    let mut writes = Vec::with_capacity(TIMES);
    std::thread::scope(|scope| {
        let answering = scope.spawn(|| -> Result<(), Failure> {
            pin(cpus[1])?;
            for _ in 0..TIMES {
                there.read()?;
                back.write(1)?;
            }
            Ok(())
        });
        let asking = scope.spawn(|| -> Result<(), Failure> {
            pin(cpus[0])?;
            for _ in 0..TIMES {
                let began = Instant::now();
                there.write(1)?;
                writes.push(began.elapsed().as_nanos() as f64);
                back.read()?;
                trips.push(began.elapsed().as_nanos() as f64 / 2.0);
            }
            Ok(())
        });
        let ended = [asking.join(), answering.join()];
        ended
            .into_iter()
            .try_for_each(|end| end.map_err(|_| "a thread panicked")?)
    })?;
    Ok([median(&trips), median(&writes)])
}
