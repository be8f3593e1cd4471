//! Discard and write-zeroes (virtio 1.3 §5.2.6), and a random mix of everything against a model.

use crate::driver::data::{Random, pattern, seed};
use crate::driver::disk::{ALL, DATA, Disk, Reply, Segment, encode, segment};
use crate::driver::feature;
use crate::driver::kind::{DISCARD, IN, OUT, WRITE_ZEROES};
use crate::driver::status::{IOERR, OK, UNSUPP};
use crate::harness::Ramblk;

const CAPACITY: u64 = 64 * 2048;
const BOTH: [u32; 2] = [DISCARD, WRITE_ZEROES];
/// Bit 0 is "unmap"; the others have no meaning (§5.2.6).
const FLAGS: [u32; 5] = [0, 1, 2, 3, 0x8000_0000];

fn attach(arguments: &[&str]) -> (Ramblk, Disk) {
    let ramblk = Ramblk::run(arguments);
    let disk = Disk::attach(ramblk.socket());
    (ramblk, disk)
}

fn ask(disk: &mut Disk, kind: u32, segments: &[Segment]) -> u8 {
    let reply = disk.q().request(kind, 0, &encode(segments), 0);
    assert_eq!(reply.len, 1, "used length of type {kind}");
    reply.status
}

/// §5.2.6.2: unknown flags, and "unmap" in a discard, MUST be UNSUPP.
fn allowed(kind: u32, flags: u32) -> bool {
    flags == 0 || (kind == WRITE_ZEROES && flags == 1)
}

#[test]
fn every_flag_is_judged_with_one_segment_and_with_256() {
    let (_ramblk, mut disk) = attach(&[]);
    for kind in BOTH {
        for flags in FLAGS {
            for count in [1, 256] {
                let segments: Vec<_> = (0..count).map(|i| segment(i * 8, 8, flags)).collect();
                let expected = if allowed(kind, flags) { OK } else { UNSUPP };
                let status = ask(&mut disk, kind, &segments);
                assert_eq!(
                    status, expected,
                    "type {kind}, flags {flags:#x}, {count} segments"
                );
            }
        }
    }
}

#[test]
fn a_bad_flag_in_any_segment_counts() {
    let (_ramblk, mut disk) = attach(&[]);
    disk.q().write(0, &pattern(256 * 512, 1)).unwrap();
    for kind in BOTH {
        for bad in [0, 100, 255] {
            let mut segments: Vec<_> = (0..256).map(|i| segment(i, 1, 0)).collect();
            segments[bad].flags = 2;
            assert_eq!(
                ask(&mut disk, kind, &segments),
                UNSUPP,
                "type {kind}, segment {bad}"
            );
        }
    }
    assert_eq!(disk.q().read(0, 256 * 512), Ok(pattern(256 * 512, 1)));
}

#[test]
fn no_segment_and_more_than_256_segments_are_errors() {
    let (_ramblk, mut disk) = attach(&[]);
    disk.q().write(0, &pattern(257 * 512, 1)).unwrap();
    for kind in BOTH {
        assert_eq!(ask(&mut disk, kind, &[]), IOERR, "type {kind}");
        let segments: Vec<_> = (0..257).map(|i| segment(i, 1, 0)).collect();
        assert_eq!(ask(&mut disk, kind, &segments), IOERR, "type {kind}");
        for flags in FLAGS {
            // Too many and unknown flags at once: either refusal is right.
            let segments: Vec<_> = (0..257).map(|i| segment(i, 1, flags)).collect();
            assert_ne!(
                ask(&mut disk, kind, &segments),
                OK,
                "type {kind}, flags {flags:#x}"
            );
        }
    }
    assert_eq!(disk.q().read(0, 257 * 512), Ok(pattern(257 * 512, 1)));
}

