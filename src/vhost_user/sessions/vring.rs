//! One ring as its front end sets it up, message by message, and when it is served.
//!
//! A kick descriptor *starts* a ring and GET_VRING_BASE stops it. A started ring is served while it
//! is also enabled ("Ring states"). To change anything about a ring that is served, it is paused,
//! changed, and served again from where it was.

use std::fs::File;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use crate::device::{BlockDevice, Driver};
use crate::vhost_user::memory::map::MemoryMap;
use crate::vhost_user::memory::unshared::signals;
use crate::vhost_user::queue::crash;
use crate::vhost_user::queue::inflight::Inflight;
use crate::vhost_user::queue::job::{Job, Wiring};
use crate::vhost_user::queue::parking::Stop;
use crate::vhost_user::queue::ring::{Ring, RingAddress, RingError, RingOptions};
use crate::vhost_user::wire::notifier::Notifier;
use crate::vhost_user::workers::order::RingHandle;
use crate::vhost_user::workers::pool::Workers;

/// How a driver's kicks arrive.
#[derive(Clone, Debug)]
pub(super) enum Kick {
    /// By this descriptor.
    Event(Arc<File>),
    /// Not at all: the ring must be polled.
    Polled,
}

impl From<Option<File>> for Kick {
    fn from(file: Option<File>) -> Self {
        file.map_or(Self::Polled, |file| Self::Event(Arc::new(file)))
    }
}

impl Kick {
    fn event(&self) -> Option<&Arc<File>> {
        match self {
            Self::Event(file) => Some(file),
            Self::Polled => None,
        }
    }
}

/// One ring of a session.
#[derive(Debug, Default)]
pub(crate) struct Vring {
    pub(super) size: u32,
    pub(super) address: Option<RingAddress>,
    pub(crate) enabled: bool,
    base: u16,
    kick: Option<Kick>,
    /// The count of the kick descriptor when it was passed, if known: QEMU's kick descriptors begin
    /// with a kick that no driver sent.
    kicks_before: Option<u64>,
    call: Option<Arc<Notifier>>,
    err: Option<Arc<Notifier>>,
    /// While a worker serves it.
    running: Option<RingHandle>,
    /// It could not be served in the present guest memory.
    stranded: bool,
    /// The region that tracks requests in flight has no room for this ring.
    untracked: bool,
}

/// What all rings of a session share.
#[derive(Debug)]
pub(super) struct Surroundings<'a> {
    pub(super) workers: &'a Workers,
    pub(super) device: &'a Arc<BlockDevice>,
    pub(super) memory: &'a Arc<MemoryMap>,
    pub(super) driver: Driver,
    pub(super) options: RingOptions,
    /// Tracks requests in flight, if the front end wants that.
    pub(super) inflight: Option<&'a Arc<Inflight>>,
    /// The connection, so that a worker can end it.
    pub(super) hangup: &'a Arc<UnixStream>,
}

