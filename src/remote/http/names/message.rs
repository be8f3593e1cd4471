//! A question to a DNS server, and its answer: RFC 1035 §4, RFC 3596.
//!
//! Answers come from anyone. Reading one ends after as many steps as it has bytes, and whatever
//! isn't as it should be makes it no answer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const HEADER_BYTES: usize = 12;
/// The longest name with its lengths and its end (RFC 1035 §2.3.4).
const MOST_NAME_BYTES: usize = 255;
const MOST_PART_BYTES: usize = 63;
/// How many aliases lead to a host at most.
const MOST_ALIASES: usize = 16;
const INTERNET: u16 = 1;
const ALIAS: u16 = 5;
/// Recursion desired.
const QUERY: u16 = 0x0100;
/// A response to a query of the usual kind: these bits...
const RESPONSE_MASK: u16 = 0xf800;
/// ...are these.
const RESPONSE: u16 = 0x8000;
const TRUNCATED: u16 = 0x0200;
const NO_SUCH_NAME: u16 = 3;

/// Addresses of which version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    V4 = 1,
    V6 = 28,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    /// In small letters, as in messages: each part behind its length, and an empty one.
    name: Vec<u8>,
    kind: Kind,
}

/// What a server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The addresses, of which there may be none.
    Addresses(Vec<IpAddr>),
    /// They don't fit into this message.
    Truncated,
    /// It can't say, with this code (RFC 1035 §4.1.1).
    Refused(u8),
}

impl Question {
    /// A question for the addresses of `name`; `None` if nothing can have that name.
    pub(super) fn new(name: &str, kind: Kind) -> Option<Self> {
        let mut bytes = Vec::with_capacity(name.len() + 2);
        for part in name.split('.') {
            let length = u8::try_from(part.len()).ok()?;
            if part.is_empty() || part.len() > MOST_PART_BYTES {
                return None;
            }
            bytes.push(length);
            bytes.extend(part.to_ascii_lowercase().bytes());
        }
        bytes.push(0);
        let name = bytes;
        (name.len() <= MOST_NAME_BYTES).then_some(Self { name, kind })
    }

    /// The message that asks it.
    pub(super) fn message(&self, id: u16) -> Vec<u8> {
        // One question, and nothing in the other three parts.
        let header = [id, QUERY, 1, 0, 0, 0];
        let mut message: Vec<u8> = header.into_iter().flat_map(u16::to_be_bytes).collect();
        message.extend(&self.name);
        message.extend((self.kind as u16).to_be_bytes());
        message.extend(INTERNET.to_be_bytes());
        message
    }

    /// What a message answers to it; `None` if it is no answer to the question with this `id`.
    pub(super) fn answer(&self, id: u16, message: &[u8]) -> Option<Answer> {
        let mut reader = Reader { message, at: 0 };
        let (had, flags) = (reader.number()?, reader.number()?);
        let (questions, answers) = (reader.number()?, reader.number()?);
        reader.at = HEADER_BYTES;
        if had != id || flags & RESPONSE_MASK != RESPONSE || questions != 1 {
            return None;
        }
        let is_same = reader.name()? == self.name
            && reader.number()? == self.kind as u16
            && reader.number()? == INTERNET;
        if !is_same {
            return None;
        }
        if flags & TRUNCATED != 0 {
            return Some(Answer::Truncated);
        }
        match flags & 0xf {
            0 => self.addresses(reader, answers).map(Answer::Addresses),
            NO_SUCH_NAME => Some(Answer::Addresses(Vec::new())),
            code => u8::try_from(code).ok().map(Answer::Refused),
        }
    }

