//! What is counted: a driver's requests, and the turns in which a worker serves them.

use std::fs::File;
use std::num::NonZeroU16;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use ramblk::device::{BlockDevice, Serial};
use ramblk::store::{DiskSpec, SectorSize, Store};
use ramblk::vhost_user::fuzz::{Memory, Region, Setup, Turns};
use rustix::event::EventfdFlags;
use rustix::fs::MemfdFlags;

use super::Failure;

/// A kind of request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    op: Op,
    indirect: bool,
    batch: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Read,
    Write,
    Flush,
}

/// The number of requests per kind.
const REQUESTS: u16 = 1024;

const fn kind(name: &'static str, op: Op, indirect: bool, batch: u16) -> Kind {
    Kind {
        name,
        op,
        indirect,
        batch,
    }
}

pub(crate) const KINDS: [Kind; 8] = [
    kind("read-4k/1", Op::Read, false, 1),
    kind("read-4k/32", Op::Read, false, 32),
    kind("write-4k/1", Op::Write, false, 1),
    kind("write-4k/32", Op::Write, false, 32),
    kind("read-4k-indirect/1", Op::Read, true, 1),
    kind("read-4k-indirect/32", Op::Read, true, 32),
    kind("flush/1", Op::Flush, false, 1),
    // After twice as many, a turn reads the clock, which runs fast under valgrind.
    kind("flush/8", Op::Flush, false, 8),
];

impl Kind {
    pub(crate) fn requests(&self) -> u64 {
        REQUESTS.into()
    }
}

/// The names by which valgrind finds the two functions.
pub(crate) const COUNTED: &str = "counted_turn";
pub(crate) const KIND_ENDS: &str = "end_of_kind";

/// Addresses in the guest's memory, which is one file.
const AVAIL: u64 = 0x2000;
const USED: u64 = 0x3000;
const HEADERS: u64 = 0x1_0000;
const STATUS: u64 = 0x1_8000;
const TABLES: u64 = 0x2_0000;
const DATA: u64 = 0x10_0000;
const MEMORY_BYTES: u64 = 0x30_0000;
const ENTRIES: u16 = 256;
const PAGE_BYTES: u64 = 4096;
const DISK_BYTES: u64 = 16 << 20;

const F_NEXT: u16 = 1;
const F_WRITE: u16 = 2;
const F_INDIRECT: u16 = 4;

/// EVENT_IDX, INDIRECT_DESC, FLUSH, VERSION_1: the relevant features of a Linux guest.
const ACKED: u64 = 1 << 29 | 1 << 28 | 1 << 9 | 1 << 32;

/// A ring with its driver's side.
struct Rig {
    file: File,
    turns: Turns,
    _store: Store,
    /// The avail index.
    index: u16,
}

/// Run all kinds, each in a new ring, so that earlier ones don't matter.
pub(crate) fn run() -> Result<(), Failure> {
    for kind in &KINDS {
        let mut rig = Rig::new()?;
        for first in (0..REQUESTS).step_by(kind.batch.into()) {
            rig.submit(kind, first)?;
            let done = counted_turn(&mut rig.turns)?;
            if done != u32::from(kind.batch) {
                return Err(format!("{}: {done} of {} served", kind.name, kind.batch).into());
            }
            rig.check(kind)?;
        }
        end_of_kind();
    }
    Ok(())
}

/// What a worker does from the driver's kick until it sleeps again, without system calls.
#[inline(never)]
fn counted_turn(turns: &mut Turns) -> Result<u32, String> {
    let done = turns.turn()?;
    std::hint::black_box(turns.listen()?);
    Ok(done)
}

/// The profile is written after this.
#[inline(never)]
fn end_of_kind() {
    std::hint::black_box(());
}

