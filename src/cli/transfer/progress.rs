//! How far a transfer is: a bar on stderr if that is a terminal, or a line of JSON each second.

use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::json;

use crate::cli::print::output::{Output, say};

/// How often a program is told. Shorter transfers have no line.
const EVERY: Duration = Duration::from_secs(1);

/// The progress of a transfer.
#[derive(Clone, Debug)]
pub(in crate::cli) enum Progress {
    /// For people; shown only on a terminal.
    Bar(ProgressBar),
    /// For programs.
    Lines(Arc<Lines>),
}

/// Lines on stderr.
#[derive(Debug)]
pub(in crate::cli) struct Lines {
    what: &'static str,
    total_bytes: Option<u64>,
    began: Instant,
    told: Mutex<Instant>,
}

/// A line.
#[derive(Serialize)]
struct Line {
    what: &'static str,
    done_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_bytes: Option<u64>,
    bytes_per_second: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds_left: Option<u64>,
}

impl Progress {
    /// `what` is one word; `total_bytes` is not known for a pipe.
    pub(in crate::cli) fn new(
        what: &'static str,
        total_bytes: Option<u64>,
        output: Output,
    ) -> Self {
        match output {
            Output::Human => Self::Bar(bar(what, total_bytes)),
            Output::Json => {
                let began = Instant::now();
                Self::Lines(Arc::new(Lines {
                    what,
                    total_bytes,
                    began,
                    told: Mutex::new(began),
                }))
            }
        }
    }

    /// Everything before this is done.
    pub(in crate::cli) fn at(&self, bytes: u64) {
        match self {
            Self::Bar(bar) => bar.set_position(bytes),
            Self::Lines(lines) => lines.at(bytes),
        }
    }

    /// Remove the bar.
    pub(in crate::cli) fn end(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

fn bar(what: &'static str, total_bytes: Option<u64>) -> ProgressBar {
    let (bar, form) = match total_bytes {
        Some(total) => (
            ProgressBar::new(total),
            "{msg} [{wide_bar}] {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}",
        ),
        None => (
            ProgressBar::no_length(),
            "{msg} {binary_bytes} {binary_bytes_per_sec}",
        ),
    };
    if let Ok(style) = ProgressStyle::with_template(form) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_message(what);
    bar
}

impl Lines {
    fn at(&self, done_bytes: u64) {
        let now = Instant::now();
        let mut told = self.told.lock();
        if now.duration_since(*told) < EVERY {
            return;
        }
        *told = now;
        let line = self.line(done_bytes, now.duration_since(self.began));
        say(&json!({ "progress": line }).to_string());
    }

    fn line(&self, done_bytes: u64, since: Duration) -> Line {
        let per_second = u128::from(done_bytes) * 1000 / since.as_millis().max(1);
        let bytes_per_second = u64::try_from(per_second).unwrap_or(u64::MAX);
        let left = self
            .total_bytes
            .map(|total| total.saturating_sub(done_bytes));
        Line {
            what: self.what,
            done_bytes,
            total_bytes: self.total_bytes,
            bytes_per_second,
            seconds_left: left.and_then(|left| left.checked_div(bytes_per_second)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_rate_and_the_time_that_is_left() {
        let now = Instant::now();
        let lines = Lines {
            what: "import",
            total_bytes: Some(10_000),
            began: now,
            told: Mutex::new(now),
        };
        let line = lines.line(4000, Duration::from_secs(2));
        assert_eq!((line.bytes_per_second, line.seconds_left), (2000, Some(3)));
        let none = lines.line(0, Duration::from_secs(2));
        assert_eq!((none.bytes_per_second, none.seconds_left), (0, None));
    }
}
