//! The moments that a recording and a volatile write cache know, beside what drivers saw happen.
//!
//! Drivers of several queues make requests available; turns of rings serve some, let others wait,
//! and publish. A plain model has the order of all that. By it the log of the recording has every
//! state that a crash may leave, and no other; and the cache counts what is volatile.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use parking_lot::Mutex;
use proptest::prelude::*;
use ramblk::crash::explore::{At, Walk, points};
use ramblk::crash::log::{Log, NEVER, Request, What};
use ramblk::device::block::{Change, Operation, Submission, Tap};
use ramblk::device::{
    Attempt, BlockDevice, Cache, CacheOptions, Found, Pace, Serial, Sightings, Turn, User,
};
use ramblk::store::{DiskSpec, Error, SectorSize, Source, Store};

const DISK_BYTES: u64 = 64 * 512;
/// FLUSH and CONFIG_WCE, as acknowledged feature bits.
const ACKED: u64 = 1 << 9 | 1 << 11;
/// Where `writeback` is in the configuration space.
const WRITEBACK_AT: usize = 32;
const QUEUES: usize = 3;
/// As many writes as fit the masks of states.
const MOST_WRITES: usize = 6;

#[derive(Clone, Copy, Debug)]
enum Event {
    /// A driver makes a write available.
    Write(usize),
    /// A driver makes a flush available.
    Flush(usize),
    /// A turn serves that many requests, and publishes them.
    Serve(usize, usize),
    /// A turn lets a request wait.
    Wait(usize),
    /// A turn serves the first request that waits.
    Retry(usize),
    /// The driver turns writeback on or off.
    Toggle,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let queue = 0..QUEUES;
    let event = prop_oneof![
        4 => queue.clone().prop_map(Event::Write),
        3 => queue.clone().prop_map(Event::Flush),
        4 => (queue.clone(), 1_usize..4).prop_map(|(queue, count)| Event::Serve(queue, count)),
        1 => queue.clone().prop_map(Event::Wait),
        1 => queue.prop_map(Event::Retry),
        1 => Just(Event::Toggle),
    ];
    proptest::collection::vec(event, 1..40)
}

/// A request as its driver knows it: times are places in the history.
#[derive(Clone, Copy, Debug)]
struct Made {
    /// The write's number, which is its sector too.
    write: Option<usize>,
    made: usize,
    published: Option<usize>,
    /// Whether writeback has been off for the whole of it until now.
    is_through: bool,
}

/// A queue: its avail index, its requests, and how far they were served.
struct Queue {
    avail: Arc<AtomicU16>,
    position: u16,
    sightings: Arc<Sightings>,
    available: VecDeque<usize>,
    waiting: VecDeque<usize>,
}

/// A recording.
#[derive(Debug, Default)]
struct Recorder(Mutex<Recorded>);

#[derive(Debug, Default)]
struct Recorded {
    clock: u64,
    through_since: Option<u64>,
    requests: BTreeMap<u64, Request>,
    order: Vec<u64>,
}

impl Recorded {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }
}

impl Tap for Recorder {
    fn moment(&self) -> u64 {
        self.0.lock().tick()
    }

    fn begins(&self, submitted: u64) -> Submission {
        Submission {
            number: self.0.lock().tick(),
            at: submitted,
        }
    }

    fn change(
        &self,
        submission: Submission,
        change: &Change<'_>,
        act: &mut dyn FnMut() -> Result<(), Error>,
    ) -> Result<(), Error> {
        act()?;
        let (what, start_bytes, length_bytes) = match change {
            Change::Write(range, _) => (What::Write, range.start_bytes(), range.len_bytes()),
            Change::Flush => (What::Flush, 0, 0),
            other => panic!("{other:?}"),
        };
        let mut state = self.0.lock();
        let request = Request {
            what,
            start_bytes,
            length_bytes,
            submitted: submission.at,
            completed: NEVER,
            at_once: false,
            time_ns: 0,
            data_at: 0,
        };
        state.requests.insert(submission.number, request);
        state.order.push(submission.number);
        Ok(())
    }

