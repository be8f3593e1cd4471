//! What changes while it is used: memory that disappears under a ring, endless kicks, meaningless
//! indexes, and messages in senseless orders.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::attacks::keep_full;
use crate::driver::client::{
    Client, PATIENCE, addresses, code, config_request, single, state, table,
};
use crate::driver::data::{Random, pattern, seed};
use crate::driver::disk::{ALL, DATA, HEADER, request_header};
use crate::driver::kind::{FLUSH, IN};
use crate::driver::memory::{MIB, Memory, Region};
use crate::driver::offer::FEATURES;
use crate::driver::ring::{Ring, new_eventfd, readable_at, writable_at};
use crate::driver::wire::{Answer, NEED_REPLY};
use crate::victim::{A_WHILE, KEPT, MINE, SIZE, Victim, withstand};

/// The fourth region of memory, which holds no ring.
const FAR: u64 = 4096 * MIB;

#[test]
fn memory_that_is_removed_while_a_ring_works_in_it_is_not_touched_any_more() {
    let victim = Victim::new();
    let mut disk = victim.guest(ALL);
    let mem = Arc::clone(&disk.mem);
    let far = &mem.regions()[3];
    let stop = AtomicBool::new(false);
    let (busy, other) = disk.queues.split_at_mut(1);
    let mut pieces = busy[0].lay_out(IN, KEPT, &[], 0);
    pieces.insert(1, writable_at(FAR, 65536));
    std::thread::scope(|scope| {
        scope.spawn(|| keep_full(&mut busy[0], &pieces, &stop));
        for _ in 0..40 {
            std::thread::sleep(Duration::from_millis(2));
            disk.client.tell(code::REM_MEM_REG, &single(far), &[]);
            mem.fill(FAR, 65536, 0x77);
            std::thread::sleep(Duration::from_millis(1));
            let bytes = mem.read(FAR, 65536);
            let touched = bytes.iter().position(|byte| *byte != 0x77);
            assert_eq!(touched, None, "removed memory was written");
            assert_eq!(other[0].read(KEPT, 8192), Ok(pattern(8192, 42)));
            disk.client
                .tell(code::ADD_MEM_REG, &single(far), &[far.fd()]);
            // It is served again, into the same place.
            let deadline = Instant::now() + Duration::from_secs(5);
            while mem.read(FAR, 8192) != pattern(8192, 42) {
                assert!(Instant::now() < deadline, "not served after the removal");
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    drop(disk);
    victim.is_unharmed("memory that comes and goes");
}

#[test]
fn a_ring_whose_own_memory_is_removed_is_not_served_any_more() {
    let victim = Victim::new();
    for _ in 0..10 {
        let mut disk = victim.guest(ALL);
        disk.q().write(MINE, &pattern(512, 1)).unwrap();
        let mem = Arc::clone(&disk.mem);
        let first = &mem.regions()[0];
        // It may be refused, or done with the rings stopped, but a ring must never be in freed
        // memory.
        disk.client.refused(code::REM_MEM_REG, &single(first), &[]);
        let (rings, used) = (mem.read(0, 4 * MIB as usize), disk.q().used_idx());
        disk.q().put(0);
        disk.q().publish();
        disk.q().kick();
        std::thread::sleep(Duration::from_millis(5));
        assert_eq!(disk.q().used_idx(), used, "served without its memory");
        let now = mem.read(0x8_0000 + 1024, 0x2_0000 - 1024);
        assert!(now == rings[0x8_0400..0xa_0000], "memory was written");
        drop(disk);
        victim.is_unharmed("a ring without its memory");
    }
}

#[test]
fn a_memory_table_without_the_rings_ends_the_session_or_stops_them() {
    let victim = Victim::new();
    let mut disk = victim.guest(ALL);
    disk.q().write(MINE, &pattern(512, 1)).unwrap();
    let other = Region::new(1 << 40, MIB, 0);
    let one = std::slice::from_ref(&other);
    disk.client
        .refused(code::SET_MEM_TABLE, &table(one), &[other.fd()]);
    let used = disk.q().used_idx();
    disk.q().put(0);
    disk.q().publish();
    disk.q().kick();
    std::thread::sleep(Duration::from_millis(5));
    assert_eq!(disk.q().used_idx(), used, "served without its memory");
    drop(disk);
    victim.is_unharmed("a table without the rings");
}

#[test]
fn kicks_without_end_hold_up_nobody() {
    withstand("kicks without end", A_WHILE);
}

#[test]
fn memory_tables_without_end_hold_up_nobody() {
    withstand("memory tables without end", A_WHILE);
    withstand("regions added and removed", A_WHILE);
    withstand("rings started and stopped", A_WHILE);
}

#[test]
fn a_used_event_that_means_nothing_costs_its_own_guest_a_call_at_most() {
    let victim = Victim::new();
    let mut disk = victim.guest(ALL);
    let view = Ring::new(&disk.mem, 0, SIZE, true);
    let (stop, seed) = (AtomicBool::new(false), seed());
    let mut random = Random::new(seed);
    let pieces = disk.q().lay_out(FLUSH, 0, &[], 0);
    let (nonsense, other) = disk.queues.split_at_mut(1);
    std::thread::scope(|scope| {
        scope.spawn(|| keep_full(&mut nonsense[0], &pieces, &stop));
        let end = Instant::now() + A_WHILE;
        while Instant::now() < end {
            for _ in 0..1000 {
                view.set_used_event(random.below(0x1_0000) as u16);
                view.set_avail_flags(random.below(0x1_0000) as u16);
            }
            let kept = other[0].read(KEPT, 8192);
            assert!(kept == Ok(pattern(8192, 42)), "RAMBLK_SEED={seed}");
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(
        !disk.q().broken_within(Duration::ZERO),
        "RAMBLK_SEED={seed}"
    );
    drop(disk);
    victim.is_unharmed("used events that mean nothing");
}

#[test]
fn a_descriptor_table_that_is_also_the_data_of_a_read_harms_nobody() {
    let victim = Victim::new();
    let mut disk = victim.guest(ALL);
    // The disk holds descriptors, which a read copies over the ring's own while it is served.
    let q = disk.q();
    let nonsense: Vec<u8> = (0..4096u32).map(|i| (i * 7 % 256) as u8).collect();
    q.write(MINE, &nonsense).unwrap();
    for part in [q.desc, q.avail, q.used] {
        for offset in [0, 4, 64] {
            let mut disk = victim.guest(ALL);
            let q = disk.q();
            let pieces = q.lay_out(IN, MINE, &[], 0);
            let over = writable_at(part + offset, 4096);
            for head in 0..64 {
                q.direct(3 * head, &[pieces[0], over, pieces[1]]);
                q.put(3 * head);
            }
            q.publish();
            q.kick();
            std::thread::sleep(Duration::from_millis(2));
            assert_eq!(disk.queues[1].read(KEPT, 8192), Ok(pattern(8192, 42)));
        }
    }
    drop(disk);
    victim.is_unharmed("reads over the ring");
}

/// What a front end sends, and to which client.
type Order<'a> = &'a dyn Fn(&Client);

#[test]
fn messages_in_the_wrong_order_harm_nobody() {
    let victim = Victim::new();
    let memory = Arc::new(Memory::standard());
    let ring = Ring::new(&memory, 0, 256, true);
    let say = |client: &Client, code: u32, payload: &[u8], fds: &[BorrowedFd<'_>]| {
        client.send(code, 0, payload, fds);
    };
    // The back end may accept or refuse each; it must answer or close.
    let orders: [(&str, Order<'_>); 8] = [
        ("a kick before all else", &|client| {
            say(client, code::SET_VRING_KICK, &[0; 8], &[ring.kick.as_fd()]);
        }),
        ("enabled before features", &|client| {
            say(client, code::SET_VRING_ENABLE, &state(0, 1), &[]);
            say(client, code::SET_VRING_KICK, &[0; 8], &[ring.kick.as_fd()]);
        }),
        ("a ring without a size", &|client| {
            client.set_memory(&memory);
            say(client, code::SET_VRING_ADDR, &ring.addresses(), &[]);
            say(client, code::SET_VRING_KICK, &[0; 8], &[ring.kick.as_fd()]);
            say(client, code::SET_VRING_ENABLE, &state(0, 1), &[]);
        }),
        ("a size and no addresses", &|client| {
            client.set_memory(&memory);
            say(client, code::SET_VRING_NUM, &state(0, 256), &[]);
            say(client, code::SET_VRING_KICK, &[0; 8], &[ring.kick.as_fd()]);
            say(client, code::SET_VRING_ENABLE, &state(0, 1), &[]);
        }),
        ("stopped before it started", &|client| {
            client.send(code::GET_VRING_BASE, 0, &state(0, 0), &[]);
            client.send(code::GET_VRING_BASE, 0, &state(0, 0), &[]);
        }),
        ("another size while it runs", &|client| {
            client.set_memory(&memory);
            client.start(&ring);
            say(client, code::SET_VRING_NUM, &state(0, 1024), &[]);
        }),
        ("another base while it runs", &|client| {
            client.set_memory(&memory);
            client.start(&ring);
            say(client, code::SET_VRING_BASE, &state(0, 77), &[]);
        }),
        ("owned, reset and owned again", &|client| {
            say(client, code::SET_OWNER, &[], &[]);
            say(client, code::RESET_DEVICE, &[], &[]);
            say(client, code::SET_OWNER, &[], &[]);
            say(client, code::RESET_DEVICE, &[], &[]);
        }),
    ];
    for (what, order) in orders {
        ring.mem.fill(ring.desc, MIB as usize, 0);
        let client = Client::connect(victim.ramblk.socket());
        order(&client);
        client.send(code::GET_FEATURES, 0, &[], &[]);
        let answer = client.wire.receive(PATIENCE);
        assert!(!matches!(answer, Answer::Silence), "{what}: no answer");
        drop(client);
        victim.is_unharmed(what);
    }
}

/// Send a random message, valid or invalid in its parts. Returns false when the connection is gone.
fn anything(client: &Client, ring: &Ring, random: &mut Random) -> bool {
    let mut below = |end: u64| random.below(end) as u32;
    let index = [0, 0, 0, 1, 15, 16, u32::MAX][below(7) as usize];
    let value = [0, 1, 2, 256, 256, 32768, u32::MAX][below(7) as usize];
    let regions = ring.mem.regions();
    let region = &regions[below(4) as usize];
    let byte = u64::from(index & 0xff | [0, 0, 0x100][below(3) as usize]).to_le_bytes();
    let all: Vec<BorrowedFd<'_>> = regions.iter().map(Region::fd).collect();
    let near = below(64);
    let user = ring.mem.user(u64::from(near) * 4);
    let (code, payload, fds): (u32, Vec<u8>, Vec<BorrowedFd<'_>>) = match below(20) {
        0 => (code::SET_FEATURES, FEATURES.to_le_bytes().into(), vec![]),
        1 => (code::SET_FEATURES, vec![0; 8], vec![]),
        2 | 3 => (code::SET_MEM_TABLE, table(regions), all),
        4 => (code::SET_VRING_NUM, state(index, value), vec![]),
        5 | 6 => (code::SET_VRING_NUM, state(0, 256), vec![]),
        7 => (
            code::SET_VRING_ADDR,
            addresses(index, user, user, user),
            vec![],
        ),
        8 | 9 => (code::SET_VRING_ADDR, ring.addresses(), vec![]),
        10 => (code::SET_VRING_BASE, state(index, value), vec![]),
        11 => (code::GET_VRING_BASE, state(index & 1, 0), vec![]),
        12 => (code::SET_VRING_KICK, byte.into(), vec![ring.kick.as_fd()]),
        13 => (code::SET_VRING_CALL, byte.into(), vec![ring.call.as_fd()]),
        14 => (code::SET_VRING_ERR, byte.into(), vec![ring.err.as_fd()]),
        15 | 16 => (code::SET_VRING_ENABLE, state(index, value & 1), vec![]),
        17 => (code::ADD_MEM_REG, single(region), vec![region.fd()]),
        18 => (code::REM_MEM_REG, single(region), vec![]),
        _ => (
            code::GET_CONFIG,
            config_request(value & 0xff, near, 0),
            vec![],
        ),
    };
    let flags = [0, 0, NEED_REPLY][random.below(3) as usize];
    client.send(code, flags, &payload, &fds)
}

#[test]
fn conversations_at_random_harm_nobody() {
    let victim = Victim::new();
    let seed = seed();
    let mut random = Random::new(seed);
    let memory = Arc::new(Memory::standard());
    let ring = Ring::new(&memory, 0, 256, true);
    let header = request_header(IN, KEPT);
    ring.mem.write(ring.area(HEADER), &header);
    let pieces = [
        readable_at(ring.area(HEADER), 16),
        writable_at(ring.area(DATA), 513),
    ];
    let end = Instant::now() + Duration::from_secs(3);
    let mut conversations = 0;
    while Instant::now() < end {
        ring.direct(0, &pieces);
        ring.mem
            .store_u16(ring.avail + 2, ring.mem.load_u16(ring.used + 2) + 3);
        let client = Client::connect(victim.ramblk.socket());
        let mut open = true;
        for _ in 0..40 {
            open = open && anything(&client, &ring, &mut random);
            ring.kick();
        }
        // It must answer or have closed, and not hang.
        client.send(code::GET_FEATURES, 0, &[], &[]);
        let answer = client.wire.receive(PATIENCE);
        let said = !matches!(answer, Answer::Silence);
        assert!(said, "neither answered nor closed, RAMBLK_SEED={seed}");
        conversations += 1;
    }
    assert!(conversations > 50, "{conversations} conversations");
    victim.is_unharmed(&format!("conversations of RAMBLK_SEED={seed}"));
}

#[test]
fn a_kick_and_a_call_that_are_replaced_all_the_time_hold_up_nobody() {
    let victim = Victim::new();
    let mut disk = victim.guest(ALL);
    let stop = AtomicBool::new(false);
    let pieces = disk.q().lay_out(FLUSH, 0, &[], 0);
    let (busy, _) = disk.queues.split_at_mut(1);
    std::thread::scope(|scope| {
        scope.spawn(|| keep_full(&mut busy[0], &pieces, &stop));
        let end = Instant::now() + A_WHILE;
        while Instant::now() < end {
            for code in [
                code::SET_VRING_KICK,
                code::SET_VRING_CALL,
                code::SET_VRING_ERR,
            ] {
                disk.client.vring_fd(code, 0, new_eventfd());
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    drop(disk);
    victim.is_unharmed("descriptors replaced all the time");
}
