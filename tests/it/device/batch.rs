//! Plain requests together and alone. Of twin devices, one serves batches and the other each
//! request by itself: they give the same answers, and their disks stay the same.

use std::num::NonZeroU16;

use ramblk::device::{BlockDevice, HEADER_BYTES, PlainRequest, Serial};
use ramblk::store::{Data, Disk, DiskSpec, MOST_BATCHED, SectorSize, Shrink, Sink, Source, Store};

use super::rig::*;
use crate::driver::data::{Random, seed};

/// A read or a write of `len` bytes.
#[derive(Clone, Debug)]
struct Ask {
    write: bool,
    sector: u64,
    len: usize,
    byte: u8,
}

impl Ask {
    fn header(&self) -> [u8; HEADER_BYTES] {
        let kind = if self.write { OUT } else { IN };
        header(kind, self.sector).try_into().unwrap()
    }

    fn out(&self) -> Vec<u8> {
        vec![self.byte; self.len]
    }

    /// Bytes that the device may write before the status.
    fn room(&self) -> usize {
        if self.write { 0 } else { self.len }
    }
}

fn alone(rig: &Rig, ask: &Ask) -> Answer {
    let data = if ask.write { ask.out() } else { Vec::new() };
    rig.ask(&[&ask.header()[..], &data].concat(), ask.room())
}

/// Serve as many as the device takes at once.
fn together(rig: &Rig, asks: &[Ask]) -> Vec<Answer> {
    let out: Vec<Vec<u8>> = asks.iter().map(Ask::out).collect();
    let room = |ask: &Ask| vec![NOTHING; ask.room() + 1];
    let mut writable: Vec<Vec<u8>> = asks.iter().map(room).collect();
    let requests: Vec<PlainRequest<'_>> = asks
        .iter()
        .zip(&out)
        .zip(&mut writable)
        .map(|((ask, out), writable)| {
            let (room, status) = writable.split_at_mut(ask.room());
            let data = if ask.write {
                Data::Out(Source::from(&out[..]))
            } else {
                Data::In(Sink::from(room))
            };
            PlainRequest::new(ask.header(), data, Sink::from(status)).unwrap()
        })
        .collect();
    let outcomes = rig.device.serve_plain(&requests);
    drop(requests);
    outcomes
        .written()
        .iter()
        .copied()
        .zip(writable)
        .map(|(used, mut data)| Answer {
            status: data.pop().unwrap(),
            used,
            data,
        })
        .collect()
}

fn twins(spec: &DiskSpec, limit_bytes: u64, read_only: bool) -> [Rig; 2] {
    [(); 2].map(|()| {
        let store = Store::new(limit_bytes).unwrap();
        let disk = store.create("disk", spec).unwrap();
        let disk = if read_only {
            disk.write(0, &[&noise(1 << 16)]).unwrap();
            disk.into_read_only()
        } else {
            disk
        };
        let serial = Serial::new("x").unwrap();
        Rig {
            store,
            device: BlockDevice::new(disk, serial, NonZeroU16::MIN),
        }
    })
}

fn random_ask(dice: &mut Random, sectors: u64) -> Ask {
    let len = match dice.below(10) {
        0 => [1, 511, 513, 4095, 4097][dice.below(5) as usize],
        1 => 65536,
        2..=5 => 4096,
        _ => 512 * (1 + dice.below(20) as usize),
    };
    let sector = match dice.below(12) {
        0 => {
            let wild = [1 << 55, (1 << 55) + 1, 1 << 54, u64::MAX, u64::MAX / 512];
            wild[dice.below(5) as usize]
        }
        1 => sectors,
        2 => sectors - 1,
        3 => sectors.saturating_sub(len as u64 / 512),
        4..=7 => dice.below(sectors / 8) * 8,
        _ => dice.below(sectors),
    };
    Ask {
        write: dice.below(2) == 0,
        sector,
        len,
        // Zeros are special for a disk with zero detection.
        byte: dice.below(4) as u8 * 60,
    }
}

fn content(disk: &Disk) -> (u64, Vec<u8>) {
    let info = disk.get_info().unwrap();
    let mut bytes = vec![NOTHING; info.size_bytes as usize];
    disk.read(0, &mut [&mut bytes]).unwrap();
    (info.mapped_bytes, bytes)
}

/// Serve the same on both, compare, and return the answers.
fn serve(rigs: &[Rig; 2], asks: &[Ask], what: &str) -> Vec<Answer> {
    let answers = together(&rigs[0], asks);
    assert_eq!(answers.len(), asks.len().min(MOST_BATCHED), "{what}");
    for (ask, answer) in asks.iter().zip(&answers) {
        assert!(
            *answer == alone(&rigs[1], ask),
            "{ask:?}: {answer:?}, {what}"
        );
    }
    answers
}

