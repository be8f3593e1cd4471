//! What is measured, and the bar that it must reach.

use crate::back_end::Peer;
use crate::compare::{self, Bar, Beside, Row, Verdict};
use crate::generator::Driver::{Poll, Sleep};
use crate::generator::{Load, Metric, load};
use crate::measure::Failure;
use crate::table::Line;
use crate::{Settings, alone};

/// How a row is measured.
pub(crate) enum Kind {
    /// The same load on several peers in turn.
    Compare(Row),
    /// A measurement of its own.
    Own(fn(&Settings) -> Result<Vec<Line>, Failure>),
}

impl Kind {
    pub(crate) fn run(&self, settings: &Settings) -> Result<Vec<Line>, Failure> {
        match self {
            Self::Compare(row) => compare::run(row, settings),
            Self::Own(run) => run(settings),
        }
    }
}

const ALL: &[Peer] = &[Peer::Ramblk, Peer::NullCo, Peer::File, Peer::Stock];

/// One verdict.
const fn verdict(metric: Metric, beside: Beside, bar: Bar) -> [Option<Verdict>; 2] {
    let verdict = Verdict {
        metric,
        beside,
        bar,
    };
    [Some(verdict), None]
}

/// Requests per second relative to a null disk.
const fn beside_null(least: f64) -> [Option<Verdict>; 2] {
    verdict(
        Metric::Iops,
        Beside::Peer(Peer::NullCo),
        Bar::AtLeast(least),
    )
}

const fn compared(what: &'static str, load: Load, verdicts: [Option<Verdict>; 2]) -> Kind {
    Kind::Compare(Row {
        what,
        load,
        peers: ALL,
        beside_copies: false,
        verdicts,
    })
}

const fn copied(what: &'static str, load: Load) -> Kind {
    Kind::Compare(Row {
        what,
        load,
        peers: ALL,
        beside_copies: true,
        verdicts: verdict(Metric::BytesPerS, Beside::BestCopy, Bar::AtLeast(0.95)),
    })
}

/// The cost of the way from the ring to the disk and back alone.
const fn unmoved(what: &'static str, load: Load) -> Kind {
    Kind::Compare(Row {
        what,
        load,
        peers: &[Peer::RamblkUnmoved, Peer::StockUnmoved],
        beside_copies: false,
        verdicts: verdict(
            Metric::CpuPerRequest,
            Beside::Peer(Peer::StockUnmoved),
            Bar::AtMost(0.2),
        ),
    })
}

/// The one row with two verdicts.
const BESIDE_BOTH: [Option<Verdict>; 2] = {
    let [stock, _] = verdict(Metric::Iops, Beside::Peer(Peer::Stock), Bar::AtLeast(1.3));
    [beside_null(0.5)[0], stock]
};

/// Each row by its name.
pub(crate) const ROWS: [(&str, Kind); 17] = [
    (
        "qd1-poll-read",
        compared(
            "4 KiB random read, QD1, polling",
            load("read", 4, 1, Poll),
            beside_null(3.5),
        ),
    ),
    (
        "qd1-poll-write",
        compared(
            "4 KiB random write, QD1, polling",
            load("write", 4, 1, Poll),
            beside_null(4.2),
        ),
    ),
    (
        "qd32-poll-read",
        compared(
            "4 KiB random read, QD32, polling",
            load("read", 4, 32, Poll),
            BESIDE_BOTH,
        ),
    ),
    (
        "qd32-poll-write",
        compared(
            "4 KiB random write, QD32, polling",
            load("write", 4, 32, Poll),
            beside_null(0.75),
        ),
    ),
    (
        "qd32-sleep-read",
        compared(
            "4 KiB random read, QD32, sleeping",
            load("read", 4, 32, Sleep),
            beside_null(1.0),
        ),
    ),
    (
        "qd32-sleep-write",
        compared(
            "4 KiB random write, QD32, sleeping",
            load("write", 4, 32, Sleep),
            beside_null(1.0),
        ),
    ),
    (
        "qd1-sleep-read",
        compared(
            "4 KiB random read, QD1, sleeping",
            load("read", 4, 1, Sleep),
            verdict(Metric::P50, Beside::Peer(Peer::NullCo), Bar::AtMost(0.09)),
        ),
    ),
    (
        "queues-sleep-mixed",
        compared(
            "4 KiB reads and writes, 2 queues of QD32, sleeping",
            Load {
                queues: 2,
                ..load("mixed", 4, 32, Sleep)
            },
            beside_null(0.7),
        ),
    ),
    (
        "64k-read",
        copied(
            "64 KiB random read, QD8, polling",
            load("read", 64, 8, Poll),
        ),
    ),
    (
        "64k-write",
        copied(
            "64 KiB random write, QD8, polling",
            load("write", 64, 8, Poll),
        ),
    ),
    (
        "1m-read",
        copied(
            "1 MiB random read, QD4, polling",
            load("read", 1024, 4, Poll),
        ),
    ),
    (
        "1m-write",
        copied(
            "1 MiB random write, QD4, polling",
            load("write", 1024, 4, Poll),
        ),
    ),
    (
        "unmoved-poll-read",
        unmoved(
            "4 KiB read, QD32, polling, no data moved",
            load("read", 4, 32, Poll),
        ),
    ),
    (
        "unmoved-sleep-read",
        unmoved(
            "4 KiB read, QD32, sleeping, no data moved",
            load("read", 4, 32, Sleep),
        ),
    ),
    (
        "paced",
        Kind::Compare(Row {
            what: "one 4 KiB read per ms, sleeping",
            load: Load {
                rate: Some(1000.0),
                ..load("read", 4, 1, Sleep)
            },
            peers: ALL,
            beside_copies: false,
            verdicts: verdict(Metric::CpuPercent, Beside::Nothing, Bar::AtMost(5.0)),
        }),
    ),
    ("idle", Kind::Own(alone::idle)),
    ("neighbour", Kind::Own(alone::neighbour)),
];
