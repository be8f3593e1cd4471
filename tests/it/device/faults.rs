//! What faults make of requests: torn, lost, misdirected, wrong, for short and long ones.

use ramblk::device::faults::{Flips, Kind, Rule};
use ramblk::store::{OnFull, SectorSize};

use super::rig::*;

const MIB: usize = 1 << 20;
const BIG: u64 = 16 * MIB as u64;

impl Rig {
    fn faults(&self, texts: &[&str]) {
        let rules = texts.iter().enumerate().map(|(at, text)| {
            let mut rule: Rule = text.parse().unwrap();
            rule.id = Some(format!("f{at}"));
            rule
        });
        self.device.volume().set_faults(rules.collect());
    }

    fn content(&self, sector: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.disk().read(sector, &mut [&mut bytes]).unwrap();
        bytes
    }
}

#[test]
fn a_torn_write_has_its_first_sectors_and_fails_or_says_that_it_did_not() {
    for (sectors, len) in [(3, 8), (3, 10_000), (5000, 10_000), (0, 4), (9, 4)] {
        for (kind, status) in [("torn", IOERR), ("torn-silent", OK)] {
            let rig = Rig::sized(SectorSize::S512, BIG);
            rig.faults(&[&format!("{kind}={sectors}")]);
            let data = noise(len * 512);
            for cuts in [vec![16], vec![16, 700, 701, 5000], vec![3]] {
                rig.disk().discard(0, BIG / 512).unwrap();
                let answer = rig.ask_cut(ACKED, &write(7, &data), 0, &cuts);
                assert_eq!(
                    (answer.status, answer.used),
                    (status, 1),
                    "{kind}={sectors} of {len}"
                );
                let landed = sectors.min(len) * 512;
                let found = rig.content(7, data.len());
                assert!(
                    found[..landed] == data[..landed],
                    "{kind}={sectors} of {len}"
                );
                assert!(found[landed..].iter().all(|&byte| byte == 0));
            }
        }
    }
}

#[test]
fn chance_tears_a_write_where_the_seed_says() {
    let tear = |seed: u64| {
        let rig = Rig::new(false);
        rig.faults(&[&format!("torn,seed={seed}")]);
        (0..20).for_each(|at| assert_eq!(rig.status(&write(at * 16, &noise(8192))), IOERR));
        let log = rig.device.volume().faults().log();
        let sectors = log.firings.iter().map(|firing| match firing.kind {
            Kind::Torn { sectors, .. } => sectors.unwrap(),
            other => panic!("{other:?}"),
        });
        let sectors: Vec<u64> = sectors.collect();
        for (at, &torn) in sectors.iter().enumerate() {
            let found = rig.content(at as u64 * 16, 8192);
            let landed = found.iter().take_while(|&&byte| byte != 0).count();
            assert_eq!(landed as u64, torn * 512);
        }
        sectors
    };
    assert_eq!(tear(1), tear(1));
    assert_ne!(tear(1), tear(2));
    assert!(tear(1).iter().all(|&sectors| sectors < 16));
}

#[test]
fn what_is_lost_succeeds_and_changes_nothing() {
    let rig = Rig::new(false);
    rig.disk().write(0, &[&noise(4096)]).unwrap();
    rig.faults(&["lost", "lost-flush"]);
    assert_eq!(rig.status(&write(0, &[7; 4096])), OK);
    assert_eq!(rig.status(&ranges(DISCARD, &[(0, 8, 0)])), OK);
    assert_eq!(rig.status(&ranges(WRITE_ZEROES, &[(0, 8, 0)])), OK);
    assert_eq!(rig.status(&header(FLUSH, 0)), OK);
    assert_eq!(rig.ask(&header(IN, 0), 4096).data, noise(4096));
    let fired = rig.device.volume().faults().list();
    assert_eq!(fired.iter().map(|it| it.fired).collect::<Vec<_>>(), [3, 1]);
}

#[test]
fn a_misdirected_write_lands_elsewhere_on_the_disk() {
    let rig = Rig::new(false);
    for (by, from, to) in [
        (8, 0, 8),
        (-8, 8, 0),
        (8, SECTORS - 8, 7),
        (-1, 0, SECTORS - 8),
        (3 * SECTORS as i64, 5, 26),
    ] {
        rig.disk().discard(0, SECTORS).unwrap();
        rig.faults(&[&format!("misdirected={by:+}")]);
        assert_eq!(rig.status(&write(from, &noise(4096))), OK);
        assert!(rig.content(to, 4096) == noise(4096), "{from} by {by}");
        assert_eq!(
            rig.disk().get_info().unwrap().mapped_bytes,
            4096,
            "and nowhere else"
        );
    }
    // A write of the whole disk has only one place.
    let data = noise(SECTORS as usize * 512);
    assert_eq!(rig.status(&write(0, &data)), OK);
    assert_eq!(rig.content(0, data.len()), data);
}

#[test]
fn bits_of_a_read_are_wrong_and_the_disk_is_not() {
    let rig = Rig::sized(SectorSize::S512, BIG);
    for len in [1, 8, 129, 12_345] {
        let data = noise(len * 512);
        rig.disk().write(3, &[&data]).unwrap();
        for cuts in [vec![16], vec![1, 511, 513, 70_000]] {
            rig.faults(&["corrupt=9,seed=4"]);
            let read = rig.ask_cut(ACKED, &header(IN, 3), data.len(), &cuts);
            assert_eq!((read.status, read.used as usize), (OK, data.len() + 1));
            let wrong = read
                .data
                .iter()
                .zip(&data)
                .map(|(one, two)| (one ^ two).count_ones());
            assert_eq!(wrong.sum::<u32>(), 9, "{len} sectors cut at {cuts:?}");
            let mut again = rig.ask_cut(ACKED, &header(IN, 3), data.len(), &[]);
            assert_ne!(again.data, read.data, "the second time is another one");
            rig.faults(&[]);
            again = rig.ask_cut(ACKED, &header(IN, 3), data.len(), &[]);
            assert!(again.data == data);
        }
    }
    let none = Flips::new(1, 5, 0);
    assert_eq!(none.within(0..u64::MAX).count(), 0);
}

#[test]
fn a_disk_that_is_said_to_be_full_fails_writes_and_nothing_else() {
    let rig = Rig::new(false);
    rig.faults(&["full,times=2"]);
    assert_eq!(rig.disk().on_full(), OnFull::Error);
    assert_eq!(rig.status(&write(0, &noise(512))), IOERR);
    assert_eq!(rig.status(&ranges(DISCARD, &[(0, 8, 0)])), OK);
    assert_eq!(rig.status(&ranges(WRITE_ZEROES, &[(0, 8, 0)])), IOERR);
    assert_eq!(rig.status(&write(0, &noise(512))), OK);
    assert_eq!(rig.device.volume().full_events(), 2);
}

#[test]
fn a_request_that_cannot_wait_is_not_delayed_and_not_stalled() {
    let rig = Rig::new(false);
    rig.faults(&["delay=1h,op=read", "stall,op=write", "disconnect,op=flush"]);
    assert_eq!(rig.ask(&header(IN, 0), 512).status, OK);
    assert_eq!(rig.status(&write(0, &noise(512))), IOERR);
    assert_eq!(rig.status(&header(FLUSH, 0)), IOERR);
}
