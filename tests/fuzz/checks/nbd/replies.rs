//! What a server said, read message by message, and compared with what it must say.

use super::model::{Content, Model, SIZE};
use super::{AskedOption, AskedRequest, Script};
use crate::checks::reached::Reached;
use ramblk::nbd::Export;

const ACK: u32 = 1;
const ERR: u32 = 1 << 31;

/// Whether the client may send requests after this option, if the server agrees, or has left.
pub(crate) fn goes_on(option: &AskedOption) -> bool {
    match option.number {
        1 | 2 => true,
        7 => wanted_export(&option.data).is_some_and(|name| name.is_empty() || name == b"vm1"),
        _ => false,
    }
}

/// The export that well-formed data of INFO or GO names.
fn wanted_export(data: &[u8]) -> Option<&[u8]> {
    let (len, rest) = data.split_first_chunk::<4>()?;
    let (name, rest) = rest.split_at_checked(u32::from_be_bytes(*len) as usize)?;
    let (count, infos) = rest.split_first_chunk::<2>()?;
    (infos.len() == 2 * usize::from(u16::from_be_bytes(*count))).then_some(name)
}

/// The export and the queries that well-formed data of the options for contexts names.
fn wanted_contexts(data: &[u8]) -> Option<(&[u8], Vec<&[u8]>)> {
    fn string<'a>(data: &mut &'a [u8]) -> Option<&'a [u8]> {
        let (len, rest) = data.split_first_chunk::<4>()?;
        let (text, rest) = rest.split_at_checked(u32::from_be_bytes(*len) as usize)?;
        *data = rest;
        Some(text)
    }
    let mut data = data;
    let name = string(&mut data)?;
    let (count, rest) = data.split_first_chunk::<4>()?;
    data = rest;
    let mut queries = Vec::new();
    for _ in 0..u32::from_be_bytes(*count) {
        queries.push(string(&mut data)?);
    }
    data.is_empty().then_some((name, queries))
}

/// The rest of what the server said.
pub(crate) struct Replies<'a> {
    got: &'a [u8],
    model: &'a Model,
    /// The content after the requests that were looked at.
    now: Content,
    structured: bool,
    contexts: Vec<Vec<u8>>,
    /// Whether the last reply may be cut off.
    is_cut: bool,
}

impl<'a> Replies<'a> {
    pub(crate) fn new(got: &'a [u8], model: &'a Model, now: Content, is_cut: bool) -> Self {
        Self {
            got,
            model,
            now,
            structured: false,
            contexts: Vec::new(),
            is_cut,
        }
    }

    pub(crate) fn content(self) -> Content {
        self.now
    }

