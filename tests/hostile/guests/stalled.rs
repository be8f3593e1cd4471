//! A guest of a disk with faults that keeps a thousand requests waiting.

use std::time::{Duration, Instant};

use crate::driver::disk::{ALL, Disk, TABLE, request_header};
use crate::driver::feature;
use crate::driver::inflight::Inflight;
use crate::driver::kind::OUT;
use crate::driver::ring::{Ring, readable_at, writable_at};
use crate::driver::status::{IOERR, UNTOUCHED};
use crate::harness::eventually;
use crate::victim::{A_WHILE, MINE, PARTS, Victim};

const QUEUES: u16 = 8;
/// Entries of each queue, all of which are used.
const DEPTH: u16 = 256;
/// How long a stop of a ring may take, whatever waits in it.
const STOP: Duration = Duration::from_millis(100);
/// As for [`super::giants`]: other tests run on the machine at the same time.
const STALL: Duration = Duration::from_millis(400);

/// Where the header, the data, the status and the table of a request are in the queue's area.
fn places(ring: &Ring, head: u16) -> [u64; 4] {
    let own = ring.area(TABLE + 0x100 * u64::from(head));
    [own, ring.area(0), own + 0x20, own + 0x40]
}

/// Fill a ring with writes of a sector each, of an indirect table each.
fn fill(ring: &mut Ring) {
    for head in 0..DEPTH {
        let [header, data, status, table] = places(ring, head);
        let sector = MINE + 8 + u64::from(head);
        ring.mem.write(header, &request_header(OUT, sector));
        ring.mem.fill(status, 1, UNTOUCHED);
        let pieces = [
            readable_at(header, 16),
            readable_at(data, 512),
            writable_at(status, 1),
        ];
        ring.indirect(head, &[], table, &pieces, 0);
        ring.put(head);
    }
    ring.publish();
    ring.kick();
}

/// Everything that came back, which must be all of it, failed.
fn all_failed(ring: &mut Ring) {
    let mut heads: Vec<u32> = std::iter::from_fn(|| ring.pop())
        .map(|used| used.id)
        .collect();
    heads.sort_unstable();
    assert!(heads.into_iter().eq(0..u32::from(DEPTH)), "each once");
    for head in 0..DEPTH {
        let [_, _, status, _] = places(ring, head);
        assert_eq!(ring.mem.read(status, 1), [IOERR], "head {head}");
    }
}

#[test]
fn two_thousand_stalled_requests_stall_nobody_and_no_stop() {
    // Of the disk's sectors that are not the honest front end's, all but a few.
    let rule = format!("stall,range={}+32M", (MINE + 8) * 512);
    let victim = Victim::sized("64M", &PARTS, &["--fault", &rule]);
    let before = victim.ramblk.rss_kib();
    let mut disk = Disk::prepare(victim.ramblk.socket(), ALL & !feature::EVENT_IDX);
    let region = Inflight::ask(&disk.client, QUEUES, DEPTH);
    region.give(&disk.client);
    for index in 0..QUEUES {
        let ring = Ring::new(&disk.mem, index.into(), DEPTH, false);
        disk.client.start(&ring);
        disk.queues.push(ring);
    }
    for round in 0..3 {
        disk.queues.iter_mut().for_each(fill);
        eventually("all of them wait", || {
            let taken = |index| region.queue(index).marked().len();
            (0..QUEUES).all(|index| taken(index) == usize::from(DEPTH))
        });
        std::thread::sleep(A_WHILE / 3);
        victim.honest.gets_on("stalled requests");
        let more = victim.ramblk.rss_kib().saturating_sub(before);
        assert!(more < 8 << 10, "{more} KiB for stalled requests");
        let mut stops = Vec::new();
        for ring in &mut disk.queues {
            let asked = Instant::now();
            disk.client.stop(ring.index);
            stops.push(asked.elapsed());
            all_failed(ring);
            disk.client.start(ring);
        }
        stops.sort_unstable();
        // One of them may be late because of the machine.
        assert!(stops[stops.len() - 2] < STOP, "round {round}: {stops:?}");
        assert!(stops[stops.len() - 1] < STALL, "round {round}: {stops:?}");
    }
    drop(disk);
    victim.is_unharmed("stalled requests");
    let record = victim.honest.finish();
    let longest = record.longest_stall();
    assert!(longest < STALL, "the honest one waited {longest:?}");
}
