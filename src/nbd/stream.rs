//! The bytes of a client: whole messages within their time, and replies.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::error::Error;

/// Bytes that are read ahead.
const INPUT_BYTES: usize = 64 << 10;
/// Bytes of replies that wait to be sent, and the most of a payload that is handled at once.
pub(super) const PIECE_BYTES: usize = 256 << 10;
/// Room for the header of a reply beside that.
const HEAD_BYTES: usize = 64;

/// How long a client may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// For the whole negotiation.
    pub negotiation: Duration,
    /// For the rest of a request's head, and for each quarter of a megabyte in either direction.
    pub step: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            negotiation: Duration::from_secs(30),
            step: Duration::from_secs(30),
        }
    }
}

/// A connection to a client.
pub trait Stream {
    /// Read some bytes, and wait for the first of them until `by`, or without end. Returns 0 at the
    /// end of the stream.
    ///
    /// # Errors
    /// [`ErrorKind::TimedOut`], or any other.
    fn read(&mut self, into: &mut [u8], by: Option<Instant>) -> io::Result<usize>;

    /// Write some bytes, and wait until `by` for room for the first of them.
    ///
    /// # Errors
    /// The same.
    fn write(&mut self, from: &[u8], by: Instant) -> io::Result<usize>;

    /// Whether there is no client any more.
    fn is_gone(&self) -> bool;
}

/// A connected socket.
#[derive(Debug)]
pub struct Socket<'a>(&'a UnixStream);

impl<'a> Socket<'a> {
    /// Use `stream`, which others may shut down at any time.
    ///
    /// # Errors
    /// The system's.
    pub fn new(stream: &'a UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self(stream))
    }

