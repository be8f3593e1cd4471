//! Memory that payload bytes come from and go to, and the one routine that copies them.
//!
//! A guest may change its memory, and another queue may write the same page, at any moment. So no
//! reference to such bytes is ever made: a piece is a pointer and a length, and [`copy`] and
//! [`zero`] touch it with instructions that the compiler can assume nothing about. What a racing
//! reader gets is some mixture of old and new bytes, which is what the specification promises a
//! driver that has two requests on one sector in flight.
#![allow(unsafe_code)]

use std::marker::PhantomData;

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
    /// Memory that others may change meanwhile.
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

    /// Copy as many bytes as both hold into memory of our own; gives their number.
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
    /// Memory that others may read and change meanwhile.
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

    /// Copy as many bytes as both hold out of memory of our own; gives their number.
    pub fn copy_from(self, bytes: &[u8]) -> usize {
        let n = self.len.min(bytes.len());
        // SAFETY: `n` is within both lengths; the sink is mapped by the contract of `new`.
        unsafe { copy(self.ptr, bytes.as_ptr(), n) };
        n
    }

    /// Have the first byte at hand for who will write it.
    pub fn expect(self) {
        expect_write(self.ptr);
    }

    /// Fill with zeros.
    pub fn fill_zero(self) {
        if cfg!(ramblk_null) {
            return;
        }
        // SAFETY: the sink is mapped for its length by the contract of `new`.
        unsafe { zero(self.ptr, self.len) };
    }

    /// Undo a [`Piece::split_at`] whose first part may have been cut again: from where `self`
    /// begins to the end of `tail`. Gives `tail` if it does not follow.
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

