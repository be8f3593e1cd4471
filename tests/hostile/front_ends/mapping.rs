//! Impossible memory tables and ring addresses: refused before anything is mapped or read.

use std::os::fd::AsFd;
use std::sync::Arc;

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

use crate::driver::client::{addresses, code, single, state, table};
use crate::driver::memory::{MIB, Memory, Region};
use crate::driver::ring::{Ring, new_eventfd};
use crate::victim::{Victim, odd_descriptors};

fn refuses_region(victim: &Victim, what: &str, region: &Region) {
    let one = std::slice::from_ref(region);
    let payload = table(one);
    assert!(
        victim
            .client()
            .refused(code::SET_MEM_TABLE, &payload, &[region.fd()]),
        "{what}: table"
    );
    let payload = single(region);
    assert!(
        victim
            .client()
            .refused(code::ADD_MEM_REG, &payload, &[region.fd()]),
        "{what}: added"
    );
}

#[test]
fn memory_regions_that_are_empty_or_wrap_around_are_refused() {
    let victim = Victim::new();
    let region = |gpa: u64, len: u64, user: u64, offset: u64| {
        let mut region = Region::new(0, MIB, 0);
        (region.gpa, region.user, region.offset) = (gpa, user, offset);
        region.claim(len);
        region
    };
    let user = 0x7100_0000_0000;
    refuses_region(&victim, "empty", &region(0, 0, user, 0));
    refuses_region(
        &victim,
        "guest address wraps",
        &region(u64::MAX - 4095, MIB, user, 0),
    );
    refuses_region(
        &victim,
        "user address wraps",
        &region(0, MIB, u64::MAX - 4095, 0),
    );
    refuses_region(
        &victim,
        "file offset wraps",
        &region(0, MIB, user, u64::MAX - 4095),
    );
    refuses_region(&victim, "everything", &region(0, u64::MAX, 0, 0));
    refuses_region(
        &victim,
        "more than can be mapped",
        &region(0, 1 << 62, user, 0),
    );
    victim.is_unharmed("impossible regions");
}

#[test]
fn a_region_larger_than_its_file_is_refused() {
    let victim = Victim::new();
    for (offset, len) in [
        (0, 2 * MIB),
        (0, MIB + 4096),
        (4096, MIB),
        (MIB, 4096),
        (64 * MIB, MIB),
    ] {
        let mut region = Region::new(0, MIB, 0);
        region.offset = offset;
        region.claim(len);
        refuses_region(
            &victim,
            &format!("{len:#x} bytes at {offset:#x} of 1 MiB"),
            &region,
        );
    }
    victim.is_unharmed("short files");
}

#[test]
fn a_region_that_the_kernel_can_not_map_is_refused() {
    let victim = Victim::new();
    let file = memfd_create("huge", MemfdFlags::CLOEXEC).unwrap();
    ftruncate(&file, 1 << 60).unwrap();
    let mut region = Region::new(0, MIB, 0);
    region.claim(1 << 60);
    let payload = single(&region);
    assert!(
        victim
            .client()
            .refused(code::ADD_MEM_REG, &payload, &[file.as_fd()])
    );
    victim.is_unharmed("a region of an exbibyte");
}

#[test]
fn memory_that_is_no_file_is_refused() {
    let victim = Victim::new();
    let region = Region::new(0, MIB, 0);
    let payload = single(&region);
    let mut odd = odd_descriptors();
    odd.push(("eventfd", new_eventfd()));
    for (what, fd) in odd {
        assert!(
            victim
                .client()
                .refused(code::ADD_MEM_REG, &payload, &[fd.as_fd()]),
            "{what}"
        );
    }
    victim.is_unharmed("odd memory");
}

#[test]
fn regions_that_overlap_are_refused() {
    let victim = Victim::new();
    let mut same_user = Region::new(16 * MIB, MIB, 0);
    same_user.user = Region::new(0, MIB, 0).user + 4096;
    let pairs = [
        ("twice the same", Region::new(0, MIB, 0)),
        ("guest addresses overlap", Region::new(MIB / 2, MIB, 0)),
        ("one inside the other", Region::new(4096, 4096, 0)),
        ("user addresses overlap", same_user),
    ];
    for (what, second) in pairs {
        let memory = Memory::new(vec![Region::new(0, MIB, 0), second]);
        let fds: Vec<_> = memory.regions().iter().map(Region::fd).collect();
        let bytes = table(memory.regions());
        assert!(
            victim.client().refused(code::SET_MEM_TABLE, &bytes, &fds),
            "{what}: table"
        );
        let client = victim.client();
        for (region, last) in memory.regions().iter().zip([false, true]) {
            let payload = single(region);
            assert_eq!(
                client.refused(code::ADD_MEM_REG, &payload, &[region.fd()]),
                last,
                "{what}"
            );
        }
    }
    victim.is_unharmed("overlapping regions");
}

