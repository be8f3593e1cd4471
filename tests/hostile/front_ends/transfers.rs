//! Transfers of the device's state that are invalid, or never end.

use std::fs::File;
use std::io::{Read, Write, pipe};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use crate::driver::client::{code, state};
use crate::driver::data::pattern;
use crate::driver::disk::Disk;
use crate::driver::ring::new_eventfd;
use crate::driver::transfer::{LOAD, SAVE, transfer};
use crate::victim::{MINE, Victim};

#[test]
fn transfers_that_make_no_sense_harm_nobody() {
    let victim = Victim::new();
    let event = new_eventfd();
    let file: File = tempfile::tempfile().unwrap();
    let (reader, writer) = pipe().unwrap();
    let fds: [BorrowedFd<'_>; 4] = [event.as_fd(), file.as_fd(), reader.as_fd(), writer.as_fd()];
    // Unknown directions and phases; descriptors that can't be written, or read.
    for (direction, phase) in [
        (SAVE, 0),
        (LOAD, 0),
        (2, 0),
        (u32::MAX, 0),
        (SAVE, 1),
        (LOAD, 9),
    ] {
        for fd in fds {
            let client = victim.client();
            client.send(
                code::SET_DEVICE_STATE_FD,
                0,
                &state(direction, phase),
                &[fd],
            );
            client.send(code::CHECK_DEVICE_STATE, 0, &[], &[]);
            client.wire.receive(Duration::from_millis(300));
        }
    }
    victim.is_unharmed("transfers that make no sense");
}

#[test]
fn a_front_end_that_never_ends_its_transfer_holds_up_nobody_else() {
    let victim = Victim::new();
    let client = victim.client();
    let (reader, mut writer) = pipe().unwrap();
    assert_eq!(transfer(&client, LOAD, reader.as_fd()), 0x100);
    writer.write_all(&[1, 2, 3]).unwrap();
    client.send(code::CHECK_DEVICE_STATE, 0, &[], &[]);
    // Nor does a front end that does not read the state it requested.
    let other = victim.client();
    let (mut kept, into) = pipe().unwrap();
    transfer(&other, SAVE, into.as_fd());
    drop(into);
    let mut disk = Disk::attach(victim.ramblk.socket());
    assert_eq!(disk.q().write(MINE, &pattern(512, 42)), Ok(()));
    drop((disk, client, other, writer));
    kept.read_to_end(&mut Vec::new()).unwrap();
    victim.is_unharmed("transfers without an end");
}
