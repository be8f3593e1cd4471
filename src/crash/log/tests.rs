//! Logs that are written and read again, and logs that are damaged.

use proptest::prelude::*;

use super::{Log, LogError, NEVER, OWN_SECTOR_BYTES, Request, Totals, What, data_sectors, header};

const DISK_BYTES: u64 = 1 << 20;

fn whats() -> impl Strategy<Value = What> {
    prop_oneof![
        Just(What::Write),
        any::<bool>().prop_map(|unmap| What::WriteZeroes { unmap }),
        Just(What::Discard),
        Just(What::Flush),
        "[ -~]{1,60}".prop_map(What::Mark),
    ]
}

fn requests() -> impl Strategy<Value = Vec<Request>> {
    let one = (whats(), 0_u64..2000, 1_u64..20, 1_u64..9, any::<bool>());
    proptest::collection::vec(one, 0..20).prop_map(|all| {
        let each = all.into_iter().zip(1..);
        let request = |((what, sector, count, took, ends), number): (_, u64)| {
            let is_range = !matches!(what, What::Flush | What::Mark(_));
            Request {
                what,
                start_bytes: if is_range { sector * 512 } else { 0 },
                length_bytes: if is_range { count * 512 } else { 0 },
                submitted: number * 10,
                completed: if ends { number * 10 + took } else { NEVER },
                at_once: false,
                time_ns: number,
                data_at: 0,
            }
        };
        each.map(request).collect()
    })
}

/// The bytes of a log with these requests, which then have the places of their data.
fn written(requests: &mut [Request]) -> Vec<u8> {
    let mut totals = Totals::NONE;
    let mut bytes = vec![0; 512];
    for request in requests {
        request.data_at = totals.length_bytes + OWN_SECTOR_BYTES;
        totals.add(request);
        bytes.extend(header(request));
        let data = data_sectors(request) * OWN_SECTOR_BYTES;
        bytes.resize(bytes.len() + usize::try_from(data).unwrap(), 0);
    }
    bytes[..512].copy_from_slice(&totals.superblock());
    bytes
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(mut requests in requests()) {
        let bytes = written(&mut requests);
        let log = Log::read(&bytes[..], DISK_BYTES).unwrap();
        prop_assert_eq!(&log.requests, &requests);
        prop_assert!(log.has_moments);
        let superblock = bytes[..512].try_into().unwrap();
        let totals = Totals::parse(superblock).unwrap();
        prop_assert_eq!(totals.length_bytes, bytes.len() as u64);
        prop_assert_eq!(totals.entries, requests.len() as u64);
    }

    /// Whatever is wrong with it, there is an error, or requests inside the disk and the log.
    #[test]
    fn a_damaged_log_is_refused_or_names_only_what_is_there(
        mut requests in requests(),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
        is_cut: bool,
    ) {
        let mut bytes = written(&mut requests);
        for (at, byte) in flips {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if is_cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(log) = Log::read(&bytes[..], DISK_BYTES) {
            for request in &log.requests {
                prop_assert!(request.end_bytes() <= DISK_BYTES);
                prop_assert!(request.submitted < request.completed);
                let data = match request.what {
                    What::Write | What::WriteZeroes { .. } => request.length_bytes,
                    _ => 0,
                };
                prop_assert!(request.data_at + data <= bytes.len() as u64);
            }
        }
    }

    #[test]
    fn a_log_that_is_cut_off_says_so(
        mut requests in requests(),
        cut in any::<prop::sample::Index>(),
    ) {
        let bytes = written(&mut requests);
        prop_assume!(bytes.len() > 512);
        let end = 512 + cut.index(bytes.len() - 512);
        let refused = Log::read(&bytes[..end], DISK_BYTES);
        prop_assert!(matches!(refused, Err(LogError::Cut { .. })), "{:?}", refused);
    }
}
