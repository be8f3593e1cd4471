//! The cache of a disk that is in use.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::log::Log;
use super::remains::Remains;
use super::state::{Done, Folded, InTurn, Rule, State, hidden_fork};
use crate::crash::{Moment, Window, WriteKind};
use crate::store::{ByteRange, Disk, Error, Store};

/// How long an operation waits that can't be tried again later.
const WAITS: Duration = Duration::from_millis(100);

/// What is called with the disk's key when volatile writes become stable without a flush. It must
/// not call the cache.
pub(super) type Tell = Box<dyn Fn(&str, Folded) + Send + Sync>;

/// What a cache is made of.
pub struct CacheOptions {
    /// The store's key of the disk.
    pub disk_key: String,
    /// What the keys of its hidden disks begin with.
    pub prefix: String,
    /// The most bytes of memory for the log.
    pub log_limit_bytes: u64,
    /// Called with the lock released.
    pub tell: Tell,
}

/// The volatile write cache of a disk.
pub struct Cache {
    store: Arc<Store>,
    prefix: String,
    log_limit_bytes: AtomicU64,
    /// The number of the next remains.
    next: AtomicU64,
    state: Mutex<State>,
    /// Signalled when nothing is being done, and when what was held up may go on.
    changed: Condvar,
    tell: Tell,
}

/// How much is volatile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheFigures {
    /// Writes, discards and write-zeroes.
    pub writes: usize,
    /// Bytes of their ranges.
    pub bytes: u64,
    /// When writes are stable.
    pub rule: Rule,
    /// Memory of the log.
    pub log_bytes: u64,
    /// The most memory for the log.
    pub log_limit_bytes: u64,
    /// Why it doesn't know what is stable, if it doesn't.
    pub broken: Option<String>,
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache")
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

impl Cache {
    /// A cache of a disk, all of which is stable.
    ///
    /// # Errors
    /// [`Error::Unknown`], [`Error::TooManyDisks`], [`Error::is_out_of_memory`].
    pub fn new(store: &Arc<Store>, options: CacheOptions) -> Result<Self, Error> {
        let CacheOptions {
            disk_key,
            prefix,
            log_limit_bytes,
            tell,
        } = options;
        let (base_key, log_key) = (format!("{prefix}base"), format!("{prefix}log"));
        for key in [&base_key, &log_key] {
            // An earlier cache of the disk had them.
            drop(store.destroy(key));
        }
        let base = hidden_fork(store, &disk_key, &base_key)?;
        let log = store.create(&log_key, &Log::spec()).inspect_err(|_| {
            drop(store.destroy(&base_key));
        })?;
        let log = Log::new(log.into_never_waiting());
        Ok(Self {
            state: Mutex::new(State::new(store, &disk_key, (&base_key, base), log)),
            store: Arc::clone(store),
            prefix,
            log_limit_bytes: AtomicU64::new(log_limit_bytes),
            next: AtomicU64::new(1),
            changed: Condvar::new(),
            tell,
        })
    }

    /// Set the most bytes of memory for the log. A longer log is shortened at the next write.
    pub fn set_log_limit(&self, log_limit_bytes: u64) {
        self.log_limit_bytes
            .store(log_limit_bytes, Ordering::Relaxed);
    }

    /// How much is volatile now.
    pub fn figures(&self) -> CacheFigures {
        let state = self.state.lock();
        let window = state.ledger.window();
        let bytes = |at: usize| window.writes()[at].write.range.len_bytes();
        CacheFigures {
            writes: window.volatile().count(),
            bytes: window.volatile().map(bytes).sum(),
            rule: state.rule,
            log_bytes: state.log.used_bytes(),
            log_limit_bytes: self.log_limit_bytes.load(Ordering::Relaxed),
            broken: state.broken.clone(),
        }
    }

    /// From now on writes are stable by this rule.
    pub fn set_rule(&self, rule: Rule) {
        self.state.lock().set_rule(rule);
    }

