//! The sanitizer: what it finds, and what it leaves alone.

use ramblk::daemon::disks::content::write;
use ramblk::daemon::disks::{change, describe};
use ramblk::model::{
    DiskPatch, DiskSettings, EventKind, FindingKind, Findings, ProblemKind, Sanitize,
    SanitizerCounts, Share,
};

use super::{World, eventually, says, until};
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

fn shared(sanitize: Sanitize) -> DiskSettings {
    DiskSettings {
        share: Share::Rw,
        ..settings(sanitize)
    }
}

#[test]
fn the_second_front_end_that_writes_is_found_and_the_first_is_not() {
    let world = World::new(64 << 20);
    let socket = world.create_with("one", shared(Sanitize::Log));
    let mut events = world.disks.events().listen();
    let mut first = Guest::attach(&socket);
    let mut second = Guest::attach(&socket);
    first.q().write(0, &[1; 512]).unwrap();
    second.q().read(0, 512).unwrap();
    second.q().flush().unwrap();
    assert_eq!(found(&world).counts.second_writer, 0, "it only reads");
    second.q().write(8, &[2; 1024]).unwrap();
    second
        .q()
        .discard(&[segment(32, 8, 0), segment(16, 8, 0)])
        .unwrap();
    second.q().write_zeroes(&[segment(48, 8, 0)]).unwrap();
    first.q().write(8, &[3; 512]).unwrap();
    let found_now = found(&world);
    assert_eq!(found_now.counts.second_writer, 3);
    let ranges = found_now.findings.iter().map(|it| {
        assert_eq!(it.kind, FindingKind::SecondWriter);
        (
            it.request_start_bytes / 512,
            it.request_length_bytes / 512,
            it.start_bytes / 512,
        )
    });
    assert!(ranges.eq([(8, 2, 8), (16, 24, 16), (48, 8, 48)]));
    let event = until(&mut events, EventKind::Finding);
    let details = event.details.iter();
    let details = details.map(|(key, value)| format!("{key}={value}"));
    assert_eq!(
        details.collect::<Vec<_>>().join(" "),
        "kind=second-writer length_bytes=1024 start_bytes=4096 times=1"
    );
    // Once the first has gone, the other one is the first.
    drop(first);
    eventually("one front end", || {
        describe::get(&world.disks, "one").unwrap().front_ends.len() == 1
    });
    second.q().write(8, &[4; 512]).unwrap();
    assert_eq!(found(&world).counts.second_writer, 3);
}

#[test]
fn a_second_front_end_can_not_write_if_that_must_fail() {
    let world = World::new(64 << 20);
    let socket = world.create_with("one", shared(Sanitize::Fail));
    let mut first = Guest::attach(&socket);
    let mut second = Guest::attach(&socket);
    first.q().write(0, &[1; 512]).unwrap();
    assert_eq!(second.q().write(0, &[2; 512]), Err(IOERR));
    assert_eq!(second.q().discard(&[segment(0, 1, 0)]), Err(IOERR));
    assert_eq!(second.q().write_zeroes(&[segment(0, 1, 0)]), Err(IOERR));
    assert_eq!(second.q().read(0, 512).unwrap(), [1; 512]);
    second.q().flush().unwrap();
    // Over the API neither, whatever force it is asked with.
    let write = write::begin(&world.disks, "one", 4096, true).unwrap();
    let refused = write.write(0, &[3; 512]);
    says(refused, ProblemKind::Attached, &["one", "sanitize"]);
    assert_eq!(found(&world).counts.second_writer, 4);
    first.q().write(8, &[4; 512]).unwrap();
    assert_eq!(first.q().read(8, 512).unwrap(), [4; 512]);
}

#[test]
fn what_is_written_beside_a_guest_is_found_and_without_one_it_is_not() {
    let world = World::new(64 << 20);
    let socket = world.create_with("one", settings(Sanitize::Count));
    let put = |start| {
        let write = write::begin(&world.disks, "one", start, true).unwrap();
        write.write(0, &[3; 512]).unwrap();
        write.finish(&world.disks, 512).unwrap();
    };
    put(0);
    assert_eq!(found(&world).counts.second_writer, 0);
    let mut guest = Guest::attach(&socket);
    put(512);
    assert_eq!(found(&world).counts.second_writer, 1);
    assert_eq!(guest.q().read(0, 1024).unwrap(), [3; 1024]);
}

#[test]
fn the_first_finding_of_a_kind_and_each_thousandth_is_told() {
    let world = World::new(64 << 20);
    let mut guest = Guest::attach(&world.create_with("one", settings(Sanitize::Count)));
    let mut events = world.disks.events().listen();
    for sector in 0..2001 {
        guest.q().read(sector, 512).unwrap();
    }
    let times = [(); 3].map(|()| {
        let event = until(&mut events, EventKind::Finding);
        assert_eq!(event.details["kind"], "unwritten-read".into());
        event.details["times"].clone()
    });
    assert_eq!(times, [1, 1000, 2000].map(|times: u64| times.into()));
    assert!(
        events.try_recv().is_err(),
        "and nothing else was told of this disk"
    );
}
