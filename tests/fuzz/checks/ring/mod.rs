//! A split ring over memory that the input writes, against a model of one.
//!
//! An input sets up a ring, validly or arbitrarily. Then it acts as a driver, which writes
//! descriptors, tables, indexes or arbitrary bytes, and as a device, which serves, publishes,
//! enables notifications and starts again. The device serves requests one by one, or, as a worker
//! does, the next plain ones together. After each step the ring and its model must agree on what
//! they found, and at the end on every byte of memory.

mod guest;
mod model;
mod plain;

use std::cell::RefCell;

use ramblk::store::{Piece, Sink, Source};
use ramblk::vhost_user::fuzz::{Setup, SplitRing, Step};

use super::bytes::Bytes;
use super::reached::Reached;
use guest::{Extent, Guest, TOP, USER};
use model::{Chain, Model, Next, Stretch};

/// Maximum number of requests in one input: a chain may have as many descriptors as the ring.
const MOST_SERVED: u32 = 64;
const MOST_SERVED_LARGE: u32 = 6;
/// Maximum number of bytes of a request that are read or written.
const MOST_BYTES: usize = 1 << 16;

thread_local! {
    /// Mapped once; each input finds it as good as new.
    static GUESTS: RefCell<[Guest; 2]> =
        RefCell::new([Guest::new(Extent::Small), Guest::new(Extent::Large)]);
}

/// Run one input.
pub(crate) fn check(input: &[u8]) -> Reached {
    GUESTS.with_borrow_mut(|guests| {
        let mut bytes = Bytes::new(input);
        // Large rings take long to compare, so they are rare.
        let size = match bytes.below(64) {
            small @ 0..55 => 1 << (small % 11),
            large @ 55..60 => 1 << (large - 44),
            60 => 0,
            61 => 3,
            62 => 1 << 16,
            _ => bytes.u32(),
        };
        let guest = &mut guests[usize::from(size > 1024)];
        let flags = bytes.u8();
        guest.reset(flags & 4 != 0);
        let setup = place(guest, &mut bytes, size, flags);
        let mut rig = Rig::start(guest, setup);
        while !bytes.is_empty() {
            rig.step(&mut bytes);
        }
        rig.guest.compare();
        rig.reached
    })
}

/// Where the input puts the ring's three parts: in order, or anywhere.
fn place(guest: &mut Guest, bytes: &mut Bytes<'_>, size: u32, flags: u8) -> Setup {
    let n = u64::from(size.clamp(1, 32768));
    let mut setup = Setup {
        size,
        desc: USER,
        avail: USER + n * 16,
        used: USER + (n * 18 + 6).next_multiple_of(4),
        event_idx: flags & 1 != 0,
    };
    if flags & 8 != 0 {
        let index = bytes.u16();
        // The positions of driver and device before the first request.
        if let Some(at) = guest.guest_of(setup.used + 2, 2) {
            guest.write(at, &index.to_le_bytes());
        }
        if let Some(at) = guest.guest_of(setup.avail + 2, 2) {
            guest.write(at, &index.to_le_bytes());
        }
    }
    if flags & 16 != 0 {
        for part in [&mut setup.desc, &mut setup.avail, &mut setup.used] {
            let how = bytes.u8();
            if how == 0xff {
                *part = bytes.u64();
            } else if how & 1 != 0 {
                let region = guest.parts[usize::from(how >> 1) % guest.parts.len()].region;
                let align = 1 << (how >> 4 & 7);
                *part = region.user + u64::from(bytes.u16()) / align * align;
            }
        }
    }
    setup
}

struct Rig<'g> {
    guest: &'g mut Guest,
    setup: Setup,
    /// A ring and its model, if the ring could be set up.
    rings: Option<(SplitRing, Model)>,
    served: u32,
    reached: Reached,
}

impl<'g> Rig<'g> {
    fn start(guest: &'g mut Guest, setup: Setup) -> Self {
        let mut rig = Self {
            guest,
            setup,
            rings: None,
            served: 0,
            reached: Reached::default(),
        };
        rig.restart();
        rig
    }

    /// A new ring at the same place, which continues where the old one stopped.
    fn restart(&mut self) {
        let ring = SplitRing::new(&self.guest.memory, self.setup);
        let model = Model::new(self.guest, self.setup);
        self.rings = match (ring, model) {
            (Ok(ring), Ok(model)) => Some((ring, model)),
            (Err(found), Err(expected)) => {
                assert_eq!(found, expected, "why {:?} is refused", self.setup);
                self.reached.add(expected);
                None
            }
            (ring, model) => panic!("{:?}: {ring:?}, expected {model:?}", self.setup),
        };
    }

