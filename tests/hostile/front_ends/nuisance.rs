//! Front ends that are a nuisance: they read no replies, come in crowds, or pass the wrong
//! descriptors.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::OFlags;
use std::io::pipe;

use crate::driver::client::{Client, code, state};
use crate::driver::data::pattern;
use crate::driver::disk::{ALL, Disk};
use crate::driver::kind::IN;
use crate::driver::ring::{Ring, new_eventfd};
use crate::driver::wire::{VERSION, header, message};
use crate::harness::{Ramblk, eventually};
use crate::victim::{A_WHILE, KEPT, MINE, Victim, odd_descriptors, withstand};

#[test]
fn a_front_end_that_never_reads_its_replies_harms_nobody() {
    let victim = Victim::new();
    let deaf = victim.client();
    let request = message(code::GET_FEATURES, VERSION, &[]);
    let mut sent = 0;
    let mut stuck = 0;
    while stuck < 20 && sent < 200_000 {
        match deaf.wire.send_now(&request) {
            0 => {
                stuck += 1;
                std::thread::sleep(Duration::from_millis(5));
            }
            n => sent += n,
        }
    }
    let mut disk = Disk::attach(victim.ramblk.socket());
    assert_eq!(disk.q().read(KEPT, 8192), Ok(pattern(8192, 42)));
    drop(disk);
    // Its session ends with an error.
    eventually("its connection ends", || {
        victim.ramblk.stderr().contains("does not read its replies")
    });
    drop(deaf);
    victim.is_unharmed("a deaf front end");
}

#[test]
fn a_flood_of_connections_does_not_stop_a_working_one() {
    let victim = Victim::new();
    let mut disk = Disk::attach(victim.ramblk.socket());
    let flood: Vec<_> = (0..120)
        .map(|_| Client::connect(victim.ramblk.socket()))
        .collect();
    for i in 0..50 {
        assert_eq!(disk.q().write(MINE + i, &pattern(512, i as u8)), Ok(()));
    }
    drop((flood, disk));
    victim.is_unharmed("a flood of connections");
}

/// Misbehave in one of several ways, and sometimes leave without closing properly.
pub(crate) fn misbehave(victim: &Victim, round: usize) {
    let (client, memory) = victim.with_memory();
    let ring = Ring::new(&Arc::new(memory), 0, 256, true);
    match round % 10 {
        0 => drop(
            client
                .wire
                .send(&header(code::SET_MEM_TABLE, VERSION, 5000), &[]),
        ),
        1 => drop(client.refused(
            code::SET_VRING_KICK,
            &99u64.to_le_bytes(),
            &[ring.kick.as_fd()],
        )),
        2 => client.start(&ring),
        3 => client.set_up(&ring, 0),
        4 => drop(client.refused(code::SET_MEM_TABLE, &[0; 40], &[ring.kick.as_fd()])),
        5 => drop(client.send(code::SET_VRING_CALL, 0, &[0; 8], &[ring.call.as_fd(); 20])),
        6 => drop(client.wire.send(
            &message(code::SET_VRING_KICK, 1, &[0; 8])[..13],
            &[ring.kick.as_fd()],
        )),
        7 => drop(client.send(99, 0, &[0; 100], &[ring.err.as_fd()])),
        8 => {
            let (ours, _theirs) = UnixStream::pair().unwrap();
            client.tell(code::SET_BACKEND_REQ_FD, &[], &[ours.as_fd()]);
        }
        _ => {
            client.start(&ring);
            ring.mem.store_u16(ring.avail + 2, 0x7777);
            ring.kick();
        }
    }
}

#[test]
fn three_hundred_hostile_connections_leave_nothing_behind() {
    let victim = Victim::new();
    for round in 0..300 {
        misbehave(&victim, round);
    }
    victim.is_unharmed("three hundred hostile connections");
    let mappings = victim.ramblk.mappings();
    // Thread stacks and allocator arenas may differ a little; guest memory (4 regions each) may
    // not.
    assert!(
        mappings < victim.mappings + 40,
        "{} mappings, now {mappings}",
        victim.mappings
    );
}

#[test]
fn a_broken_back_end_channel_harms_nobody() {
    let victim = Victim::new();
    for (what, fd) in odd_descriptors() {
        let client = victim.client();
        client.acked(code::SET_BACKEND_REQ_FD, &[], &[fd.as_fd()]);
        drop(client);
        victim.is_unharmed(what);
    }
}

