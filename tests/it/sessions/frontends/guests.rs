//! The request layouts of real guests' drivers, where they differ from Linux'.

use std::time::Duration;

use crate::driver::data::pattern;
use crate::driver::disk::{ALL, DATA, Disk, TABLE};
use crate::driver::feature;
use crate::driver::kind::{IN, OUT};
use crate::driver::ring::{INDIRECT, NEXT, WRITE, cut};
use crate::driver::status::OK;
use crate::harness::Ramblk;

/// Whatever a driver says of its rings (virtio-win's viostor has done both): tables longer than the
/// ring and than `seg_max`, and tables without the feature.
#[test]
fn windows_requests_of_hundreds_of_segments_are_served_on_any_ring() {
    let ramblk = Ramblk::run(&[]);
    for size in [1, 2, 128, 256, 1024] {
        for features in [ALL, ALL & !feature::INDIRECT] {
            let mut disk = Disk::attach_with(ramblk.socket(), features, 1, size);
            for segments in [3, 127, 256, 512, 1022] {
                let what = format!("{segments} segments on a ring of {size}");
                let q = disk.q();
                let data = pattern(512 * segments, segments as u8);
                let lens = vec![512; segments];
                let out = q.lay_out(OUT, 8, &data, 0);
                let mut pieces = cut(q.area(DATA), &lens, false);
                pieces.insert(0, out[0]);
                pieces.push(out[2]);
                q.indirect(0, &[], q.area(TABLE), &pieces, 0);
                assert_eq!((q.complete(0), q.status()), (1, OK), "write: {what}");
                let back = q.lay_out(IN, 8, &[], data.len());
                let mut pieces = cut(q.area(DATA), &lens, true);
                pieces.insert(0, back[0]);
                pieces.push(back[2]);
                q.indirect(0, &[], q.area(TABLE), &pieces, 0);
                let len = data.len() as u32 + 1;
                assert_eq!((q.complete(0), q.status()), (len, OK), "read: {what}");
                assert_eq!(q.mem.read(q.area(DATA), data.len()), data, "{what}");
                assert!(!q.broken_within(Duration::ZERO), "{what}");
            }
        }
    }
}

/// FreeBSD and others pass the whole of a table that they reuse, however much of it is in use.
#[test]
fn tables_that_are_longer_than_their_chain_are_served() {
    let ramblk = Ramblk::run(&[]);
    let mut disk = Disk::attach_with(ramblk.socket(), ALL, 1, 128);
    let q = disk.q();
    let data = pattern(4096, 3);
    q.write(16, &data).unwrap();
    for entries in [4, 64, 128, 1000, 4097] {
        let pieces = q.lay_out(IN, 16, &[], 4096);
        q.indirect(0, &[], q.area(TABLE), &pieces, 0);
        q.set_desc(0, q.area(TABLE), 16 * entries, INDIRECT, 0);
        assert_eq!((q.complete(0), q.status()), (4097, OK), "{entries}");
        assert_eq!(q.mem.read(q.area(DATA), 4096), data, "{entries}");
    }
}

/// OpenBSD's and iPXE's layout: no tables, a descriptor for each page, and a ring that one request
/// may fill, with heads anywhere in it.
#[test]
fn a_request_may_fill_the_ring_with_descriptors_of_a_page_each() {
    let ramblk = Ramblk::run(&[]);
    let features = ALL & !(feature::INDIRECT | feature::EVENT_IDX);
    let mut disk = Disk::attach_with(ramblk.socket(), features, 1, 128);
    let q = disk.q();
    let data = pattern(126 * 512, 9);
    for first in [0u16, 1, 64, 127] {
        let out = q.lay_out(OUT, 64, &data, 0);
        let mut pieces = cut(q.area(DATA), &[512; 126], false);
        pieces.insert(0, out[0]);
        pieces.push(out[2]);
        for (number, piece) in (0..).zip(&pieces) {
            let slot = |number: u16| (first + number) % 128;
            let flags = if piece.writable { WRITE } else { 0 };
            let more = if number < 127 { NEXT } else { 0 };
            let next = if number < 127 { slot(number + 1) } else { 0 };
            q.set_desc(slot(number), piece.addr, piece.len, flags | more, next);
        }
        assert_eq!((q.complete(first), q.status()), (1, OK), "{first}");
        assert_eq!(q.read(64, 512).as_deref(), Ok(&data[..512]), "{first}");
    }
}
