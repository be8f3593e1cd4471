//! The two third-party drivers behind one trait, and the program that they drive.

use std::fs::{File, read_to_string};
use std::iter;
use std::ops::Range;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use blkio::{Blkio, Blkioq, ReqFlags};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tempfile::TempDir;
use virtio_driver::{
    EventFd, QueueNotifier, VhostUser, VirtioBlkConfig, VirtioBlkFeatureFlags, VirtioBlkQueue,
    VirtioBlkReqBuf, VirtioFeatureFlags, VirtioTransport,
};

use super::memory::{self, Shared};

/// How long a completion may take before the test has failed.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// Bytes of a front end's buffers.
pub(super) const BUFFERS: usize = 8 << 20;

/// A running `ramblk run --size 64M` in a directory of its own, killed when dropped.
pub(super) struct Ramblk {
    child: Child,
    folder: TempDir,
    read_only: bool,
}

impl Ramblk {
    pub(super) fn run(more: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_ramblk"))
            .args(["run", "--size", "64M", "--socket-path"])
            .arg(folder.path().join("socket"))
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(folder.path().join("stderr")).unwrap())
            .spawn()
            .unwrap();
        let mut ramblk = Self {
            child,
            folder,
            read_only: more.contains(&"--read-only"),
        };
        let deadline = Instant::now() + PATIENCE;
        // A front end that connects and leaves silently doesn't harm the next one.
        while UnixStream::connect(ramblk.socket()).is_err() {
            ramblk.assert_alive();
            assert!(Instant::now() < deadline, "ramblk does not listen");
            thread::sleep(Duration::from_millis(5));
        }
        ramblk
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    fn assert_alive(&mut self) {
        let ended = self.child.try_wait().unwrap();
        let stderr = read_to_string(self.folder.path().join("stderr")).unwrap();
        assert!(ended.is_none(), "ramblk ended with {ended:?}: {stderr}");
        assert!(!stderr.contains("panicked"), "{stderr}");
    }
}

