//! cloud-hypervisor 53: requests an acknowledgement of every message once it can, and reconnects
//! with the available index as base, whatever was not completed.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ramblk::daemon::disks::{DestroyOptions, destroy, fork, reset};
use ramblk::model::{ForkSource, ForksRequest, ResetRequest, StateChoice};

use super::{clear, rings};
use crate::disks::World;
use crate::driver::client::{Client, code, protocol, single};
use crate::driver::data::pattern;
use crate::driver::disk::{ALL, DATA, HEADER, STATUS};
use crate::driver::feature;
use crate::driver::inflight::Inflight;
use crate::driver::kind::OUT;
use crate::driver::load::{prepare_reads, publish_reads, take_reads};
use crate::driver::memory::{MIB, Memory, Region};
use crate::driver::offer::works;
use crate::driver::ring::{Ring, readable_at, writable_at};
use crate::driver::status::OK;
use crate::driver::transfer::{load, save};
use crate::driver::wire::readable;
use crate::harness::Ramblk;

const RING: u16 = 128;

/// The protocol features that it accepts.
const WANTED: u64 = protocol::CONFIG
    | protocol::MQ
    | protocol::MEM_SLOTS
    | protocol::REPLY_ACK
    | protocol::INFLIGHT
    | protocol::DEVICE_STATE;

struct CloudHypervisor {
    client: Client,
    mem: Arc<Memory>,
    rings: Vec<Ring>,
    features: u64,
    protocol: u64,
    inflight: Option<Inflight>,
}

impl CloudHypervisor {
    /// Create the device with `queues` queues. The guest starts its driver later, if ever.
    fn create(socket: &Path, queues: u32, features: u64, wanted: u64) -> Self {
        let (mem, rings) = rings(queues, RING);
        let mut client = Client::connect(socket);
        client.tell(code::SET_OWNER, &[], &[]);
        let features = client.features() & features;
        let protocol = client.get(code::GET_PROTOCOL_FEATURES).u64() & wanted;
        let payload = protocol.to_le_bytes();
        client.tell(code::SET_PROTOCOL_FEATURES, &payload, &[]);
        client.acks = true;
        assert!(client.get(code::GET_QUEUE_NUM).u64() >= u64::from(queues));
        client.config(0, 60, 1);
        Self {
            client,
            mem,
            rings,
            features,
            protocol,
            inflight: None,
        }
    }

    /// Create the device, and start the guest's driver.
    fn boot(socket: &Path, queues: u32, features: u64, wanted: u64) -> Self {
        let mut vmm = Self::create(socket, queues, features, wanted);
        vmm.activate(|_| 0);
        vmm
    }

    /// The guest has set DRIVER_OK, or everything is sent to another back end.
    fn activate(&mut self, base: impl Fn(&Ring) -> u16) {
        let client = &self.client;
        client.set_features(self.features);
        client.set_memory(&self.mem);
        for ring in &self.rings {
            client.vring(code::SET_VRING_NUM, ring.index, u32::from(RING));
        }
        if self.protocol & protocol::INFLIGHT != 0 {
            let ask = || Inflight::ask(client, self.rings.len() as u16, RING);
            self.inflight.get_or_insert_with(ask).give(client);
        }
        for ring in &self.rings {
            client.vring_addr(ring);
            let base = u32::from(base(ring));
            client.vring(code::SET_VRING_BASE, ring.index, base);
            client.vring_fd(code::SET_VRING_CALL, ring.index, &ring.call);
            client.vring_fd(code::SET_VRING_KICK, ring.index, &ring.kick);
        }
        self.enable(1);
    }

    fn enable(&self, enable: u32) {
        for ring in &self.rings {
            let index = ring.index;
            self.client.vring(code::SET_VRING_ENABLE, index, enable);
        }
    }

    /// Pause the machine, and return the position of each ring.
    fn stop(&self) -> Vec<u16> {
        self.enable(0);
        let stop = |ring: &Ring| self.client.stop(ring.index) as u16;
        self.rings.iter().map(stop).collect()
    }

