//! An object with ranges, of which a window of blocks is kept: the parts that were read last, and
//! those that a reader which goes on will read next.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::{Bytes, BytesMut};
use parking_lot::{Condvar, Mutex};

use super::super::digest::Sum;
use super::super::error::{Error, Fault};
use super::source::{Source, Version};
use crate::image::{self, ReadAt};

/// A block: the least that is fetched.
pub(in crate::remote) const BLOCK_BYTES: u64 = 1 << 20;
/// The most blocks that are kept or on their way.
const MOST_BLOCKS: usize = 64;
/// How far ahead of a reader blocks are fetched, at most.
const MOST_AHEAD: u64 = 32;
/// The most blocks of one request.
const RUN: usize = 4;
/// The most requests at the same time.
const MOST_REQUESTS: usize = 8;
/// The most blocks that a reader skips and that are fetched all the same for the digest.
const MOST_GAP: u64 = 16;

/// What opens an object by its name in the same folder.
pub(in crate::remote) struct Beside(pub(in crate::remote) Box<Open>);

type Open = dyn Fn(&str) -> Result<Arc<dyn ReadAt>, Error> + Send + Sync;

impl fmt::Debug for Beside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Beside")
    }
}

/// An object with ranges.
#[derive(Debug)]
pub(in crate::remote) struct Object {
    source: Arc<Source>,
    beside: Option<Beside>,
    version: Version,
    identity: Option<String>,
    shared: Arc<Shared>,
    /// The digest of all blocks before the one with this number.
    sum: Option<Mutex<(u64, Sum)>>,
}

#[derive(Debug, Default)]
struct Shared {
    window: Mutex<Window>,
    came: Condvar,
    closed: AtomicBool,
}

#[derive(Debug, Default)]
struct Window {
    blocks: HashMap<u64, Block>,
    requests: usize,
    clock: u64,
    /// The next block that the digest needs.
    summed: u64,
}

#[derive(Debug)]
enum Block {
    Coming,
    Here { bytes: Bytes, used: u64 },
    Failed(Fault),
}

impl Object {
    pub(in crate::remote) fn new(
        source: Arc<Source>,
        beside: Option<Beside>,
        (version, first): (Version, Bytes),
        sum: Option<Sum>,
    ) -> Self {
        let identity = match &sum {
            Some(sum) => Some(sum.wanted().to_string()),
            // Another object may have the same tag.
            None => version
                .strong()
                .map(|etag| format!("etag {etag} of {}", source.name)),
        };
        let shared = Shared::default();
        if !first.is_empty() {
            let block = Block::Here {
                bytes: first,
                used: 0,
            };
            shared.window.lock().blocks.insert(0, block);
        }
        Self {
            source,
            beside,
            version,
            identity,
            shared: Arc::new(shared),
            sum: sum.map(|sum| Mutex::new((0, sum))),
        }
    }

    fn end_block(&self) -> u64 {
        self.version.size_bytes.div_ceil(BLOCK_BYTES)
    }

    /// A block's bytes.
    fn block(&self, number: u64) -> Result<Bytes, Fault> {
        let mut window = self.shared.window.lock();
        loop {
            let is_coming = match window.use_block(number) {
                Some(Block::Here { bytes, .. }) => {
                    let bytes = bytes.clone();
                    self.read_ahead(&mut window, number);
                    return Ok(bytes);
                }
                Some(Block::Failed(fault)) => {
                    let fault = fault.clone();
                    window.blocks.remove(&number);
                    return Err(fault);
                }
                Some(Block::Coming) => true,
                None => false,
            };
            match is_coming || !window.make_room(1, true) {
                true => self.shared.came.wait(&mut window),
                false => self.fetch(&mut window, number..number + 1),
            }
        }
    }

