//! The descriptors that inputs select from: files of several sizes, eventfds, pipes, sockets. They
//! are created once; what an input did to the files is undone before the next one.

use std::fs::File;
use std::io::Seek;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixDatagram, UnixStream};

use rustix::event::EventfdFlags;
use rustix::fs::{MemfdFlags, Mode, OFlags};

/// The front end's address of guest address 0.
pub(crate) const USER: u64 = 0x7f00_0000_0000;
/// Rings in the first file, and how far apart they are.
pub(crate) const RINGS: u64 = 3;
const RING_BYTES: u64 = 0x4000;
/// Entries of each.
pub(crate) const RING_SIZE: u16 = 16;
const AVAIL: u64 = 0x1000;
const USED: u64 = 0x2000;
/// Requests that each ring holds when a session begins.
pub(crate) const REQUESTS: u16 = 5;
const HEADERS: u64 = 0x3000;
const DATA: u64 = 0xc000;

const FILE_BYTES: [u64; 4] = [0x1_0000, 0x4000, 0x1064, 0x2000];

/// Where a ring's parts are in the first file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) desc: u64,
    pub(crate) avail: u64,
    pub(crate) used: u64,
}

pub(crate) fn place(ring: u64) -> Place {
    let base = ring % RINGS * RING_BYTES;
    Place {
        desc: base,
        avail: base + AVAIL,
        used: base + USED,
    }
}

#[derive(Debug)]
struct Store {
    file: File,
    /// The content when a session begins.
    begin: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Pool {
    files: Vec<Store>,
    others: Vec<OwnedFd>,
    /// The other end of the socket that CONFIG_CHANGE goes to.
    _channel: UnixStream,
    found: Vec<u8>,
}

fn memfd(bytes: &[u8]) -> File {
    let file = rustix::fs::memfd_create("fuzz-pool", MemfdFlags::CLOEXEC).unwrap();
    let file = File::from(file);
    file.write_all_at(bytes, 0).unwrap();
    file
}

/// Memory with three rings, in which requests wait.
fn guest() -> Vec<u8> {
    let mut bytes = vec![0; FILE_BYTES[0] as usize];
    let mut put = |at: u64, what: &[u8]| bytes[at as usize..][..what.len()].copy_from_slice(what);
    for ring in 0..RINGS {
        let place = place(ring);
        let header = place.desc + HEADERS;
        // IN, OUT, FLUSH, GET_ID and something unknown; header, data, status.
        for (number, kind) in [0_u32, 1, 4, 8, 77].into_iter().enumerate() {
            let at = header + number as u64 * 16;
            put(at, &kind.to_le_bytes());
            put(at + 8, &(ring * 8).to_le_bytes());
            let first = number as u16 * 3;
            let data = DATA + (ring * 8 + number as u64) * 0x200;
            let write = if kind == 1 { 0 } else { 2 };
            let chain = [
                (at, 16_u32, 1_u16, first + 1),
                (data, 512, 1 | write, first + 2),
                (header + 0x800 + number as u64, 1, 2, 0),
            ];
            for (index, (addr, len, flags, next)) in chain.into_iter().enumerate() {
                let at = place.desc + (u64::from(first) + index as u64) * 16;
                put(at, &addr.to_le_bytes());
                put(at + 8, &len.to_le_bytes());
                put(at + 12, &flags.to_le_bytes());
                put(at + 14, &next.to_le_bytes());
            }
            put(place.avail + 4 + number as u64 * 2, &first.to_le_bytes());
        }
        put(place.avail + 2, &REQUESTS.to_le_bytes());
    }
    bytes
}

impl Pool {
    pub(crate) fn new() -> Self {
        let files = FILE_BYTES.into_iter().enumerate().map(|(number, len)| {
            let begin = match number {
                0 => guest(),
                _ => vec![number as u8 * 3; len as usize],
            };
            // The last one is for requests in flight, and is empty at first.
            let begin = if number == 3 {
                vec![0; begin.len()]
            } else {
                begin
            };
            let file = memfd(&begin);
            Store { file, begin }
        });
        let (channel, other) = UnixStream::pair().unwrap();
        Self {
            files: files.collect(),
            others: others(other),
            _channel: channel,
            found: Vec::new(),
        }
    }

    /// The descriptor of a number: first the files, then the others.
    pub(crate) fn fd(&self, number: u8) -> BorrowedFd<'_> {
        let number = usize::from(number) % (self.files.len() + self.others.len());
        match number.checked_sub(self.files.len()) {
            None => self.files[number].file.as_fd(),
            Some(number) => self.others[number].as_fd(),
        }
    }

