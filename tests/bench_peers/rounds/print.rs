//! The tables: one for each row, and one line of each row for a summary.

use std::fmt;

use super::run::{QUARTERS, Sample};
use super::shapes::{Measured, Row};
use crate::Settings;
use crate::measure::{median, quantile};
use crate::report;

/// The samples of a row: by contender, then by round.
#[derive(Debug)]
pub(crate) struct Rounds {
    pub(super) row: Row,
    pub(super) names: Vec<String>,
    pub(super) samples: Vec<Vec<Sample>>,
}

/// A column of a row's table: its head, the figure, and how the figure is written.
struct Column {
    head: &'static str,
    of: fn(&Sample) -> f64,
    written: fn(f64) -> String,
}

const RATE: Column = Column {
    head: "k/s",
    of: |sample| sample.iops,
    written: |iops| format!("{:.1}", iops / 1e3),
};
const BYTES: Column = Column {
    head: "GB/s",
    of: |sample| sample.bytes_per_s,
    written: |bytes| format!("{:.2}", bytes / 1e9),
};
const P50: Column = Column {
    head: "p50",
    of: |sample| sample.p50_ns,
    written: report::time,
};
const P99: Column = Column {
    head: "p99",
    of: |sample| sample.p99_ns,
    written: report::time,
};
const KICKS: Column = Column {
    head: "kicks/request",
    of: |sample| sample.kicks_per_request,
    written: |kicks| format!("{kicks:.3}"),
};
const WAKE_UPS_EACH: Column = Column {
    head: "wake-ups/request",
    of: |sample| sample.wake_ups_per_request,
    written: |count| format!("{count:.3}"),
};
const CPU_EACH: Column = Column {
    head: "processor time/request",
    of: |sample| sample.cpu_ns_per_request,
    written: report::time,
};
const CPU: Column = Column {
    head: "processor",
    of: |sample| sample.cpu_percent,
    written: |percent| format!("{percent:.1} %"),
};
const EVENNESS: Column = Column {
    head: "slower/faster disk",
    of: |sample| sample.evenness,
    written: |ratio| format!("{ratio:.2}"),
};
const WAKE_UPS: Column = Column {
    head: "wake-ups in 10 s",
    of: |sample| sample.wake_ups,
    written: |count| format!("{count:.0}"),
};
const FIRST_QUARTER: Column = Column {
    head: "first quarter second/steady",
    of: |sample| sample.quarters.first().copied().unwrap_or(f64::NAN) / steady(sample),
    written: |ratio| format!("{ratio:.2}"),
};

/// The rate at the end of a run after a fill.
fn steady(sample: &Sample) -> f64 {
    let last = sample.quarters.iter().rev().take(2);
    last.sum::<f64>() / 2.0
}

impl Rounds {
    /// The first of these is what back ends are compared by.
    fn columns(&self) -> Vec<Column> {
        let rate = if self.row.load.block_kib == 1024 {
            BYTES
        } else {
            RATE
        };
        match self.row.measured {
            Measured::Rate if self.row.disks > 1 => vec![rate, EVENNESS, P50, P99, KICKS, CPU_EACH],
            Measured::Rate => vec![rate, P50, P99, KICKS, CPU_EACH],
            Measured::Paced => vec![P50, P99, CPU, KICKS, WAKE_UPS_EACH],
            Measured::AfterFill => vec![FIRST_QUARTER],
            Measured::Idle => vec![WAKE_UPS, CPU],
        }
    }

    /// A contender's figure of each round.
    fn figures(&self, at: usize, column: &Column) -> Vec<f64> {
        self.samples[at].iter().map(column.of).collect()
    }

    /// Its median, and the lowest and highest.
    fn cell(&self, at: usize, column: &Column) -> String {
        spread(&self.figures(at, column), column.written)
    }

