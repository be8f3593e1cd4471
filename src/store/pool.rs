//! Where 4 KiB pages come from and go back to, and the limit on all of them together.
//!
//! One stretch of address space is reserved at the start; the host gives memory for a page when it
//! is first touched. A freed page goes to a list of *dirty* pages, which are used again first. What
//! is still there after [`RECLAIM_AFTER`] is given back to the host by a thread of its own
//! (`MADV_DONTNEED`, runs of neighbours at once), so a discard costs its caller no system call.
//!
//! Invariants: a [`Page`] is the only name of its 4 KiB and can't be copied, so whoever holds
//! `&Page` knows that it isn't freed; freeing consumes it. Charged bytes never exceed the limit:
//! they are reserved before a page is taken. Fresh and punched pages are zero, dirty ones are not,
//! so whoever maps part of a page zeroes the rest ([`PagePool::zero`]).
#![allow(unsafe_code)]

use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rustix::mm::{Advice, MapFlags, ProtFlags};

use super::Error;
use super::buf::{self, Piece, Sink, Source};

/// Bytes in a page.
#[allow(clippy::cast_possible_truncation, reason = "4096")]
pub(super) const PAGE_BYTES: usize = super::PAGE_BYTES as usize;

/// How long a freed page waits for a new use before its memory goes back to the host.
const RECLAIM_AFTER: Duration = Duration::from_millis(250);

/// How many pages the reclaimer takes out of circulation at once.
const RECLAIM_BATCH: usize = 64 << 10;

/// A page in use: its index in the pool.
#[derive(Debug)]
pub(super) struct Page(u32);

/// Pages under one memory limit.
#[derive(Debug)]
pub(super) struct PagePool {
    base: NonNull<u8>,
    reserved_bytes: usize,
    limit_bytes: u64,
    charged_bytes: AtomicU64,
    free: Mutex<FreePages>,
    dirty_added: Condvar,
}

#[derive(Debug, Default)]
struct FreePages {
    /// Never touched from here on.
    next_fresh: u32,
    /// Given back to the host: zero when touched.
    clean: Vec<u32>,
    /// Still backed, with old bytes.
    dirty: Vec<u32>,
    /// When the oldest dirty page was freed.
    dirty_since: Option<Instant>,
    /// The owner is going: the reclaimer ends.
    closing: bool,
}

// SAFETY: `base` is only an address; all state behind it is handed out page by page under `free`,
// and page bytes are only touched through `buf::copy` and `buf::zero`, which allow races.
unsafe impl Send for PagePool {}
// SAFETY: as above.
unsafe impl Sync for PagePool {}

impl PagePool {
    /// A pool that never has more than `limit_bytes` charged.
    ///
    /// # Errors
    /// [`Error::Reserve`] if the address space can't be had.
    pub(super) fn new(limit_bytes: u64) -> Result<Self, Error> {
        // Twice the limit, since pages on their way back to the host are out of circulation.
        let bytes = limit_bytes
            .saturating_mul(2)
            .next_multiple_of(PAGE_BYTES as u64)
            .clamp(PAGE_BYTES as u64, u64::from(u32::MAX) * PAGE_BYTES as u64);
        let refused = |source| Error::Reserve { bytes, source };
        let reserved_bytes =
            usize::try_from(bytes).map_err(|_| refused(std::io::ErrorKind::OutOfMemory.into()))?;
        // SAFETY: a new private mapping at an address the kernel chooses touches nothing that
        // exists.
        let base = unsafe {
            rustix::mm::mmap_anonymous(
                ptr::null_mut(),
                reserved_bytes,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE | MapFlags::NORESERVE,
            )
        }
        .map_err(|errno| refused(errno.into()))?;
        // Disk contents are the tenants' and have no place in a core dump. Refusal changes nothing
        // else. SAFETY: the range is the mapping made above.
        let _ = unsafe { rustix::mm::madvise(base, reserved_bytes, Advice::LinuxDontDump) };
        let base = NonNull::new(base.cast())
            .ok_or_else(|| refused(std::io::ErrorKind::OutOfMemory.into()))?;
        Ok(Self {
            base,
            reserved_bytes,
            limit_bytes,
            charged_bytes: AtomicU64::new(0),
            free: Mutex::default(),
            dirty_added: Condvar::new(),
        })
    }

    /// The limit on charged bytes.
    pub(super) fn limit_bytes(&self) -> u64 {
        self.limit_bytes
    }

    /// Bytes of pages and tables in use.
    pub(super) fn charged_bytes(&self) -> u64 {
        self.charged_bytes.load(Ordering::Relaxed)
    }

