//! Drivers by others against the built program: virtio-driver and blkio. They know nothing of
//! ramblk, so a mistake that our driver and our device have in common shows here.

mod answers;
mod front;
mod memory;

use std::ops::Range;

use libc::EIO;

use front::{Ask, BUFFERS, Front, KINDS, Kind, Queue, Ramblk, one_piece};
use memory::Shared;

/// Size of each disk here, in bytes.
const DISK: usize = 64 << 20;

/// Maximum number of buffers in one request.
const SEGMENTS: usize = 126;

/// Splitmix64: the same numbers in each run.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }
}

/// Bytes that depend on place and seed.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut dice = Dice(seed);
    let words = (0..len.div_ceil(8)).flat_map(|_| dice.next().to_le_bytes());
    words.take(len).collect()
}

fn assert_same(found: &[u8], model: &[u8], what: &str) {
    let wrong = (0..model.len()).find(|&at| found[at] != model[at]);
    assert_eq!(wrong, None, "first wrong byte, {what}");
}

/// Apply a successful request to the model of the bytes at `base`.
fn settle(ask: &Ask, memory: &Shared, model: &mut [u8], base: u64) {
    let place = |at: u64, len: usize| {
        let at = usize::try_from(at - base).unwrap();
        at..at + len
    };
    match ask {
        Ask::Read(at, pieces) => {
            let found = memory.gather(pieces);
            let model = &model[place(*at, found.len())];
            assert_same(&found, model, &format!("{ask:?}"));
        }
        Ask::Write(at, pieces) => {
            let bytes = memory.gather(pieces);
            model[place(*at, bytes.len())].copy_from_slice(&bytes);
        }
        Ask::Flush => {}
        Ask::Discard(at, len) | Ask::Zeroes { at, len, .. } => {
            model[place(*at, usize::try_from(*len).unwrap())].fill(0);
        }
    }
}

fn assert_disk(front: &mut Front, model: &[u8], what: &str) {
    let step = 4 << 20;
    for (at, chunk) in (0..).step_by(step).zip(model.chunks(step)) {
        let found = front.read(0, at, chunk.len());
        assert_same(&found, chunk, &format!("{what}, chunk at {at}"));
    }
}

#[test]
fn each_kind_of_request_does_what_it_says_and_spares_its_neighbours() {
    for (kind, block) in KINDS.into_iter().flat_map(|k| [(k, 512), (k, 4096_u64)]) {
        let ramblk = Ramblk::run(&["--block-size", &block.to_string()]);
        let mut front = Front::new(kind, &ramblk, 1, 128);
        let len = 64 * usize::try_from(block).unwrap();
        // The beginning, around a multiple of 2 MiB, and the very end.
        for base in [0, (2 << 20) - 32 * block, (DISK - len) as u64] {
            let mut model = noise(base, len);
            front.write(0, base, &model);
            let at = |blocks: u64| base + blocks * block;
            let zeroes = |from, blocks, unmap| Ask::Zeroes {
                at: at(from),
                len: blocks * block,
                unmap,
            };
            let bytes = one_piece(1 << 20, len / 4);
            front.memory.scatter(&bytes, &noise(7, len / 4));
            let write = |from| Ask::Write(at(from), bytes.clone());
            for ask in [
                zeroes(3, 1, false),
                zeroes(5, 1, true),
                Ask::Discard(at(7), block),
                write(20),
                Ask::Flush,
                zeroes(29, 17, false),
                write(40),
                zeroes(27, 19, true),
                write(33),
                Ask::Discard(at(31), 33 * block),
                write(48),
                Ask::Discard(at(0), 2 * block),
            ] {
                let what = format!("{kind:?}, blocks of {block} from {base}: {ask:?}");
                assert_eq!(front.ask(0, &ask), 0, "{what}");
                settle(&ask, &front.memory, &mut model, base);
                assert_same(&front.read(0, base, len), &model, &what);
            }
        }
    }
}

/// A slot's share of the disk and of the buffers in the test of mixed requests.
const STRIPE: usize = 256 << 10;
const SLOT: usize = 32 << 10;
const SLOTS: usize = DISK / STRIPE;

fn mixed_ask(dice: &mut Dice, slot: usize, block: usize, memory: &Shared) -> Ask {
    let blocks = STRIPE / block;
    let from = dice.below(blocks);
    let at = (slot * STRIPE + from * block) as u64;
    let len = (1 + dice.below(blocks - from)) * block;
    let buffer_len = len.min(SLOT);
    let buffer = one_piece(slot * SLOT, buffer_len);
    match dice.below(16) {
        0 => Ask::Flush,
        1 => Ask::Discard(at, len as u64),
        kind @ (2 | 3) => Ask::Zeroes {
            at,
            len: len as u64,
            unmap: kind == 2,
        },
        4..=9 => {
            memory.scatter(&buffer, &noise(dice.next(), buffer_len));
            Ask::Write(at, buffer)
        }
        _ => {
            memory.scatter(&buffer, &vec![0xA5; buffer_len]);
            Ask::Read(at, buffer)
        }
    }
}

