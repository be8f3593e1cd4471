//! Plain requests in batches, with others among them: a back end that takes several at once must do
//! the same as for each alone, in the order of the avail ring.

use std::time::Duration;

use crate::driver::data::{Random, pattern, seed};
use crate::driver::disk::{ALL, DATA, Disk, request_header};
use crate::driver::feature;
use crate::driver::kind::{FLUSH, IN, OUT};
use crate::driver::ring::{INDIRECT, NEXT, Ring, WRITE};
use crate::driver::status::{IOERR, OK, UNTOUCHED};
use crate::harness::Ramblk;

/// How a request is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Plain,
    /// In a table of three, referred to by a descriptor with or without WRITE.
    Table,
    WrittenTable,
    /// One byte more than a header: the first byte of a write's data.
    LongHeader,
    /// Two bytes, the second of which is the status.
    LongStatus,
    NoData,
    TwoBuffers,
    /// Three entries: first, third, second.
    BackwardsTable,
    /// Three entries, the second of which is left out.
    SkippingTable,
    LongTable,
    WrittenHeader,
    /// Flags without a meaning.
    OddFlags,
    /// The header, then a table with the rest.
    HalfTable,
    Flush,
}

const SHAPES: [Shape; 14] = [
    Shape::Plain,
    Shape::Table,
    Shape::WrittenTable,
    Shape::LongHeader,
    Shape::LongStatus,
    Shape::NoData,
    Shape::TwoBuffers,
    Shape::BackwardsTable,
    Shape::SkippingTable,
    Shape::LongTable,
    Shape::WrittenHeader,
    Shape::OddFlags,
    Shape::HalfTable,
    Shape::Flush,
];

/// The number of descriptors, and of memory areas, per request.
const SLOTS: u16 = 4;
const ROOM: u64 = 0x5000;
/// The offsets of its parts.
const STATUS: u64 = 0x100;
const TABLE: u64 = 0x200;
const BUFFER: u64 = 0x1000;
const MOST_DATA: usize = 0x3000;

/// Request number `number` of a batch.
#[derive(Debug)]
struct Request {
    number: u16,
    shape: Shape,
    write: bool,
    sector: u64,
    data: Vec<u8>,
}

/// A descriptor: address, length, flags, and the index of the next one.
type Entry = (u64, u32, u16, u16);

impl Request {
    fn head(&self) -> u16 {
        self.number * SLOTS
    }

    fn base(&self, q: &Ring) -> u64 {
        q.area(DATA) + u64::from(self.number) * ROOM
    }

    /// Whether data is moved.
    fn moves(&self) -> bool {
        !matches!(
            self.shape,
            Shape::NoData | Shape::SkippingTable | Shape::WrittenHeader | Shape::Flush
        )
    }

    /// Header, data and status in consecutive descriptors, starting at `first`.
    fn three(&self, q: &Ring, first: u16) -> [Entry; 3] {
        let base = self.base(q);
        let flags = if self.write { NEXT } else { NEXT | WRITE };
        [
            (base, 16, NEXT, first + 1),
            (base + BUFFER, self.data.len() as u32, flags, first + 2),
            (base + STATUS, 1, WRITE, 0),
        ]
    }

    fn lay_out(&self, q: &Ring) {
        let base = self.base(q);
        let kind = match (self.shape, self.write) {
            (Shape::Flush, _) => FLUSH,
            (_, true) => OUT,
            (_, false) => IN,
        };
        q.mem.write(base, &request_header(kind, self.sector));
        q.mem.fill(base + STATUS, 2, UNTOUCHED);
        q.mem.fill(base + BUFFER, MOST_DATA + 2, 0xdd);
        if self.write {
            q.mem.write(base + BUFFER, &self.data);
        }
        let head = self.head();
        match self.shape {
            Shape::Table
            | Shape::WrittenTable
            | Shape::BackwardsTable
            | Shape::SkippingTable
            | Shape::LongTable => self.lay_out_table(q),
            Shape::HalfTable => {
                let [header, data, status] = self.three(q, 0);
                q.set_desc(head, header.0, 16, NEXT, head + 1);
                q.write_desc(base + TABLE, data.0, data.1, data.2, 1);
                q.write_desc(base + TABLE + 16, status.0, 1, WRITE, 0);
                q.set_desc(head + 1, base + TABLE, 32, INDIRECT, 0);
            }
            _ => {
                for (slot, (addr, len, flags, next)) in (head..).zip(self.direct(q)) {
                    q.set_desc(slot, addr, len, flags, next);
                }
            }
        }
    }

