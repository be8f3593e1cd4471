//! Requests and their replies, in order.

use super::error::Error;
use super::export::{Errno, Export, Operation, Run};
use super::handshake::{Agreed, Context};
use super::numbers::{
    REPLY_BLOCK_STATUS, REPLY_DONE, REPLY_ERROR, REPLY_NONE, REPLY_OFFSET_DATA, REPLY_OFFSET_HOLE,
    SIMPLE_REPLY_MAGIC, STRUCTURED_REPLY_MAGIC,
};
use super::request::{Command, REQUEST_BYTES, Range, Refused, Request, Terms};
use super::stream::{PIECE_BYTES, Wire};

/// The most runs of a reply to BLOCK_STATUS, in each context.
const MOST_RUNS: usize = 4096;
/// Unmapped bytes that are worth a reply of their own. Fewer are sent as zeros.
const WORTH_BYTES: u64 = 4096;
/// The longest run that a reply can name, a multiple of any block size.
const MOST_RUN_BYTES: u64 = 1 << 31;
/// The longest write that is read to its end although it is refused.
const MOST_SKIPPED_BYTES: u32 = 64 << 20;

const HEAD: &str = "a request";
const DATA: &str = "the data of a write";

/// Answer requests until the client leaves.
pub(super) fn serve(
    wire: &mut Wire<'_>,
    export: &dyn Export,
    agreed: &Agreed,
) -> Result<(), Error> {
    let terms = Terms {
        structured: agreed.structured,
        has_contexts: !agreed.contexts.is_empty(),
    };
    let mut server = Server {
        wire,
        export,
        agreed,
        payload: Box::default(),
    };
    while server.wire.wait()? {
        let by = server.wire.step_ends();
        let head = server.wire.take::<REQUEST_BYTES>(by, HEAD)?;
        let request = Request::parse(&head)?;
        match request.command(export.about(), terms) {
            Ok(Command::Leave) => return Ok(()),
            Ok(command) => server.answer(request.cookie, command)?,
            Err(refused) => {
                server.skip(&request)?;
                server.refuse(request.cookie, refused)?;
            }
        }
    }
    Ok(())
}

struct Server<'a, 'w> {
    wire: &'a mut Wire<'w>,
    export: &'a dyn Export,
    agreed: &'a Agreed,
    /// Room for a piece of a write's data, once there was a write.
    payload: Box<[u8]>,
}

/// What is said of an error that has no better reason.
fn because(errno: Errno) -> Refused {
    let why = match errno {
        Errno::Perm => "the export is read-only",
        Errno::Io => "the disk failed",
        Errno::Inval => "the request doesn't fit the disk, which may have shrunk",
        Errno::NoSpace => "there is no memory for it, or the disk has shrunk",
        Errno::NotSup => "the request is not supported",
        Errno::Shutdown => "the disk or its snapshot was destroyed",
    };
    Refused { errno, why }
}

impl Server<'_, '_> {
    fn answer(&mut self, cookie: u64, command: Command) -> Result<(), Error> {
        if self.export.about().is_writable {
            // What follows may wait for limits or memory, and earlier replies must not.
            self.wire.flush()?;
        }
        let done = match command {
            Command::Read { range, whole } => return self.read(cookie, range, whole),
            Command::Status { range, one } => return self.status(cookie, range, one),
            Command::Write { range } => self.write(range)?,
            Command::Trim { range } => self.execute(Operation::Discard {
                at_bytes: range.at_bytes,
                len_bytes: range.len_bytes,
            }),
            Command::Zero { range, may_unmap } => self.execute(Operation::Zero {
                at_bytes: range.at_bytes,
                len_bytes: range.len_bytes,
                may_unmap,
            }),
            Command::Flush => self.execute(Operation::Flush),
            Command::Cache | Command::Leave => Ok(()),
        };
        match done {
            Ok(()) => self.simple(cookie, 0),
            Err(errno) => self.refuse(cookie, because(errno)),
        }
    }

    fn execute(&self, operation: Operation<'_>) -> Result<(), Errno> {
        self.export.execute(operation, &|| self.wire.is_gone())
    }

    /// Skip the data of a refused request.
    fn skip(&mut self, request: &Request) -> Result<(), Error> {
        let len_bytes = request.payload_bytes();
        if len_bytes > MOST_SKIPPED_BYTES {
            return Err(Error::LongWrite(len_bytes));
        }
        let step = self.wire.pace.step;
        let by = || std::time::Instant::now() + step;
        self.wire.skip(len_bytes.into(), by, DATA)
    }

    // Replies

    fn simple(&mut self, cookie: u64, error: u32) -> Result<(), Error> {
        self.wire.put(&simple_head(cookie, error))
    }

