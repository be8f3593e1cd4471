//! Requests served as a worker serves them: plain ones together, others one by one.

use ramblk::device::PlainRequest;
use ramblk::store::{Data, Piece};

use super::guest::Guest;
use super::model::Plain;
use super::{Rig, fill};

impl Rig<'_> {
    /// Serve some requests: plain ones first, or another one if there are none.
    pub(super) fn turn(&mut self, turn: u8, how: u8, len: u32) {
        let most_bytes = 1 << (u32::from(turn >> 3 & 15) * 4);
        let mut left = u32::from(turn & 7) * 3 + 1;
        while left > 0 {
            match self.serve_plain(left.min(self.left()), most_bytes, how, len) {
                None => break,
                Some(0) if !self.serve(how, len) => break,
                Some(served) => left -= served.max(1),
            }
        }
    }

    /// Serve the next plain requests. Returns how many there were, unless the ring is broken.
    fn serve_plain(&mut self, most: u32, most_bytes: u64, how: u8, len: u32) -> Option<u32> {
        let (ring, model) = self.rings.as_mut().filter(|_| most > 0)?;
        let expected = model.plain(self.guest, most, most_bytes);
        let mut calls = 0;
        let found = ring.serve_plain(most, most_bytes, |transfers, done| {
            calls += 1;
            let list = expected.as_ref().expect("requests of a broken ring");
            assert_eq!(transfers.len(), list.len(), "{list:?}");
            for ((transfer, plain), number) in transfers.iter().zip(list).zip(0..) {
                carry_out(self.guest, transfer, plain, how.wrapping_add(number));
            }
            for ((transfer, plain), number) in transfers.iter().zip(list).zip(0..) {
                let (status, len) = (how.wrapping_add(number), len ^ u32::from(number));
                assert_eq!(transfer.parts().2.copy_from(&[status]), 1);
                self.guest.expect(plain.status, &[status]);
                done(len);
                model.complete(self.guest, plain.head, len);
            }
        });
        assert_eq!(ring.position(), model.next_used);
        let list = match expected {
            Ok(list) => list,
            Err(error) => {
                assert_eq!((found, calls), (Err(error.to_owned()), 0));
                self.reached.add(error);
                return None;
            }
        };
        let bytes = list.iter().map(|plain| plain.data.len as u64).sum();
        let served = list.len() as u32;
        assert_eq!(found, Ok((served, bytes)), "{list:?}");
        assert_eq!(calls, u32::from(served > 0));
        self.served += served;
        for plain in &list {
            self.reached.add(match (plain.reads, plain.table) {
                (true, false) => "plain read",
                (true, true) => "plain read in a table",
                (false, false) => "plain write",
                (false, true) => "plain write in a table",
            });
        }
        match served {
            0 | 1 => {}
            2..16 => self.reached.add("several at once"),
            _ => self.reached.add("most at once"),
        }
        Some(served)
    }
}

/// Check a plain request, and write or read its data.
fn carry_out(guest: &mut Guest, transfer: &PlainRequest<'_>, plain: &Plain, how: u8) {
    let (header, data, status) = transfer.parts();
    let found = (header, data.len(), status.len());
    assert_eq!(found, (plain.header, plain.data.len, 1), "{plain:?}");
    let at = plain.data.at;
    match data {
        Data::In(to) => {
            assert!(plain.reads, "{plain:?}");
            let wrote = fill(how, &[to]);
            guest.expect(at, &wrote[0]);
        }
        Data::Out(from) => {
            assert!(!plain.reads, "{plain:?}");
            let mut bytes = vec![0; from.len()];
            from.copy_to(&mut bytes);
            assert_eq!(bytes, guest.peek(at, bytes.len()), "at {at:#x}");
        }
    }
}
