//! The stock back end: a vhost-user-blk device made of the rust-vmm crates, over ramblk's store.
//!
//! A careful author gets this from `vhost-user-backend` and `virtio-queue` without changing them:
//! EVENT_IDX, no log of dirty pages, no lock around the device, the lock of a ring and of the
//! guest's memory taken once per batch, one call per batch. Only the way from the ring to
//! [`BlockDevice::handle`] and back differs from ramblk's; requests and bytes are the same code.
#![allow(unsafe_code)]

use std::io;
use std::num::NonZeroU16;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ramblk::device::{BlockDevice, Serial};
use ramblk::store::{DiskSpec, SectorSize, Sink, Source, Store};
use vhost::vhost_user::Listener;
use vhost::vhost_user::message::{VhostUserProtocolFeatures, VhostUserVirtioFeatures};
use vhost_user_backend::{VhostUserBackend, VhostUserDaemon, VringMutex, VringState, VringT};
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};
use virtio_queue::desc::split::Descriptor;
use virtio_queue::{DescriptorChain, QueueOwnedT, QueueT};
use vm_memory::{GuestAddressSpace, GuestMemoryAtomic, GuestMemoryBackend, GuestMemoryMmap};
use vmm_sys_util::epoll::EventSet;
use vmm_sys_util::event::{
    EventConsumer, EventFlag, EventNotifier, new_event_consumer_and_notifier,
};

use crate::measure::{Failure, MIB};

type Memory = GuestMemoryAtomic<GuestMemoryMmap>;

const QUEUES: NonZeroU16 = NonZeroU16::new(4).unwrap();
const QUEUE_ENTRIES: usize = 1024;

/// One front end's device; its rings are the crate's.
struct Stock {
    device: Arc<BlockDevice>,
    memory: Memory,
    acked: AtomicU64,
}

/// Serve a disk of `size_bytes` at each of `sockets`, until the process ends.
pub(crate) fn serve(sockets: &[String], size_bytes: u64) -> Result<(), Failure> {
    std::thread::scope(|scope| {
        let serve = |socket| scope.spawn(move || serve_disk(Path::new(socket), size_bytes));
        let servers: Vec<_> = sockets.iter().map(serve).collect();
        servers
            .into_iter()
            .try_for_each(|server| server.join().map_err(|_| "a disk's server panicked")?)
    })
}

/// Serve a disk to one front end after the other.
fn serve_disk(socket: &Path, size_bytes: u64) -> Result<(), Failure> {
    let store = Store::new(size_bytes + size_bytes / 16 + 64 * MIB)?;
    let disk = store.create("stock", &DiskSpec::new(SectorSize::S512, size_bytes))?;
    let device = Arc::new(BlockDevice::new(disk, Serial::new("stock")?, QUEUES));
    let mut listener = Listener::new(socket, true)?;
    loop {
        // The crate keeps a front end's state after it is gone, so each front end gets a new
        // daemon.
        let memory = Memory::new(GuestMemoryMmap::new());
        let stock = Arc::new(Stock {
            device: Arc::clone(&device),
            memory: memory.clone(),
            acked: AtomicU64::new(0),
        });
        let said = |error: vhost_user_backend::Error| error.to_string();
        let mut daemon = VhostUserDaemon::new("stock".into(), stock, memory).map_err(said)?;
        daemon.start(&mut listener).map_err(said)?;
        // The crate reports every end as an error.
        let _ = daemon.wait();
    }
}

impl VhostUserBackend for Stock {
    type Bitmap = ();
    type Vring = VringMutex;

    fn num_queues(&self) -> usize {
        usize::from(QUEUES.get())
    }

    fn max_queue_size(&self) -> usize {
        QUEUE_ENTRIES
    }

    fn features(&self) -> u64 {
        self.device.features()
            | 1 << VIRTIO_RING_F_EVENT_IDX
            | 1 << VIRTIO_RING_F_INDIRECT_DESC
            | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits()
    }

