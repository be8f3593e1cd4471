//! Requests that must wait, for their limits, for memory or for a fault: which ones wait, in which
//! order they complete, and that stopping a ring does not wait for them.
//!
//! The back end runs in this process, where its limits can be changed; everything else is as in the
//! program.

mod destroy;
mod faults;
mod full;
mod limits;
mod order;
mod stops;

use std::num::{NonZeroU16, NonZeroU64};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ramblk::device::{BlockDevice, Limit, Limits, Serial, Volume};
use ramblk::store::{DiskSpec, OnFull, SectorSize, Store};
use ramblk::vhost_user::{Hub, Server, ServerOptions, Share, WorkerOptions};
use tempfile::TempDir;

use crate::driver::disk::{ALL, Disk, Segment, encode, request_header};
use crate::driver::feature;
use crate::driver::inflight::Inflight;
use crate::driver::kind::{DISCARD, IN, OUT};
use crate::driver::ring::{Ring, readable_at, writable_at};
use crate::driver::status::UNTOUCHED;
use crate::harness::eventually;

/// Size of the requests here, unless they say otherwise.
const PAGE: u32 = 4096;
/// The longest time that stopping something may take, whatever waits.
const SOON: Duration = Duration::from_millis(250);
/// Long enough to see that something does not happen.
const A_WHILE: Duration = Duration::from_millis(60);

/// A served disk of 64 MiB.
struct Place {
    server: Server,
    store: Store,
    socket: PathBuf,
    _folder: TempDir,
}

impl Place {
    fn new() -> Self {
        Self::with(|_| {})
    }

    /// A disk with this quota, and this behaviour when it is full.
    fn bounded(quota_bytes: u64, on_full: OnFull) -> Self {
        Self::with(|spec| (spec.quota_bytes, spec.on_full) = (Some(quota_bytes), on_full))
    }

    /// A disk that promises to keep the order of requests.
    fn in_order() -> Self {
        Self::made(true, |_| {})
    }

    fn with(change: impl FnOnce(&mut DiskSpec)) -> Self {
        Self::made(false, change)
    }

    fn made(in_order: bool, change: impl FnOnce(&mut DiskSpec)) -> Self {
        // One worker, so that a waiting request could hold up all others.
        Self::served(1, in_order, change)
    }

    /// A disk that this number of workers serves.
    fn on(workers: usize) -> Self {
        Self::served(workers, false, |_| {})
    }

    fn served(workers: usize, in_order: bool, change: impl FnOnce(&mut DiskSpec)) -> Self {
        let store = Store::new(256 << 20).unwrap();
        let mut spec = DiskSpec::new(SectorSize::S512, 64 << 20);
        change(&mut spec);
        let disk = store.create("disk", &spec).unwrap();
        let queues = NonZeroU16::new(4).unwrap();
        let device = BlockDevice::new(disk, Serial::new("parking").unwrap(), queues);
        let hub = Hub::new(&WorkerOptions {
            count: workers,
            poll: Duration::from_micros(32),
            cpus: Vec::new(),
        });
        let share = Share::None;
        let options = ServerOptions { share, in_order };
        let server = Server::new(device, &options, &hub.unwrap());
        let folder = TempDir::new().unwrap();
        let socket = folder.path().join("vhost.sock");
        server.listen(UnixListener::bind(&socket).unwrap()).unwrap();
        Self {
            server,
            store,
            socket,
            _folder: folder,
        }
    }

    fn volume(&self) -> &Volume {
        self.server.device().volume()
    }

    fn limit(&self, limits: &Limits) {
        self.volume().set_limits(limits);
    }

    /// A front end with running queues, whose requests complete in order.
    fn attach(&self, queues: u32) -> Disk {
        Disk::attach_with(&self.socket, ALL & !feature::EVENT_IDX, queues, 256)
    }

    /// A front end with an in-flight region, whose requests complete in any order.
    fn attach_tracked(&self, queues: u32) -> (Disk, Inflight) {
        let mut disk = Disk::prepare(&self.socket, ALL & !feature::EVENT_IDX);
        let region = Inflight::ask(&disk.client, queues as u16, 256);
        region.give(&disk.client);
        for index in 0..queues {
            let ring = Ring::new(&disk.mem, index, 256, false);
            disk.client.start(&ring);
            disk.queues.push(ring);
        }
        (disk, region)
    }

    fn waits(&self, throttled: u64, stalled: u64) {
        eventually("requests wait", || {
            let volume = self.volume();
            (volume.throttled(), volume.stalled()) == (throttled, stalled)
        });
    }
}

fn iops(per_second: u64) -> Limit {
    Limit {
        iops: NonZeroU64::new(per_second),
        ..Limit::default()
    }
}

fn bandwidth(bytes_per_second: u64) -> Limit {
    Limit {
        bytes_per_second: NonZeroU64::new(bytes_per_second),
        ..Limit::default()
    }
}

