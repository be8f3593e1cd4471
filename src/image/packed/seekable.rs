//! Reading zstd frames that a seek table names, several at the same time.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use zstd::zstd_safe::{DCtx, InBuffer, OutBuffer};

use super::super::Error;
use super::super::known::{Content, ImageFormat, Packing};
use super::super::medium::ReadAt;
use super::super::opening::Opening;
use super::super::ordered::{Ordered, Work};
use super::super::reader::{About, Extents, ImageReader, PAGE_BYTES, Part};
use super::super::writer::Labels;
use super::holes::{self, MOST_HOLE_BYTES};
use super::labels::{self, ENTRY_BYTES, Front, INDEX_BYTES, Index, Kind, MOST_FRONT_BYTES};
use super::table::{Row, Rows, Table};

/// The most data of a frame that is decompressed as a whole. Files with larger ones are read as
/// streams.
const MOST_FRAME_BYTES: u32 = 8 << 20;
/// Entries of an index that are read at once.
const PIECE_ENTRIES: u64 = 1024;

/// A frame with content, and where it is.
#[derive(Clone, Copy, Debug)]
struct Frame {
    at: u64,
    packed_bytes: u32,
    start_bytes: u64,
    length_bytes: u32,
    kind: Kind,
    digest: Option<[u8; 32]>,
}

/// All frames of a file, one after the other, from its seek table and its index.
#[derive(Clone, Debug)]
struct Frames {
    medium: Arc<dyn ReadAt>,
    rows: Rows,
    /// Where the entries of the index are, if there is one, and how many are left.
    entries_at: Option<u64>,
    entries: Vec<u8>,
    entry: usize,
    left: u64,
    at: u64,
    start_bytes: u64,
}

impl Frames {
    /// The next frame with content.
    fn next(&mut self) -> Result<Option<Frame>, Error> {
        loop {
            let row = self.rows.next(&*self.medium);
            let Some(row) = row.map_err(|source| failed(&*self.medium, source))? else {
                return Ok(None);
            };
            let (at, start_bytes) = (self.at, self.start_bytes);
            // Their sums were checked when the file was opened.
            self.at = at.saturating_add(row.packed_bytes.into());
            self.start_bytes = start_bytes.saturating_add(row.length_bytes.into());
            if row.length_bytes == 0 {
                continue;
            }
            let (kind, digest) = match self.entries_at {
                None => (Kind::Data, None),
                Some(at) => {
                    let (kind, digest) = self.next_entry(at)?;
                    (kind, Some(digest))
                }
            };
            let frame = Frame {
                at,
                packed_bytes: row.packed_bytes,
                start_bytes,
                length_bytes: row.length_bytes,
                kind,
                digest,
            };
            let hole_bytes = holes::packed_bytes(row.length_bytes.into());
            let can_be = match kind {
                Kind::Data => row.length_bytes <= MOST_FRAME_BYTES,
                Kind::Zero | Kind::Unchanged => {
                    u64::from(row.length_bytes) <= MOST_HOLE_BYTES
                        && u64::from(row.packed_bytes) == hole_bytes
                }
            };
            if !can_be {
                return Err(self.damaged("its index names a hole with data, or data as a hole"));
            }
            return Ok(Some(frame));
        }
    }

    fn next_entry(&mut self, at: u64) -> Result<(Kind, [u8; 32]), Error> {
        if self.entry == self.entries.len() {
            let length = self.left.min(PIECE_ENTRIES) * ENTRY_BYTES as u64;
            self.entries.resize(usize::try_from(length).unwrap_or(0), 0);
            let read = self.medium.read_at(at, &mut self.entries);
            read.map_err(|source| failed(&*self.medium, source))?;
            self.left -= length / ENTRY_BYTES as u64;
            self.entries_at = Some(at + length);
            self.entry = 0;
        }
        let bytes = self.entries.get(self.entry..).and_then(<[u8]>::first_chunk);
        self.entry += ENTRY_BYTES;
        let entry = bytes.and_then(labels::entry);
        entry.ok_or_else(|| self.damaged("its index has an unknown kind of frame"))
    }

