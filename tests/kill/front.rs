//! A front end that reconnects with the same memory, the same rings and the in-flight region that
//! it kept, for a driver that notices only a pause.

use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::daemon::Daemon;
use crate::driver::client::{Client, code, protocol, state, table};
use crate::driver::data::Random;
use crate::driver::feature;
use crate::driver::inflight::Inflight;
use crate::driver::memory::{Memory, Region};
use crate::driver::offer::{FEATURES, PROTOCOL};
use crate::driver::ring::Ring;
use crate::driver::wire::Wire;
use crate::harness::eventually;
use crate::load::{Load, RING};

pub(crate) const QUEUES: u32 = 4;
/// A bound that nothing here may exceed.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a reconnecting front end names as the base of its rings.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Base {
    /// As QEMU does.
    Used,
    /// As cloud-hypervisor does.
    Avail,
    /// Neither.
    Nonsense,
}

impl Base {
    pub(crate) fn any(random: &mut Random) -> Self {
        [Self::Used, Self::Avail, Self::Nonsense][random.below(3) as usize]
    }

    fn of(self, ring: &Ring) -> u16 {
        match self {
            Self::Used => ring.used_idx(),
            Self::Avail => ring.next_avail,
            Self::Nonsense => 4711,
        }
    }
}

/// When a front end passes its call descriptors.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Calls {
    /// Before its rings start, as cloud-hypervisor does.
    First,
    /// After they do, as QEMU does.
    Last,
}

/// A new in-flight region for a front end, which keeps it.
pub(crate) fn new_region(socket: &Path, queues: u16, entries: u16) -> Inflight {
    eventually("the daemon listens", || Wire::try_connect(socket).is_some());
    let client = Client::negotiated(socket, FEATURES);
    Inflight::ask(&client, queues, entries)
}

/// Set up everything without waiting for a single answer, since the daemon may die in between.
/// `None` if it did, or isn't there yet.
pub(crate) fn come(
    socket: &Path,
    mem: &Memory,
    rings: &[&Ring],
    region: Option<&Inflight>,
    base: Base,
    calls: Calls,
) -> Option<Client> {
    let client = Client {
        wire: Wire::try_connect(socket)?,
        acks: false,
    };
    let tell = |code, payload: &[u8], fds: &[_]| client.send(code, 0, payload, fds).then_some(());
    tell(code::SET_OWNER, &[], &[])?;
    let protocol = match region {
        Some(_) => PROTOCOL,
        None => PROTOCOL & !protocol::INFLIGHT,
    };
    tell(code::SET_PROTOCOL_FEATURES, &protocol.to_le_bytes(), &[])?;
    let features = match rings.iter().all(|ring| ring.event_idx) {
        true => FEATURES,
        false => FEATURES & !feature::EVENT_IDX,
    };
    tell(code::SET_FEATURES, &features.to_le_bytes(), &[])?;
    let fds: Vec<_> = mem.regions().iter().map(Region::fd).collect();
    tell(code::SET_MEM_TABLE, &table(mem.regions()), &fds)?;
    if let Some(region) = region {
        let fds = [region.file.as_fd()];
        tell(code::SET_INFLIGHT_FD, &region.description(), &fds)?;
    }
    for ring in rings {
        let index = ring.index;
        let number = u64::from(index).to_le_bytes();
        let vring = |code, value: u32| client.send(code, 0, &state(index, value), &[]);
        let mut sent = vring(code::SET_VRING_NUM, u32::from(ring.size));
        tell(code::SET_VRING_ADDR, &ring.addresses(), &[])?;
        sent &= vring(code::SET_VRING_BASE, u32::from(base.of(ring)));
        let call = || tell(code::SET_VRING_CALL, &number, &[ring.call.as_fd()]);
        if matches!(calls, Calls::First) {
            call()?;
        }
        tell(code::SET_VRING_ERR, &number, &[ring.err.as_fd()])?;
        tell(code::SET_VRING_KICK, &number, &[ring.kick.as_fd()])?;
        sent &= vring(code::SET_VRING_ENABLE, 1);
        if matches!(calls, Calls::Last) {
            call()?;
        }
        sent.then_some(())?;
    }
    Some(client)
}

/// Try until it succeeds.
pub(crate) fn come_at_last(
    socket: &Path,
    mem: &Memory,
    rings: &[&Ring],
    region: Option<&Inflight>,
    base: Base,
) -> Client {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(client) = come(socket, mem, rings, region, base, Calls::First) {
            return client;
        }
        assert!(Instant::now() < deadline, "nothing listens at {socket:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Four rings under load.
pub(crate) struct Front {
    mem: Arc<Memory>,
    pub(crate) loads: Vec<Load>,
    region: Option<Inflight>,
    client: Option<Client>,
    disk: &'static str,
}

impl Front {
    /// For a disk of the daemon, with an in-flight region or without. It is not connected yet.
    pub(crate) fn new(daemon: &Daemon, disk: &'static str, tracked: bool, seed: u64) -> Self {
        let socket = daemon.socket(disk);
        let region = tracked.then(|| new_region(&socket, QUEUES as u16, RING));
        let mem = Arc::new(Memory::standard());
        let rings = (0..QUEUES).map(|index| Ring::new(&mem, index, RING, false));
        Self {
            loads: rings.map(|ring| Load::new(ring, seed)).collect(),
            mem,
            region,
            client: None,
            disk,
        }
    }

    pub(crate) fn leave(&mut self) {
        self.client = None;
    }

    /// Connect or reconnect, unless the daemon isn't there.
    pub(crate) fn come(&mut self, daemon: &Daemon, base: Base) -> bool {
        let rings: Vec<_> = self.loads.iter().map(|load| &load.ring).collect();
        let socket = daemon.socket(self.disk);
        let region = self.region.as_ref();
        self.client = come(&socket, &self.mem, &rings, region, base, Calls::First);
        self.client.is_some()
    }

    /// Reconnect as soon as possible, and work until `until` returns true.
    pub(crate) fn work(
        &mut self,
        daemon: &mut Daemon,
        base: Base,
        mut until: impl FnMut(&mut Daemon, &Self) -> bool,
    ) {
        self.leave();
        let deadline = Instant::now() + PATIENCE;
        while !until(daemon, self) {
            assert!(Instant::now() < deadline, "it takes too long");
            if self.client.is_none() && !self.come(daemon, base) {
                std::thread::sleep(Duration::from_micros(200));
                continue;
            }
            let mut any = false;
            for load in &mut self.loads {
                any |= load.take();
                any |= load.fill();
            }
            if !any {
                std::thread::sleep(Duration::from_micros(50));
            }
        }
    }

    pub(crate) fn done(&self) -> u64 {
        self.loads.iter().map(|load| load.done).sum()
    }

    pub(crate) fn late_reads(&self) -> u64 {
        self.loads.iter().map(|load| load.late_reads).sum()
    }

    /// Wait until everything has completed, and compare the disk with what it must hold.
    pub(crate) fn finish(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while self.loads.iter().any(|load| load.out() > 0) {
            self.loads.iter_mut().for_each(|load| {
                load.take();
            });
            let out: Vec<_> = self.loads.iter().map(Load::out).collect();
            assert!(Instant::now() < deadline, "{out:?} never come back");
        }
        self.loads.iter_mut().for_each(Load::holds);
        if let Some(region) = &self.region {
            // The driver may be faster than the last mark.
            eventually("nothing is in flight", || {
                (0..QUEUES as u16).all(|queue| region.queue(queue).marked().is_empty())
            });
        }
    }
}