    /// The store has the disk under another key. What is volatile stays so.
    pub fn renamed(&self, key: &str) {
        key.clone_into(&mut self.state.lock().disk_key);
    }

    /// Make all that a read sees stable. The owner has changed the disk, or wants to.
    pub fn stabilise(&self) {
        self.state.lock().renew();
    }

    /// The store's key of the hidden disk with what is stable.
    pub fn stable_key(&self) -> String {
        self.state.lock().stable_key().to_owned()
    }

    /// Tell the owner what was folded under this lock.
    fn release(&self, mut state: MutexGuard<'_, State>) {
        let folded = std::mem::take(&mut state.folded);
        if folded.is_empty() {
            return;
        }
        let key = state.disk_key.clone();
        drop(state);
        for folded in folded {
            (self.tell)(&key, folded);
        }
    }

    // Operations

    /// Begin an operation that changes the disk or flushes, unless operations are held up.
    /// `may_wait`: it can be tried again later.
    pub(in crate::device::block) fn enter(&self, may_wait: bool) -> Option<Entered<'_>> {
        let mut state = self.state.lock();
        let until = Instant::now() + WAITS;
        while state.frozen > 0 {
            if may_wait || state.is_cut {
                return None;
            }
            if self.changed.wait_until(&mut state, until).timed_out() {
                return None;
            }
        }
        state.entered += 1;
        Some(Entered(self))
    }

    fn leave(&self) {
        let mut state = self.state.lock();
        state.entered -= 1;
        if state.is_quiet() {
            self.changed.notify_all();
        }
        self.release(state);
    }

    // Turns

    /// The present moment.
    pub(in crate::device::block) fn moment(&self) -> Moment {
        self.state.lock().ledger.moment()
    }

    /// This thread begins a turn: what it does completes together.
    pub(in crate::device::block) fn begin_turn(&self) {
        let thread = thread::current().id();
        let turn = InTurn::default();
        self.state.lock().turns.insert(thread, turn);
    }

    /// What this thread does next was submitted at that moment.
    pub(in crate::device::block) fn serves(&self, submitted: Moment) {
        let mut state = self.state.lock();
        if let Some(turn) = state.turns.get_mut(&thread::current().id()) {
            turn.submitted = Some(submitted);
        }
    }

    /// All that this thread has done in its turn completes. `ends`: and so does the turn.
    pub(in crate::device::block) fn complete_turn(&self, ends: bool) {
        let thread = thread::current().id();
        let mut state = self.state.lock();
        let turn = state.turns.get_mut(&thread);
        let done = turn.map(|turn| std::mem::take(&mut turn.done));
        if ends {
            state.turns.remove(&thread);
        }
        if let Some(done) = done.filter(|done| !done.is_empty()) {
            state.complete(&done);
            if state.is_quiet() {
                self.changed.notify_all();
            }
        }
        self.release(state);
    }

    // Instants

    /// Hold up all operations from now on. `is_cut`: they will never be served.
    pub fn freeze(self: &Arc<Self>, is_cut: bool) -> Frozen {
        let mut state = self.state.lock();
        state.frozen += 1;
        state.is_cut |= is_cut;
        drop(state);
        Frozen {
            cache: Arc::clone(self),
            is_cut,
        }
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        for name in ["base", "log"] {
            drop(self.store.destroy(&format!("{}{name}", self.prefix)));
        }
    }
}

/// An operation that is being executed.
#[derive(Debug)]
pub(in crate::device::block) struct Entered<'c>(&'c Cache);

