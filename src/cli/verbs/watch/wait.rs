//! `wait`: until something is true of a disk.

use std::time::{Duration, Instant};

use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use crate::cli::error::Error;
use crate::cli::print::output::OutputArgs;
use crate::cli::values::size::parse_size;
use crate::cli::values::span::parse_span;
use crate::client::{Client, path};
use crate::model::{Condition, Waited};

/// The longest wait of one request.
const MOST: Duration = Duration::from_secs(3600);

#[derive(Debug, Args)]
pub(in crate::cli) struct Wait {
    /// The disk's name.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    name: String,

    /// What to wait for: attached, detached, imported (its first content is complete), quiet=2s (no
    /// request for that time), or the least value of a figure: reads, writes, flushes, discards,
    /// errors, or in bytes read, written, discarded, mapped, charged, as in 'written>=64M'.
    /// Counters are those of stats: since the disk was created or the daemon started.
    #[arg(long = "for", value_name = "WHAT", value_parser = parse_condition)]
    condition: Condition,

    /// The longest time to wait, as in 30s; then the exit code is 7. The default is for ever.
    #[arg(long, value_name = "TIME", value_parser = parse_span)]
    timeout: Option<Duration>,

    #[command(flatten)]
    output: OutputArgs,
}

/// A condition, with times as in `2s` and sizes as in `64M`.
fn parse_condition(text: &str) -> Result<Condition, String> {
    let ms = |time: &str| {
        let ms = parse_span(time)?.as_millis();
        u64::try_from(ms).map_err(|_| format!("{time:?} is too long"))
    };
    Condition::parse(text, ms, parse_size)
}

impl Wait {
    pub(in crate::cli) fn run(self, client: &Client) -> Result<(), Error> {
        let began = Instant::now();
        loop {
            let left = self.timeout.map_or(MOST, |limit| {
                limit.saturating_sub(began.elapsed()).min(MOST)
            });
            let query = format!(
                "for={}&timeout_ms={}",
                path::encode(&self.condition.to_string()),
                left.as_millis()
            );
            let path = format!("{}/wait?{query}", path::disk(&self.name));
            let waited: Waited = client.get_slowly(&path)?;
            if waited.met {
                let text = |it: &Waited| format!("{}: {}\n", it.disk, it.condition);
                return self.output.print(&waited, text);
            }
            // The daemon's part of the last millisecond may be missing.
            if let Some(limit) = self.timeout
                && began.elapsed() + Duration::from_millis(1) >= limit
            {
                let (disk, condition) = (waited.disk, waited.condition);
                let limit = humantime::format_duration(limit);
                return Err(Error::TimeUp(format!(
                    "{disk} is not {condition} after {limit}"
                )));
            }
        }
    }
}
