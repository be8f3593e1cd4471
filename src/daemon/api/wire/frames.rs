//! Content without what isn't mapped, as a row of frames.
//!
//! A frame is two numbers of 8 bytes, little-endian, and data: where it begins, how long it is, and
//! that many bytes. Frames come in order and don't overlap; each has at most [`MOST_BYTES`]. What
//! lies between them reads zero. The last one has no bytes, and begins where the content ends: a
//! stream without it was cut off.

use axum::body::Bytes;

/// The media type of such a row.
pub(crate) const FRAMES_TYPE: &str = "application/vnd.ramblk.extents";
/// Most bytes of data in a frame.
pub(crate) const MOST_BYTES: u64 = 1 << 20;
/// Bytes before the data.
pub(crate) const HEADER_BYTES: usize = 16;

/// The two numbers before the data; the last frame's length is 0.
pub(crate) fn header(start_bytes: u64, length_bytes: u64) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    let (start, length) = header.split_at_mut(8);
    start.copy_from_slice(&start_bytes.to_le_bytes());
    length.copy_from_slice(&length_bytes.to_le_bytes());
    header
}

/// Bytes, and where they belong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// In bytes from the beginning of the content.
    pub(crate) start_bytes: u64,
    /// The bytes.
    pub(crate) data: Vec<u8>,
}

/// Takes content in pieces of any length, and says what of it belongs where.
#[derive(Debug)]
pub(crate) enum Parser {
    /// A row of frames.
    Frames(Frames),
    /// Nothing but the bytes, from the beginning of the disk on.
    Plain(Plain),
}

/// The state between two pieces of frames.
#[derive(Debug)]
pub(crate) struct Frames {
    size_bytes: u64,
    /// Up to here everything is said.
    at_bytes: u64,
    header: Vec<u8>,
    /// What is still missing of the frame's data.
    missing: usize,
    data: Vec<u8>,
    ended: bool,
}

/// The state between two pieces of bytes.
#[derive(Debug)]
pub(crate) struct Plain {
    size_bytes: u64,
    at_bytes: u64,
    data: Vec<u8>,
}

impl Parser {
    /// Of frames, for a disk of this size.
    pub(crate) fn frames(size_bytes: u64) -> Self {
        Self::Frames(Frames {
            size_bytes,
            at_bytes: 0,
            header: Vec::with_capacity(HEADER_BYTES),
            missing: 0,
            data: Vec::new(),
            ended: false,
        })
    }

    /// Of bytes, for a disk of this size.
    pub(crate) fn plain(size_bytes: u64) -> Self {
        Self::Plain(Plain {
            size_bytes,
            at_bytes: 0,
            data: Vec::new(),
        })
    }

    /// Take a piece: what is known of the content now. What is wrong is said in words.
    pub(crate) fn take(&mut self, mut piece: Bytes) -> Result<Vec<Part>, String> {
        let mut parts = Vec::new();
        while !piece.is_empty() {
            match self {
                Self::Frames(frames) => frames.take(&mut piece, &mut parts)?,
                Self::Plain(plain) => plain.take(&mut piece, &mut parts)?,
            }
        }
        Ok(parts)
    }

    /// How far the content is known, holes counted; all of it, once it has ended.
    pub(crate) fn at_bytes(&self) -> u64 {
        match self {
            Self::Frames(frames) => frames.at_bytes,
            Self::Plain(plain) => plain.at_bytes,
        }
    }

    /// Nothing comes any more: what there is still.
    pub(crate) fn end(&mut self) -> Result<Option<Part>, String> {
        match self {
            Self::Frames(frames) if frames.ended => Ok(None),
            Self::Frames(frames) => Err(format!(
                "the content ends at {} without its last frame: it was cut off",
                frames.at_bytes
            )),
            Self::Plain(plain) => Ok(plain.write()),
        }
    }
}

impl Frames {
    fn take(&mut self, piece: &mut Bytes, parts: &mut Vec<Part>) -> Result<(), String> {
        if self.ended {
            return Err("something follows the last frame".to_owned());
        }
        if self.missing > 0 {
            let some = piece.split_to(self.missing.min(piece.len()));
            self.data.extend_from_slice(&some);
            self.missing -= some.len();
        } else {
            let some = piece.split_to((HEADER_BYTES - self.header.len()).min(piece.len()));
            self.header.extend_from_slice(&some);
            if self.header.len() < HEADER_BYTES {
                return Ok(());
            }
            self.begin()?;
        }
        if self.missing == 0 && !self.data.is_empty() {
            let data = std::mem::take(&mut self.data);
            let start = self.at_bytes;
            self.at_bytes += data.len() as u64;
            parts.push(Part {
                start_bytes: start,
                data,
            });
        }
        Ok(())
    }