    fn take(&mut self, len: usize) -> &'a [u8] {
        let (head, rest) = self.got.split_at_checked(len).expect("a whole message");
        self.got = rest;
        head
    }

    fn u16(&mut self) -> u16 {
        u16::from_be_bytes(self.take(2).try_into().unwrap())
    }

    fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.take(4).try_into().unwrap())
    }

    fn u64(&mut self) -> u64 {
        u64::from_be_bytes(self.take(8).try_into().unwrap())
    }

    pub(crate) fn judge(&mut self, script: &Script, reached: &mut Reached) {
        assert_eq!(self.take(18), b"NBDMAGICIHAVEOPT\0\x03");
        if script.flags & !3 != 0 {
            assert!(self.got.is_empty());
            return;
        }
        let mut goes = false;
        for option in &script.options {
            let Some(on) = self.option(option, script.flags, reached) else {
                return;
            };
            goes = on;
        }
        if goes {
            for request in &script.requests {
                if self.got.is_empty() || request.command == 2 {
                    break;
                }
                self.request(request, reached);
                if self.is_cut && self.got.is_empty() {
                    return;
                }
            }
        }
        while script.is_wild && !self.got.is_empty() {
            if goes {
                self.any_reply();
            } else {
                self.any_answer();
            }
        }
        assert!(self.got.is_empty(), "{} bytes too many", self.got.len());
    }

    // Options

    /// One reply to an option: its kind, and its data.
    fn answer(&mut self, number: u32) -> (u32, &'a [u8]) {
        assert_eq!(self.u64(), 0x0003_e889_0455_65a9);
        assert_eq!(self.u32(), number);
        let (kind, len) = (self.u32(), self.u32());
        (kind, self.take(len as usize))
    }

    /// What the server says after bytes without a meaning, in a negotiation: whole replies, or
    /// the answer to EXPORT_NAME and then replies to requests.
    fn any_answer(&mut self) {
        if self
            .got
            .starts_with(&0x0003_e889_0455_65a9_u64.to_be_bytes())
        {
            self.take(16);
            let len = self.u32();
            self.take(len as usize);
        } else {
            self.got = &[];
        }
    }

    /// Judge the replies to an option. Returns whether the client goes on with requests, or `None`
    /// if the server ends the connection.
    fn option(&mut self, asked: &AskedOption, flags: u32, reached: &mut Reached) -> Option<bool> {
        let number = asked.number;
        if number == 1 {
            let is_ours = asked.data.is_empty() || asked.data == b"vm1";
            if !is_ours {
                assert!(self.got.is_empty());
                return None;
            }
            assert_eq!(self.u64(), SIZE as u64);
            self.transmission_flags();
            if flags & 2 == 0 {
                assert!(self.take(124).iter().all(|byte| *byte == 0));
            }
            reached.add("EXPORT_NAME");
            return Some(true);
        }
        let mut data = Vec::new();
        let last = loop {
            let (kind, more) = self.answer(number);
            if kind == ACK || kind & ERR != 0 {
                break kind;
            }
            data.push((kind, more));
        };
        let wanted = self.wanted(asked, &data);
        assert_eq!(last, wanted, "{asked:?}");
        reached.add(match (number, last) {
            (_, kind) if kind == ERR | 1 => "ERR_UNSUP",
            (_, kind) if kind == ERR | 3 => "ERR_INVALID",
            (_, kind) if kind == ERR | 6 => "ERR_UNKNOWN",
            (2, _) => "ABORT",
            (3, _) => "LIST",
            (6, _) => "INFO",
            (7, _) => "GO",
            (8, _) => "STRUCTURED_REPLY",
            (9, _) => "LIST_META_CONTEXT",
            _ => "SET_META_CONTEXT",
        });
        if number == 2 {
            assert!(self.got.is_empty());
            return None;
        }
        Some(number == 7 && last == ACK)
    }

    fn transmission_flags(&mut self) {
        let flags = self.u16();
        let about = self.model.about();
        assert_eq!(flags & 1, 1);
        assert_eq!(flags & 2 == 0, about.is_writable);
        assert_eq!(flags >> 7 & 1 == 1, self.structured, "DF");
        assert_eq!(flags >> 8 & 1 == 1, about.is_shared, "MULTI_CONN");
    }

    /// The kind of the last reply to an option, after the others had this data.
    fn wanted(&mut self, asked: &AskedOption, data: &[(u32, &'a [u8])]) -> u32 {
        let is_ours = |name: &[u8]| name.is_empty() || name == b"vm1";
        match asked.number {
            2 => ACK,
            3 if asked.data.is_empty() => {
                assert_eq!(data, [(2, &b"\0\0\0\x03vm1"[..])]);
                ACK
            }
            8 if asked.data.is_empty() => {
                self.structured = true;
                ACK
            }
            3 | 8 => ERR | 3,
            6 | 7 => match wanted_export(&asked.data) {
                None => ERR | 3,
                Some(name) if !is_ours(name) => ERR | 6,
                Some(_) => {
                    let size = [&[0, 0][..], &(SIZE as u64).to_be_bytes()].concat();
                    assert!(data[0].1.starts_with(&size) && data[0].0 == 3);
                    let block = [&[0, 3][..], &self.model.about().block_bytes.to_be_bytes()];
                    assert!(data[1].1.starts_with(&block.concat()));
                    ACK
                }
            },
            number @ (9 | 10) => {
                if number == 10 {
                    self.contexts.clear();
                }
                match wanted_contexts(&asked.data) {
                    None => ERR | 3,
                    Some(_) if !self.structured => ERR | 3,
                    Some((name, _)) if !is_ours(name) => ERR | 6,
                    Some((_, queries)) => {
                        let names: Vec<&[u8]> = data.iter().map(|(_, it)| &it[4..]).collect();
                        if number == 10 {
                            let known = ["base:allocation", "qemu:dirty-bitmap:s1"];
                            let known = [&known[..], &["qemu:dirty-bitmap:s2"]].concat();
                            for query in queries {
                                let is_new = !self.contexts.iter().any(|it| it == query);
                                if is_new && known.iter().any(|it| it.as_bytes() == query) {
                                    self.contexts.push(query.to_vec());
                                }
                            }
                            assert_eq!(names, self.contexts);
                            for (number, (_, it)) in data.iter().enumerate() {
                                assert_eq!(it[..4], (number as u32).to_be_bytes());
                            }
                        }
                        ACK
                    }
                }
            }
            _ => ERR | 1,
        }
    }

    // Requests

    /// The error number that a request must get.
    fn errno(&self, asked: &AskedRequest) -> u32 {
        let about = self.model.about();
        let own_flags = match asked.command {
            0 if self.structured => 1 << 2,
            0 | 1 | 3..=5 => 0,
            6 => 1 << 1 | 1 << 4,
            7 => 1 << 3,
            _ => return 22,
        };
        if asked.flags & !(own_flags | 1) != 0 {
            return 22;
        }
        let writes = matches!(asked.command, 1 | 4 | 6);
        if writes && !about.is_writable {
            return 1;
        }
        if asked.command == 3 {
            return 0;
        }
        let is_odd = |n: u64| !n.is_multiple_of(about.block_bytes.into());
        let is_too_long = matches!(asked.command, 0 | 1) && asked.len > 32 << 20;
        let is_beyond = asked.at.saturating_add(asked.len.into()) > SIZE as u64;
        let is_unasked = asked.command == 7 && self.contexts.is_empty();
        if asked.len == 0 || is_too_long {
            22
        } else if is_beyond && matches!(asked.command, 1 | 6) {
            28
        } else if is_beyond || is_odd(asked.at) || is_odd(asked.len.into()) || is_unasked {
            22
        } else {
            0
        }
    }

    fn request(&mut self, asked: &AskedRequest, reached: &mut Reached) {
        let errno = self.errno(asked);
        let (at, len) = (asked.at as usize, asked.len as usize);
        let may_fail = asked.command == 0 && self.model.bad_from < SIZE;
        let found = match (asked.command, errno) {
            (0, 0) => self.data(asked, may_fail, reached),
            (7, 0) => self.status(asked, reached),
            _ => self.simple(asked.cookie),
        };
        assert!(
            found == errno || may_fail && found == 5,
            "{found}: {asked:?}"
        );
        reached.add(match (asked.command, found) {
            (_, 1) => "EPERM",
            (_, 5) => "EIO",
            (_, 22) => "EINVAL",
            (_, 28) => "ENOSPC",
            (0, _) => "READ",
            (1, _) => "WRITE",
            (3, _) => "FLUSH",
            (4, _) => "TRIM",
            (5, _) => "CACHE",
            (6, _) => "WRITE_ZEROES",
            _ => "BLOCK_STATUS",
        });
        match (asked.command, found) {
            (1, 0) => self.now.write(at, &vec![asked.fill; len]),
            (4, 0) => self.now.zero(at, len, true),
            (6, 0) => self.now.zero(at, len, asked.flags & 2 == 0),
            _ => {}
        }
    }

    /// A reply without data: its error number.
    fn simple(&mut self, cookie: u64) -> u32 {
        match self.u32() {
            0x6744_6698 => {
                let errno = self.u32();
                assert_eq!(self.u64(), cookie);
                errno
            }
            0x668e_33ef => {
                let (is_last, kind, data) = self.chunk(cookie);
                assert!(is_last && kind == 0x8001, "an error");
                u32::from_be_bytes(data[..4].try_into().unwrap())
            }
            magic => panic!("{magic:#x}"),
        }
    }

    /// The rest of a chunk: whether it is the last one, its kind, and its data.
    fn chunk(&mut self, cookie: u64) -> (bool, u16, &'a [u8]) {
        let (flags, kind) = (self.u16(), self.u16());
        assert_eq!(self.u64(), cookie);
        let len = self.u32();
        (flags & 1 != 0, kind, self.take(len as usize))
    }

    fn any_reply(&mut self) {
        match self.u32() {
            0x6744_6698 => {
                // A read's data may follow, which has no mark of its own.
                self.got = &[];
            }
            0x668e_33ef => {
                self.take(12);
                let len = self.u32();
                self.take(len as usize);
            }
            magic => panic!("{magic:#x}"),
        }
    }

    fn data(&mut self, asked: &AskedRequest, may_fail: bool, reached: &mut Reached) -> u32 {
        let (at, len) = (asked.at as usize, asked.len as usize);
        let wanted = self.now.bytes[at..at + len].to_vec();
        if !self.structured {
            let errno = self.simple(asked.cookie);
            if errno == 0 && self.is_cut && self.got.len() < len {
                self.got = &[];
            } else if errno == 0 {
                assert!(self.take(len) == wanted, "{asked:?}");
            }
            return errno;
        }
        let mut read = vec![None; len];
        loop {
            assert_eq!(self.u32(), 0x668e_33ef);
            if self.is_cut && self.got.len() < 16 + len {
                self.got = &[];
                return 0;
            }
            let (is_last, kind, data) = self.chunk(asked.cookie);
            if kind == 0x8001 {
                assert!(is_last && may_fail);
                return u32::from_be_bytes(data[..4].try_into().unwrap());
            }
            let (offset, data) = data.split_first_chunk::<8>().unwrap();
            let from = usize::try_from(u64::from_be_bytes(*offset)).unwrap() - at;
            let hole;
            let part = match kind {
                1 => data,
                2 => {
                    reached.add("OFFSET_HOLE");
                    hole = vec![0; u32::from_be_bytes(data.try_into().unwrap()) as usize];
                    &hole
                }
                _ => panic!("kind {kind}"),
            };
            for (into, byte) in read[from..from + part.len()].iter_mut().zip(part) {
                assert!(into.replace(*byte).is_none(), "a byte twice");
            }
            if asked.flags & 4 != 0 {
                assert!(is_last && kind == 1, "in one piece");
            }
            if is_last {
                break;
            }
        }
        let read: Vec<u8> = read.into_iter().map(|it| it.expect("a byte")).collect();
        assert!(read == wanted, "{asked:?}");
        0
    }

    fn status(&mut self, asked: &AskedRequest, reached: &mut Reached) -> u32 {
        for number in 0..self.contexts.len() {
            assert_eq!(self.u32(), 0x668e_33ef);
            let (is_last, kind, data) = self.chunk(asked.cookie);
            assert_eq!((kind, is_last), (5, number + 1 == self.contexts.len()));
            assert_eq!(data[..4], (number as u32).to_be_bytes());
            let is_one = asked.flags & 8 != 0;
            let runs: Vec<&[u8]> = data[4..].chunks(8).collect();
            assert!(!runs.is_empty() && (!is_one || runs.len() == 1));
            let mut at = asked.at as usize;
            for run in runs {
                let len = u32::from_be_bytes(run[..4].try_into().unwrap()) as usize;
                let flags = u32::from_be_bytes(run[4..].try_into().unwrap());
                assert!(len > 0 && at + len <= (asked.at + u64::from(asked.len)) as usize);
                if self.contexts[number] == b"base:allocation" {
                    let sectors = &self.now.mapped[at / 512..(at + len).div_ceil(512)];
                    let is_data = sectors.iter().all(|mapped| *mapped);
                    assert_eq!(flags, if is_data { 0 } else { 3 });
                    assert!(is_data || sectors.iter().all(|mapped| !mapped));
                } else {
                    reached.add("dirty bitmap");
                    let is_dirty = self.contexts[number].ends_with(b"s1");
                    assert_eq!(flags, u32::from(is_dirty));
                }
                at += len;
            }
            assert!(is_one || at == (asked.at + u64::from(asked.len)) as usize);
        }
        0
    }
}
