//! `--in-order`: a disk that promises to use requests in the order in which they were made
//! available (IN_ORDER).

use crate::driver::client::{Client, code};
use crate::driver::data::Random;
use crate::driver::disk::{ALL, Disk};
use crate::driver::feature;
use crate::driver::kind::{DISCARD, FLUSH, GET_ID, IN, OUT};
use crate::driver::ring::Ring;
use crate::harness::Ramblk;

#[test]
fn the_promise_is_made_only_by_a_disk_that_was_told_to() {
    for (arguments, promised) in [(&[][..], false), (&["--in-order"], true)] {
        let ramblk = Ramblk::run(arguments);
        let client = Client::connect(ramblk.socket());
        let offered = client.features();
        assert_eq!(offered & feature::IN_ORDER != 0, promised, "{arguments:?}");
        // A driver need not accept it.
        for features in [offered, offered & !feature::IN_ORDER] {
            Client::negotiated(ramblk.socket(), features);
        }
        let client = Client::negotiated(ramblk.socket(), 0);
        let payload = (offered | feature::IN_ORDER).to_le_bytes();
        let refused = client.refused(code::SET_FEATURES, &payload, &[]);
        assert_eq!(refused, !promised, "{arguments:?}");
    }
}

/// Valid and invalid requests of every kind, each a chain of at most three descriptors starting at
/// `slot`.
fn chain(ring: &Ring, slot: u16, dice: &mut Random) -> u16 {
    let pieces = match dice.below(7) {
        0 => ring.lay_out(FLUSH, 0, &[], 0),
        1 => ring.lay_out(GET_ID, 0, &[], 20),
        2 => ring.lay_out(DISCARD, 0, &[1; 16], 0),
        3 => ring.lay_out(77, 0, &[], 0),
        4 => ring.lay_out(IN, u64::MAX, &[], 512),
        5 => ring.lay_out(OUT, dice.below(1000), &[7; 512], 0),
        _ => ring.lay_out(IN, dice.below(1000), &[], 65536),
    };
    ring.direct(slot, &pieces)
}

#[test]
fn requests_of_every_kind_come_back_in_the_order_in_which_they_went() {
    let ramblk = Ramblk::run(&["--in-order"]);
    let mut disk = Disk::attach_with(ramblk.socket(), ALL, 1, 256);
    let mut dice = Random::new(5);
    let q = disk.q();
    for round in 0..200 {
        // The layout of IN_ORDER uses descriptors from the start; any other layout must work, too.
        let count = 1 + dice.below(80) as u16;
        let mut slots: Vec<u16> = (0..count).map(|i| 3 * i).collect();
        if round % 2 == 1 {
            (1..slots.len()).for_each(|i| slots.swap(i, dice.below(i as u64 + 1) as usize));
        }
        let heads: Vec<_> = slots
            .iter()
            .map(|slot| chain(q, *slot, &mut dice))
            .collect();
        heads.iter().for_each(|head| q.put(*head));
        q.publish();
        q.kick();
        let back: Vec<_> = heads.iter().map(|_| q.wait().id as u16).collect();
        assert_eq!(back, heads, "round {round}");
    }
}