    fn damaged(&self, what: &str) -> Error {
        Error::Damaged {
            name: self.medium.name().to_owned(),
            what: what.into(),
        }
    }
}

/// What comes next.
#[derive(Debug)]
enum Item {
    /// The result of the oldest job.
    Frame,
    Zero(Range<u64>),
}

/// An image in frames.
#[derive(Debug)]
pub(in crate::image) struct SeekableReader {
    medium: Arc<dyn ReadAt>,
    about: About,
    without_base: bool,
    frames: Frames,
    work: Option<Ordered<Unpacker>>,
    items: VecDeque<Item>,
    part: Vec<u8>,
    at_bytes: u64,
    size_bytes: u64,
}

impl SeekableReader {
    /// Open a file that has a seek table, if it can be read by that: `None` if it must be read as a
    /// stream. The first bytes of its content are in `head` afterwards, if ramblk did not write it.
    pub(in crate::image) fn open(
        medium: &Arc<dyn ReadAt>,
        how: &Opening<'_>,
    ) -> Result<Option<Self>, Error> {
        let failed = |source| failed(&**medium, source);
        let Some(table) = Table::find(&**medium).map_err(failed)? else {
            return Ok(None);
        };
        let front = read_front(&**medium).map_err(failed)?;
        let found = survey(&**medium, table, front.as_ref()).map_err(failed)?;
        let Some(found) = found else {
            return Ok(None);
        };
        let labels = front.unwrap_or_default().0;
        if let Some(base) = labels.base.as_ref().filter(|_| !how.without_base) {
            return Err(is_a_change(medium.name(), base.content_id.as_deref()));
        }
        let frames = Frames {
            medium: Arc::clone(medium),
            rows: Rows::new(table),
            entries_at: found.index.map(|(at, _)| at),
            entries: Vec::new(),
            entry: 0,
            left: found.index.map_or(0, |(_, index)| index.frames.into()),
            at: 0,
            start_bytes: 0,
        };
        Ok(Some(Self {
            about: about(&**medium, labels, &found, table),
            medium: Arc::clone(medium),
            without_base: how.without_base,
            frames,
            work: None,
            items: VecDeque::new(),
            part: Vec::new(),
            at_bytes: 0,
            size_bytes: found.size_bytes,
        }))
    }

    /// Whether ramblk wrote it, so that its content is raw whatever it looks like.
    pub(in crate::image) fn is_known_raw(&self) -> bool {
        self.frames.entries_at.is_some()
    }

    fn fill(&mut self) -> Result<(), Error> {
        if self.work.is_none() {
            let medium = &self.medium;
            let work = Ordered::new(|| Unpacker::new(Arc::clone(medium)));
            self.work = Some(work.map_err(|source| failed(&*self.medium, source))?);
        }
        let mut spare = Some(std::mem::take(&mut self.part));
        while let Some(work) = self.work.as_mut().filter(|work| work.has_room()) {
            let Some(frame) = self.frames.next()? else {
                return Ok(());
            };
            // A hole needs no memory, but a look whether it is one.
            let buffer = match frame.kind {
                Kind::Data => spare.take().unwrap_or_default(),
                Kind::Zero | Kind::Unchanged => Vec::new(),
            };
            work.push((frame, buffer));
            self.items.push_back(Item::Frame);
            if frame.kind == Kind::Zero && self.without_base {
                let end = frame.start_bytes + u64::from(frame.length_bytes);
                self.items.push_back(Item::Zero(frame.start_bytes..end));
            }
        }
        Ok(())
    }
}

impl ImageReader for SeekableReader {
    fn about(&self) -> &About {
        &self.about
    }

