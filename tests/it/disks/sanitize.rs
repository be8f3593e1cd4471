//! The sanitizer: what it finds, and what it leaves alone.

use ramblk::daemon::disks::{change, describe};
use ramblk::model::{DiskPatch, DiskSettings, FindingKind, Findings, Sanitize, SanitizerCounts};

use super::World;
use crate::driver::disk::{Disk as Guest, segment};
use crate::driver::status::IOERR;

fn settings(sanitize: Sanitize) -> DiskSettings {
    DiskSettings {
        sanitize,
        ..DiskSettings::new(16 << 20)
    }
}

fn found(world: &World) -> Findings {
    describe::findings(&world.disks, "one").unwrap()
}

#[test]
fn reads_of_sectors_that_were_never_written_or_were_discarded_are_found() {
    let world = World::new(64 << 20);
    let mut guest = Guest::attach(&world.create_with("one", settings(Sanitize::Log)));
    let q = guest.q();
    q.write(8, &[1; 1024]).unwrap();
    // Written sectors, then a read that goes one sector beyond them.
    assert_eq!(q.read(8, 1024).unwrap(), [1; 1024]);
    assert_eq!(q.read(8, 1536).unwrap()[..1024], [1; 1024]);
    q.discard(&[segment(8, 1, 0)]).unwrap();
    q.read(8, 1024).unwrap();
    let found = found(&world);
    let kinds: Vec<_> = found.findings.iter().map(|it| it.kind).collect();
    assert_eq!(kinds, [FindingKind::UnwrittenRead; 2]);
    assert_eq!(found.counts.unwritten_reads, 2);
    let parts: Vec<_> = found
        .findings
        .iter()
        .map(|it| {
            let request = (it.request_start_bytes / 512, it.request_length_bytes / 512);
            (
                it.number,
                request,
                (it.start_bytes / 512, it.length_bytes / 512),
            )
        })
        .collect();
    assert_eq!(parts, [(1, (8, 3), (10, 1)), (2, (8, 2), (8, 1))]);
    let now = std::time::SystemTime::now();
    let now = now.duration_since(std::time::UNIX_EPOCH).unwrap();
    let ago = now.as_millis() as u64 - found.findings[0].at_ms;
    assert!(ago < 60_000, "{ago} ms ago");
}

#[test]
fn zeroes_count_as_written_even_if_they_could_be_unmapped() {
    let world = World::new(64 << 20);
    let mut guest = Guest::attach(&world.create_with("one", settings(Sanitize::Fail)));
    let q = guest.q();
    q.write_zeroes(&[segment(0, 4, 0), segment(4, 4, 1)])
        .unwrap();
    // Several leaves at once, which the store does in another way.
    q.write_zeroes(&[segment(8192, 12288, 1)]).unwrap();
    assert_eq!(q.read(0, 4096).unwrap(), [0; 4096]);
    assert_eq!(q.read(10_000, 4096).unwrap(), [0; 4096]);
    assert_eq!(found(&world).counts, SanitizerCounts::default());
}

#[test]
fn such_reads_fail_if_they_must_and_nothing_else_does() {
    let world = World::new(64 << 20);
    let mut guest = Guest::attach(&world.create_with("one", settings(Sanitize::Fail)));
    world.create("honest");
    let q = guest.q();
    q.write(0, &[7; 512]).unwrap();
    assert_eq!(q.read(1, 512), Err(IOERR));
    assert_eq!(q.read(0, 1024), Err(IOERR));
    assert_eq!(q.read(0, 512).unwrap(), [7; 512]);
    q.flush().unwrap();
    assert_eq!(found(&world).counts.unwritten_reads, 2);
    // Off again at once, for a guest that runs.
    let off = DiskPatch {
        sanitize: Some(Sanitize::Off),
        ..DiskPatch::default()
    };
    change::patch(&world.disks, "one", off).unwrap();
    assert_eq!(q.read(1, 512).unwrap(), [0; 512]);
    let found = found(&world);
    assert_eq!(
        (found.sanitize, found.counts.unwritten_reads),
        (Sanitize::Off, 2)
    );
    let stats = describe::stats(&world.disks, "one").unwrap();
    assert_eq!(stats.sanitizer.unwrap().unwritten_reads, 2);
    let honest = describe::stats(&world.disks, "honest").unwrap();
    assert_eq!(honest.sanitizer, None, "the neighbour has none");
}

#[test]
fn counting_keeps_nothing_and_a_log_keeps_the_last_ones() {
    let world = World::new(64 << 20);
    let mut guest = Guest::attach(&world.create_with("one", settings(Sanitize::Count)));
    for sector in 0..3 {
        guest.q().read(sector, 512).unwrap();
    }
    let counted = found(&world);
    assert_eq!(counted.counts.unwritten_reads, 3);
    assert!(counted.findings.is_empty());
    let log = DiskPatch {
        sanitize: Some(Sanitize::Log),
        ..DiskPatch::default()
    };
    change::patch(&world.disks, "one", log).unwrap();
    for sector in 0..300 {
        guest.q().read(sector, 512).unwrap();
    }
    let logged = found(&world);
    assert_eq!(logged.counts.unwritten_reads, 303);
    let numbers = logged.findings.iter().map(|it| it.number);
    assert!(numbers.eq(45..=300), "{:?}", logged.findings);
}

#[test]
fn a_guest_that_never_flushes_is_found_once_for_each_256_mib() {
    let world = World::new(64 << 20);
    let mut guest = Guest::attach(&world.create_with("one", settings(Sanitize::Log)));
    let q = guest.q();
    let block = vec![1; 1 << 20];
    for _ in 0..255 {
        q.write(0, &block).unwrap();
    }
    q.flush().unwrap();
    assert_eq!(found(&world).counts.no_flush, 0);
    for _ in 0..512 {
        q.write(2048, &block).unwrap();
    }
    let found = found(&world);
    assert_eq!(found.counts.no_flush, 2);
    let last = found.findings.last().unwrap();
    assert_eq!(
        (last.kind, last.start_bytes),
        (FindingKind::NoFlush, 1 << 20)
    );
}
