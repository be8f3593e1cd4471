//! One front end: what it negotiated, and what each of its messages does.
//!
//! The `vhost` crate parses the messages and calls [`Session`]'s handlers; an error from one of
//! them is acknowledged as such where the front end asked for it, and ends the connection. The
//! front end's disk, and everybody else's, stays as it is.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use vhost::vhost_user::message::{
    VhostTransferStateDirection, VhostTransferStatePhase, VhostUserConfigFlags, VhostUserInflight,
    VhostUserLog, VhostUserMemoryRegion, VhostUserProtocolFeatures, VhostUserShMemConfig,
    VhostUserSharedMsg, VhostUserSingleMemoryRegion, VhostUserVirtioFeatures,
    VhostUserVringAddrFlags, VhostUserVringState,
};
use vhost::vhost_user::{
    Backend, Error as WireError, GpuBackend, Result as WireResult, VhostUserBackendReqHandlerMut,
};
use virtio_bindings::virtio_config::VIRTIO_F_IN_ORDER;
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};

use super::channel::Channel;
use super::inflight::{self, Inflight};
use super::memory::{MAX_SLOTS, MemoryMap, RegionSpec};
use super::ring::{RingAddress, RingOptions};
use super::server::{Claim, Shared};
use super::transfer::Transfer;
use super::vring::{Surroundings, Vring};

const LARGEST_RING: u32 = 32768;

/// The state of one connection.
#[derive(Debug)]
pub(super) struct Session {
    server: Arc<Shared>,
    channel: Arc<Channel>,
    /// A back-end request channel that came with the message being handled.
    arriving_channel: Option<OwnedFd>,
    acked: u64,
    acked_protocol: VhostUserProtocolFeatures,
    memory: Arc<MemoryMap>,
    /// Where requests that are taken are written down, if the front end wants that.
    inflight: Option<Arc<Inflight>>,
    vrings: Vec<Vring>,
    /// A transfer of the device's state that was begun.
    transfer: Transfer,
    /// The connection, for whoever has to end it.
    hangup: Arc<UnixStream>,
    /// This session's right to use the disk, while it has one. The last field: fields are dropped
    /// in order, and the right must outlive the rings that use it.
    claim: Option<Claim>,
}

/// A reason for the log, and for the crate to refuse the message with.
fn refuse(reason: impl std::fmt::Display) -> WireError {
    WireError::ReqHandlerError(std::io::Error::other(reason.to_string()))
}

fn unsupported<T>() -> WireResult<T> {
    Err(WireError::InvalidOperation("not offered by this back end"))
}

impl Session {
    pub(super) fn new(server: Arc<Shared>, channel: Arc<Channel>, hangup: Arc<UnixStream>) -> Self {
        let queues = server.device.queues().get();
        Self {
            server,
            channel,
            arriving_channel: None,
            acked: 0,
            acked_protocol: VhostUserProtocolFeatures::empty(),
            memory: Arc::default(),
            inflight: None,
            hangup,
            transfer: Transfer::None,
            vrings: (0..queues).map(|_| Vring::default()).collect(),
            claim: None,
        }
    }

    /// The bits on offer: the device's, and those of rings and transport that are served here.
    fn offered(&self) -> u64 {
        self.server.device.features()
            | 1 << VIRTIO_RING_F_INDIRECT_DESC
            | 1 << VIRTIO_RING_F_EVENT_IDX
            // Every request is completed before the next one is begun, so this costs nothing; but
            // what was promised once must stay so.
            | u64::from(self.server.in_order()) << VIRTIO_F_IN_ORDER
            | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits()
    }

    fn offered_protocol() -> VhostUserProtocolFeatures {
        VhostUserProtocolFeatures::MQ
            | VhostUserProtocolFeatures::REPLY_ACK
            | VhostUserProtocolFeatures::BACKEND_REQ
            | VhostUserProtocolFeatures::CONFIG
            | VhostUserProtocolFeatures::INFLIGHT_SHMFD
            | VhostUserProtocolFeatures::RESET_DEVICE
            | VhostUserProtocolFeatures::CONFIGURE_MEM_SLOTS
            | VhostUserProtocolFeatures::DEVICE_STATE
    }