    fn next(&mut self) -> Result<Option<Part<'_>>, Error> {
        loop {
            self.fill()?;
            match self.items.pop_front() {
                None => {
                    self.at_bytes = self.size_bytes;
                    return Ok(None);
                }
                Some(Item::Zero(range)) => {
                    self.at_bytes = range.end;
                    return Ok(Some(Part::Zero(range)));
                }
                Some(Item::Frame) => {
                    let done = self.work.as_mut().map_or(Ok(None), Ordered::pop);
                    let done = done.map_err(|source| failed(&*self.medium, source))?;
                    let Some(done) = done else {
                        debug_assert!(false, "bug: a frame without a job");
                        return Ok(None);
                    };
                    let (start_bytes, part) = done?;
                    // Nothing of a hole is left.
                    if !part.is_empty() {
                        self.part = part;
                        self.at_bytes = start_bytes + self.part.len() as u64;
                        let bytes = &self.part[..];
                        return Ok(Some(Part::Data { start_bytes, bytes }));
                    }
                }
            }
        }
    }

    fn swap(&mut self, spare: Vec<u8>) -> Vec<u8> {
        std::mem::replace(&mut self.part, spare)
    }

    fn end_bytes(&mut self) -> Result<u64, Error> {
        self.medium.verify()?;
        Ok(self.size_bytes)
    }

    fn progress(&self) -> (u64, Option<u64>) {
        (self.at_bytes, Some(self.size_bytes))
    }

    fn extents(&mut self) -> Result<Option<Extents>, Error> {
        if self.frames.entries_at.is_none() {
            return Ok(None);
        }
        let mut frames = self.frames.clone();
        let mut extents = Extents::default();
        let mut end = None;
        while let Some(frame) = frames.next()? {
            if frame.kind == Kind::Data {
                extents.count += u64::from(end != Some(frame.start_bytes));
                extents.data_bytes += u64::from(frame.length_bytes);
                end = Some(frame.start_bytes + u64::from(frame.length_bytes));
            }
        }
        Ok(Some(extents))
    }
}

/// What a walk over the seek table finds.
struct Found {
    size_bytes: u64,
    /// Frames with content.
    frames: u64,
    /// Where the entries of the index begin.
    index: Option<(u64, Index)>,
}

/// Check the seek table as a whole. `None` if the frames can't be read one by one.
fn survey(medium: &dyn ReadAt, table: Table, front: Option<&Front>) -> io::Result<Option<Found>> {
    let is_ours = front.is_some();
    let front_bytes = front.map(|front| front.1);
    let is_change = front.is_some_and(|front| front.0.base.is_some());
    let granule_bytes = if is_change { 512 } else { PAGE_BYTES as u64 };
    let mut rows = Rows::new(table);
    let (mut at, mut size_bytes, mut frames) = (0_u64, 0_u64, 0_u64);
    let mut last = (0, Row::new(0, 0));
    let mut can_be_read = true;
    while let Some(row) = rows.next(medium)? {
        last = (at, row);
        if row.length_bytes == 0 {
            // Nothing but the labels in front and the index is left out of the content.
            let is_front = at == 0 && front_bytes == Some(row.packed_bytes.into());
            let is_last = at + u64::from(row.packed_bytes) == table.start;
            can_be_read &= is_front || (is_ours && is_last);
        } else {
            frames += 1;
            let is_hole = is_ours
                && u64::from(row.packed_bytes) == holes::packed_bytes(row.length_bytes.into());
            can_be_read &= is_hole || row.length_bytes <= MOST_FRAME_BYTES;
            can_be_read &= size_bytes.is_multiple_of(granule_bytes);
        }
        at += u64::from(row.packed_bytes);
        size_bytes += u64::from(row.length_bytes);
    }
    if at != table.start || !can_be_read {
        return Ok(None);
    }
    let index = match is_ours {
        true => read_index(medium, last.0, last.1)?,
        false => None,
    };
    // The sizes above are those of holes only if an index says so.
    let fits = |(_, index): &(u64, Index)| {
        u64::from(index.frames) == frames && index.size_bytes == size_bytes
    };
    let index = index.filter(fits);
    let found = Found {
        size_bytes,
        frames,
        index,
    };
    Ok((index.is_some() == is_ours).then_some(found))
}

fn read_front(medium: &dyn ReadAt) -> io::Result<Option<Front>> {
    let length = medium.size_bytes().min(MOST_FRONT_BYTES as u64);
    let mut head = vec![0; usize::try_from(length).unwrap_or(0)];
    medium.read_at(0, &mut head)?;
    Ok(Front::parse(&head))
}

