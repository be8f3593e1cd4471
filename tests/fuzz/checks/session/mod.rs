//! A front end's messages, in any order and with any content, against what must hold for a session
//! whatever it receives.
//!
//! An input is a list of messages: typed ones with nearly valid fields, raw ones, and whole
//! bring-ups of a ring, with descriptors from a pool. Between them the front end kicks, writes to
//! its memory, or takes it away. Each message is handled before the next one is sent, so after each
//! the reply and the state of the session can be checked. Meanwhile the workers of one server,
//! which all inputs share, serve real requests.

mod fields;
mod judge;
mod pool;
mod wire;

use std::cell::RefCell;
use std::net::Shutdown;
use std::num::NonZeroU16;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use ramblk::device::{BlockDevice, SavedState, Serial, StateError};
use ramblk::store::{DiskSpec, SectorSize, Store};
use ramblk::vhost_user::fuzz::Front;
use ramblk::vhost_user::{Hub, Server, ServerOptions, Share, WorkerOptions};

use super::bytes::Bytes;
use super::reached::Reached;
use fields::{Message, QUEUES, code};
use pool::{Pool, Use};
use wire::{HEADER_BYTES, NEED_REPLY, REPLY, VERSION};

const DISK_BYTES: u64 = 1 << 20;
const MOST_MESSAGES: u32 = 32;
/// Maximum number of bytes that one input sends: they and the replies fit into the socket.
const MOST_BYTES: usize = 32 << 10;
/// How often to search the process for mappings that were left behind.
const SEARCH_EVERY: u32 = 4096;

#[derive(Debug)]
struct Keeper;

impl SavedState for Keeper {
    fn save(&self) -> Result<Vec<u8>, StateError> {
        Ok(b"state".to_vec())
    }

    fn load(&self, state: &[u8]) -> Result<(), StateError> {
        if state.is_empty() || state == b"state" {
            return Ok(());
        }
        Err(StateError("no state".into()))
    }
}

/// What all inputs share.
struct World {
    server: Server,
    pool: Pool,
    room: Vec<u8>,
    runs: u32,
    _store: Store,
}

thread_local! {
    static WORLD: RefCell<World> = RefCell::new(World::new());
}

impl World {
    fn new() -> Self {
        ramblk::vhost_user::fuzz::hurry();
        // A pipe without a reader must be an error, as it is in a program with Rust's own start.
        signal_hook::flag::register(signal_hook::consts::SIGPIPE, Arc::default()).unwrap();
        let store = Store::new(8 << 20).unwrap();
        let spec = DiskSpec::new(SectorSize::S512, DISK_BYTES);
        let disk = store.create("disk", &spec).unwrap();
        let serial = Serial::new("fuzz").unwrap();
        let queues = NonZeroU16::new(QUEUES).unwrap();
        let device = BlockDevice::new(disk, serial, queues).with_state(Box::new(Keeper));
        let options = ServerOptions {
            share: Share::None,
            in_order: true,
        };
        let hub = Hub::new(&WorkerOptions {
            count: 1,
            poll: Duration::ZERO,
            cpus: Vec::new(),
        });
        Self {
            server: Server::new(device, &options, &hub.unwrap()),
            pool: Pool::new(),
            room: vec![0; 64 << 10],
            runs: 0,
            _store: store,
        }
    }
}

/// Run one input.
pub(crate) fn check(input: &[u8]) -> Reached {
    WORLD.with_borrow_mut(|world| {
        // When everything is closed, the lowest free number must not have grown. It may have
        // shrunk: threads of another target may still be closing theirs when this one begins.
        let lowest = lowest_fd();
        let mut bytes = Bytes::new(input);
        let mut talk = Talk::new(world);
        while !bytes.is_empty() && talk.sent_messages < MOST_MESSAGES {
            talk.step(&mut bytes);
        }
        let (reached, uses) = talk.end();
        assert!(lowest_fd() <= lowest, "a descriptor was left open");
        world.pool.reset(&uses);
        world.runs += 1;
        if world.runs % SEARCH_EVERY == 1 {
            let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
            assert!(!maps.contains("fuzz-pool"), "a mapping was left: {maps}");
        }
        reached
    })
}

fn lowest_fd() -> i32 {
    let (reader, _writer) = std::io::pipe().unwrap();
    reader.as_raw_fd()
}