    fn direct(&self, q: &Ring) -> Vec<Entry> {
        let (head, base) = (self.head(), self.base(q));
        let mut list = self.three(q, head).to_vec();
        let len = self.data.len() as u32;
        match self.shape {
            Shape::LongHeader => {
                // The byte behind the header now belongs to it.
                list[0].1 = 17;
                q.mem.write(base + 16, &self.data[..1]);
                if self.write {
                    (list[1].0, list[1].1) = (base + BUFFER + 1, len - 1);
                }
            }
            Shape::LongStatus if self.write => list[2].1 = 2,
            Shape::LongStatus => {
                list[1].1 = len - 1;
                (list[2].0, list[2].1) = (base + BUFFER + u64::from(len) - 1, 2);
            }
            Shape::NoData => list[1].1 = 0,
            Shape::TwoBuffers => {
                let (addr, _, flags, _) = list[1];
                list[1].1 = 256;
                list.insert(2, (addr + 256, len - 256, flags, head + 3));
            }
            Shape::WrittenHeader => list[0].2 |= WRITE,
            Shape::OddFlags => (0..3).for_each(|at| list[at].2 |= 0x8008 << at),
            Shape::Flush => {
                list.remove(1);
            }
            _ => {}
        }
        list
    }

    fn lay_out_table(&self, q: &Ring) {
        let table = self.base(q) + TABLE;
        let [header, data, status] = self.three(q, 0);
        let ((second, third), next) = match self.shape {
            Shape::BackwardsTable => ((2, 1), 2),
            Shape::SkippingTable => ((1, 2), 2),
            _ => ((1, 2), 1),
        };
        q.write_desc(table, header.0, header.1, header.2, next);
        q.write_desc(table + 16 * second, data.0, data.1, data.2, third as u16);
        q.write_desc(table + 16 * third, status.0, status.1, status.2, 0);
        let len = if self.shape == Shape::LongTable {
            64
        } else {
            48
        };
        let extra = if self.shape == Shape::WrittenTable {
            WRITE
        } else {
            0
        };
        q.set_desc(self.head(), table, len, INDIRECT | extra, 0xffff);
    }

    /// Check the status, the used length, and the buffer.
    fn check(&self, q: &Ring, used: u32, disk: &mut [u8], what: &str) {
        let (base, len) = (self.base(q), self.data.len());
        let status_at = match self.shape {
            Shape::LongStatus if self.write => STATUS + 1,
            Shape::LongStatus => BUFFER + len as u64,
            _ => STATUS,
        };
        let status = q.mem.read(base + status_at, 1)[0];
        let expected = match self.shape {
            Shape::WrittenHeader => (IOERR, 0),
            // The byte before the status is not written, so the status can't be counted.
            Shape::LongStatus if self.write => (OK, 0),
            _ if self.moves() && !self.write => (OK, len as u32 + 1),
            _ => (OK, 1),
        };
        assert_eq!((status, used), expected, "{self:?}: {what}");
        if self.shape == Shape::LongStatus && self.write {
            assert_eq!(q.mem.read(base + STATUS, 1), [UNTOUCHED], "{what}");
        }
        let on_disk = &mut disk[self.sector as usize * 512..][..len];
        if self.moves() && self.write {
            on_disk.copy_from_slice(&self.data);
        }
        let found = q.mem.read(base + BUFFER, len);
        let wanted = match (self.write, self.moves()) {
            (true, _) => &self.data[..],
            (false, true) => on_disk,
            (false, false) => &vec![0xdd; len][..],
        };
        assert!(found == wanted, "the buffer of {self:?}: {what}");
    }
}

/// Mostly plain requests, each with its own sectors, starting at `first`.
fn requests(dice: &mut Random, first: u64, count: u16) -> Vec<Request> {
    (0..count)
        .map(|number| {
            let len = 512 * (1 + dice.below(MOST_DATA as u64 / 512) as usize);
            let shape = match dice.below(3) {
                0 => SHAPES[dice.below(SHAPES.len() as u64) as usize],
                1 => Shape::Table,
                _ => Shape::Plain,
            };
            Request {
                number,
                shape,
                write: dice.below(2) == 0,
                sector: first + u64::from(number) * 32 + dice.below(8),
                data: pattern(len, dice.below(256) as u8),
            }
        })
        .collect()
}

/// Publish all requests at once in this order, and check each when it completes.
fn batch(q: &mut Ring, requests: &[Request], order: &[usize], disk: &mut [u8], what: &str) {
    requests.iter().for_each(|request| request.lay_out(q));
    for &at in order {
        q.put(requests[at].head());
    }
    q.publish();
    q.kick();
    for &at in order {
        let used = q.wait();
        let head = u32::from(requests[at].head());
        assert_eq!(used.id, head, "the order of the avail ring: {what}");
        requests[at].check(q, used.len, disk, what);
    }
}

fn shuffled(dice: &mut Random, count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    (1..count).for_each(|at| order.swap(at, dice.below(at as u64 + 1) as usize));
    order
}