#[test]
fn memory_tables_with_impossible_counts_are_refused() {
    let victim = Victim::new();
    let region = Region::new(0, MIB, 0);
    for count in [0u32, 2, 33, 509, 0x1000_0000, u32::MAX] {
        let mut payload = state(count, 0);
        payload.extend(region.entry());
        let refused = victim
            .client()
            .refused(code::SET_MEM_TABLE, &payload, &[region.fd()]);
        assert!(refused, "{count} regions of which one is there");
    }
    victim.is_unharmed("impossible counts");
}

#[test]
fn removing_memory_that_is_not_there_is_refused() {
    let victim = Victim::new();
    let (client, memory) = victim.with_memory();
    let mut other = Region::new(0, MIB, 0);
    other.user = memory.user(0);
    assert!(client.refused(code::REM_MEM_REG, &single(&other), &[]));
    victim.is_unharmed("the removal of unknown memory");
}

/// Try to start ring 0 with a change; one of the messages must be refused.
fn refuses_ring(victim: &Victim, what: &str, change: impl FnOnce(&mut Ring, &mut u32)) {
    let (client, memory) = victim.with_memory();
    let mut ring = Ring::new(&Arc::new(memory), 0, 256, true);
    let mut size = 256;
    change(&mut ring, &mut size);
    let refused = client.refused(code::SET_VRING_NUM, &state(0, size), &[])
        || client.refused(code::SET_VRING_ADDR, &ring.addresses(), &[])
        || client.refused(code::SET_VRING_BASE, &state(0, 0), &[])
        || client.refused(code::SET_VRING_KICK, &[0; 8], &[ring.kick.as_fd()])
        || client.refused(code::SET_VRING_ENABLE, &state(0, 1), &[]);
    assert!(refused, "{what} was accepted");
}

#[test]
fn ring_sizes_that_do_not_exist_are_refused() {
    let victim = Victim::new();
    for wrong in [0, 3, 100, 255, 0x8001, 0x1_0000, 0x1_0100, u32::MAX] {
        refuses_ring(&victim, &format!("size {wrong}"), |_, size| *size = wrong);
    }
    victim.is_unharmed("ring sizes");
}

#[test]
fn rings_that_are_misaligned_or_leave_memory_are_refused() {
    let victim = Victim::new();
    // §2.7: alignment 16, 2 and 4. The third region ends at 96 MiB with nothing behind it.
    refuses_ring(&victim, "descriptors at 8", |ring, _| ring.desc += 8);
    refuses_ring(&victim, "available ring at 1", |ring, _| ring.avail += 1);
    refuses_ring(&victim, "used ring at 2", |ring, _| ring.used += 2);
    let end = 96 * MIB;
    refuses_ring(&victim, "descriptors end outside", |ring, _| {
        ring.desc = end - 255 * 16
    });
    refuses_ring(&victim, "available ring ends outside", |ring, _| {
        ring.avail = end - 512
    });
    refuses_ring(&victim, "used ring ends outside", |ring, _| {
        ring.used = end - 2048
    });
    refuses_ring(&victim, "32768 entries do not fit", |ring, size| {
        ring.desc = end - 256 * 16;
        *size = 32768;
    });
    for wrong in [0, 1 << 47, !15, 0x7000_0000_0000] {
        for part in 0..3 {
            let (client, memory) = victim.with_memory();
            let ring = Ring::new(&Arc::new(memory), 0, 256, true);
            let mut at = [ring.desc, ring.used, ring.avail].map(|gpa| ring.mem.user(gpa));
            at[part] = wrong;
            let refused = client.refused(code::SET_VRING_NUM, &state(0, 256), &[])
                || client.refused(
                    code::SET_VRING_ADDR,
                    &addresses(0, at[0], at[1], at[2]),
                    &[],
                )
                || client.refused(code::SET_VRING_KICK, &[0; 8], &[ring.kick.as_fd()])
                || client.refused(code::SET_VRING_ENABLE, &state(0, 1), &[]);
            assert!(refused, "part {part} at {wrong:#x}");
        }
    }
    victim.is_unharmed("rings outside memory");
}
