//! What third-party drivers learn of a disk: its properties, its serial, and refusals of invalid
//! requests.

use std::fs;

use blkio::Errno;
use libc::{EBADF, EIO, iovec};
use tempfile::TempDir;
use virtio_driver::virtqueue::{Virtqueue, VirtqueueLayout};
use virtio_driver::{
    VhostUser, VirtioBlkConfig, VirtioBlkFeatureFlags, VirtioBlkQueue, VirtioFeatureFlags,
    VirtioTransport,
};

use super::front::{
    Ask, Front, KINDS, Kind, Ramblk, await_call, connected_blkio, one_piece, transport,
};
use super::memory::Shared;
use super::{DISK, SEGMENTS, assert_same, noise};

/// Longest discard and longest write of zeros: 4 GiB less 4 KiB.
const LONGEST: u64 = 8_388_600 * 512;

#[test]
fn blkio_reads_the_properties_of_the_disk() {
    for (block, queues) in [(512, 3), (4096, 16)] {
        let (block_arg, queues_arg) = (block.to_string(), queues.to_string());
        let ramblk = Ramblk::run(&["--block-size", &block_arg, "--queues", &queues_arg]);
        let blkio = connected_blkio(&ramblk);
        let numbers = [
            ("max-queues", queues),
            ("request-alignment", block),
            ("optimal-io-alignment", 4096),
            ("optimal-io-size", 0),
            ("discard-alignment", 4096),
            ("discard-alignment-offset", 0),
            ("max-segments", i32::try_from(SEGMENTS).unwrap()),
            // 0 is "no limit".
            ("max-segment-len", 0),
            ("max-transfer", 0),
            ("buf-alignment", 1),
        ];
        for (name, value) in numbers {
            assert_eq!(blkio.get_i32(name).unwrap(), value, "{name}");
        }
        let long_numbers = [
            ("capacity", DISK as u64),
            ("max-discard-len", LONGEST),
            ("max-write-zeroes-len", LONGEST),
            ("max-mem-regions", 509),
        ];
        for (name, value) in long_numbers {
            assert_eq!(blkio.get_u64(name).unwrap(), value, "{name}");
        }
        assert!(blkio.get_bool("flush-needed").unwrap());
    }
}

#[test]
fn virtio_driver_reads_the_configuration_of_the_disk() {
    for (block, queues) in [(512, 1), (4096, 16)] {
        let (block_arg, queues_arg) = (block.to_string(), queues.to_string());
        let ramblk = Ramblk::run(&["--block-size", &block_arg, "--queues", &queues_arg]);
        let transport = transport(&ramblk, VirtioFeatureFlags::all());
        assert_eq!(transport.max_queues(), Some(usize::from(queues)));
        assert_eq!(transport.max_mem_regions(), 509);
        let features = transport.get_features();
        for bit in [
            VirtioFeatureFlags::RING_PACKED.bits(),
            VirtioBlkFeatureFlags::RO.bits(),
            VirtioBlkFeatureFlags::LIFETIME.bits(),
            VirtioBlkFeatureFlags::SECURE_ERASE.bits(),
        ] {
            assert_eq!(features & bit, 0, "offers what it can't: {bit:#x}");
        }
        let config = transport.get_config().unwrap();
        assert_eq!(config.capacity.to_native(), DISK as u64 / 512);
        assert_eq!(config.seg_max.to_native() as usize, SEGMENTS);
        assert_eq!(config.blk_size.to_native(), block);
        assert_eq!(block << config.physical_block_exp, 4096);
        assert_eq!(config.alignment_offset, 0);
        assert_eq!(u32::from(config.min_io_size.to_native()) * block, 4096);
        assert_eq!(config.num_queues.to_native(), queues);
        assert_eq!(
            u64::from(config.max_discard_sectors.to_native()) * 512,
            LONGEST
        );
        assert_eq!(config.max_discard_seg.to_native(), 256);
        assert_eq!(config.discard_sector_alignment.to_native(), 8);
        let zeroes = config.max_write_zeroes_sectors.to_native();
        assert_eq!(u64::from(zeroes) * 512, LONGEST);
        assert_eq!(config.max_write_zeroes_seg.to_native(), 256);
        assert_eq!(config.write_zeroes_may_unmap, 1);
        assert_eq!(config.writeback, 1);
    }
}

#[test]
fn virtio_driver_gets_in_order_from_a_disk_that_promises_it() {
    let flag = VirtioFeatureFlags::IN_ORDER;
    for (arguments, promised) in [(&[][..], false), (&["--in-order"], true)] {
        let ramblk = Ramblk::run(arguments);
        let features = transport(&ramblk, flag).get_features();
        assert_eq!(features & flag.bits() != 0, promised, "{arguments:?}");
    }
}