#[test]
fn requests_of_all_shapes_in_one_batch_are_served_in_order_and_as_each_alone() {
    let seed = seed();
    let mut dice = Random::new(seed);
    for arguments in [&[][..], &["--in-order"], &["--block-size", "4096"]] {
        for features in [ALL, ALL & !feature::EVENT_IDX] {
            let ramblk = Ramblk::run(arguments);
            let mut disk = Disk::attach_with(ramblk.socket(), features, 1, 256);
            let mut content = vec![0; 2 << 20];
            for round in 0..60 {
                let what = format!("{arguments:?}, round {round}, RAMBLK_SEED={seed}");
                let count = 2 + dice.below(60) as u16;
                let list = requests(&mut dice, 0, count);
                let order = shuffled(&mut dice, list.len());
                batch(disk.q(), &list, &order, &mut content, &what);
            }
            let read = disk.q().read(0, 2 << 20);
            assert!(read == Ok(content), "{arguments:?}, RAMBLK_SEED={seed}");
        }
    }
}

#[test]
fn batches_on_many_queues_are_served_in_order_whoever_serves_them() {
    let seed = seed();
    for arguments in [
        &["--workers", "2"][..],
        &["--workers", "3", "--poll-us", "0"],
    ] {
        let ramblk = Ramblk::run(arguments);
        let mut disk = Disk::attach_with(ramblk.socket(), ALL, 6, 256);
        std::thread::scope(|scope| {
            for q in &mut disk.queues {
                scope.spawn(move || {
                    let mut dice = Random::new(seed + u64::from(q.index));
                    let first = u64::from(q.index) * 4096;
                    let mut content = vec![0; 6 * 4096 * 512];
                    for round in 0..150 {
                        let what = format!("round {round}, RAMBLK_SEED={seed}");
                        let count = 1 + dice.below(40) as u16;
                        let list = requests(&mut dice, first, count);
                        let order = shuffled(&mut dice, list.len());
                        batch(q, &list, &order, &mut content, &what);
                        // Queues that become idle and active again make workers move them.
                        if dice.below(30) == 0 {
                            std::thread::sleep(Duration::from_millis(dice.below(40)));
                        }
                    }
                });
            }
        });
    }
}

#[test]
fn each_shape_between_plain_requests_is_served_as_ever() {
    let ramblk = Ramblk::run(&[]);
    let mut disk = Disk::attach(ramblk.socket());
    let mut content = vec![0; 2 << 20];
    for (shape, write) in SHAPES
        .iter()
        .flat_map(|&shape| [(shape, true), (shape, false)])
    {
        for count in [2, 3, 16, 17, 40] {
            for odd in [0, 1, count / 2, count - 1] {
                let list: Vec<Request> = (0..count)
                    .map(|number| Request {
                        number,
                        shape: if number == odd { shape } else { Shape::Plain },
                        write: if number == odd {
                            write
                        } else {
                            number % 3 == 0
                        },
                        sector: u64::from(number) * 32,
                        data: pattern(4096, number as u8),
                    })
                    .collect();
                let order: Vec<usize> = (0..list.len()).collect();
                let what = format!("number {odd} of {count}");
                batch(disk.q(), &list, &order, &mut content, &what);
            }
        }
    }
}

#[test]
fn plain_requests_before_a_broken_one_are_completed_and_none_after_it() {
    type Damage = fn(&mut Ring);
    let damages: [(&str, Damage); 2] = [
        ("a head outside the table", |q| q.put(256)),
        ("a head far outside the table", |q| q.put(u16::MAX)),
    ];
    let mut dice = Random::new(3);
    for (name, damage) in damages {
        for count in [1, 5, 16, 33] {
            let ramblk = Ramblk::run(&[]);
            let mut disk = Disk::attach(ramblk.socket());
            let mut list = requests(&mut dice, 0, count + 3);
            list.iter_mut()
                .for_each(|request| request.shape = Shape::Plain);
            let mut content = vec![0; 2 << 20];
            let q = disk.q();
            list.iter().for_each(|request| request.lay_out(q));
            let (good, behind) = list.split_at(usize::from(count));
            good.iter().for_each(|request| q.put(request.head()));
            damage(q);
            behind.iter().for_each(|request| q.put(request.head()));
            q.publish();
            q.kick();
            for request in good {
                let used = q.wait();
                assert_eq!(used.id, u32::from(request.head()), "{name}");
                request.check(q, used.len, &mut content, name);
            }
            assert!(q.broken_within(Duration::from_secs(5)), "{name}");
            assert_eq!(q.pop(), None, "{name}");
            for request in behind {
                let status = q.mem.read(request.base(q) + STATUS, 1);
                assert_eq!(status, [UNTOUCHED], "{name}");
            }
        }
    }
}
