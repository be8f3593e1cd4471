//! One front end: what it negotiated, and its rings.
//!
//! Nothing that a front end negotiates changes its disk, or the disk of another front end.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use vhost::vhost_user::message::{VhostUserProtocolFeatures, VhostUserVirtioFeatures};
use vhost::vhost_user::{Error as WireError, Result as WireResult};
use virtio_bindings::virtio_config::VIRTIO_F_IN_ORDER;
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};

use super::backend::Backend;
use super::claims::Claim;
use super::connection::Connection;
use super::transfer::Transfer;
use super::vring::{Surroundings, Vring};
use crate::device::{Driver, User};
use crate::vhost_user::Peer;
use crate::vhost_user::memory::map::MemoryMap;
use crate::vhost_user::memory::unshared::{Lookout, MEND};
use crate::vhost_user::queue::inflight::Inflight;
use crate::vhost_user::queue::parking::Stop;
use crate::vhost_user::queue::ring::RingOptions;

/// The state of one connection.
#[derive(Debug)]
pub(crate) struct Session {
    pub(super) backend: Arc<Backend>,
    pub(super) connection: Arc<Connection>,
    /// A back-end request channel that came with the message being handled.
    pub(super) arriving_channel: Option<OwnedFd>,
    pub(super) acked: u64,
    pub(super) acked_protocol: VhostUserProtocolFeatures,
    pub(crate) memory: Arc<MemoryMap>,
    /// Tracks requests in flight, if the front end passed a region for that.
    pub(super) inflight: Option<Arc<Inflight>>,
    /// The rings by number, up to the highest one that a message has named. The others cost
    /// nothing.
    pub(crate) vrings: Vec<Vring>,
    /// Whether rings beyond these are enabled.
    are_enabled: bool,
    /// A transfer of the device's state that was begun.
    pub(super) transfer: Transfer,
    /// When to check rings that have never had a request.
    lookout: Option<Lookout>,
    /// Whether a ring was ever used, so that guest memory is known to be shared.
    is_used: bool,
    /// This session's right to use the disk, if it has one. This must be the last field: fields are
    /// dropped in order, and the claim must outlive the rings that use the disk.
    claim: Option<Claim>,
}

/// What to do with a ring that can't be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WhenNot {
    /// Refuse the message, which is wrong about this ring.
    Refuse,
    /// Leave the ring unserved until something changes. The message is about something else.
    Strand,
}

/// An error with which the crate refuses the message, and whose reason is logged.
pub(super) fn refuse(reason: impl std::fmt::Display) -> WireError {
    WireError::ReqHandlerError(std::io::Error::other(reason.to_string()))
}

impl Session {
    pub(crate) fn new(backend: Arc<Backend>, connection: Arc<Connection>) -> Self {
        Self {
            backend,
            connection,
            lookout: None,
            is_used: false,
            arriving_channel: None,
            acked: 0,
            acked_protocol: VhostUserProtocolFeatures::empty(),
            memory: Arc::default(),
            inflight: None,
            transfer: Transfer::None,
            vrings: Vec::new(),
            are_enabled: false,
            claim: None,
        }
    }

    /// The offered feature bits: the device's, and those of rings and transport.
    pub(super) fn offered(&self) -> u64 {
        self.backend.device.features()
            | 1 << VIRTIO_RING_F_INDIRECT_DESC
            | 1 << VIRTIO_RING_F_EVENT_IDX
            // Every request is completed before the next one begins, so this costs nothing now. But
            // it must stay true once it was promised.
            | u64::from(self.backend.in_order) << VIRTIO_F_IN_ORDER
            | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits()
    }

    pub(super) fn offered_protocol() -> VhostUserProtocolFeatures {
        VhostUserProtocolFeatures::MQ
            | VhostUserProtocolFeatures::REPLY_ACK
            | VhostUserProtocolFeatures::BACKEND_REQ
            | VhostUserProtocolFeatures::CONFIG
            | VhostUserProtocolFeatures::INFLIGHT_SHMFD
            | VhostUserProtocolFeatures::RESET_DEVICE
            | VhostUserProtocolFeatures::CONFIGURE_MEM_SLOTS
            | VhostUserProtocolFeatures::DEVICE_STATE
    }

    /// Whether the front end truncated memory that it had shared, so that no ring can go on.
    pub(super) fn is_lost(&self) -> bool {
        let region = self.inflight.as_ref();
        self.memory.is_lost() || region.is_some_and(|region| region.is_lost())
    }

    /// Keep the descriptor of a SET_BACKEND_REQ_FD for its handler, which runs next.
    pub(super) fn channel_arrives(&mut self, socket: OwnedFd) {
        self.arriving_channel = Some(socket);
    }

    /// The most rings that the front end may use.
    pub(super) fn queues(&self) -> usize {
        usize::from(self.backend.device.queues().get())
    }

    /// Enable all rings, or disable them.
    pub(super) fn enable_all(&mut self, enabled: bool) {
        self.are_enabled = enabled;
        for vring in &mut self.vrings {
            vring.enabled = enabled;
        }
    }

    fn position(&self, index: u32) -> WireResult<usize> {
        let queues = self.queues();
        usize::try_from(index)
            .ok()
            .filter(|&at| at < queues)
            .ok_or_else(|| refuse(format_args!("queue {index} of {queues}")))
    }

    pub(super) fn vring(&mut self, index: u32) -> WireResult<&mut Vring> {
        let at = self.position(index)?;
        while self.vrings.len() <= at {
            self.vrings.push(Vring::new(self.are_enabled));
        }
        Ok(&mut self.vrings[at])
    }