    /// Whether the front end took away memory that it had shared: then nothing here can go on.
    pub(super) fn is_lost(&self) -> bool {
        let region = self.inflight.as_ref();
        self.memory.is_lost() || region.is_some_and(|region| region.is_lost())
    }

    /// Hand over the descriptor of a SET_BACKEND_REQ_FD that is about to be handled.
    pub(super) fn channel_arrives(&mut self, socket: OwnedFd) {
        self.arriving_channel = Some(socket);
    }

    fn position(&self, index: u32) -> WireResult<usize> {
        let queues = self.vrings.len();
        usize::try_from(index)
            .ok()
            .filter(|&at| at < queues)
            .ok_or_else(|| refuse(format_args!("queue {index} of {queues}")))
    }

    fn vring(&mut self, index: u32) -> WireResult<&mut Vring> {
        let at = self.position(index)?;
        Ok(&mut self.vrings[at])
    }

    /// Change a ring with nobody serving it, and serve it again if it is ready.
    fn change(&mut self, index: u32, change: impl FnOnce(&mut Vring)) -> WireResult<()> {
        let vring = self.vring(index)?;
        vring.pause();
        change(vring);
        self.start_ready()
    }

    /// Change what all rings depend on, with none of them served.
    fn change_all(&mut self, change: impl FnOnce(&mut Self)) -> WireResult<()> {
        self.vrings.iter_mut().for_each(Vring::pause);
        change(self);
        self.start_ready()
    }

    /// Start every ring that is ready, with the right to use the disk; give the right back when no
    /// ring is left that would use it.
    fn start_ready(&mut self) -> WireResult<()> {
        if self.memory.is_empty() || !self.vrings.iter().any(Vring::is_ready) {
            self.channel.set_live(false);
            self.claim = None;
            return Ok(());
        }
        if self.claim.is_none() {
            self.claim = Some(self.server.claim().map_err(refuse)?);
        }
        let acked = |bit: u32| self.acked & 1 << bit != 0;
        let around = Surroundings {
            workers: &self.server.workers,
            device: &self.server.device,
            memory: &self.memory,
            acked: self.acked,
            options: RingOptions {
                event_idx: acked(VIRTIO_RING_F_EVENT_IDX),
                indirect: acked(VIRTIO_RING_F_INDIRECT_DESC),
            },
            inflight: self.inflight.as_ref(),
            hangup: &self.hangup,
        };
        for (index, vring) in (0..).zip(&mut self.vrings) {
            vring
                .start(index, &around)
                .map_err(|error| refuse(format_args!("queue {index}: {error}")))?;
        }
        self.channel.set_live(true);
        Ok(())
    }

    /// The crate does not look whether this one was negotiated.
    fn has_device_state(&self) -> WireResult<()> {
        let feature = VhostUserProtocolFeatures::DEVICE_STATE;
        if self.acked_protocol.contains(feature) {
            return Ok(());
        }
        Err(refuse("DEVICE_STATE was not negotiated"))
    }

    fn set_memory(&mut self, memory: MemoryMap) -> WireResult<()> {
        self.change_all(|session| session.memory = Arc::new(memory))
    }
}

impl VhostUserBackendReqHandlerMut for Session {
    fn set_owner(&mut self) -> WireResult<()> {
        Ok(())
    }

    fn reset_owner(&mut self) -> WireResult<()> {
        self.reset_device()
    }

    fn reset_device(&mut self) -> WireResult<()> {
        if !self.server.is_shared() {
            self.server.device.reset();
        }
        self.change_all(|session| {
            session.acked = 0;
            for vring in &mut session.vrings {
                vring.stop();
                vring.set_base(0);
                vring.enabled = false;
            }
        })
    }

    fn get_features(&mut self) -> WireResult<u64> {
        Ok(self.offered())
    }

