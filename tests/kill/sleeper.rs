//! A driver with few requests at a time that sleeps until it is called, as a guest's does. Daemons
//! and connections end at any instant; each request comes back, and its call with it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::daemon::Daemon;
use crate::driver::client::Client;
use crate::driver::data::{Random, pattern, seed};
use crate::driver::disk::request_header;
use crate::driver::inflight::Inflight;
use crate::driver::kind::{IN, OUT};
use crate::driver::memory::Memory;
use crate::driver::ring::{Ring, drain, readable_at, writable_at};
use crate::driver::status::{OK, UNTOUCHED};
use crate::driver::wire::readable;
use crate::front::{Base, Calls, come, new_region};

const RING: u16 = 16;
const PAGE: usize = 4096;
/// The longest that a request may take, the time without a daemon included.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often each driver loses its back end; `RAMBLK_KILLS` sets more.
const LOSSES: u64 = 24;

/// The requests of a slot: a write of its page, a read of the same, the next write, and so on.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    turn: u64,
    is_out: bool,
}

impl Slot {
    fn kind(self) -> u32 {
        if self.turn.is_multiple_of(2) { OUT } else { IN }
    }

    fn bytes(self) -> Vec<u8> {
        pattern(PAGE, (self.turn / 2) as u8)
    }
}

/// A driver, its front end, and the daemon.
struct Sleeper {
    daemon: Daemon,
    mem: Arc<Memory>,
    ring: Ring,
    region: Option<Inflight>,
    client: Option<Client>,
    calls: Calls,
    slots: Vec<Slot>,
    done: u64,
}

impl Sleeper {
    fn new(depth: usize, tracked: bool, event_idx: bool, calls: Calls) -> Self {
        let daemon = Daemon::start();
        daemon.say(&["create", "disk", "--size", "16M"]);
        let mem = Arc::new(Memory::standard());
        let socket = daemon.socket("disk");
        Self {
            region: tracked.then(|| new_region(&socket, 1, RING)),
            daemon,
            ring: Ring::new(&mem, 0, RING, event_idx),
            mem,
            client: None,
            calls,
            slots: vec![Slot::default(); depth],
            done: 0,
        }
    }

    /// Connect as soon as there is a daemon.
    fn come(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while self.client.is_none() {
            assert!(Instant::now() < deadline, "nothing listens");
            let (rings, region) = ([&self.ring], self.region.as_ref());
            let socket = self.daemon.socket("disk");
            self.client = come(&socket, &self.mem, &rings, region, Base::Used, self.calls);
            std::thread::sleep(Duration::from_micros(100));
        }
    }

    fn data_at(&self, slot: usize) -> u64 {
        self.ring.area(0x1_0000 + (slot * PAGE) as u64)
    }

    fn status_at(&self, slot: usize) -> u64 {
        self.ring.area(0x8000 + slot as u64)
    }

    /// Submit the next request of each slot that has none, and kick if that is wanted.
    fn submit(&mut self) {
        let old = self.ring.next_avail;
        for at in 0..self.slots.len() {
            let slot = self.slots[at];
            if slot.is_out {
                continue;
            }
            let (data, status) = (self.data_at(at), self.status_at(at));
            let piece = if slot.kind() == OUT {
                self.mem.write(data, &slot.bytes());
                readable_at(data, PAGE as u32)
            } else {
                self.mem.fill(data, PAGE, 0);
                writable_at(data, PAGE as u32)
            };
            let header = self.ring.area(64 * at as u64);
            let sector = 8 * at as u64;
            self.mem.write(header, &request_header(slot.kind(), sector));
            self.mem.fill(status, 1, UNTOUCHED);
            let pieces = [readable_at(header, 16), piece, writable_at(status, 1)];
            let head = self.ring.direct(at as u16 * 3, &pieces);
            self.ring.put(head);
            self.slots[at].is_out = true;
        }
        self.ring.publish();
        if self.ring.next_avail != old && self.ring.kick_wanted(old) {
            self.ring.kick();
        }
    }

    /// Called: take what came back. With EVENT_IDX, look once more after the wish for a call.
    fn take(&mut self) {
        drain(&self.ring.call);
        loop {
            while let Some(used) = self.ring.pop() {
                self.came_back(used.id as usize / 3);
            }
            if !self.ring.event_idx {
                return;
            }
            self.ring.set_used_event(self.ring.seen);
            if self.ring.used_idx() == self.ring.seen {
                return;
            }
        }
    }

    fn came_back(&mut self, at: usize) {
        let slot = self.slots[at];
        assert!(slot.is_out, "{at} comes back twice");
        assert_eq!(self.mem.read(self.status_at(at), 1), [OK], "{slot:?}");
        if slot.kind() == IN {
            let found = self.mem.read(self.data_at(at), PAGE);
            assert!(found == slot.bytes(), "{at} has other bytes: {slot:?}");
        }
        self.slots[at] = Slot {
            turn: slot.turn + 1,
            is_out: false,
        };
        self.done += 1;
    }

