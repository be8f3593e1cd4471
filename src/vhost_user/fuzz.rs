//! Public names for this room's rings and sessions, for the fuzz targets and the counting of
//! instructions. No release has this module. What must hold is asserted in `tests/fuzz`, not here.
#![allow(
    missing_docs,
    clippy::missing_errors_doc,
    reason = "each item is the private one of the same name"
)]

use std::fs::File;
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use vhost::vhost_user::message::{VhostUserInflight, VhostUserMemoryRegion};

use super::memory::map::{MemoryMap, RegionSpec};
use super::queue::inflight::{self, Inflight};
use super::queue::job::{Job, Wiring};
use super::queue::ring::{Next, Ring, RingAddress, RingOptions};
use super::sessions::backend::Backend;
use super::sessions::connection::Connection;
use super::sessions::conversation::Conversation;
use super::sessions::server::Server;
use super::sessions::session::Session;
use super::wire::notifier::Notifier;
use super::wire::watchdog::{Watchdog, Watched};
use crate::device::{Attempt, BlockDevice, Driver, Pace, PlainRequest, Serial, User, Volume};
use crate::store::{DiskSpec, SectorSize, Sink, Source, Store};

/// Whether requests pass the points at which tests kill, which nothing that is shipped has.
pub const HAS_HOOKS: bool = cfg!(ramblk_hooks);

/// Wait for front ends for a millisecond at most, and not for seconds: a fuzzer does that thousands
/// of times.
pub fn hurry() {
    super::error::IS_IN_A_HURRY.store(true, Ordering::Relaxed);
}

/// Where a region of guest memory is, in the guest's addresses and the front end's.
#[derive(Clone, Copy, Debug)]
pub struct Region {
    pub guest: u64,
    pub size_bytes: u64,
    pub user: u64,
    pub file_offset: u64,
}

/// Guest memory, mapped.
#[derive(Clone, Debug)]
pub struct Memory(Arc<MemoryMap>);

impl Memory {
    /// As SET_MEM_TABLE maps it.
    pub fn new(regions: impl IntoIterator<Item = (Region, File)>) -> Result<Self, String> {
        let regions = regions.into_iter().map(|(region, file)| {
            let Region {
                guest,
                size_bytes,
                user,
                file_offset,
            } = region;
            let region = VhostUserMemoryRegion::new(guest, size_bytes, user, file_offset);
            (RegionSpec::from(&region), file)
        });
        let map = MemoryMap::new(regions, None).map_err(|error| error.to_string())?;
        Ok(Self(Arc::new(map)))
    }
}

/// How a ring is set up.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    pub size: u32,
    pub desc: u64,
    pub avail: u64,
    pub used: u64,
    pub event_idx: bool,
}

/// What a ring did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Dry,
    Completed,
    Continued,
}

/// A ring. Its errors are names of what is wrong with it.
#[derive(Debug)]
pub struct SplitRing(Ring);

/// The error's name without its fields, and without that of an error around it.
fn short(error: &impl std::fmt::Debug) -> String {
    let text = format!("{error:?}");
    let text = text.strip_prefix("Inflight(").unwrap_or(&text);
    let end = text.find([' ', '(', ')']).unwrap_or(text.len());
    text[..end].to_owned()
}

/// The volume in which rings count their waiting requests. Here none ever waits.
fn nothing() -> Result<Arc<Volume>, String> {
    static VOLUME: OnceLock<Arc<Volume>> = OnceLock::new();
    if let Some(volume) = VOLUME.get() {
        return Ok(Arc::clone(volume));
    }
    let store = Store::new(1 << 20).map_err(|error| error.to_string())?;
    let spec = DiskSpec::new(SectorSize::S512, 512);
    let disk = store.create("nothing", &spec);
    let disk = disk.map_err(|error| error.to_string())?;
    let serial = Serial::new("nothing").map_err(|error| error.to_string())?;
    let volume = VOLUME.get_or_init(|| Arc::new(Volume::new(disk, serial)));
    Ok(Arc::clone(volume))
}