/// A front end with its session.
struct Talk<'w> {
    world: &'w mut World,
    wire: UnixStream,
    /// `None` once the session is over.
    front: Option<Front>,
    /// Bytes are left that don't end a message: from here on replies can't be predicted.
    out_of_step: bool,
    reply_ack: bool,
    protocol: u64,
    features: u64,
    uses: Vec<Use>,
    sent_messages: u32,
    sent_bytes: usize,
    reached: Reached,
}

impl<'w> Talk<'w> {
    fn new(world: &'w mut World) -> Self {
        let (wire, theirs) = UnixStream::pair().unwrap();
        let front = Front::new(&world.server, theirs).unwrap();
        let mut uses = Vec::new();
        uses.resize_with(4, Use::default);
        Self {
            world,
            wire,
            front: Some(front),
            out_of_step: false,
            reply_ack: false,
            protocol: 0,
            features: 0,
            uses,
            sent_messages: 0,
            sent_bytes: 0,
            reached: Reached::default(),
        }
    }

    fn step(&mut self, bytes: &mut Bytes<'_>) {
        match bytes.below(16) {
            0..=8 => {
                let message = fields::message(bytes, self.features);
                self.say(&message);
            }
            9 => self.bring_up(bytes.u8()),
            10 => self.say_raw(bytes),
            11 => self.world.pool.kick(bytes.u8()),
            12 => self.poke(bytes),
            13 => {
                let (file, pages) = (bytes.u8(), u64::from(bytes.below(4)));
                self.world.pool.truncate(file, pages << 12);
            }
            14 => {
                if let Some(front) = &self.front {
                    front.config_changed();
                }
            }
            _ => self.serve_all(bytes.u8()),
        }
    }

    /// The front end writes to its memory: near a ring's indexes, or anywhere.
    fn poke(&mut self, bytes: &mut Bytes<'_>) {
        let (how, at, len) = (bytes.u8(), bytes.u16(), bytes.below(17));
        let place = pool::place(u64::from(how >> 2));
        let (file, at) = match how & 3 {
            0 => (0, place.avail + u64::from(at & 0x3f)),
            1 => (0, place.desc + u64::from(at & 0x1ff)),
            2 => (3, u64::from(at & 0x3ff)),
            _ => (how >> 4, u64::from(at)),
        };
        self.world.pool.poke(file, at, bytes.take(len.into()));
        // A front end may write to its files, so their content is no longer the initial one.
        self.uses[usize::from(file) % 4].anyhow = true;
    }

    /// Send everything that sets up a ring, message by message.
    fn bring_up(&mut self, how: u8) {
        for message in fields::bring_up(how) {
            self.say(&message);
        }
    }

    /// Unless this front end caused it, its requests must be served.
    fn serve_all(&mut self, ring: u8) {
        let place = pool::place(u64::from(ring));
        let Some(front) = self.front.as_ref().filter(|_| !self.uses[0].anyhow) else {
            return;
        };
        // Each ring is at its own place, with room for all in one region.
        let whole = self.uses[0].ranges == [(0, 0x1_0000)];
        let at_home = self.uses[1..].iter().all(|other| other.ranges.is_empty());
        let running = front.rings().iter().filter(|ring| ring.running).count();
        if !whole || !at_home || running != 1 || !self.reached.names().contains(&"brought up") {
            return;
        }
        for _ in 0..200 {
            if self.world.pool.peek_u16(place.used + 2) != Some(0) {
                self.reached.add("served");
                return;
            }
            std::thread::yield_now();
        }
    }

    /// A message of arbitrary bytes.
    fn say_raw(&mut self, bytes: &mut Bytes<'_>) {
        let code = u32::from(bytes.u8());
        let flags = bytes.u8();
        let len = usize::from(bytes.u8());
        let claimed = match flags & 0x40 {
            0 => len as u32,
            _ => bytes.u32(),
        };
        let fds: Vec<u8> = bytes.take(usize::from(flags >> 4 & 3)).to_vec();
        let body = bytes.take(len);
        let mut raw = wire::message(code, u32::from(flags & 15) ^ VERSION, body);
        raw[8..HEADER_BYTES].copy_from_slice(&claimed.to_le_bytes());
        self.out_of_step = true;
        // Such a message may have any meaning.
        self.uses.iter_mut().for_each(|file| file.anyhow = true);
        self.exchange(&raw, &fds);
    }

