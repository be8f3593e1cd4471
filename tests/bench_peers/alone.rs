//! What is measured on ramblk alone: the cost of an idle disk, and what neighbours notice.

use std::process::Child;
use std::time::Duration;

use crate::Settings;
use crate::back_end::{BackEnd, Peer};
use crate::compare::Bar;
use crate::generator::{Driver, Load, Metric, load};
use crate::measure::{Failure, median};
use crate::report;
use crate::table::{Column, Line};

const SMALL: Load = load("read", 4, 1, Driver::Sleep);

/// Killed when dropped.
struct Background(Child);

impl Drop for Background {
    fn drop(&mut self) {
        // It may have exited by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Wake-ups of a disk that a driver has used and now leaves idle.
pub(crate) fn idle(settings: &Settings) -> Result<Vec<Line>, Failure> {
    let back_end = BackEnd::start(Peer::Ramblk, settings, &[])?;
    let ramblk = &settings.ramblk;
    SMALL.run(ramblk, back_end.socket(), 0.5, back_end.wants_filling())?;
    // One request now, and the next one after the measurement.
    let still = Load {
        rate: Some(0.03),
        ..SMALL
    };
    let _driver = Background(still.start(ramblk, back_end.socket(), 30.0, false)?);
    std::thread::sleep(Duration::from_secs(2));
    let before = back_end.wake_ups()?;
    std::thread::sleep(Duration::from_secs(10));
    let count = back_end.wake_ups()? - before;
    let bar = Bar::AtMost(0.0);
    let line = Line::new("wake-ups in 10 s of an idle disk");
    let line = line.with(Column::Ramblk, count.to_string());
    Ok(vec![line.judged(
        count.to_string(),
        bar.to_string(),
        bar.is_met_by(count as f64),
    )])
}

/// Small requests one at a time, beside large requests of another front end on the same worker.
pub(crate) fn neighbour(settings: &Settings) -> Result<Vec<Line>, Failure> {
    let words = ["--share", "rw", "--workers", "1"];
    let back_end = BackEnd::start(Peer::Ramblk, settings, &words)?;
    let (ramblk, socket) = (&settings.ramblk, back_end.socket());
    let large = Load {
        block_kib: 1024,
        depth: 32,
        ..SMALL
    };
    SMALL.run(ramblk, socket, 0.5, back_end.wants_filling())?;
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    let seconds = settings.seconds();
    for _ in 0..settings.rounds() {
        let figures = SMALL.run(ramblk, socket, seconds, false)?;
        alone.push(figures.get(Metric::P99)?);
        let _large = Background(large.start(ramblk, socket, seconds + 60.0, false)?);
        std::thread::sleep(Duration::from_secs(1));
        let figures = SMALL.run(ramblk, socket, seconds, false)?;
        beside.push(figures.get(Metric::P99)?);
    }
    let (alone, beside) = (median(&alone), median(&beside));
    let ratio = beside / alone;
    let bar = Bar::AtMost(3.0);
    let line = Line::new("p99 of 4 KiB QD1 reads beside 1 MiB QD32 ones, sleeping");
    let line = line.with(
        Column::Ramblk,
        format!("{}; alone {}", report::time(beside), report::time(alone)),
    );
    Ok(vec![line.judged(
        format!("{ratio:.2} of alone"),
        bar.to_string(),
        bar.is_met_by(ratio),
    )])
}
