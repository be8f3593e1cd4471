//! Large requests, or many: they hold up no other front end, and the memory that they take is
//! bounded.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::attacks::{GIANT, GIANT_AT, keep_full, most_of_the_disk};
use crate::driver::disk::{ALL, Disk, encode};
use crate::driver::kind::{DISCARD, IN, WRITE_ZEROES};
use crate::driver::ring::{readable_at, writable_at};
use crate::driver::status::{IOERR, OK};
use crate::honest::Record;
use crate::victim::{A_WHILE, MINE, PARTS, Victim, withstand};

/// The bar is 100 ms, which `scripts/bench hostile` measures. A machine that runs other tests at
/// the same time gets a longer one.
const STALL: Duration = Duration::from_millis(400);

fn did_not_stall(record: &Record, by: &str) {
    let longest = record.longest_stall();
    assert!(longest < STALL, "{by}: the honest one waited {longest:?}");
    let count = record.latencies.len();
    assert!(count > 20, "{by}: the honest one had {count} requests");
}

fn stalls_nobody(attack: &str) {
    // The machine itself may stop everything for a while once, as when it frees memory of other
    // programs; an attack that stalls others does so each time.
    for _ in 0..2 {
        let record = withstand(attack, A_WHILE);
        if record.longest_stall() < STALL {
            return did_not_stall(&record, attack);
        }
    }
    did_not_stall(&withstand(attack, A_WHILE), attack);
}

#[test]
fn a_ring_of_giant_reads_stalls_nobody() {
    stalls_nobody("a ring of 8192 reads of 32 MiB each");
}

#[test]
fn a_ring_of_giant_writes_stalls_nobody() {
    stalls_nobody("a ring of 8192 writes of 32 MiB each");
}

#[test]
fn many_rings_of_giant_reads_stall_nobody() {
    stalls_nobody("64 rings of reads of 32 MiB each");
}

#[test]
fn rings_full_of_tiny_requests_stall_nobody() {
    stalls_nobody("two queues full of flushes");
}

#[test]
fn discards_of_huge_ranges_stall_nobody() {
    stalls_nobody("discards of 256 ranges of 4 GiB");
}

#[test]
fn write_zeroes_of_huge_ranges_stall_nobody() {
    stalls_nobody("zeroing 256 ranges of 4 GiB, unmapped");
    stalls_nobody("zeroing 256 ranges of 4 GiB, mapped");
}

#[test]
fn ranges_that_overlap_in_one_request_stall_nobody() {
    stalls_nobody("32 MiB discarded 256 times over");
}

#[test]
fn a_ring_with_hours_of_work_in_it_stops_when_it_is_told_to() {
    let victim = Victim::sized("1T", PARTS.split_at(1).0, &[]);
    let mut disk = Disk::attach_with(victim.ramblk.socket(), ALL, 2, 8192);
    let stop = AtomicBool::new(false);
    let (busy, rest) = disk.queues.split_at_mut(1);
    let bytes = encode(&most_of_the_disk(0));
    disk.mem.write(GIANT_AT + u64::from(GIANT), &bytes);
    let mut reads = busy[0].lay_out(IN, MINE, &[], 0);
    reads.insert(1, writable_at(GIANT_AT, GIANT));
    let mut zeroes = rest[0].lay_out(WRITE_ZEROES, 0, &[], 0);
    zeroes.insert(
        1,
        readable_at(GIANT_AT + u64::from(GIANT), bytes.len() as u32),
    );
    let mut waits = Vec::new();
    std::thread::scope(|scope| {
        let client = &disk.client;
        let addresses = [busy[0].addresses(), rest[0].addresses()];
        let kicks = [&busy[0], &rest[0]].map(|ring| ring.kick.try_clone().unwrap());
        scope.spawn(|| keep_full(&mut busy[0], &reads, &stop));
        scope.spawn(|| keep_full(&mut rest[0], &zeroes, &stop));
        for index in [0, 1, 0, 1, 0, 1] {
            std::thread::sleep(Duration::from_millis(100));
            let asked = Instant::now();
            client.stop(index);
            waits.push(asked.elapsed());
            // It is served again from where it was.
            use crate::driver::client::code;
            client.tell(code::SET_VRING_ADDR, &addresses[index as usize], &[]);
            client.vring_fd(code::SET_VRING_KICK, index, &kicks[index as usize]);
        }
        stop.store(true, Ordering::Relaxed);
    });
    waits.sort_unstable();
    // One of them may be late because of the machine.
    assert!(waits[4] < Duration::from_millis(100), "{waits:?}");
    assert!(waits[5] < STALL, "{waits:?}");
    drop(disk);
    victim.goes_on("hours of work");
    did_not_stall(&victim.honest.finish(), "hours of work");
}

#[test]
fn metadata_counts_against_the_memory_limit_and_who_has_memory_keeps_it() {
    let victim = Victim::sized("1T", PARTS.split_at(1).0, &["--memory-limit", "64M"]);
    let mut disk = victim.guest(ALL);
    let before = victim.ramblk.rss_kib();
    // One sector in every 2 MiB, which takes much more memory than the page.
    let mut written = 0u64;
    while written < 100_000 && disk.q().write(8192 + written * 4096, &[7; 512]) == Ok(()) {
        written += 1;
    }
    assert!(written > 100 && written < 20_000, "{written} sectors fit");
    assert_eq!(disk.q().write(8192 + written * 4096, &[7; 512]), Err(IOERR));
    let taken = victim.ramblk.rss_kib() - before;
    assert!(taken < 80 << 10, "{taken} KiB for a limit of 64 MiB");
    // Everyone can read and overwrite mapped pages, and discarded memory can be used again.
    victim.honest.gets_on("a full store");
    assert_eq!(disk.q().read(8192, 512), Ok(vec![7; 512]));
    assert_eq!(disk.q().write(8192, &[8; 512]), Ok(()));
    let bytes = encode(&most_of_the_disk(0));
    assert_eq!(disk.q().request(DISCARD, 0, &bytes, 0).status, OK);
    assert_eq!(disk.q().write(MINE, &[9; 65536]), Ok(()));
    drop(disk);
    victim.goes_on("a full store");
}

#[test]
fn writes_all_over_a_huge_disk_stall_nobody() {
    stalls_nobody("a sector in every 2 MiB");
}

#[test]
fn a_session_that_ends_amid_giant_requests_leaves_nothing() {
    let victim = Victim::sized("1T", PARTS.split_at(1).0, &[]);
    for round in 0..30 {
        let mut disk = Disk::attach_with(victim.ramblk.socket(), ALL, 2, 256);
        for ring in &mut disk.queues {
            let mut pieces = ring.lay_out(IN, MINE, &[], 0);
            pieces.insert(1, writable_at(GIANT_AT, GIANT));
            ring.direct(0, &pieces);
            (0..64).for_each(|_| ring.put(0));
            ring.publish();
            ring.kick();
        }
        std::thread::sleep(Duration::from_micros(500 * (round % 7)));
        let mem = Arc::clone(&disk.mem);
        drop(disk);
        // The guest has its memory to itself again as soon as the back end notices the end.
        victim.goes_on("the end of a session");
        mem.fill(GIANT_AT, 65536, 0x77);
        std::thread::sleep(Duration::from_millis(2));
        let touched = mem.read(GIANT_AT, 65536).iter().any(|byte| *byte != 0x77);
        assert!(!touched, "memory of a session that has ended was written");
    }
}