    fn refuse(&mut self, cookie: u64, refused: Refused) -> Result<(), Error> {
        let number = refused.errno.number();
        if !self.agreed.structured {
            return self.simple(cookie, number);
        }
        let why = refused.why.as_bytes();
        let len_bytes = u16::try_from(why.len()).unwrap_or(u16::MAX);
        let head = chunk_head(cookie, REPLY_ERROR, true, 6 + u32::from(len_bytes));
        self.wire.put(&head)?;
        self.wire.put(&number.to_be_bytes())?;
        self.wire.put(&len_bytes.to_be_bytes())?;
        self.wire.put(why)
    }

    // Reading

    fn read(&mut self, cookie: u64, range: Range, whole: bool) -> Result<(), Error> {
        if self.agreed.structured && !whole {
            return self.read_in_chunks(cookie, range);
        }
        // One head, and then all bytes: after the head, an error can't be told any more.
        let mut head = if self.agreed.structured {
            let head = chunk_head(cookie, REPLY_OFFSET_DATA, true, 8 + range.len_bytes);
            [&head[..], &range.at_bytes.to_be_bytes()].concat()
        } else {
            simple_head(cookie, 0).to_vec()
        };
        let mut at_bytes = range.at_bytes;
        while at_bytes < range.end_bytes() {
            let len = piece(at_bytes, range.end_bytes());
            match self.put_data(&head, at_bytes, len)? {
                Ok(()) => {}
                Err(errno) if at_bytes == range.at_bytes => {
                    return self.refuse(cookie, because(errno));
                }
                Err(_) => return Err(Error::HalfRead),
            }
            head.clear();
            at_bytes += len as u64;
        }
        Ok(())
    }

    /// Add a head and the bytes of the export from `at_bytes` on.
    fn put_data(
        &mut self,
        head: &[u8],
        at_bytes: u64,
        len: usize,
    ) -> Result<Result<(), Errno>, Error> {
        let export = self.export;
        // A read waits for limits only, and those let it go on within its time.
        self.wire.put_with(head, len, |into| {
            export.execute(Operation::Read { at_bytes, into }, &|| false)
        })
    }

    /// One reply for each run.
    fn read_in_chunks(&mut self, cookie: u64, range: Range) -> Result<(), Error> {
        let (mut at_bytes, end_bytes) = (range.at_bytes, range.end_bytes());
        while at_bytes < end_bytes {
            let chunk = match self.next_chunk(at_bytes, end_bytes) {
                Ok(chunk) => chunk,
                Err(errno) => return self.refuse(cookie, because(errno)),
            };
            let offset = at_bytes.to_be_bytes();
            match chunk {
                Chunk::Hole(len_bytes) => {
                    let is_last = at_bytes + u64::from(len_bytes) == end_bytes;
                    let head = chunk_head(cookie, REPLY_OFFSET_HOLE, is_last, 12);
                    self.wire.put(&head)?;
                    self.wire.put(&offset)?;
                    self.wire.put(&len_bytes.to_be_bytes())?;
                    at_bytes += u64::from(len_bytes);
                }
                Chunk::Data(len) => {
                    let is_last = at_bytes + len as u64 == end_bytes;
                    let len_bytes = u32::try_from(len).unwrap_or(u32::MAX);
                    let head = chunk_head(cookie, REPLY_OFFSET_DATA, is_last, 8 + len_bytes);
                    let head = [&head[..], &offset].concat();
                    if let Err(errno) = self.put_data(&head, at_bytes, len)? {
                        return self.refuse(cookie, because(errno));
                    }
                    at_bytes += len as u64;
                }
            }
        }
        Ok(())
    }

    fn next_chunk(&self, at_bytes: u64, end_bytes: u64) -> Result<Chunk, Errno> {
        let most = at_bytes + piece(at_bytes, end_bytes) as u64;
        let mut to_bytes = at_bytes;
        while to_bytes < most {
            let run = self.export.allocation(to_bytes, end_bytes)?;
            let run_end = to_bytes.saturating_add(run.len_bytes.max(1));
            if !run.is_set && (run.len_bytes >= WORTH_BYTES || run_end >= end_bytes) {
                if to_bytes == at_bytes {
                    let len_bytes = run_end.min(end_bytes) - at_bytes;
                    return Ok(Chunk::Hole(u32::try_from(len_bytes).unwrap_or(u32::MAX)));
                }
                break;
            }
            to_bytes = run_end.min(most);
        }
        Ok(Chunk::Data(
            usize::try_from(to_bytes - at_bytes).unwrap_or_default(),
        ))
    }

    // Writing

