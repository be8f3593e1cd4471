//! A disk as the sessions of its front ends see it.

use std::sync::Arc;

use super::claims::{Claim, ClaimError, Claims, Share};
use super::hub::Hub;
use super::regions::Regions;
use crate::device::BlockDevice;
use crate::vhost_user::log_limit::LogLimit;
use crate::vhost_user::workers::pool::Workers;

/// What all sessions of one server share. It knows neither the sessions nor the server.
#[derive(Debug)]
pub(crate) struct Backend {
    pub(super) device: Arc<BlockDevice>,
    pub(crate) claims: Arc<Claims>,
    /// Whether IN_ORDER is offered.
    pub(super) in_order: bool,
    /// Bounds log lines that a front end can cause.
    pub(super) log_limit: LogLimit,
    hub: Arc<Hub>,
    pub(super) regions: Regions,
}

impl Backend {
    pub(super) fn new(device: BlockDevice, share: Share, in_order: bool, hub: &Arc<Hub>) -> Self {
        Self {
            device: Arc::new(device),
            claims: Arc::new(Claims::new(share)),
            in_order,
            log_limit: LogLimit::default(),
            hub: Arc::clone(hub),
            regions: Regions::default(),
        }
    }

    /// Claim the disk: see [`Claims::claim`].
    pub(super) fn claim(&self) -> Result<Claim, ClaimError> {
        self.claims.claim(|| self.device.volume().arrive())
    }

    pub(super) fn hub(&self) -> &Hub {
        &self.hub
    }

    /// The threads that serve rings.
    pub(super) fn workers(&self) -> &Workers {
        self.hub.workers()
    }
}