    fn completed(&self, submission: Submission) {
        let mut state = self.0.lock();
        let completed = state.tick();
        let since = state.through_since;
        let request = state.requests.get_mut(&submission.number).unwrap();
        request.completed = completed;
        request.at_once =
            request.what == What::Write && since.is_some_and(|since| since < submission.at);
    }

    fn writes_through(&self, is_through: bool) {
        let mut state = self.0.lock();
        let now = state.tick();
        state.through_since = is_through.then(|| state.through_since.unwrap_or(now));
    }
}

/// States of a disk: in each all writes of the first mask are there, and of the second one any.
type States = BTreeSet<u8>;

fn add(states: &mut States, stable: u8, volatile: u8) {
    for some in 0..=u8::MAX {
        if some & !volatile == 0 {
            states.insert(stable | some);
        }
    }
}

struct World {
    device: BlockDevice,
    cache: Arc<Cache>,
    recorder: Arc<Recorder>,
    queues: Vec<Queue>,
    made: Vec<Made>,
    now: usize,
    is_through: bool,
    /// By the model.
    states: States,
}

impl World {
    fn new(first: u16) -> Self {
        let store = Arc::new(Store::new(64 << 20).unwrap());
        let spec = DiskSpec::new(SectorSize::S512, DISK_BYTES);
        let disk = store.create("disk", &spec).unwrap();
        let device = BlockDevice::new(
            disk,
            Serial::new("disk").unwrap(),
            NonZeroU16::new(3).unwrap(),
        );
        let options = CacheOptions {
            disk_key: "disk".into(),
            prefix: "@cache.".into(),
            log_limit_bytes: 16 << 20,
            tell: Box::new(|key, folded| panic!("{key}: {folded:?}")),
        };
        let cache = Arc::new(Cache::new(&store, options).unwrap());
        let recorder = Arc::new(Recorder::default());
        let volume = device.volume();
        volume.set_cache(Some(Arc::clone(&cache)));
        volume.set_tap(Some(Arc::clone(&recorder) as _));
        let queue = |_| {
            let avail = Arc::new(AtomicU16::new(first));
            let peeked = Arc::clone(&avail);
            Queue {
                avail,
                position: first,
                sightings: volume.watch_queue(move || peeked.load(Ordering::Acquire)),
                available: VecDeque::new(),
                waiting: VecDeque::new(),
            }
        };
        let queues = (0..QUEUES).map(queue).collect();
        Self {
            device,
            cache,
            recorder,
            queues,
            made: Vec::new(),
            now: 0,
            is_through: false,
            states: States::new(),
        }
    }

    fn make(&mut self, queue: usize, is_write: bool) {
        let writes = self.made.iter().filter(|it| it.write.is_some()).count();
        if is_write && writes == MOST_WRITES {
            return;
        }
        self.queues[queue].available.push_back(self.made.len());
        self.queues[queue].avail.fetch_add(1, Ordering::Release);
        self.made.push(Made {
            write: is_write.then_some(writes),
            made: self.now,
            published: None,
            is_through: self.is_through,
        });
    }

    fn turn(&mut self, queue: usize, serve: impl Fn(&mut Self, &mut Turn) -> Vec<usize>) {
        let volume = self.device.volume();
        let it = &self.queues[queue];
        let mut turn = volume.begin_turn(&it.sightings, it.position).unwrap();
        let done = serve(self, &mut turn);
        turn.complete();
        for index in done {
            self.made[index].published = Some(self.now);
        }
        turn.end(self.queues[queue].position);
    }

    fn execute(&self, index: usize) {
        let data = [1; 512];
        let mut from = [Source::from(&data[..])];
        let volume = self.device.volume();
        let operation = match self.made[index].write {
            Some(write) => {
                let range = volume.capacity().range_512(write as u64, 512).unwrap();
                let from = &mut from;
                Operation::Write { range, from }
            }
            None => Operation::Flush,
        };
        volume
            .execute(User::UNKNOWN, operation, Pace::Alone, Attempt::default())
            .unwrap();
    }

    /// The next request of a queue's avail ring is taken.
    fn take(&mut self, queue: usize, turn: &mut Turn) -> Option<usize> {
        let it = &mut self.queues[queue];
        let index = it.available.pop_front()?;
        turn.serves(Found::Avail(it.position));
        it.position = it.position.wrapping_add(1);
        Some(index)
    }

