//! The front end: it connects, negotiates, reads the configuration space, and starts rings. Nothing
//! here takes longer than [`PATIENCE`], whatever the back end does.

use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use rustix::net::Shutdown;
use vhost::vhost_user::message::{
    VhostUserConfigFlags, VhostUserHeaderFlag, VhostUserProtocolFeatures as Protocol,
};
use vhost::vhost_user::{Frontend, VhostUserFrontend};
use vhost::{VhostBackend, VhostUserMemoryRegionInfo, VringConfigData};
use virtio_bindings::virtio_blk as blk;
use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};

use crate::load::Error;
use crate::load::options::{Disk, Options, Plan};
use crate::load::virtqueue::eventfd::EventFd;
use crate::load::virtqueue::memory::Memory;
use crate::load::virtqueue::ring::RingLayout;
use crate::load::virtqueue::slots::GUEST_START;
use crate::threads::{self, Role};

/// The time that the back end has for an answer, and for a request.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// vhost-user's own bit among the features.
const PROTOCOL_FEATURES: u64 = 1 << 30;

/// Bytes of the configuration space that are read: up to the limits of write-zeroes.
const CONFIG_BYTES: u32 = 60;

/// A connection to a back end.
pub(super) struct Front {
    socket: PathBuf,
    stream: UnixStream,
    wire: Frontend,
    features: u64,
    protocol: Protocol,
    config: Vec<u8>,
}

impl Front {
    /// Connect, negotiate, and read the disk's configuration.
    ///
    /// # Errors
    /// There is no back end, or no usable one of a block device.
    pub(super) fn connect(options: &Options) -> Result<Self, Error> {
        let socket = options.socket.clone();
        let connect = |source| Error::Connect {
            socket: socket.clone(),
            source,
        };
        let stream = UnixStream::connect(&socket).map_err(connect)?;
        let wire = stream.try_clone().map_err(connect)?;
        let wire = Frontend::from_stream(wire, options.queues.into());
        let mut front = Self {
            socket,
            stream,
            wire,
            features: 0,
            protocol: Protocol::empty(),
            config: Vec::new(),
        };
        let watch = Watch::new(&front.stream)?;
        let negotiated = front.negotiate(options);
        watch.end(&front.socket, negotiated)?;
        Ok(front)
    }

    fn negotiate(&mut self, options: &Options) -> Result<(), Error> {
        self.say("SET_OWNER", |wire| wire.set_owner())?;
        let offered = self.say("GET_FEATURES", |wire| wire.get_features())?;
        for (bit, name) in [
            (1 << VIRTIO_F_VERSION_1, "VERSION_1"),
            (PROTOCOL_FEATURES, "protocol features"),
        ] {
            if offered & bit == 0 {
                return Err(Error::Device(format!(
                    "the back end behind {:?} offers no {name}; is it one of a block device?",
                    self.socket
                )));
            }
        }
        self.features = offered & wanted(options);
        let wanted = Protocol::MQ | Protocol::REPLY_ACK | Protocol::CONFIG;
        let offered = self.say("GET_PROTOCOL_FEATURES", |wire| wire.get_protocol_features())?;
        self.protocol = offered & wanted;
        let protocol = self.protocol;
        self.say("SET_PROTOCOL_FEATURES", |wire| {
            wire.set_protocol_features(protocol)
        })?;
        if !protocol.contains(Protocol::CONFIG) {
            return Err(Error::Device(format!(
                "the back end behind {:?} has no configuration space to read the disk's size from; \
                 use one that offers CONFIG",
                self.socket
            )));
        }
        if protocol.contains(Protocol::REPLY_ACK) {
            self.wire.set_hdr_flags(VhostUserHeaderFlag::NEED_REPLY);
        }
        let most = if protocol.contains(Protocol::MQ) {
            self.say("GET_QUEUE_NUM", |wire| wire.get_queue_num())?
        } else {
            1
        };
        if u64::from(options.queues) > most {
            return Err(Error::Device(format!(
                "--queues {} is more than the back end has; use at most {most}",
                options.queues
            )));
        }
        let zeros = [0; CONFIG_BYTES as usize];
        let config = self.say("GET_CONFIG", |wire| {
            wire.get_config(0, CONFIG_BYTES, VhostUserConfigFlags::empty(), &zeros)
        });
        self.config = config?.1;
        let features = self.features;
        self.say("SET_FEATURES", |wire| wire.set_features(features))
    }

