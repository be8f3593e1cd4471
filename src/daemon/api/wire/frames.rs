//! Parsing uploaded content into data and its offsets.

use axum::body::Bytes;

use crate::model::frames::{self, Decoder, MOST_BYTES, Piece};
use crate::store::PAGE_BYTES;

/// A part of content, with its offset in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Bytes.
    Data {
        /// From the beginning of the content.
        start_bytes: u64,
        /// The bytes. Within a frame they are cut between pages only.
        data: Bytes,
    },
    /// Zeros that replace what was there.
    Zeros {
        /// From the beginning of the content.
        start_bytes: u64,
        /// How many.
        length_bytes: u64,
    },
}

/// Parses content that arrives in pieces of any length.
#[derive(Debug)]
pub(crate) enum Parser {
    /// A sequence of frames.
    Frames(Frames),
    /// Plain bytes, from the beginning of the disk on.
    Plain(Plain),
}

/// The state between two pieces of frames.
#[derive(Debug)]
pub(crate) struct Frames {
    decoder: Decoder,
    /// The beginning of a page of the present frame, and its offset.
    data: Vec<u8>,
    start_bytes: u64,
}

/// The state between two pieces of bytes.
#[derive(Debug)]
pub(crate) struct Plain {
    size_bytes: u64,
    at_bytes: u64,
    data: Vec<u8>,
}

impl Parser {
    /// A parser of frames, for a disk of this size.
    pub(crate) fn frames(size_bytes: u64) -> Self {
        Self::Frames(Frames {
            decoder: Decoder::new(size_bytes),
            data: Vec::new(),
            start_bytes: 0,
        })
    }

    /// A parser of the frames of a change, which makes the content this long.
    pub(crate) fn delta(size_bytes: u64) -> Self {
        Self::Frames(Frames {
            decoder: Decoder::delta(size_bytes),
            data: Vec::new(),
            start_bytes: 0,
        })
    }

    /// A parser of plain bytes, for a disk of this size.
    pub(crate) fn plain(size_bytes: u64) -> Self {
        Self::Plain(Plain {
            size_bytes,
            at_bytes: 0,
            data: Vec::new(),
        })
    }

    /// Parse a piece. Returns the parts that are complete, or what is wrong with the content.
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

    /// How much of the content has arrived, including holes; all of it once it has ended.
    pub(crate) fn at_bytes(&self) -> u64 {
        match self {
            Self::Frames(frames) => frames.decoder.at_bytes() - frames.data.len() as u64,
            Self::Plain(plain) => plain.at_bytes,
        }
    }

    /// The body has ended. Returns the last part, if there is one.
    pub(crate) fn end(&mut self) -> Result<Option<Part>, String> {
        match self {
            Self::Frames(frames) => match frames.decoder.end() {
                Ok(_) => Ok(None),
                Err(error) => Err(error.to_string()),
            },
            Self::Plain(plain) => Ok(plain.write()),
        }
    }
}

impl Frames {
    fn take(&mut self, piece: &mut Bytes, parts: &mut Vec<Part>) -> Result<(), String> {
        let taken = std::mem::take(piece);
        let mut input: &[u8] = &taken;
        let wrong = |error: frames::Error| error.to_string();
        while let Some(piece) = self.decoder.next(&mut input).map_err(wrong)? {
            match piece {
                Piece::Data(start_bytes, data) => {
                    self.cut(start_bytes, taken.slice_ref(data), parts);
                }
                Piece::Zeros(start_bytes, length_bytes) => parts.push(Part::Zeros {
                    start_bytes,
                    length_bytes,
                }),
            }
        }
        Ok(())
    }

    /// Take the next bytes of the present frame. All but the beginning of a page, whose rest is
    /// still to come, are a part now; most of them are not copied.
    fn cut(&mut self, start_bytes: u64, mut data: Bytes, parts: &mut Vec<Part>) {
        let end_bytes = start_bytes + data.len() as u64;
        let is_complete = self.decoder.is_between_frames();
        if !self.data.is_empty() {
            let rest = data.split_to(to_border(start_bytes).min(data.len()));
            self.data.extend_from_slice(&rest);
            let page_end = self.start_bytes + self.data.len() as u64;
            if page_end.is_multiple_of(PAGE_BYTES) || (is_complete && data.is_empty()) {
                parts.push(Part::Data {
                    start_bytes: self.start_bytes,
                    data: std::mem::take(&mut self.data).into(),
                });
            }
        }
        let start_bytes = end_bytes - data.len() as u64;
        let open_bytes = match is_complete {
            true => 0,
            false => data.len().min(after_border(end_bytes)),
        };
        let rest = data.split_off(data.len() - open_bytes);
        if !rest.is_empty() {
            self.start_bytes = end_bytes - rest.len() as u64;
            self.data.extend_from_slice(&rest);
        }
        if !data.is_empty() {
            parts.push(Part::Data { start_bytes, data });
        }
    }
}

