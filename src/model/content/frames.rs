//! A disk's content without its holes: a stream of frames (`application/vnd.ramblk.extents`).
//!
//! A frame is two little-endian numbers of 64 bits, and data: where it begins and how long it is,
//! in bytes, and that many bytes. Frames come in order, don't overlap, and have at most
//! [`MOST_BYTES`] each. What lies between them is zeros. The last one is empty and begins where the
//! content ends; a stream without it was cut off.
//!
//! A change of other content is a stream of another type (`application/vnd.ramblk.delta`), so that
//! one is never taken for the other: what lies between its frames is as in the base. A frame whose
//! length has the topmost bit set has no data, and says that that many bytes read as zeros now.
//!
//! If it was asked for, either stream begins with a list of where all of that will be: the headers
//! alone, whose data may be of any length, and the last frame.

/// The media type of a stream of frames.
pub const FRAMES_TYPE: &str = "application/vnd.ramblk.extents";
/// The media type of a stream of frames that says how content differs from a base.
pub const DELTA_TYPE: &str = "application/vnd.ramblk.delta";
/// The header of an answer with the identifier of its content.
pub const CONTENT_ID: &str = "ramblk-content-id";
/// The header of an answer with the identifier of the content that it is a change of.
pub const BASE_ID: &str = "ramblk-base-id";
/// The bit of a frame's length that says that the frame is zeros.
const ZEROS: u64 = 1 << 63;
/// The most bytes of data in a frame.
pub const MOST_BYTES: usize = 1 << 20;
/// The bytes before the data.
pub const HEADER_BYTES: usize = 16;

/// What is wrong with a stream of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Something follows the last frame.
    #[error("something follows the last frame")]
    Trailing,
    /// A frame begins before the end of the one before it.
    #[error("a frame begins at {start_bytes}, before the last one's end at {end_bytes}")]
    Order {
        /// Where it begins.
        start_bytes: u64,
        /// Where the one before it ends.
        end_bytes: u64,
    },
    /// A frame is too long.
    #[error("a frame has {length_bytes} bytes: send at most {MOST_BYTES} in one")]
    Long {
        /// Its length.
        length_bytes: u64,
    },
    /// A frame ends beyond the content.
    #[error(
        "a frame of {length_bytes} bytes at {start_bytes} ends beyond the disk's {size_bytes} bytes"
    )]
    Beyond {
        /// Where it begins.
        start_bytes: u64,
        /// Its length.
        length_bytes: u64,
        /// The size of the content.
        size_bytes: u64,
    },
    /// The stream ends before its last frame.
    #[error("the content ends at {at_bytes} without its last frame: it was cut off")]
    CutOff {
        /// The end of what has come.
        at_bytes: u64,
    },
}

/// What comes before a frame's data; the last frame has the length 0.
pub fn header(start_bytes: u64, length_bytes: u64) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    let (start, length) = header.split_at_mut(8);
    start.copy_from_slice(&start_bytes.to_le_bytes());
    length.copy_from_slice(&length_bytes.to_le_bytes());
    header
}

/// What comes instead of a frame of zeros, in a change of other content.
pub fn zeros_header(start_bytes: u64, length_bytes: u64) -> [u8; HEADER_BYTES] {
    header(start_bytes, length_bytes | ZEROS)
}

/// A piece of a stream of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Bytes, with their place.
    Data(u64, &'a [u8]),
    /// Zeros that replace what was there: where they begin, and how many they are.
    Zeros(u64, u64),
}

/// Where data or zeros will be, in a list that comes before the frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Where it begins.
    pub start_bytes: u64,
    /// How long it is.
    pub length_bytes: u64,
    /// Whether it is zeros, in a change of other content.
    pub is_zeros: bool,
}

/// Takes the list before a stream of frames apart, wherever it is cut.
#[derive(Clone, Debug)]
pub struct List(Decoder);

impl List {
    /// For content of this size in bytes, or for a change that makes it this size.
    pub fn new(size_bytes: u64, is_delta: bool) -> Self {
        Self(Decoder {
            is_delta,
            is_list: true,
            ..Decoder::new(size_bytes)
        })
    }

    /// Take bytes from the beginning of `input`, up to the end of the list, and return the extent
    /// in them. `None` says that all of `input` was taken, or that the list has ended.
    ///
    /// # Errors
    /// Any [`Error`] but [`Error::CutOff`].
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Option<Listed>, Error> {
        while !input.is_empty() && !self.0.ended {
            if !self.0.take_header(input)? || self.0.ended {
                continue;
            }
            let (start_bytes, length_bytes, is_zeros) = match self.0.zeros.take() {
                Some((start_bytes, length_bytes)) => (start_bytes, length_bytes, true),
                None => {
                    let length_bytes = std::mem::take(&mut self.0.missing) as u64;
                    let start_bytes = self.0.at_bytes;
                    self.0.at_bytes += length_bytes;
                    (start_bytes, length_bytes, false)
                }
            };
            return Ok(Some(Listed {
                start_bytes,
                length_bytes,
                is_zeros,
            }));
        }
        Ok(None)
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.0.ended
    }
}