    /// The addresses in the answers: of the name, or of that which it is an alias for, and so on.
    fn addresses(&self, mut reader: Reader<'_>, answers: u16) -> Option<Vec<IpAddr>> {
        let (mut aliases, mut addresses) = (Vec::new(), Vec::new());
        for _ in 0..answers {
            let owner = reader.name()?;
            let (kind, class) = (reader.number()?, reader.number()?);
            // How long it may be kept, which it isn't.
            reader.take(4)?;
            let length = usize::from(reader.number()?);
            let start = reader.at;
            let data = reader.take(length)?;
            if class != INTERNET {
                continue;
            }
            if kind == ALIAS {
                let mut at = Reader {
                    at: start,
                    ..reader
                };
                aliases.push((owner, at.name()?));
            } else if kind == self.kind as u16 {
                let address: IpAddr = match self.kind {
                    Kind::V4 => Ipv4Addr::from(<[u8; 4]>::try_from(data).ok()?).into(),
                    Kind::V6 => Ipv6Addr::from(<[u8; 16]>::try_from(data).ok()?).into(),
                };
                addresses.push((owner, address));
            }
        }
        // Most servers put an alias before what it stands for, but none has to.
        let mut name = &self.name;
        for _ in 0..MOST_ALIASES {
            let Some((_, of)) = aliases.iter().find(|(owner, _)| owner == name) else {
                break;
            };
            name = of;
        }
        let found = addresses.iter().filter(|(owner, _)| owner == name);
        Some(found.map(|(_, address)| *address).collect())
    }
}

