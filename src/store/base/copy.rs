//! The routines that touch memory which a guest or another thread may change at the same moment.
//!
//! A guest may change its memory, and another queue may write the same page, at any moment. So no
//! reference to such bytes is ever made: these routines use instructions about which the compiler
//! can assume nothing. A racing reader gets a mixture of old and new bytes. That is all that the
//! specification promises a driver with two requests for one sector in flight.
#![allow(unsafe_code)]

/// Copy `len` bytes, in any order, while other threads or a guest may touch them.
///
/// # Safety
/// `src` must be mapped readable and `dst` writable for `len` bytes; they must not overlap; no Rust
/// reference to the bytes at `dst` may be in use.
#[inline]
pub(crate) unsafe fn copy(dst: *mut u8, src: *const u8, len: usize) {
    // Headers, descriptors and status bytes: starting a long copy would cost more than they do.
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
    // SAFETY: the same contract.
    unsafe {
        portable::copy(dst, src, len);
    }
}

/// What is copied at once by [`copy_ahead`], and how far ahead of it memory is asked for.
const PIECE_BYTES: usize = 4096;
const AHEAD_BYTES: usize = 2 * PIECE_BYTES;

/// As [`copy`], for a long source that is mostly in no cache near by. A processor doesn't see
/// beyond the end of a page where a long copy goes on; to ask for the memory two pages ahead makes
/// 64 KiB 5 % faster.
///
/// # Safety
/// As [`copy`].
#[inline(never)]
pub(crate) unsafe fn copy_ahead(dst: *mut u8, src: *const u8, len: usize) {
    for at in (0..len).step_by(PIECE_BYTES) {
        let ahead = at + AHEAD_BYTES;
        if ahead < len {
            prefetch(src.wrapping_add(ahead), PIECE_BYTES.min(len - ahead));
        }
        let (dst, src) = (dst.wrapping_add(at), src.wrapping_add(at));
        // SAFETY: the piece lies within the `len` bytes of both that the caller vouches for.
        unsafe { copy(dst, src, PIECE_BYTES.min(len - at)) };
    }
}

/// The same as [`copy`], past the caches where that is possible. It is for a target that is mostly
/// in no cache, and seldom read again soon. Before an ordinary store the processor would read the
/// old bytes from memory; for random copies of 4 KiB that takes almost half of the time.
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

/// Prefetch `len` bytes for a later copy from or to them. Copies of scattered pages wait for memory
/// most of the time, and this overlaps their waits. It is a hint; nothing need be mapped at `ptr`.
#[inline]
pub fn prefetch(ptr: *const u8, len: usize) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        const LINE: usize = 64;
        let line = |offset: usize| {
            // SAFETY: a hint: it changes nothing, and an address that isn't mapped is ignored.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(ptr.wrapping_add(offset).cast()) };
        };
        let mut offset = 0;
        // As written here: a compiler that is asked for small code does not unroll loops.
        while offset + 8 * LINE <= len {
            line(offset);
            line(offset + LINE);
            line(offset + 2 * LINE);
            line(offset + 3 * LINE);
            line(offset + 4 * LINE);
            line(offset + 5 * LINE);
            line(offset + 6 * LINE);
            line(offset + 7 * LINE);
            offset += 8 * LINE;
        }
        while offset < len {
            line(offset);
            offset += LINE;
        }
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = (ptr, len);
}

/// Prefetch a byte for a later write, which takes its cache line from other processors. It is a
/// hint.
#[inline]
pub fn prefetch_write(ptr: *mut u8) {
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

/// Fill `len` bytes with zeros, while other threads or a guest may touch them.
///
/// # Safety
/// `dst` must be mapped writable for `len` bytes, and no Rust reference to them may be in use.
#[inline]
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
    // SAFETY: the same contract.
    unsafe {
        portable::zero(dst, len);
    }
}

/// Routines for machines without their own, and for Miri. They move words where both sides have the
/// same alignment, as pages and most guests' buffers do, and bytes elsewhere.
#[cfg(any(test, not(all(target_arch = "x86_64", not(miri)))))]
mod portable {
    const WORD: usize = size_of::<u64>();