    fn step(&mut self, bytes: &mut Bytes<'_>) {
        match bytes.below(12) {
            0 => self.put_descriptor(bytes),
            1 => self.put_chain(bytes),
            2 => self.offer(bytes.u16()),
            3 => {
                let (slot, head) = (bytes.u16(), bytes.u16());
                self.put_avail(4 + u64::from(slot) * 2, head);
            }
            4 => {
                let by = bytes.u16();
                self.put_avail(2, self.avail_index().wrapping_add(by));
            }
            5 => {
                let at = self.address(bytes);
                let len = usize::from(bytes.u8());
                self.guest.write(at, bytes.take(len));
            }
            6 => {
                let flags = bytes.u16();
                self.put_avail(0, flags);
            }
            7 => {
                let event = bytes.u16();
                self.put_avail(4 + u64::from(self.setup.size) * 2, event);
            }
            8 => self.tell(bytes.u8()),
            9 => {
                let flags = bytes.u8();
                self.setup.event_idx = flags & 1 != 0;
                self.restart();
            }
            _ => {
                let (turn, how, len) = (bytes.u8(), bytes.u8(), bytes.u32());
                if turn & 0x80 == 0 {
                    let count = turn & 7;
                    let _ = (0..=count).all(|_| self.serve(how, len));
                } else {
                    self.turn(turn, how, len);
                }
            }
        }
    }

    /// An address near something, or a random one.
    fn address(&self, bytes: &mut Bytes<'_>) -> u64 {
        let how = bytes.u8();
        let parts = &self.guest.parts;
        let region = parts[usize::from(how >> 4) % parts.len()].region;
        match how & 15 {
            0 => bytes.u64(),
            1 => TOP.wrapping_add(u64::from(bytes.u16())),
            2 => self.table(how >> 4),
            3..=5 => (region.guest + region.size_bytes).wrapping_sub(u64::from(bytes.u8())),
            _ => region.guest.wrapping_add(u64::from(bytes.u16())),
        }
    }

    /// The places of indirect tables: well inside, across a border, up to a hole, at the end of
    /// memory.
    fn table(&self, number: u8) -> u64 {
        let parts = &self.guest.parts;
        let end = |at: usize| parts[at].region.guest + parts[at].region.size_bytes;
        match number & 3 {
            0 => end(0) - 0x2000,
            1 => end(0) - 0x18,
            2 => end(1) - 0x28,
            _ => TOP + 0xfd0,
        }
    }

    fn put_descriptor(&mut self, bytes: &mut Bytes<'_>) {
        let which = bytes.u8();
        let index = u64::from(bytes.u8());
        let addr = self.address(bytes);
        let len = match which >> 5 {
            0 => bytes.u32(),
            1 => u32::from(bytes.u8()) * 16,
            2..=4 => u32::from(bytes.u16()),
            _ => u32::from(bytes.u8()),
        };
        let flags = u16::from(bytes.u8());
        let next = u16::from(bytes.u8());
        let Some(table) = self.which_table(which) else {
            return;
        };
        let words = descriptor(addr, len, flags, next);
        self.guest.write(table.wrapping_add(index * 16), &words);
    }

    /// The ring's own table, or one of four others.
    fn which_table(&self, which: u8) -> Option<u64> {
        if which & 4 == 0 {
            self.guest.guest_of(self.setup.desc, 1)
        } else {
            Some(self.table(which))
        }
    }

    /// Descriptors in order, each of which names the next.
    fn put_chain(&mut self, bytes: &mut Bytes<'_>) {
        let which = bytes.u8();
        let first = u16::from(bytes.u8());
        let count = u16::from(bytes.u8());
        let readable = u16::from(bytes.u8());
        let (mut at, len) = (self.address(bytes), bytes.u16() as u32);
        let Some(table) = self.which_table(which) else {
            return;
        };
        let mut words = Vec::new();
        for number in 0..count {
            let more = number + 1 < count || which & 8 != 0;
            let flags = u16::from(more) | u16::from(number >= readable) << 1;
            let next = (first + number).wrapping_add(1);
            words.extend(descriptor(at, len, flags, next));
            at = at.wrapping_add(u64::from(len));
        }
        let from = table.wrapping_add(u64::from(first) * 16);
        self.guest.write(from, &words);
    }

    /// Put `head` at the driver's position, and advance.
    fn offer(&mut self, head: u16) {
        let index = self.avail_index();
        let slots = self.setup.size.clamp(1, 32768) as u16;
        self.put_avail(4 + u64::from(index % slots) * 2, head);
        self.put_avail(2, index.wrapping_add(1));
    }

    fn avail_index(&self) -> u16 {
        let at = self.setup.avail.wrapping_add(2);
        self.guest
            .guest_of(at, 2)
            .map_or(0, |at| self.guest.u16(at))
    }

    fn put_avail(&mut self, offset: u64, value: u16) {
        if let Some(at) = self
            .guest
            .guest_of(self.setup.avail.wrapping_add(offset), 2)
        {
            self.guest.write(at, &value.to_le_bytes());
        }
    }

    /// What a worker does around a batch.
    fn tell(&mut self, how: u8) {
        let Some((ring, model)) = &mut self.rings else {
            return;
        };
        if how & 1 != 0 {
            ring.quiet();
            model.quiet(self.guest);
        }
        if how & 2 != 0 {
            let called = model.publish(self.guest);
            assert_eq!(ring.publish(), called, "whether the driver is called");
            self.reached
                .add(if called { "called" } else { "not called" });
        }
        if how & 4 != 0 {
            let expected = model.listen(self.guest);
            assert_eq!(ring.listen(), expected.map_err(str::to_owned), "listen");
        }
    }

