//! CONFIG_WCE: the one byte of the configuration space that a driver may write. The mode belongs to
//! the disk, so the next front end finds it as the last one left it.

use crate::driver::client::{Client, code, config_request};
use crate::driver::data::pattern;
use crate::driver::disk::{ALL, Disk};
use crate::driver::feature;
use crate::driver::offer::works;
use crate::harness::Ramblk;

/// The offset of the cache mode, and its values.
const WRITEBACK: u32 = 32;
const THROUGH: u8 = 0;
const BACK: u8 = 1;

/// SET_CONFIG. Returns the acknowledgement, or `None` if the connection was closed.
fn set(client: &Client, offset: u32, bytes: &[u8], flags: u32) -> Option<u64> {
    let mut payload = config_request(offset, bytes.len() as u32, flags);
    payload[12..].copy_from_slice(bytes);
    client.acked(code::SET_CONFIG, &payload, &[])
}

fn mode(client: &Client) -> u8 {
    client.config(WRITEBACK, 1, 0)[0]
}

#[test]
fn a_disk_begins_with_a_write_back_cache() {
    for arguments in [&[][..], &["--block-size", "4096"], &["--read-only"]] {
        let ramblk = Ramblk::run(arguments);
        // Readable before a feature is negotiated, and after.
        let client = Client::connect(ramblk.socket());
        assert_ne!(client.features() & feature::CONFIG_WCE, 0);
        let client = Client::negotiated(ramblk.socket(), ALL);
        assert_eq!(mode(&client), BACK, "{arguments:?}");
    }
}

#[test]
fn the_cache_mode_can_be_set_with_either_flag_and_read_back() {
    let ramblk = Ramblk::run(&[]);
    let mut disk = Disk::attach(ramblk.socket());
    // QEMU and crosvm send flags 0, cloud-hypervisor 1, for the same write of a guest.
    for flags in [0, 1, 0, 1] {
        for wanted in [THROUGH, THROUGH, BACK, BACK] {
            let ack = set(&disk.client, WRITEBACK, &[wanted], flags);
            assert_eq!(ack, Some(0), "{wanted} with flags {flags}");
            assert_eq!(mode(&disk.client), wanted, "flags {flags}");
            // Also as part of the whole, with nothing else changed.
            let config = disk.client.config(0, 60, 1);
            assert_eq!((config[32], config[33]), (wanted, 0));
            assert_eq!(config[..8], (64u64 * 2048).to_le_bytes());
            works(disk.q(), 8 * u64::from(wanted));
            disk.q().flush().unwrap();
        }
    }
}

#[test]
fn the_cache_mode_outlives_its_front_end() {
    let ramblk = Ramblk::run(&[]);
    for wanted in [THROUGH, BACK, THROUGH] {
        let client = Client::negotiated(ramblk.socket(), ALL);
        assert_eq!(set(&client, WRITEBACK, &[wanted], 0), Some(0));
        drop(client);
        for _ in 0..2 {
            assert_eq!(mode(&Client::negotiated(ramblk.socket(), ALL)), wanted);
        }
    }
}

#[test]
fn front_ends_of_one_disk_see_one_cache_mode() {
    let ramblk = Ramblk::run(&["--share", "rw"]);
    let clients = [0, 1].map(|_| Client::negotiated(ramblk.socket(), ALL));
    for wanted in [THROUGH, BACK] {
        assert_eq!(set(&clients[0], WRITEBACK, &[wanted], 0), Some(0));
        assert_eq!(clients.each_ref().map(mode), [wanted; 2]);
    }
}

#[test]
fn every_other_byte_is_read_only_and_a_refusal_keeps_connection_and_mode() {
    let ramblk = Ramblk::run(&[]);
    let mut disk = Disk::attach(ramblk.socket());
    for wanted in [THROUGH, BACK] {
        assert_eq!(set(&disk.client, WRITEBACK, &[wanted], 0), Some(0));
        let before = disk.client.config(0, 96, 0);
        let writes = [
            (0, 8),
            (0, 60),
            (24, 9),
            (31, 1),
            (31, 2),
            (33, 1),
            (34, 2),
            (95, 1),
        ];
        for (offset, size) in writes {
            // By the specification flag 1 is for migration, but cloud-hypervisor sets it for every
            // write.
            for flags in [0, 1] {
                let ack = set(&disk.client, offset, &vec![1 - wanted; size], flags);
                let refused = ack.is_some_and(|value| value != 0);
                assert!(refused, "{offset}+{size}, flags {flags}: {ack:?}");
                let payload = config_request(offset, size as u32, flags);
                // The same without requesting an answer.
                disk.client.send(code::SET_CONFIG, 0, &payload, &[]);
                assert_eq!(disk.client.config(0, 96, 0), before, "{offset}+{size}");
            }
        }
        works(disk.q(), 0);
    }
}

#[test]
fn a_driver_that_can_not_flush_has_a_write_through_cache() {
    let ramblk = Ramblk::run(&[]);
    let client = Client::negotiated(ramblk.socket(), ALL);
    assert_eq!(mode(&client), BACK);
    // Whatever the mode was: the driver sees this one from the start.
    let client = Client::negotiated(ramblk.socket(), ALL & !feature::FLUSH);
    assert_eq!(mode(&client), THROUGH);
}

#[test]
fn a_driver_that_did_not_ask_for_it_can_not_set_the_cache_mode() {
    let ramblk = Ramblk::run(&[]);
    let client = Client::negotiated(ramblk.socket(), ALL & !feature::CONFIG_WCE);
    for wanted in [THROUGH, BACK] {
        let ack = set(&client, WRITEBACK, &[wanted], 0);
        assert!(ack.is_some_and(|value| value != 0), "{wanted}: {ack:?}");
    }
    assert_eq!(mode(&client), BACK);
}

#[test]
fn a_cache_mode_that_there_is_not_and_flags_that_nobody_knows_are_refused() {
    let ramblk = Ramblk::run(&[]);
    let client = Client::negotiated(ramblk.socket(), ALL);
    for (wanted, flags) in [(2, 0), (255, 1), (THROUGH, 2), (THROUGH, 3)] {
        let ack = set(&client, WRITEBACK, &[wanted], flags);
        assert!(ack.is_some_and(|value| value != 0), "{wanted}, {flags}");
        assert_eq!(mode(&client), BACK);
    }
}

#[test]
fn a_write_is_on_the_disk_when_it_completes_whatever_the_cache_mode() {
    let ramblk = Ramblk::run(&["--share", "rw"]);
    let mut writer = Disk::attach(ramblk.socket());
    let mut reader = Disk::attach(ramblk.socket());
    for (at, wanted) in (0..).zip([THROUGH, BACK, THROUGH]) {
        assert_eq!(set(&writer.client, WRITEBACK, &[wanted], 0), Some(0));
        let data = pattern(4096, at as u8 + 1);
        writer.q().write(8 * at, &data).unwrap();
        assert_eq!(reader.q().read(8 * at, 4096), Ok(data), "mode {wanted}");
    }
}