    /// The disk, as the back end describes it.
    pub(super) fn disk(&self) -> Disk {
        let has = |bit: u32| self.features & (1 << bit) != 0;
        let word = |at: usize| {
            let bytes = self.config.get(at..at + 4).and_then(|b| b.try_into().ok());
            u32::from_le_bytes(bytes.unwrap_or_default())
        };
        let sectors = u64::from(word(0)) | u64::from(word(4)) << 32;
        let block_bytes = if has(blk::VIRTIO_BLK_F_BLK_SIZE) {
            u64::from(word(20)).max(512)
        } else {
            512
        };
        Disk {
            capacity_bytes: sectors.saturating_mul(512),
            block_bytes,
            // 0 is no limit: some back ends offer the feature and have nothing to say.
            size_max_bytes: Some(u64::from(word(8)))
                .filter(|&most| has(blk::VIRTIO_BLK_F_SIZE_MAX) && most > 0),
            // As Linux does: a disk that doesn't say takes one.
            seg_max: if has(blk::VIRTIO_BLK_F_SEG_MAX) {
                word(12).max(1)
            } else {
                1
            },
            read_only: has(blk::VIRTIO_BLK_F_RO),
            flush: has(blk::VIRTIO_BLK_F_FLUSH),
            discard_sectors: has(blk::VIRTIO_BLK_F_DISCARD).then(|| word(36)),
            zeroes_sectors: has(blk::VIRTIO_BLK_F_WRITE_ZEROES).then(|| word(48)),
            zeroes_may_unmap: self.config.get(56) == Some(&1),
            event_idx: has(VIRTIO_RING_F_EVENT_IDX),
            indirect: has(VIRTIO_RING_F_INDIRECT_DESC),
        }
    }

    /// Pass memory and rings to the back end, and start them.
    ///
    /// # Errors
    /// The back end refuses something.
    pub(super) fn start(
        &mut self,
        plan: &Plan,
        memory: &Memory,
        rings: &[(RingLayout, EventFd, EventFd)],
    ) -> Result<(), Error> {
        let watch = Watch::new(&self.stream)?;
        let started = self.start_all(plan, memory, rings);
        watch.end(&self.socket, started)
    }

    fn start_all(
        &mut self,
        plan: &Plan,
        memory: &Memory,
        rings: &[(RingLayout, EventFd, EventFd)],
    ) -> Result<(), Error> {
        let region = VhostUserMemoryRegionInfo {
            guest_phys_addr: GUEST_START,
            memory_size: memory.len_bytes() as u64,
            userspace_addr: memory.address(),
            mmap_offset: 0,
            mmap_handle: memory.as_fd().as_raw_fd(),
        };
        self.say("SET_MEM_TABLE", |wire| wire.set_mem_table(&[region]))?;
        let size = plan.ring_size;
        for (index, (place, kick, call)) in rings.iter().enumerate() {
            let address = |at: usize| memory.address() + at as u64;
            let config = VringConfigData {
                queue_max_size: size,
                queue_size: size,
                flags: 0,
                desc_table_addr: address(place.desc_bytes),
                used_ring_addr: address(place.used_bytes),
                avail_ring_addr: address(place.avail_bytes),
                log_addr: None,
            };
            let num = self.say("SET_VRING_NUM", |wire| wire.set_vring_num(index, size));
            num.map_err(|error| refused_ring(error, size))?;
            self.say("SET_VRING_BASE", |wire| wire.set_vring_base(index, 0))?;
            let addr = self.say("SET_VRING_ADDR", |wire| wire.set_vring_addr(index, &config));
            addr.map_err(|error| refused_ring(error, size))?;
            self.say("SET_VRING_CALL", |wire| {
                wire.set_vring_call(index, call.inner())
            })?;
            self.say("SET_VRING_KICK", |wire| {
                wire.set_vring_kick(index, kick.inner())
            })?;
        }
        for index in 0..rings.len() {
            self.say("SET_VRING_ENABLE", |wire| {
                wire.set_vring_enable(index, true)
            })?;
        }
        Ok(())
    }