impl Entered<'_> {
    /// Change a range of the disk, as `act` does.
    pub(in crate::device::block) fn change(
        &self,
        disk: &Disk,
        kind: WriteKind,
        range: ByteRange,
        act: impl Fn() -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut state = self.0.state.lock();
        let submitted = state.submitted();
        let is_through = state.is_through(submitted);
        let submit = |state: &mut State| {
            let ledger = &mut state.ledger;
            ledger.submit_at(submitted, kind, range, is_through)
        };
        let mut number = submit(&mut state);
        let mut acted = act();
        if acted.as_ref().is_err_and(Error::is_out_of_memory) {
            // What only the base has of the old content may be what takes the memory. The ledger is
            // empty then, so this is submitted again.
            state.fold_all("memory was missing for a change");
            number = submit(&mut state);
            acted = act();
        }
        match &acted {
            Ok(()) => self.log(&mut state, disk, number, kind, range),
            // It may have been done in part.
            Err(error) if error.is_out_of_memory() => state.renew(),
            Err(_) => state.ledger.cancel(number),
        }
        self.0.release(state);
        acted
    }

    fn log(&self, state: &mut State, disk: &Disk, number: u64, kind: WriteKind, range: ByteRange) {
        let logged = match kind {
            WriteKind::Write => state.log.append(disk, number, range),
            WriteKind::Discard | WriteKind::Zeroes => {
                state.log.note(number);
                Ok(())
            }
        };
        if logged.is_err() || state.log.is_worn() {
            state.fold_all("there is no memory for the log");
        }
        state.ledger.applied(number);
        self.done(state, Done::Write(number));
        let most_bytes = self.0.log_limit_bytes.load(Ordering::Relaxed);
        if state.log.used_bytes() > most_bytes {
            state.shorten(most_bytes / 4 * 3);
        }
    }

    /// A flush is done.
    pub(in crate::device::block) fn flushed(&self) {
        let mut state = self.0.state.lock();
        let submitted = state.submitted();
        self.done(&mut state, Done::Flush(submitted));
        self.0.release(state);
    }

    /// It completes with the thread's turn, or now.
    fn done(&self, state: &mut State, done: Done) {
        match state.turns.get_mut(&thread::current().id()) {
            Some(turn) => turn.done.push(done),
            None => state.complete(&[done]),
        }
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// Operations are held up for as long as this lives.
#[derive(Debug)]
pub struct Frozen {
    cache: Arc<Cache>,
    is_cut: bool,
}

impl Frozen {
    /// Wait until nothing is being done. Returns whether that was before `until`.
    pub fn is_quiet_by(&self, until: Instant) -> bool {
        let mut state = self.cache.state.lock();
        while !state.is_quiet() {
            if self.cache.changed.wait_until(&mut state, until).timed_out() {
                return state.is_quiet();
            }
        }
        true
    }

    /// What a crash would decide about.
    pub fn window(&self) -> Window {
        self.cache.state.lock().ledger.window()
    }

    /// What is there now, for states that a crash may leave.
    ///
    /// # Errors
    /// [`Error::TooManyDisks`], [`Error::is_out_of_memory`]; [`Error::Unimplemented`] if the cache
    /// doesn't know what is stable, since the host had no memory.
    pub fn remains(&self) -> Result<Remains, Error> {
        let cache = &self.cache;
        let number = cache.next.fetch_add(1, Ordering::Relaxed);
        let state = cache.state.lock();
        if let Some(why) = &state.broken {
            return Err(Error::Unimplemented {
                what: format!("what is stable is not known ({why}); free memory and flush first"),
            });
        }
        let prefix = &cache.prefix;
        let from = (format!("{prefix}base"), format!("{prefix}log"));
        let to = (
            format!("{prefix}cut{number}"),
            format!("{prefix}cutlog{number}"),
        );
        let (window, places) = (state.ledger.window(), state.log.places());
        Remains::new(&cache.store, (&from.0, &from.1), to, window, places)
    }

    /// All that a read sees is stable from now on, and the power is on.
    pub fn stabilise(&self) {
        self.cache.stabilise();
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let mut state = self.cache.state.lock();
        state.frozen -= 1;
        if self.is_cut {
            state.is_cut = false;
        }
        self.cache.changed.notify_all();
    }
}