    /// Reserve `bytes` of the budget.
    ///
    /// # Errors
    /// [`Error::Full`] if they are not to be had; nothing is reserved then.
    pub(super) fn charge(&self, bytes: usize) -> Result<(), Error> {
        let limit_bytes = self.limit_bytes;
        self.charged_bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |charged| {
                charged
                    .checked_add(bytes as u64)
                    .filter(|&sum| sum <= limit_bytes)
            })
            .map(|_| ())
            .map_err(|_| Error::Full { limit_bytes })
    }

    /// Reserve `bytes` even beyond the limit: only for what the operator's own command needs.
    pub(super) fn charge_beyond(&self, bytes: usize) {
        self.charged_bytes
            .fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Give `bytes` back to the budget.
    pub(super) fn uncharge(&self, bytes: usize) {
        self.charged_bytes
            .fetch_sub(bytes as u64, Ordering::Relaxed);
    }

    /// Take a page, charged. Its bytes are whatever the last user left.
    ///
    /// # Errors
    /// [`Error::Full`].
    pub(super) fn take(&self) -> Result<Page, Error> {
        self.charge(PAGE_BYTES)?;
        let mut free = self.free.lock();
        if let Some(index) = free.dirty.pop().or_else(|| free.clean.pop()) {
            return Ok(Page(index));
        }
        let index = free.next_fresh;
        if index as usize >= self.reserved_bytes / PAGE_BYTES {
            // Only where the limit itself exceeds what a page number can name (16 TiB).
            drop(free);
            self.uncharge(PAGE_BYTES);
            return Err(Error::Full {
                limit_bytes: self.limit_bytes,
            });
        }
        free.next_fresh += 1;
        Ok(Page(index))
    }

    /// Free pages, under one lock.
    pub(super) fn give_back(&self, pages: impl Iterator<Item = Page>) {
        let mut free = self.free.lock();
        let before = free.dirty.len();
        free.dirty.extend(pages.map(|page| page.0));
        let freed = free.dirty.len() - before;
        if freed > 0 && free.dirty_since.is_none() {
            free.dirty_since = Some(Instant::now());
            self.dirty_added.notify_one();
        }
        drop(free);
        self.uncharge(freed * PAGE_BYTES);
    }

    /// Copy `from` into the page at `offset`; what does not fit is left out.
    pub(super) fn copy_in(&self, page: &Page, offset: usize, from: Source<'_>) {
        let len = from.len().min(PAGE_BYTES.saturating_sub(offset));
        // SAFETY: the page is in use, so mapped and ours, and `offset + len` lies inside it; `from`
        // is readable by its own contract. No references to page bytes are ever made.
        unsafe { buf::copy(self.at(page, offset), from.as_ptr(), len) };
    }

    /// Copy the page's bytes from `offset` into `to`; what lies beyond the page is left alone.
    pub(super) fn copy_out(&self, page: &Page, offset: usize, to: Sink<'_>) {
        let len = to.len().min(PAGE_BYTES.saturating_sub(offset));
        // SAFETY: as in `copy_in`, the other way round.
        unsafe { buf::copy(to.as_ptr(), self.at(page, offset), len) };
    }

    /// Zero `len` bytes of the page from `offset`, no further than its end.
    pub(super) fn zero(&self, page: &Page, offset: usize, len: usize) {
        let len = len.min(PAGE_BYTES.saturating_sub(offset));
        // SAFETY: as in `copy_in`.
        unsafe { buf::zero(self.at(page, offset), len) };
    }

    fn at(&self, page: &Page, offset: usize) -> *mut u8 {
        self.base
            .as_ptr()
            .wrapping_add(page.0 as usize * PAGE_BYTES + offset.min(PAGE_BYTES))
    }

    /// Wait for dirty pages to grow old and give them back, until [`PagePool::close`].
    fn reclaim(&self) {
        loop {
            let mut batch = {
                let mut free = self.free.lock();
                loop {
                    if free.closing {
                        return;
                    }
                    match free.dirty_since.map(|since| since + RECLAIM_AFTER) {
                        None => self.dirty_added.wait(&mut free),
                        Some(due) if Instant::now() < due => {
                            self.dirty_added.wait_until(&mut free, due);
                        }
                        Some(_) => break,
                    }
                }
                let keep = free.dirty.len().saturating_sub(RECLAIM_BATCH);
                let batch = free.dirty.split_off(keep);
                if keep == 0 {
                    free.dirty_since = None;
                }
                batch
            };
            batch.sort_unstable();
            for run in batch.chunk_by(|a, b| a + 1 == *b) {
                self.punch(run);
            }
            self.free.lock().clean.append(&mut batch);
        }
    }

    /// Give the memory of a run of neighbouring free pages back to the host.
    fn punch(&self, run: &[u32]) {
        let Some(&first) = run.first() else { return };
        let start = self.base.as_ptr().wrapping_add(first as usize * PAGE_BYTES);
        // SAFETY: the pages of the run are free and out of every list, so nobody reads or writes
        // them; they lie inside the reservation. A refusal only leaves them backed.
        let _ = unsafe {
            rustix::mm::madvise(start.cast(), run.len() * PAGE_BYTES, Advice::LinuxDontNeed)
        };
    }

    fn close(&self) {
        self.free.lock().closing = true;
        self.dirty_added.notify_all();
    }
}

impl Drop for PagePool {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and with the last owner gone no page of it is in use.
        let _ = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.reserved_bytes) };
    }
}

/// The thread that gives memory back; dropping it ends the thread.
#[derive(Debug)]
pub(super) struct Reclaimer {
    pool: Arc<PagePool>,
    thread: Option<JoinHandle<()>>,
}

impl Reclaimer {
    /// Start it.
    ///
    /// # Errors
    /// [`Error::Reserve`] if the system gives no thread.
    pub(super) fn start(pool: Arc<PagePool>) -> Result<Self, Error> {
        let worker = Arc::clone(&pool);
        let thread = std::thread::Builder::new()
            .name("ramblk-reclaim".into())
            .spawn(move || worker.reclaim())
            .map_err(|source| Error::Reserve { bytes: 0, source })?;
        Ok(Self {
            pool,
            thread: Some(thread),
        })
    }
}

impl Drop for Reclaimer {
    fn drop(&mut self) {
        self.pool.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
