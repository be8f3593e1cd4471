//! Queue counters are exact: by kind, with bytes and errors, per queue, whatever happens to its
//! rings, and on every path that a request can take.

use std::num::NonZeroU16;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ramblk::device::{BlockDevice, LatencyHistogram, OperationStats, QueueStats, Serial, Stats};
use ramblk::store::{DiskSpec, SectorSize, Store};
use ramblk::vhost_user::{Hub, Server, ServerOptions, Share, WorkerOptions};
use tempfile::TempDir;

use crate::driver::data::pattern;
use crate::driver::disk::{ALL, DATA, Disk, HEADER, STATUS, request_header, segment};
use crate::driver::kind::{FLUSH, GET_ID, IN, OUT};
use crate::driver::memory::MIB;
use crate::driver::ring::{Ring, cut, readable_at, writable_at};
use crate::driver::status::{IOERR, OK, UNSUPP};
use crate::harness::eventually;

const SIZE: u64 = 64 * MIB;
const SECTORS: u64 = SIZE / 512;

struct Served {
    server: Server,
    store: Store,
    socket: PathBuf,
    _folder: TempDir,
}

impl Served {
    fn new(share: Share) -> Self {
        let folder = TempDir::new().unwrap();
        let socket = folder.path().join("vhost.sock");
        let store = Store::new(4 * SIZE).unwrap();
        let disk = store.create("disk", &DiskSpec::new(SectorSize::S512, SIZE));
        let queues = NonZeroU16::new(4).unwrap();
        let device = BlockDevice::new(disk.unwrap(), Serial::new("disk").unwrap(), queues);
        let hub = Hub::new(&WorkerOptions {
            count: 2,
            poll: Duration::from_micros(32),
            cpus: Vec::new(),
        });
        let options = ServerOptions {
            share,
            in_order: false,
        };
        let server = Server::new(device, &options, &hub.unwrap());
        server.listen(UnixListener::bind(&socket).unwrap()).unwrap();
        Self {
            server,
            store,
            socket,
            _folder: folder,
        }
    }

    /// A request is counted after it is published, a moment after its driver sees it.
    fn stats(&self, completed: u64) -> Stats {
        let all =
            |queue: &QueueStats| -> u64 { operations(queue).iter().map(|o| o.completed).sum() };
        eventually("all is counted", || {
            all(&self.server.device().volume().stats().total()) >= completed
        });
        let stats = self.server.device().volume().stats();
        assert_eq!(all(&stats.total()), completed, "{stats:#?}");
        stats.queues.iter().for_each(consistent);
        stats
    }
}

fn operations(queue: &QueueStats) -> [OperationStats; 6] {
    [
        queue.reads,
        queue.writes,
        queue.flushes,
        queue.discards,
        queue.write_zeroes,
        queue.others,
    ]
}

/// Each histogram has as many requests as completed, and as much time as its classes say.
fn consistent(queue: &QueueStats) {
    for operation in operations(queue) {
        let latency = &operation.latency;
        assert_eq!(latency.requests.iter().sum::<u64>(), operation.completed);
        within(latency, operation.time_ns);
    }
    assert_eq!(queue.in_flight, 0);
}

fn within(histogram: &LatencyHistogram, time_ns: u64) {
    let bounds = ramblk::device::LATENCY_BOUNDS_NS;
    let least: u64 = (1..bounds.len() + 1)
        .map(|class| bounds[class - 1] * histogram.requests[class])
        .sum();
    assert!(time_ns >= least, "{time_ns} ns of {histogram:?}");
    assert_eq!(histogram.requests[bounds.len()], 0, "17 s: {histogram:?}");
    let most: u64 = (0..bounds.len())
        .map(|class| bounds[class] * histogram.requests[class])
        .sum();
    assert!(time_ns <= most, "{time_ns} ns of {histogram:?}");
}

/// Without the time, which can't be predicted.
fn counts(operation: OperationStats) -> (u64, u64, u64) {
    (operation.completed, operation.errors, operation.bytes)
}

