//! Requests in flight: a ring that records what it takes and returns, is killed between any two
//! stores, and continues.
//!
//! With a region of its own making and a driver that keeps to the rules, every request must
//! complete exactly once, wherever the device was killed. With a region of arbitrary bytes,
//! recovery must end, serve each head at most once and only heads of the ring, and touch nothing
//! else. In both cases memory and region must match the model after each step.
//!
//! A request is one byte for the device to write, or a plain request, of which a worker takes
//! several before it completes the first.

mod device;
mod model;
mod shapes;

use std::fs::File;
use std::os::unix::fs::FileExt;

use ramblk::store::Data;
use ramblk::vhost_user::fuzz::{
    InflightRegion, InflightShape, Memory, Region, Setup, SplitRing, Step,
};
use rustix::fs::MemfdFlags;

use super::bytes::Bytes;
use super::reached::Reached;
use device::Device;
use model::State;

const QUEUES: u16 = 2;
const LARGEST: u16 = 32;
/// Bytes of one queue's part: a header and the entries, up to a multiple of 64.
pub(crate) const QUEUE_BYTES: usize = 576;
/// Where the ring's parts are in guest memory, and the byte that each request has.
pub(crate) const AVAIL: usize = 0x400;
pub(crate) const USED: usize = 0x500;
pub(crate) const DATA: usize = 0x800;
/// Further parts for plain requests: a buffer of one byte each, a header, tables.
pub(crate) const BUFFERS: usize = 0x840;
const HEADER: usize = 0x880;
const TABLES: usize = 0x900;
const TABLE_BYTES: usize = 48;
const MEMORY_BYTES: usize = TABLES + LARGEST as usize * TABLE_BYTES;
const REGION_BYTES: usize = QUEUES as usize * QUEUE_BYTES + 64;
/// The files are larger: the bytes behind must stay zero.
const FILE_BYTES: usize = 0x2000;
const USER: u64 = 0x7f00_0000_0000;
const MOST_STEPS: u32 = 40;

/// Files that all inputs share, mapped once.
struct World {
    memory_file: File,
    memory: Memory,
    region_file: File,
    region: InflightRegion,
}

thread_local! {
    static WORLD: World = World::new();
}

fn memfd(len: usize) -> File {
    let file = rustix::fs::memfd_create("inflight", MemfdFlags::CLOEXEC).unwrap();
    let file = File::from(file);
    file.set_len(len as u64).unwrap();
    file
}

impl World {
    fn new() -> Self {
        let memory_file = memfd(FILE_BYTES);
        let at = Region {
            guest: 0,
            size_bytes: MEMORY_BYTES as u64,
            user: USER,
            file_offset: 0,
        };
        let memory = Memory::new([(at, memory_file.try_clone().unwrap())]).unwrap();
        let region_file = memfd(FILE_BYTES);
        let shape = InflightShape {
            size_bytes: FILE_BYTES as u64,
            offset_bytes: 0,
            queues: QUEUES,
            queue_size: LARGEST,
        };
        let region = InflightRegion::open(shape, &region_file, QUEUES).unwrap();
        Self {
            memory_file,
            memory,
            region_file,
            region,
        }
    }
}

/// Run one input.
pub(crate) fn check(input: &[u8]) -> Reached {
    WORLD.with(|world| {
        let mut bytes = Bytes::new(input);
        let how = bytes.u8();
        let mut reached = Reached::default();
        if how & 0xe0 == 0xe0 {
            shapes::open(&mut bytes, &mut reached);
            return reached;
        }
        let size = 1 << (how & 7).min(5);
        let start = if how & 8 == 0 { 0 } else { bytes.u16() };
        let queue = u16::from(how >> 4 & 1);
        let plain = how & 0x40 != 0;
        let mut memory = vec![0; MEMORY_BYTES];
        lay_out(&mut memory, size, plain);
        for index in [AVAIL + 2, USED + 2] {
            memory[index..index + 2].copy_from_slice(&start.to_le_bytes());
        }
        let wild = how & 0x20 != 0;
        let mut state = State::new(memory, vec![0; REGION_BYTES], queue, size);
        if wild {
            scribble(&mut bytes, &mut state);
        }
        let mut rig = Rig {
            world,
            state,
            queue,
            wild,
            plain,
            device: None,
            driver: Driver {
                seen: start,
                outstanding: vec![false; usize::from(size)],
            },
            reached,
        };
        rig.write();
        rig.restart();
        for _ in 0..MOST_STEPS {
            if bytes.is_empty() {
                break;
            }
            rig.step(&mut bytes);
        }
        rig.finish();
        rig.reached
    })
}

