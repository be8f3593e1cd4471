//! Pieces of memory that payload bytes come from and go to.
//!
//! A piece is a pointer and a length. No reference to its bytes is ever made, since other threads
//! or a guest may change them at any moment. Only [`copy`](super::copy) touches them.
#![allow(unsafe_code)]

use std::marker::PhantomData;

use super::copy::{copy, prefetch_write, zero};

/// Host memory that bytes are read from for as long as `'a` lasts.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    ptr: *const u8,
    len: usize,
    _life: PhantomData<&'a u8>,
}

/// Host memory that bytes are written to for as long as `'a` lasts.
#[derive(Clone, Copy, Debug)]
pub struct Sink<'a> {
    ptr: *mut u8,
    len: usize,
    _life: PhantomData<&'a u8>,
}

impl<'a> Source<'a> {
    /// A piece of memory that a guest or another thread may change meanwhile.
    ///
    /// # Safety
    /// `ptr` must be mapped readable for `len` bytes for all of `'a`.
    pub unsafe fn new(ptr: *const u8, len: usize) -> Self {
        Self {
            ptr,
            len,
            _life: PhantomData,
        }
    }

    /// Copy as many bytes as both have into `out`. Returns how many.
    #[inline]
    pub fn copy_to(self, out: &mut [u8]) -> usize {
        let n = self.len.min(out.len());
        // SAFETY: `n` is within both lengths; the source is mapped by the contract of `new`, and
        // `out` is exclusively ours.
        unsafe { copy(out.as_mut_ptr(), self.ptr, n) };
        n
    }

    pub(crate) fn as_ptr(self) -> *const u8 {
        self.ptr
    }
}

impl<'a> From<&'a [u8]> for Source<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self {
            ptr: bytes.as_ptr(),
            len: bytes.len(),
            _life: PhantomData,
        }
    }
}

impl<'a> Sink<'a> {
    /// A piece of memory that a guest or another thread may read and change meanwhile.
    ///
    /// # Safety
    /// `ptr` must be mapped writable for `len` bytes for all of `'a`, and no Rust reference to
    /// those bytes may be in use meanwhile.
    pub unsafe fn new(ptr: *mut u8, len: usize) -> Self {
        Self {
            ptr,
            len,
            _life: PhantomData,
        }
    }

    /// Copy as many bytes as both have from `bytes`. Returns how many.
    pub fn copy_from(self, bytes: &[u8]) -> usize {
        let n = self.len.min(bytes.len());
        // SAFETY: `n` is within both lengths; the sink is mapped by the contract of `new`.
        unsafe { copy(self.ptr, bytes.as_ptr(), n) };
        n
    }

    /// Prefetch the first byte for a later write.
    pub fn prefetch(self) {
        prefetch_write(self.ptr);
    }

    /// Fill with zeros.
    pub fn fill_zero(self) {
        if cfg!(ramblk_null) {
            return;
        }
        // SAFETY: the sink is mapped for its length by the contract of `new`.
        unsafe { zero(self.ptr, self.len) };
    }

    /// Undo a [`Piece::split_at`], even if `self` was cut again since: the piece from the start of
    /// `self` to the end of `tail`. Returns `tail` if it does not follow `self`.
    pub(crate) fn join(self, tail: Self) -> Self {
        if self.ptr.wrapping_add(self.len) != tail.ptr {
            return tail;
        }
        Self {
            len: self.len + tail.len,
            ..self
        }
    }

    pub(crate) fn as_ptr(self) -> *mut u8 {
        self.ptr
    }
}

impl<'a> From<&'a mut [u8]> for Sink<'a> {
    fn from(bytes: &'a mut [u8]) -> Self {
        Self {
            ptr: bytes.as_mut_ptr(),
            len: bytes.len(),
            _life: PhantomData,
        }
    }
}

