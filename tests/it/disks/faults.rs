//! Faults on command: kept over restarts, told, and about one disk only.

use std::sync::Arc;

use ramblk::daemon::disks::{change, create, describe, faults, fork};
use ramblk::model::{DiskPatch, DiskSettings, EventKind, ForkRequest, ProblemKind};
use ramblk::store::Store;

use super::*;
use crate::driver::disk::{Disk, segment};
use crate::driver::kind::OUT;
use crate::driver::status::IOERR;

#[test]
fn faults_are_kept_over_restarts_in_their_order() {
    let store = Arc::new(Store::new(64 << 20).unwrap());
    let world = World::of(Arc::clone(&store), 100);
    world.create("a");
    faults::add(&world.disks, "a", "error,op=write,range=0+512").unwrap();
    faults::add(&world.disks, "a", "stall,op=flush,id=hold,times=1").unwrap();
    let had = faults::list(&world.disks, "a").unwrap();
    drop(world);
    let world = World::of(store, 100);
    assert_eq!(faults::list(&world.disks, "a").unwrap(), had);
    let socket = describe::get(&world.disks, "a").unwrap().socket;
    let mut disk = Disk::attach(socket.as_ref());
    assert_eq!(disk.q().write(0, &[1; 512]), Err(IOERR));
    assert_eq!(disk.q().write(1, &[1; 512]), Ok(()));
}

#[test]
fn a_neighbour_and_a_fork_notice_nothing_of_a_disks_faults() {
    let world = World::new(64 << 20);
    world.create("a");
    let neighbour = world.create("b");
    faults::add(&world.disks, "a", "error").unwrap();
    faults::add(&world.disks, "a", "stall").unwrap();
    let request = ForkRequest {
        name: "c".into(),
        snapshot: None,
        serial: None,
        labels: Default::default(),
        queues: None,
        read_only: None,
    };
    let forked = fork::fork(&world.disks, "a", request).unwrap();
    for socket in [neighbour, forked.socket.into()] {
        let mut disk = Disk::attach(&socket);
        for sector in 0..200 {
            let data = [sector as u8 | 1; 512];
            disk.q().write(sector, &data).unwrap();
            assert_eq!(disk.q().read(sector, 512).unwrap(), data);
        }
        disk.q().flush().unwrap();
    }
    for name in ["b", "c"] {
        let stats = describe::stats(&world.disks, name).unwrap();
        assert_eq!((stats.faults_total, stats.held), (0, 0));
        assert!(stats.operations.values().all(|one| one.errors == 0));
    }
}

/// A disk that is used beside one with faults, and what it must hold.
struct Honest {
    name: &'static str,
    disk: Disk,
    content: Vec<u8>,
    turn: u8,
}

impl Honest {
    const SECTORS: u64 = 256;

    fn attach(world: &World, name: &'static str) -> Self {
        let socket = describe::get(&world.disks, name).unwrap().socket;
        let mut disk = Disk::attach(socket.as_ref());
        let content = disk.q().read(0, 512 * Self::SECTORS as usize).unwrap();
        Self {
            name,
            disk,
            content,
            turn: 0,
        }
    }

    /// Write a fourth of the disk, and compare all of it.
    fn works(&mut self, beside: &str) {
        self.turn = self.turn.wrapping_add(1);
        for sector in (u64::from(self.turn % 4)..Self::SECTORS).step_by(4) {
            let data = [self.turn | 1; 512];
            self.disk.q().write(sector, &data).unwrap();
            self.content[sector as usize * 512..][..512].copy_from_slice(&data);
        }
        self.disk.q().flush().unwrap();
        let found = self.disk.q().read(0, self.content.len()).unwrap();
        assert!(found == self.content, "{} beside {beside}", self.name);
    }
}