/// Write the descriptors: `plain` requests that read one byte, or one byte that the device writes.
fn lay_out(memory: &mut [u8], size: u16, plain: bool) {
    let mut put = |at: usize, addr: usize, len: u8, flags: u8, next: u8| {
        memory[at..at + 8].copy_from_slice(&(addr as u64).to_le_bytes());
        memory[at + 8] = len;
        memory[at + 12] = flags;
        memory[at + 14] = next;
    };
    for head in 0..usize::from(size) {
        if plain {
            let table = TABLES + head * TABLE_BYTES;
            put(head * 16, table, TABLE_BYTES as u8, 4, 0);
            put(table, HEADER, 16, 1, 1);
            put(table + 16, BUFFERS + head, 1, 3, 2);
            put(table + 32, DATA + head, 1, 2, 0);
        } else {
            put(head * 16, DATA + head, 1, 2, 0);
        }
    }
}

/// A region that something else wrote or damaged, and an avail ring of arbitrary heads.
fn scribble(bytes: &mut Bytes<'_>, state: &mut State) {
    let near = |bytes: &mut Bytes<'_>, usual: u16| match bytes.u8() {
        0..=0xbf => usual,
        0xc0..=0xef => usual.wrapping_add(u16::from(bytes.u8())).wrapping_sub(64),
        _ => bytes.u16(),
    };
    let version = near(bytes, 1);
    state.set_header(model::VERSION, version);
    let size = near(bytes, state.size);
    state.set_header(model::DESC_NUM, size);
    let last = near(bytes, u16::from(bytes.clone().u8()) % state.size);
    state.set_header(model::LAST, last);
    let returned = u16::from(bytes.u8()) % (state.size + 2);
    let noted = near(bytes, state.used_index().wrapping_sub(returned));
    state.set_header(model::NOTED, noted);
    let entries = bytes.below(40);
    for _ in 0..entries {
        let head = u16::from(bytes.u8()) % state.size;
        let at = state.entry(head);
        let mark = bytes.u8();
        state.region[at] = if mark & 3 == 3 { mark } else { 1 };
        let next = near(bytes, u16::from(mark >> 2) % state.size);
        state.region[at + 6..at + 8].copy_from_slice(&next.to_le_bytes());
        let counter = match bytes.u8() {
            0xff => bytes.u64(),
            counter => u64::from(counter & 15),
        };
        state.region[at + 8..at + 16].copy_from_slice(&counter.to_le_bytes());
    }
    state.begin();
}

struct Driver {
    /// The used index up to which the driver has looked.
    seen: u16,
    outstanding: Vec<bool>,
}

struct Rig<'w> {
    world: &'w World,
    state: State,
    queue: u16,
    wild: bool,
    /// Whether requests are plain.
    plain: bool,
    /// `None` if the region or the ring can't be used.
    device: Option<Device>,
    driver: Driver,
    reached: Reached,
}