    /// Stop the rings. Errors don't matter any more.
    pub(super) fn stop(&mut self, rings: usize) {
        let Ok(watch) = Watch::new(&self.stream) else {
            return;
        };
        let stopped = (0..rings).try_for_each(|index| {
            self.say("GET_VRING_BASE", |wire| wire.get_vring_base(index))
                .map(|_| ())
        });
        let _ = watch.end(&self.socket, stopped);
    }

    /// The connection, to watch for its end.
    pub(super) fn stream(&self) -> &UnixStream {
        &self.stream
    }

    fn say<T>(
        &mut self,
        message: &'static str,
        exchange: impl FnOnce(&mut Frontend) -> vhost::Result<T>,
    ) -> Result<T, Error> {
        exchange(&mut self.wire).map_err(|error| Error::Wire {
            socket: self.socket.clone(),
            message,
            reason: error.to_string(),
        })
    }
}

/// The features that the driver supports.
fn wanted(options: &Options) -> u64 {
    let bits = [
        VIRTIO_F_VERSION_1,
        blk::VIRTIO_BLK_F_SIZE_MAX,
        blk::VIRTIO_BLK_F_SEG_MAX,
        blk::VIRTIO_BLK_F_RO,
        blk::VIRTIO_BLK_F_BLK_SIZE,
        blk::VIRTIO_BLK_F_FLUSH,
        blk::VIRTIO_BLK_F_MQ,
        blk::VIRTIO_BLK_F_DISCARD,
        blk::VIRTIO_BLK_F_WRITE_ZEROES,
    ];
    let mut wanted = PROTOCOL_FEATURES;
    for bit in bits {
        wanted |= 1 << bit;
    }
    if options.event_idx {
        wanted |= 1 << VIRTIO_RING_F_EVENT_IDX;
    }
    if options.indirect {
        wanted |= 1 << VIRTIO_RING_F_INDIRECT_DESC;
    }
    wanted
}

/// Explain a refusal: some back ends accept only short rings, and don't say so.
fn refused_ring(error: Error, size: u16) -> Error {
    match error {
        Error::Wire { socket, reason, .. } => Error::Device(format!(
            "the back end behind {socket:?} refuses a ring of {size} descriptors ({reason}); use a \
             smaller --depth, or --indirect"
        )),
        other => other,
    }
}

/// Ends the connection if an answer takes too long; the front end's crate would wait for ever.
struct Watch {
    done: Sender<()>,
    thread: thread::JoinHandle<bool>,
}

impl Watch {
    fn new(stream: &UnixStream) -> Result<Self, Error> {
        let system = |source| Error::System {
            what: "watch the connection",
            source,
        };
        let stream = stream.try_clone().map_err(system)?;
        let (done, waiting) = channel();
        let watch = move || {
            let late = waiting.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout);
            if late {
                let _ = rustix::net::shutdown(&stream, Shutdown::Both);
            }
            late
        };
        let thread = threads::spawn(Role::LoadWatch, watch).map_err(system)?;
        Ok(Self { done, thread })
    }

    fn end<T>(self, socket: &Path, result: Result<T, Error>) -> Result<T, Error> {
        drop(self.done);
        if self.thread.join().unwrap_or(false) && result.is_err() {
            return Err(Error::Silent {
                socket: socket.into(),
            });
        }
        result
    }
}
