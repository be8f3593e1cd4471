//! A client of NBD, against what the protocol demands of the server.
//!
//! An input selects an export, and then options and requests of a client: valid ones, nearly valid
//! ones, or arbitrary bytes. The server must answer each that is complete, in order, with what a
//! second reading of the protocol says. After arbitrary bytes only its messages must still be
//! whole.

mod model;
mod replies;

use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use ramblk::nbd::{self, Error, Pace, Stream};

use super::bytes::Bytes;
use super::reached::Reached;
use model::{Model, SIZE};
use replies::Replies;

const MOST_OPTIONS: u32 = 12;
const MOST_REQUESTS: u32 = 24;

/// What the client sends, in pieces, and what it gets.
struct Conversation {
    sent: Vec<u8>,
    taken: usize,
    /// How many bytes arrive at a time, at most.
    piece: usize,
    got: Vec<u8>,
}

impl Stream for Conversation {
    fn read(&mut self, into: &mut [u8], _by: Option<Instant>) -> io::Result<usize> {
        let left = &self.sent[self.taken..];
        let count = left.len().min(into.len()).min(self.piece);
        assert!(!into.is_empty(), "a read of nothing looks like the end");
        into[..count].copy_from_slice(&left[..count]);
        self.taken += count;
        Ok(count)
    }

    fn write(&mut self, from: &[u8], _by: Instant) -> io::Result<usize> {
        assert!(!from.is_empty());
        // No input asks for more: what is read is a small disk.
        if self.got.len() > 64 << 20 {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let count = from.len().min(self.piece * 3);
        self.got.extend_from_slice(&from[..count]);
        Ok(count)
    }

    fn is_gone(&self) -> bool {
        false
    }
}

/// An option that was sent.
#[derive(Clone, Debug)]
pub(crate) struct AskedOption {
    pub(crate) number: u32,
    pub(crate) data: Vec<u8>,
}

/// A request that was sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AskedRequest {
    pub(crate) command: u16,
    pub(crate) flags: u16,
    pub(crate) cookie: u64,
    pub(crate) at: u64,
    pub(crate) len: u32,
    /// The byte that a write repeats.
    pub(crate) fill: u8,
}

/// What a client says.
#[derive(Debug, Default)]
pub(crate) struct Script {
    sent: Vec<u8>,
    pub(crate) flags: u32,
    pub(crate) options: Vec<AskedOption>,
    pub(crate) requests: Vec<AskedRequest>,
    /// Whether what follows has no meaning.
    is_wild: bool,
}

/// Run one input.
pub(crate) fn check(input: &[u8]) -> Reached {
    let mut bytes = Bytes::new(input);
    let kind = bytes.u8();
    let block = [1, 512, 4096][usize::from(kind) % 3];
    let mut model = Model::new(block, kind & 8 != 0, kind & 16 != 0);
    if kind & 0xe0 == 0xe0 {
        model.bad_from = 44 << 10;
    }
    let before = model.content();
    let script = Script::new(&mut bytes);
    let mut conversation = Conversation {
        sent: script.sent.clone(),
        taken: 0,
        piece: [1 << 20, 1, 7, 1000][usize::from(bytes.below(4))],
        got: Vec::new(),
    };
    let second = Duration::from_secs(1);
    let pace = Pace {
        negotiation: second,
        step: second,
    };
    let ended = nbd::serve(&mut conversation, &model, pace);
    let mut reached = Reached::default();
    let how = match &ended {
        Ok(()) => "left",
        Err(Error::CutOff) => "cut off",
        Err(Error::Magic { .. }) => "magic",
        Err(Error::ClientFlags(_)) => "client flags",
        Err(Error::LongOption { .. }) => "long option",
        Err(Error::NoExport(_)) => "no export",
        Err(Error::LongWrite(_)) => "long write",
        Err(Error::HalfRead) => "half read",
        Err(other) => panic!("{other}"),
    };
    reached.add(how);
    let is_cut = matches!(ended, Err(Error::HalfRead));
    let mut replies = Replies::new(&conversation.got, &model, before, is_cut);
    replies.judge(&script, &mut reached);
    if !script.is_wild && !is_cut {
        let now = replies.content();
        assert!(model.content().bytes == now.bytes, "the content");
        assert!(model.content().mapped == now.mapped, "what is mapped");
    }
    reached
}