#[test]
fn a_payload_that_is_not_whole_segments_is_an_error() {
    let (_ramblk, mut disk) = attach(&[]);
    disk.q().write(0, &pattern(8192, 1)).unwrap();
    for kind in BOTH {
        for len in (1..48usize)
            .filter(|l| l % 16 != 0)
            .chain([4095, 4097, 4100])
        {
            let mut payload = encode(&[segment(0, 8, 0); 257]);
            payload.truncate(len);
            let reply = disk.q().request(kind, 0, &payload, 0);
            assert_eq!(
                (reply.status, reply.len),
                (IOERR, 1),
                "type {kind}, {len} bytes"
            );
        }
    }
    assert_eq!(disk.q().read(0, 8192), Ok(pattern(8192, 1)));
}

#[test]
fn the_zeroed_range_reads_as_zeros_and_its_neighbours_stay() {
    let (_ramblk, mut disk) = attach(&[]);
    // Whole pages, parts of pages at either end, single sectors, and across 2 MiB.
    let ranges = [
        (0, 8),
        (8, 16),
        (3, 2),
        (5, 11),
        (15, 1),
        (16, 1),
        (7, 4088),
        (4090, 20),
    ];
    for (kind, flags) in [(DISCARD, 0), (WRITE_ZEROES, 0), (WRITE_ZEROES, 1)] {
        for (at, count) in ranges {
            let mut expected = pattern(4200 * 512, kind as u8);
            disk.q().write(0, &expected).unwrap();
            assert_eq!(
                ask(&mut disk, kind, &[segment(at as u64, count as u32, flags)]),
                OK
            );
            expected[at * 512..(at + count) * 512].fill(0);
            let read = disk.q().read(0, 4200 * 512).unwrap();
            assert!(read == expected, "type {kind}, flags {flags}, {at}+{count}");
        }
    }
}

#[test]
fn the_last_sector_of_the_disk_can_be_zeroed_and_nothing_behind_it() {
    let (_ramblk, mut disk) = attach(&[]);
    for kind in BOTH {
        disk.q().write(CAPACITY - 2, &pattern(1024, 2)).unwrap();
        for (sector, count) in [
            (CAPACITY - 1, 2),
            (CAPACITY, 1),
            (CAPACITY + 1, 1),
            (0, CAPACITY as u32 + 1),
            (1 << 55, 1),
            (u64::MAX, 1),
            (u64::MAX - 7, 8),
            (u64::MAX - 1, u32::MAX),
        ] {
            let status = ask(&mut disk, kind, &[segment(sector, count, 0)]);
            assert_eq!(status, IOERR, "type {kind}, {sector:#x}+{count}");
        }
        assert_eq!(disk.q().read(CAPACITY - 2, 1024), Ok(pattern(1024, 2)));
        assert_eq!(ask(&mut disk, kind, &[segment(CAPACITY - 1, 1, 0)]), OK);
        assert_eq!(
            disk.q().read(CAPACITY - 2, 512),
            Ok(pattern(1024, 2)[..512].to_vec())
        );
        assert_eq!(disk.q().read(CAPACITY - 1, 512), Ok(vec![0; 512]));
    }
}

#[test]
fn one_segment_out_of_range_stops_all_of_them() {
    let (_ramblk, mut disk) = attach(&[]);
    disk.q().write(0, &pattern(64 * 512, 3)).unwrap();
    for kind in BOTH {
        for bad in 0..3 {
            let mut segments = [segment(0, 8, 0), segment(16, 8, 0), segment(32, 8, 0)];
            segments[bad].sector = CAPACITY;
            assert_eq!(
                ask(&mut disk, kind, &segments),
                IOERR,
                "type {kind}, segment {bad}"
            );
        }
    }
    assert_eq!(disk.q().read(0, 64 * 512), Ok(pattern(64 * 512, 3)));
}