fn read_index(medium: &dyn ReadAt, at: u64, row: Row) -> io::Result<Option<(u64, Index)>> {
    let mut head = [0; labels::SKIPPABLE_BYTES + INDEX_BYTES];
    if row.length_bytes > 0 || (row.packed_bytes as usize) < head.len() {
        return Ok(None);
    }
    medium.read_at(at, &mut head)?;
    let index = Index::parse(&head, row.packed_bytes.into());
    Ok(index.map(|index| (at + head.len() as u64, index)))
}

fn about(medium: &dyn ReadAt, labels: Labels, found: &Found, table: Table) -> About {
    let format = ImageFormat::Packed(Packing::Zstd, Content::Raw);
    let mut properties = vec![
        ("frames", found.frames.to_string()),
        ("packed bytes", table.start.to_string()),
    ];
    if found.index.is_some() {
        properties.push(("digest of frames", "BLAKE3".into()));
    }
    About {
        size_bytes: Some(found.size_bytes),
        identity: medium.identity().map(str::to_owned),
        labels,
        properties,
        ..About::new(medium.name(), format)
    }
}

/// The error for a change that is read as if it were whole.
pub(in crate::image) fn is_a_change(name: &str, of: Option<&str>) -> Error {
    let of = of.map_or_else(|| "other content".into(), |id| format!("the content {id}"));
    Error::Unsupported {
        name: name.to_owned(),
        what: format!("is a change of {of}: it can only be imported onto that, with --base"),
    }
}

/// Reads and decompresses frames.
struct Unpacker {
    medium: Arc<dyn ReadAt>,
    context: DCtx<'static>,
    packed: Vec<u8>,
}

impl Unpacker {
    fn new(medium: Arc<dyn ReadAt>) -> Self {
        Self {
            medium,
            context: DCtx::create(),
            packed: Vec::new(),
        }
    }

    /// Whether `self.packed` is frames with as many bytes as `into` has.
    fn unpack(&mut self, into: &mut [u8]) -> bool {
        let length = into.len();
        let (mut input, mut output) = (InBuffer::around(&self.packed), OutBuffer::around(into));
        if self.context.init().is_err() {
            return false;
        }
        loop {
            let before = (input.pos(), output.pos());
            let Ok(more) = self.context.decompress_stream(&mut output, &mut input) else {
                return false;
            };
            let is_read = input.pos() == self.packed.len();
            if more == 0 && is_read {
                return output.pos() == length;
            }
            if before == (input.pos(), output.pos()) {
                return false;
            }
        }
    }
}

impl Work for Unpacker {
    type Job = (Frame, Vec<u8>);
    type Done = Result<(u64, Vec<u8>), Error>;

    fn run(&mut self, (frame, mut buffer): Self::Job) -> Self::Done {
        // Frames are inside of the file, and small.
        self.packed.resize(frame.packed_bytes as usize, 0);
        let read = self.medium.read_at(frame.at, &mut self.packed);
        read.map_err(|source| failed(&*self.medium, source))?;
        let wrong = |what: &str| Error::Damaged {
            name: self.medium.name().to_owned(),
            what: format!("the frame at {} {what}", frame.at),
        };
        if frame
            .digest
            .is_some_and(|digest| *blake3::hash(&self.packed).as_bytes() != digest)
        {
            return Err(wrong("has another digest than its index says"));
        }
        if frame.kind != Kind::Data {
            return match self.packed == holes::frame(frame.length_bytes.into()) {
                true => Ok((frame.start_bytes, Vec::new())),
                false => Err(wrong("has data, and its index says that it is a hole")),
            };
        }
        buffer.resize(frame.length_bytes as usize, 0);
        match self.unpack(&mut buffer) {
            true => Ok((frame.start_bytes, buffer)),
            false => Err(Error::Damaged {
                name: self.medium.name().to_owned(),
                what: format!("the frame at {} can't be decompressed", frame.at),
            }),
        }
    }
}

fn failed(medium: &dyn ReadAt, source: io::Error) -> Error {
    Error::Read {
        name: medium.name().to_owned(),
        source,
    }
}
