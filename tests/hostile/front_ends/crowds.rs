//! Crowds of hostile front ends: thousands of connections, half-open ones, more than are allowed,
//! with hundreds of regions each, and a process that has no descriptor left.

use std::fs::{read_dir, read_link, read_to_string};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use super::nuisance::misbehave;
use crate::driver::client::{Client, code, single};
use crate::driver::disk::Disk;
use crate::driver::memory::{MIB, Region};
use crate::driver::ring::Ring;
use crate::driver::wire::{VERSION, message};
use crate::harness::eventually;
use crate::victim::{MINE, Victim};

const CONNECTIONS: usize = 10_000;

#[test]
fn ten_thousand_hostile_connections_leave_nothing_behind() {
    let victim = Victim::new();
    let crowd = |connections: usize| {
        std::thread::scope(|scope| {
            for part in 0..4 {
                let victim = &victim;
                scope.spawn(move || {
                    (0..connections / 4).for_each(|round| misbehave(victim, round * 4 + part));
                });
            }
        });
    };
    // Memory that the allocator keeps for the first connections stays in any case, and so do the
    // events of the last few thousand.
    crowd(CONNECTIONS / 2);
    victim.is_unharmed("five thousand hostile connections");
    let before_kib = victim.ramblk.rss_kib();
    crowd(CONNECTIONS);
    victim.is_unharmed("ten thousand hostile connections");
    eventually("mappings are given back", || {
        victim.ramblk.mappings() < victim.mappings + 40
    });
    // Later ones take no more.
    let after_kib = victim.ramblk.rss_kib();
    assert!(
        after_kib < before_kib + 2048,
        "{before_kib} KiB before, {after_kib} KiB after"
    );
}

/// Open many connections that end amid a message, and attach beside them. Returns whether that took
/// as long as they have.
fn half_open_connections_hold_up(victim: &Victim) -> bool {
    let half = message(code::SET_MEM_TABLE, VERSION, &[0; 100]);
    let open: Vec<_> = (0..500)
        .map(|i| {
            let client = Client::connect(victim.ramblk.socket());
            assert!(client.wire.send(&half[..1 + i % (half.len() - 1)], &[]));
            client
        })
        .collect();
    let began = Instant::now();
    let mut disk = Disk::attach(victim.ramblk.socket());
    assert_eq!(disk.q().write(MINE, &[3; 512]), Ok(()));
    let held_up = began.elapsed() >= Duration::from_secs(4);
    for client in &open {
        assert!(client.closes_within(Duration::from_secs(10)));
    }
    assert!(began.elapsed() < Duration::from_secs(20));
    drop((open, disk));
    victim.is_unharmed("half-open connections");
    held_up
}

#[test]
fn half_open_connections_are_closed_after_a_while_and_hold_up_nobody() {
    let victim = Victim::new();
    // A machine that is busy with other tests may do so too, but hardly three times.
    let held_up = (0..3).all(|_| half_open_connections_hold_up(&victim));
    assert!(!held_up, "held up");
}

#[test]
fn more_connections_than_there_may_be_are_closed_and_the_others_go_on() {
    let victim = Victim::new();
    let mut disk = Disk::attach(victim.ramblk.socket());
    let crowd: Vec<_> = (0..1100)
        .map(|_| Client::connect(victim.ramblk.socket()))
        .collect();
    let last = crowd.last().unwrap();
    assert!(last.closes_within(Duration::from_secs(10)));
    assert!(crowd[500].answers());
    assert_eq!(disk.q().write(MINE, &[4; 512]), Ok(()));
    drop((crowd, disk));
    victim.is_unharmed("a crowd of connections");
}

/// A region of 4 KiB, `number` regions above 1 TiB, from the file of `of`.
fn small_region(of: &Region, number: u64) -> Vec<u8> {
    let mut payload = single(of);
    let at = (1 << 40) + number * 8192;
    payload[8..16].copy_from_slice(&at.to_le_bytes());
    payload[16..24].copy_from_slice(&4096u64.to_le_bytes());
    payload[24..32].copy_from_slice(&(at + (1 << 45)).to_le_bytes());
    payload[32..40].copy_from_slice(&0u64.to_le_bytes());
    payload
}