    fn set_features(&mut self, features: u64) -> WireResult<()> {
        let unknown = features & !self.offered();
        if unknown != 0 {
            return Err(refuse(format_args!(
                "features {unknown:#x} were not offered"
            )));
        }
        if features == self.acked && features != 0 {
            return Ok(());
        }
        self.server.device.accept(features);
        self.change_all(|session| {
            session.acked = features;
            // "Ring states": without protocol features a ring is enabled from the start.
            if features & VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits() == 0 {
                session
                    .vrings
                    .iter_mut()
                    .for_each(|vring| vring.enabled = true);
            }
        })
    }

    fn set_mem_table(
        &mut self,
        regions: &[VhostUserMemoryRegion],
        files: Vec<File>,
        _postcopy_listening: Option<bool>,
    ) -> WireResult<Option<Vec<u64>>> {
        let regions = regions.iter().map(RegionSpec::from).zip(files);
        let memory = MemoryMap::new(regions).map_err(refuse)?;
        self.set_memory(memory)?;
        Ok(None)
    }

    fn set_vring_num(&mut self, index: u32, num: u32) -> WireResult<()> {
        let vring = self.vring(index)?;
        if !num.is_power_of_two() || num > LARGEST_RING {
            return Err(refuse(format_args!(
                "queue {index}: {num} is no size for a split ring"
            )));
        }
        if vring.is_running() && vring.size != num {
            return Err(refuse(format_args!(
                "queue {index}: its size changes while it runs"
            )));
        }
        vring.size = num;
        self.start_ready()
    }

    fn set_vring_addr(
        &mut self,
        index: u32,
        _flags: VhostUserVringAddrFlags,
        descriptor: u64,
        used: u64,
        available: u64,
        _log: u64,
    ) -> WireResult<()> {
        let address = Some(RingAddress {
            desc: descriptor,
            avail: available,
            used,
        });
        if self.vring(index)?.address == address {
            return Ok(());
        }
        self.change(index, |vring| vring.address = address)
    }

    fn set_vring_base(&mut self, index: u32, base: u32) -> WireResult<()> {
        let base = u16::try_from(base)
            .map_err(|_| refuse(format_args!("queue {index}: base {base} is no ring index")))?;
        let vring = self.vring(index)?;
        if vring.is_running() {
            return Err(refuse(format_args!(
                "queue {index}: its base is set while it runs"
            )));
        }
        vring.set_base(base);
        Ok(())
    }

    fn get_vring_base(&mut self, index: u32) -> WireResult<VhostUserVringState> {
        let base = self.vring(index)?.stop();
        self.start_ready()?;
        Ok(VhostUserVringState::new(index, u32::from(base)))
    }

    fn set_vring_kick(&mut self, index: u8, fd: Option<File>) -> WireResult<()> {
        if fd.is_none() {
            return Err(refuse(format_args!(
                "queue {index}: polling for kicks is not offered"
            )));
        }
        self.change(u32::from(index), |vring| vring.set_kick(fd))
    }

    fn set_vring_call(&mut self, index: u8, fd: Option<File>) -> WireResult<()> {
        self.vring(u32::from(index))?.set_call(fd);
        Ok(())
    }

    fn set_vring_err(&mut self, index: u8, fd: Option<File>) -> WireResult<()> {
        self.change(u32::from(index), |vring| vring.set_err(fd))
    }

    fn get_protocol_features(&mut self) -> WireResult<VhostUserProtocolFeatures> {
        Ok(Self::offered_protocol())
    }

    fn set_protocol_features(&mut self, features: u64) -> WireResult<()> {
        let unknown = features & !Self::offered_protocol().bits();
        if unknown != 0 {
            return Err(refuse(format_args!(
                "protocol features {unknown:#x} were not offered"
            )));
        }
        self.acked_protocol = VhostUserProtocolFeatures::from_bits_truncate(features);
        Ok(())
    }

    fn get_queue_num(&mut self) -> WireResult<u64> {
        Ok(self.vrings.len() as u64)
    }

    fn set_vring_enable(&mut self, index: u32, enable: bool) -> WireResult<()> {
        if self.vring(index)?.enabled == enable {
            return Ok(());
        }
        self.change(index, |vring| vring.enabled = enable)
    }