/// Why a ring is not served.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    #[error(transparent)]
    Ring(#[from] RingError),
    #[error("its kick descriptor can't be watched: {0}")]
    Kick(#[from] io::Error),
}

impl Vring {
    pub(super) fn new(enabled: bool) -> Self {
        let mut vring = Self::default();
        vring.enabled = enabled;
        vring
    }

    /// Whether a worker serves it.
    pub(crate) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Whether it can be served, provided that there is guest memory.
    pub(crate) fn is_ready(&self) -> bool {
        self.ready().is_some()
    }

    /// The ring's kick and address, if it is ready.
    fn ready(&self) -> Option<(&Kick, RingAddress)> {
        let kick = self.kick.as_ref()?;
        let address = self.address?;
        (self.enabled && self.size > 0 && !self.stranded).then_some((kick, address))
    }

    /// Serve it if it is ready and not served already. There must be guest memory.
    pub(super) fn start(
        &mut self,
        index: u16,
        around: &Surroundings<'_>,
    ) -> Result<(), StartError> {
        let Some((kick, address)) = self.ready() else {
            return Ok(());
        };
        let kick = kick.event().cloned();
        if self.running.is_some() {
            return Ok(());
        }
        let mut ring = Ring::new(
            Arc::clone(around.memory),
            self.size,
            address,
            around.options,
            around.device.volume(),
        )?;
        self.untracked = match around.inflight {
            Some(region) => !ring.track(region, index)?,
            None => false,
        };
        if crash::is_careful() {
            ring.be_careful();
        }
        if ring.position() != self.base {
            // Everything completes in order here, so the used index in memory is right. A front end
            // that reconnects may name the avail index, and the requests in between would be lost.
            tracing::debug!(
                queue = index,
                named = self.base,
                used = ring.position(),
                "base taken from the used ring"
            );
        }
        let wiring = Wiring {
            index,
            device: Arc::clone(around.device),
            driver: around.driver,
            kick,
            call: self.call.clone(),
            err: self.err.clone(),
            hangup: Arc::clone(around.hangup),
        };
        self.running = Some(around.workers.serve(Job::new(ring, wiring))?);
        Ok(())
    }

    /// It can't be served in the present guest memory. Signal its error descriptor, and don't serve
    /// it until the ring or the memory changes.
    pub(super) fn strand(&mut self) {
        self.stranded = true;
        if let Some(err) = &self.err {
            err.signal();
        }
    }

    /// Stop serving it for a change. It keeps its position.
    pub(super) fn pause(&mut self, how: Stop) {
        self.stranded = false;
        let running = self.running.take();
        if let Some(base) = running.and_then(|running| running.stop(how)) {
            self.base = base;
        }
    }

    /// Stop it (GET_VRING_BASE). Afterwards it needs a new kick descriptor. Returns its position.
    pub(super) fn stop(&mut self) -> u16 {
        self.pause(Stop::drain());
        self.kick = None;
        self.call = None;
        self.base
    }

    /// Set the position from which the ring will start. It must not be served now.
    pub(super) fn set_base(&mut self, base: u16) {
        debug_assert!(
            !self.is_running(),
            "a ring that is served gets another base"
        );
        self.base = base;
    }

    /// Set how kicks arrive. The ring must be paused.
    pub(super) fn set_kick(&mut self, kick: Kick) {
        debug_assert!(
            !self.is_running(),
            "a ring that is served gets another kick"
        );
        self.kicks_before = kick.event().and_then(|kick| signals(kick));
        self.kick = Some(kick);
    }

    /// Whether it is served, and polled because it has no kick descriptor.
    pub(super) fn is_polled(&self) -> bool {
        self.is_running() && matches!(self.kick, Some(Kick::Polled))
    }

    /// Whether it is served untracked although the front end passed an in-flight region.
    pub(super) fn is_untracked(&self) -> bool {
        self.is_running() && self.untracked
    }

    /// Whether it is served and its descriptor is known to have been kicked. Kicks are never read,
    /// so the count still shows them.
    pub(super) fn was_kicked(&self) -> bool {
        let kick = self.kick.as_ref().and_then(Kick::event);
        let kicks = || kick.and_then(|kick| signals(kick));
        self.is_running()
            && self
                .kicks_before
                .is_some_and(|before| kicks() > Some(before))
    }

    /// Whether it is served, and a driver or a back end has ever used it.
    pub(super) fn is_used(&self, memory: &MemoryMap) -> bool {
        let mut found = [0; 64];
        let places = self.address.map(RingAddress::places).unwrap_or_default();
        self.is_running()
            && places.into_iter().any(|(at, bytes)| {
                let found = &mut found[..bytes];
                memory.copy_user(at, found) && found.iter().any(|&byte| byte != 0)
            })
    }

    /// Set the call descriptor, at any time. It is signalled once, since the driver may have missed
    /// a call by the old one.
    pub(super) fn set_call(&mut self, call: Option<File>) {
        self.call = call.map(Notifier::from).map(Arc::new);
        if let Some(running) = &self.running {
            running.set_call(self.call.clone());
        }
    }

    /// Set the error descriptor. The ring must be paused.
    pub(super) fn set_err(&mut self, err: Option<File>) {
        debug_assert!(
            !self.is_running(),
            "a ring that is served gets another error descriptor"
        );
        self.err = err.map(Notifier::from).map(Arc::new);
    }
}

impl Drop for Vring {
    fn drop(&mut self) {
        self.pause(Stop::Leave);
    }
}
