//! Reading the parts of a chain, and decompressing their clusters.

use std::sync::Arc;

use flate2::{Decompress, FlushDecompress, Status};
use libdeflater::Decompressor;
use zstd::zstd_safe::{DCtx, InBuffer, OutBuffer};

use super::super::Error;
use super::super::medium::ReadAt;
use super::super::ordered::Work;
use super::chain::{Chain, Run};
use super::header::Compression;
use super::layer::Place;

/// The most that is read at once for compressed clusters that follow each other, and the largest
/// gap between them that is read too.
const MOST_READ_BYTES: u64 = 4 << 20;
const MOST_GAP_BYTES: u64 = 64 << 10;

/// A part to read.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) start_bytes: u64,
    pub(super) length_bytes: usize,
    /// What is in it; what is between is zeros.
    pub(super) runs: Vec<Run>,
    /// Memory for the part.
    pub(super) buffer: Vec<u8>,
}

/// A part that was read.
pub(super) type Done = Result<(u64, Vec<u8>), Error>;

/// An image of the chain, as it is read.
#[derive(Debug)]
struct Layer {
    medium: Arc<dyn ReadAt>,
    compression: Compression,
    cluster_bytes: usize,
}

/// Reads parts, with memory of its own.
pub(super) struct Unpacker {
    layers: Vec<Layer>,
    inflate: Inflate,
    zstd: DCtx<'static>,
    /// Compressed clusters: of which image, from which offset on.
    packed: (usize, u64, Vec<u8>),
    /// The cluster that was decompressed last.
    cluster: (usize, u64, Vec<u8>),
}

impl Unpacker {
    pub(super) fn new(chain: &Chain) -> Self {
        let layers = chain.layers().iter().map(|layer| Layer {
            medium: Arc::clone(&layer.medium),
            compression: layer
                .header
                .as_ref()
                .map_or(Compression::Zlib, |header| header.compression),
            cluster_bytes: usize::try_from(layer.cluster_bytes()).unwrap_or(0),
        });
        Self {
            layers: layers.collect(),
            inflate: Inflate::new(),
            zstd: DCtx::create(),
            packed: (0, 0, Vec::new()),
            cluster: (0, 0, Vec::new()),
        }
    }

    fn read(&mut self, job: Job) -> Done {
        let mut buffer = job.buffer;
        buffer.clear();
        buffer.resize(job.length_bytes, 0);
        for (number, run) in job.runs.iter().enumerate() {
            let start = usize::try_from(run.start_bytes - job.start_bytes).unwrap_or(usize::MAX);
            let length = usize::try_from(run.length_bytes).unwrap_or(usize::MAX);
            let end = start.saturating_add(length);
            let Some(into) = buffer.get_mut(start..end) else {
                debug_assert!(false, "bug: a run is not inside of its part");
                continue;
            };
            match run.place {
                Place::Hole | Place::Zero => {}
                Place::Data(at) => {
                    let medium = &self.layers[run.layer].medium;
                    let read = medium.read_at(at, into);
                    read.map_err(|source| failed(&**medium, source))?;
                }
                Place::Packed { at, skip_bytes, .. } => {
                    self.unpack(&job.runs[number..], at)?;
                    let cluster = self.cluster.2.get(skip_bytes as usize..);
                    if let Some(bytes) = cluster.and_then(|rest| rest.get(..length)) {
                        into.copy_from_slice(bytes);
                    }
                }
            }
        }
        Ok((job.start_bytes, buffer))
    }

