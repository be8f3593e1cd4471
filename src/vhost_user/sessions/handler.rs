//! The handlers of a front end's messages.
//!
//! The `vhost` crate parses the messages and calls these handlers. An error from a handler is
//! acknowledged as a failure if the front end asked for that, and ends the connection. Only an
//! error of kind `PermissionDenied` leaves the connection open.

use std::fs::File;
use std::sync::Arc;

use rustix::io::FdFlags;
use vhost::vhost_user::message::{
    VhostTransferStateDirection, VhostTransferStatePhase, VhostUserConfigFlags, VhostUserInflight,
    VhostUserLog, VhostUserMemoryRegion, VhostUserProtocolFeatures, VhostUserShMemConfig,
    VhostUserSharedMsg, VhostUserSingleMemoryRegion, VhostUserVirtioFeatures,
    VhostUserVringAddrFlags, VhostUserVringState,
};
use vhost::vhost_user::{
    Backend, Error as WireError, GpuBackend, Result as WireResult, VhostUserBackendReqHandlerMut,
};

use super::session::{Session, WhenNot, refuse};
use super::transfer::Transfer;
use super::vring::{Kick, Vring};
use crate::vhost_user::memory::map::{MAX_SLOTS, MemoryMap, RegionSpec};
use crate::vhost_user::memory::unshared::Unshared;
use crate::vhost_user::queue::inflight::{self, Inflight, LARGEST_RING};
use crate::vhost_user::queue::parking::Stop;
use crate::vhost_user::queue::ring::RingAddress;
use crate::vhost_user::wire::descriptor::{check_mapping, check_signal};

/// Set the close-on-exec flag of a descriptor, so that a program that this process runs doesn't
/// inherit it: the crate receives it without `MSG_CMSG_CLOEXEC`. The flag belongs to our
/// descriptor, not to the file that the front end shares.
fn kept(file: File) -> File {
    let _ = rustix::io::fcntl_setfd(&file, FdFlags::CLOEXEC);
    file
}

/// The kick, call or error descriptor of queue `index`, if the message has one. It must be of a
/// kind that can't make a thread hang.
fn signal(index: u8, purpose: &'static str, fd: Option<File>) -> WireResult<Option<File>> {
    let Some(file) = fd else {
        return Ok(None);
    };
    let checked = check_signal(&file, purpose);
    checked.map_err(|error| refuse(format_args!("queue {index}: {error}")))?;
    Ok(Some(kept(file)))
}

fn unsupported<T>() -> WireResult<T> {
    Err(WireError::InvalidOperation("not offered by this back end"))
}

impl VhostUserBackendReqHandlerMut for Session {
    fn set_owner(&mut self) -> WireResult<()> {
        Ok(())
    }

    fn reset_owner(&mut self) -> WireResult<()> {
        // Deprecated: a back end should ignore it, or only disable all rings.
        self.change_all(Stop::Leave, |session| session.enable_all(false))
    }