    /// The first messages to a back end after a reconnect: only one has a reply, which it ignores.
    fn greet_again(&mut self, socket: &Path) {
        self.client = Client::connect(socket);
        let client = &mut self.client;
        client.tell(code::SET_OWNER, &[], &[]);
        client.features();
        let payload = self.protocol.to_le_bytes();
        client.tell(code::SET_PROTOCOL_FEATURES, &payload, &[]);
        client.acks = true;
    }

    /// The connection broke, and a back end is available again.
    fn reconnect(&mut self, socket: &Path) {
        self.greet_again(socket);
        if self.inflight.is_none() && self.features & feature::IN_ORDER != 0 {
            self.activate(Ring::used_idx);
            self.rings.iter().for_each(Ring::kick);
        } else {
            self.activate(|ring| ring.next_avail);
        }
    }

    fn works(&mut self, at: u64) {
        self.rings.iter_mut().for_each(|ring| works(ring, at));
    }
}

#[test]
fn cloud_hypervisor_boots_pauses_resumes_and_leaves() {
    let ramblk = Ramblk::run(&[]);
    let mut vmm = CloudHypervisor::create(ramblk.socket(), 2, ALL, WANTED);
    // The guest takes its time.
    std::thread::sleep(Duration::from_millis(300));
    vmm.activate(|_| 0);
    for round in 0..3 {
        vmm.works(round);
        vmm.enable(0);
        prepare_reads(&vmm.rings[1], 10);
        publish_reads(&mut vmm.rings[1], 10);
        vmm.rings[1].kick();
        std::thread::sleep(Duration::from_millis(20));
        let ring = &vmm.rings[1];
        assert_eq!(ring.used_idx(), ring.seen, "served while paused");
        vmm.enable(1);
        take_reads(&mut vmm.rings[1], 0..10);
    }
    // It shuts down: rings are enabled twice, and the connection closes.
    vmm.enable(1);
    vmm.enable(1);
    vmm.works(50);
    drop(vmm);
    CloudHypervisor::boot(ramblk.socket(), 2, ALL, WANTED).works(0);
}

#[test]
fn cloud_hypervisor_resets_the_device_for_the_next_driver() {
    let ramblk = Ramblk::run(&[]);
    let mut vmm = CloudHypervisor::boot(ramblk.socket(), 2, ALL, WANTED);
    for round in 0..4 {
        (0..=round).for_each(|at| vmm.works(at));
        vmm.rings[0].write(2000, &pattern(512, 3)).unwrap();
        let expected: Vec<_> = vmm.rings.iter().map(|ring| ring.next_avail).collect();
        assert_eq!(vmm.stop(), expected);
        vmm.rings.iter_mut().for_each(clear);
        // Firmware's driver, then the kernel's, then that of the next boot: a new region for each.
        vmm.inflight = None;
        vmm.activate(|_| 0);
        assert_eq!(vmm.rings[1].read(2000, 512), Ok(pattern(512, 3)));
    }
}

#[test]
fn cloud_hypervisor_plugs_memory_in_and_requests_use_it() {
    let ramblk = Ramblk::run(&[]);
    let mut vmm = CloudHypervisor::boot(ramblk.socket(), 1, ALL, WANTED);
    let extra = Region::new(1 << 40, 2 * MIB, 4096);
    let fds = [extra.fd()];
    vmm.client.tell(code::ADD_MEM_REG, &single(&extra), &fds);
    let ring = &mut vmm.rings[0];
    ring.write(7, &pattern(512, 1)).unwrap();
    ring.lay_out(0, 7, &[], 0);
    let pieces = [
        readable_at(ring.area(HEADER), 16),
        writable_at(extra.gpa + MIB, 512),
        writable_at(ring.area(STATUS), 1),
    ];
    let head = ring.direct(3, &pieces);
    assert_eq!(ring.complete(head), 513);
    assert_eq!(ring.status(), OK);
}