#[test]
fn a_batch_answers_and_writes_what_its_requests_alone_do() {
    let seed = seed();
    let mut dice = Random::new(seed);
    let mut spec = DiskSpec::new(SectorSize::S512, SECTORS * 512 - 512);
    let mut statuses = [0; 2];
    for round in 0..60 {
        let what = format!("round {round}, RAMBLK_SEED={seed}");
        spec.sector_size = [SectorSize::S512, SectorSize::S4096][round % 2];
        spec.size_bytes = SECTORS * 512 - spec.sector_size.bytes();
        spec.detect_zeroes = dice.below(4) == 0;
        // In some rounds too little for the whole disk.
        let limit = if dice.below(3) == 0 {
            400 << 10
        } else {
            64 << 20
        };
        let rigs = twins(&spec, limit, dice.below(6) == 0);
        for turn in 0..20 {
            let sectors = rigs[0].disk().capacity().sectors_512();
            let count = 1 + dice.below(MOST_BATCHED as u64 + 2);
            let asks: Vec<Ask> = (0..count).map(|_| random_ask(&mut dice, sectors)).collect();
            for answer in serve(&rigs, &asks, &what) {
                statuses[usize::from(answer.status)] += 1;
            }
            // In a full store any of this may fail, but then on both.
            let changed = rigs.each_ref().map(|rig| match turn {
                7 => rig.store.fork("disk", "fork").is_ok(),
                12 => {
                    let to = SECTORS * 256;
                    rig.disk().resize_bytes(to, Shrink::Allow).is_ok()
                }
                15 => rig.store.destroy("fork").is_ok(),
                _ => true,
            });
            assert_eq!(changed[0], changed[1], "turn {turn}: {what}");
            assert!(
                content(&rigs[0].disk()) == content(&rigs[1].disk()),
                "{what}"
            );
        }
        let charged = [0, 1].map(|at| rigs[at].store.charged_bytes());
        assert_eq!(charged[0], charged[1], "{what}");
        rigs.iter()
            .for_each(|rig| drop(rig.store.destroy("disk").unwrap()));
        let asks: Vec<Ask> = (0..8).map(|_| random_ask(&mut dice, 1024)).collect();
        for answer in serve(&rigs, &asks, &what) {
            assert_eq!(answer.status, IOERR, "a disk that is gone: {what}");
        }
    }
    assert!(statuses.iter().all(|&count| count > 500), "{statuses:?}");
}

#[test]
fn one_that_fails_in_a_batch_spoils_no_other() {
    let rigs = twins(
        &DiskSpec::new(SectorSize::S512, SECTORS * 512),
        64 << 20,
        false,
    );
    let ask = |write, sector, len| Ask {
        write,
        sector,
        len,
        byte: 5,
    };
    for _ in 0..2 {
        let asks = [
            ask(true, 0, 4096),
            ask(true, 1 << 55, 4096),
            ask(false, 0, 4096),
            ask(true, 16, 511),
            ask(false, SECTORS, 512),
            ask(true, 8, 1024),
            ask(false, 8, 1024),
        ];
        let answers = serve(&rigs, &asks, "");
        let found: Vec<(u8, u32)> = answers.iter().map(|a| (a.status, a.used)).collect();
        let bad = |used| (IOERR, used);
        let wanted = [
            (OK, 1),
            bad(1),
            (OK, 4097),
            bad(1),
            bad(0),
            (OK, 1),
            (OK, 1025),
        ];
        assert_eq!(found, wanted);
        assert!(answers[2].data == [5; 4096] && answers[6].data == [5; 1024]);
    }
}

#[test]
fn writes_that_find_no_memory_fail_alone_and_overwrites_go_on() {
    let mut spec = DiskSpec::new(SectorSize::S512, SECTORS * 512);
    spec.quota_bytes = Some(64 << 10);
    let rigs = twins(&spec, 64 << 20, false);
    let page = |number: u64| Ask {
        write: true,
        sector: number * 8,
        len: 4096,
        byte: number as u8 + 1,
    };
    // Nodes and the record take some of the sixteen pages.
    let filled = serve(&rigs, &(0..16).map(page).collect::<Vec<_>>(), "filled");
    let ok = filled.iter().filter(|answer| answer.status == OK).count();
    assert!((8..16).contains(&ok), "{filled:?}");
    let mixed: Vec<Ask> = [0, 100, 1, 101, 2, 102, 3].map(page).to_vec();
    let statuses: Vec<u8> = serve(&rigs, &mixed, "full")
        .iter()
        .map(|a| a.status)
        .collect();
    assert_eq!(statuses, [OK, IOERR, OK, IOERR, OK, IOERR, OK]);
}

#[test]
fn only_reads_and_writes_with_a_status_of_one_byte_are_plain() {
    let (mut data, mut status, out) = ([0; 512], [0; 2], [0; 512]);
    for kind in [IN, OUT, FLUSH, GET_ID, DISCARD, WRITE_ZEROES, u32::MAX] {
        let bytes: [u8; HEADER_BYTES] = header(kind, 0).try_into().unwrap();
        for len in [0, 1, 2] {
            let to = Data::In(Sink::from(&mut data[..]));
            let made = PlainRequest::new(bytes, to, Sink::from(&mut status[..len]));
            assert_eq!(made.is_some(), kind == IN && len == 1, "{kind} {len}");
            let from = Data::Out(Source::from(&out[..]));
            let made = PlainRequest::new(bytes, from, Sink::from(&mut status[..len]));
            assert_eq!(made.is_some(), kind == OUT && len == 1, "{kind} {len}");
        }
    }
}