/// How many bytes the page has before `at_bytes`.
#[allow(clippy::cast_possible_truncation, reason = "less than a page")]
fn after_border(at_bytes: u64) -> usize {
    (at_bytes % PAGE_BYTES) as usize
}

/// How many bytes the page has from `at_bytes` on.
#[allow(clippy::cast_possible_truncation, reason = "at most a page")]
fn to_border(at_bytes: u64) -> usize {
    (PAGE_BYTES - at_bytes % PAGE_BYTES) as usize
}

impl Plain {
    fn take(&mut self, piece: &mut Bytes, parts: &mut Vec<Part>) -> Result<(), String> {
        let room = MOST_BYTES - self.data.len();
        let some = piece.split_to(room.min(piece.len()));
        let end = self.at_bytes + (self.data.len() + some.len()) as u64;
        if end > self.size_bytes {
            let size = self.size_bytes;
            return Err(format!(
                "the content has more than the {size} bytes up to the disk's end"
            ));
        }
        self.data.extend_from_slice(&some);
        if self.data.len() == MOST_BYTES {
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
        Some(Part::Data {
            start_bytes: start,
            data: data.into(),
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::model::frames::header;

    const MOST: u64 = MOST_BYTES as u64;

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
        let part = |start_bytes, data: Vec<u8>| Part::Data {
            start_bytes,
            data: data.into(),
        };
        let expected = [part(512, vec![1; 1024]), part(1536, vec![2; 512])];
        for piece in 1..=content.len() {
            let parsed = parts(Parser::frames(8192), &content, piece).unwrap();
            assert_eq!(parsed, expected, "in pieces of {piece}");
        }
    }

    #[test]
    fn a_frame_is_cut_between_pages_only() {
        let mut random = fastrand::Rng::with_seed(5);
        let page = to_border(0);
        let frames = [
            (512, 3 * page),
            (512 + 3 * page, 1000),
            (8 * page, 5 * page),
        ];
        let mut whole = vec![0; 16 * page];
        let mut content = Vec::new();
        for (start, length) in frames {
            let data: Vec<u8> = (0..length).map(|_| random.u8(..)).collect();
            whole[start..start + length].copy_from_slice(&data);
            content.extend(frame(start as u64, &data));
        }
        content.extend(frame(whole.len() as u64, &[]));
        for piece in [1, 7, 511, 4095, 4096, 4097, 5000, 16 << 10, content.len()] {
            let parser = Parser::frames(whole.len() as u64);
            let (mut found, mut last) = (vec![0; whole.len()], 0);
            for part in parts(parser, &content, piece).unwrap() {
                let Part::Data { start_bytes, data } = part else {
                    unreachable!("no zeros were sent");
                };
                let start = usize::try_from(start_bytes).unwrap();
                let end = start + data.len();
                assert!(start >= last && !data.is_empty(), "in pieces of {piece}");
                let is_edge = |at| {
                    frames
                        .iter()
                        .any(|&(start, len)| at == start || at == start + len)
                };
                assert!(
                    start % page == 0 || is_edge(start),
                    "{start} in pieces of {piece}"
                );
                assert!(
                    end % page == 0 || is_edge(end),
                    "{end} in pieces of {piece}"
                );
                found[start..end].copy_from_slice(&data);
                last = end;
            }
            assert!(found == whole, "in pieces of {piece}");
        }
    }

    #[test]
    fn frames_that_make_no_sense_are_refused() {
        let wrong = |content: &[u8]| parts(Parser::frames(4096), content, 7).unwrap_err();
        assert!(wrong(&frame(0, &[1; 512])).contains("cut off"));
        assert!(wrong(&frame(0, &[1; 512])[..100]).contains("cut off"));
        assert!(wrong(&frame(4096, &[1; 512])).contains("beyond"));
        assert!(wrong(&header(u64::MAX, 2)).contains("beyond"));
        assert!(wrong(&header(0, MOST + 1)).contains("at most"));
        let back = [frame(512, &[1; 512]), frame(0, &[1; 512])].concat();
        assert!(wrong(&back).contains("before"));
        let more = [frame(4096, &[]), vec![0]].concat();
        assert!(wrong(&more).contains("follows"));
    }

    #[test]
    fn bytes_are_written_from_the_beginning_and_not_beyond_the_end() {
        let size = 3 * MOST;
        let content = vec![7; MOST_BYTES + 512];
        let parsed = parts(Parser::plain(size), &content, 1000).unwrap();
        let lengths: Vec<_> = parsed
            .iter()
            .map(|part| match part {
                Part::Data { start_bytes, data } => (*start_bytes, data.len() as u64),
                Part::Zeros { .. } => unreachable!("plain bytes"),
            })
            .collect();
        assert_eq!(lengths, [(0, MOST), (MOST, 512)]);
        let beyond = parts(Parser::plain(MOST), &content, 4096).unwrap_err();
        assert!(beyond.contains("more than"));
    }
}
