//! Random histories of a driver with one request at a time, against a plain model of what is
//! stable.

use ramblk::daemon::disks::{DestroyOptions, destroy};
use ramblk::model::{Keep, PowerCutRequest};

use super::super::World;
use super::{attach, bytes, cut_with, request};
use crate::driver::data::seed;
use crate::driver::disk::segment;

const SECTORS: usize = 32;

/// A write of the history. A discard writes 0.
#[derive(Clone, Copy, Debug)]
struct Write {
    start: usize,
    end: usize,
    byte: u8,
    is_stable: bool,
}

/// What the writes that `keeps` keeps leave, one after the other.
fn content(history: &[Write], mut keeps: impl FnMut(usize, &Write) -> bool) -> Vec<u8> {
    let mut content = vec![0; SECTORS];
    for (at, write) in history.iter().enumerate() {
        if keeps(at, write) {
            content[write.start..write.end].fill(write.byte);
        }
    }
    content
}

/// All that a sector may hold after a cut: what its last stable write left, or any later one.
fn legal(history: &[Write], sector: usize) -> Vec<u8> {
    let mut legal = vec![0];
    for write in history {
        if (write.start..write.end).contains(&sector) {
            if write.is_stable {
                legal.clear();
            }
            legal.push(write.byte);
        }
    }
    legal
}

/// The content of the disk after a cut of this kind, made beside it.
fn survivor(world: &World, keep: Keep, torn: bool, seed: u64) -> Vec<u8> {
    let request = PowerCutRequest {
        fork: Some("f".into()),
        tear_unit_bytes: Some(512),
        torn,
        seed,
        ..request("one", keep)
    };
    cut_with(world, &request).unwrap();
    let found = bytes(world, "f", SECTORS);
    let force = DestroyOptions {
        force: true,
        ..DestroyOptions::default()
    };
    destroy::destroy(&world.disks, "f", force).unwrap();
    found
}

#[test]
fn random_histories_leave_what_the_model_allows_and_nothing_else() {
    let seed = seed();
    let mut random = fastrand::Rng::with_seed(seed);
    let world = World::new(64 << 20);
    let mut guest = attach(&world, "one");
    let mut history: Vec<Write> = Vec::new();
    let mut is_writeback = true;
    for step in 0..400_u32 {
        let start = random.usize(0..SECTORS);
        let end = (start + random.usize(1..=8)).min(SECTORS);
        let byte = (step % 255) as u8 + 1;
        let range = segment(start as u64, (end - start) as u32, 0);
        let written = match random.u32(0..20) {
            0..12 => {
                let data = vec![byte; (end - start) * 512];
                guest.q().write(start as u64, &data).unwrap();
                Some(byte)
            }
            12 => guest.q().discard(&[range]).map(|()| Some(0)).unwrap(),
            13 => guest.q().write_zeroes(&[range]).map(|()| Some(0)).unwrap(),
            14..18 => {
                guest.q().flush().unwrap();
                history.iter_mut().for_each(|write| write.is_stable = true);
                None
            }
            18 => {
                is_writeback = !is_writeback;
                guest.client.set_writeback(u8::from(is_writeback));
                None
            }
            _ => None,
        };
        history.extend(written.map(|byte| Write {
            start,
            end,
            byte,
            is_stable: !is_writeback,
        }));
        if step % 20 != 19 {
            continue;
        }
        let what = format!("RAMBLK_SEED={seed}, step {step}");
        let visible = content(&history, |_, _| true);
        assert_eq!(survivor(&world, Keep::All, false, 0), visible, "{what}");
        let stable = content(&history, |_, write| write.is_stable);
        assert_eq!(survivor(&world, Keep::None, false, 0), stable, "{what}");
        let cut_seed = u64::from(step);
        let prefix = survivor(&world, Keep::Prefix, false, cut_seed);
        let is_prefix = (0..=history.len())
            .any(|end| content(&history, |at, write| at < end || write.is_stable) == prefix);
        assert!(is_prefix, "{what}: {prefix:?}");
        for (keep, torn) in [(Keep::Subset, false), (Keep::Reorder, true)] {
            let found = survivor(&world, keep, torn, cut_seed);
            for (sector, byte) in found.iter().enumerate() {
                let legal = legal(&history, sector);
                assert!(
                    legal.contains(byte),
                    "{what}: {byte} in {sector}: {legal:?}"
                );
            }
        }
    }
}