    fn happen(&mut self, event: Event) {
        self.now += 1;
        match event {
            Event::Write(queue) => self.make(queue, true),
            Event::Flush(queue) => self.make(queue, false),
            Event::Serve(queue, count) => self.turn(queue, |world, turn| {
                let mut done = Vec::new();
                while done.len() < count
                    && let Some(index) = world.take(queue, turn)
                {
                    world.execute(index);
                    done.push(index);
                }
                done
            }),
            Event::Wait(queue) => self.turn(queue, |world, turn| {
                if let Some(index) = world.take(queue, turn) {
                    turn.waits(u16::try_from(index).unwrap());
                    world.queues[queue].waiting.push_back(index);
                }
                Vec::new()
            }),
            Event::Retry(queue) => self.turn(queue, |world, turn| {
                let index = world.queues[queue].waiting.pop_front();
                index.into_iter().for_each(|index| {
                    let found = Found::Waiting(u16::try_from(index).unwrap());
                    turn.serves(found);
                    world.execute(index);
                    turn.answered(found);
                });
                index.into_iter().collect()
            }),
            Event::Toggle => {
                self.is_through = !self.is_through;
                let value = [u8::from(!self.is_through)];
                self.device
                    .write_config(ACKED, WRITEBACK_AT, &value)
                    .unwrap();
                for it in self.made.iter_mut().filter(|it| it.published.is_none()) {
                    it.is_through &= self.is_through;
                }
            }
        }
        self.look();
    }

    /// Whether a write is stable: by the words of virtio 1.3 §5.2.6.2.
    fn is_stable(&self, write: &Made) -> bool {
        let covers = |flush: &&Made| {
            flush.write.is_none()
                && flush.published.is_some()
                && write.published.is_some_and(|at| at < flush.made)
        };
        write.published.is_some() && write.is_through || self.made.iter().any(|it| covers(&it))
    }

    /// Note what a crash may leave now, and compare what the cache knows.
    fn look(&mut self) {
        let (mut stable, mut volatile, mut served) = (0, 0, 0);
        for made in &self.made {
            let Some(write) = made.write else { continue };
            match self.is_stable(made) {
                true => stable |= 1_u8 << write,
                false => {
                    volatile |= 1 << write;
                    served += usize::from(made.published.is_some());
                }
            }
        }
        add(&mut self.states, stable, volatile);
        assert_eq!(
            self.cache.figures().writes,
            served,
            "volatile writes at {}: {:?}",
            self.now,
            self.made
        );
    }

    /// What the log says that a crash may leave.
    fn recorded(&self) -> States {
        let state = self.recorder.0.lock();
        let requests = state.order.iter().map(|number| &state.requests[number]);
        let log = Log {
            requests: requests.cloned().collect(),
            disk_bytes: DISK_BYTES,
            has_moments: true,
        };
        let (mut states, mut folded) = (States::new(), 0);
        let mut walk = Walk::new(&log).unwrap();
        for point in points(&log, &At::Any).unwrap() {
            let (settled, window) = walk.go_to(point.moment).unwrap();
            let mask = |start_bytes: u64| 1_u8 << (start_bytes / 512);
            for write in settled {
                folded |= mask(write.range.start_bytes());
            }
            let (mut stable, mut volatile) = (folded, 0);
            for it in window.writes() {
                let mask = mask(it.write.range.start_bytes());
                *(if it.is_stable {
                    &mut stable
                } else {
                    &mut volatile
                }) |= mask;
            }
            add(&mut states, stable, volatile);
        }
        states
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// `first` is where the indexes begin: they wrap around at 65536.
    #[test]
    fn a_log_has_every_state_that_a_crash_may_leave_and_no_other(
        events in events(),
        first in prop_oneof![Just(0), 65520..=u16::MAX],
    ) {
        let mut world = World::new(first);
        world.look();
        for event in events {
            world.happen(event);
        }
        // All is served in the end, so that all of it is in the log.
        for queue in 0..QUEUES {
            while !world.queues[queue].waiting.is_empty() {
                world.happen(Event::Retry(queue));
            }
            world.happen(Event::Serve(queue, usize::MAX));
        }
        prop_assert_eq!(world.recorded(), world.states.clone());
    }
}
