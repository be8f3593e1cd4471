//! QEMU 7.2's vhost-user-blk device. Only a few of its messages request an acknowledgement. Where
//! the back end has CONFIGURE_MEM_SLOTS, memory is sent region by region, and only what changed.
//! The in-flight region is requested before a ring has a size, and dropped when the guest is reset.

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::{clear, rings};
use crate::driver::client::{Client, code, protocol, single};
use crate::driver::data::pattern;
use crate::driver::disk::DATA;
use crate::driver::feature;
use crate::driver::inflight::Inflight;
use crate::driver::kind::OUT;
use crate::driver::load::{prepare_reads, publish_reads, take_reads};
use crate::driver::memory::{MIB, Memory, Region};
use crate::driver::offer::works;
use crate::driver::ring::Ring;
use crate::harness::Ramblk;

const RING: u16 = 128;

/// The protocol features that it knows; it ignores later ones.
const KNOWN_PROTOCOL: u64 = (1 << 17) - 1;

struct Qemu {
    client: Client,
    /// Its end of the back-end channel.
    channel: UnixStream,
    mem: Arc<Memory>,
    rings: Vec<Ring>,
    features: u64,
    protocol: u64,
    inflight: Option<Inflight>,
    /// Whether the guest's memory was sent on this connection.
    mapped: bool,
}

impl Qemu {
    /// A machine during the device's realise.
    fn realise(socket: &Path, queues: u32) -> Self {
        // Realise may be cut short and tried again at once.
        for _ in 0..3 {
            Client::connect(socket).features();
        }
        let (mem, rings) = rings(queues, RING);
        let mut qemu = Self {
            client: Client::connect(socket),
            channel: UnixStream::pair().unwrap().0,
            mem,
            rings,
            features: 0,
            protocol: 0,
            inflight: None,
            mapped: false,
        };
        qemu.initialise();
        qemu
    }

    /// The messages at the start of each connection.
    fn initialise(&mut self) {
        let client = &self.client;
        client.features();
        self.protocol = client.get(code::GET_PROTOCOL_FEATURES).u64() & KNOWN_PROTOCOL;
        let wanted = self.protocol.to_le_bytes();
        client.tell(code::SET_PROTOCOL_FEATURES, &wanted, &[]);
        assert!(client.get(code::GET_QUEUE_NUM).u64() >= self.rings.len() as u64);
        client.get(code::GET_MAX_MEM_SLOTS);
        let (ours, theirs) = UnixStream::pair().unwrap();
        let ack = client.acked(code::SET_BACKEND_REQ_FD, &[], &[theirs.as_fd()]);
        assert_eq!(ack, Some(0));
        client.tell(code::SET_OWNER, &[], &[]);
        // Everything that its guest may know. IN_ORDER is newer than this QEMU.
        self.features = client.features() & !feature::IN_ORDER;
        for ring in &self.rings {
            client.vring_fd(code::SET_VRING_CALL, ring.index, &ring.call);
            client.vring_fd(code::SET_VRING_ERR, ring.index, &ring.err);
        }
        client.config(0, 60, 0);
        (self.channel, self.mapped) = (ours, false);
    }

    /// The guest's driver has started, the machine continues, or the back end is available again.
    fn start(&mut self, base: impl Fn(&Ring) -> u16) {
        let client = &self.client;
        client.set_features(self.features);
        if self.protocol & protocol::INFLIGHT != 0 {
            let ask = || Inflight::ask(client, self.rings.len() as u16, RING);
            self.inflight.get_or_insert_with(ask).give(client);
        }
        client.set_features(self.features);
        if !self.mapped {
            self.mem.regions().iter().for_each(|r| plug(client, r));
            self.mapped = true;
        }
        for ring in &self.rings {
            client.vring(code::SET_VRING_NUM, ring.index, u32::from(RING));
            client.vring(code::SET_VRING_BASE, ring.index, u32::from(base(ring)));
            client.vring_addr(ring);
            client.vring_fd(code::SET_VRING_KICK, ring.index, &ring.kick);
            client.vring_fd(code::SET_VRING_CALL, ring.index, &ring.call);
        }
        self.enable(1);
    }

    fn enable(&self, enable: u32) {
        for ring in &self.rings {
            let index = ring.index;
            self.client.vring(code::SET_VRING_ENABLE, index, enable);
        }
    }

    /// The machine is stopped; each ring stays where the guest left it.
    fn stop(&self) {
        self.enable(0);
        for ring in &self.rings {
            assert_eq!(self.client.stop(ring.index), u32::from(ring.next_avail));
        }
    }

    /// The guest is reset, and starts its driver again.
    fn reset(&mut self) {
        self.stop();
        self.inflight = None;
        self.rings.iter_mut().for_each(clear);
        self.start(|_| 0);
    }