/// Keep a request in flight in every stripe of `model`. The first stripe is that of slot `first`.
fn mix(queue: &mut dyn Queue, memory: &Shared, first: usize, model: &mut [u8], block: usize) {
    let mut dice = Dice(first as u64);
    let mut asked: Vec<Ask> = Vec::new();
    for slot in first..first + model.len() / STRIPE {
        asked.push(mixed_ask(&mut dice, slot, block, memory));
        queue.send(memory, &asked[slot - first], slot);
    }
    assert!(asked.len() > 32, "not deep enough");
    let mut more = 2000;
    let mut flying = asked.len();
    while flying > 0 {
        for (slot, result) in queue.wait(1) {
            let ask = &mut asked[slot - first];
            assert_eq!(result, 0, "{ask:?}");
            let base = (first * STRIPE) as u64;
            settle(ask, memory, model, base);
            flying -= 1;
            if more > 0 {
                *ask = mixed_ask(&mut dice, slot, block, memory);
                queue.send(memory, ask, slot);
                more -= 1;
                flying += 1;
            }
        }
    }
}

#[test]
fn mixed_requests_of_four_queues_at_once_leave_the_disk_as_a_model_says() {
    for (kind, block) in KINDS.into_iter().flat_map(|k| [(k, 512), (k, 4096)]) {
        let ramblk = Ramblk::run(&["--block-size", &block.to_string()]);
        let mut front = Front::new(kind, &ramblk, 4, 256);
        let mut model = vec![0; DISK];
        let memory = &front.memory;
        const { assert!(SLOTS * SLOT <= BUFFERS) };
        std::thread::scope(|scope| {
            let parts = model.chunks_mut(DISK / 4);
            for (at, (queue, model)) in front.queues.iter_mut().zip(parts).enumerate() {
                scope.spawn(move || mix(queue.as_mut(), memory, at * SLOTS / 4, model, block));
            }
        });
        let what = format!("{kind:?}, blocks of {block}");
        assert_disk(&mut front, &model, &what);
    }
}

/// Write and then read a sector in each of `depth` slots again and again; sectors between them stay
/// unchanged.
fn churn(kind: Kind, ring: u16, depth: usize, requests: usize) {
    let ramblk = Ramblk::run(&[]);
    let mut front = Front::new(kind, &ramblk, 1, ring);
    let mut model = noise(1, depth * 1024);
    for (at, chunk) in (0..).step_by(BUFFERS).zip(model.chunks(BUFFERS)) {
        front.write(0, at, chunk);
    }
    let buffer = |slot: usize| one_piece(slot * 512, 512);
    let write = |slot: usize, round: usize, memory: &Shared| {
        memory.scatter(&buffer(slot), &noise((round * depth + slot) as u64, 512));
        Ask::Write(slot as u64 * 1024, buffer(slot))
    };
    let (memory, queue) = (&front.memory, &mut front.queues[0]);
    let mut asked: Vec<Ask> = (0..depth).map(|slot| write(slot, 0, memory)).collect();
    for (slot, ask) in asked.iter().enumerate() {
        queue.send(memory, ask, slot);
    }
    let (mut sent, mut done) = (depth, 0);
    while done < sent {
        for (slot, result) in queue.wait(1) {
            let ask = &asked[slot];
            assert_eq!(result, 0, "{kind:?}, ring of {ring}: {ask:?}");
            settle(ask, memory, &mut model, 0);
            done += 1;
            if sent < requests {
                asked[slot] = if matches!(ask, Ask::Write(..)) {
                    memory.scatter(&buffer(slot), &[0xA5; 512]);
                    Ask::Read(slot as u64 * 1024, buffer(slot))
                } else {
                    write(slot, sent, memory)
                };
                queue.send(memory, &asked[slot], slot);
                sent += 1;
            }
        }
    }
    assert_eq!(done, requests);
    assert_disk(&mut front, &model, &format!("{kind:?}, ring of {ring}"));
}

#[test]
fn a_full_ring_goes_on_when_its_indices_wrap() {
    for kind in KINDS {
        churn(kind, 128, 42, 70_000);
    }
}

#[test]
fn rings_may_be_tiny_or_hold_ten_thousand_requests_in_flight() {
    for kind in KINDS {
        churn(kind, 4, 1, 1000);
        churn(kind, 32, 10, 2000);
        churn(kind, 1024, 341, 4000);
        churn(kind, 32768, 10_900, 30_000);
    }
}