    fn wait(&self, events: PollFlags, by: Option<Instant>) -> io::Result<()> {
        let timeout = match by {
            None => None,
            Some(by) => {
                let left = by.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(ErrorKind::TimedOut.into());
                }
                Some(Timespec::try_from(left).map_err(|_| ErrorKind::TimedOut)?)
            }
        };
        match poll(&mut [PollFd::new(self.0, events)], timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl Stream for Socket<'_> {
    fn read(&mut self, into: &mut [u8], by: Option<Instant>) -> io::Result<usize> {
        loop {
            match self.0.read(into) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.wait(PollFlags::IN, by)?;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }

    fn write(&mut self, from: &[u8], by: Instant) -> io::Result<usize> {
        loop {
            match self.0.write(from) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.wait(PollFlags::OUT, Some(by))?;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }

    fn is_gone(&self) -> bool {
        let mut polled = [PollFd::new(self.0, PollFlags::RDHUP)];
        let ends = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
        poll(&mut polled, Some(&Timespec::default())).is_ok_and(|_| {
            polled
                .first()
                .is_some_and(|polled| polled.revents().intersects(ends))
        })
    }
}

/// A stream with what was read ahead, and with replies that were not sent yet. Those are sent when
/// there is nothing left to read, so requests that come together are answered together.
pub(super) struct Wire<'a> {
    stream: &'a mut dyn Stream,
    pub(super) pace: Pace,
    input: Box<[u8]>,
    /// What of the input was read and not taken.
    from: usize,
    to: usize,
    output: Box<[u8]>,
    filled: usize,
}

impl<'a> Wire<'a> {
    pub(super) fn new(stream: &'a mut dyn Stream, pace: Pace) -> Self {
        Self {
            stream,
            pace,
            input: vec![0; INPUT_BYTES].into(),
            from: 0,
            to: 0,
            output: vec![0; PIECE_BYTES + HEAD_BYTES].into(),
            filled: 0,
        }
    }

    /// Whether there is no client any more.
    pub(super) fn is_gone(&self) -> bool {
        self.stream.is_gone()
    }

    fn ahead(&self) -> &[u8] {
        self.input.get(self.from..self.to).unwrap_or_default()
    }

    /// Read more ahead. Returns whether there was more.
    fn fill(&mut self, by: Option<Instant>, what: &'static str) -> Result<bool, Error> {
        self.flush()?;
        if self.from == self.to {
            (self.from, self.to) = (0, 0);
        } else if self.to == self.input.len() {
            self.input.copy_within(self.from..self.to, 0);
            (self.from, self.to) = (0, self.to - self.from);
        }
        let room = self.input.get_mut(self.to..).unwrap_or_default();
        debug_assert!(!room.is_empty(), "nothing is read ahead of a full buffer");
        let count = read(self.stream, room, by, what)?;
        self.to += count;
        Ok(count > 0)
    }

    /// Wait until the client says something. Returns `false` if it has left.
    pub(super) fn wait(&mut self) -> Result<bool, Error> {
        if self.from < self.to {
            return Ok(true);
        }
        self.fill(None, "its next request")
    }

    /// The next bytes, which must come by then.
    pub(super) fn take<const N: usize>(
        &mut self,
        by: Instant,
        what: &'static str,
    ) -> Result<[u8; N], Error> {
        loop {
            if let Some(bytes) = self.ahead().first_chunk::<N>() {
                let bytes = *bytes;
                self.from += N;
                return Ok(bytes);
            }
            if !self.fill(Some(by), what)? {
                return Err(Error::CutOff);
            }
        }
    }

    /// Fill `into` with the next bytes.
    pub(super) fn take_into(
        &mut self,
        into: &mut [u8],
        by: Instant,
        what: &'static str,
    ) -> Result<(), Error> {
        let ahead = self.ahead();
        let count = ahead.len().min(into.len());
        let (head, mut rest) = into.split_at_mut(count);
        head.copy_from_slice(&ahead[..count]);
        self.from += count;
        if !rest.is_empty() {
            self.flush()?;
        }
        while !rest.is_empty() {
            let count = read(self.stream, rest, Some(by), what)?;
            if count == 0 {
                return Err(Error::CutOff);
            }
            rest = rest.get_mut(count..).unwrap_or_default();
        }
        Ok(())
    }

    /// Skip the next bytes.
    pub(super) fn skip(
        &mut self,
        mut len_bytes: u64,
        by: impl Fn() -> Instant,
        what: &'static str,
    ) -> Result<(), Error> {
        while len_bytes > 0 {
            if self.from == self.to && !self.fill(Some(by()), what)? {
                return Err(Error::CutOff);
            }
            let ahead = self.to - self.from;
            let count = usize::try_from(len_bytes).map_or(ahead, |left| left.min(ahead));
            self.from += count;
            len_bytes -= count as u64;
        }
        Ok(())
    }

    /// When the next step of a message must be done.
    pub(super) fn step_ends(&self) -> Instant {
        Instant::now() + self.pace.step
    }

    /// Add to the replies.
    pub(super) fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let mut left = bytes;
        while !left.is_empty() {
            let room = self.room(left.len())?;
            let count = room.len().min(left.len());
            room[..count].copy_from_slice(&left[..count]);
            self.filled += count;
            left = &left[count..];
        }
        Ok(())
    }

    /// Add a reply's head and its data, at most [`PIECE_BYTES`], which `fill` makes. Returns what
    /// `fill` does; if that is an error, nothing is added.
    pub(super) fn put_with<E>(
        &mut self,
        head: &[u8],
        data_bytes: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<Result<(), E>, Error> {
        debug_assert!(head.len() <= HEAD_BYTES && data_bytes <= PIECE_BYTES);
        let whole = head.len() + data_bytes;
        let room = self.room(whole)?;
        let (to_head, to_data) = room[..whole].split_at_mut(head.len());
        to_head.copy_from_slice(head);
        let made = fill(to_data);
        if made.is_ok() {
            self.filled += whole;
        }
        Ok(made)
    }

    /// What is free of the replies' buffer. Sends what is in it if `wanted` don't fit.
    fn room(&mut self, wanted: usize) -> Result<&mut [u8], Error> {
        if self.output.len() - self.filled < wanted {
            self.flush()?;
        }
        Ok(self.output.get_mut(self.filled..).unwrap_or_default())
    }

    /// Send all replies.
    pub(super) fn flush(&mut self) -> Result<(), Error> {
        let mut left = self.output.get(..self.filled).unwrap_or_default();
        self.filled = 0;
        if left.is_empty() {
            return Ok(());
        }
        let by = Instant::now() + self.pace.step;
        while !left.is_empty() {
            match self.stream.write(left, by) {
                Ok(0) => return Err(Error::Socket(ErrorKind::WriteZero.into())),
                Ok(count) => left = left.get(count..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::TimedOut => {
                    return Err(Error::Slow("reading replies"));
                }
                Err(error) => return Err(Error::Socket(error)),
            }
        }
        Ok(())
    }
}

fn read(
    stream: &mut dyn Stream,
    into: &mut [u8],
    by: Option<Instant>,
    what: &'static str,
) -> Result<usize, Error> {
    stream.read(into, by).map_err(|error| match error.kind() {
        ErrorKind::TimedOut => Error::Slow(what),
        // A client that is killed with replies unread.
        ErrorKind::ConnectionReset => Error::CutOff,
        _ => Error::Socket(error),
    })
}
