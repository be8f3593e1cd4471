//! Lines of the table, and how figures are written.

use std::fmt;
use std::fs;

use crate::measure::{self, GIB, KIB, MIB, Paired, Plan, TIB, median};

/// One line of the table.
pub(crate) struct Line {
    what: String,
    measured: String,
    yardstick: String,
    figure: String,
    bar: String,
    met: Option<bool>,
}

impl Line {
    /// The table's head.
    pub(crate) const HEAD: &str = "| what | measured | yardstick | ratio or figure | bar | met |\n\
                            |---|---|---|---|---|---|";

    /// A row without figures.
    pub(crate) fn note(what: &str, why: &str, met: Option<bool>) -> Self {
        Self {
            what: what.to_owned(),
            measured: why.to_owned(),
            yardstick: String::new(),
            figure: String::new(),
            bar: String::new(),
            met,
        }
    }

    /// A time beside the yardstick's, of which it may be at most `at_most` times.
    pub(crate) fn ratio(
        what: impl Into<String>,
        paired: &Paired,
        op_bytes: u64,
        at_most: f64,
    ) -> Self {
        let (ours_ns, yardstick_ns) = (median(&paired.ours_ns), median(&paired.yardstick_ns));
        let [low, ratio, high] = paired.ratios();
        Self {
            what: what.into(),
            measured: with_rate(ours_ns, op_bytes),
            yardstick: with_rate(yardstick_ns, op_bytes),
            figure: format!("{ratio:.2} x ({low:.2} to {high:.2})"),
            bar: format!("<= {at_most} x"),
            met: Some(ratio <= at_most),
        }
    }

    /// A rate as a share of the yardstick's, which must be `at_least` that.
    pub(crate) fn rate(
        what: impl Into<String>,
        paired: &Paired,
        op_bytes: u64,
        at_least: f64,
    ) -> Self {
        let (ours_ns, yardstick_ns) = (median(&paired.ours_ns), median(&paired.yardstick_ns));
        let [high, part, low] = paired.ratios().map(|ratio| 1.0 / ratio);
        Self {
            what: what.into(),
            measured: with_rate(ours_ns, op_bytes),
            yardstick: with_rate(yardstick_ns, op_bytes),
            figure: format!("{part:.2} x ({low:.2} to {high:.2})"),
            bar: format!(">= {at_least} x"),
            met: Some(part >= at_least),
        }
    }

    /// A factor that must reach `at_least`, beside the yardstick's own.
    pub(crate) fn factor(
        what: impl Into<String>,
        ours: f64,
        yardstick: f64,
        at_least: f64,
    ) -> Self {
        Self {
            what: what.into(),
            measured: format!("{ours:.2} x"),
            yardstick: format!("{yardstick:.2} x"),
            figure: format!("{:.2} of the yardstick's", ours / yardstick),
            bar: format!(">= {at_least} x"),
            met: Some(ours >= at_least),
        }
    }

    /// A factor that must not exceed `at_most`.
    pub(crate) fn growth(
        what: impl Into<String>,
        of: String,
        to: String,
        factor: f64,
        most: f64,
    ) -> Self {
        Self {
            what: what.into(),
            measured: of,
            yardstick: to,
            figure: format!("{factor:.2} x"),
            bar: format!("<= {most} x"),
            met: Some(factor <= most),
        }
    }

    /// A time that must stay below `below_ns`.
    pub(crate) fn time(what: impl Into<String>, ns: f64, detail: String, below_ns: f64) -> Self {
        Self {
            what: what.into(),
            measured: detail,
            yardstick: String::new(),
            figure: time(ns),
            bar: format!("< {}", time(below_ns)),
            met: Some(ns < below_ns),
        }
    }

    /// With something to compare with.
    pub(crate) fn beside(self, yardstick: String) -> Self {
        Self { yardstick, ..self }
    }

    /// Memory that must not exceed `at_most`.
    pub(crate) fn size(what: impl Into<String>, size: f64, detail: String, at_most: u64) -> Self {
        Self {
            what: what.into(),
            measured: detail,
            yardstick: String::new(),
            figure: bytes(size),
            bar: format!("<= {}", bytes(at_most as f64)),
            met: Some(size <= at_most as f64),
        }
    }

    /// A share that must not exceed `at_most` per cent.
    pub(crate) fn percent(
        what: impl Into<String>,
        part: f64,
        detail: String,
        at_most: f64,
    ) -> Self {
        let percent = part * 100.0;
        Self {
            what: what.into(),
            measured: detail,
            yardstick: String::new(),
            figure: format!("{percent:.3} %"),
            bar: format!("<= {at_most} %"),
            met: Some(percent <= at_most),
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            what,
            measured,
            yardstick,
            figure,
            bar,
            met,
        } = self;
        let met = match met {
            Some(true) => "yes",
            Some(false) => "**no**",
            None => "",
        };
        write!(
            f,
            "| {what} | {measured} | {yardstick} | {figure} | {bar} | {met} |"
        )
    }
}

/// The machine and settings of the table.
pub(crate) fn machine(plan: Plan) -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let cpu = cpu.unwrap_or("").trim_matches([' ', '\t', ':']).to_owned();
    let free = bytes(measure::available_bytes() as f64);
    let how = if plan.quick { ", quick" } else { "" };
    format!(
        "{cores} x {cpu}, {free} free, Linux {}{how}.",
        kernel.trim()
    )
}

/// A time with its unit.
pub(crate) fn time(ns: f64) -> String {
    match ns {
        ns if ns < 1e3 => format!("{ns:.0} ns"),
        ns if ns < 1e6 => format!("{} us", short(ns / 1e3)),
        ns if ns < 1e9 => format!("{} ms", short(ns / 1e6)),
        ns => format!("{} s", short(ns / 1e9)),
    }
}

/// A size with its unit.
pub(crate) fn bytes(size: f64) -> String {
    let units = [(TIB, "TiB"), (GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")];
    match units.iter().find(|(unit, _)| size.abs() >= *unit as f64) {
        Some((unit, name)) => format!("{} {name}", short(size / *unit as f64)),
        None => format!("{size:.0} B"),
    }
}

/// Three digits, without trailing zeros.
fn short(number: f64) -> String {
    let text = match number.abs() {
        number if number >= 100.0 => return format!("{number:.0}"),
        size if size >= 10.0 => format!("{number:.1}"),
        _ => format!("{number:.2}"),
    };
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn with_rate(ns: f64, op_bytes: u64) -> String {
    format!("{} ({:.1} GB/s)", time(ns), op_bytes as f64 / ns)
}
