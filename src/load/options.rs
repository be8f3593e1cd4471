//! The options, and the plan that they become once the disk is known. Everything is checked here,
//! before the first request.

use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use crate::load::Error;
use crate::load::virtqueue::slots::{Kind, Shape};

/// Which requests are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Op {
    /// Only reads.
    Read,
    /// Only writes.
    Write,
    /// Reads and writes.
    Mixed,
    /// Only discards.
    Discard,
    /// Only write-zeroes.
    WriteZeroes,
    /// Only flushes.
    Flush,
}

/// The order of offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pattern {
    /// Random.
    Random,
    /// Sequential; each queue has its own part of the disk.
    Sequential,
}

/// How the driver waits for completions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Driver {
    /// It polls the ring, and disables calls.
    Poll,
    /// It enables calls, and sleeps.
    Sleep,
}

/// Options of `ramblk bench`.
#[derive(Clone, Debug)]
pub struct Options {
    /// The back end's socket.
    pub socket: PathBuf,
    /// Which requests.
    pub op: Op,
    /// Percentage of reads, for [`Op::Mixed`].
    pub read_percent: u8,
    /// The order of offsets.
    pub pattern: Pattern,
    /// Bytes of a request.
    pub block_bytes: u64,
    /// Requests in flight per queue.
    pub depth: u16,
    /// Queues, each with its own thread.
    pub queues: u16,
    /// How the driver waits.
    pub driver: Driver,
    /// Bytes of the disk to use, from its start; all by default.
    pub span_bytes: Option<u64>,
    /// Seed of offsets and content.
    pub seed: u64,
    /// The longest time to measure.
    pub duration: Option<Duration>,
    /// How long to make load before measuring.
    pub warm_up: Duration,
    /// Requests of all queues after which to stop.
    pub requests: Option<u64>,
    /// Requests per second of all queues; as fast as possible by default.
    pub rate: Option<f64>,
    /// Whether a queue submits all its requests at once, after all earlier ones completed.
    pub burst: bool,
    /// The most bytes of a data descriptor.
    pub segment_bytes: Option<u64>,
    /// Whether EVENT_IDX may be negotiated.
    pub event_idx: bool,
    /// Whether chains are in indirect tables.
    pub indirect: bool,
    /// Whether to compare what is read.
    pub verify: bool,
    /// Whether to write the span once first.
    pub fill: bool,
    /// Processors to pin the queues' threads to.
    pub cpus: Vec<usize>,
    /// The length of the intervals whose requests are reported one by one.
    pub interval: Option<Duration>,
}

/// The default for the most bytes of a data descriptor.
const SEGMENT_BYTES: u64 = 1 << 20;

/// The longest request, which keeps lengths far below 2^32.
const MOST_BLOCK_BYTES: u64 = 1 << 30;

/// The longest ring (virtio 1.3, 2.7).
const MOST_RING: u32 = 1 << 15;

/// The shortest ring that is used.
const LEAST_RING: u32 = 128;

/// The disk, as the back end describes it. [`Plan::new`] checks it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Disk {
    pub(super) capacity_bytes: u64,
    pub(super) block_bytes: u64,
    pub(super) size_max_bytes: Option<u64>,
    pub(super) seg_max: u32,
    pub(super) read_only: bool,
    pub(super) flush: bool,
    /// The most sectors of a discard, if there are discards.
    pub(super) discard_sectors: Option<u32>,
    /// Likewise for write-zeroes.
    pub(super) zeroes_sectors: Option<u32>,
    pub(super) zeroes_may_unmap: bool,
    pub(super) event_idx: bool,
    pub(super) indirect: bool,
}

/// Everything that the queues' threads need to know.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) options: Options,
    pub(super) shape: Shape,
    pub(super) ring_size: u16,
    pub(super) event_idx: bool,
    /// Blocks to use.
    pub(super) blocks: u64,
}