#[test]
fn cloud_hypervisor_snapshots_goes_on_and_is_restored_from_the_snapshot() {
    let ramblk = Ramblk::run(&[]);
    let mut vmm = CloudHypervisor::boot(ramblk.socket(), 2, ALL, WANTED);
    vmm.rings[0].write(64, &pattern(4096, 1)).unwrap();
    // Between the pause and the saved state the guest's memory is written to a file, including the
    // rings.
    let stood = vmm.stop();
    let state = save(&vmm.client);
    // The machine continues: everything is set up again on the same connection.
    vmm.activate(|ring| ring.next_avail);
    vmm.rings[1].write(64, &pattern(4096, 2)).unwrap();
    vmm.works(0);
    for round in 0..3 {
        // Another process, with the memory of that time, and the device's state before its rings.
        vmm.greet_again(ramblk.socket());
        vmm.inflight = None;
        assert_eq!(load(&vmm.client, &state), 0, "round {round}");
        for (ring, at) in vmm.rings.iter_mut().zip(&stood) {
            ring.begin_at(*at);
        }
        vmm.activate(|ring| ring.next_avail);
        for ring in &mut vmm.rings {
            assert_eq!(ring.read(64, 4096), Ok(pattern(4096, 1)), "round {round}");
        }
        vmm.rings[0].write(64, &pattern(4096, 9)).unwrap();
    }
}

/// Restore the VM whose rings `stood` at these positions when its disk's `state` was saved, as
/// another process with memory of its own.
fn restored(socket: &Path, state: &[u8], stood: &[u16]) -> CloudHypervisor {
    let mut vmm = CloudHypervisor::create(socket, 2, ALL, WANTED);
    assert_eq!(load(&vmm.client, state), 0);
    for (ring, at) in vmm.rings.iter_mut().zip(stood) {
        ring.begin_at(*at);
    }
    vmm.activate(|ring| ring.next_avail);
    vmm
}

#[test]
fn cloud_hypervisor_restores_one_snapshot_as_several_machines_on_clones_of_its_disk() {
    let world = World::new(64 << 20);
    let mut golden = CloudHypervisor::boot(&world.create("golden"), 2, ALL, WANTED);
    golden.rings[0].write(64, &pattern(4096, 1)).unwrap();
    let stood = golden.stop();
    let state = save(&golden.client);
    golden.activate(|ring| ring.next_avail);
    golden.rings[0].write(64, &pattern(4096, 2)).unwrap();
    let fork = |state: Option<StateChoice>, names: &[&str]| {
        let request = ForksRequest {
            sources: vec![ForkSource {
                disk: Some("golden".to_owned()),
                state,
                names: names.iter().map(|&name| name.to_owned()).collect(),
                ..ForkSource::default()
            }],
            ..ForksRequest::default()
        };
        fork::fork_all(&world.disks, &request)
    };
    let names = ["clone-1", "clone-2", "clone-3", "late"];
    let (forked, _) = fork(Some(StateChoice::Last), &names).unwrap();
    let sockets: Vec<&Path> = forked
        .disks
        .iter()
        .map(|it| Path::new(&it.socket))
        .collect();
    let mut clones = Vec::new();
    for socket in &sockets[..3] {
        clones.push(restored(socket, &state, &stood));
    }
    for (byte, vmm) in (10..).zip(&mut clones) {
        assert_eq!(vmm.rings[0].read(64, 4096), Ok(pattern(4096, 1)));
        vmm.rings[1].write(64, &pattern(4096, byte)).unwrap();
    }
    for (byte, vmm) in (10..).zip(&mut clones) {
        assert_eq!(vmm.rings[0].read(64, 4096), Ok(pattern(4096, byte)));
    }
    assert_eq!(golden.rings[1].read(64, 4096), Ok(pattern(4096, 2)));
    // Once more from the beginning, and as its reset.
    drop(clones);
    let mut again = restored(sockets[1], &state, &stood);
    assert_eq!(again.rings[0].read(64, 4096), Ok(pattern(4096, 1)));
    drop(again);
    let forced = ResetRequest {
        to: None,
        force: true,
    };
    let (reset, _) = reset::reset(&world.disks, "clone-1", forced).unwrap();
    let cloned = reset.clone_of.unwrap();
    assert_eq!((cloned.disk.as_deref(), cloned.number), (Some("golden"), 0));
    let mut first = CloudHypervisor::boot(sockets[0], 2, ALL, WANTED);
    assert_eq!(first.rings[0].read(64, 4096), Ok(pattern(4096, 1)));
    // A fork that is no clone of that state has no use for it, and a state must be there.
    let (plain, _) = fork(None, &["plain"]).unwrap();
    let plain = CloudHypervisor::create(Path::new(&plain.disks[0].socket), 2, ALL, WANTED);
    assert_ne!(load(&plain.client, &state), 0);
    let missing = fork(Some(StateChoice::Number(7)), &["none"]).unwrap_err();
    assert!(missing.detail.contains("there is 0"), "{}", missing.detail);
    // The machine that was saved ends, and its disk goes.
    drop(golden);
    let forced = DestroyOptions {
        force: true,
        ..DestroyOptions::default()
    };
    destroy::destroy(&world.disks, "golden", forced).unwrap();
    let mut late = restored(sockets[3], &state, &stood);
    assert_eq!(late.rings[1].read(64, 4096), Ok(pattern(4096, 1)));
}