impl Drop for Ramblk {
    fn drop(&mut self) {
        if !thread::panicking() {
            self.assert_alive();
        }
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A list of one buffer.
pub(super) fn one_piece(at: usize, len: usize) -> Vec<Range<usize>> {
    iter::once(at..at + len).collect()
}

/// A request; buffers are ranges of the front end's memory.
#[derive(Clone, Debug)]
pub(super) enum Ask {
    Read(u64, Vec<Range<usize>>),
    Write(u64, Vec<Range<usize>>),
    Flush,
    Discard(u64, u64),
    Zeroes { at: u64, len: u64, unmap: bool },
}

/// One queue of either crate.
pub(super) trait Queue: Send {
    /// Queue a request, which may wait for the next call of `wait`.
    fn send(&mut self, memory: &Shared, ask: &Ask, tag: usize);

    /// Submit all, and wait for at least `least` completions: tag and result of each.
    fn wait(&mut self, least: usize) -> Vec<(usize, i32)>;
}

/// Shares memory with the back end.
pub(super) trait Device {
    fn map(&mut self, memory: &Shared);
    fn unmap(&mut self, memory: &Shared);
}

struct DriverQueue {
    queue: VirtioBlkQueue<'static, usize>,
    kick: Box<dyn QueueNotifier>,
    call: Arc<EventFd>,
    event_idx: bool,
}

impl Queue for DriverQueue {
    fn send(&mut self, memory: &Shared, ask: &Ask, tag: usize) {
        let queue = &mut self.queue;
        match ask {
            Ask::Read(at, pieces) => memory::read(queue, *at, (memory, pieces), tag),
            Ask::Write(at, pieces) => memory::write(queue, *at, (memory, pieces), tag),
            Ask::Flush => queue.flush(tag),
            Ask::Discard(at, len) => queue.discard(*at, *len, tag),
            Ask::Zeroes { at, len, unmap } => queue.write_zeroes(*at, *len, *unmap, tag),
        }
        .expect("room in the ring");
    }

    fn wait(&mut self, least: usize) -> Vec<(usize, i32)> {
        // Without EVENT_IDX the crate reads the device's flag without a fence after it published
        // its requests. A kick may be left out only where that can't lose one.
        if self.queue.avail_notif_needed() || !self.event_idx {
            self.kick.notify().unwrap();
        }
        let mut done = Vec::new();
        loop {
            done.extend(self.queue.completions().map(|c| (c.context, c.ret)));
            if done.len() >= least {
                return done;
            }
            await_call(&self.call);
        }
    }
}

/// Read the eventfd, but don't hang without a call.
pub(super) fn await_call(call: &EventFd) {
    let patience = Timespec::try_from(PATIENCE).unwrap();
    let mut fds = [PollFd::new(call, PollFlags::IN)];
    assert_eq!(poll(&mut fds, Some(&patience)), Ok(1), "no call came");
    call.read().unwrap();
}

impl Device for VhostUser<VirtioBlkConfig, VirtioBlkReqBuf> {
    fn map(&mut self, memory: &Shared) {
        let it = memory.region();
        self.map_mem_region(it.addr, it.len, it.fd, it.fd_offset)
            .unwrap();
    }

    fn unmap(&mut self, memory: &Shared) {
        let it = memory.region();
        self.unmap_mem_region(it.addr, it.len).unwrap();
    }
}

struct BlkioQueue {
    queue: Blkioq,
    /// Flags of requests that change the disk; with FUA the crate sends a flush after each.
    flags: ReqFlags,
}

impl Queue for BlkioQueue {
    fn send(&mut self, memory: &Shared, ask: &Ask, tag: usize) {
        let (queue, none) = (&mut self.queue, ReqFlags::empty());
        // The crate may look at a list of buffers until the request is done: such lists are leaked.
        let list = |pieces: &[Range<usize>]| -> (&'static [libc::iovec], u32) {
            let iovecs = Box::leak(memory.iovecs(pieces));
            (iovecs, iovecs.len().try_into().unwrap())
        };
        match ask {
            Ask::Read(at, pieces) if pieces.len() == 1 => {
                let buffer = memory.iovecs(pieces)[0];
                queue.read(*at, buffer.iov_base.cast(), buffer.iov_len, tag, none);
            }
            Ask::Read(at, pieces) => {
                let (iovecs, count) = list(pieces);
                queue.readv(*at, iovecs.as_ptr(), count, tag, none);
            }
            Ask::Write(at, pieces) if pieces.len() == 1 => {
                let buffer = memory.iovecs(pieces)[0];
                let bytes = buffer.iov_base.cast_const().cast();
                queue.write(*at, bytes, buffer.iov_len, tag, self.flags);
            }
            Ask::Write(at, pieces) => {
                let (iovecs, count) = list(pieces);
                queue.writev(*at, iovecs.as_ptr(), count, tag, self.flags);
            }
            Ask::Flush => queue.flush(tag, none),
            Ask::Discard(at, len) => queue.discard(*at, *len, tag, none),
            Ask::Zeroes { at, len, unmap } => {
                let keep = if *unmap { none } else { ReqFlags::NO_UNMAP };
                queue.write_zeroes(*at, *len, tag, self.flags | keep);
            }
        }
    }

    fn wait(&mut self, least: usize) -> Vec<(usize, i32)> {
        memory::complete(&mut self.queue, least, PATIENCE).unwrap()
    }
}

impl Device for Blkio {
    fn map(&mut self, memory: &Shared) {
        self.map_mem_region(&memory.region()).unwrap();
    }

    fn unmap(&mut self, memory: &Shared) {
        self.unmap_mem_region(&memory.region());
    }
}

/// The driver, and how it learns of completions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// virtio-driver with EVENT_IDX.
    EventIdx,
    /// virtio-driver with the flags of the rings.
    Flags,
    /// blkio, woken by eventfds.
    Blkio,
    /// blkio, which polls the ring and wants no calls; all its writes are FUA.
    BlkioPolling,
}

pub(super) const KINDS: [Kind; 4] = [Kind::EventIdx, Kind::Flags, Kind::Blkio, Kind::BlkioPolling];

/// A driver at work, with memory for its buffers.
pub(super) struct Front {
    // Queues point into memory of the device, so they are dropped first.
    pub(super) queues: Vec<Box<dyn Queue>>,
    pub(super) memory: Shared,
    pub(super) device: Box<dyn Device>,
}

/// virtio-driver's connection to ramblk, with all block features that it knows.
pub(super) fn transport(
    ramblk: &Ramblk,
    more: VirtioFeatureFlags,
) -> VhostUser<VirtioBlkConfig, VirtioBlkReqBuf> {
    let features = VirtioFeatureFlags::VERSION_1 | more;
    let features = features.bits() | VirtioBlkFeatureFlags::all().bits();
    VhostUser::new(ramblk.socket().to_str().unwrap(), features).unwrap()
}

/// blkio, connected but not started.
pub(super) fn connected_blkio(ramblk: &Ramblk) -> Blkio {
    let mut blkio = Blkio::new("virtio-blk-vhost-user").unwrap();
    let path = ramblk.socket();
    blkio.set_str("path", path.to_str().unwrap()).unwrap();
    blkio.set_bool("read-only", ramblk.read_only).unwrap();
    blkio.connect().unwrap();
    blkio
}

impl Front {
    pub(super) fn new(kind: Kind, ramblk: &Ramblk, queues: u16, ring: u16) -> Self {
        let memory = Shared::new(BUFFERS, 0);
        let (queues, mut device) = match kind {
            Kind::EventIdx => Self::virtio_driver(true, ramblk, queues, ring),
            Kind::Flags => Self::virtio_driver(false, ramblk, queues, ring),
            Kind::Blkio => Self::blkio(false, ramblk, queues, ring),
            Kind::BlkioPolling => Self::blkio(true, ramblk, queues, ring),
        };
        device.map(&memory);
        Self {
            queues,
            memory,
            device,
        }
    }

