//! Long requests are served in steps, with the same result.

use ramblk::device::{Attempt, Begun, Buffers, Driver, Outcome, Pace, User};
use ramblk::store::{SectorSize, Shrink, Sink, Source};

use super::rig::*;

const MIB: usize = 1 << 20;
const BIG: u64 = 64 * MIB as u64;

/// One step of a request; `None` once it is done, with its used length.
fn step<'a>(
    rig: &Rig,
    readable: &mut [Source<'a>],
    writable: &mut [Sink<'a>],
    begun: Option<Begun>,
) -> (Option<Begun>, u32) {
    let buffers = Buffers {
        readable,
        writable,
        damaged: false,
    };
    let attempt = Attempt::default();
    let by = Driver {
        acked: ACKED,
        user: User::UNKNOWN,
    };
    match rig.device.serve(by, buffers, begun, Pace::Alone, attempt) {
        Outcome::Done(answer) => (None, answer.written),
        Outcome::Begun(begun) => (Some(begun), 0),
        Outcome::Wait(reason) => panic!("it waits for {reason:?}"),
    }
}

/// Serve a request in as many steps as it takes, and call `between` after each. Returns used
/// length, status, data, and the number of steps.
fn step_by_step(
    rig: &Rig,
    readable: &[u8],
    data_len: usize,
    cuts: &[usize],
    mut between: impl FnMut(usize),
) -> (u32, u8, Vec<u8>, usize) {
    let mut writable = vec![NOTHING; data_len + 1];
    let (mut sources, mut sinks) = buffers(readable, &mut writable, cuts);
    let mut begun = None;
    for steps in 1.. {
        let used;
        (begun, used) = step(rig, &mut sources, &mut sinks, begun);
        if begun.is_none() {
            let status = writable.pop().unwrap();
            return (used, status, writable, steps);
        }
        between(steps);
    }
    unreachable!()
}

/// Descriptors of every kind: with the header apart or not, one longer than a step, several to a
/// step, none at all, the status byte alone or behind data.
fn layouts(total: usize) -> Vec<Vec<usize>> {
    vec![
        vec![16],
        vec![],
        vec![16, 16 + MIB, 16 + 2 * MIB],
        vec![5, 16, 16, 700, 700, 3 * MIB + 1, 3 * MIB + 1],
        (1..200).map(|i| i * 40_001).collect(),
        vec![16, total],
    ]
}

#[test]
fn long_reads_and_writes_in_steps_move_every_byte() {
    let rig = Rig::sized(SectorSize::S512, BIG);
    for (at, sectors) in [(0, 2048), (0, 2049), (3, 4096), (2047, 10_003)] {
        let data = noise(sectors * 512);
        for cuts in layouts(data.len()) {
            rig.disk().discard(0, BIG / 512).unwrap();
            let request = write(at, &data);
            let (used, status, _, steps) = step_by_step(&rig, &request, 0, &cuts, |_| {});
            assert_eq!((used, status), (1, OK), "{sectors} at {at}, {cuts:?}");
            assert!((sectors <= 2048) == (steps == 1), "{steps} steps");
            let ask = header(IN, at);
            let (used, status, read, again) = step_by_step(&rig, &ask, data.len(), &cuts, |_| {});
            assert_eq!((used as usize, status), (data.len() + 1, OK), "{cuts:?}");
            assert_eq!(again, steps);
            assert!(read == data, "{sectors} sectors at {at}, {cuts:?}");
            // Nothing beside it has changed.
            let mut after = [7; 512];
            let next = at + sectors as u64;
            rig.disk().read(next, &mut [&mut after]).unwrap();
            assert_eq!(after, [0; 512]);
        }
    }
}

#[test]
fn a_step_takes_a_megabyte_at_most() {
    let rig = Rig::sized(SectorSize::S512, BIG);
    let data = noise(8 * MIB);
    let mut mapped = vec![0];
    let count = |_| mapped.push(rig.disk().get_info().unwrap().mapped_bytes);
    let (_, status, ..) = step_by_step(&rig, &write(1, &data), 0, &[16], count);
    assert_eq!(status, OK);
    assert_eq!(mapped.len(), 9, "eight whole steps, and what is left");
    for pair in mapped.windows(2) {
        let step = pair[1] - pair[0];
        assert!((1..=MIB as u64).contains(&step), "{step}");
    }
}

#[test]
fn long_lists_of_ranges_in_steps_change_exactly_those_ranges() {
    for sector_size in [SectorSize::S512, SectorSize::S4096] {
        let rig = Rig::sized(sector_size, 4 * BIG);
        let disk = rig.disk();
        let chunk = noise(MIB);
        for at in 0..256 {
            let sector = at * MIB as u64 / disk.sector_size().bytes();
            disk.write(sector, &[&chunk]).unwrap();
        }
        // In 512-byte sectors: everything but the first and the last of each 50 MiB, back to front.
        let list: Vec<_> = (0..5)
            .rev()
            .map(|i| (i * 102_400 + 8, 102_384, 0))
            .collect();
        let request = ranges(DISCARD, &list);
        let (used, status, _, steps) = step_by_step(&rig, &request, 0, &[16, 17, 40], |_| {});
        assert_eq!((used, status), (1, OK));
        assert!((3..=5).contains(&steps), "{steps} steps for 250 MiB");
        let kept = 256 * MIB - 5 * 102_384 * 512;
        assert_eq!(disk.get_info().unwrap().mapped_bytes, kept as u64);
        // All of it is zero but still mapped.
        let request = ranges(WRITE_ZEROES, &[(0, 524_288, 0)]);
        let (_, status, _, steps) = step_by_step(&rig, &request, 0, &[16], |_| {});
        assert_eq!((status, steps), (OK, 4));
        assert_eq!(disk.get_info().unwrap().mapped_bytes, 256 << 20);
        assert_eq!(
            disk.seek_unmapped(0).unwrap() * disk.sector_size().bytes(),
            256 << 20
        );
    }
}

#[test]
fn a_disk_that_shrinks_between_two_steps_fails_the_rest() {
    for (request, room) in [
        (write(0, &noise(8 * MIB)), 0),
        (header(IN, 0), 8 * MIB),
        (ranges(DISCARD, &[(0, 131_072, 0), (0, 131_072, 0)]), 0),
    ] {
        let rig = Rig::sized(SectorSize::S512, BIG);
        let shrink = |step| {
            if step == 1 {
                rig.disk().resize_bytes(MIB as u64, Shrink::Allow).unwrap();
            }
        };
        let (used, status, _, steps) = step_by_step(&rig, &request, room, &[16], shrink);
        assert_eq!((status, steps), (IOERR, 2));
        assert_eq!(used, u32::from(room == 0));
    }
}

#[test]
fn two_long_requests_may_take_turns() {
    let rig = Rig::sized(SectorSize::S512, BIG);
    let (one, two) = (noise(4 * MIB), vec![9; 4 * MIB]);
    let second = write(40_000, &two);
    let mut sinks_byte = [NOTHING];
    let mut sources = [Source::from(second.as_slice())];
    let mut sinks = [Sink::from(&mut sinks_byte[..])];
    let (mut begun, _) = step(&rig, &mut sources, &mut sinks, None);
    step_by_step(&rig, &write(7, &one), 0, &[16], |_| {
        if begun.is_some() {
            (begun, _) = step(&rig, &mut sources, &mut sinks, begun.take());
        }
    });
    while begun.is_some() {
        (begun, _) = step(&rig, &mut sources, &mut sinks, begun);
    }
    for (sector, data) in [(7, one), (40_000, two)] {
        let mut read = vec![0; data.len()];
        rig.disk().read(sector, &mut [&mut read]).unwrap();
        assert!(read == data);
    }
}