/// Start ring 0 with other descriptors, use it as far as that goes, and check that ring 1 of the
/// same front end is not held up.
fn with_descriptors(victim: &Victim, what: &str, kick: impl AsFd, call: impl AsFd) {
    let mut disk = Disk::prepare(victim.ramblk.socket(), ALL);
    let ring = Ring::new(&disk.mem, 1, 256, true);
    disk.client.start(&ring);
    disk.queues.push(ring);
    let mut odd = Ring::new(&disk.mem, 0, 256, true);
    let pieces = odd.lay_out(IN, KEPT, &[], 512);
    odd.direct(0, &pieces);
    let client = &disk.client;
    let accepted = !client.refused(code::SET_VRING_NUM, &state(0, 256), &[])
        && !client.refused(code::SET_VRING_ADDR, &odd.addresses(), &[])
        && !client.refused(code::SET_VRING_CALL, &[0; 8], &[call.as_fd()])
        && !client.refused(code::SET_VRING_KICK, &[0; 8], &[kick.as_fd()])
        && !client.refused(code::SET_VRING_ENABLE, &state(0, 1), &[]);
    if accepted {
        for _ in 0..20 {
            odd.put(0);
            odd.set_used_event(odd.next_avail.wrapping_sub(1));
            odd.publish();
            let _ = rustix::io::write(&kick, &1u64.to_le_bytes());
            let kept = disk.queues[0].read(KEPT, 8192);
            assert_eq!(kept, Ok(pattern(8192, 42)), "{what}");
        }
        assert!(client.answers(), "{what}");
    }
    drop(disk);
    victim.is_unharmed(what);
}

#[test]
fn call_and_kick_descriptors_of_the_wrong_kind_hold_up_nobody() {
    let victim = Victim::new();
    for (what, fd) in odd_descriptors() {
        with_descriptors(&victim, &format!("{what} for calls"), new_eventfd(), &fd);
        with_descriptors(&victim, &format!("{what} for kicks"), &fd, new_eventfd());
    }
}

#[test]
fn a_blocking_kick_and_a_full_call_hold_up_nobody() {
    let victim = Victim::new();
    let blocking = || eventfd(0, EventfdFlags::CLOEXEC).unwrap();
    with_descriptors(&victim, "blocking kick", blocking(), new_eventfd());
    // A write to a full eventfd blocks.
    let full = blocking();
    rustix::io::write(&full, &(u64::MAX - 1).to_le_bytes()).unwrap();
    with_descriptors(&victim, "full call", new_eventfd(), &full);
    let (reader, writer) = pipe().unwrap();
    let mut writer = File::from(OwnedFd::from(writer));
    rustix::io::ioctl_fionbio(&writer, true).unwrap();
    while writer.write(&[0; 4096]).is_ok() {}
    rustix::io::ioctl_fionbio(&writer, false).unwrap();
    with_descriptors(&victim, "full pipe for calls", new_eventfd(), &writer);
    drop(reader);
}

#[test]
fn a_call_that_is_made_to_block_after_it_was_handed_over_costs_its_front_end_the_connection() {
    let victim = Victim::new();
    let mut disk = victim.guest(ALL);
    disk.q().flush().unwrap();
    // The flags belong to the file, which both sides share: being full, it blocks from now on.
    let call = &disk.queues[0].call;
    let _ = rustix::io::read(call, &mut [0; 8]);
    rustix::io::write(call, &(u64::MAX - 1).to_le_bytes()).unwrap();
    rustix::fs::fcntl_setfl(call, OFlags::empty()).unwrap();
    let ring = disk.q();
    ring.set_used_event(ring.next_avail);
    ring.put(0);
    ring.publish();
    ring.kick();
    assert!(disk.client.closes_within(Duration::from_secs(5)));
    drop(disk);
    victim.is_unharmed("a call that blocks");
    withstand("a full, blocking call descriptor", A_WHILE);
}

#[test]
fn a_ring_that_has_nothing_to_do_costs_no_processor_time_whatever_its_kick_descriptor_is() {
    // Without an honest front end, which would cost some time.
    let ramblk = Ramblk::run(&[]);
    let mut kicks = odd_descriptors();
    kicks.push(("eventfd", new_eventfd()));
    for (what, kick) in kicks {
        let disk = Disk::prepare(ramblk.socket(), ALL);
        let mut ring = Ring::new(&disk.mem, 0, 256, true);
        ring.kick = kick;
        disk.client.vring(code::SET_VRING_NUM, 0, 256);
        disk.client.vring_addr(&ring);
        disk.client.vring_fd(code::SET_VRING_CALL, 0, &ring.call);
        let accepted = !disk
            .client
            .refused(code::SET_VRING_KICK, &[0; 8], &[ring.kick.as_fd()])
            && !disk
                .client
                .refused(code::SET_VRING_ENABLE, &state(0, 1), &[]);
        // Time for the workers to go to sleep.
        std::thread::sleep(Duration::from_millis(100));
        let before = ramblk.ticks();
        std::thread::sleep(Duration::from_millis(400));
        let used = ramblk.ticks() - before;
        assert!(
            used < 10,
            "{what} (accepted: {accepted}): {used} of 40 ticks"
        );
    }
}
