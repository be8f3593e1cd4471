//! Shapes of regions that a front end brings, or asks for.

use std::fs::File;

use ramblk::vhost_user::fuzz::{InflightRegion, InflightShape};

use super::super::bytes::Bytes;
use super::super::reached::Reached;
use super::{LARGEST, QUEUES, memfd};

/// Try one.
pub(super) fn open(bytes: &mut Bytes<'_>, reached: &mut Reached) {
    let how = bytes.u8();
    let shape = InflightShape {
        queues: if how & 1 == 0 { QUEUES } else { bytes.u16() },
        queue_size: if how & 2 == 0 { LARGEST } else { bytes.u16() },
        size_bytes: if how & 4 == 0 { 0x1000 } else { bytes.u64() },
        offset_bytes: if how & 8 == 0 {
            u64::from(how >> 4) << 12
        } else {
            bytes.u64()
        },
    };
    let fits = (1..=QUEUES).contains(&shape.queues)
        && shape.queue_size.is_power_of_two()
        && shape.queue_size <= 1 << 15;
    let each = (16 + 16 * u64::from(shape.queue_size)).next_multiple_of(64);
    let bytes_wanted = u64::from(shape.queues) * each;
    match InflightRegion::create(shape, QUEUES) {
        Ok((size, file)) => {
            let room = u64::from(shape.queue_size < 1024) * u64::from(shape.queues) * 16448;
            assert!(fits && size == bytes_wanted + room, "{shape:?}: {size}");
            assert_eq!(file.metadata().unwrap().len(), size);
            assert!(file.set_len(0).is_err(), "the file can be cut");
            let brought = InflightShape {
                size_bytes: size,
                offset_bytes: 0,
                ..shape
            };
            InflightRegion::open(brought, &file, QUEUES).unwrap();
            reached.add("made");
        }
        Err(error) => assert!(!fits && error == "Shape", "{shape:?}: {error}"),
    }
    let file_bytes = 0x4000;
    let end = shape.offset_bytes.checked_add(bytes_wanted);
    let inside = end.is_some_and(|end| end <= file_bytes) && shape.size_bytes >= bytes_wanted;
    let good = fits && inside && shape.offset_bytes.is_multiple_of(0x1000);
    let file = if how & 0x80 == 0 || shape.queues == 1 {
        memfd(file_bytes as usize)
    } else {
        let (reader, _) = std::io::pipe().unwrap();
        let opened =
            InflightRegion::open(shape, &File::from(std::os::fd::OwnedFd::from(reader)), 2);
        assert!(opened.is_err(), "a pipe is no region");
        return;
    };
    let opened = InflightRegion::open(shape, &file, QUEUES);
    assert_eq!(opened.is_ok(), good, "{shape:?}: {opened:?}");
    reached.add(match opened.err().as_deref() {
        None => "opened",
        Some("Shape") => "Shape",
        Some("Size") => "Size",
        Some(_) => "other",
    });
}