    /// How many more requests may be served.
    fn left(&self) -> u32 {
        let most = match self.setup.size {
            0..=1024 => MOST_SERVED,
            _ => MOST_SERVED_LARGE,
        };
        most - self.served
    }

    /// Serve one request. Returns whether there was one.
    fn serve(&mut self, how: u8, len: u32) -> bool {
        let most = self.left();
        let Some((ring, model)) = self.rings.as_mut().filter(|_| most > 0) else {
            return false;
        };
        self.served += 1;
        let mut calls = 0;
        let expected = model.next(self.guest);
        let mut wrote = Vec::new();
        let unfinished = how & 0xc0 == 0xc0;
        let found = ring.serve_one(|damaged, readable, writable| {
            calls += 1;
            let Next::Serve(chain) = &expected else {
                panic!("a request where there is none: {expected:?}");
            };
            assert_eq!(damaged, chain.damaged, "damaged: {chain:?}");
            compare(self.guest, chain, readable, writable);
            wrote = fill(how, writable);
            if unfinished {
                readable.iter_mut().for_each(|piece| shorten(piece, how));
                writable.iter_mut().for_each(|piece| shorten(piece, how));
                return None;
            }
            Some(len)
        });
        assert_eq!(calls, u32::from(matches!(expected, Next::Serve(_))));
        match expected {
            Next::Dry => assert_eq!(found, Ok(Step::Dry)),
            Next::Broken(error) => {
                assert_eq!(found, Err(error.to_owned()));
                self.reached.add(error);
            }
            Next::Serve(mut chain) => {
                for (stretch, bytes) in chain.writable.iter().zip(&wrote) {
                    self.guest.expect(stretch.at, bytes);
                }
                if unfinished {
                    assert_eq!(found, Ok(Step::Continued), "{chain:?}");
                    let all = chain.readable.iter_mut().chain(&mut chain.writable);
                    all.for_each(|stretch| stretch.shorten(how));
                    model.unfinished = Some(chain);
                    self.reached.add("continued");
                } else {
                    assert_eq!(found, Ok(Step::Completed), "{chain:?}");
                    let len = if chain.gap { 0 } else { len };
                    model.complete(self.guest, chain.head, len);
                    self.reached.add(match chain.fault {
                        Some(fault) => fault,
                        None if chain.damaged => "damaged",
                        None => "served",
                    });
                }
            }
        }
        assert_eq!(ring.position(), model.next_used);
        found.is_ok_and(|step| step != Step::Dry)
    }
}

/// How much of a piece one step of a long request completes and removes from its front.
fn done(len: usize, how: u8) -> usize {
    if how & 0x20 == 0 { len } else { len / 2 }
}

fn shorten(piece: &mut impl Piece, how: u8) {
    *piece = piece.split_at(done(piece.len(), how)).1;
}

impl Stretch {
    fn shorten(&mut self, how: u8) {
        let done = done(self.len, how);
        self.at = self.at.wrapping_add(done as u64);
        self.len -= done;
    }
}

fn descriptor(addr: u64, len: u32, flags: u16, next: u16) -> [u8; 16] {
    let high = u64::from(len) | u64::from(flags) << 32 | u64::from(next) << 48;
    (u128::from(addr) | u128::from(high) << 64).to_le_bytes()
}

/// The pieces are those of the chain, in order, with the expected content.
fn compare(guest: &Guest, chain: &Chain, readable: &[Source<'_>], writable: &[Sink<'_>]) {
    let lens = |list: &[Stretch]| -> Vec<usize> { list.iter().map(|piece| piece.len).collect() };
    let found: Vec<usize> = readable.iter().map(|piece| piece.len()).collect();
    assert_eq!(found, lens(&chain.readable), "readable");
    let found: Vec<usize> = writable.iter().map(|piece| piece.len()).collect();
    assert_eq!(found, lens(&chain.writable), "writable");
    let mut left = MOST_BYTES;
    let mut bytes = Vec::new();
    for (piece, stretch) in readable.iter().zip(&chain.readable) {
        bytes.resize(stretch.len.min(left), 0);
        let n = piece.copy_to(&mut bytes);
        assert_eq!(n, bytes.len());
        assert_eq!(bytes, guest.peek(stretch.at, n), "at {:#x}", stretch.at);
        left -= n;
    }
}

/// Write all, some or none of each writable piece, and return what was written.
fn fill(how: u8, writable: &[Sink<'_>]) -> Vec<Vec<u8>> {
    let most = match how & 3 {
        0 => 0,
        1 => 1,
        2 => 64,
        _ => MOST_BYTES,
    };
    let mut left = MOST_BYTES;
    writable
        .iter()
        .map(|piece| {
            let n = piece.len().min(most).min(left);
            left -= n;
            let bytes: Vec<u8> = (0..n).map(|i| how ^ (i * 7 + i / 256) as u8).collect();
            assert_eq!(piece.copy_from(&bytes), n);
            bytes
        })
        .collect()
}