#[test]
fn flags_are_judged_before_ranges() {
    let (_ramblk, mut disk) = attach(&[]);
    for kind in BOTH {
        let segments = [segment(CAPACITY, 8, 0), segment(0, 8, 4)];
        assert_eq!(ask(&mut disk, kind, &segments), UNSUPP, "type {kind}");
    }
}

#[test]
fn a_segment_of_no_sectors_is_nothing_to_do() {
    let (_ramblk, mut disk) = attach(&[]);
    disk.q().write(0, &pattern(4096, 3)).unwrap();
    for kind in BOTH {
        for sector in [0, 1, CAPACITY - 1, CAPACITY] {
            assert_eq!(
                ask(&mut disk, kind, &[segment(sector, 0, 0)]),
                OK,
                "type {kind}"
            );
        }
    }
    assert_eq!(disk.q().read(0, 4096), Ok(pattern(4096, 3)));
}

#[test]
fn a_segment_may_have_4_gib_less_4_kib_and_no_sector_more() {
    const MOST: u32 = 8_388_600;
    let ramblk = Ramblk::sized("8G", &[]);
    let mut disk = Disk::attach(ramblk.socket());
    let end = u64::from(MOST);
    // §5.2.4: the limits are those of the configuration space.
    for at in [36, 48] {
        assert_eq!(disk.client.config(at, 4, 0), MOST.to_le_bytes());
        assert_eq!(disk.client.config(at + 4, 4, 0), 256u32.to_le_bytes());
    }
    for kind in BOTH {
        disk.q().write(end - 1, &pattern(1024, 4)).unwrap();
        disk.q().write(0, &pattern(512, 5)).unwrap();
        // 0x80_0000 sectors are 4 GiB: zero in 32 bits.
        for count in [MOST + 1, 0x80_0000, 0x80_0001, u32::MAX] {
            assert_eq!(
                ask(&mut disk, kind, &[segment(0, count, 0)]),
                IOERR,
                "{count}"
            );
        }
        assert_eq!(disk.q().read(0, 512), Ok(pattern(512, 5)));
        assert_eq!(ask(&mut disk, kind, &[segment(0, MOST, 0)]), OK);
        assert_eq!(disk.q().read(0, 512), Ok(vec![0; 512]));
        assert_eq!(disk.q().read(end - 1, 512), Ok(vec![0; 512]));
        assert_eq!(
            disk.q().read(end, 512),
            Ok(pattern(1024, 4)[512..].to_vec())
        );
    }
}

#[test]
fn overlapping_segments_are_fine() {
    let (_ramblk, mut disk) = attach(&[]);
    for kind in BOTH {
        disk.q().write(0, &pattern(64 * 512, 3)).unwrap();
        let segments: Vec<_> = (0..256).map(|i| segment(i % 8, 24, 0)).collect();
        assert_eq!(ask(&mut disk, kind, &segments), OK);
        let mut expected = pattern(64 * 512, 3);
        expected[..31 * 512].fill(0);
        assert_eq!(disk.q().read(0, 64 * 512), Ok(expected));
    }
}

#[test]
fn without_its_feature_neither_request_exists() {
    let ramblk = Ramblk::run(&[]);
    for (missing, kind) in [
        (feature::DISCARD, DISCARD),
        (feature::WRITE_ZEROES, WRITE_ZEROES),
    ] {
        let mut disk = Disk::attach_with(ramblk.socket(), ALL & !missing, 1, 256);
        disk.q().write(0, &pattern(4096, 3)).unwrap();
        for other in BOTH {
            let expected = if other == kind { UNSUPP } else { OK };
            assert_eq!(
                ask(&mut disk, other, &[segment(8, 8, 0)]),
                expected,
                "type {other}"
            );
            // The missing feature is checked before anything else about the request.
            let expected = if other == kind { UNSUPP } else { IOERR };
            assert_eq!(ask(&mut disk, other, &[segment(CAPACITY, 8, 0)]), expected);
        }
        assert_eq!(disk.q().read(0, 4096), Ok(pattern(4096, 3)));
    }
}