/// A piece, and the direction of its bytes.
#[derive(Clone, Copy, Debug)]
pub enum Data<'a> {
    /// Bytes to write to a disk.
    Out(Source<'a>),
    /// Room for bytes of a disk.
    In(Sink<'a>),
}

impl Data<'_> {
    /// Length in bytes.
    pub fn len(&self) -> usize {
        match self {
            Self::Out(from) => from.len,
            Self::In(to) => to.len,
        }
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What [`Source`] and [`Sink`] have in common.
pub trait Piece: Copy {
    /// Length in bytes.
    fn len(self) -> usize;

    /// Cut it in two at `mid`, or at its end if `mid` is larger.
    fn split_at(self, mid: usize) -> (Self, Self);

    /// Whether it is empty.
    fn is_empty(self) -> bool {
        self.len() == 0
    }
}

impl Piece for Source<'_> {
    fn len(self) -> usize {
        self.len
    }

    fn split_at(self, mid: usize) -> (Self, Self) {
        let mid = mid.min(self.len);
        let tail = Self {
            ptr: self.ptr.wrapping_add(mid),
            len: self.len - mid,
            ..self
        };
        (Self { len: mid, ..self }, tail)
    }
}

impl Piece for Sink<'_> {
    fn len(self) -> usize {
        self.len
    }

    fn split_at(self, mid: usize) -> (Self, Self) {
        let mid = mid.min(self.len);
        let tail = Self {
            ptr: self.ptr.wrapping_add(mid),
            len: self.len - mid,
            ..self
        };
        (Self { len: mid, ..self }, tail)
    }
}

/// The sum of the lengths, in 64 bits: a guest's descriptors can add up to more than 32.
pub fn total_bytes<P: Piece>(pieces: &[P]) -> u64 {
    pieces.iter().map(|piece| piece.len() as u64).sum()
}

const ZEROS: [u8; 512] = [0; 512];

/// Whether all bytes are zero.
pub fn is_zero(bytes: &[u8]) -> bool {
    let mut chunks = bytes.chunks(ZEROS.len());
    chunks.all(|chunk| *chunk == ZEROS[..chunk.len()])
}

/// Iterates over a list of pieces, a given number of bytes at a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a, T> {
    rest: &'a [T],
    current: Option<T>,
}

impl<'a, P: Piece> Cursor<'a, P> {
    pub(crate) fn new(pieces: &'a [P]) -> Self {
        Self {
            rest: pieces,
            current: None,
        }
    }

    /// The next piece, of at most `max` bytes and at least one; `None` at the end.
    pub(crate) fn next(&mut self, max: usize) -> Option<P> {
        loop {
            match self.current.take() {
                Some(piece) if !piece.is_empty() => {
                    let (head, tail) = piece.split_at(max);
                    self.current = Some(tail);
                    return Some(head);
                }
                _ => {
                    let (first, rest) = self.rest.split_first()?;
                    self.rest = rest;
                    self.current = Some(*first);
                }
            }
        }
    }
}

impl Cursor<'_, Source<'_>> {
    /// Skip the next `len` bytes if all are zero. Returns whether they are.
    pub(crate) fn skip_zeros(&mut self, len: usize) -> bool {
        let mut ahead = *self;
        let mut left = len;
        let mut bytes = [0; ZEROS.len()];
        while left > 0 {
            let Some(piece) = ahead.next(left.min(bytes.len())) else {
                return false;
            };
            let n = piece.copy_to(&mut bytes);
            if !is_zero(&bytes[..n]) {
                return false;
            }
            left -= n;
        }
        *self = ahead;
        true
    }
}

impl Cursor<'_, Sink<'_>> {
    /// Fill the next `len` bytes with zeros (fewer where the pieces end).
    pub(crate) fn fill_zero(&mut self, mut len: usize) {
        while len > 0 {
            let Some(piece) = self.next(len) else { return };
            piece.fill_zero();
            len -= piece.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_that_is_not_zero_is_found_wherever_it_is() {
        for len in [0, 1, 511, 512, 513, 4096] {
            let mut bytes = vec![0; len];
            assert!(is_zero(&bytes));
            for at in [0, len / 2, len.saturating_sub(1)] {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = 1;
                    assert!(!is_zero(&bytes), "byte {at} of {len}");
                    bytes[at] = 0;
                }
            }
        }
    }
}