#[test]
fn front_ends_with_hundreds_of_regions_each_leave_room_for_others() {
    let victim = Victim::new();
    let region = Region::new(0, MIB, 0);
    let mut refused = 0;
    let crowd: Vec<_> = (0..60)
        .map(|_| {
            let client = victim.client();
            let mut numbers = 0..509;
            let taken = numbers.find(|&n| {
                client.refused(code::ADD_MEM_REG, &small_region(&region, n), &[region.fd()])
            });
            refused += usize::from(taken.is_some());
            client
        })
        .collect();
    assert!(refused > 0, "60 x 509 regions are not too many");
    let fds = victim.ramblk.fds();
    assert!(fds < 1000, "{fds} descriptors: regions keep their files");
    assert!(victim.ramblk.mappings() < 40_000);
    // A front end with few regions still finds room.
    let mut disk = Disk::attach(victim.ramblk.socket());
    assert_eq!(disk.q().write(MINE, &[5; 512]), Ok(()));
    drop((crowd, disk));
    victim.is_unharmed("thousands of regions");
}

#[test]
fn a_process_without_descriptors_serves_those_who_are_there_and_recovers() {
    let victim = Victim::new();
    let mut disk = Disk::attach(victim.ramblk.socket());
    let pid = Pid::from_raw(victim.ramblk.pid().cast_signed());
    let limit = |descriptors: usize| {
        let limit = Rlimit {
            current: Some(descriptors as u64),
            ..getrlimit(Resource::Nofile)
        };
        prlimit(pid, Resource::Nofile, limit).unwrap()
    };
    let before = limit(victim.ramblk.fds() + 12);
    let crowd: Vec<_> = (0..40)
        .map(|_| Client::connect(victim.ramblk.socket()))
        .collect();
    for client in &crowd {
        client.send(code::SET_VRING_CALL, 0, &[0; 8], &[region_fd(&disk)]);
    }
    for i in 0..200 {
        assert_eq!(disk.q().write(MINE + i, &[6; 512]), Ok(()));
    }
    drop((crowd, disk));
    prlimit(pid, Resource::Nofile, before).unwrap();
    victim.is_unharmed("want of descriptors");
}

fn region_fd(disk: &Disk) -> std::os::fd::BorrowedFd<'_> {
    disk.queues[0].call.as_fd()
}

#[test]
fn no_descriptor_of_a_front_end_can_reach_a_program_that_the_process_runs() {
    let victim = Victim::new();
    let (client, memory) = victim.with_memory();
    let ring = Ring::new(&Arc::new(memory), 0, 256, true);
    client.start(&ring);
    assert!(client.answers());
    let process = format!("/proc/{}", victim.ramblk.pid());
    let mut seen = 0;
    for entry in read_dir(format!("{process}/fdinfo")).unwrap() {
        let path = entry.unwrap().path();
        let number = path.file_name().unwrap().to_str().unwrap();
        let link = read_link(format!("{process}/fd/{number}")).unwrap();
        // Descriptors that the process inherited are not its own.
        let own = ["/memfd:", "anon_inode:", "socket:"];
        if !own
            .iter()
            .any(|kind| link.to_str().unwrap().starts_with(kind))
        {
            continue;
        }
        let info = read_to_string(&path).unwrap();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
        let flags = u32::from_str_radix(flags.unwrap().trim(), 8).unwrap();
        let close_on_exec = flags & 0o2_000_000 != 0;
        assert!(close_on_exec, "{number}, {link:?}: {info}");
        seen += 1;
    }
    assert!(seen > 10, "{seen} descriptors");
    drop((client, ring));
    victim.is_unharmed("descriptors");
}
