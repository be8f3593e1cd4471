//! A device's state on its way from one machine to another (DEVICE_STATE): saved into a pipe,
//! loaded from one.

use std::io::pipe;
use std::os::fd::AsFd;

use crate::driver::client::{Client, code};
use crate::driver::data::pattern;
use crate::driver::disk::{ALL, Disk};
use crate::driver::transfer::{SAVE, check, load, save, transfer};
use crate::harness::{Ramblk, eventually};

/// A disk with stopped rings, and one sector of it.
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
    // The guest continues, and then the machine returns to the moment of the snapshot.
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
    // Bits 0 to 7 report an error, bit 8 that there is no descriptor.
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