    /// Which file a number stands for.
    pub(crate) fn file(&self, number: u8) -> Option<usize> {
        let number = usize::from(number) % (self.files.len() + self.others.len());
        (number < self.files.len()).then_some(number)
    }

    pub(crate) fn kick(&self, number: u8) {
        let _ = rustix::io::write(self.fd(KICK + number % 4), &1_u64.to_ne_bytes());
    }

    /// The front end writes to one of its files.
    pub(crate) fn poke(&self, file: u8, at: u64, bytes: &[u8]) {
        let store = &self.files[usize::from(file) % self.files.len()];
        let room = (store.begin.len() as u64).saturating_sub(at) as usize;
        let _ = store.file.write_at(&bytes[..bytes.len().min(room)], at);
    }

    /// A number in the first file.
    pub(crate) fn peek_u16(&self, at: u64) -> Option<u16> {
        let mut bytes = [0; 2];
        self.files[0].file.read_exact_at(&mut bytes, at).ok()?;
        Some(u16::from_le_bytes(bytes))
    }

    /// The front end takes pages of a file away.
    pub(crate) fn truncate(&self, file: u8, len: u64) {
        let store = &self.files[usize::from(file) % self.files.len()];
        if len < store.file.metadata().unwrap().len() {
            store.file.set_len(len).unwrap();
        }
    }

    /// Restore the initial content: files were written only where `uses` says so.
    pub(crate) fn reset(&mut self, uses: &[Use]) {
        for (store, uses) in self.files.iter_mut().zip(uses) {
            let len = store.begin.len();
            let now = store.file.metadata().unwrap().len() as usize;
            self.found.resize(now, 0);
            store.file.read_exact_at(&mut self.found, 0).unwrap();
            if self.found == store.begin {
                continue;
            }
            if !uses.anyhow {
                for &(from, to) in &uses.ranges {
                    let (from, to) = (from.min(now as u64) as usize, to.min(now as u64) as usize);
                    self.found[from..to].copy_from_slice(&store.begin[from..to]);
                }
                let same = self.found == store.begin[..now];
                assert!(same, "bytes beside the regions of a file were changed");
            }
            store.file.set_len(len as u64).unwrap();
            store.file.write_all_at(&store.begin, 0).unwrap();
            store.file.rewind().unwrap();
        }
    }
}

/// How a session used a file.
#[derive(Debug, Default)]
pub(crate) struct Use {
    /// As memory: start and end.
    pub(crate) ranges: Vec<(u64, u64)>,
    /// As something that is written to as a whole, such as a call descriptor.
    pub(crate) anyhow: bool,
}

/// The number of the first eventfd.
pub(crate) const KICK: u8 = 4;
/// The number of the channel's socket.
pub(crate) const CHANNEL: u8 = 14;

fn others(channel: UnixStream) -> Vec<OwnedFd> {
    let event = |value, flags| rustix::event::eventfd(value, flags).unwrap();
    let nonblocking = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
    let mut list: Vec<OwnedFd> = (0..4).map(|_| event(0, nonblocking)).collect();
    // An eventfd that may block, and a full one, which would.
    list.push(event(0, EventfdFlags::CLOEXEC));
    let full = event(0, EventfdFlags::CLOEXEC);
    rustix::io::write(&full, &(u64::MAX - 1).to_ne_bytes()).unwrap();
    list.push(full);
    // A pipe at its end, one with a reader, one without.
    let (ended, writer) = std::io::pipe().unwrap();
    drop(writer);
    list.push(ended.into());
    let (reader, writer) = std::io::pipe().unwrap();
    list.push(writer.into());
    list.push(reader.into());
    let (gone, writer) = std::io::pipe().unwrap();
    drop(gone);
    list.push(writer.into());
    // Sockets: the channel's, one without a peer, one of another type.
    list.push(channel.into());
    let (lonely, gone) = UnixStream::pair().unwrap();
    drop(gone);
    list.push(lonely.into());
    list.push(UnixDatagram::unbound().unwrap().into());
    // Files that can't be mapped, or not for writing.
    let open = |path, flags| rustix::fs::open(path, flags, Mode::empty()).unwrap();
    list.push(open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC));
    list.push(open(
        "/",
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
    ));
    let exe = std::env::current_exe().unwrap();
    list.push(File::open(exe).unwrap().into());
    list
}