/// `count` plain requests of 4 KiB, published at once; the last one is outside the disk.
fn plain(ring: &mut Ring, kind: u32, count: u16) {
    for i in 0..count {
        let at = ring.area(DATA) + u64::from(i) * 0x2000;
        let sector = if i + 1 == count {
            SECTORS
        } else {
            u64::from(i) * 8
        };
        ring.mem.write(at, &request_header(kind, sector));
        let data = if kind == IN {
            writable_at(at + 0x1000, 4096)
        } else {
            readable_at(at + 0x1000, 4096)
        };
        let pieces = [readable_at(at, 16), data, writable_at(at + 0x100, 1)];
        let head = ring.direct(3 * i, &pieces);
        ring.put(head);
    }
    ring.publish();
    ring.kick();
    for i in 0..count {
        assert_eq!(ring.wait().id, u32::from(3 * i));
        let at = ring.area(DATA) + u64::from(i) * 0x2000;
        let status = if i + 1 == count { IOERR } else { OK };
        assert_eq!(ring.mem.read(at + 0x100, 1), [status]);
    }
}

/// One request of each kind, and some that fail. Returns how many.
fn singles(ring: &mut Ring) -> u64 {
    // Two buffers, so that they aren't plain.
    let at = ring.area(DATA);
    for (kind, sector, status) in [
        (IN, 8, OK),
        (IN, SECTORS - 1, IOERR),
        (OUT, 8, OK),
        (OUT, u64::MAX, IOERR),
    ] {
        ring.mem
            .write(ring.area(HEADER), &request_header(kind, sector));
        let data = cut(at, &[512, 1024], kind == IN);
        let mut pieces = vec![readable_at(ring.area(HEADER), 16)];
        pieces.extend(data);
        pieces.push(writable_at(ring.area(STATUS), 1));
        let head = ring.direct(0, &pieces);
        ring.complete(head);
        assert_eq!(ring.mem.read(ring.area(STATUS), 1), [status]);
    }
    ring.flush().unwrap();
    ring.flush().unwrap();
    assert_eq!(ring.request(GET_ID, 0, &[], 20).status, OK);
    assert_eq!(ring.request(77, 0, &[], 20).status, UNSUPP);
    // A flush with a header that is too short.
    ring.mem.write(ring.area(HEADER), &request_header(FLUSH, 0));
    let pieces = [
        readable_at(ring.area(HEADER), 12),
        writable_at(ring.area(STATUS), 1),
    ];
    let head = ring.direct(0, &pieces);
    ring.complete(head);
    // No byte for a status.
    let head = ring.direct(0, &[readable_at(ring.area(HEADER), 16)]);
    ring.complete(head);
    ring.discard(&[segment(0, 8, 0), segment(64, 16, 0)])
        .unwrap();
    ring.discard(&[segment(SECTORS, 8, 0)]).unwrap_err();
    ring.write_zeroes(&[segment(8, 40, 1)]).unwrap();
    ring.write_zeroes(&[segment(8, 40, 2)]).unwrap_err();
    14
}

#[test]
fn every_request_is_counted_once_with_its_bytes_and_its_error() {
    let served = Served::new(Share::None);
    let mut disk = Disk::attach_with(&served.socket, ALL, 2, 256);
    assert_eq!(served.stats(0).total(), QueueStats::default());
    plain(&mut disk.queues[0], OUT, 20);
    plain(&mut disk.queues[0], IN, 33);
    let stats = served.stats(53);
    assert_eq!(counts(stats.queues[0].writes), (20, 1, 19 * 4096));
    assert_eq!(counts(stats.queues[0].reads), (33, 1, 32 * 4096));
    assert_eq!(stats.queues[1], QueueStats::default());
    let done = singles(&mut disk.queues[1]);
    let stats = served.stats(53 + done);
    let queue = stats.queues[1];
    assert_eq!(counts(queue.reads), (2, 1, 1536));
    assert_eq!(counts(queue.writes), (2, 1, 1536));
    assert_eq!(counts(queue.flushes), (2, 0, 0));
    assert_eq!(counts(queue.discards), (2, 1, 24 * 512));
    assert_eq!(counts(queue.write_zeroes), (2, 1, 40 * 512));
    assert_eq!(counts(queue.others), (4, 3, 0));
    assert_eq!(counts(stats.queues[0].writes), (20, 1, 19 * 4096));
    assert_eq!(served.store.keys().len(), 1);
}

