//! Reading a chain from its beginning to its end, several parts at the same time.

use std::collections::VecDeque;
use std::ops::Range;

use super::super::opening::Opening;
use super::super::ordered::Ordered;
use super::super::reader::{About, Extents, ImageReader, PAGE_BYTES, Part};
use super::super::{Error, ImageFormat};
use super::chain::{Chain, Run};
use super::header::{Compression, Header};
use super::layer::Place;
use super::unpack::{Job, Unpacker};

/// A part is in a window of this size, or of the largest cluster. So no cluster is in two parts.
const WINDOW_BYTES: u64 = 1 << 20;

/// What comes next.
#[derive(Debug)]
enum Item {
    /// The result of the oldest job.
    Data,
    Zero(Range<u64>),
}

/// A qcow2 image, with its bases or without.
#[derive(Debug)]
pub(in crate::image) struct Qcow2Reader {
    about: About,
    chain: Chain,
    without_base: bool,
    window_bytes: u64,
    /// What is left of the run that the chain found last.
    rest: Option<Run>,
    work: Option<Ordered<Unpacker>>,
    items: VecDeque<Item>,
    /// The part that was returned last.
    part: Vec<u8>,
    /// Everything before this was returned.
    at_bytes: u64,
}

impl Qcow2Reader {
    pub(in crate::image) fn new(chain: Chain, how: &Opening<'_>) -> Self {
        Self {
            about: about(&chain),
            window_bytes: chain.largest_cluster_bytes().max(WINDOW_BYTES),
            chain,
            without_base: how.without_base,
            rest: None,
            work: None,
            items: VecDeque::new(),
            part: Vec::new(),
            at_bytes: 0,
        }
    }

    fn next_run(&mut self) -> Result<Option<Run>, Error> {
        match self.rest.take() {
            Some(run) => Ok(Some(run)),
            None => self.chain.next_run(),
        }
    }

    /// What to read next.
    fn plan(&mut self) -> Result<Option<(Item, Option<Job>)>, Error> {
        let mut runs: Vec<Run> = Vec::new();
        // Where the window of the first run ends.
        let mut end_bytes = None;
        while let Some(run) = self.next_run()? {
            let end = *end_bytes.get_or_insert_with(|| {
                (run.start_bytes / self.window_bytes + 1) * self.window_bytes
            });
            if run.start_bytes >= end || (self.without_base && !self.goes_on(&runs, &run)) {
                self.rest = Some(run);
                break;
            }
            match run.place {
                Place::Zero if self.without_base => {
                    let range = run.start_bytes..run.start_bytes + run.length_bytes;
                    return Ok(Some((Item::Zero(range), None)));
                }
                Place::Hole | Place::Zero if runs.is_empty() => end_bytes = None,
                Place::Hole | Place::Zero => {}
                Place::Data(_) | Place::Packed { .. } => {
                    let (run, rest) = run.cut(end - run.start_bytes);
                    self.rest = rest;
                    push(&mut runs, run);
                }
            }
        }
        Ok(self.job(runs).map(|job| (Item::Data, Some(job))))
    }

    /// Without its base, a part has only what the image itself has.
    fn goes_on(&self, runs: &[Run], next: &Run) -> bool {
        let is_data = matches!(next.place, Place::Data(_) | Place::Packed { .. });
        match runs.last() {
            None => true,
            Some(last) => is_data && last.start_bytes + last.length_bytes == next.start_bytes,
        }
    }

    fn job(&self, runs: Vec<Run>) -> Option<Job> {
        let (first, last) = (runs.first()?, runs.last()?);
        let (mut start_bytes, mut end) = (first.start_bytes, last.start_bytes + last.length_bytes);
        if !self.without_base {
            let page = PAGE_BYTES as u64;
            start_bytes = start_bytes / page * page;
            end = end.next_multiple_of(page).min(self.chain.size_bytes());
        }
        Some(Job {
            start_bytes,
            length_bytes: usize::try_from(end - start_bytes).unwrap_or(0),
            runs,
            buffer: Vec::new(),
        })
    }

    /// Keep the threads at work.
    fn fill(&mut self) -> Result<(), Error> {
        if self.work.is_none() {
            let chain = &self.chain;
            let work = Ordered::new(|| Unpacker::new(chain));
            self.work = Some(work.map_err(|source| self.failed(source))?);
        }
        let mut spare = Some(std::mem::take(&mut self.part));
        while self.work.as_ref().is_some_and(Ordered::has_room) {
            let Some((item, job)) = self.plan()? else {
                return Ok(());
            };
            if let (Some(mut job), Some(work)) = (job, &mut self.work) {
                job.buffer = spare.take().unwrap_or_default();
                work.push(job);
            } else if self.items.len() > 1024 {
                // A range of zeros needs no thread.
                self.items.push_back(item);
                return Ok(());
            }
            self.items.push_back(item);
        }
        Ok(())
    }