#[test]
fn a_request_may_have_as_many_buffers_as_the_device_says() {
    for kind in KINDS {
        let ramblk = Ramblk::run(&[]);
        let mut front = Front::new(kind, &ramblk, 1, 128);
        let mut pieces: Vec<Range<usize>> = (0..SEGMENTS)
            .map(|at| at * 5001..at * 5001 + 1 + at * 13)
            .collect();
        // A last piece that completes a whole number of sectors, in no particular order in memory.
        let total: usize = pieces.iter().map(Range::len).sum();
        pieces[SEGMENTS - 1].end += total.next_multiple_of(512) - total;
        pieces.reverse();
        let total = pieces.iter().map(Range::len).sum();
        let bytes = noise(3, total);
        front.memory.scatter(&pieces, &bytes);
        assert_eq!(front.ask(0, &Ask::Write(512, pieces.clone())), 0);
        assert_same(&front.read(0, 512, total), &bytes, "written from pieces");
        front.memory.scatter(&pieces, &vec![0xA5; total]);
        assert_eq!(front.ask(0, &Ask::Read(512, pieces.clone())), 0);
        assert_same(&front.memory.gather(&pieces), &bytes, "read into pieces");
    }
}

#[test]
fn every_queue_sees_what_the_others_wrote() {
    for kind in KINDS {
        let ramblk = Ramblk::run(&["--queues", "16"]);
        let mut front = Front::new(kind, &ramblk, 16, 64);
        for queue in 0..16 {
            let bytes = noise(queue as u64, 8192);
            front.write(queue, queue as u64 * 8192, &bytes);
            let found = front.read((queue + 5) % 16, queue as u64 * 8192, 8192);
            assert_same(&found, &bytes, &format!("{kind:?}, queue {queue}"));
        }
    }
}

#[test]
fn the_next_driver_finds_what_the_last_one_left() {
    let ramblk = Ramblk::run(&[]);
    let mut model = vec![0; 8 * KINDS.len() * 4096];
    for (turn, kind) in (0..).zip(KINDS.into_iter().cycle().take(2 * KINDS.len())) {
        let mut front = Front::new(kind, &ramblk, 2, 64);
        let found = front.read(0, 0, model.len());
        assert_same(&found, &model, &format!("{kind:?}, turn {turn}"));
        let at = turn * 3 * 4096 + 512;
        let bytes = noise(turn as u64, 4096);
        front.write(1, at as u64, &bytes);
        model[at..at + 4096].copy_from_slice(&bytes);
    }
}

#[test]
fn requests_off_the_disk_fail_as_a_whole_and_the_queue_goes_on() {
    for kind in KINDS {
        let ramblk = Ramblk::run(&[]);
        let mut front = Front::new(kind, &ramblk, 1, 64);
        let end = DISK as u64;
        let model = noise(9, 4096);
        front.write(0, end - 4096, &model);
        let (buffer, odd) = (one_piece(65536, 4096), one_piece(65536, 700));
        let zeroes = |at, len, unmap| Ask::Zeroes { at, len, unmap };
        for ask in [
            Ask::Read(end, buffer.clone()),
            Ask::Read(end - 512, buffer.clone()),
            Ask::Read(0, odd.clone()),
            Ask::Write(end, buffer.clone()),
            Ask::Write(end - 2048, buffer.clone()),
            Ask::Write(end - 4096, odd),
            Ask::Write(u64::MAX - 511, buffer),
            Ask::Discard(end - 2048, 4096),
            Ask::Discard(end, 512),
            zeroes(end - 2048, 4096, true),
            zeroes(end - 2048, 4096, false),
            zeroes(0, end + 512, false),
        ] {
            let what = format!("{kind:?}: {ask:?}");
            assert_eq!(front.ask(0, &ask), -EIO, "{what}");
            assert_same(&front.read(0, end - 4096, 4096), &model, &what);
        }
    }
}

#[test]
fn memory_may_come_and_go_while_the_queues_are_up() {
    for kind in KINDS {
        let ramblk = Ramblk::run(&[]);
        let mut front = Front::new(kind, &ramblk, 2, 64);
        let ask = |front: &mut Front, memory: &Shared, queue: usize, ask: &Ask| {
            front.queues[queue].send(memory, ask, 1);
            front.queues[queue].wait(1)[0].1
        };
        for turn in 0..40 {
            let bytes = noise(turn, 65536);
            // Anywhere in their files, as the memory of a VMM often is.
            let one = Shared::new(65536, turn * 4096);
            let two = Shared::new(65536, (40 - turn) * 4096);
            let all = one_piece(0, 65536);
            front.device.map(&one);
            one.scatter(&all, &bytes);
            let write = Ask::Write(turn * 4096, all.clone());
            assert_eq!(ask(&mut front, &one, 0, &write), 0, "{kind:?}");
            front.device.map(&two);
            front.device.unmap(&one);
            let read = Ask::Read(turn * 4096, all.clone());
            assert_eq!(ask(&mut front, &two, 1, &read), 0, "{kind:?}");
            assert_same(&two.gather(&all), &bytes, &format!("{kind:?}, turn {turn}"));
            // Removed memory can't be used, and the rest still can.
            assert_eq!(ask(&mut front, &one, 0, &write), -EIO, "{kind:?}");
            let found = front.read(0, turn * 4096, 65536);
            assert_same(&found, &bytes, &format!("{kind:?}, turn {turn}"));
            front.device.unmap(&two);
        }
    }
}
