//! The fleet: what is made, what ends, and what a kill may change.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use ramblk::client::{Client, Error, Method};
use ramblk::model::{
    Disk, DiskPatch, ForkSettings, ForkSource, Forked, ForksRequest, LifePatch, OnDetach, Pool,
    ProblemKind,
};

use super::clock::{Moment, now_ms};
use super::guest::{Guest, PAGES, Turn, golden};
use super::life::{EXACT_MS, Life};
use super::listener::{Ended, Listener};
use super::process::Holds;
use crate::daemon::Daemon;
use crate::driver::data::{Random, seed};
use crate::driver::disk::Disk as Writer;
use crate::harness::eventually;

/// How many forks there are, and how many of them have a guest.
const FLEET: usize = 200;
const GUESTS: usize = 100;
/// The most forks of one request, which have the same life.
const BATCH: usize = 10;
/// Descriptors of a front end with one queue: its connection, its memory and its queue's.
const DESCRIPTORS_EACH: usize = 6;
/// How late an event may be heard here.
const HEARD_MS: u64 = 3000;
/// How long a front end stays at least: until it is stored that it was there.
const STAY_MS: u64 = 1500;
/// How long one is away that returns, and the least time that a disk waits for it.
const AWAY_MS: u64 = 500;
const LEAST_GRACE_MS: u64 = 2500;

struct Member {
    life: Life,
    guest: Option<Guest>,
    /// Whether it was gone after a restart, and may have ended before.
    gone: bool,
}

/// What happened so far.
#[derive(Debug, Default)]
struct Tally {
    made: u64,
    kills: u64,
    by_time: u64,
    by_detach: u64,
    resets: u64,
    /// Ends of which no event could be heard: the daemon died.
    unheard: u64,
    /// How late each end was.
    late_ms: Vec<u64>,
}

/// A daemon with a fleet.
pub(super) struct Fleet {
    daemon: Daemon,
    client: Client,
    listener: Listener,
    seed: u64,
    random: Random,
    ttl_ms: (u64, u64),
    members: BTreeMap<String, Member>,
    /// Those that ended.
    over: BTreeSet<String>,
    /// What the process held before there was a fleet.
    pub(super) before: Holds,
    /// Since when the daemon answers.
    up: u64,
    tally: Tally,
}

impl Fleet {
    /// Start a daemon with the golden disk.
    pub(super) fn start(ttl_ms: (u64, u64)) -> Self {
        let seed = seed();
        eprintln!("RAMBLK_SEED={seed}");
        let daemon = Daemon::start();
        daemon.say(&["create", "golden", "--size", "16M"]);
        let mut writer = Writer::attach(&daemon.socket("golden"));
        for page in 0..PAGES {
            writer.q().write(page * 8, &golden(page)).unwrap();
        }
        drop(writer);
        let listener = Listener::start(daemon.api());
        // The writer's session ends, and the listener's begins.
        std::thread::sleep(Duration::from_secs(1));
        Self {
            before: Holds::of(daemon.pid()),
            client: Client::new(daemon.api()).unwrap(),
            listener,
            daemon,
            seed,
            random: Random::new(seed),
            ttl_ms,
            members: BTreeMap::new(),
            over: BTreeSet::new(),
            up: now_ms(),
            tally: Tally::default(),
        }
    }

    pub(super) fn seed(&self) -> u64 {
        self.seed
    }

    pub(super) fn holds(&self) -> Holds {
        Holds::of(self.daemon.pid())
    }

    pub(super) fn charged_bytes(&self) -> u64 {
        self.client.get::<Pool>("/v1/pool").unwrap().charged_bytes
    }

    /// The names of all disks.
    pub(super) fn names(&self) -> Vec<String> {
        let disks: Vec<Disk> = self.client.get("/v1/disks").unwrap();
        disks.into_iter().map(|disk| disk.name).collect()
    }

    fn attached(&self) -> usize {
        let guests = self.members.values().filter_map(|it| it.guest.as_ref());
        guests.filter(|guest| guest.is_attached()).count()
    }