    fn failed(&self, source: std::io::Error) -> Error {
        Error::Read {
            name: self.about.name.clone(),
            source,
        }
    }
}

/// Add a run, joined with the last one if it goes on there.
fn push(runs: &mut Vec<Run>, run: Run) {
    if let Some(last) = runs.last_mut()
        && let (Place::Data(at), Place::Data(next)) = (last.place, run.place)
        && last.layer == run.layer
        && last.start_bytes + last.length_bytes == run.start_bytes
        && at + last.length_bytes == next
    {
        last.length_bytes += run.length_bytes;
        return;
    }
    runs.push(run);
}

impl ImageReader for Qcow2Reader {
    fn about(&self) -> &About {
        &self.about
    }

    fn next(&mut self) -> Result<Option<Part<'_>>, Error> {
        self.fill()?;
        let start_bytes = match self.items.pop_front() {
            None => {
                self.at_bytes = self.chain.size_bytes();
                return Ok(None);
            }
            Some(Item::Zero(range)) => {
                self.at_bytes = range.end;
                return Ok(Some(Part::Zero(range)));
            }
            Some(Item::Data) => {
                let done = self.work.as_mut().map_or(Ok(None), Ordered::pop);
                let Some(done) = done.map_err(|source| self.failed(source))? else {
                    debug_assert!(false, "bug: a part without a job");
                    return Ok(None);
                };
                let (start_bytes, part) = done?;
                self.part = part;
                start_bytes
            }
        };
        self.at_bytes = start_bytes + self.part.len() as u64;
        let bytes = &self.part[..];
        Ok(Some(Part::Data { start_bytes, bytes }))
    }

    fn swap(&mut self, spare: Vec<u8>) -> Vec<u8> {
        std::mem::replace(&mut self.part, spare)
    }

    fn end_bytes(&mut self) -> Result<u64, Error> {
        for layer in self.chain.layers() {
            layer.medium.verify()?;
        }
        Ok(self.chain.size_bytes())
    }

    fn progress(&self) -> (u64, Option<u64>) {
        (self.at_bytes, self.about.size_bytes)
    }

    fn extents(&mut self) -> Result<Option<Extents>, Error> {
        let mut chain = self.chain.clone();
        let mut extents = Extents::default();
        let mut data_end = None;
        while let Some(run) = chain.next_run()? {
            if let Place::Data(_) | Place::Packed { .. } = run.place {
                extents.count += u64::from(data_end != Some(run.start_bytes));
                extents.data_bytes += run.length_bytes;
                data_end = Some(run.start_bytes + run.length_bytes);
            }
        }
        Ok(Some(extents))
    }
}

fn about(chain: &Chain) -> About {
    let layers = chain.layers();
    let name = layers.first().map_or("", |layer| layer.medium.name());
    let mut about = About {
        size_bytes: Some(chain.size_bytes()),
        identity: identity(chain),
        ..About::new(name, ImageFormat::Qcow2)
    };
    if let Some(header) = chain.header() {
        about.labels = header.labels.clone();
        about.properties = properties(header);
    }
    for base in layers.iter().skip(1) {
        about
            .properties
            .push(("read base", base.medium.name().to_owned()));
    }
    about
}

fn properties(header: &Header) -> Vec<(&'static str, String)> {
    let mut properties = vec![
        ("version", header.version.to_string()),
        ("cluster bytes", header.cluster_bytes().to_string()),
        (
            "compression",
            match header.compression {
                Compression::Zlib => "zlib".into(),
                Compression::Zstd => "zstd".into(),
            },
        ),
    ];
    if header.is_extended {
        let bytes = header.cluster_bytes() / 32;
        properties.push(("subcluster bytes", bytes.to_string()));
    }
    if header.is_dirty {
        properties.push(("dirty", "yes, which does not matter for reading".into()));
    }
    if header.snapshots > 0 {
        let text = format!("{}, which are not read", header.snapshots);
        properties.push(("internal snapshots", text));
    }
    properties
}

/// The identity of one file, or of all files of a chain in few bytes.
fn identity(chain: &Chain) -> Option<String> {
    let layers = chain.layers().iter();
    let all: Option<Vec<&str>> = layers.map(|layer| layer.medium.identity()).collect();
    match &all?[..] {
        [] => None,
        [one] => Some((*one).to_owned()),
        all => {
            let digest = blake3::hash(all.join("\n").as_bytes());
            Some(format!("{} images, BLAKE3 {digest}", all.len()))
        }
    }
}