/// Reads a message from a place on.
#[derive(Clone, Copy)]
struct Reader<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let taken = self.message.get(self.at..)?.get(..length)?;
        self.at += length;
        Some(taken)
    }

    fn number(&mut self) -> Option<u16> {
        let bytes = self.take(2)?;
        Some(u16::from_be_bytes(bytes.try_into().ok()?))
    }

    /// A name, in small letters. Its end may be a pointer to an earlier place (RFC 1035 §4.1.4).
    fn name(&mut self) -> Option<Vec<u8>> {
        let mut name = Vec::new();
        let mut part = *self;
        // Where the name began that is read now: pointers lead further and further to the front.
        let mut began = self.at;
        let mut is_here = true;
        loop {
            let length = *part.take(1)?.first()?;
            match length >> 6 {
                0 => {
                    name.push(length);
                    name.extend(part.take(length.into())?.to_ascii_lowercase());
                }
                3 => {
                    let low = *part.take(1)?.first()?;
                    let to = usize::from(length & 0x3f) << 8 | usize::from(low);
                    if is_here {
                        self.at = part.at;
                        is_here = false;
                    }
                    if to >= began {
                        return None;
                    }
                    (began, part.at) = (to, to);
                    continue;
                }
                _ => return None,
            }
            if name.len() > MOST_NAME_BYTES {
                return None;
            }
            if length == 0 {
                if is_here {
                    self.at = part.at;
                }
                return Some(name);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    const ID: u16 = 0xbeef;

    fn question() -> Question {
        Question::new("Images.example.com", Kind::V4).unwrap()
    }

    /// An answer with these flags and records: each with its owner, kind and data.
    fn answer(flags: u16, records: &[(&[u8], u16, &[u8])]) -> Vec<u8> {
        let mut message = question().message(ID);
        message[2..4].copy_from_slice(&flags.to_be_bytes());
        message[7] = u8::try_from(records.len()).unwrap();
        for (owner, kind, data) in records {
            message.extend(*owner);
            message.extend(kind.to_be_bytes());
            message.extend(INTERNET.to_be_bytes());
            message.extend([0, 0, 0, 60]);
            message.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
            message.extend(*data);
        }
        message
    }

    #[test]
    fn a_question_is_as_rfc_1035_has_it() {
        let wanted = b"\xbe\xef\x01\0\0\x01\0\0\0\0\0\0\x06images\x07example\x03com\0\0\x01\0\x01";
        assert_eq!(question().message(ID), wanted);
        let part = "a".repeat(63);
        let longest = [&part[..], &part, &part, &part[..61]].join(".");
        assert!(Question::new(&longest, Kind::V6).is_some());
        for wrong in [
            "",
            "a..b",
            ".a",
            &format!("{longest}a"),
            &format!("{part}a"),
        ] {
            assert_eq!(Question::new(wrong, Kind::V6), None, "{wrong}");
        }
    }

    #[test]
    fn addresses_are_those_of_the_name_and_of_what_it_is_an_alias_for() {
        let message = answer(
            0x8180,
            &[
                (b"\xc0\x0c", ALIAS, b"\x03cdn\xc0\x13"),
                (b"\x03CDN\xc0\x13", 1, &[10, 0, 0, 7]),
                (b"\x03cdn\xc0\x13", 1, &[10, 0, 0, 8]),
                (b"\x03cdn\xc0\x13", 28, &[0; 16]),
                (b"\x05other\xc0\x13", 1, &[10, 0, 0, 9]),
            ],
        );
        let wanted = [[10, 0, 0, 7], [10, 0, 0, 8]].map(IpAddr::from);
        let had = question().answer(ID, &message);
        assert_eq!(had, Some(Answer::Addresses(wanted.into())));
        for length in 0..message.len() {
            let cut = question().answer(ID, &message[..length]);
            assert_eq!(cut, None, "the first {length} bytes");
        }
    }

    #[test]
    fn an_alias_may_come_behind_what_it_stands_for_and_a_circle_ends() {
        let target: &[u8] = b"\x03cdn\xc0\x13";
        let behind = [
            (target, 1, &[10, 0, 0, 7][..]),
            (b"\xc0\x0c", ALIAS, target),
        ];
        let had = question().answer(ID, &answer(0x8180, &behind));
        let wanted = Answer::Addresses(vec![[10, 0, 0, 7].into()]);
        assert_eq!(had, Some(wanted));
        let circle: [(&[u8], u16, &[u8]); 2] =
            [(b"\xc0\x0c", ALIAS, target), (target, ALIAS, b"\xc0\x0c")];
        let had = question().answer(ID, &answer(0x8180, &circle));
        assert_eq!(had, Some(Answer::Addresses(vec![])));
    }

    #[test]
    fn what_a_server_cannot_say_is_told_from_what_there_is_not() {
        let of = |flags| question().answer(ID, &answer(flags, &[]));
        assert_eq!(of(0x8180), Some(Answer::Addresses(vec![])));
        assert_eq!(of(0x8583), Some(Answer::Addresses(vec![])), "no such name");
        assert_eq!(of(0x8182), Some(Answer::Refused(2)));
        assert_eq!(of(0x8380), Some(Answer::Truncated));
        assert_eq!(of(0x0100), None, "a question");
        assert_eq!(question().answer(ID + 1, &answer(0x8180, &[])), None);
        let other = Question::new("images.example.com", Kind::V6).unwrap();
        assert_eq!(other.answer(ID, &answer(0x8180, &[])), None);
    }

    #[test]
    fn names_without_an_end_and_bytes_at_random_are_no_answer() {
        let circle = answer(0x8180, &[(b"\x01a\xc0\x24", 1, &[1, 2, 3, 4])]);
        assert_eq!(question().answer(ID, &circle), None);
        let seed = std::env::var("RAMBLK_SEED")
            .ok()
            .and_then(|it| it.parse().ok());
        let seed = seed.unwrap_or_else(|| fastrand::u64(..));
        let mut random = fastrand::Rng::with_seed(seed);
        let sound = answer(0x8180, &[(b"\xc0\x0c", 1, &[10, 0, 0, 7])]);
        for _ in 0..20_000 {
            let mut message = sound.clone();
            for _ in 0..random.usize(1..4) {
                let at = random.usize(2..message.len());
                message[at] = random.u8(..);
            }
            message.truncate(random.usize(HEADER_BYTES..=sound.len()));
            if let Some(Answer::Addresses(found)) = question().answer(ID, &message) {
                assert!(found.len() <= 1, "RAMBLK_SEED={seed}: {message:?}");
            }
        }
    }
}