    fn acked_features(&self, features: u64) {
        self.acked.store(features, Ordering::Relaxed);
    }

    fn protocol_features(&self) -> VhostUserProtocolFeatures {
        VhostUserProtocolFeatures::MQ
            | VhostUserProtocolFeatures::CONFIG
            | VhostUserProtocolFeatures::REPLY_ACK
    }

    /// The rings know whether it is set.
    fn set_event_idx(&self, _enabled: bool) {}

    fn get_config(&self, offset: u32, size: u32) -> Vec<u8> {
        let mut bytes = vec![0; size as usize];
        self.device.read_config(offset as usize, &mut bytes);
        bytes
    }

    /// The crate replaces [`Stock::memory`].
    fn update_memory(&self, _memory: Memory) -> io::Result<()> {
        Ok(())
    }

    /// A thread per queue.
    fn queues_per_thread(&self) -> Vec<u64> {
        (0..QUEUES.get()).map(|queue| 1 << queue).collect()
    }

    fn exit_event(&self, _thread: usize) -> Option<(EventConsumer, EventNotifier)> {
        new_event_consumer_and_notifier(EventFlag::NONBLOCK | EventFlag::CLOEXEC).ok()
    }

    fn handle_event(
        &self,
        event: u16,
        _events: EventSet,
        vrings: &[VringMutex],
        _thread: usize,
    ) -> io::Result<()> {
        let vring = vrings.get(usize::from(event));
        let vring = vring.ok_or_else(|| io::Error::other("an event of no queue"))?;
        let memory = self.memory.memory();
        let mut ring = vring.get_mut();
        let served = loop {
            let served = self.serve_batches(&mut ring, &memory);
            match served.and_then(|()| ring.get_queue_mut().enable_notification(&*memory)) {
                Ok(true) => {}
                Ok(false) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        served.map_err(io::Error::other)
    }
}

impl Stock {
    /// Serve everything that is available, and call the driver once if it wants that.
    fn serve_batches(
        &self,
        ring: &mut VringState,
        memory: &GuestMemoryMmap,
    ) -> Result<(), virtio_queue::Error> {
        let queue = ring.get_queue_mut();
        queue.disable_notification(memory)?;
        let chains: Vec<_> = queue.iter(memory)?.collect();
        let mut readable = Vec::with_capacity(QUEUE_ENTRIES);
        let mut writable = Vec::with_capacity(QUEUE_ENTRIES);
        for chain in chains {
            readable.clear();
            writable.clear();
            let head = chain.head_index();
            let damaged = !collect(chain, memory, &mut readable, &mut writable);
            let acked = self.acked.load(Ordering::Relaxed);
            let handle = &self.device;
            let len = handle.handle(acked, damaged, &mut readable, &mut writable);
            ring.get_queue_mut().add_used(memory, head, len)?;
        }
        if ring.get_queue_mut().needs_notification(memory)? {
            // A call that fails harms only the front end.
            let _ = ring.signal_used_queue();
        }
        Ok(())
    }
}

/// The pieces of a chain, and whether all of it was found.
fn collect<'m>(
    chain: DescriptorChain<&GuestMemoryMmap>,
    memory: &'m GuestMemoryMmap,
    readable: &mut Vec<Source<'m>>,
    writable: &mut Vec<Sink<'m>>,
) -> bool {
    let mut add = |descriptor: Descriptor| {
        let len = descriptor.len() as usize;
        let Ok(slice) = memory.get_slice(descriptor.addr(), len) else {
            return false;
        };
        let ptr = slice.ptr_guard_mut().as_ptr();
        if descriptor.is_write_only() {
            // SAFETY: the slice is mapped memory of the guest for as long as `memory` lasts, and no
            // reference to its bytes is ever made.
            writable.push(unsafe { Sink::new(ptr, len) });
        } else {
            // SAFETY: as above.
            readable.push(unsafe { Source::new(ptr, len) });
        }
        true
    };
    let mut whole = true;
    for descriptor in chain {
        whole &= add(descriptor);
    }
    whole
}