    /// Fetch what a reader that goes on will need: the further it went on, the more.
    fn read_ahead(&self, window: &mut Window, number: u64) {
        let was_read =
            |at: u64| matches!(window.blocks.get(&at), Some(Block::Here { used, .. }) if *used > 0);
        let before = (0..number).rev().take(16);
        let run = before.take_while(|&at| was_read(at)).count() as u64;
        if run == 0 && number > 0 {
            return;
        }
        // What the digest needs is fetched too, if it isn't much: it would be fetched at the end.
        let has_gap =
            self.sum.is_some() && window.summed < number && number - window.summed <= MOST_GAP;
        let from = match has_gap {
            true => window.summed,
            false => number + 1,
        };
        let until = self
            .end_block()
            .min(number + 1 + (2 * (run + 1)).min(MOST_AHEAD));
        let mut at = from;
        while at < until && window.requests < MOST_REQUESTS {
            let next = (at..until).take(RUN);
            let next: Vec<u64> = next
                .take_while(|at| !window.blocks.contains_key(at))
                .collect();
            let after = next.last().map_or(at + 1, |last| last + 1);
            // Short requests are for what is needed at once only, and for the end.
            let is_worth_it =
                next.len() == RUN || window.requests == 0 || after == self.end_block();
            if !next.is_empty() && is_worth_it {
                if !window.make_room(next.len(), false) {
                    return;
                }
                self.fetch(window, at..after);
            }
            at = after;
        }
    }

    fn fetch(&self, window: &mut Window, blocks: Range<u64>) {
        for number in blocks.clone() {
            window.blocks.insert(number, Block::Coming);
        }
        window.requests += 1;
        let (source, version) = (self.source.clone(), self.version.clone());
        let shared = self.shared.clone();
        self.source.net.spawn(async move {
            let mut arriving = Arriving {
                shared: &shared,
                next: blocks.start,
                end: blocks.end,
                end_bytes: version.size_bytes,
                bytes: BytesMut::new(),
                fault: Fault::Answer("bug: the work on it panicked".into()),
            };
            let end_bytes = (blocks.end * BLOCK_BYTES).min(version.size_bytes);
            let range = blocks.start * BLOCK_BYTES..end_bytes;
            let read = source
                .range(range, &version, |bytes| arriving.take(bytes))
                .await;
            if let Err(fault) = read {
                arriving.fault = fault;
            }
        });
    }

    /// Add the blocks that are here to the digest, unless another thread does.
    fn add_up(&self) {
        let Some(mut sum) = self.sum.as_ref().and_then(Mutex::try_lock) else {
            return;
        };
        let (next, sum) = &mut *sum;
        while let Some(bytes) = self.shared.here(*next) {
            sum.add(&bytes);
            *next += 1;
            self.shared.window.lock().summed = *next;
        }
    }
}

impl ReadAt for Object {
    fn name(&self) -> &str {
        &self.source.name
    }

    fn size_bytes(&self) -> u64 {
        self.version.size_bytes
    }

    fn identity(&self) -> Option<&str> {
        self.identity.as_deref()
    }

    fn read_at(&self, at_bytes: u64, into: &mut [u8]) -> io::Result<()> {
        let end = at_bytes.checked_add(into.len() as u64);
        if end.is_none_or(|end| end > self.version.size_bytes) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut done = 0;
        while done < into.len() {
            let at = at_bytes + done as u64;
            let block = self.block(at / BLOCK_BYTES).map_err(Fault::into_io)?;
            self.add_up();
            let from = usize::try_from(at % BLOCK_BYTES).unwrap_or(usize::MAX);
            let bytes = block.get(from..).unwrap_or_default();
            let count = bytes.len().min(into.len() - done);
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            into[done..done + count].copy_from_slice(&bytes[..count]);
            done += count;
        }
        Ok(())
    }