    fn virtio_driver(
        event_idx: bool,
        ramblk: &Ramblk,
        queues: u16,
        ring: u16,
    ) -> (Vec<Box<dyn Queue>>, Box<dyn Device>) {
        let flag = VirtioFeatureFlags::RING_EVENT_IDX;
        let more = if event_idx {
            flag
        } else {
            VirtioFeatureFlags::empty()
        };
        let mut transport = transport(ramblk, more);
        assert_eq!(transport.get_features() & flag.bits() != 0, event_idx);
        let queues = VirtioBlkQueue::setup_queues(&mut transport, queues.into(), ring).unwrap();
        let queue = |(at, mut queue): (usize, VirtioBlkQueue<'static, usize>)| {
            queue.set_used_notif_enabled(true);
            Box::new(DriverQueue {
                queue,
                kick: transport.get_submission_notifier(at),
                call: transport.get_completion_fd(at),
                event_idx,
            }) as Box<dyn Queue>
        };
        let queues = queues.into_iter().enumerate().map(queue).collect();
        (queues, Box::new(transport))
    }

    fn blkio(
        polling: bool,
        ramblk: &Ramblk,
        queues: u16,
        ring: u16,
    ) -> (Vec<Box<dyn Queue>>, Box<dyn Device>) {
        let mut blkio = connected_blkio(ramblk);
        let (woken, polled) = if polling { (0, queues) } else { (queues, 0) };
        blkio.set_i32("num-queues", woken.into()).unwrap();
        blkio.set_i32("num-poll-queues", polled.into()).unwrap();
        blkio.set_i32("queue-size", ring.into()).unwrap();
        let started = blkio.start().unwrap();
        let flags = if polling {
            ReqFlags::FUA
        } else {
            ReqFlags::empty()
        };
        let queues = started.queues.into_iter().chain(started.poll_queues);
        let queues = queues.map(|queue| Box::new(BlkioQueue { queue, flags }) as Box<dyn Queue>);
        (queues.collect(), Box::new(blkio))
    }

    /// Run one request alone in its queue, and return its result.
    pub(super) fn ask(&mut self, queue: usize, ask: &Ask) -> i32 {
        let tag = 1_000_000 + queue;
        self.queues[queue].send(&self.memory, ask, tag);
        let done = self.queues[queue].wait(1);
        assert_eq!((done.len(), done[0].0), (1, tag), "{ask:?}: {done:?}");
        done[0].1
    }

    /// Write through the first bytes of the buffers.
    pub(super) fn write(&mut self, queue: usize, at: u64, bytes: &[u8]) {
        let pieces = one_piece(0, bytes.len());
        self.memory.scatter(&pieces, bytes);
        assert_eq!(self.ask(queue, &Ask::Write(at, pieces)), 0);
    }

    /// Read through the first bytes of the buffers.
    pub(super) fn read(&mut self, queue: usize, at: u64, len: usize) -> Vec<u8> {
        let pieces = one_piece(0, len);
        // So that a read without effect is noticed.
        self.memory.scatter(&pieces, &vec![0xA5; len]);
        assert_eq!(self.ask(queue, &Ask::Read(at, pieces.clone())), 0);
        self.memory.gather(&pieces)
    }
}