    fn reset_device(&mut self) -> WireResult<()> {
        if !self.backend.claims.are_shared() && !self.is_anothers() {
            self.backend.device.reset();
        }
        self.change_all(Stop::drain(), |session| {
            session.acked = 0;
            // The requests in flight are those of a driver that no longer runs.
            session.inflight = None;
            for vring in &mut session.vrings {
                vring.stop();
                vring.set_base(0);
            }
            session.enable_all(false);
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
        if !self.is_anothers() {
            self.backend.device.accept(features);
        }
        self.change_all(Stop::drain(), |session| {
            session.acked = features;
            // "Ring states": without protocol features a ring is enabled from the start.
            if features & VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits() == 0 {
                session.enable_all(true);
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
        let memory = MemoryMap::new(regions, self.peer_pid()).map_err(refuse)?;
        self.set_memory(memory)?;
        Ok(None)
    }

    fn set_vring_num(&mut self, index: u32, num: u32) -> WireResult<()> {
        let vring = self.vring(index)?;
        if !num.is_power_of_two() || num > u32::from(LARGEST_RING) {
            return Err(refuse(format_args!(
                "queue {index}: {num} is not a size of a split ring"
            )));
        }
        if vring.is_running() && vring.size != num {
            return Err(refuse(format_args!(
                "queue {index}: its size changes while it runs"
            )));
        }
        vring.size = num;
        self.start_ready(WhenNot::Refuse)
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
        for user in [descriptor, available, used] {
            self.memory.is_shared_at(user).map_err(refuse)?;
        }
        if self.memory.is_empty() {
            return Err(refuse(Unshared::Nothing));
        }
        // This may be another ring, so requests that were taken from the old one are returned
        // first.
        self.change(index, Stop::drain(), |vring| vring.address = address)
    }

    fn set_vring_base(&mut self, index: u32, base: u32) -> WireResult<()> {
        let base = u16::try_from(base).map_err(|_| {
            refuse(format_args!(
                "queue {index}: base {base} is not a ring index"
            ))
        })?;
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
        self.start_ready(WhenNot::Refuse)?;
        Ok(VhostUserVringState::new(index, u32::from(base)))
    }

    fn set_vring_kick(&mut self, index: u8, fd: Option<File>) -> WireResult<()> {
        let kick = Kick::from(signal(index, "kick", fd)?);
        self.change(u32::from(index), Stop::Leave, |vring| vring.set_kick(kick))
    }

    fn set_vring_call(&mut self, index: u8, fd: Option<File>) -> WireResult<()> {
        let call = signal(index, "call", fd)?;
        self.vring(u32::from(index))?.set_call(call);
        Ok(())
    }

    fn set_vring_err(&mut self, index: u8, fd: Option<File>) -> WireResult<()> {
        let err = signal(index, "error", fd)?;
        self.change(u32::from(index), Stop::Leave, |vring| vring.set_err(err))
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
        Ok(self.queues() as u64)
    }

    fn set_vring_enable(&mut self, index: u32, enable: bool) -> WireResult<()> {
        if self.vring(index)?.enabled == enable {
            return Ok(());
        }
        self.change(index, Stop::Leave, |vring| vring.enabled = enable)
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
        self.backend.device.read_config(offset, &mut bytes);
        Ok(bytes)
    }

    fn set_config(
        &mut self,
        offset: u32,
        bytes: &[u8],
        flags: VhostUserConfigFlags,
    ) -> WireResult<()> {
        // Flag 0 is for a driver's write, 1 for a VMM that migrates; cloud-hypervisor sends 1 for
        // both. Fields that a driver must not write are read-only in either case.
        let offset = usize::try_from(offset).map_err(refuse)?;
        let outcome = if flags.bits() > 1 {
            Err(format!("flags {:#x} are unknown", flags.bits()))
        } else if self.is_anothers() {
            Err("another front end uses the disk".to_owned())
        } else {
            let device = &self.backend.device;
            let written = device.write_config(self.acked, offset, bytes);
            written.map_err(|error| error.to_string())
        };
        // This must not end the connection.
        outcome.map_err(|reason| {
            let kind = std::io::ErrorKind::PermissionDenied;
            WireError::ReqHandlerError(std::io::Error::new(kind, reason))
        })
    }

    fn set_backend_req_fd(&mut self, _backend: Backend) {
        // The crate's own duplicate can't send CONFIG_CHANGE. The crate has checked that this is a
        // socket.
        self.connection
            .channel
            .replace(self.arriving_channel.take());
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
        let spec = RegionSpec::from(region);
        let memory = self.memory.with(spec, fd, self.peer_pid());
        let memory = memory.map_err(refuse)?;
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
        inflight::create(spec, self.backend.device.queues().get()).map_err(refuse)
    }

    fn set_inflight_fd(&mut self, spec: &VhostUserInflight, file: File) -> WireResult<()> {
        let queues = self.backend.device.queues().get();
        let region = Arc::new(Inflight::open(spec, &file, queues).map_err(refuse)?);
        self.backend.regions.take(&file, &region).map_err(refuse)?;
        // The new region doesn't have the requests that the old one tracks.
        self.change_all(Stop::drain(), |session| {
            session.inflight = Some(region);
        })
    }

    fn set_device_state_fd(
        &mut self,
        direction: VhostTransferStateDirection,
        _phase: VhostTransferStatePhase,
        fd: File,
    ) -> WireResult<Option<File>> {
        self.has_device_state()?;
        check_mapping(&fd).map_err(refuse)?;
        if self.vrings.iter().any(Vring::is_running) {
            return Err(refuse(
                "the device's state can't be transferred while its rings run",
            ));
        }
        self.transfer = match direction {
            VhostTransferStateDirection::SAVE => Transfer::save(&self.backend, kept(fd)),
            VhostTransferStateDirection::LOAD => Transfer::Loading(kept(fd)),
        };
        Ok(None)
    }

    fn check_device_state(&mut self) -> WireResult<()> {
        self.has_device_state()?;
        let backend = &self.backend;
        std::mem::take(&mut self.transfer)
            .finish(backend)
            .inspect_err(|error| {
                if let Some(withheld) = backend.log_limit.may_log() {
                    tracing::warn!(withheld, %error, "the disk's state was not transferred");
                }
            })
            .map_err(refuse)
    }

    // These belong to features that are not offered.

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
