//! The policies of a cut, and its forms.

use std::time::Duration;

use ramblk::daemon::disks::{describe, destroy, power};
use ramblk::model::{DiskState, EventKind, Keep, LostFate, PowerCutRequest, ProblemKind};

use super::super::{World, says, until};
use super::{attach, bytes, cut, cut_with, put_write, request, settings, volatile};
use crate::driver::client::{Client, code};
use crate::driver::disk::{ALL, Disk as Guest};
use crate::driver::inflight::Inflight;

#[test]
fn all_keeps_what_a_read_saw_and_the_guest_can_come_back() {
    let world = World::new(64 << 20);
    let mut events = world.disks.events().listen();
    let mut guest = attach(&world, "one");
    guest.q().write(0, &[1; 512]).unwrap();
    let made = cut(&world, "one", Keep::All);
    assert_eq!(made.disks[0].lost_writes, 0);
    assert!(guest.client.closes_within(Duration::from_secs(5)));
    until(&mut events, EventKind::PowerCut);
    assert_eq!(bytes(&world, "one", 1), [1]);
}

/// Each fork of a seed is one of the states that the policy allows, and the same one again.
#[test]
fn forks_leave_the_disk_alone_and_are_the_same_for_the_same_seed() {
    let world = World::new(64 << 20);
    let mut guest = attach(&world, "one");
    guest.q().write(0, &[9; 4096]).unwrap();
    guest.q().flush().unwrap();
    for (sector, byte) in [(0, 1), (1, 2), (2, 3)] {
        guest.q().write(sector, &[byte; 1024]).unwrap();
    }
    let fork = |name: &str, keep, seed, torn| {
        let request = PowerCutRequest {
            fork: Some(name.into()),
            seed,
            torn,
            tear_unit_bytes: Some(512),
            ..request("one", keep)
        };
        let made = cut_with(&world, &request).unwrap();
        assert_eq!(made.disks[0].fork.as_deref(), Some(name));
        assert_eq!(made.disks[0].disconnected, 0);
        let found = bytes(&world, name, 5);
        destroy::destroy(&world.disks, name, destroy_options()).unwrap();
        assert_eq!(found[4], 9, "beyond the writes");
        (found[..4].to_vec(), made)
    };
    let prefixes = [[9, 9, 9, 9], [1, 1, 9, 9], [1, 2, 2, 9], [1, 2, 3, 3]];
    let mut seen = [false; 4];
    let mut torn = 0;
    for seed in 0..24 {
        let (prefix, _) = fork("f", Keep::Prefix, seed, false);
        let at = prefixes.iter().position(|it| it[..] == prefix);
        seen[at.unwrap_or_else(|| panic!("no prefix: {prefix:?}"))] = true;
        let (first, made) = fork("f", Keep::Reorder, seed, true);
        let (again, _) = fork("f", Keep::Reorder, seed, true);
        assert_eq!(first, again, "seed {seed}");
        let legal: [&[u8]; 4] = [&[9, 1], &[9, 1, 2], &[9, 2, 3], &[9, 3]];
        for (byte, legal) in first.iter().zip(legal) {
            assert!(legal.contains(byte), "seed {seed}: {first:?}");
        }
        let fates = made.disks[0].lost.iter().map(|it| it.fate);
        torn += fates.filter(|fate| *fate == LostFate::Torn).count();
    }
    assert_eq!(seen, [true; 4]);
    assert!(torn > 0);
    // The disk went on meanwhile.
    assert_eq!(volatile(&world, "one").writes, 3);
    assert_eq!(guest.q().read(2, 512).unwrap(), [3; 512]);
    guest.q().flush().unwrap();
}

fn destroy_options() -> ramblk::daemon::disks::DestroyOptions {
    ramblk::daemon::disks::DestroyOptions {
        force: true,
        ..Default::default()
    }
}

#[test]
fn garbage_stays_where_volatile_writes_were() {
    let world = World::new(64 << 20);
    let mut guest = attach(&world, "one");
    guest.q().write(0, &[9; 4096]).unwrap();
    guest.q().flush().unwrap();
    guest.q().write(2, &[1; 512]).unwrap();
    let mut garbage = 0;
    for seed in 0..40 {
        let request = PowerCutRequest {
            fork: Some("f".into()),
            garbage: true,
            seed,
            ..request("one", Keep::All)
        };
        let made = cut_with(&world, &request).unwrap();
        let found = bytes(&world, "f", 8);
        garbage += usize::from(
            made.disks[0]
                .lost
                .iter()
                .any(|it| it.fate == LostFate::Garbage),
        );
        for (sector, byte) in found.iter().enumerate().filter(|(sector, _)| *sector != 2) {
            assert_eq!(*byte, 9, "sector {sector}, seed {seed}");
        }
        destroy::destroy(&world.disks, "f", destroy_options()).unwrap();
    }
    assert!((1..20).contains(&garbage), "{garbage} of 40");
}