#[test]
fn nothing_goes_down_when_rings_stop_and_front_ends_change() {
    let served = Served::new(Share::None);
    let mut disk = Disk::attach(&served.socket);
    for round in 1..=3 {
        plain(disk.q(), OUT, 10);
        let base = disk.client.stop(0);
        assert_eq!(base, 10 * round);
        disk.client.start(&disk.queues[0]);
    }
    drop(disk);
    let mut next = Disk::attach(&served.socket);
    plain(next.q(), OUT, 10);
    let stats = served.stats(40);
    assert_eq!(counts(stats.total().writes), (40, 4, 36 * 4096));
    assert_eq!(
        stats.queues.len(),
        1,
        "queues that were never used have nothing"
    );
}

#[test]
fn rings_of_several_front_ends_count_in_the_same_queue() {
    let served = Served::new(Share::Any);
    let mut disks: Vec<_> = (0..6).map(|_| Disk::attach(&served.socket)).collect();
    std::thread::scope(|scope| {
        for disk in &mut disks {
            scope.spawn(|| (0..50).for_each(|_| plain(disk.q(), OUT, 20)));
        }
    });
    let stats = served.stats(6 * 50 * 20);
    let done = 6 * 50;
    assert_eq!(
        counts(stats.queues[0].writes),
        (20 * done, done, 19 * done * 4096)
    );
    // Disks that are gone leave their counters to the next one.
    drop(disks);
    let mut disk = Disk::attach(&served.socket);
    plain(disk.q(), IN, 20);
    let stats = served.stats(6 * 50 * 20 + 20);
    assert_eq!(stats.total().writes.completed, 20 * done);
}

#[test]
fn a_long_request_counts_with_all_the_time_that_it_took() {
    let served = Served::new(Share::None);
    let mut disk = Disk::attach_with(&served.socket, ALL, 2, 256);
    let ring = disk.q();
    ring.mem.write(ring.area(DATA), &pattern(MIB as usize, 3));
    ring.mem.write(ring.area(HEADER), &request_header(OUT, 0));
    // 40 MiB, all from the same buffer: many steps, with many turns of the other queue in between.
    let mut pieces = vec![readable_at(ring.area(HEADER), 16)];
    pieces.extend((0..40).map(|_| readable_at(ring.area(DATA), MIB as u32)));
    pieces.push(writable_at(ring.area(STATUS), 1));
    let head = ring.direct(0, &pieces);
    let began = Instant::now();
    ring.complete(head);
    let took = began.elapsed();
    let stats = served.stats(1);
    let writes = stats.queues[0].writes;
    assert_eq!(counts(writes), (1, 0, 40 * MIB));
    let counted = Duration::from_nanos(writes.time_ns);
    assert!(
        counted <= took && counted > took / 4,
        "{counted:?} of {took:?}"
    );
}

#[test]
fn a_device_that_is_not_served_has_nothing_and_a_scrape_is_a_moment() {
    let served = Served::new(Share::None);
    assert!(served.server.device().volume().stats().queues.is_empty());
    let mut disk = Disk::attach_with(&served.socket, ALL, 4, 256);
    let device = Arc::new(&served);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut last = 0;
            for _ in 0..2000 {
                let now = device.server.device().volume().stats().total().writes.bytes;
                assert!(now >= last, "went down");
                last = now;
            }
        });
        (0..50).for_each(|_| plain(disk.q(), OUT, 20));
        reader.join().unwrap();
    });
    served.stats(1000);
}