    fn begin(&mut self) -> Result<(), String> {
        let number = |bytes: &[u8]| bytes.try_into().map(u64::from_le_bytes).unwrap_or_default();
        let (start, length) = self.header.split_at(8);
        let (start, length) = (number(start), number(length));
        self.header.clear();
        let size = self.size_bytes;
        if start < self.at_bytes {
            let said = self.at_bytes;
            return Err(format!(
                "a frame begins at {start}, before the last one's end at {said}"
            ));
        }
        if length > MOST_BYTES {
            return Err(format!(
                "a frame has {length} bytes: send at most {MOST_BYTES} in one"
            ));
        }
        if start.checked_add(length).is_none_or(|end| end > size) {
            return Err(format!(
                "a frame of {length} bytes at {start} ends beyond the disk's {size} bytes"
            ));
        }
        self.at_bytes = start;
        self.ended = length == 0;
        self.missing = usize::try_from(length).unwrap_or_default();
        Ok(())
    }
}

impl Plain {
    fn take(&mut self, piece: &mut Bytes, parts: &mut Vec<Part>) -> Result<(), String> {
        // MOST_BYTES is small.
        let room = usize::try_from(MOST_BYTES).unwrap_or_default() - self.data.len();
        let some = piece.split_to(room.min(piece.len()));
        let end = self.at_bytes + (self.data.len() + some.len()) as u64;
        if end > self.size_bytes {
            let size = self.size_bytes;
            return Err(format!("the content has more than the disk's {size} bytes"));
        }
        self.data.extend_from_slice(&some);
        if self.data.len() as u64 == MOST_BYTES {
            parts.extend(self.write());
        }
        Ok(())
    }

    fn write(&mut self) -> Option<Part> {
        let data = std::mem::take(&mut self.data);
        if data.is_empty() {
            return None;
        }
        let start = self.at_bytes;
        self.at_bytes += data.len() as u64;
        Some(Part {
            start_bytes: start,
            data,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn frame(start: u64, data: &[u8]) -> Vec<u8> {
        [&header(start, data.len() as u64), data].concat()
    }

    /// All parts, when the content comes in pieces of this length.
    fn parts(mut parser: Parser, content: &[u8], piece: usize) -> Result<Vec<Part>, String> {
        let mut parts = Vec::new();
        for piece in content.chunks(piece) {
            parts.extend(parser.take(Bytes::copy_from_slice(piece))?);
        }
        parts.extend(parser.end()?);
        Ok(parts)
    }

    #[test]
    fn frames_are_understood_wherever_they_are_cut() {
        let content = [
            frame(512, &[1; 1024]),
            frame(1536, &[2; 512]),
            frame(8192, &[]),
        ]
        .concat();
        let part = |start_bytes, data| Part { start_bytes, data };
        let expected = [part(512, vec![1; 1024]), part(1536, vec![2; 512])];
        for piece in 1..=content.len() {
            let parsed = parts(Parser::frames(8192), &content, piece).unwrap();
            assert_eq!(parsed, expected, "in pieces of {piece}");
        }
    }

    #[test]
    fn frames_that_make_no_sense_are_refused() {
        let wrong = |content: &[u8]| parts(Parser::frames(4096), content, 7).unwrap_err();
        assert!(wrong(&frame(0, &[1; 512])).contains("cut off"));
        assert!(wrong(&frame(0, &[1; 512])[..100]).contains("cut off"));
        assert!(wrong(&frame(4096, &[1; 512])).contains("beyond"));
        assert!(wrong(&header(u64::MAX, 2)).contains("beyond"));
        assert!(wrong(&header(0, MOST_BYTES + 1)).contains("at most"));
        let back = [frame(512, &[1; 512]), frame(0, &[1; 512])].concat();
        assert!(wrong(&back).contains("before"));
        let more = [frame(4096, &[]), vec![0]].concat();
        assert!(wrong(&more).contains("follows"));
    }

    #[test]
    fn bytes_are_written_from_the_beginning_and_not_beyond_the_end() {
        let size = 3 * MOST_BYTES;
        let content = vec![7; usize::try_from(MOST_BYTES).unwrap() + 512];
        let parsed = parts(Parser::plain(size), &content, 1000).unwrap();
        let lengths: Vec<_> = parsed
            .iter()
            .map(|part| (part.start_bytes, part.data.len() as u64))
            .collect();
        assert_eq!(lengths, [(0, MOST_BYTES), (MOST_BYTES, 512)]);
        let beyond = parts(Parser::plain(MOST_BYTES), &content, 4096).unwrap_err();
        assert!(beyond.contains("more than"));
    }
}