impl Rig<'_> {
    fn write(&self) {
        self.world
            .memory_file
            .write_all_at(&self.state.memory, 0)
            .unwrap();
        self.world
            .region_file
            .write_all_at(&self.state.region, 0)
            .unwrap();
    }

    fn compare(&self) {
        let mut found = [0; MEMORY_BYTES];
        self.world.memory_file.read_exact_at(&mut found, 0).unwrap();
        assert!(found[..] == self.state.memory, "guest memory differs");
        let mut found = [0; REGION_BYTES];
        self.world.region_file.read_exact_at(&mut found, 0).unwrap();
        if found[..] != self.state.region {
            let at = (0..REGION_BYTES).find(|&at| found[at] != self.state.region[at]);
            panic!("byte {at:?} of the region differs");
        }
    }

    /// A new process, which finds what the last one left.
    fn restart(&mut self) {
        self.device = None;
        let setup = Setup {
            size: self.state.size.into(),
            desc: USER,
            avail: USER + AVAIL as u64,
            used: USER + USED as u64,
            event_idx: false,
        };
        let mut ring = SplitRing::new(&self.world.memory, setup).unwrap();
        let tracked = ring.track(&self.world.region, self.queue);
        let used = self.state.used_index();
        match self.state.recover() {
            Ok(unreturned) => {
                assert_eq!(tracked, Ok(()));
                let counters = unreturned.iter().map(|&head| self.state.counter(head));
                let counter = counters.max().map_or(0, |last| last.wrapping_add(1));
                self.reached.add(if unreturned.is_empty() {
                    "clean"
                } else {
                    "recovered"
                });
                let next_avail = used.wrapping_add(unreturned.len() as u16);
                self.device = Some(Device {
                    ring,
                    next_avail,
                    seen_avail: next_avail,
                    unreturned,
                    next_used: used,
                    counter,
                    batch: Vec::new(),
                    current: None,
                });
            }
            Err(error) => {
                assert_eq!(tracked, Err(error.to_owned()));
                assert!(self.wild, "a region of our own is refused: {error}");
                self.reached.add(error);
            }
        }
        self.state.begin();
    }

    fn step(&mut self, bytes: &mut Bytes<'_>) {
        let what = bytes.u8();
        match what & 7 {
            0 | 1 => self.offer(bytes),
            2..=4 => {
                let answer = bytes.u8();
                self.serve_as(what, answer);
            }
            5 => self.publish(),
            6 => self.restart(),
            _ => {
                // Killed between two stores of the next step.
                let before = self.state.clone();
                let count = usize::from(bytes.u8());
                if what & 8 == 0 {
                    self.publish();
                } else if self.serve_as(what, count as u8) > 1 {
                    self.reached.add("killed amid several");
                }
                self.compare();
                let count = count % (self.state.stores() + 1);
                self.state = self.state.after(&before, count);
                self.write();
                self.restart();
                self.reached.add("killed");
            }
        }
        self.state.begin();
        self.compare();
        self.look();
    }

    /// The driver puts requests into the avail ring.
    fn offer(&mut self, bytes: &mut Bytes<'_>) {
        let head = u16::from(bytes.u8());
        let head = if self.wild {
            head
        } else {
            head % self.state.size
        };
        if !self.wild && std::mem::replace(&mut self.driver.outstanding[usize::from(head)], true) {
            return;
        }
        let index = self.state.avail_index();
        let at = AVAIL + 4 + usize::from(index % self.state.size) * 2;
        for (at, value) in [(at, head), (AVAIL + 2, index.wrapping_add(1))] {
            self.state.memory[at..at + 2].copy_from_slice(&value.to_le_bytes());
            let bytes = value.to_le_bytes();
            self.world
                .memory_file
                .write_all_at(&bytes, at as u64)
                .unwrap();
        }
    }

    /// Serve one request, or several plain ones as a worker does. Returns the number served.
    fn serve_as(&mut self, what: u8, answer: u8) -> u32 {
        let most = if what & 0x10 == 0 {
            0
        } else {
            (u32::from(what >> 5) + 1) * 3
        };
        match self.serve_plain(most, answer) {
            0 => u32::from(self.serve(answer)),
            served => served,
        }
    }

    /// Serve the next plain requests, at most `most`. Returns the number served.
    fn serve_plain(&mut self, most: u32, answer: u8) -> u32 {
        let Some(device) = self.device.as_mut().filter(|_| most > 0) else {
            return 0;
        };
        let found = device.ring.serve_plain(most, u64::MAX, |transfers, done| {
            for transfer in transfers {
                let (_, Data::In(to), _) = transfer.parts() else {
                    panic!("a write where all are reads");
                };
                to.copy_from(&[answer]);
            }
            for transfer in transfers {
                transfer.parts().2.copy_from(&[answer]);
                done(2);
            }
        });
        let expected = if self.plain {
            device.take_plain(&mut self.state, most)
        } else {
            device.look(&self.state).map(|_| Vec::new())
        };
        let heads = match expected {
            Ok(heads) => heads,
            Err(error) => {
                assert!(self.wild, "{error} with a driver that keeps to the rules");
                assert_eq!(found, Err(error.to_owned()));
                self.reached.add(error);
                self.device = None;
                return 0;
            }
        };
        assert_eq!(found, Ok((heads.len() as u32, heads.len() as u64)));
        heads.iter().for_each(|&head| self.state.fill(head, answer));
        for &head in &heads {
            device.next_avail = device.next_avail.wrapping_add(1);
            device.complete(&mut self.state, head, answer, 2);
        }
        assert_eq!(device.ring.position(), device.next_used);
        if heads.len() > 1 {
            self.reached.add("several at once");
        }
        heads.len() as u32
    }

    /// Serve a request, or begin it. Returns whether there was one.
    fn serve(&mut self, answer: u8) -> bool {
        let Some(device) = &mut self.device else {
            return false;
        };
        let done = answer & 15 != 15;
        let pieces = if self.plain { (1, 2) } else { (0, 1) };
        let step = device.ring.serve_one(|damaged, readable, writable| {
            assert_eq!((readable.len(), writable.len()), pieces);
            assert!(!damaged);
            done.then(|| {
                writable
                    .iter()
                    .for_each(|piece| assert_eq!(piece.copy_from(&[answer]), 1));
                writable.len() as u32
            })
        });
        let expected = device.next(&mut self.state);
        let (head, from_avail) = match expected {
            Ok(Some(taken)) => taken,
            Ok(None) => {
                assert_eq!(step, Ok(Step::Dry));
                return false;
            }
            Err(error) => {
                assert!(self.wild, "{error} with a driver that keeps to the rules");
                assert_eq!(step, Err(error.to_owned()));
                self.reached.add(error);
                self.device = None;
                return false;
            }
        };
        if done {
            assert_eq!(step, Ok(Step::Completed));
            device.current = None;
            if from_avail {
                device.next_avail = device.next_avail.wrapping_add(1);
            } else {
                device.unreturned.remove(0);
            }
            if self.plain {
                self.state.fill(head, answer);
            }
            device.complete(&mut self.state, head, answer, pieces.1 as u32);
        } else {
            assert_eq!(step, Ok(Step::Continued));
            device.current = Some((head, from_avail));
        }
        assert_eq!(device.ring.position(), device.next_used);
        true
    }

    fn publish(&mut self) {
        let Some(device) = &mut self.device else {
            return;
        };
        let called = device.ring.publish();
        let batch = std::mem::take(&mut device.batch);
        assert_eq!(called, !batch.is_empty());
        if called {
            self.state.publish(&batch, device.next_used);
        }
    }

    /// The driver reads the used ring: each entry must be a request that it waits for.
    fn look(&mut self) {
        if self.wild {
            return;
        }
        let index = self.state.used_index();
        let news = index.wrapping_sub(self.driver.seen);
        assert!(news <= self.state.size, "{news} requests returned at once");
        while self.driver.seen != index {
            let head = usize::from(self.state.used_id(self.driver.seen));
            let waited = std::mem::replace(&mut self.driver.outstanding[head], false);
            assert!(waited, "request {head} was completed twice");
            self.driver.seen = self.driver.seen.wrapping_add(1);
            self.reached.add("completed");
        }
    }

    /// Serve everything that is left.
    fn finish(&mut self) {
        let most = 2 * u32::from(self.state.size) + 2;
        let mut rounds = 0;
        loop {
            let served = self.serve_as(0xf0, 0);
            rounds += served;
            assert!(rounds <= most, "more requests than the ring can hold");
            if served == 0 {
                break;
            }
        }
        self.publish();
        self.compare();
        self.look();
        let left = self.driver.outstanding.iter().position(|&waits| waits);
        assert!(left.is_none(), "request {left:?} was lost");
    }
}
