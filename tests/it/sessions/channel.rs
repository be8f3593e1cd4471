//! The back-end request channel: a front end with working rings learns at once that its disk
//! changed its size, any other when its rings work again. The library serves the disk, in this
//! process.

use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use ramblk::daemon::disks::change;
use ramblk::model::{DiskPatch, DiskSettings, Share};

use crate::disks::World;
use crate::driver::client::{Client, code};
use crate::driver::disk::{ALL, Disk};
use crate::driver::memory::MIB;
use crate::driver::offer::works;
use crate::driver::wire::readable;

/// A disk of 16 MiB.
struct Growing {
    world: World,
    socket: PathBuf,
}

impl Growing {
    fn new(share: Share) -> Self {
        let world = World::new(64 * MIB);
        let settings = DiskSettings {
            queues: 2,
            share,
            ..DiskSettings::new(16 * MIB)
        };
        let socket = world.create_with("growing", settings);
        Self { world, socket }
    }

    /// Resize, and return how many front ends were notified.
    fn becomes(&self, mib: u64) -> usize {
        let patch = DiskPatch {
            size_bytes: Some(mib * MIB),
            shrink: true,
            ..DiskPatch::default()
        };
        let patched = change::patch(&self.world.disks, "growing", patch).unwrap();
        patched.resized.unwrap().notified
    }
}

/// SET_BACKEND_REQ_FD: the front end's end of the new channel.
fn channel(client: &Client) -> UnixStream {
    let (ours, theirs) = UnixStream::pair().unwrap();
    client.tell(code::SET_BACKEND_REQ_FD, &[], &[theirs.as_fd()]);
    ours
}

/// Take one CONFIG_CHANGE_MSG, which requests no reply, and check that nothing follows.
fn hears(mut channel: &UnixStream) {
    assert!(readable(channel, Duration::from_secs(5)), "not told");
    let mut message = [0; 12];
    channel.read_exact(&mut message).unwrap();
    let words = [2u32, 1, 0].map(u32::to_ne_bytes).concat();
    assert_eq!(message[..], words);
    hears_nothing(channel);
}

fn hears_nothing(channel: &UnixStream) {
    assert!(!readable(channel, Duration::from_millis(20)), "told");
}

#[test]
fn a_front_end_whose_rings_work_is_told_and_finds_the_new_capacity() {
    let disk = Growing::new(Share::None);
    let mut front = Disk::attach(&disk.socket);
    let channel = channel(&front.client);
    hears_nothing(&channel);
    for mib in [32, 8, 48] {
        assert_eq!(disk.becomes(mib), 1);
        hears(&channel);
        assert_eq!(front.capacity(), mib * 2048);
        works(front.q(), mib * 2048 - 8);
        assert!(front.q().read(mib * 2048 - 7, 4096).is_err());
    }
}

#[test]
fn a_suspended_front_end_hears_nothing_before_its_rings_work_again() {
    let disk = Growing::new(Share::None);
    let front = Disk::prepare(&disk.socket, ALL);
    let channel = channel(&front.client);
    assert_eq!(disk.becomes(32), 0);
    hears_nothing(&channel);
    let ring = crate::driver::ring::Ring::new(&front.mem, 0, 256, true);
    for mib in [24, 40] {
        front.client.start(&ring);
        hears(&channel);
        assert_eq!(front.capacity(), if mib == 24 { 32 } else { 24 } * 2048);
        front.client.stop(0);
        // However many resizes, it is one notification.
        assert_eq!([disk.becomes(16), disk.becomes(mib)], [0, 0]);
        hears_nothing(&channel);
        assert!(front.client.answers(), "suspended, but not deaf");
    }
}

#[test]
fn a_channel_that_comes_late_or_anew_is_the_one_that_is_used() {
    let disk = Growing::new(Share::None);
    let front = Disk::attach(&disk.socket);
    assert_eq!(disk.becomes(32), 0, "told without a channel");
    // As cloud-hypervisor does it, after the rings have started.
    let first = channel(&front.client);
    hears(&first);
    let second = channel(&front.client);
    assert_eq!(disk.becomes(16), 1);
    hears(&second);
    let mut rest = Vec::new();
    (&first).read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty(), "the old channel was not simply closed");
}

#[test]
fn every_front_end_of_a_shared_disk_is_told() {
    let disk = Growing::new(Share::Rw);
    let fronts = [0, 1, 2].map(|_| Disk::attach(&disk.socket));
    let channels = fronts.each_ref().map(|front| channel(&front.client));
    assert_eq!(disk.becomes(32), 3);
    channels.iter().for_each(hears);
    for front in &fronts {
        assert_eq!(front.capacity(), 32 * 2048);
    }
}

#[test]
fn a_front_end_that_never_reads_its_channel_holds_up_nobody() {
    let disk = Growing::new(Share::None);
    let mut front = Disk::attach(&disk.socket);
    let channel = channel(&front.client);
    // More than fits into any socket.
    let told: usize = (0..40_000).map(|i| disk.becomes(16 + i % 2)).sum();
    assert!(told < 40_000, "a socket without an end");
    works(front.q(), 0);
    assert_eq!(front.capacity(), 17 * 2048);
    drop(channel);
    assert_eq!(disk.becomes(16), 0);
    works(front.q(), 0);
}