    fn get_config(
        &mut self,
        offset: u32,
        size: u32,
        _flags: VhostUserConfigFlags,
    ) -> WireResult<Vec<u8>> {
        // The crate has checked that both together stay below its 4096.
        let mut bytes = vec![0; usize::try_from(size).map_err(refuse)?];
        let offset = usize::try_from(offset).map_err(refuse)?;
        self.server.device.read_config(offset, &mut bytes);
        Ok(bytes)
    }

    fn set_config(
        &mut self,
        offset: u32,
        bytes: &[u8],
        flags: VhostUserConfigFlags,
    ) -> WireResult<()> {
        // 0 is a driver's write, 1 a VMM's while it migrates; cloud-hypervisor sends 1 for both.
        // What no driver may write is read-only either way.
        let offset = usize::try_from(offset).map_err(refuse)?;
        let outcome = if flags.bits() > 1 {
            Err(format!("flags {:#x} are unknown", flags.bits()))
        } else {
            let device = &self.server.device;
            let written = device.write_config(self.acked, offset, bytes);
            written.map_err(|error| error.to_string())
        };
        // No reason to lose a front end.
        outcome.map_err(|reason| {
            let kind = std::io::ErrorKind::PermissionDenied;
            WireError::ReqHandlerError(std::io::Error::new(kind, reason))
        })
    }

    fn set_backend_req_fd(&mut self, _backend: Backend) {
        // The crate's own duplicate can't send CONFIG_CHANGE; it has checked that this is a socket.
        self.channel.replace(self.arriving_channel.take());
    }

    fn get_max_mem_slots(&mut self) -> WireResult<u64> {
        Ok(MAX_SLOTS as u64)
    }

    fn add_mem_region(
        &mut self,
        region: &VhostUserSingleMemoryRegion,
        fd: File,
        _postcopy_listening: Option<bool>,
    ) -> WireResult<Option<u64>> {
        let memory = self
            .memory
            .with(RegionSpec::from(region), fd)
            .map_err(refuse)?;
        self.set_memory(memory)?;
        Ok(None)
    }

    fn remove_mem_region(&mut self, region: &VhostUserSingleMemoryRegion) -> WireResult<()> {
        let memory = self
            .memory
            .without(RegionSpec::from(region))
            .map_err(refuse)?;
        self.set_memory(memory)
    }

    fn get_inflight_fd(
        &mut self,
        spec: &VhostUserInflight,
    ) -> WireResult<(VhostUserInflight, File)> {
        inflight::create(spec, self.server.device.queues().get()).map_err(refuse)
    }

    fn set_inflight_fd(&mut self, spec: &VhostUserInflight, file: File) -> WireResult<()> {
        let queues = self.server.device.queues().get();
        let region = Inflight::open(spec, &file, queues).map_err(refuse)?;
        self.change_all(|session| session.inflight = Some(Arc::new(region)))
    }

    fn set_device_state_fd(
        &mut self,
        direction: VhostTransferStateDirection,
        _phase: VhostTransferStatePhase,
        fd: File,
    ) -> WireResult<Option<File>> {
        self.has_device_state()?;
        if self.vrings.iter().any(Vring::is_running) {
            return Err(refuse("the state of a device is moved while its rings run"));
        }
        let device = &self.server.device;
        self.transfer = match direction {
            VhostTransferStateDirection::SAVE => Transfer::save(device, fd),
            VhostTransferStateDirection::LOAD => Transfer::Loading(fd),
        };
        Ok(None)
    }

    fn check_device_state(&mut self) -> WireResult<()> {
        self.has_device_state()?;
        let server = &self.server;
        std::mem::take(&mut self.transfer)
            .finish(server)
            .inspect_err(|error| tracing::warn!(%error, "state of the disk"))
            .map_err(refuse)
    }

    // What follows belongs to features that are not offered.

    fn set_gpu_socket(&mut self, _gpu: GpuBackend) -> WireResult<()> {
        unsupported()
    }

    fn get_shared_object(&mut self, _uuid: VhostUserSharedMsg) -> WireResult<File> {
        unsupported()
    }

    fn get_shmem_config(&mut self) -> WireResult<VhostUserShMemConfig> {
        unsupported()
    }

    fn set_log_base(&mut self, _log: &VhostUserLog, _file: File) -> WireResult<()> {
        unsupported()
    }
}