    /// A contender's figure relative to the first one's, with the lowest and highest ratio of a
    /// round.
    fn ratio(&self, at: usize, column: &Column) -> String {
        let [ours, first] = [at, 0].map(|at| self.figures(at, column));
        // Wake-ups at rest: a ratio to none says nothing.
        if first.contains(&0.0) {
            return "-".to_owned();
        }
        let ratio = median(&ours) / median(&first);
        let mut each: Vec<f64> = ours.iter().zip(&first).map(|(a, b)| a / b).collect();
        let [low, high] = [0.0, 1.0].map(|part| quantile(&mut each, part));
        format!("{ratio:.2} ({low:.2} to {high:.2})")
    }

    /// Its requests per second, in each quarter second after the fill.
    fn quarters(&self, at: usize) -> Vec<String> {
        let rate = |quarter: usize| {
            let of = |sample: &Sample| sample.quarters.get(quarter).copied();
            let rates: Vec<f64> = self.samples[at].iter().filter_map(of).collect();
            format!("{:.1}", median(&rates) / 1e3)
        };
        (0..QUARTERS).map(rate).collect()
    }
}

impl fmt::Display for Rounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.columns();
        let mut heads: Vec<String> = vec!["back end".to_owned()];
        for (at, column) in columns.iter().enumerate() {
            heads.push(column.head.to_owned());
            if at == 0 {
                heads.push("of the first".to_owned());
            }
        }
        let by_quarters = self.row.measured == Measured::AfterFill;
        if by_quarters {
            heads.extend((1..=QUARTERS).map(|at| format!("k/s until {:.2} s", at as f64 / 4.0)));
        }
        writeln!(f, "\n`{}`: {}\n", self.row.name, self.row.what())?;
        writeln!(f, "| {} |", heads.join(" | "))?;
        writeln!(f, "|{}", "---|".repeat(heads.len()))?;
        for (at, name) in self.names.iter().enumerate() {
            let mut cells = vec![name.clone()];
            for (number, column) in columns.iter().enumerate() {
                cells.push(self.cell(at, column));
                if number == 0 {
                    cells.push(self.ratio(at, column));
                }
            }
            if by_quarters {
                cells.extend(self.quarters(at));
            }
            writeln!(f, "| {} |", cells.join(" | "))?;
        }
        Ok(())
    }
}

/// The median, and in parentheses the lowest and highest.
fn spread(figures: &[f64], written: fn(f64) -> String) -> String {
    let mut figures = figures.to_vec();
    let [low, middle, high] = [0.0, 0.5, 1.0].map(|part| quantile(&mut figures, part));
    if figures.len() == 1 {
        return written(middle);
    }
    format!(
        "{} ({} to {})",
        written(middle),
        written(low),
        written(high)
    )
}

/// All rows with the same contenders as one table, of medians only: what each back end reaches,
/// and the first one's figure divided by its own.
pub(crate) fn summary(all: &[Rounds], settings: &Settings) -> String {
    let mut text = format!(
        "\nmedians of {} rounds; in parentheses the first back end's figure, divided by this \
         one's\n",
        settings.rounds_of_turns()
    );
    let mut names: &[String] = &[];
    for rounds in all {
        if rounds.names != names {
            names = &rounds.names;
            let rule = "---|".repeat(names.len() + 2);
            text += &format!("\n| row | figure | {} |\n|{rule}\n", names.join(" | "));
        }
        let columns = rounds.columns();
        let shown = match rounds.row.measured {
            Measured::Paced => &columns[..3],
            Measured::Idle => &columns[..],
            Measured::Rate | Measured::AfterFill => &columns[..1],
        };
        for column in shown {
            let first = median(&rounds.figures(0, column));
            let cells = (0..names.len()).map(|at| {
                let figure = median(&rounds.figures(at, column));
                let figure_text = (column.written)(figure);
                if at == 0 || figure == 0.0 {
                    return figure_text;
                }
                format!("{figure_text} ({:.2})", first / figure)
            });
            let cells: Vec<String> = cells.collect();
            let (row, head) = (&rounds.row.name, column.head);
            text += &format!("| {row} | {head} | {} |\n", cells.join(" | "));
        }
    }
    text
}
