//! A look at the requests behind the one that is being served.
//!
//! Everything about a request lies where another processor has just written it or where nobody has
//! been for long: its descriptors, its header, the disk's page. Each is found by reading the one
//! before, and each costs a wait for memory. So a few requests ahead of their turn, one step each
//! time, they are touched: waiting for one request's memory then overlaps with copying another's.
//!
//! What is read here is believed by nobody. A request is read again, once and for all, when it is
//! taken; a guest that changes it in between has only had the wrong memory brought nearer. Nothing
//! here is an error.

use virtio_queue::desc::split::Descriptor;

use super::ring::{F_INDIRECT, F_NEXT, Ring, decode};
use crate::device::HEADER_BYTES;
use crate::store;

/// How far ahead a request's indirect table, its header and its page are touched.
const TABLE: u16 = 6;
const HEADER: u16 = 4;
const PAGE: u16 = 3;
/// A power of two, above all of them.
const KEPT: usize = 8;
const DESC_BYTES: u64 = 16;

/// What is known of a request that comes soon.
#[derive(Clone, Copy, Debug, Default)]
enum Look {
    /// Nothing, or nothing that would help.
    #[default]
    None,
    /// Its descriptors are in a table at this guest address.
    Table(u64),
    /// Its header is at this guest address, and the buffer after it has this length.
    Header(u64, u32),
}

/// How far the looks have come, as positions in the avail ring.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    tables: u16,
    headers: u16,
    pages: u16,
    looks: [Look; KEPT],
}

/// The positions from `done` on that are to be looked at, when the request at `now` comes next,
/// `waiting` are known, and the look is `distance` ahead. `done` is moved behind them.
fn due(done: &mut u16, now: u16, waiting: u16, distance: u16) -> impl Iterator<Item = u16> + use<> {
    let end = waiting.min(distance + 1);
    let ahead = done.wrapping_sub(now);
    // The next request itself is served at once; and a ring that began anew is nowhere near.
    let begin = if ahead > waiting { 1 } else { ahead.max(1) };
    let end = end.max(begin);
    *done = now.wrapping_add(end);
    (begin..end).map(move |offset| now.wrapping_add(offset))
}

impl Ahead {
    /// Take the next steps, when the request at position `now` is to be served and `waiting`
    /// requests are known, it included.
    pub(super) fn run(
        &mut self,
        ring: &Ring,
        now: u16,
        waiting: u16,
        mut expect: impl FnMut([u8; HEADER_BYTES], u32),
    ) {
        for position in due(&mut self.tables, now, waiting, TABLE) {
            *self.look(position) = find_table(ring, position);
        }
        for position in due(&mut self.headers, now, waiting, HEADER) {
            let look = self.look(position);
            *look = find_header(ring, *look);
        }
        for position in due(&mut self.pages, now, waiting, PAGE) {
            if let Look::Header(address, len) = *self.look(position)
                && let Some(header) = ring.read_16(address)
            {
                expect(header, len);
            }
        }
    }

    fn look(&mut self, position: u16) -> &mut Look {
        &mut self.looks[usize::from(position) % KEPT]
    }
}

/// Touch a request's table, if it has one of its own.
fn find_table(ring: &Ring, position: u16) -> Look {
    let head = ring.head(position);
    if head >= ring.size() {
        return Look::None;
    }
    let first = ring.descriptor(head);
    if first.flags() & F_INDIRECT != 0 {
        touch(ring, first.addr().0);
        return Look::Table(first.addr().0);
    }
    let next = Some(first.next()).filter(|&next| first.flags() & F_NEXT != 0 && next < ring.size());
    match next {
        Some(next) => header(ring, first, ring.descriptor(next)),
        None => Look::None,
    }
}

/// Find the header by a table that was touched.
fn find_header(ring: &Ring, look: Look) -> Look {
    let Look::Table(address) = look else {
        return look;
    };
    let second = address.checked_add(DESC_BYTES);
    let descriptors = ring
        .read_16(address)
        .zip(second.and_then(|at| ring.read_16(at)));
    match descriptors {
        Some((first, second)) => header(ring, decode(first), decode(second)),
        None => Look::None,
    }
}

/// Touch a header. Drivers that put more into its buffer are rare, and are left to themselves.
fn header(ring: &Ring, first: Descriptor, second: Descriptor) -> Look {
    if first.len() as usize != HEADER_BYTES {
        return Look::None;
    }
    touch(ring, first.addr().0);
    Look::Header(first.addr().0, second.len())
}

fn touch(ring: &Ring, address: u64) {
    if let Some(range) = ring.memory().host(address, 1) {
        store::expect(range.ptr, 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_position_is_looked_at_once_and_never_the_next_one() {
        let mut done = 0;
        let mut check = |now, waiting, expected: &[u16]| {
            let found: Vec<u16> = due(&mut done, now, waiting, 4).collect();
            assert_eq!(found, expected);
        };
        check(65533, 1, &[]);

        check(65533, 3, &[65534, 65535]);

        check(65533, 9, &[0, 1]);

        check(65534, 8, &[2]);

        check(65535, 7, &[3]);

        check(2, 4, &[4, 5]);

        check(5, 1, &[]);

        check(6, 2, &[7]);
    }
}