    // Making disks

    fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.random.below(to - from + 1)
    }

    /// Make what is missing.
    pub(super) fn refill(&mut self) {
        // Not all at once: ends must be heard meanwhile.
        for _ in 0..4 {
            let missing = FLEET.saturating_sub(self.members.len());
            if missing == 0 {
                return;
            }
            let guests = self.members.values().filter(|it| it.guest.is_some());
            let without = GUESTS.saturating_sub(guests.count());
            let batch = match without {
                0 => self.batch(missing.min(BATCH), false),
                _ => self.batch(missing.min(without).min(BATCH), true),
            };
            let (when, made) = Moment::of(|| self.make(&batch));
            made.unwrap();
            self.insert(&batch, when);
        }
    }

    fn batch(&mut self, count: usize, has_guests: bool) -> Batch {
        let names = self.tally.made..self.tally.made + count as u64;
        self.tally.made += count as u64;
        let ttl_ms = self.between(self.ttl_ms.0, self.ttl_ms.1);
        let on_detach = match self.random.below(4) {
            0 => OnDetach::Destroy,
            1 => OnDetach::Reset,
            _ => OnDetach::Keep,
        };
        Batch {
            names: names.map(|number| format!("vm-{number}")).collect(),
            ttl_ms,
            on_detach,
            grace_ms: self.between(LEAST_GRACE_MS, 2 * LEAST_GRACE_MS),
            has_guests,
        }
    }

    fn make(&self, batch: &Batch) -> Result<(), Error> {
        let answer = self
            .client
            .send(Method::POST, "/v1/forks", &batch.request());
        answer.map(|(_, forked): (_, Forked)| assert_eq!(forked.created, batch.names.len()))
    }

    fn insert(&mut self, batch: &Batch, when: Moment) {
        for name in &batch.names {
            let guest = batch.has_guests.then(|| self.guest(batch.on_detach));
            let life = Life::new(when, batch.ttl_ms, batch.on_detach, batch.grace_ms);
            let gone = false;
            let member = Member { life, guest, gone };
            self.members.insert(name.clone(), member);
        }
    }

    fn guest(&mut self, on_detach: OnDetach) -> Guest {
        Guest::new(match on_detach {
            OnDetach::Keep => u64::MAX,
            _ => now_ms() + self.between(STAY_MS, self.ttl_ms.1),
        })
    }

    // Turns

    /// Hear what ended, and give each guest its turn.
    pub(super) fn turn(&mut self) {
        for ended in self.listener.take() {
            self.hear(&ended);
        }
        let names: Vec<String> = self.members.keys().cloned().collect();
        for name in names {
            self.turn_of(&name);
        }
    }

    fn turn_of(&mut self, name: &str) {
        let (socket, up, now) = (self.daemon.socket(name), self.up, now_ms());
        let (stay, flickers) = (
            self.between(STAY_MS, self.ttl_ms.1),
            self.random.below(3) == 0,
        );
        let member = self.members.get_mut(name).unwrap();
        let is_late = !member.gone && now > member.life.over_by(up) + HEARD_MS;
        assert!(
            !is_late,
            "{name} should be over at {now}: {:?}",
            member.life
        );
        let Some(guest) = &mut member.guest else {
            return;
        };
        match guest.turn(&socket, up) {
            Turn::Fine => {}
            Turn::Attached => member.life.attached(),
            Turn::Failed => {
                assert!(
                    member.life.may_be_over(now),
                    "{name} fails at {now}: {:?}",
                    member.life
                );
                member.guest = None;
                return;
            }
        }
        if now < guest.leaves_at {
            return;
        }
        if let Some(when) = guest.leave() {
            member.life.left(when);
            guest.leaves_at = now + AWAY_MS + stay;
            guest.comes_at = flickers.then_some(now + AWAY_MS);
        }
    }

    /// A life is over.
    fn hear(&mut self, ended: &Ended) {
        let name = &ended.disk;
        let member = self.members.get_mut(name);
        let member = member.unwrap_or_else(|| panic!("{name} has ended before: {ended:?}"));
        let late_ms = member.life.lateness(ended.by, ended.at, self.up);
        assert!(
            late_ms <= EXACT_MS,
            "{late_ms} ms late: {ended:?} of {:?}",
            member.life
        );
        self.tally.late_ms.push(late_ms);
        if ended.action == OnDetach::Reset {
            self.tally.resets += 1;
            self.renew(name, true);
            return;
        }
        match ended.by {
            ramblk::model::EndsBy::Ttl => self.tally.by_time += 1,
            ramblk::model::EndsBy::Detach => self.tally.by_detach += 1,
        }
        self.members.remove(name);
        self.over.insert(name.clone());
    }

    /// A disk was reset, or may have been: its guest comes again.
    fn renew(&mut self, name: &str, is_reset: bool) {
        let leaves_at = now_ms() + self.between(STAY_MS, self.ttl_ms.1);
        let member = self.members.get_mut(name).unwrap();
        member.life.reset();
        if let Some(guest) = &mut member.guest {
            guest.forget(is_reset);
            guest.comes_at = Some(0);
            guest.leaves_at = leaves_at;
        }
    }

    // Kills

    /// Kill the daemon while it makes forks, and start it again.
    pub(super) fn kill(&mut self) {
        self.tally.kills += 1;
        let batch = self.batch(BATCH, false);
        let killer = self
            .daemon
            .kill_after(Duration::from_millis(self.random.below(30)));
        let (when, made) = Moment::of(|| self.make(&batch));
        killer.join().unwrap();
        self.daemon.is_killed();
        let killed = Moment {
            from: when.from,
            to: now_ms(),
        };
        for ended in self.listener.finish() {
            self.hear(&ended);
        }
        for guest in self.members.values_mut().filter_map(|it| it.guest.as_mut()) {
            guest.lose();
        }
        // Times may pass meanwhile.
        std::thread::sleep(Duration::from_millis(self.random.below(1500)));
        let (again, ()) = Moment::of(|| {
            self.daemon.start_again();
            self.daemon.answers();
        });
        self.up = again.to;
        self.listener = Listener::start(self.daemon.api());
        let names: BTreeSet<String> = self.names().into_iter().collect();
        let there = batch.names.iter().filter(|name| names.contains(*name));
        match (made, there.count()) {
            (Err(_), 0) => {}
            (Err(_), count) => {
                assert_eq!(count, batch.names.len(), "some forks of a request");
                self.insert(&batch, killed);
            }
            (Ok(()), _) => self.insert(&batch, when),
        }
        self.compare(&names, killed, again);
    }

    /// After a restart: no disk is back, and only those are gone whose time was over.
    fn compare(&mut self, names: &BTreeSet<String>, killed: Moment, again: Moment) {
        for name in names.iter().filter(|name| *name != "golden") {
            assert!(!self.over.contains(name), "{name} is back");
            assert!(self.members.contains_key(name), "what is {name}?");
        }
        let mut lost = Vec::new();
        let mut doubtful = Vec::new();
        for (name, member) in &mut self.members {
            // It was not heard, and won't be.
            if member.gone {
                lost.push(name.clone());
            } else if !names.contains(name) {
                member.gone = member.life.may_be_over(killed.to);
            } else if member.life.may_be_reset(killed.to) {
                doubtful.push(name.clone());
            }
            member.life.taken_up(again);
        }
        for name in doubtful {
            self.renew(&name, false);
        }
        for name in lost {
            self.lose(&name);
        }
    }

    fn lose(&mut self, name: &str) {
        self.members.remove(name);
        self.over.insert(name.to_owned());
        self.tally.unheard += 1;
    }

    // The end

    /// End all of them at about the same time, and their guests with them.
    pub(super) fn end_all(&mut self) {
        const TTL_MS: u64 = 5000;
        let patch = DiskPatch {
            life: LifePatch {
                ttl_ms: Some(Some(TTL_MS)),
                ..LifePatch::default()
            },
            ..DiskPatch::default()
        };
        for (name, member) in &mut self.members {
            let path = format!("/v1/disks/{name}");
            let (when, patched) = Moment::of(|| {
                let answer = self.client.send(Method::PATCH, &path, &patch);
                answer.map(|(_, _): (_, serde_json::Value)| ())
            });
            match patched {
                Ok(()) => member.life.renew(when, TTL_MS),
                Err(error) => assert!(error.is(ProblemKind::NotFound), "{name}: {error}"),
            }
        }
        let gone = self.members.iter().filter(|(_, member)| member.gone);
        let gone: Vec<String> = gone.map(|(name, _)| name.clone()).collect();
        gone.iter().for_each(|name| self.lose(name));
        eventually("all are over", || {
            self.turn();
            self.members.is_empty()
        });
    }

    /// Stop the daemon, check its state, and start it again.
    pub(super) fn restart(&mut self) {
        self.daemon.stop();
        self.listener.finish();
        let state: PathBuf = self.daemon.state();
        self.daemon.say(&["fsck", state.to_str().unwrap()]);
        self.daemon.start_again();
        self.daemon.answers();
        let mut reader = Writer::attach(&self.daemon.socket("golden"));
        for page in 0..PAGES {
            assert!(reader.q().read(page * 8, 4096).unwrap() == golden(page));
        }
    }

    /// Print what the daemon holds, which must be what its forks and front ends need.
    pub(super) fn tell(&self) -> Holds {
        let (disks, attached, holds) = (self.members.len(), self.attached(), self.holds());
        let charged_kib = self.charged_bytes() >> 10;
        let Tally { made, kills, .. } = self.tally;
        eprintln!(
            "{made} made, {kills} kills, {disks} forks, {attached} attached: {charged_kib} KiB \
             charged, {holds:?}"
        );
        // Some front ends have left or come, and the daemon has not noticed yet.
        let sessions = attached + 15;
        let descriptors = self.before.descriptors + disks + DESCRIPTORS_EACH * sessions;
        assert!(holds.descriptors <= descriptors, "more than {descriptors}");
        let threads = self.before.threads + sessions;
        assert!(holds.threads <= threads, "more than {threads}");
        holds
    }

    /// Print what happened.
    pub(super) fn report(&mut self) {
        let tally = &mut self.tally;
        tally.late_ms.sort_unstable();
        let late = &tally.late_ms;
        let part = |percent: usize| late[(late.len() - 1) * percent / 100];
        eprintln!(
            "{} made, {} kills; {} ended by time, {} by detach, {} reset, {} unheard; \
             late by {} ms (median), {} ms (p99), {} ms (most)",
            tally.made,
            tally.kills,
            tally.by_time,
            tally.by_detach,
            tally.resets,
            tally.unheard,
            part(50),
            part(99),
            part(100)
        );
        let heard = tally.by_time + tally.by_detach;
        assert_eq!(heard + tally.unheard, self.over.len() as u64);
    }
}

/// Forks of one request.
struct Batch {
    names: Vec<String>,
    ttl_ms: u64,
    on_detach: OnDetach,
    grace_ms: u64,
    has_guests: bool,
}

impl Batch {
    fn request(&self) -> ForksRequest {
        let waits = self.on_detach != OnDetach::Keep;
        ForksRequest {
            sources: vec![ForkSource {
                disk: Some("golden".into()),
                names: self.names.clone(),
                ..ForkSource::default()
            }],
            settings: ForkSettings {
                life: LifePatch {
                    ttl_ms: Some(Some(self.ttl_ms)),
                    on_detach: Some(self.on_detach),
                    grace_ms: waits.then_some(Some(self.grace_ms)),
                },
                labels: BTreeMap::from([("fleet".to_owned(), "soak".to_owned())]),
                ..ForkSettings::default()
            },
            ..ForksRequest::default()
        }
    }
}