/// Takes a stream of frames apart, wherever it is cut.
#[derive(Clone, Debug)]
pub struct Decoder {
    size_bytes: u64,
    header: Vec<u8>,
    /// Where the next byte of data belongs.
    at_bytes: u64,
    /// Bytes that are missing of the present frame's data.
    missing: usize,
    /// Zeros that were announced and not returned yet.
    zeros: Option<(u64, u64)>,
    is_delta: bool,
    /// Whether headers have no data behind them.
    is_list: bool,
    ended: bool,
}

impl Decoder {
    /// For content of this size in bytes.
    pub fn new(size_bytes: u64) -> Self {
        Self {
            size_bytes,
            header: Vec::with_capacity(HEADER_BYTES),
            at_bytes: 0,
            missing: 0,
            zeros: None,
            is_delta: false,
            is_list: false,
            ended: false,
        }
    }

    /// For a change of other content, which makes it this size in bytes.
    pub fn delta(size_bytes: u64) -> Self {
        Self {
            is_delta: true,
            ..Self::new(size_bytes)
        }
    }

    /// Take bytes from the beginning of `input`, and return the piece in them. A frame may come in
    /// several pieces. `None` says that all of `input` was taken.
    ///
    /// # Errors
    /// Any [`Error`] but [`Error::CutOff`].
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Piece<'a>>, Error> {
        while !input.is_empty() {
            if self.ended {
                return Err(Error::Trailing);
            }
            if self.missing > 0 {
                let (data, rest) = input.split_at(input.len().min(self.missing));
                let start_bytes = self.at_bytes;
                self.at_bytes += data.len() as u64;
                self.missing -= data.len();
                *input = rest;
                return Ok(Some(Piece::Data(start_bytes, data)));
            }
            self.take_header(input)?;
            if let Some((start_bytes, length_bytes)) = self.zeros.take() {
                return Ok(Some(Piece::Zeros(start_bytes, length_bytes)));
            }
        }
        Ok(None)
    }

    /// How far the content is known, in bytes, holes counted: all of it after the last frame.
    pub fn at_bytes(&self) -> u64 {
        self.at_bytes
    }

    /// Whether the present frame is complete.
    pub fn is_between_frames(&self) -> bool {
        self.missing == 0
    }

    /// Where the content ends, once the stream has.
    ///
    /// # Errors
    /// [`Error::CutOff`] if the last frame is missing.
    pub fn end(&self) -> Result<u64, Error> {
        let at_bytes = self.at_bytes;
        match self.ended {
            true => Ok(at_bytes),
            false => Err(Error::CutOff { at_bytes }),
        }
    }

    /// Take bytes of a header. Returns whether it is complete.
    fn take_header(&mut self, input: &mut &[u8]) -> Result<bool, Error> {
        let wanted = HEADER_BYTES - self.header.len();
        let (header, rest) = input.split_at(input.len().min(wanted));
        self.header.extend_from_slice(header);
        *input = rest;
        let is_complete = self.header.len() == HEADER_BYTES;
        if is_complete {
            self.begin()?;
        }
        Ok(is_complete)
    }

    fn begin(&mut self) -> Result<(), Error> {
        let number = |bytes: &[u8]| bytes.try_into().map(u64::from_le_bytes).unwrap_or_default();
        let (start, length) = self.header.split_at(8);
        let (start_bytes, length_bytes) = (number(start), number(length));
        self.header.clear();
        let size_bytes = self.size_bytes;
        if start_bytes < self.at_bytes {
            let end_bytes = self.at_bytes;
            return Err(Error::Order {
                start_bytes,
                end_bytes,
            });
        }
        let are_zeros = self.is_delta && length_bytes & ZEROS != 0;
        let length_bytes = if are_zeros {
            length_bytes & !ZEROS
        } else {
            length_bytes
        };
        let length = usize::try_from(length_bytes).ok();
        let Some(length) = length.filter(|&it| it <= MOST_BYTES || are_zeros || self.is_list)
        else {
            return Err(Error::Long { length_bytes });
        };
        if start_bytes
            .checked_add(length_bytes)
            .is_none_or(|end| end > size_bytes)
        {
            return Err(Error::Beyond {
                start_bytes,
                length_bytes,
                size_bytes,
            });
        }
        if are_zeros {
            self.at_bytes = start_bytes + length_bytes;
            self.zeros = Some((start_bytes, length_bytes));
            return Ok(());
        }
        (self.at_bytes, self.missing) = (start_bytes, length);
        self.ended = length == 0;
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn frame(start_bytes: u64, data: &[u8]) -> Vec<u8> {
        [&header(start_bytes, data.len() as u64), data].concat()
    }

    /// Pieces of data by their places, and where the end is.
    type Decoded = (Vec<(u64, Vec<u8>)>, Result<u64, Error>);

    /// Everything that comes out of content of 8192 bytes, data joined.
    fn decode(parts: &[&[u8]]) -> Result<Decoded, Error> {
        let mut data = Vec::<(u64, Vec<u8>)>::new();
        let mut decoder = Decoder::new(8192);
        for mut part in parts.iter().copied() {
            while let Some(piece) = decoder.next(&mut part)? {
                let Piece::Data(at, bytes) = piece else {
                    unreachable!("no frame of zeros in whole content");
                };
                match data.last_mut() {
                    Some((start, all)) if *start + all.len() as u64 == at => {
                        all.extend_from_slice(bytes);
                    }
                    _ => data.push((at, bytes.to_vec())),
                }
            }
        }
        Ok((data, decoder.end()))
    }

    #[test]
    fn frames_come_out_as_they_went_in_wherever_they_are_cut() {
        let whole = [
            frame(512, b"first"),
            frame(4096, b"second"),
            frame(8192, b""),
        ]
        .concat();
        let wanted = vec![(512, b"first".to_vec()), (4096, b"second".to_vec())];
        for cut in 0..=whole.len() {
            let (left, right) = whole.split_at(cut);
            let (data, end) = decode(&[left, right]).unwrap();
            assert_eq!((data, end), (wanted.clone(), Ok(8192)), "cut at {cut}");
        }
        let bytes: Vec<&[u8]> = whole.chunks(1).collect();
        assert_eq!(decode(&bytes).unwrap().0, wanted);
    }

    #[test]
    fn zeros_are_frames_of_a_change_only() {
        let long = 5 << 40;
        let parts = [
            frame(0, b"data"),
            zeros_header(4096, long).to_vec(),
            frame(8192 + long, b""),
        ];
        let whole = parts.concat();
        for cut in 0..=whole.len() {
            let (mut pieces, mut decoder) = (Vec::new(), Decoder::delta(8192 + long));
            for mut part in [&whole[..cut], &whole[cut..]] {
                while let Some(piece) = decoder.next(&mut part).unwrap() {
                    pieces.push(match piece {
                        Piece::Data(at, bytes) => (at, bytes.len() as u64, false),
                        Piece::Zeros(at, length) => (at, length, true),
                    });
                }
            }
            assert_eq!(
                pieces.iter().map(|it| it.1).sum::<u64>(),
                4 + long,
                "cut at {cut}"
            );
            assert_eq!(pieces.last(), Some(&(4096, long, true)));
            assert_eq!(decoder.end(), Ok(8192 + long));
        }
        let zeros = zeros_header(0, 512);
        assert!(
            matches!(decode(&[&zeros]), Err(Error::Long { .. })),
            "whole content"
        );
        let mut beyond = &zeros_header(8192, 512)[..];
        let refused = Decoder::delta(8192).next(&mut beyond);
        assert!(matches!(refused, Err(Error::Beyond { .. })));
    }

    #[test]
    fn a_list_comes_before_the_frames_and_ends_where_they_begin() {
        let list = [
            header(512, 5 << 40),
            zeros_header((5 << 40) + 512, 512),
            header(6 << 40, 0),
        ]
        .concat();
        let whole = [&list[..], b"frames"].concat();
        let extent = |start_bytes, length_bytes, is_zeros| Listed {
            start_bytes,
            length_bytes,
            is_zeros,
        };
        let wanted = [
            extent(512, 5 << 40, false),
            extent((5 << 40) + 512, 512, true),
        ];
        for cut in 0..=whole.len() {
            let (mut found, mut rest) = (Vec::new(), Vec::new());
            let mut taken = List::new(6 << 40, true);
            for mut part in [&whole[..cut], &whole[cut..]] {
                while let Some(extent) = taken.next(&mut part).unwrap() {
                    found.push(extent);
                }
                rest.extend_from_slice(part);
            }
            assert_eq!(found, wanted, "cut at {cut}");
            assert!(taken.has_ended());
            assert_eq!(rest, b"frames", "cut at {cut}");
        }
        let next = |list: &[u8]| List::new(8192, false).next(&mut &list[..]);
        assert!(matches!(next(&header(0, 8193)), Err(Error::Beyond { .. })));
        assert!(matches!(
            next(&zeros_header(0, 512)),
            Err(Error::Beyond { .. })
        ));
        let back = [header(512, 512), header(0, 512)].concat();
        let (mut taken, mut back) = (List::new(8192, false), &back[..]);
        assert!(taken.next(&mut back).unwrap().is_some());
        assert!(matches!(taken.next(&mut back), Err(Error::Order { .. })));
    }

    #[test]
    fn what_no_daemon_would_send_is_refused() {
        let back = [frame(4096, b"a"), frame(0, b"b")].concat();
        assert!(matches!(decode(&[&back]), Err(Error::Order { .. })));
        let over = frame(u64::MAX, b"a");
        assert!(matches!(decode(&[&over]), Err(Error::Beyond { .. })));
        let more = [frame(512, b""), frame(1024, b"a")].concat();
        assert_eq!(decode(&[&more]), Err(Error::Trailing));
        let long = header(0, 1 << 40);
        assert!(matches!(decode(&[&long]), Err(Error::Long { .. })));
        let (_, end) = decode(&[&frame(512, b"a")]).unwrap();
        let at_bytes = 513;
        assert_eq!(end, Err(Error::CutOff { at_bytes }), "it breaks off");
    }
}