#[test]
fn several_disks_lose_their_power_together_and_stay_off_until_it_is_on() {
    let world = World::new(64 << 20);
    let mut guests: Vec<Guest> = ["a", "b"].map(|name| attach(&world, name)).into();
    for guest in &mut guests {
        guest.q().write(0, &[1; 512]).unwrap();
        guest.q().flush().unwrap();
        guest.q().write(0, &[2; 512]).unwrap();
    }
    let both = PowerCutRequest {
        disks: vec!["a".into(), "b".into()],
        off: true,
        ..PowerCutRequest::default()
    };
    let made = cut_with(&world, &both).unwrap();
    assert_eq!(made.disks.len(), 2);
    let off = describe::get(&world.disks, "a").unwrap();
    assert_eq!(off.state, DiskState::PoweredOff);
    assert_eq!(off.unreachable, None, "nothing is wrong with its socket");
    assert!(!std::path::Path::new(&off.socket).exists());
    let on = power::on(&world.disks, &["a".into(), "b".into()]).unwrap();
    assert_eq!(on[0].state, DiskState::Ok);
    for name in ["a", "b"] {
        assert_eq!(bytes(&world, name, 1), [1]);
    }
}

/// The machine didn't lose its power, only its disk: what it has in flight isn't served again.
#[test]
fn a_front_end_that_comes_back_with_its_region_is_refused() {
    let world = World::new(64 << 20);
    let socket = world.create_with("one", settings());
    let mut guest = Guest::prepare(&socket, ALL);
    let region = Inflight::ask(&guest.client, 1, 64);
    region.give(&guest.client);
    let ring = crate::driver::ring::Ring::new(&guest.mem, 0, 64, false);
    guest.client.start(&ring);
    guest.queues.push(ring);
    guest.q().write(0, &[1; 512]).unwrap();
    cut(&world, "one", Keep::None);
    let again = Client::negotiated(&socket, ALL);
    let fds = [std::os::fd::AsFd::as_fd(&region.file)];
    assert!(again.refused(code::SET_INFLIGHT_FD, &region.description(), &fds));
    drop(again);
    // Another machine has a region of its own.
    let other = Client::negotiated(&socket, ALL);
    Inflight::ask(&other, 1, 64).give(&other);
    drop(other);
    assert_eq!(bytes(&world, "one", 1), [0]);
}

/// The ring has requests that no one is told to look at: they are owed to no one.
#[test]
fn what_was_never_taken_is_lost() {
    let world = World::new(64 << 20);
    let mut guest = attach(&world, "one");
    put_write(guest.q(), 0, 0, 1);
    guest.q().publish();
    cut(&world, "one", Keep::All);
    assert!(guest.client.closes_within(Duration::from_secs(5)));
    assert!([0, 1].contains(&bytes(&world, "one", 1)[0]));
}

#[test]
fn a_cut_that_makes_no_sense_is_refused_and_changes_nothing() {
    let world = World::new(64 << 20);
    world.create("stable");
    let mut guest = attach(&world, "one");
    guest.q().write(0, &[1; 512]).unwrap();
    let refused = |edit: &dyn Fn(&mut PowerCutRequest), kind, words: &[&str]| {
        let mut request = request("one", Keep::None);
        edit(&mut request);
        says(cut_with(&world, &request), kind, words);
    };
    let invalid = ProblemKind::Invalid;
    refused(&|it| it.torn = true, invalid, &["nothing can be torn"]);
    refused(&|it| it.garbage = true, invalid, &["garbage"]);
    refused(
        &|it| it.tear_unit_bytes = Some(1000),
        invalid,
        &["1000", "power of two"],
    );
    refused(&|it| it.disks.clear(), invalid, &["0 disks"]);
    refused(&|it| it.disks.push("one".into()), invalid, &["twice"]);
    refused(
        &|it| it.disks.push("none".into()),
        ProblemKind::NotFound,
        &["none"],
    );
    let stable = |it: &mut PowerCutRequest| it.disks.push("stable".into());
    refused(&stable, invalid, &["stable", "write_cache volatile"]);
    let fork = |name: &str| {
        let name = name.to_owned();
        move |it: &mut PowerCutRequest| it.fork = Some(name.clone())
    };
    refused(&fork("stable"), ProblemKind::Conflict, &["exists already"]);
    refused(&fork("-x"), invalid, &["not a name"]);
    refused(
        &|it| (it.fork, it.off) = (Some("f".into()), true),
        invalid,
        &["off"],
    );
    assert_eq!(volatile(&world, "one").writes, 1);
    assert_eq!(guest.q().read(0, 512).unwrap(), [1; 512]);
    guest.q().flush().unwrap();
}

#[test]
fn a_disk_pays_for_what_a_cut_leaves_of_it() {
    let world = World::new(64 << 20);
    let mut guest = attach(&world, "one");
    guest.q().write(0, &[1; 512]).unwrap();
    guest.q().flush().unwrap();
    for sector in (2048..10_240).step_by(128) {
        guest.q().write(sector, &[2; 65_536]).unwrap();
    }
    cut(&world, "one", Keep::All);
    let disk = describe::get(&world.disks, "one").unwrap();
    let charged = disk.charged_bytes;
    assert!((4 << 20..5 << 20).contains(&charged), "{charged}");
    cut(&world, "one", Keep::None);
    let disk = describe::get(&world.disks, "one").unwrap();
    assert_eq!(disk.charged_bytes, charged, "all of it was stable");
}
