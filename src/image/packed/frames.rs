//! Writing an image as zstd frames that can be found by themselves: data in frames of at most
//! 1 MiB, holes in frames of at most 256 MiB, an index with digests, and the seek table last.

use std::io;
use std::ops::Range;

use zstd::zstd_safe::{CCtx, CParameter, compress_bound};

use super::super::Error;
use super::super::ordered::{Ordered, Work};
use super::super::writer::{ImageWriter, Labels, Output};
use super::holes::{self, MOST_HOLE_BYTES};
use super::labels::{Front, Kind, index_frame};
use super::table::{self, Row};
use crate::store::is_zero;

/// The most data in a frame, which doesn't cross a multiple of this.
const FRAME_BYTES: u64 = 1 << 20;
/// How hard zstd tries; its own default.
const LEVEL: i32 = 3;

/// An image that is written in frames.
#[derive(Debug)]
pub(in crate::image) struct FrameWriter {
    output: Box<dyn Output>,
    packers: Ordered<Packer>,
    has_base: bool,
    /// Data of the frame that is being put together.
    data: Vec<u8>,
    /// The hole that is being put together, and its kind.
    hole: Option<(Kind, u64)>,
    /// Everything before this is in a frame, or in one of those above.
    at_bytes: u64,
    rows: Vec<Row>,
    entries: Vec<(Kind, [u8; 32])>,
}

impl FrameWriter {
    pub(in crate::image) fn new(
        mut output: Box<dyn Output>,
        labels: Labels,
    ) -> Result<Self, Error> {
        let packers = Ordered::new(Packer::new);
        let packers = packers.map_err(|source| failed(&*output, source))?;
        let has_base = labels.base.is_some();
        let front = Front::frame(&labels);
        let written = output.write_all(&front);
        written.map_err(|source| failed(&*output, source))?;
        Ok(Self {
            output,
            packers,
            has_base,
            data: Vec::new(),
            hole: None,
            at_bytes: 0,
            rows: vec![Row::new(front.len() as u64, 0)],
            entries: Vec::new(),
        })
    }

    /// What no call names, up to `end_bytes`.
    fn skip_to(&mut self, end_bytes: u64) -> Result<(), Error> {
        match self.has_base {
            true => self.zeros(Kind::Unchanged, end_bytes),
            false => self.zeros(Kind::Zero, end_bytes),
        }
    }

    /// Zeros up to `end_bytes`. They end a frame of data, unless all of it is content.
    fn zeros(&mut self, kind: Kind, end_bytes: u64) -> Result<(), Error> {
        if end_bytes <= self.at_bytes {
            return Ok(());
        }
        if !self.data.is_empty() {
            let border = (self.at_bytes / FRAME_BYTES + 1) * FRAME_BYTES;
            let filled = end_bytes.min(border) - self.at_bytes;
            if self.has_base {
                self.end_data()?;
            } else {
                let length = usize::try_from(filled).unwrap_or(0);
                self.data.resize(self.data.len() + length, 0);
                self.at_bytes += filled;
                self.end_at_border()?;
            }
        }
        let length = end_bytes - self.at_bytes;
        self.at_bytes = end_bytes;
        self.add_hole(kind, length)
    }

    fn add_hole(&mut self, kind: Kind, length: u64) -> Result<(), Error> {
        if self.hole.is_some_and(|(other, _)| other != kind) {
            self.end_hole()?;
        }
        let (_, so_far) = self.hole.unwrap_or((kind, 0));
        let mut left = so_far + length;
        while left > MOST_HOLE_BYTES {
            self.push(Job::Hole(kind, MOST_HOLE_BYTES))?;
            left -= MOST_HOLE_BYTES;
        }
        self.hole = (left > 0).then_some((kind, left));
        Ok(())
    }

    fn end_hole(&mut self) -> Result<(), Error> {
        match self.hole.take() {
            None => Ok(()),
            Some((kind, length)) => self.push(Job::Hole(kind, length)),
        }
    }

    fn end_at_border(&mut self) -> Result<(), Error> {
        match self.at_bytes.is_multiple_of(FRAME_BYTES) {
            true => self.end_data(),
            false => Ok(()),
        }
    }

    fn end_data(&mut self) -> Result<(), Error> {
        if self.data.is_empty() {
            return Ok(());
        }
        let room = usize::try_from(FRAME_BYTES).unwrap_or(0);
        let data = std::mem::replace(&mut self.data, Vec::with_capacity(room));
        if is_zero(&data) {
            return self.add_hole(Kind::Zero, data.len() as u64);
        }
        self.end_hole()?;
        self.push(Job::Data(data))
    }

