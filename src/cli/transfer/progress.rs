//! A bar on stderr, if that is a terminal.

use indicatif::{ProgressBar, ProgressStyle};

/// The progress of a transfer, shown only on a terminal.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Progress(ProgressBar);

impl Progress {
    /// `what` is one word; `total_bytes` is not known for a pipe.
    pub(in crate::cli) fn new(what: &'static str, total_bytes: Option<u64>) -> Self {
        let (bar, form) = match total_bytes {
            Some(total) => (
                ProgressBar::new(total),
                "{msg} [{wide_bar}] {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec}",
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
        Self(bar)
    }

    /// Everything before this is done.
    pub(in crate::cli) fn at(&self, bytes: u64) {
        self.0.set_position(bytes);
    }

    /// Remove the bar.
    pub(in crate::cli) fn end(&self) {
        self.0.finish_and_clear();
    }
}