    /// Decompress the cluster of the first of `runs`.
    fn unpack(&mut self, runs: &[Run], at: u64) -> Result<(), Error> {
        let Some((Place::Packed { packed_bytes, .. }, number)) =
            runs.first().map(|run| (run.place, run.layer))
        else {
            return Ok(());
        };
        if (self.cluster.0, self.cluster.1) == (number, at) && !self.cluster.2.is_empty() {
            return Ok(());
        }
        self.fetch(runs, at, packed_bytes)?;
        let layer = &self.layers[number];
        let from = usize::try_from(at - self.packed.1).unwrap_or(usize::MAX);
        let packed = self.packed.2.get(from..).unwrap_or_default();
        let packed = &packed[..packed.len().min(packed_bytes as usize)];
        self.cluster.2.clear();
        self.cluster.2.resize(layer.cluster_bytes, 0);
        let into = &mut self.cluster.2[..];
        let whole = match layer.compression {
            Compression::Zlib => self.inflate.fill(packed, into),
            Compression::Zstd => decompress(&mut self.zstd, packed, into),
        };
        (self.cluster.0, self.cluster.1) = (number, at);
        if !whole {
            self.cluster.2.clear();
            return Err(Error::Damaged {
                name: layer.medium.name().to_owned(),
                what: format!("the compressed cluster at {at} can't be decompressed"),
            });
        }
        Ok(())
    }

    /// Have the compressed bytes of a cluster, and of those that follow it.
    fn fetch(&mut self, runs: &[Run], at: u64, packed_bytes: u32) -> Result<(), Error> {
        let layer = runs.first().map_or(0, |run| run.layer);
        let mut end = at + u64::from(packed_bytes);
        let (of, from, bytes) = &mut self.packed;
        if *of == layer && at >= *from && end <= *from + bytes.len() as u64 {
            return Ok(());
        }
        for run in runs.iter().filter(|run| run.layer == layer) {
            let Place::Packed {
                at: next,
                packed_bytes,
                ..
            } = run.place
            else {
                continue;
            };
            let next_end = next + u64::from(packed_bytes);
            let is_near = next >= at && next <= end + MOST_GAP_BYTES;
            if !is_near || next_end - at > MOST_READ_BYTES {
                break;
            }
            end = end.max(next_end);
        }
        bytes.clear();
        bytes.resize(usize::try_from(end - at).unwrap_or(0), 0);
        (*of, *from) = (layer, at);
        let medium = &self.layers[layer].medium;
        let read = medium.read_at(at, bytes);
        read.map_err(|source| failed(&**medium, source))
    }
}

impl Work for Unpacker {
    type Job = Job;
    type Done = Done;

    fn run(&mut self, job: Job) -> Done {
        self.read(job)
    }
}

/// Decompresses raw deflate streams.
struct Inflate {
    /// Takes streams that end with the cluster, in half of the time.
    whole: Decompressor,
    /// Takes all others.
    any: Decompress,
}

impl Inflate {
    fn new() -> Self {
        Self {
            whole: Decompressor::new(),
            any: Decompress::new(false),
        }
    }

    /// Whether `packed` begins with a stream of just as many bytes as `into` has.
    fn fill(&mut self, packed: &[u8], into: &mut [u8]) -> bool {
        let length = self.whole.deflate_decompress(packed, into);
        if length.is_ok_and(|length| length == into.len()) {
            return true;
        }
        self.any.reset(false);
        let status = self.any.decompress(packed, into, FlushDecompress::Finish);
        let is_whole = self.any.total_out() == into.len() as u64;
        // QEMU, too, takes a stream that would go on.
        is_whole
            && matches!(
                status,
                Ok(Status::StreamEnd | Status::BufError | Status::Ok)
            )
    }
}

/// Whether `packed` begins with zstd frames of just as many bytes.
fn decompress(context: &mut DCtx<'static>, packed: &[u8], into: &mut [u8]) -> bool {
    let length = into.len();
    let (mut input, mut output) = (InBuffer::around(packed), OutBuffer::around(into));
    if context.init().is_err() {
        return false;
    }
    while output.pos() < length {
        let before = (input.pos(), output.pos());
        let more = context.decompress_stream(&mut output, &mut input);
        if more.is_err() || before == (input.pos(), output.pos()) {
            return false;
        }
    }
    true
}

fn failed(medium: &dyn ReadAt, source: std::io::Error) -> Error {
    Error::Read {
        name: medium.name().to_owned(),
        source,
    }
}