impl Options {
    /// Random requests of 4 KiB, 32 at a time on one queue, for one second, on the back end behind
    /// `socket`: what `ramblk bench` does by default, in less time.
    pub fn new(socket: impl Into<PathBuf>, op: Op) -> Self {
        Self {
            socket: socket.into(),
            op,
            read_percent: 50,
            pattern: Pattern::Random,
            block_bytes: 4096,
            depth: 32,
            queues: 1,
            driver: Driver::Poll,
            span_bytes: None,
            seed: 1,
            duration: Some(Duration::from_secs(1)),
            warm_up: Duration::ZERO,
            requests: None,
            rate: None,
            burst: false,
            segment_bytes: None,
            event_idx: true,
            indirect: false,
            verify: false,
            fill: false,
            cpus: Vec::new(),
            interval: None,
        }
    }

    /// Check what does not depend on the disk.
    ///
    /// # Errors
    /// [`Error::Option`].
    pub(super) fn check(&self) -> Result<(), Error> {
        let bytes = self.block_bytes;
        if bytes == 0 || !bytes.is_multiple_of(512) || bytes > MOST_BLOCK_BYTES {
            return usage(format!(
                "--block-size {bytes} is not a multiple of 512 up to 1G; use one, as 4K"
            ));
        }
        if let Some(segment) = self.segment_bytes
            && (segment == 0 || segment > MOST_BLOCK_BYTES)
        {
            return usage(format!(
                "--segment-size {segment} is not between 1 and 1G; use for example 4K"
            ));
        }
        if self.depth == 0 || self.queues == 0 {
            return usage("--depth and --queues must be at least 1".into());
        }
        if self.read_percent > 100 {
            return usage(format!(
                "--read-percent {} is more than 100; use 0 to 100",
                self.read_percent
            ));
        }
        if self
            .rate
            .is_some_and(|rate| !rate.is_finite() || rate <= 0.0)
        {
            return usage("--rate must be above 0; use for example 10000".into());
        }
        if self.requests.is_some_and(|n| n < u64::from(self.queues)) {
            return usage("--requests must be at least one per queue; use more".into());
        }
        if !self.cpus.is_empty() && self.cpus.len() < usize::from(self.queues) {
            return usage(format!(
                "--cpu names {} processors for {} queues; name one for each queue",
                self.cpus.len(),
                self.queues
            ));
        }
        if self.interval.is_some_and(|interval| interval.is_zero()) {
            return usage("--interval must be above 0; use for example 0.25".into());
        }
        if self.verify && !self.fill && matches!(self.op, Op::Read | Op::Flush) {
            return usage("--verify needs known content; add --fill".into());
        }
        Ok(())
    }

    fn writes(&self) -> bool {
        self.fill || !matches!(self.op, Op::Read | Op::Flush)
    }
}

impl Plan {
    /// The plan for this disk.
    ///
    /// # Errors
    /// [`Error::Device`]: the disk does not support the options.
    pub(super) fn new(options: Options, disk: &Disk) -> Result<Self, Error> {
        check_disk(&options, disk)?;
        let block_bytes = options.block_bytes;
        let span = options.span_bytes.unwrap_or(disk.capacity_bytes);
        if span > disk.capacity_bytes {
            return device(format!(
                "--span {span} is more than the disk has; use at most {}",
                disk.capacity_bytes
            ));
        }
        let blocks = span / block_bytes;
        let queues = u64::from(options.queues);
        if blocks < queues {
            return device(format!(
                "a span of {span} bytes has no block of {block_bytes} bytes for each of {queues} \
                 queues; use a larger --span or a smaller --block-size"
            ));
        }
        if options.verify && blocks / queues < u64::from(options.depth) {
            return device(format!(
                "--verify needs {} blocks per queue, and the span has {}; use a larger --span or a \
                 smaller --depth",
                options.depth,
                blocks / queues
            ));
        }
        let shape = shape(&options, disk)?;
        let needed = shape.ring_descriptors();
        let ring_size = needed.next_power_of_two().max(LEAST_RING);
        let ring_size = match u16::try_from(ring_size) {
            Ok(size) if needed <= MOST_RING => size,
            _ => {
                return device(format!(
                    "--depth {} needs {needed} descriptors, and a ring has at most {MOST_RING}; \
                     use a smaller --depth, or --indirect",
                    options.depth
                ));
            }
        };
        Ok(Self {
            event_idx: options.event_idx && disk.event_idx,
            options,
            shape,
            ring_size,
            blocks,
        })
    }