    /// Pause a ring, change it, and serve it again if it is ready.
    pub(super) fn change(
        &mut self,
        index: u32,
        how: Stop,
        change: impl FnOnce(&mut Vring),
    ) -> WireResult<()> {
        let vring = self.vring(index)?;
        vring.pause(how);
        change(vring);
        self.start_ready(WhenNot::Refuse)
    }

    /// Pause all rings, change what they depend on, and serve them again.
    pub(super) fn change_all(
        &mut self,
        how: Stop,
        change: impl FnOnce(&mut Self),
    ) -> WireResult<()> {
        self.vrings.iter_mut().for_each(|vring| vring.pause(how));
        change(self);
        self.start_ready(WhenNot::Strand)
    }

    /// Start every ring that is ready, and claim the disk for that; release it if no ring is
    /// served.
    pub(super) fn start_ready(&mut self, when_not: WhenNot) -> WireResult<()> {
        if self.memory.is_empty() || !self.vrings.iter().any(Vring::is_ready) {
            self.connection.channel.set_live(false);
            self.count_rings();
            self.claim = None;
            return Ok(());
        }
        if self.claim.is_none() {
            self.claim = Some(self.backend.claim().map_err(refuse)?);
            self.backend.device.accept(self.acked);
        }
        let acked = |bit: u32| self.acked & 1 << bit != 0;
        let around = Surroundings {
            workers: self.backend.workers(),
            device: &self.backend.device,
            memory: &self.memory,
            driver: Driver {
                acked: self.acked,
                user: self.claim.as_ref().map_or(User::UNKNOWN, Claim::user),
            },
            options: RingOptions {
                event_idx: acked(VIRTIO_RING_F_EVENT_IDX),
                in_order: acked(VIRTIO_F_IN_ORDER),
            },
            inflight: self.inflight.as_ref(),
            hangup: &self.connection.stream,
        };
        for (index, vring) in (0..).zip(&mut self.vrings) {
            match (vring.start(index, &around), when_not) {
                (Ok(()), _) => {}
                (Err(error), WhenNot::Strand) => {
                    if let Some(withheld) = self.backend.log_limit.may_log() {
                        tracing::warn!(queue = index, withheld, %error, "ring can't be served");
                    }
                    vring.strand();
                }
                (Err(error), WhenNot::Refuse) => {
                    return Err(refuse(format_args!("queue {index}: {error}")));
                }
            }
        }
        // Perhaps none of those that were ready could be started.
        let live = self.vrings.iter().any(Vring::is_running);
        self.connection.channel.set_live(live);
        self.count_rings();
        if live && !self.is_used && self.lookout.is_none() {
            self.lookout = Some(Lookout::default());
        }
        if !live {
            self.claim = None;
        }
        Ok(())
    }

    /// Update the counts of rings that are served differently.
    fn count_rings(&self) {
        let count = |which: fn(&Vring) -> bool| {
            let count = self.vrings.iter().filter(|vring| which(vring)).count();
            u16::try_from(count).unwrap_or(u16::MAX)
        };
        let untracked = count(Vring::is_untracked);
        let before = self
            .connection
            .count_queues(count(Vring::is_polled), untracked);
        if untracked > before
            && let Some(withheld) = self.backend.log_limit.may_log()
        {
            tracing::warn!(
                queues = untracked,
                withheld,
                "rings longer than the front end's in-flight region has room for are served"
            );
        }
    }

    /// The front end's process and user, if the system knows them.
    pub(super) fn peer(&self) -> Option<Peer> {
        self.connection.peer
    }

    /// The front end's process, if the system knows it.
    pub(super) fn peer_pid(&self) -> Option<u32> {
        self.peer().and_then(|peer| peer.pid)
    }

    /// How long to wait for a message before checking unused rings.
    pub(super) fn look_again_in(&self) -> Option<Duration> {
        self.lookout.map(Lookout::wait)
    }

    /// Check whether any ring was used. Log it if none was although the guest kicks.
    pub(super) fn look_out(&mut self) {
        self.is_used |= self.vrings.iter().any(|vring| vring.is_used(&self.memory));
        let is_over = self.is_used || !self.vrings.iter().any(Vring::is_running);
        let Some(lookout) = self.lookout.as_mut().filter(|_| !is_over) else {
            self.lookout = None;
            return;
        };
        if lookout.saw_nothing(self.vrings.iter().any(Vring::was_kicked))
            && let Some(withheld) = self.backend.log_limit.may_log()
        {
            tracing::warn!(
                withheld,
                "the guest kicks, but its rings stay empty here: if it hangs, {MEND}"
            );
        }
    }

    /// Whether another front end uses the device, and must not notice this one's messages.
    pub(super) fn is_anothers(&self) -> bool {
        self.backend.claims.are_anothers(self.claim.is_some())
    }

    /// Whether DEVICE_STATE was negotiated, which the crate does not check.
    pub(super) fn has_device_state(&self) -> WireResult<()> {
        let feature = VhostUserProtocolFeatures::DEVICE_STATE;
        if self.acked_protocol.contains(feature) {
            return Ok(());
        }
        Err(refuse("DEVICE_STATE was not negotiated"))
    }

    pub(super) fn set_memory(&mut self, memory: MemoryMap) -> WireResult<()> {
        self.change_all(Stop::Leave, |session| session.memory = Arc::new(memory))
    }
}