    fn verify(&self) -> Result<(), image::Error> {
        // Every byte that was read is of one version. Those that were skipped must have the
        // digest's too.
        let Some(sum) = &self.sum else {
            return Ok(());
        };
        let failed = |fault: Fault| match fault {
            Fault::Digest { wanted, found } => image::Error::Digest {
                name: self.source.name.clone(),
                wanted,
                found,
            },
            fault => image::Error::Read {
                name: self.source.name.clone(),
                source: fault.into_io(),
            },
        };
        let mut sum = sum.lock();
        while sum.0 < self.end_block() {
            let bytes = self.block(sum.0).map_err(failed)?;
            sum.1.add(&bytes);
            sum.0 += 1;
            self.shared.window.lock().summed = sum.0;
        }
        sum.1.check().map_err(failed)
    }

    fn beside(&self, name: &str) -> Result<Arc<dyn ReadAt>, image::Error> {
        let failed = |text: String| image::Error::Read {
            name: name.to_owned(),
            source: io::Error::other(text),
        };
        match &self.beside {
            Some(beside) => (beside.0)(name).map_err(|error| failed(error.to_string())),
            None => Err(failed(format!("{} has no folder", self.source.name))),
        }
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    fn here(&self, number: u64) -> Option<Bytes> {
        match self.window.lock().blocks.get(&number) {
            Some(Block::Here { bytes, .. }) => Some(bytes.clone()),
            _ => None,
        }
    }
}

impl Window {
    /// A block that is used now.
    fn use_block(&mut self, number: u64) -> Option<&Block> {
        self.clock += 1;
        let block = self.blocks.get_mut(&number)?;
        if let Block::Here { used, .. } = block {
            *used = self.clock;
        }
        Some(block)
    }

    /// Forget what wasn't used for longest, so that this many blocks have room. What is read ahead
    /// displaces only what was used.
    fn make_room(&mut self, count: usize, is_needed: bool) -> bool {
        while self.blocks.len() + count > MOST_BLOCKS {
            let kept = self
                .blocks
                .iter()
                .filter_map(|(&number, block)| match block {
                    Block::Here { used, .. } if *used > 0 || is_needed => Some((*used, number)),
                    // Its reader may never come.
                    Block::Failed(_) => Some((0, number)),
                    _ => None,
                });
            // What was never used is newer than what was.
            let oldest = kept.min_by_key(|&(used, number)| (used == 0, used, number));
            let Some((_, oldest)) = oldest else {
                return false;
            };
            self.blocks.remove(&oldest);
        }
        true
    }
}

/// The blocks of one request. When it is dropped, those that didn't come have failed.
struct Arriving<'a> {
    shared: &'a Shared,
    next: u64,
    end: u64,
    end_bytes: u64,
    bytes: BytesMut,
    fault: Fault,
}

impl Arriving<'_> {
    /// Take bytes that came. Returns whether anyone still reads the object.
    fn take(&mut self, bytes: &Bytes) -> bool {
        self.bytes.extend_from_slice(bytes);
        while self.next < self.end {
            let block_bytes = BLOCK_BYTES.min(self.end_bytes - self.next * BLOCK_BYTES);
            let Some(block_bytes) = usize::try_from(block_bytes)
                .ok()
                .filter(|&bytes| self.bytes.len() >= bytes)
            else {
                break;
            };
            // A copy of its own, so that a block doesn't keep its neighbours' memory.
            let bytes = Bytes::copy_from_slice(&self.bytes.split_to(block_bytes));
            let mut window = self.shared.window.lock();
            window
                .blocks
                .insert(self.next, Block::Here { bytes, used: 0 });
            drop(window);
            self.shared.came.notify_all();
            self.next += 1;
        }
        !self.shared.closed.load(Ordering::Relaxed)
    }
}

impl Drop for Arriving<'_> {
    fn drop(&mut self) {
        let mut window = self.shared.window.lock();
        window.requests -= 1;
        for number in self.next..self.end {
            window
                .blocks
                .insert(number, Block::Failed(self.fault.clone()));
        }
        drop(window);
        self.shared.came.notify_all();
    }
}
