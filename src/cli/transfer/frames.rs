//! `application/vnd.ramblk.extents`: each frame is where it starts and how long it is (two
//! little-endian numbers of 64 bits, in bytes), and its bytes. The last one starts at the end of
//! the disk and is empty.

use crate::client::Bytes;

/// The most bytes of a frame.
pub(super) const MOST_BYTES: usize = 1 << 20;
/// The two numbers.
const HEAD_BYTES: usize = 16;

/// A frame as it goes over the wire.
pub(super) fn frame(start_bytes: u64, bytes: &[u8]) -> Bytes {
    let mut frame = Vec::with_capacity(HEAD_BYTES + bytes.len());
    frame.extend_from_slice(&start_bytes.to_le_bytes());
    frame.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    frame.extend_from_slice(bytes);
    frame.into()
}

/// What comes out of a stream of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Piece<'a> {
    /// Bytes at a place; a frame may come in several pieces.
    Data(u64, &'a [u8]),
    /// The end of the disk, in bytes.
    End(u64),
}

/// Takes frames apart, however they are cut.
#[derive(Debug, Default)]
pub(in crate::cli) struct Decoder {
    head: Vec<u8>,
    /// Where the next byte of the frame at hand belongs.
    at: u64,
    /// Bytes that are left of it.
    left: u64,
    /// Nothing before this comes again.
    beyond: u64,
    ended: bool,
}

impl Decoder {
    /// Whether the last frame has come.
    pub(in crate::cli) fn is_whole(&self) -> bool {
        self.ended
    }

    /// Take the next bytes.
    ///
    /// # Errors
    /// What no daemon would send, in words.
    pub(in crate::cli) fn feed<E: From<&'static str>>(
        &mut self,
        mut bytes: &[u8],
        mut piece: impl FnMut(Piece<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        while !bytes.is_empty() {
            if self.ended {
                return Err("sent more after the end of the disk".into());
            }
            if self.left == 0 {
                let (head, rest) = bytes.split_at(bytes.len().min(HEAD_BYTES - self.head.len()));
                self.head.extend_from_slice(head);
                bytes = rest;
                if self.head.len() == HEAD_BYTES {
                    self.begin().map_err(E::from)?;
                }
                if self.ended {
                    piece(Piece::End(self.at))?;
                }
                continue;
            }
            let most = usize::try_from(self.left).unwrap_or(usize::MAX);
            let (data, rest) = bytes.split_at(bytes.len().min(most));
            piece(Piece::Data(self.at, data))?;
            self.at += data.len() as u64;
            self.left -= data.len() as u64;
            self.beyond = self.at;
            bytes = rest;
        }
        Ok(())
    }

    fn begin(&mut self) -> Result<(), &'static str> {
        let number = |at: usize| {
            let bytes = self.head.get(at..at + 8)?;
            bytes.try_into().ok().map(u64::from_le_bytes)
        };
        let (Some(at), Some(left)) = (number(0), number(8)) else {
            return Err("sent half a frame");
        };
        self.head.clear();
        if at < self.beyond || at.checked_add(left).is_none() || left > MOST_BYTES as u64 {
            return Err("sent frames that are out of order or too long");
        }
        (self.at, self.left, self.ended) = (at, left, left == 0);
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Words(&'static str);
    impl From<&'static str> for Words {
        fn from(words: &'static str) -> Self {
            Self(words)
        }
    }

    /// Pieces of data by their places, and where the end is.
    type Decoded = (Vec<(u64, Vec<u8>)>, Option<u64>);

    /// Everything that comes out, data joined.
    fn decode(parts: &[&[u8]]) -> Result<Decoded, Words> {
        let (mut data, mut end) = (Vec::<(u64, Vec<u8>)>::new(), None);
        let mut decoder = Decoder::default();
        for part in parts {
            decoder.feed(part, |piece| {
                match piece {
                    Piece::End(at) => end = Some(at),
                    Piece::Data(at, bytes) => match data.last_mut() {
                        Some((start, all)) if *start + all.len() as u64 == at => {
                            all.extend_from_slice(bytes);
                        }
                        _ => data.push((at, bytes.to_vec())),
                    },
                }
                Ok::<(), Words>(())
            })?;
        }
        assert_eq!(decoder.is_whole(), end.is_some());
        Ok((data, end))
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
            assert_eq!((data, end), (wanted.clone(), Some(8192)), "cut at {cut}");
        }
        let bytes: Vec<&[u8]> = whole.chunks(1).collect();
        assert_eq!(decode(&bytes).unwrap().0, wanted);
    }

    #[test]
    fn what_no_daemon_would_send_is_refused() {
        let back = [frame(4096, b"a"), frame(0, b"b")].concat();
        let over = [frame(u64::MAX, b"a")].concat();
        let more = [frame(512, b""), frame(1024, b"a")].concat();
        let mut long = frame(0, b"").to_vec();
        long[8..].copy_from_slice(&(1u64 << 40).to_le_bytes());
        for bytes in [back, over, more, long] {
            let Words(why) = decode(&[&bytes]).unwrap_err();
            assert!(why.starts_with("sent "), "{why}");
        }
        let (_, end) = decode(&[&frame(512, b"a")]).unwrap();
        assert_eq!(end, None, "a stream that breaks off is seen");
    }
}