#[test]
fn no_kind_of_fault_touches_a_neighbour_or_what_a_fork_shares() {
    let world = World::new(64 << 20);
    let socket = world.create("a");
    world.create("b");
    let mut disk = Disk::attach(&socket);
    for sector in 0..Honest::SECTORS {
        disk.q().write(sector, &[0xaa; 512]).unwrap();
    }
    drop(disk);
    fork::fork(&world.disks, "a", ForkRequest::new("c")).unwrap();
    let mut honest = ["b", "c"].map(|name| Honest::attach(&world, name));
    let kinds = "error unsupported delay=100us torn torn-silent lost lost-flush misdirected=+8 \
                 misdirected=-8 corrupt=3 full personality=nvme rot=99,range=0+128K stall \
                 disconnect";
    for kind in kinds.split_whitespace() {
        faults::add(&world.disks, "a", kind).unwrap();
        let mut disk = Disk::attach(&socket);
        let q = disk.q();
        let is_answered = !matches!(kind, "stall" | "disconnect");
        for sector in (0..Honest::SECTORS).step_by(8).take_while(|_| is_answered) {
            let _ = q.write(sector, &[0xbb; 4096]);
            let _ = q.read(sector, 4096);
            let _ = q.discard(&[segment(sector + 1, 1, 0)]);
            let _ = q.write_zeroes(&[segment(sector + 2, 2, 1)]);
            let _ = q.flush();
        }
        let pieces = q.lay_out(OUT, 0, &[0xcc; 4096], 0);
        let head = q.direct(0, &pieces);
        q.submit(head);
        honest.iter_mut().for_each(|one| one.works(kind));
        faults::clear(&world.disks, "a").unwrap();
        drop(disk);
        honest.iter_mut().for_each(|one| one.works(kind));
    }
    for one in &honest {
        let stats = describe::stats(&world.disks, one.name).unwrap();
        assert_eq!((stats.faults_total, stats.held), (0, 0));
        assert!(stats.operations.values().all(|one| one.errors == 0));
    }
    let fired = describe::stats(&world.disks, "a").unwrap().faults_total;
    assert!(fired > 14 * 32, "{fired}");
}

#[test]
fn a_fault_that_fires_is_told_and_one_that_stays_counts_on() {
    let world = World::new(64 << 20);
    let socket = world.create("a");
    let mut events = world.disks.events().listen();
    faults::add(&world.disks, "a", "error,op=read,id=r").unwrap();
    let mut disk = Disk::attach(&socket);
    assert_eq!(disk.q().read(0, 512), Err(IOERR));
    let event = until(&mut events, EventKind::FaultFired);
    assert_eq!(event.disk.as_deref(), Some("a"));
    let details = event
        .details
        .iter()
        .map(|(key, value)| format!("{key}={value}"));
    let details = details.collect::<Vec<_>>().join(" ");
    assert_eq!(details, "id=r kind=error times=1");
    // A change of other settings, and of other faults, leaves it as it is.
    let patch = DiskPatch {
        faults: Some(vec!["error,op=flush".into(), "error,op=read,id=r".into()]),
        ..DiskPatch::default()
    };
    change::patch(&world.disks, "a", patch).unwrap();
    let list = faults::list(&world.disks, "a").unwrap();
    let counts: Vec<_> = list.iter().map(|it| (it.id.as_str(), it.fired)).collect();
    assert_eq!(counts, [("f1", 0), ("r", 1)]);
    faults::clear(&world.disks, "a").unwrap();
    assert_eq!(disk.q().read(0, 512), Ok(vec![0; 512]));
    assert_eq!(faults::log(&world.disks, "a").unwrap().firings.len(), 1);
}

#[test]
fn the_same_disk_with_other_faults_is_another_one() {
    let world = World::new(64 << 20);
    let mut settings = DiskSettings::new(16 << 20);
    settings.faults = vec!["stall,op=flush".into()];
    world.create_with("a", settings.clone());
    world.create_with("a", settings.clone());
    settings.faults = vec!["error,range=16M+512".into()];
    let refused = create::put(&world.disks, "b", settings.clone());
    says(
        refused,
        ProblemKind::Invalid,
        &["f1", "does not lie on the disk"],
    );
    settings.faults.clear();
    let refused = create::put(&world.disks, "a", settings);
    says(refused, ProblemKind::Conflict, &["faults"]);
}