    /// How many bytes come before the first whole word at `ptr`, and how many words are whole.
    fn words(ptr: *const u8, len: usize) -> (usize, usize) {
        let head = ((WORD - ptr.addr() % WORD) % WORD).min(len);
        (head, (len - head) / WORD)
    }

    /// # Safety
    /// As [`super::copy`].
    pub(super) unsafe fn copy(dst: *mut u8, src: *const u8, len: usize) {
        let (head, whole) = words(dst, len);
        let alike = src.addr() % WORD == dst.addr() % WORD;
        let whole = if alike { whole } else { 0 };
        let tail = head + whole * WORD;
        for at in (0..head).chain(tail..len) {
            // SAFETY: `at < len`, and the caller vouches for `len` bytes at `src`.
            let byte = unsafe { src.wrapping_add(at).read_volatile() };
            // SAFETY: `at < len`, and the caller vouches for `len` bytes at `dst`.
            unsafe { dst.wrapping_add(at).write_volatile(byte) };
        }
        for at in (head..tail).step_by(WORD) {
            // SAFETY: the word lies in the `len` bytes that the caller vouches for, and is aligned.
            let word = unsafe { src.wrapping_add(at).cast::<u64>().read_volatile() };
            // SAFETY: as above.
            unsafe { dst.wrapping_add(at).cast::<u64>().write_volatile(word) };
        }
    }

    /// # Safety
    /// As [`super::zero`].
    pub(super) unsafe fn zero(dst: *mut u8, len: usize) {
        let (head, whole) = words(dst, len);
        let tail = head + whole * WORD;
        for at in (0..head).chain(tail..len) {
            // SAFETY: `at < len`, and the caller vouches for `len` bytes at `dst`.
            unsafe { dst.wrapping_add(at).write_volatile(0) };
        }
        for at in (head..tail).step_by(WORD) {
            // SAFETY: the word lies in the `len` bytes that the caller vouches for, and is aligned.
            unsafe { dst.wrapping_add(at).cast::<u64>().write_volatile(0) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Offsets of source and target, and lengths, around whole words and around the routines'
    /// bounds.
    fn cases() -> impl Iterator<Item = (usize, usize, usize)> {
        let long = [
            PIECE_BYTES,
            AHEAD_BYTES + 1,
            3 * PIECE_BYTES - 1,
            20_000,
            MOST_BYTES,
        ];
        let lens = move || (0..34).chain([63, 64, 65, 512, 520, 576]).chain(long);
        let offsets = |from| (0..9).map(move |to| (from, to));
        let places = (0..9).flat_map(offsets);
        places.flat_map(move |(from, to)| lens().map(move |len| (from, to, len)))
    }

    const MOST_BYTES: usize = 20_480;
    const ROOM_BYTES: usize = MOST_BYTES + 64;

    type Copy = unsafe fn(*mut u8, *const u8, usize);
    type Zero = unsafe fn(*mut u8, usize);

    #[test]
    fn copies_move_exactly_the_bytes_that_were_asked_for() {
        let source: Vec<u8> = (1..=200).cycle().take(ROOM_BYTES).collect();
        for copy in [copy as Copy, copy_ahead, copy_past_caches, portable::copy] {
            for (from, to, len) in cases() {
                let mut target = vec![0; ROOM_BYTES];
                let at = target.as_mut_ptr().wrapping_add(to);
                // SAFETY: both ranges lie in their vectors, which no other thread uses.
                unsafe { copy(at, source.as_ptr().wrapping_add(from), len) };
                let mut expected = vec![0; ROOM_BYTES];
                expected[to..to + len].copy_from_slice(&source[from..from + len]);
                assert_eq!(target, expected, "{len} bytes from {from} to {to}");
            }
        }
    }

    #[test]
    fn zeroing_touches_exactly_the_bytes_that_were_asked_for() {
        for zero in [zero as Zero, portable::zero] {
            for (_, to, len) in cases().filter(|(from, ..)| *from == 0) {
                let mut target = vec![7; ROOM_BYTES];
                // SAFETY: the range lies in the vector, which no other thread uses.
                unsafe { zero(target.as_mut_ptr().wrapping_add(to), len) };
                let mut expected = vec![7; ROOM_BYTES];
                expected[to..to + len].fill(0);
                assert_eq!(target, expected, "{len} bytes from {to}");
            }
        }
    }
}