    /// Work until this moment, asleep but for calls.
    fn work_until(&mut self, end: Instant) {
        let mut called = Instant::now();
        loop {
            self.submit();
            let now = Instant::now();
            if now >= end {
                return;
            }
            assert!(now - called < PATIENCE, "no call\n{}", self.state());
            if readable(&self.ring.call, (end - now).min(PATIENCE)) {
                called = Instant::now();
                self.take();
            }
        }
    }

    /// All that is out comes back, by a call each time.
    fn finish(&mut self) {
        while self.slots.iter().any(|slot| slot.is_out) {
            let is_called = readable(&self.ring.call, PATIENCE);
            assert!(is_called, "no call\n{}", self.state());
            self.take();
        }
    }

    /// What a failure is about: a lost call if the used index is ahead of what was seen, a lost
    /// kick or request otherwise.
    fn state(&self) -> String {
        let (seen, used, avail) = (self.ring.seen, self.ring.used_idx(), self.ring.next_avail);
        let slots = &self.slots;
        format!(
            "seen {seen}, used {used}, available {avail}, {slots:?}\n{}",
            self.daemon.log()
        )
    }

    /// The back end is gone: killed, stopped, or only disconnected.
    fn loses(&mut self, random: &mut Random) {
        match random.below(4) {
            0 => self.client = None,
            1 => {
                self.daemon.stop();
                self.daemon.start_again();
            }
            _ => {
                self.daemon.kill();
                self.daemon.start_again();
            }
        }
        self.client = None;
        self.come();
    }
}

fn nothing_is_lost(depth: usize, tracked: bool, event_idx: bool) {
    let seed = seed();
    eprintln!("RAMBLK_SEED={seed}");
    let mut random = Random::new(seed);
    let asked = std::env::var("RAMBLK_KILLS").ok();
    let losses = asked.map_or(LOSSES, |losses| losses.parse().unwrap());
    for calls in [Calls::First, Calls::Last] {
        let mut sleeper = Sleeper::new(depth, tracked, event_idx, calls);
        sleeper.come();
        for _ in 0..losses / 2 {
            let before = sleeper.done;
            let time = Duration::from_micros(random.below(20_000));
            sleeper.work_until(Instant::now() + time);
            sleeper.loses(&mut random);
            // One in four loses it again before anything is known to have come back.
            if random.below(4) > 0 {
                sleeper.finish();
                assert!(sleeper.done > before, "nothing was out");
            }
        }
        sleeper.finish();
        assert_eq!(sleeper.daemon.field("disk", "state"), "ok");
    }
}

#[test]
fn one_request_at_a_time_comes_back_by_its_call_whatever_ends() {
    for event_idx in [false, true] {
        nothing_is_lost(1, true, event_idx);
        nothing_is_lost(1, false, event_idx);
    }
}

#[test]
fn two_to_four_requests_at_a_time_come_back_by_their_calls_whatever_ends() {
    for (depth, event_idx) in [(2, true), (3, false), (4, true)] {
        nothing_is_lost(depth, true, event_idx);
        nothing_is_lost(depth, false, event_idx);
    }
}

/// A daemon dies between two stores: the driver can see what came back, and was not called.
fn is_called_by_the_next_daemon(tracked: bool, calls: Calls) {
    for event_idx in [false, true] {
        let mut sleeper = Sleeper::new(1, tracked, event_idx, calls);
        sleeper.daemon.kill();
        let at = ("RAMBLK_KILL_AT", "used-index-shown:1".to_owned());
        sleeper.daemon.set_environment(&[at]);
        sleeper.daemon.start_again();
        sleeper.come();
        sleeper.submit();
        sleeper.daemon.is_killed();
        sleeper.client = None;
        // A front end's own call, for a new descriptor, is none of the driver's requests.
        drain(&sleeper.ring.call);
        assert_eq!(sleeper.ring.used_idx(), 1);
        sleeper.daemon.set_environment(&[]);
        sleeper.daemon.start_again();
        sleeper.come();
        sleeper.finish();
        assert_eq!(sleeper.done, 1);
    }
}

#[test]
#[cfg_attr(not(ramblk_hooks), ignore = "there are no hooks in this build")]
fn a_call_that_a_daemon_owed_comes_from_the_next_one_with_an_in_flight_region() {
    is_called_by_the_next_daemon(true, Calls::First);
    is_called_by_the_next_daemon(true, Calls::Last);
}

#[test]
#[cfg_attr(not(ramblk_hooks), ignore = "there are no hooks in this build")]
fn a_call_that_a_daemon_owed_comes_from_the_next_one_without_one() {
    is_called_by_the_next_daemon(false, Calls::First);
    is_called_by_the_next_daemon(false, Calls::Last);
}