/// A piece, and which way its bytes go.
#[derive(Clone, Copy, Debug)]
pub enum Data<'a> {
    /// To be written to a disk.
    Out(Source<'a>),
    /// To be filled from a disk.
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

    /// Whether it holds no byte.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What [`Source`] and [`Sink`] have in common.
pub trait Piece: Copy {
    /// Length in bytes.
    fn len(self) -> usize;

    /// Cut in two at `mid`, which is brought down to the length.
    fn split_at(self, mid: usize) -> (Self, Self);

    /// Whether it holds no byte.
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

/// Hands out a list of pieces a given number of bytes at a time.
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
    /// Whether the next `len` bytes are zero; they are skipped then.
    pub(crate) fn skip_zeros(&mut self, len: usize) -> bool {
        const STEP: usize = 512;
        let mut ahead = *self;
        let mut left = len;
        let mut bytes = [0; STEP];
        while left > 0 {
            let Some(piece) = ahead.next(left.min(STEP)) else {
                return false;
            };
            let n = piece.copy_to(&mut bytes);
            if bytes[..n] != [0; STEP][..n] {
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

/// Copies `len` bytes, in one direction, whoever else touches them meanwhile.
///
/// # Safety
/// `src` must be mapped readable and `dst` writable for `len` bytes; they must not overlap; no Rust
/// reference to the bytes at `dst` may be in use.
#[inline]
pub(crate) unsafe fn copy(dst: *mut u8, src: *const u8, len: usize) {
    // Headers, descriptors and status bytes: to begin a long copy would cost more than they do.
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    if len <= 64 && len.is_multiple_of(16) {
        for offset in (0..len).step_by(16) {
            // SAFETY: inside the ranges that the caller vouches for; SSE2 is part of the
            // architecture.
            unsafe {
                std::arch::asm!(
                    "movdqu {bytes}, [{src}]",
                    "movdqu [{dst}], {bytes}",
                    bytes = out(xmm_reg) _,
                    src = in(reg) src.wrapping_add(offset),
                    dst = in(reg) dst.wrapping_add(offset),
                    options(nostack, preserves_flags)
                );
            }
        }
        return;
    } else if len == 1 {
        // SAFETY: the caller vouches for the byte at `src`.
        let byte = unsafe { src.read_volatile() };
        // SAFETY: the caller vouches for the byte at `dst`.
        unsafe { dst.write_volatile(byte) };
        return;
    }
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: the caller vouches for both ranges; the direction flag is clear in the Rust ABI.
    unsafe {
        std::arch::asm!(
            "rep movsb",
            inout("rcx") len => _,
            inout("rdi") dst => _,
            inout("rsi") src => _,
            options(nostack, preserves_flags)
        );
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    for i in 0..len {
        // SAFETY: `i < len`, and the caller vouches for `len` bytes at `src`.
        let byte = unsafe { src.wrapping_add(i).read_volatile() };
        // SAFETY: `i < len`, and the caller vouches for `len` bytes at `dst`.
        unsafe { dst.wrapping_add(i).write_volatile(byte) };
    }
}

/// As [`copy`], past the caches where that is possible: for a target that is seldom read again soon
/// and mostly in no cache. An ordinary store would have its old bytes read from memory first; with
/// 4 KiB at random that is almost half of the time.
///
/// # Safety
/// As [`copy`].
pub(crate) unsafe fn copy_past_caches(dst: *mut u8, src: *const u8, len: usize) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    if len >= 512 && len.is_multiple_of(64) && dst.addr().is_multiple_of(16) {
        // SAFETY: the loop touches exactly `len` bytes of both ranges, for which the caller
        // vouches; SSE2 is part of the architecture. The fence makes these stores come before every
        // later one, as other stores do by themselves.
        unsafe {
            std::arch::asm!(
                "2:",
                "movdqu {a}, [{src}]",
                "movdqu {b}, [{src} + 16]",
                "movdqu {c}, [{src} + 32]",
                "movdqu {d}, [{src} + 48]",
                "movntdq [{dst}], {a}",
                "movntdq [{dst} + 16], {b}",
                "movntdq [{dst} + 32], {c}",
                "movntdq [{dst} + 48], {d}",
                "add {src}, 64",
                "add {dst}, 64",
                "sub {len}, 64",
                "jnz 2b",
                "sfence",
                src = inout(reg) src => _,
                dst = inout(reg) dst => _,
                len = inout(reg) len => _,
                a = out(xmm_reg) _,
                b = out(xmm_reg) _,
                c = out(xmm_reg) _,
                d = out(xmm_reg) _,
                options(nostack)
            );
        }
        return;
    }
    // SAFETY: the same contract.
    unsafe { copy(dst, src, len) };
}

/// Begins to bring `len` bytes near, for who will soon copy from or to them: copies of scattered
/// pages wait for memory most of the time, and so they wait together.
pub fn expect(ptr: *const u8, len: usize) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    for offset in (0..len).step_by(64) {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: a hint: it changes nothing, and an address that isn't mapped is ignored.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(ptr.wrapping_add(offset).cast()) };
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = (ptr, len);
}

/// As [`expect`], for a byte that will be written: another processor that has it gives it up.
pub fn expect_write(ptr: *mut u8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a hint: it changes nothing, and an address that isn't mapped is ignored, as is the
    // whole instruction by processors that don't know it.
    unsafe {
        std::arch::asm!(
            "prefetchw [{ptr}]",
            ptr = in(reg) ptr,
            options(nostack, preserves_flags, readonly)
        );
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = ptr;
}

/// Fills `len` bytes with zeros, whoever else touches them meanwhile.
///
/// # Safety
/// `dst` must be mapped writable for `len` bytes, and no Rust reference to them may be in use.
pub(crate) unsafe fn zero(dst: *mut u8, len: usize) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: the caller vouches for the range; the direction flag is clear in the Rust ABI.
    unsafe {
        std::arch::asm!(
            "rep stosb",
            inout("rcx") len => _,
            inout("rdi") dst => _,
            in("al") 0u8,
            options(nostack, preserves_flags)
        );
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    for i in 0..len {
        // SAFETY: `i < len`, and the caller vouches for `len` bytes at `dst`.
        unsafe { dst.wrapping_add(i).write_volatile(0) };
    }
}