impl Rig {
    fn new() -> Result<Self, Failure> {
        let file = File::from(rustix::fs::memfd_create("guest", MemfdFlags::CLOEXEC)?);
        file.set_len(MEMORY_BYTES)?;
        let region = Region {
            guest: 0,
            size_bytes: MEMORY_BYTES,
            user: 0,
            file_offset: 0,
        };
        let memory = Memory::new([(region, file.try_clone()?)])?;
        let setup = Setup {
            size: ENTRIES.into(),
            desc: 0,
            avail: AVAIL,
            used: USED,
            event_idx: true,
        };
        let store = Store::new(4 * DISK_BYTES)?;
        let disk = store.create("disk", &DiskSpec::new(SectorSize::S512, DISK_BYTES))?;
        let sectors = PAGE_BYTES / 512;
        for page in 0..DISK_BYTES / PAGE_BYTES {
            disk.write(page * sectors, &[&[0x5a; PAGE_BYTES as usize]])?;
        }
        let device = BlockDevice::new(disk, Serial::new("counted")?, NonZeroU16::MIN);
        let device = Arc::new(device);
        let call = rustix::event::eventfd(0, EventfdFlags::CLOEXEC)?;
        Ok(Self {
            turns: Turns::new(&memory, setup, device, ACKED, call.into())?,
            file,
            _store: store,
            index: 0,
        })
    }

    fn descriptor(&self, at: u64, address: u64, len: u32, flags: u16, next: u16) -> Put {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&address.to_le_bytes());
        bytes[8..12].copy_from_slice(&len.to_le_bytes());
        bytes[12..14].copy_from_slice(&flags.to_le_bytes());
        bytes[14..].copy_from_slice(&next.to_le_bytes());
        self.file.write_all_at(&bytes, at)
    }

    /// Put a batch into the avail ring, as requests `first` and following.
    fn submit(&mut self, kind: &Kind, first: u16) -> Result<(), Failure> {
        for slot in 0..kind.batch {
            let head = slot * 4;
            let nth = u64::from(slot);
            // Far apart, so that the last request left no tree or table in the caches.
            let page = u64::from(first + slot) * 389 % (DISK_BYTES / PAGE_BYTES);
            let (number, data_flags) = match kind.op {
                Op::Read => (0_u32, F_WRITE),
                Op::Write => (1, 0),
                Op::Flush => (4, 0),
            };
            let sector = if kind.op == Op::Flush { 0 } else { page * 8 };
            let mut header = [0; 16];
            header[..4].copy_from_slice(&number.to_le_bytes());
            header[8..].copy_from_slice(&sector.to_le_bytes());
            let header_at = HEADERS + nth * 16;
            self.file.write_all_at(&header, header_at)?;
            self.file.write_all_at(&[0xee], STATUS + nth)?;
            let table = if kind.indirect {
                TABLES + nth * 64
            } else {
                u64::from(head) * 16
            };
            let base = if kind.indirect { 0 } else { head };
            let data = kind.op != Op::Flush;
            self.descriptor(table, header_at, 16, F_NEXT, base + 1)?;
            if data {
                let (at, flags) = (DATA + nth * PAGE_BYTES, F_NEXT | data_flags);
                self.descriptor(table + 16, at, 4096, flags, base + 2)?;
            }
            let last = if data { 2 } else { 1 };
            self.descriptor(table + last * 16, STATUS + nth, 1, F_WRITE, 0)?;
            if kind.indirect {
                let len = (last as u32 + 1) * 16;
                self.descriptor(u64::from(head) * 16, table, len, F_INDIRECT, 0)?;
            }
            let place = self.index.wrapping_add(slot) % ENTRIES;
            let at = AVAIL + 4 + u64::from(place) * 2;
            self.file.write_all_at(&head.to_le_bytes(), at)?;
        }
        self.index = self.index.wrapping_add(kind.batch);
        // The last request of the batch wants a call.
        let wanted = self.index.wrapping_sub(1).to_le_bytes();
        let event = AVAIL + 4 + u64::from(ENTRIES) * 2;
        self.file.write_all_at(&wanted, event)?;
        self.file
            .write_all_at(&self.index.to_le_bytes(), AVAIL + 2)?;
        Ok(())
    }

    /// All requests of the batch succeeded.
    fn check(&self, kind: &Kind) -> Result<(), Failure> {
        let mut statuses = vec![0; kind.batch.into()];
        self.file.read_exact_at(&mut statuses, STATUS)?;
        let mut used = [0; 2];
        self.file.read_exact_at(&mut used, USED + 2)?;
        if statuses.iter().any(|&status| status != 0) || u16::from_le_bytes(used) != self.index {
            return Err(format!("{}: a request failed: {statuses:?}", kind.name).into());
        }
        Ok(())
    }
}

type Put = std::io::Result<()>;
