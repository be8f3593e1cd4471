//! Lines of the table.

use std::fmt;

use crate::back_end::Peer;
use crate::generator::Metric;
use crate::report;

/// The columns of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Column {
    Ramblk,
    NullCo,
    File,
    Stock,
    Copy,
}

impl Column {
    pub(crate) const ALL: [Self; 5] = [
        Self::Ramblk,
        Self::NullCo,
        Self::File,
        Self::Stock,
        Self::Copy,
    ];

    /// A build that moves no bytes takes the column of the normal build. The last two take no part
    /// in rows with bars, which alone have this table.
    pub(crate) fn of(peer: Peer) -> Self {
        match peer {
            Peer::Ramblk | Peer::RamblkUnmoved => Self::Ramblk,
            Peer::NullCo => Self::NullCo,
            Peer::Stock | Peer::StockUnmoved => Self::Stock,
            Peer::File | Peer::Nbdkit | Peer::Other => Self::File,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ramblk => "ramblk",
            Self::NullCo => "null-co",
            Self::File => "file on tmpfs",
            Self::Stock => "stock",
            Self::Copy => "best copy",
        }
    }
}

/// One line.
#[derive(Clone, Debug, Default)]
pub(crate) struct Line {
    pub(crate) what: String,
    cells: [String; 5],
    ratio: String,
    bar: String,
    met: Option<bool>,
    /// Each figure relative to that of the row's bar, for the plot.
    pub(crate) relative: Vec<(Column, f64)>,
}

impl Line {
    pub(crate) fn new(what: &str) -> Self {
        Self {
            what: what.to_owned(),
            ..Self::default()
        }
    }

    /// A row that could not be measured.
    pub(crate) fn failed(name: &str, why: &dyn fmt::Display) -> Self {
        let why = format!("failed: {why}");
        Self::new(name).judged(why.replace(['\n', '|'], " "), String::new(), false)
    }

    #[must_use]
    pub(crate) fn with(mut self, column: Column, cell: String) -> Self {
        self.cells[column as usize] = cell;
        self
    }

    #[must_use]
    pub(crate) fn judged(self, ratio: String, bar: String, met: bool) -> Self {
        Self {
            ratio,
            bar,
            met: Some(met),
            ..self
        }
    }

    pub(crate) fn head() -> String {
        let names = Column::ALL.map(Column::name).join(" | ");
        format!(
            "| what | {names} | ratio or figure | bar | met |\n|{}",
            "---|".repeat(9)
        )
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cells = self.cells.join(" | ");
        let met = match self.met {
            Some(true) => "yes",
            Some(false) => "**no**",
            None => "",
        };
        let Self {
            what, ratio, bar, ..
        } = self;
        write!(f, "| {what} | {cells} | {ratio} | {bar} | {met} |")
    }
}

/// A figure with its unit.
pub(crate) fn figure(metric: Metric, number: f64) -> String {
    match metric {
        Metric::Iops => format!("{:.0} k/s", number / 1e3),
        Metric::BytesPerS => format!("{:.1} GB/s", number / 1e9),
        Metric::P50 | Metric::P99 | Metric::CpuPerRequest => report::time(number),
        Metric::CpuPercent => format!("{number:.1} %"),
        Metric::KicksPerRequest | Metric::WakeUpsPerRequest => format!("{number:.3}"),
    }
}