    fn say(&mut self, message: &Message) {
        let flags = VERSION | if message.need_reply { NEED_REPLY } else { 0 };
        let raw = wire::message(message.code, flags, &message.body);
        self.note_use(message);
        let before = self.front.as_ref().map(Front::rings).unwrap_or_default();
        let Some((handled, reply)) = self.exchange(&raw, &message.fds) else {
            return;
        };
        if self.out_of_step {
            return;
        }
        if handled == Ok(true) {
            self.note_features(message);
            self.reached.add(message.name());
        } else {
            self.reached.add("refused");
        }
        judge::judge(message, self.features, &before, &handled);
        self.check_reply(message, &reply, &handled);
    }

    /// Send, wait until it is handled, and return the reply. `None`: the session had already ended.
    fn exchange(&mut self, raw: &[u8], fds: &[u8]) -> Option<(Result<bool, String>, wire::Reply)> {
        let front = self.front.as_mut()?;
        if self.sent_bytes + raw.len() > MOST_BYTES {
            return None;
        }
        self.sent_bytes += raw.len();
        self.sent_messages += 1;
        let fds: Vec<_> = fds.iter().map(|&fd| self.world.pool.fd(fd)).collect();
        if !wire::send(&self.wire, raw, &fds) {
            // A worker ended the connection because memory was taken away.
            self.front = None;
            return None;
        }
        let handled = front.step();
        let reply = wire::receive(&self.wire, &mut self.world.room);
        if handled == Ok(true) {
            self.check_state();
        } else {
            self.front = None;
        }
        Some((handled, reply))
    }

    /// Exactly the rings that are set up are served, and a session that serves one holds the disk.
    fn check_state(&self) {
        let Some(front) = &self.front else {
            return;
        };
        let memory = front.has_memory();
        let rings = front.rings();
        assert!(rings.len() <= usize::from(QUEUES));
        for ring in &rings {
            assert_eq!(ring.running, ring.ready && memory, "{rings:?}");
            assert!(!ring.ready || ring.enabled, "{rings:?}");
        }
        let uses = rings.iter().any(|ring| ring.ready) && memory;
        assert_eq!(front.claims(), usize::from(uses), "{rings:?}");
    }

    /// Record what a message uses our files for.
    fn note_use(&mut self, message: &Message) {
        let pairs = message.regions.iter().zip(&message.fds);
        for (&(offset, size), &fd) in pairs {
            if let Some(file) = self.world.pool.file(fd) {
                let range = (offset, offset.saturating_add(size));
                if !self.uses[file].ranges.contains(&range) {
                    self.uses[file].ranges.push(range);
                }
            }
        }
        for &fd in message.fds.iter().skip(message.regions.len()) {
            if let Some(file) = self.world.pool.file(fd) {
                self.uses[file].anyhow = true;
            }
        }
    }

    fn note_features(&mut self, message: &Message) {
        match message.code {
            code::SET_FEATURES => self.features = message.u64(),
            code::RESET_OWNER | code::RESET_DEVICE => self.features = 0,
            code::SET_PROTOCOL_FEATURES => self.protocol = message.u64(),
            code::GET_FEATURES => self.reply_ack = true,
            code::SET_VRING_KICK => self.reached.add("brought up"),
            _ => {}
        }
    }

    /// At most one complete reply to this message, in the right form.
    fn check_reply(&self, message: &Message, reply: &wire::Reply, handled: &Result<bool, String>) {
        let bytes = &reply.bytes;
        if bytes.is_empty() {
            let silent = !message.is_answered() || *handled != Ok(true);
            assert!(silent, "no answer to {message:?}");
            return;
        }
        assert!(bytes.len() >= HEADER_BYTES, "{bytes:?}");
        let (header, body) = bytes.split_at(HEADER_BYTES);
        let word = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| header[at + i]));
        assert_eq!(word(0), message.code, "answer to {message:?}");
        assert_eq!(
            word(4),
            VERSION | REPLY,
            "flags of the answer to {message:?}"
        );
        assert_eq!(word(8) as usize, body.len(), "answer to {message:?}");
        judge::judge_reply(message, body, reply.fds.len(), handled, DISK_BYTES);
    }

    /// Close the connection; everything must be released.
    fn end(mut self) -> (Reached, Vec<Use>) {
        let _ = self.wire.shutdown(Shutdown::Write);
        while let Some(front) = &mut self.front {
            if front.step() != Ok(true) {
                self.front = None;
            }
        }
        drop(wire::receive(&self.wire, &mut self.world.room));
        let (_, theirs) = UnixStream::pair().unwrap();
        let after = Front::new(&self.world.server, theirs).unwrap();
        assert_eq!(after.claims(), 0, "the disk is still in use");
        (self.reached, self.uses)
    }
}