    /// Write what comes, piece by piece. After an error, the rest is read and forgotten.
    fn write(&mut self, range: Range) -> Result<Result<(), Errno>, Error> {
        if self.payload.is_empty() {
            self.payload = vec![0; PIECE_BYTES].into();
        }
        let mut payload = std::mem::take(&mut self.payload);
        let mut done = Ok(());
        let mut at_bytes = range.at_bytes;
        while at_bytes < range.end_bytes() {
            let len = piece(at_bytes, range.end_bytes());
            let data = payload.get_mut(..len).unwrap_or_default();
            self.wire.take_into(data, self.wire.step_ends(), DATA)?;
            if done.is_ok() {
                let from = &*data;
                done = self.execute(Operation::Write { at_bytes, from });
            }
            at_bytes += len as u64;
        }
        self.payload = payload;
        Ok(done)
    }

    // Status

    fn status(&mut self, cookie: u64, range: Range, one: bool) -> Result<(), Error> {
        let count = self.agreed.contexts.len();
        for (number, context) in (0..).zip(&self.agreed.contexts) {
            let runs = match self.runs(context, range, if one { 1 } else { MOST_RUNS }) {
                Ok(runs) => runs,
                Err(errno) => return self.refuse(cookie, because(errno)),
            };
            let is_last = usize::try_from(number).is_ok_and(|number: usize| number + 1 == count);
            let len = 4 + 8 * u32::try_from(runs.len()).unwrap_or_default();
            let head = chunk_head(cookie, REPLY_BLOCK_STATUS, is_last, len);
            self.wire.put(&head)?;
            self.wire.put(&u32::to_be_bytes(number))?;
            for (len_bytes, flags) in runs {
                self.wire.put(&len_bytes.to_be_bytes())?;
                self.wire.put(&flags.to_be_bytes())?;
            }
        }
        Ok(())
    }

    /// The runs of a range, at least one, each with its length and its flags in the context.
    fn runs(&self, context: &Context, range: Range, most: usize) -> Result<Vec<(u32, u32)>, Errno> {
        let (at_bytes, end_bytes) = (range.at_bytes, range.end_bytes());
        let found = match context {
            Context::Changes(since) => self.export.changes(since, at_bytes, end_bytes, most)?,
            Context::Allocation => {
                let (mut at_bytes, mut found) = (at_bytes, Vec::new());
                while at_bytes < end_bytes && found.len() < most {
                    let run = self.export.allocation(at_bytes, end_bytes)?;
                    let len_bytes = run.len_bytes.clamp(1, end_bytes - at_bytes);
                    found.push(Run { len_bytes, ..run });
                    at_bytes += len_bytes;
                }
                found
            }
        };
        let flags = |run: &Run| match (context, run.is_set) {
            // A hole that reads zero.
            (Context::Allocation, false) => 3,
            (Context::Changes(_), true) => 1,
            (Context::Allocation, true) | (Context::Changes(_), false) => 0,
        };
        let runs: Vec<(u32, u32)> = found
            .iter()
            .take(most)
            .map(|run| {
                let len_bytes = run.len_bytes.min(MOST_RUN_BYTES);
                (u32::try_from(len_bytes).unwrap_or(u32::MAX), flags(run))
            })
            .collect();
        // An empty list is no answer. A run that was cut ends the list.
        let whole = found
            .iter()
            .take_while(|run| run.len_bytes <= MOST_RUN_BYTES);
        let whole = whole.count();
        match runs.get(..=whole) {
            Some(runs) => Ok(runs.to_vec()),
            None if runs.is_empty() => Err(Errno::Io),
            None => Ok(runs),
        }
    }
}

/// A part of a reply to a read.
enum Chunk {
    Hole(u32),
    Data(usize),
}

/// The length of the piece at `at_bytes` of a range that ends at `end_bytes`. Pieces end at
/// multiples of [`PIECE_BYTES`].
fn piece(at_bytes: u64, end_bytes: u64) -> usize {
    let piece_bytes = PIECE_BYTES as u64;
    let len_bytes = (piece_bytes - at_bytes % piece_bytes).min(end_bytes - at_bytes);
    usize::try_from(len_bytes).unwrap_or(PIECE_BYTES)
}

fn simple_head(cookie: u64, error: u32) -> [u8; 16] {
    let mut head = [0; 16];
    head[..4].copy_from_slice(&SIMPLE_REPLY_MAGIC.to_be_bytes());
    head[4..8].copy_from_slice(&error.to_be_bytes());
    head[8..].copy_from_slice(&cookie.to_be_bytes());
    head
}

fn chunk_head(cookie: u64, kind: u16, is_last: bool, len_bytes: u32) -> [u8; 20] {
    debug_assert!(kind != REPLY_NONE, "every reply here has content");
    let flags = if is_last { REPLY_DONE } else { 0 };
    let mut head = [0; 20];
    head[..4].copy_from_slice(&STRUCTURED_REPLY_MAGIC.to_be_bytes());
    head[4..6].copy_from_slice(&flags.to_be_bytes());
    head[6..8].copy_from_slice(&kind.to_be_bytes());
    head[8..16].copy_from_slice(&cookie.to_be_bytes());
    head[16..].copy_from_slice(&len_bytes.to_be_bytes());
    head
}