    /// One queue's own blocks.
    pub(super) fn slice(&self, queue: u16) -> Range<u64> {
        let each = self.blocks / u64::from(self.options.queues);
        let start = u64::from(queue) * each;
        start..start + each
    }

    /// The kind for which slots are laid out first.
    pub(super) fn first_kind(&self) -> Kind {
        match self.options.op {
            _ if self.options.fill => Kind::Write,
            Op::Read | Op::Mixed => Kind::Read,
            Op::Write => Kind::Write,
            Op::Discard => Kind::Discard,
            Op::WriteZeroes => Kind::WriteZeroes,
            Op::Flush => Kind::Flush,
        }
    }
}

/// The shape of requests for this disk.
fn shape(options: &Options, disk: &Disk) -> Result<Shape, Error> {
    let size_max = disk.size_max_bytes.unwrap_or(u64::MAX);
    let segment = match options.segment_bytes {
        Some(segment) if segment > size_max => {
            return device(format!(
                "--segment-size {segment} is more than the disk's size_max; use at most {size_max}"
            ));
        }
        Some(segment) => segment,
        None => SEGMENT_BYTES.min(size_max),
    };
    let segments = options.block_bytes.div_ceil(segment.max(1));
    if segments > u64::from(disk.seg_max) {
        return device(format!(
            "a request of {} bytes has {segments} data descriptors, and the disk's seg_max is {}; \
             use a smaller --block-size or a larger --segment-size",
            options.block_bytes, disk.seg_max
        ));
    }
    if options.indirect && !disk.indirect {
        return device("the back end offers no indirect descriptors; leave out --indirect".into());
    }
    let narrow = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    Ok(Shape {
        depth: options.depth,
        block_bytes: narrow(options.block_bytes),
        segment_bytes: narrow(segment.clamp(1, options.block_bytes)),
        indirect: options.indirect,
        zeroes_flags: disk.zeroes_may_unmap.into(),
    })
}

/// Check that the disk supports the requests.
fn check_disk(options: &Options, disk: &Disk) -> Result<(), Error> {
    let bytes = options.block_bytes;
    if !bytes.is_multiple_of(disk.block_bytes) {
        return device(format!(
            "--block-size {bytes} is not a multiple of the disk's blocks of {}; use one",
            disk.block_bytes
        ));
    }
    if disk.read_only && options.writes() {
        return device("the disk is read-only; use --op read without --fill".into());
    }
    if options.op == Op::Flush && !disk.flush {
        return device("the back end offers no flush; use another --op".into());
    }
    let (name, most) = match options.op {
        Op::Discard => ("discard", disk.discard_sectors),
        Op::WriteZeroes => ("write-zeroes", disk.zeroes_sectors),
        _ => return Ok(()),
    };
    match most {
        None => device(format!("the back end offers no {name}; use another --op")),
        Some(most) if bytes >> 9 > u64::from(most) => device(format!(
            "--block-size {bytes} is more than a {name} of this disk may have; use at most {}",
            u64::from(most) << 9
        )),
        Some(_) => Ok(()),
    }
}

fn usage<T>(reason: String) -> Result<T, Error> {
    Err(Error::Option(reason))
}

fn device<T>(reason: String) -> Result<T, Error> {
    Err(Error::Device(reason))
}
