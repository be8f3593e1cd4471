//! A device's state on its way from one machine to the next (DEVICE_STATE): saved into a pipe,
//! loaded from one.

use std::fs::File;
use std::io::{Read, Write, pipe};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use crate::driver::client::{Client, code, state};
use crate::driver::data::pattern;
use crate::driver::disk::{ALL, Disk};
use crate::driver::ring::new_eventfd;
use crate::driver::transfer::{LOAD, SAVE, check, load, save, transfer};
use crate::driver::victim::Victim;
use crate::harness::{Ramblk, eventually};

/// A disk whose rings are stopped, and one sector of it.
fn stopped(ramblk: &Ramblk, byte: u8) -> Disk {
    let mut disk = Disk::attach(ramblk.socket());
    disk.q().write(10, &pattern(512, byte)).unwrap();
    disk.client.vring(code::SET_VRING_ENABLE, 0, 0);
    disk.client.stop(0);
    disk
}

fn sector(ramblk: &Ramblk) -> Vec<u8> {
    let mut disk = Disk::attach(ramblk.socket());
    disk.q().read(10, 512).unwrap()
}

#[test]
fn a_saved_state_can_be_loaded_and_the_disk_goes_on_from_it() {
    let ramblk = Ramblk::run(&[]);
    let disk = stopped(&ramblk, 1);
    let bytes = save(&disk.client);
    assert!(!bytes.is_empty());
    drop(disk);
    // Time goes on, and then the machine is taken back to the moment of the snapshot.
    drop(stopped(&ramblk, 2));
    assert_eq!(sector(&ramblk), pattern(512, 2));
    let client = Client::negotiated(ramblk.socket(), ALL);
    assert_eq!(load(&client, &bytes), 0);
    drop(client);
    assert_eq!(sector(&ramblk), pattern(512, 1));
}

#[test]
fn a_state_can_be_saved_and_loaded_many_times() {
    let ramblk = Ramblk::run(&[]);
    let mut states = Vec::new();
    for round in 0..5 {
        let disk = stopped(&ramblk, round);
        states.push(save(&disk.client));
    }
    let fds = ramblk.fds();
    for (round, bytes) in states.iter().enumerate().rev() {
        let client = Client::negotiated(ramblk.socket(), ALL);
        assert_eq!(load(&client, bytes), 0, "state {round}");
        drop(client);
        assert_eq!(sector(&ramblk), pattern(512, round as u8), "state {round}");
    }
    eventually("descriptors of transfers are given back", || {
        ramblk.fds() <= fds
    });
}

#[test]
fn saving_leaves_the_disk_to_the_machine_that_goes_on() {
    let ramblk = Ramblk::run(&[]);
    let mut disk = stopped(&ramblk, 1);
    save(&disk.client);
    disk.client.start(&disk.queues[0]);
    assert_eq!(disk.q().read(10, 512), Ok(pattern(512, 1)));
    disk.q().write(10, &pattern(512, 2)).unwrap();
    assert_eq!(disk.q().read(10, 512), Ok(pattern(512, 2)));
}

#[test]
fn a_state_of_another_disk_or_of_no_disk_at_all_does_not_load() {
    let (one, other) = (Ramblk::run(&[]), Ramblk::run(&[]));
    let bytes = save(&stopped(&one, 1).client);
    drop(stopped(&other, 2));
    let mut flipped = bytes.clone();
    flipped[0] ^= 0xff;
    let longer = [&bytes[..], &[0; 5000]].concat();
    for (what, bytes) in [
        ("of another daemon", &bytes[..]),
        ("nothing", &[]),
        ("half of it", &bytes[..bytes.len() / 2]),
        ("another format", &flipped),
        ("too long", &longer),
        ("noise", &pattern(4096, 9)),
    ] {
        let client = Client::negotiated(other.socket(), ALL);
        assert_ne!(load(&client, bytes), 0, "{what} was loaded");
        assert!(
            client.answers(),
            "{what}: a state that fails is no broken message"
        );
        drop(client);
        assert_eq!(sector(&other), pattern(512, 2), "{what}");
    }
}

#[test]
fn the_state_of_a_device_whose_rings_run_is_not_moved() {
    let ramblk = Ramblk::run(&[]);
    let mut disk = Disk::attach(ramblk.socket());
    let (_reader, writer) = pipe().unwrap();
    // Bits 0 to 7 say that it failed, bit 8 that there is no descriptor.
    assert_eq!(transfer(&disk.client, SAVE, writer.as_fd()), 0x101);
    assert_ne!(check(&disk.client), 0);
    disk.q().write(10, &pattern(512, 1)).unwrap();
}

#[test]
fn a_check_without_a_transfer_is_no_success() {
    let ramblk = Ramblk::run(&[]);
    let client = Client::negotiated(ramblk.socket(), ALL);
    assert_ne!(check(&client), 0);
}

#[test]
fn transfers_that_make_no_sense_harm_nobody() {
    let victim = Victim::new();
    let event = new_eventfd();
    let file: File = tempfile::tempfile().unwrap();
    let (reader, writer) = pipe().unwrap();
    let fds: [BorrowedFd<'_>; 4] = [event.as_fd(), file.as_fd(), reader.as_fd(), writer.as_fd()];
    // Directions and phases that there are not; descriptors that can't be written, or read.
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
    // Nor does one that does not read what it asked for.
    let other = victim.client();
    let (mut kept, into) = pipe().unwrap();
    transfer(&other, SAVE, into.as_fd());
    drop(into);
    let mut disk = Disk::attach(victim.ramblk.socket());
    assert_eq!(disk.q().read(1000, 8192), Ok(pattern(8192, 42)));
    drop((disk, client, other, writer));
    kept.read_to_end(&mut Vec::new()).unwrap();
    victim.is_unharmed("transfers without an end");
}
