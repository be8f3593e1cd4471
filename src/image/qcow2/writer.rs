//! Writing a qcow2 image of which nothing is known before: clusters and their tables in the order
//! in which they come, the first table and the counts of references behind them, and the header
//! last of all.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;

use zstd::zstd_safe::{CCtx, CParameter, compress_bound};

use super::super::Error;
use super::super::ordered::{Ordered, Work};
use super::super::spool::Spooled;
use super::super::writer::{ImageWriter, Labels, Output};
use super::assembly::{Assembly, shares};
use super::layout::{CLUSTER_BYTES, COPIED, Layout, PACKED, ZERO};
use crate::store::is_zero;

const CLUSTER: u64 = CLUSTER_BYTES as u64;
/// How hard zstd tries; its own default.
const LEVEL: i32 = 3;

/// A qcow2 image that is written.
#[derive(Debug)]
pub(in crate::image) struct Qcow2Writer {
    output: Box<dyn Output>,
    layout: Layout,
    /// Compresses clusters.
    packers: Option<Ordered<Packer>>,
    /// The numbers of the clusters that are being compressed, oldest first.
    waiting: VecDeque<u64>,
    has_base: bool,
    assembly: Assembly,
}

impl Qcow2Writer {
    pub(in crate::image) fn new(
        output: Box<dyn Output>,
        labels: Labels,
        compressed: bool,
    ) -> Result<Self, Error> {
        let mut output = Spooled::wrap(output, CLUSTER)?;
        let packers = compressed.then(|| Ordered::new(Packer::new)).transpose();
        let packers = packers.map_err(|source| failed(&*output, source))?;
        let has_base = labels.base.is_some();
        let layout = Layout::new(labels, compressed);
        // The header's place.
        let written = output.write_all(&vec![0; CLUSTER_BYTES]);
        written.map_err(|source| failed(&*output, source))?;
        Ok(Self {
            output,
            layout,
            packers,
            waiting: VecDeque::new(),
            has_base,
            assembly: Assembly::new(),
        })
    }

    /// Add bytes, or zeros if there are none, to the cluster that is put together.
    fn add(&mut self, range: Range<u64>, bytes: Option<&[u8]>) -> Result<(), Error> {
        for share in shares(range) {
            if !self.assembly.is_at(share.number) {
                self.end_cluster(u64::MAX)?;
                self.assembly.begin(share.number);
            }
            self.assembly.add(&share, bytes);
        }
        Ok(())
    }

    /// Write the cluster that was put together, in a content that ends at `end_bytes`.
    fn end_cluster(&mut self, end_bytes: u64) -> Result<(), Error> {
        let Some((number, known)) = self.assembly.end() else {
            return Ok(());
        };
        let wanted = end_bytes.saturating_sub(number * CLUSTER).min(CLUSTER);
        if self.has_base && (known as u64) < wanted {
            let text = "bug: a cluster over a base is not whole";
            return Err(failed(&*self.output, io::Error::other(text)));
        }
        if is_zero(self.assembly.bytes()) {
            return match self.has_base {
                true => self.entry(number, ZERO),
                false => Ok(()),
            };
        }
        if self.packers.is_none() {
            self.place(number)?;
            let written = self.output.write_all(self.assembly.bytes());
            return written.map_err(|source| failed(&*self.output, source));
        }
        while self.packers.as_ref().is_some_and(|it| !it.has_room()) {
            self.packed()?;
        }
        let bytes = self.assembly.take();
        if let Some(packers) = &mut self.packers {
            packers.push(bytes);
            self.waiting.push_back(number);
        }
        Ok(())
    }

    /// Write the oldest cluster that was compressed. Returns whether there was one.
    fn packed(&mut self) -> Result<bool, Error> {
        let done = self.packers.as_mut().map_or(Ok(None), Ordered::pop);
        let done = done.map_err(|source| failed(&*self.output, source))?;
        let (Some((bytes, packed)), Some(number)) = (done, self.waiting.pop_front()) else {
            return Ok(false);
        };
        let Some(packed) = packed else {
            self.place(number)?;
            self.write(&bytes)?;
            return Ok(true);
        };
        self.region(number)?;
        let at = self.layout.add_packed(packed.len());
        self.write(&packed)?;
        self.layout.set(number, at | PACKED);
        Ok(true)
    }

    /// Name a cluster that is written next, as it is.
    fn place(&mut self, number: u64) -> Result<(), Error> {
        self.region(number)?;
        let at = self.align()?;
        self.layout.add_clusters(1);
        self.layout.set(number, at | COPIED);
        Ok(())
    }

    /// Name a cluster that has no bytes, once those before it are written.
    fn entry(&mut self, number: u64, entry: u64) -> Result<(), Error> {
        while self.packed()? {}
        self.region(number)?;
        self.layout.set(number, entry);
        Ok(())
    }

    /// Write the table of the last region if `number` is not in it.
    fn region(&mut self, number: u64) -> Result<(), Error> {
        if self.layout.is_other_region(number) {
            self.end_region()?;
        }
        Ok(())
    }

    fn end_region(&mut self) -> Result<(), Error> {
        if let Some(table) = self.layout.take_table() {
            let at = self.align()?;
            self.layout.end_table(at);
            self.write(&table)?;
        }
        Ok(())
    }

    /// Go on at a cluster's beginning.
    fn align(&mut self) -> Result<u64, Error> {
        let (at, gap) = self.layout.align();
        self.write(&vec![0; gap])?;
        Ok(at)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let written = self.output.write_all(bytes);
        written.map_err(|source| failed(&*self.output, source))
    }
}

impl ImageWriter for Qcow2Writer {
    fn data(&mut self, at_bytes: u64, bytes: &[u8]) -> Result<(), Error> {
        self.add(at_bytes..at_bytes + bytes.len() as u64, Some(bytes))
    }

    fn zero(&mut self, range_bytes: Range<u64>) -> Result<(), Error> {
        match self.has_base {
            true => self.add(range_bytes, None),
            false => Ok(()),
        }
    }

    fn finish(mut self: Box<Self>, end_bytes: u64) -> Result<(), Error> {
        self.end_cluster(end_bytes)?;
        while self.packed()? {}
        self.end_region()?;
        let at = self.align()?;
        let (tail, head) = self.layout.finish(at, end_bytes);
        for part in tail {
            self.write(&part)?;
        }
        let head = head.map_err(|what| failed(&*self.output, io::Error::other(what)))?;
        let rewritten = self.output.rewrite_head(&head);
        rewritten.map_err(|source| failed(&*self.output, source))?;
        self.output.finish()
    }
}

/// Compresses clusters.
struct Packer(CCtx<'static>);

impl Packer {
    fn new() -> Self {
        let mut context = CCtx::create();
        // Only an unknown level is refused.
        let _ = context.set_parameter(CParameter::CompressionLevel(LEVEL));
        Self(context)
    }
}

impl Work for Packer {
    type Job = Vec<u8>;
    /// The cluster, and what it is compressed, if that is shorter.
    type Done = (Vec<u8>, Option<Vec<u8>>);

    fn run(&mut self, bytes: Vec<u8>) -> Self::Done {
        let mut packed = Vec::with_capacity(compress_bound(bytes.len()));
        let done = self.0.compress2(&mut packed, &bytes);
        let is_shorter = done.is_ok() && packed.len() < bytes.len();
        (bytes, is_shorter.then_some(packed))
    }
}

fn failed(output: &dyn Output, source: io::Error) -> Error {
    Error::Write {
        name: output.name().to_owned(),
        source,
    }
}