    fn push(&mut self, job: Job) -> Result<(), Error> {
        while !self.packers.has_room() {
            self.pop()?;
        }
        self.packers.push(job);
        Ok(())
    }

    /// Write the oldest frame. Returns whether there was one.
    fn pop(&mut self) -> Result<bool, Error> {
        let done = self.packers.pop();
        let Some(done) = done.map_err(|source| failed(&*self.output, source))? else {
            return Ok(false);
        };
        let written = done.and_then(|done| {
            self.output.write_all(&done.frame)?;
            Ok(done)
        });
        let done = written.map_err(|source| failed(&*self.output, source))?;
        let row = Row::new(done.frame.len() as u64, done.length_bytes);
        self.rows.push(row);
        self.entries.push((done.kind, done.digest));
        Ok(true)
    }
}

impl ImageWriter for FrameWriter {
    fn data(&mut self, at_bytes: u64, bytes: &[u8]) -> Result<(), Error> {
        self.skip_to(at_bytes)?;
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = FRAME_BYTES - self.at_bytes % FRAME_BYTES;
            let length = usize::try_from(room).map_or(rest.len(), |room| room.min(rest.len()));
            let (now, later) = rest.split_at(length);
            // A hole that ends within a frame is a part of it if all is content.
            if self.data.is_empty() && !self.has_base {
                self.open_frame()?;
            }
            self.data.extend_from_slice(now);
            self.at_bytes += length as u64;
            self.end_at_border()?;
            rest = later;
        }
        Ok(())
    }

    fn zero(&mut self, range_bytes: Range<u64>) -> Result<(), Error> {
        self.skip_to(range_bytes.start)?;
        self.zeros(Kind::Zero, range_bytes.end)
    }

    fn finish(mut self: Box<Self>, end_bytes: u64) -> Result<(), Error> {
        self.skip_to(end_bytes)?;
        self.end_data()?;
        self.end_hole()?;
        while self.pop()? {}
        let index = index_frame(&self.entries, end_bytes);
        self.rows.push(Row::new(index.len() as u64, 0));
        let table = table::frame(&self.rows);
        let written = self
            .output
            .write_all(&index)
            .and_then(|()| self.output.write_all(&table));
        written.map_err(|source| failed(&*self.output, source))?;
        self.output.finish()
    }
}

impl FrameWriter {
    /// Begin a frame at a border: the end of a hole that is behind the last one becomes a part of
    /// it.
    fn open_frame(&mut self) -> Result<(), Error> {
        let within = self.at_bytes % FRAME_BYTES;
        if let Some((kind, length)) = self.hole.take() {
            let moved = within.min(length);
            self.hole = (length > moved).then_some((kind, length - moved));
            let zeros = usize::try_from(moved).unwrap_or(0);
            self.data.resize(zeros, 0);
        }
        self.end_hole()
    }
}

/// What becomes a frame.
enum Job {
    Data(Vec<u8>),
    Hole(Kind, u64),
}

/// A frame.
struct Done {
    kind: Kind,
    length_bytes: u64,
    frame: Vec<u8>,
    digest: [u8; 32],
}

/// Makes frames.
struct Packer(CCtx<'static>);

impl Packer {
    fn new() -> Self {
        let mut context = CCtx::create();
        // Only unknown values are refused.
        let _ = context.set_parameter(CParameter::CompressionLevel(LEVEL));
        let _ = context.set_parameter(CParameter::ChecksumFlag(true));
        Self(context)
    }
}

impl Work for Packer {
    type Job = Job;
    type Done = io::Result<Done>;

    fn run(&mut self, job: Job) -> io::Result<Done> {
        let (kind, length_bytes, frame) = match job {
            Job::Hole(kind, length) => (kind, length, holes::frame(length)),
            Job::Data(data) => {
                let mut frame = Vec::with_capacity(compress_bound(data.len()));
                let packed = self.0.compress2(&mut frame, &data);
                packed.map_err(|code| {
                    io::Error::other(zstd::zstd_safe::get_error_name(code).to_owned())
                })?;
                (Kind::Data, data.len() as u64, frame)
            }
        };
        Ok(Done {
            kind,
            length_bytes,
            digest: blake3::hash(&frame).into(),
            frame,
        })
    }
}

fn failed(output: &dyn Output, source: io::Error) -> Error {
    Error::Write {
        name: output.name().to_owned(),
        source,
    }
}