/// A limit on all requests together.
fn total(limit: Limit) -> Limits {
    Limits {
        total: limit,
        ..Limits::default()
    }
}

/// A limit on writes only.
fn writes(limit: Limit) -> Limits {
    Limits {
        write: limit,
        ..Limits::default()
    }
}

/// Requests identified by a number below 80: that of their three descriptors, and of the place of
/// header, status and data.
trait Numbered {
    fn at(&self, number: u16) -> (u64, u64, u64);
    fn page(&mut self, number: u16, kind: u32, page: u64);
    fn sized(&mut self, number: u16, kind: u32, sector: u64, bytes: u32);
    fn trim(&mut self, number: u16, segment: Segment);
    fn status_of(&self, number: u16) -> u8;
    fn next(&mut self, limit: Duration) -> Option<u16>;
    fn all(&mut self, count: usize, limit: Duration) -> Vec<u16>;
}

impl Numbered for Ring {
    fn at(&self, number: u16) -> (u64, u64, u64) {
        let at = u64::from(number);
        let data = self.area(0x2_0000 + at * 0x4000);
        (self.area(64 * at), self.area(0x8000 + at), data)
    }

    /// Submit a read or a write of the `page`-th 4 KiB.
    fn page(&mut self, number: u16, kind: u32, page: u64) {
        self.sized(number, kind, page * 8, PAGE);
    }

    fn sized(&mut self, number: u16, kind: u32, sector: u64, bytes: u32) {
        let (header, status, data) = self.at(number);
        self.mem.write(header, &request_header(kind, sector));
        self.mem.fill(status, 1, UNTOUCHED);
        let payload = match kind {
            OUT => {
                let bytes = bytes as usize;
                self.mem.fill(data, bytes, number.to_le_bytes()[0] | 0x80);
                readable_at(data, bytes as u32)
            }
            _ => writable_at(data, bytes),
        };
        let pieces = [readable_at(header, 16), payload, writable_at(status, 1)];
        let head = self.direct(3 * number, &pieces);
        self.submit(head);
    }

    fn trim(&mut self, number: u16, segment: Segment) {
        let (header, status, data) = self.at(number);
        self.mem.write(header, &request_header(DISCARD, 0));
        self.mem.write(data, &encode(&[segment]));
        self.mem.fill(status, 1, UNTOUCHED);
        let pieces = [
            readable_at(header, 16),
            readable_at(data, 16),
            writable_at(status, 1),
        ];
        let head = self.direct(3 * number, &pieces);
        self.submit(head);
    }

    fn status_of(&self, number: u16) -> u8 {
        self.mem.read(self.at(number).1, 1)[0]
    }

    /// The number of the next request that completes.
    fn next(&mut self, limit: Duration) -> Option<u16> {
        self.wait_for(limit).map(|used| used.id as u16 / 3)
    }

    /// The numbers of the next requests, which must all complete within `limit`.
    fn all(&mut self, count: usize, limit: Duration) -> Vec<u16> {
        let deadline = Instant::now() + limit;
        let mut numbers = Vec::new();
        while numbers.len() < count {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.next(left) {
                Some(number) => numbers.push(number),
                None => panic!("only {numbers:?} of {count} came back in {limit:?}"),
            }
        }
        numbers
    }
}

/// How many requests of this size complete in `time`, with `depth` outstanding in each ring.
fn count_for(rings: &mut [&mut Ring], depth: u16, kind: u32, bytes: u32, time: Duration) -> u64 {
    for ring in rings.iter_mut() {
        (0..depth).for_each(|number| ring.sized(number, kind, 0, bytes));
    }
    let end = Instant::now() + time;
    let mut count = 0;
    while Instant::now() < end {
        let mut found = false;
        for ring in rings.iter_mut() {
            while let Some(used) = ring.pop() {
                found = true;
                count += 1;
                ring.submit(used.id as u16);
            }
        }
        if !found {
            std::thread::sleep(Duration::from_micros(200));
        }
    }
    count
}

/// Check a count against a rate, with some percent for a machine that runs other tests.
fn is_about(count: u64, expected: u64) {
    let least = expected * 85 / 100;
    // A hundredth of a second's worth may come at once; and the last look may come late, and find
    // all that were out.
    let most = expected * 102 / 100 + 8;
    assert!(
        (least..=most).contains(&count),
        "{count} requests where {expected} were expected"
    );
}

/// Write pages until the disk is full; afterwards the first `count` pages are mapped.
fn fill(ring: &mut Ring, count: u64) {
    for page in 0..count {
        ring.page(0, OUT, page);
        ring.all(1, Duration::from_secs(10));
        assert_eq!(ring.status_of(0), 0, "page {page}");
    }
}

/// A page that was never written.
const FRESH: u64 = 8000;

fn read_back(ring: &mut Ring, number: u16, page: u64) -> u8 {
    ring.page(number, IN, page);
    ring.all(1, Duration::from_secs(10));
    ring.mem.read(ring.at(number).2, 1)[0]
}