#[test]
fn one_queue_more_than_there_are_is_refused() {
    let ramblk = Ramblk::run(&["--queues", "3"]);
    let mut blkio = connected_blkio(&ramblk);
    blkio.set_i32("num-queues", 4).unwrap();
    assert_eq!(blkio.start().err().unwrap().errno(), Errno::INVAL);
    blkio.set_i32("num-queues", 3).unwrap();
    assert_eq!(blkio.start().unwrap().queues.len(), 3);
    drop(blkio);

    let mut transport = transport(&ramblk, VirtioFeatureFlags::empty());
    assert!(VirtioBlkQueue::<()>::setup_queues(&mut transport, 4, 64).is_err());
    let queues = VirtioBlkQueue::<()>::setup_queues(&mut transport, 3, 64).unwrap();
    assert_eq!(queues.len(), 3);
}

#[test]
fn a_read_only_disk_can_be_read_and_nothing_else() {
    let folder = TempDir::new().unwrap();
    let image = folder.path().join("image");
    let model = noise(4, 1 << 20);
    fs::write(&image, &model).unwrap();
    for kind in KINDS {
        let ramblk = Ramblk::run(&["--read-only", "--image", image.to_str().unwrap()]);
        let mut front = Front::new(kind, &ramblk, 2, 64);
        // blkio does not even send it.
        let refusal = match kind {
            Kind::EventIdx | Kind::Flags => -EIO,
            Kind::Blkio | Kind::BlkioPolling => -EBADF,
        };
        let buffer = one_piece(2 << 20, 8192);
        front.memory.scatter(&buffer, &noise(5, 8192));
        let zeroes = |unmap| Ask::Zeroes {
            at: 4096,
            len: 8192,
            unmap,
        };
        for ask in [
            Ask::Write(4096, buffer),
            Ask::Discard(4096, 8192),
            zeroes(true),
            zeroes(false),
        ] {
            assert_eq!(front.ask(1, &ask), refusal, "{kind:?}: {ask:?}");
            let what = format!("{kind:?} after {ask:?}");
            assert_same(&front.read(0, 0, model.len()), &model, &what);
        }
        assert_eq!(front.ask(1, &Ask::Flush), 0);
    }
}

#[test]
fn a_driver_that_wants_to_write_sees_that_a_disk_is_read_only() {
    let ramblk = Ramblk::run(&["--read-only"]);
    let features = transport(&ramblk, VirtioFeatureFlags::empty()).get_features();
    assert_ne!(features & VirtioBlkFeatureFlags::RO.bits(), 0);
    let mut blkio = blkio::Blkio::new("virtio-blk-vhost-user").unwrap();
    let path = ramblk.socket();
    blkio.set_str("path", path.to_str().unwrap()).unwrap();
    blkio.connect().unwrap();
    assert_eq!(blkio.start().err().unwrap().errno(), Errno::ROFS);
}

/// A GET_ID in memory beside the ring.
#[derive(Clone, Copy)]
#[repr(C)]
struct GetId {
    header: [u8; 16],
    id: [u8; 20],
    status: u8,
}

#[test]
fn the_serial_is_told_through_a_ring_of_virtio_driver() {
    for serial in ["s", "third-party", "a serial of 20 bytes"] {
        let ramblk = Ramblk::run(&["--serial", serial]);
        let path = ramblk.socket();
        let features = VirtioFeatureFlags::VERSION_1;
        let mut transport: VhostUser<VirtioBlkConfig, GetId> =
            VhostUser::new(path.to_str().unwrap(), features.bits()).unwrap();
        // The crate's block queues have no such request, but its rings take any.
        let layout = VirtqueueLayout::new::<GetId>(1, 16, features).unwrap();
        let (shared, bytes) = Shared::leaked(layout.end_offset);
        let it = shared.region();
        transport
            .map_mem_region(it.addr, it.len, it.fd, it.fd_offset)
            .unwrap();
        let queue = Virtqueue::new(transport.iova_translator(), bytes, 16, features);
        let mut queues = [queue.unwrap()];
        transport.setup_queues(&queues).unwrap();
        let [queue] = &mut queues;
        queue.set_used_notif_enabled(true);
        let part = |bytes: &mut [u8]| iovec {
            iov_base: bytes.as_mut_ptr().cast(),
            iov_len: bytes.len(),
        };
        queue
            .add_request(|request, add| {
                *request = GetId {
                    header: [0; 16],
                    id: [0xA5; 20],
                    status: 0xA5,
                };
                request.header[0] = 8;
                add(part(&mut request.header), false)?;
                add(part(&mut request.id), true)?;
                add(part(std::slice::from_mut(&mut request.status)), true)
            })
            .unwrap();
        transport.get_submission_notifier(0).notify().unwrap();
        while !queue.completions().has_next() {
            await_call(&transport.get_completion_fd(0));
        }
        let done = queue.completions().next().unwrap().req;
        let mut padded = [0; 20];
        padded[..serial.len()].copy_from_slice(serial.as_bytes());
        assert_eq!((done.id, done.status), (padded, 0));
    }
}