/// Boot, kill the back end while requests are outstanding, and continue with another one.
fn reconnects(options: &[&str], features: u64, wanted: u64) {
    let mut ramblk = Ramblk::run(options);
    let mut vmm = CloudHypervisor::boot(ramblk.socket(), 2, features, wanted);
    let inflight = wanted & protocol::INFLIGHT != 0;
    assert_eq!(vmm.inflight.is_some(), inflight);
    for round in 0..12 {
        for ring in &mut vmm.rings {
            prepare_reads(ring, 40);
            publish_reads(ring, 40);
            ring.kick();
        }
        std::thread::sleep(Duration::from_micros(round * 29));
        // Assigning the new one kills the old one at an arbitrary point.
        ramblk = Ramblk::run(options);
        vmm.reconnect(ramblk.socket());
        vmm.rings
            .iter_mut()
            .for_each(|ring| take_reads(ring, 0..40));
        vmm.works(round);
    }
}

#[test]
fn cloud_hypervisor_reconnects_and_the_region_says_what_was_in_flight() {
    reconnects(&[], ALL, WANTED);
}

#[test]
fn cloud_hypervisor_reconnects_without_a_region_and_nothing_is_lost_all_the_same() {
    reconnects(&[], ALL, WANTED & !protocol::INFLIGHT);
}

#[test]
fn cloud_hypervisor_reconnects_to_a_disk_that_completes_in_order() {
    let without = WANTED & !protocol::INFLIGHT;
    for wanted in [without, WANTED] {
        reconnects(&["--in-order"], ALL, wanted);
    }
}

#[test]
fn cloud_hypervisor_reconnects_to_the_same_back_end_and_nothing_is_served_twice() {
    let ramblk = Ramblk::run(&[]);
    for wanted in [WANTED, WANTED & !protocol::INFLIGHT] {
        let mut vmm = CloudHypervisor::boot(ramblk.socket(), 1, ALL, wanted);
        for round in 0..6 {
            let ring = &mut vmm.rings[0];
            prepare_reads(ring, 20);
            publish_reads(ring, 20);
            ring.kick();
            if round % 2 == 0 {
                take_reads(ring, 0..20);
            }
            vmm.reconnect(ramblk.socket());
            let ring = &mut vmm.rings[0];
            if round % 2 != 0 {
                take_reads(ring, 0..20);
            }
            assert!(!readable(&ring.err, Duration::ZERO), "the ring broke");
            vmm.works(round);
        }
    }
}

#[test]
fn what_was_written_before_a_pause_is_there_for_a_write_that_waited_through_a_reconnect() {
    let ramblk = Ramblk::run(&[]);
    let mut vmm = CloudHypervisor::boot(ramblk.socket(), 1, ALL, WANTED);
    vmm.rings[0].write(64, &pattern(4096, 1)).unwrap();
    vmm.enable(0);
    let ring = &mut vmm.rings[0];
    let pieces = ring.lay_out(OUT, 68, &pattern(512, 9), 0);
    let head = ring.direct(5, &pieces);
    ring.put(head);
    ring.publish();
    vmm.reconnect(ramblk.socket());
    let ring = &mut vmm.rings[0];
    assert_eq!(ring.wait().id, u32::from(head));
    let mut expected = pattern(4096, 1);
    expected[2048..2560].copy_from_slice(&pattern(512, 9));
    ring.mem.fill(ring.area(DATA), 4096, 0);
    assert_eq!(ring.read(64, 4096), Ok(expected));
}