impl Script {
    fn new(bytes: &mut Bytes<'_>) -> Self {
        let mut script = Self {
            flags: match bytes.below(8) {
                0..=4 => 3,
                5 => 1,
                6 => 0,
                _ => bytes.u32(),
            },
            ..Self::default()
        };
        script.sent.extend(script.flags.to_be_bytes());
        for _ in 0..MOST_OPTIONS {
            if bytes.is_empty() || script.option(bytes) {
                break;
            }
        }
        for _ in 0..MOST_REQUESTS {
            if bytes.is_empty() || script.is_wild {
                break;
            }
            script.request(bytes);
        }
        script
    }

    fn wild(&mut self, bytes: &mut Bytes<'_>) {
        let len = usize::from(bytes.u8());
        self.sent.extend(bytes.take(len));
        self.is_wild = true;
    }

    /// Whether it is the last one.
    fn option(&mut self, bytes: &mut Bytes<'_>) -> bool {
        let name = |bytes: &mut Bytes<'_>| match bytes.below(4) {
            0 | 1 => String::new(),
            2 => "vm1".into(),
            _ => "vm2".into(),
        };
        let string = |text: &str| [&(text.len() as u32).to_be_bytes(), text.as_bytes()].concat();
        let (number, mut data) = match bytes.below(16) {
            0 => (1, name(bytes).into_bytes()),
            1 => (2, Vec::new()),
            2 => (3, Vec::new()),
            number @ (3..=6) => {
                let infos = bytes.below(5);
                let infos = (0..infos).flat_map(|info| [0, info]).collect::<Vec<u8>>();
                let count = (infos.len() as u16 / 2).to_be_bytes();
                let data = [&string(&name(bytes))[..], &count, &infos].concat();
                (if number == 3 { 6 } else { 7 }, data)
            }
            7..=9 => (8, Vec::new()),
            number @ (10..=13) => {
                let queries = (0..bytes.below(4)).map(|_| match bytes.below(8) {
                    0 | 1 => "base:allocation",
                    2 => "base:",
                    3 => "qemu:",
                    4 => "qemu:dirty-bitmap:",
                    5 => "qemu:dirty-bitmap:s1",
                    6 => "qemu:dirty-bitmap:s2",
                    _ => "other:thing",
                });
                let queries: Vec<Vec<u8>> = queries.map(string).collect();
                let count = (queries.len() as u32).to_be_bytes();
                let data = [&string(&name(bytes))[..], &count, &queries.concat()].concat();
                (if number == 10 { 9 } else { 10 }, data)
            }
            14 => (bytes.u32() % 20, bytes.take(4).to_vec()),
            _ => {
                self.wild(bytes);
                return true;
            }
        };
        match bytes.below(12) {
            0 => data.extend(bytes.take(3)),
            1 => data.truncate(usize::from(bytes.u8())),
            _ => {}
        }
        self.sent.extend(b"IHAVEOPT");
        self.sent.extend(number.to_be_bytes());
        self.sent.extend((data.len() as u32).to_be_bytes());
        self.sent.extend(&data);
        self.options.push(AskedOption { number, data });
        replies::goes_on(self.options.last().unwrap())
    }

    fn request(&mut self, bytes: &mut Bytes<'_>) {
        let command = match bytes.below(20) {
            n @ 0..=15 => u16::from(n % 8),
            16 => 0,
            17 => 7,
            18 => bytes.u16(),
            _ => return self.wild(bytes),
        };
        let how = bytes.u8();
        let unit = [4096, 4096, 512, 1][usize::from(how) & 3];
        let mut at = u64::from(bytes.u8()) * unit % (SIZE as u64 + unit);
        let mut len = u32::from(bytes.u8() & 15) * unit as u32;
        if how & 0x70 == 0x70 {
            at = bytes.u64();
            len = bytes.u32();
        }
        let flags = match how >> 2 & 3 {
            0 => 0,
            1 => 1 << (bytes.u8() & 7),
            2 => u16::from(bytes.u8() & 31),
            _ => 0,
        };
        let (fill, cookie) = (bytes.u8(), bytes.u64());
        let asked = AskedRequest {
            command,
            flags,
            cookie,
            at,
            len,
            fill,
        };
        self.sent.extend(0x2560_9513_u32.to_be_bytes());
        self.sent.extend(flags.to_be_bytes());
        self.sent.extend(command.to_be_bytes());
        self.sent.extend(cookie.to_be_bytes());
        self.sent.extend(at.to_be_bytes());
        self.sent.extend(len.to_be_bytes());
        self.requests.push(asked);
        if command == 1 && len as usize <= 2 * SIZE {
            self.sent.resize(self.sent.len() + len as usize, fill);
        } else if command == 1 {
            // Its payload doesn't come, so nothing behind it is a request.
            self.is_wild = true;
        }
    }
}