impl SplitRing {
    pub fn new(memory: &Memory, setup: Setup) -> Result<Self, String> {
        Self::of(memory, setup, &nothing()?)
    }

    fn of(memory: &Memory, setup: Setup, volume: &Arc<Volume>) -> Result<Self, String> {
        let address = RingAddress {
            desc: setup.desc,
            avail: setup.avail,
            used: setup.used,
        };
        let options = RingOptions {
            event_idx: setup.event_idx,
            in_order: false,
        };
        let memory = Arc::clone(&memory.0);
        let ring = Ring::new(memory, setup.size, address, options, volume);
        ring.map(Self).map_err(|error| short(&error))
    }

    /// `serve` returns the length for the driver, or `None` if there is more to come.
    pub fn serve_one(
        &mut self,
        serve: impl for<'m> FnOnce(bool, &mut [Source<'m>], &mut [Sink<'m>]) -> Option<u32>,
    ) -> Result<Step, String> {
        let next = match self.0.next() {
            Next::Gather => Next::Take(Attempt::default()),
            next => next,
        };
        let taken = self.0.take(next).map_err(|error| short(&error))?;
        let Some(mut taken) = taken else {
            return Ok(Step::Dry);
        };
        let buffers = taken.buffers();
        match serve(buffers.damaged, buffers.readable, buffers.writable) {
            Some(written) => {
                taken.complete(written);
                Ok(Step::Completed)
            }
            None => {
                taken.keep(None, 0);
                Ok(Step::Continued)
            }
        }
    }

    /// `serve` passes the length of each request to the function that it receives. Returns the
    /// number of requests and the bytes of their data.
    pub fn serve_plain(
        &mut self,
        most_requests: u32,
        most_bytes: u64,
        serve: impl for<'m> FnOnce(&[PlainRequest<'m>], &mut dyn FnMut(u32)),
    ) -> Result<(u32, u64), String> {
        if self.0.next() != Next::Gather {
            return Ok((0, 0));
        }
        let gathered = self.0.gather(most_requests, most_bytes);
        let Some(gathered) = gathered.map_err(|error| short(&error))? else {
            return Ok((0, 0));
        };
        let mut written = Vec::new();
        serve(gathered.requests(), &mut |len| written.push(len));
        let done = gathered.complete(&written);
        Ok((done.requests, done.bytes))
    }

    pub fn publish(&mut self) -> bool {
        self.0.publish_used() == Some(true)
    }

    pub fn quiet(&mut self) {
        self.0.disable_notification();
    }

    pub fn listen(&mut self) -> Result<bool, String> {
        let more = self.0.enable_notification();
        more.map_err(|error| short(&error))
    }

    pub fn position(&self) -> u16 {
        self.0.position()
    }
}

/// A worker's turns for one ring, without the worker.
#[derive(Debug)]
pub struct Turns {
    job: Job,
    watched: Watched,
    _watchdog: Watchdog,
}

impl Turns {
    /// `call` is the driver's eventfd.
    pub fn new(
        memory: &Memory,
        setup: Setup,
        device: Arc<BlockDevice>,
        acked: u64,
        call: File,
    ) -> Result<Self, String> {
        let said = |error: std::io::Error| error.to_string();
        let watchdog = Watchdog::start(1).map_err(said)?;
        let watched = watchdog.watched(0).ok_or("no watchdog for a worker")?;
        let (hangup, _) = UnixStream::pair().map_err(said)?;
        let ring = SplitRing::of(memory, setup, device.volume())?;
        let wiring = Wiring {
            index: 0,
            device,
            driver: Driver {
                acked,
                user: User::UNKNOWN,
            },
            kick: None,
            call: Some(Arc::new(Notifier::from(call))),
            err: None,
            hangup: Arc::new(hangup),
        };
        Ok(Self {
            job: Job::new(ring.0, wiring),
            watched,
            _watchdog: watchdog,
        })
    }

