//! `ramblk bench`: its flags, and how its results are printed.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::error::Error;
use crate::cli::print::counted;
use crate::cli::print::layout::{columns, folded};
use crate::cli::print::output::OutputArgs;
use crate::cli::values::size::parse_size;
use crate::load::{self, Report};

#[derive(Debug, Args)]
pub(super) struct Bench {
    /// Socket of the back end, which may be ramblk or any other vhost-user-blk device.
    socket: PathBuf,

    /// Requests to make.
    #[arg(long, value_enum, default_value_t = Op::Read)]
    op: Op,

    /// Percentage of reads, with --op mixed.
    #[arg(long, value_name = "PERCENT", default_value_t = 50)]
    read_percent: u8,

    /// Order of offsets. With sequential each queue has its own part of the disk.
    #[arg(long, value_enum, default_value_t = Pattern::Random)]
    pattern: Pattern,

    /// Size of a request.
    #[arg(long, value_name = "SIZE", value_parser = parse_size, default_value = "4K")]
    block_size: u64,

    /// Requests in flight in each queue.
    #[arg(long, default_value_t = 32)]
    depth: u16,

    /// Queues, each with its own thread.
    #[arg(long, default_value_t = 1)]
    queues: u16,

    /// Poll the ring, or sleep until the back end calls.
    #[arg(long, value_enum, default_value_t = Driver::Poll)]
    driver: Driver,

    /// Part of the disk to use, from its start. The default is all of it.
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    span: Option<u64>,

    /// Seed of offsets and content: equal seeds make equal requests.
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// How long to measure, in seconds; 5 by default, unless --requests is given.
    #[arg(long, value_parser = parse_seconds)]
    seconds: Option<Duration>,

    /// How long to put load on it before measuring, in seconds.
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds, default_value = "0.5")]
    warm_up: Duration,

    /// Stop after this many requests, counted over all queues.
    #[arg(long, value_name = "N")]
    requests: Option<u64>,

    /// Requests per second of all queues together. Each is made on time, even if earlier ones are
    /// outstanding, and its latency counts from when it was due.
    #[arg(long, value_name = "N")]
    rate: Option<f64>,

    /// Submit --depth requests at once, wait for all of them, and repeat.
    #[arg(long)]
    burst: bool,

    /// The most bytes of one data descriptor; 1M by default.
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    segment_size: Option<u64>,

    /// Don't negotiate EVENT_IDX, so that both sides use flags.
    #[arg(long)]
    no_event_idx: bool,

    /// Use indirect descriptor tables.
    #[arg(long)]
    indirect: bool,

    /// Write content that identifies its place and time, compare all reads with it, and at the end
    /// read back everything that was written. This slows the driver down.
    #[arg(long)]
    verify: bool,

    /// Write the whole span once first, so that reads find data.
    #[arg(long)]
    fill: bool,

    /// Processors to pin the queues' threads to, as in 1,3.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    cpu: Vec<usize>,

    /// Also report the requests of each interval of this length, in seconds. Without --warm-up 0,
    /// the first one begins after the warm-up.
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    interval: Option<Duration>,

    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Op {
    Read,
    Write,
    Mixed,
    Discard,
    WriteZeroes,
    Flush,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Pattern {
    Random,
    Sequential,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Driver {
    Poll,
    Sleep,
}

/// A time in seconds.
fn parse_seconds(text: &str) -> Result<Duration, String> {
    text.parse()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| "give a number of seconds, as in 5 or 0.5".into())
}

/// The results for people: words, each with what there is to say of it.
fn text(report: &Report) -> String {
    let text = report.to_string();
    let lines = text
        .lines()
        .map(|line| folded(line, "back end  ".len(), columns()) + "\n");
    lines.collect()
}

impl Bench {
    /// Run it, and print the results.
    pub(super) fn run(self) -> Result<(), Error> {
        let output = self.output;
        let report = load::run(&self.into())?;
        output.print(&report, text)?;
        if report.errors == 0 {
            return Ok(());
        }
        let kinds = &report.errors_by_kind;
        Err(Error::Other(format!(
            "{} failed ({} I/O errors, {} unsupported, {} without a status, {} others); \
             see what the back end says about them",
            counted(report.errors, "request"),
            kinds.io,
            kinds.unsupported,
            kinds.no_status,
            kinds.other
        )))
    }
}

impl From<Bench> for load::Options {
    fn from(bench: Bench) -> Self {
        let always = bench.requests.is_some();
        Self {
            socket: bench.socket,
            op: match bench.op {
                Op::Read => load::Op::Read,
                Op::Write => load::Op::Write,
                Op::Mixed => load::Op::Mixed,
                Op::Discard => load::Op::Discard,
                Op::WriteZeroes => load::Op::WriteZeroes,
                Op::Flush => load::Op::Flush,
            },
            read_percent: bench.read_percent,
            pattern: match bench.pattern {
                Pattern::Random => load::Pattern::Random,
                Pattern::Sequential => load::Pattern::Sequential,
            },
            block_bytes: bench.block_size,
            depth: bench.depth,
            queues: bench.queues,
            driver: match bench.driver {
                Driver::Poll => load::Driver::Poll,
                Driver::Sleep => load::Driver::Sleep,
            },
            span_bytes: bench.span,
            seed: bench.seed,
            duration: bench
                .seconds
                .or((!always).then_some(Duration::from_secs(5))),
            warm_up: bench.warm_up,
            requests: bench.requests,
            rate: bench.rate,
            burst: bench.burst,
            segment_bytes: bench.segment_size,
            event_idx: !bench.no_event_idx,
            indirect: bench.indirect,
            verify: bench.verify,
            fill: bench.fill,
            cpus: bench.cpu,
            interval: bench.interval,
        }
    }
}
