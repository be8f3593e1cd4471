//! The rows: which load, where, and beside what.

use std::fmt::Write;

use crate::generator::Driver::{Poll, Sleep};
use crate::generator::{Load, load};

/// What of a run counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measured {
    /// Requests per second, as many as the back end serves.
    Rate,
    /// Latency and processor time at a fixed rate.
    Paced,
    /// Requests per second by quarter seconds, from the end of a fill on.
    AfterFill,
    /// Wake-ups and processor time while no requests are made.
    Idle,
}

/// One row.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) load: Load,
    pub(crate) measured: Measured,
    /// Whether a process spins beside each run.
    pub(crate) busy: bool,
    /// Whether driver and back end have a processor each; otherwise nothing is pinned.
    pub(crate) pinned: bool,
    /// Disks of the back end, each with a driver process of its own.
    pub(crate) disks: usize,
}

impl Row {
    /// What it is, in words.
    pub(crate) fn what(&self) -> String {
        let load = self.load;
        let op = if load.op == "mixed" {
            "reads and writes".to_owned()
        } else {
            format!("random {}", load.op)
        };
        let size = match load.block_kib {
            1024 => "1 MiB".to_owned(),
            kib => format!("{kib} KiB"),
        };
        let mut what = match self.measured {
            Measured::Idle => "no requests".to_owned(),
            _ => format!("{size} {op}"),
        };
        // Writing to a string can't fail.
        let _ = match load.rate {
            Some(rate) => write!(what, ", one each {:.0} us", 1e6 / rate),
            None => write!(what, ", QD{}", load.depth),
        };
        if load.queues > 1 {
            let _ = write!(what, " in each of {} queues", load.queues);
        }
        if self.disks > 1 {
            let _ = write!(what, ", on each of {} disks", self.disks);
        }
        what += match load.driver {
            Poll => ", driver polls",
            Sleep => ", driver sleeps",
        };
        if self.measured == Measured::AfterFill {
            what += ", right after a fill";
        }
        if self.busy {
            what += ", beside a busy loop";
        }
        if self.pinned {
            what += ", pinned";
        }
        what
    }
}

fn row(prefix: &str, load: Load, measured: Measured) -> Row {
    let driver = match load.driver {
        Poll => "poll",
        Sleep => "sleep",
    };
    let size = if load.block_kib == 1024 { "-1m" } else { "" };
    let queues = if load.queues > 1 { "-2q" } else { "" };
    let Load { op, depth, .. } = load;
    Row {
        name: format!("{prefix}-{driver}{size}-qd{depth}{queues}-{op}"),
        load,
        measured,
        busy: false,
        pinned: false,
        disks: 1,
    }
}

/// The row, and the same beside a busy loop.
fn quiet_and_busy(row: Row) -> [Row; 2] {
    let busy = Row {
        name: format!("{}-busy", row.name),
        busy: true,
        ..row.clone()
    };
    [row, busy]
}

/// Requests per second of each pace.
const PACES: [u32; 4] = [1000, 200, 100, 50];

/// All rows.
pub(crate) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for driver in [Sleep, Poll] {
        for (depth, queues) in [(1, 1), (32, 1), (1, 2), (32, 2)] {
            for op in ["read", "write"] {
                let load = Load {
                    queues,
                    ..load(op, 4, depth, driver)
                };
                rows.extend(quiet_and_busy(row("free", load, Measured::Rate)));
            }
        }
        for op in ["read", "write"] {
            let row = row("free", load(op, 1024, 4, driver), Measured::Rate);
            rows.extend(quiet_and_busy(row));
        }
    }
    for us in PACES {
        let load = Load {
            rate: Some(1e6 / f64::from(us)),
            ..load("read", 4, 1, Sleep)
        };
        rows.extend(quiet_and_busy(Row {
            name: format!("paced-{us}us"),
            ..row("paced", load, Measured::Paced)
        }));
    }
    for driver in [Sleep, Poll] {
        let load = load("read", 4, 1, driver);
        rows.extend(quiet_and_busy(Row {
            disks: 2,
            ..row("disks", load, Measured::Rate)
        }));
    }
    for load in [
        load("read", 4, 1, Poll),
        load("read", 4, 1, Sleep),
        load("read", 4, 32, Poll),
    ] {
        rows.push(row("filled", load, Measured::AfterFill));
    }
    rows.push(Row {
        name: "rest".to_owned(),
        ..row("rest", load("read", 4, 32, Sleep), Measured::Idle)
    });
    rows.extend(pinned());
    rows
}

/// For builds beside each other: driver and back end have a processor each.
fn pinned() -> Vec<Row> {
    let mut rows = Vec::new();
    for (block_kib, depth, queues) in [(4, 1, 1), (4, 32, 1), (4, 32, 2), (1024, 4, 1)] {
        for op in ["read", "write"] {
            let load = Load {
                queues,
                ..load(op, block_kib, depth, Poll)
            };
            rows.push(Row {
                pinned: true,
                ..row("pinned", load, Measured::Rate)
            });
        }
    }
    rows
}