/// A random request of queue `q` inside a stripe, laid out but not submitted, and applied to the
/// model. Returns the head and the expected result of a read.
fn random_request(
    random: &mut Random,
    disk: &Disk,
    q: usize,
    stripe: std::ops::Range<u64>,
    model: &mut [u8],
) -> Option<Vec<u8>> {
    let ring = &disk.queues[q];
    let width = stripe.end - stripe.start;
    let longest = if random.below(4) == 0 { width } else { 24 };
    let count = 1 + random.below(longest);
    let sector = stripe.start + random.below(width - count + 1);
    let bytes = sector as usize * 512..(sector + count) as usize * 512;
    let mut expected = None;
    let pieces = match random.below(8) {
        0..3 => {
            expected = Some(model[bytes.clone()].to_vec());
            ring.lay_out(IN, sector, &[], bytes.len())
        }
        3..6 => {
            let data = pattern(bytes.len(), random.below(256) as u8);
            model[bytes].copy_from_slice(&data);
            ring.lay_out(OUT, sector, &data, 0)
        }
        kind => {
            model[bytes].fill(0);
            let (kind, flags) = match (kind, random.below(2)) {
                (6, _) => (DISCARD, 0),
                (_, flags) => (WRITE_ZEROES, flags as u32),
            };
            ring.lay_out(kind, 0, &encode(&[segment(sector, count as u32, flags)]), 0)
        }
    };
    ring.direct(0, &pieces);
    expected
}

#[test]
fn random_requests_on_four_queues_agree_with_an_array_of_bytes() {
    let seed = seed();
    let mut random = Random::new(seed);
    let ramblk = Ramblk::sized("8M", &[]);
    let mut disk = Disk::attach_with(ramblk.socket(), ALL, 4, 128);
    // An odd width, so that stripes share pages.
    let stripe = 4093;
    let mut model = vec![0u8; 8 << 20];
    for round in 0..1500 {
        let mut expected = Vec::new();
        for q in 0..4 {
            let at = (q as u64 + round) % 4 * stripe;
            expected.push(random_request(
                &mut random,
                &disk,
                q,
                at..at + stripe,
                &mut model,
            ));
        }
        disk.queues.iter_mut().for_each(|ring| ring.submit(0));
        for (ring, expected) in disk.queues.iter_mut().zip(expected) {
            ring.wait();
            assert_eq!(ring.status(), OK, "round {round}, RAMBLK_SEED={seed}");
            if let Some(data) = expected {
                let read = ring.mem.read(ring.area(DATA), data.len());
                assert!(
                    read == data,
                    "wrong data, round {round}, RAMBLK_SEED={seed}"
                );
            }
        }
    }
    for (i, expected) in model.chunks(1 << 20).enumerate() {
        let reply = disk.q().request(IN, i as u64 * 2048, &[], 1 << 20);
        let good = Reply {
            status: OK,
            len: (1 << 20) + 1,
            data: expected.to_vec(),
        };
        assert!(reply == good, "MiB {i} at the end, RAMBLK_SEED={seed}");
    }
}

#[test]
fn zeros_that_a_guest_writes_take_no_memory_if_that_is_wanted() {
    let zeros = vec![0; 1 << 20];
    for (more, fits) in [(&["--detect-zeroes"][..], true), (&[], false)] {
        let ramblk = Ramblk::run(&[&["--memory-limit", "1M"], more].concat());
        let mut disk = Disk::attach(ramblk.socket());
        let all = (0..16).all(|mib| disk.q().write(mib * 2048, &zeros).is_ok());
        assert_eq!(all, fits, "{more:?}");
        disk.q().write(7, &[1; 512]).unwrap();
        let bytes = disk.q().read(6, 1536).unwrap();
        assert_eq!(bytes, [[0; 512], [1; 512], [0; 512]].concat());
    }
}