    /// The connection broke, and another or the same back end is available.
    fn reconnect(&mut self, socket: &Path) {
        self.client = Client::connect(socket);
        self.initialise();
        // Taken from the guest's ring: the back end can't be asked any more.
        self.start(Ring::used_idx);
    }

    fn works(&mut self, at: u64) {
        self.rings.iter_mut().for_each(|ring| works(ring, at));
    }
}

/// ADD_MEM_REG with a requested acknowledgement.
fn plug(client: &Client, region: &Region) {
    let ack = client.acked(code::ADD_MEM_REG, &single(region), &[region.fd()]);
    assert_eq!(ack, Some(0));
}

#[test]
fn qemu_starts_stops_and_starts_again() {
    let ramblk = Ramblk::run(&[]);
    let mut qemu = Qemu::realise(ramblk.socket(), 2);
    for at in 0..3 {
        qemu.start(|ring| ring.next_avail);
        qemu.works(at);
        if at == 1 {
            plug(&qemu.client, &Region::new(1 << 40, MIB, 0));
            qemu.works(at);
        }
        qemu.stop();
    }
}

#[test]
fn qemu_resets_its_guest_and_asks_for_another_inflight_region() {
    let ramblk = Ramblk::run(&[]);
    let mut qemu = Qemu::realise(ramblk.socket(), 2);
    qemu.start(|_| 0);
    for round in 0..3 {
        // Another number of requests each time, so that no two rings end in the same way.
        (0..=round).for_each(|at| qemu.works(at));
        qemu.rings[1].write(1000, &pattern(512, 1)).unwrap();
        qemu.reset();
    }
    assert_eq!(qemu.rings[0].read(1000, 512), Ok(pattern(512, 1)));
}

#[test]
fn qemu_resets_its_guest_while_requests_wait() {
    let ramblk = Ramblk::run(&[]);
    let mut qemu = Qemu::realise(ramblk.socket(), 1);
    qemu.start(|_| 0);
    for round in 0..20 {
        prepare_reads(&qemu.rings[0], 40);
        publish_reads(&mut qemu.rings[0], 40);
        qemu.rings[0].kick();
        std::thread::sleep(Duration::from_micros(round * 23));
        // The guest is gone and nothing waits for the answers. The ring stopped somewhere in
        // between.
        qemu.enable(0);
        assert!(qemu.client.stop(0) as u16 <= qemu.rings[0].next_avail);
        qemu.inflight = None;
        clear(&mut qemu.rings[0]);
        qemu.start(|_| 0);
        qemu.works(round);
    }
}

#[test]
fn qemu_reconnects_with_requests_waiting_and_each_is_served_once() {
    let ramblk = Ramblk::run(&[]);
    let mut qemu = Qemu::realise(ramblk.socket(), 1);
    qemu.start(|_| 0);
    for _ in 0..5 {
        prepare_reads(&qemu.rings[0], 40);
        qemu.enable(0);
        publish_reads(&mut qemu.rings[0], 40);
        qemu.rings[0].kick();
        qemu.reconnect(ramblk.socket());
        take_reads(&mut qemu.rings[0], 0..40);
    }
    qemu.works(0);
}

#[test]
fn qemu_reconnects_to_another_back_end_and_no_request_is_lost_or_served_twice() {
    let mut ramblk = Ramblk::run(&[]);
    let mut qemu = Qemu::realise(ramblk.socket(), 2);
    qemu.start(|_| 0);
    for round in 0..12 {
        for ring in &mut qemu.rings {
            prepare_reads(ring, 40);
            publish_reads(ring, 40);
            ring.kick();
        }
        std::thread::sleep(Duration::from_micros(round * 29));
        // Assigning the new one kills the old one at an arbitrary point.
        ramblk = Ramblk::run(&[]);
        qemu.reconnect(ramblk.socket());
        qemu.rings
            .iter_mut()
            .for_each(|ring| take_reads(ring, 0..40));
        qemu.works(round);
    }
}

#[test]
fn qemu_reconnects_and_what_it_had_written_is_written_once_more() {
    let old = Ramblk::run(&[]);
    let mut qemu = Qemu::realise(old.socket(), 1);
    qemu.start(|_| 0);
    qemu.enable(0);
    let ring = &mut qemu.rings[0];
    let data = pattern(8192, 7);
    let pieces = ring.lay_out(OUT, 100, &data, 0);
    let head = ring.direct(9, &pieces);
    ring.put(head);
    ring.publish();
    drop(old);
    let new = Ramblk::run(&[]);
    qemu.reconnect(new.socket());
    let ring = &mut qemu.rings[0];
    assert_eq!(ring.wait().id, u32::from(head));
    ring.mem.fill(ring.area(DATA), 8192, 0);
    assert_eq!(ring.read(100, 8192), Ok(data));
}