    /// Returns the number of requests, or steps of long ones.
    pub fn turn(&mut self) -> Result<u32, String> {
        let turn = self.job.turn(Pace::Alone, &self.watched);
        turn.map(|turn| turn.steps).map_err(|error| short(&error))
    }

    pub fn listen(&mut self) -> Result<bool, String> {
        self.job
            .enable_notification()
            .map_err(|error| short(&error))
    }
}

/// A front end's connection, whose messages the caller has handled one by one.
pub struct Front {
    conversation: Conversation,
    connection: Arc<Connection>,
    backend: Arc<Backend>,
}

/// One ring of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingState {
    pub enabled: bool,
    pub ready: bool,
    pub running: bool,
}

impl Front {
    pub fn new(server: &Server, stream: UnixStream) -> Result<Self, String> {
        let connection = Connection::new(&stream).map_err(|error| error.to_string())?;
        let (backend, connection) = (Arc::clone(server.backend()), Arc::new(connection));
        let session = Session::new(Arc::clone(&backend), Arc::clone(&connection));
        let conversation = Conversation::new(stream, session).map_err(|error| error.to_string())?;
        Ok(Self {
            conversation,
            connection,
            backend,
        })
    }

    /// Handle the message that was sent. `false`: the connection is closed.
    pub fn step(&mut self) -> Result<bool, String> {
        self.conversation.step().map_err(|error| error.to_string())
    }

    pub fn rings(&self) -> Vec<RingState> {
        let look = |session: &Session| {
            let rings = session.vrings.iter().map(|vring| RingState {
                enabled: vring.enabled,
                ready: vring.is_ready(),
                running: vring.is_running(),
            });
            rings.collect()
        };
        self.conversation.with(look).unwrap_or_default()
    }

    pub fn has_memory(&self) -> bool {
        let look = |session: &Session| !session.memory.is_empty();
        self.conversation.with(look).unwrap_or_default()
    }

    /// How many sessions of the server use the disk.
    pub fn claims(&self) -> usize {
        self.backend.claims.held()
    }

    pub fn config_changed(&self) -> bool {
        self.connection.channel.config_changed()
    }
}

impl std::fmt::Debug for Front {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Front").finish_non_exhaustive()
    }
}

/// A region for requests in flight, as SET_INFLIGHT_FD maps it.
#[derive(Clone, Debug)]
pub struct InflightRegion(Arc<Inflight>);

/// The shape that a front end names for such a region.
#[derive(Clone, Copy, Debug, Default)]
pub struct InflightShape {
    pub size_bytes: u64,
    pub offset_bytes: u64,
    pub queues: u16,
    pub queue_size: u16,
}

impl InflightShape {
    fn spec(self) -> VhostUserInflight {
        VhostUserInflight {
            mmap_size: self.size_bytes,
            mmap_offset: self.offset_bytes,
            num_queues: self.queues,
            queue_size: self.queue_size,
        }
    }
}

impl InflightRegion {
    /// Create a region as GET_INFLIGHT_FD does. Returns its size too.
    pub fn create(shape: InflightShape, most_queues: u16) -> Result<(u64, File), String> {
        let made = inflight::create(&shape.spec(), most_queues);
        made.map(|(answer, file)| (answer.mmap_size, file))
            .map_err(|error| short(&error))
    }

    pub fn open(shape: InflightShape, file: &File, most_queues: u16) -> Result<Self, String> {
        let region = Inflight::open(&shape.spec(), file, most_queues);
        region
            .map(|region| Self(Arc::new(region)))
            .map_err(|error| short(&error))
    }
}

impl SplitRing {
    pub fn track(&mut self, region: &InflightRegion, queue: u16) -> Result<(), String> {
        let tracked = self.0.track(&region.0, queue);
        tracked.map(|_| ()).map_err(|error| short(&error))
    }
}
