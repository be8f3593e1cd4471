//! The recording of a disk: a log of everything that changes it.
//!
//! The log is a hidden disk of the store (`@record.ID`) with the bytes of the file that an export
//! writes, so its memory is charged to the pool, is bounded by its quota, and outlives the process.
//! The superblock counts an entry after it is there: a process that is killed leaves a whole log.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::crash::log::{
    Log, MOST_MARK_BYTES, NEVER, OWN_SECTOR_BYTES, OwnSector, Request, Totals, What, header,
};
use crate::daemon::disks::events::Events;
use crate::daemon::disks::settings::golden::now_ns;
use crate::daemon::disks::settings::names::RECORD_PREFIX;
use crate::daemon::disks::settings::problems::internal;
use crate::device::Volume;
use crate::device::block::{Change, Submission, Tap};
use crate::model::{self, EventKind, Problem, RecordingState};
use crate::store::{ByteRange, Disk, Error, PAGE_BYTES};

/// What a guest's write begins with if it is a mark.
const MARK_MAGIC: &[u8] = b"ramblk-mark:";
/// The name of the snapshot with the content before the first request.
pub(crate) const BASE: &str = "recording";

/// The key of the log of the disk with this number.
pub(crate) fn log_key(id: u64) -> String {
    format!("{RECORD_PREFIX}{id}")
}

/// What the store keeps beside the log.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Kept {
    mark_sector: u64,
    /// Why it ended.
    ended: Option<String>,
    /// What it has, if another program may have written it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    imported: Option<Imported>,
}

/// What a log has that was imported.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Imported {
    length_bytes: u64,
    entries: u64,
    writes: u64,
    flushes: u64,
    marks: u64,
}

/// The recording of a disk.
#[derive(Debug)]
pub(crate) struct Recording {
    name: String,
    events: Arc<Events>,
    /// The device's volume, which must no longer know this when it has ended.
    volume: Weak<Volume>,
    log: Disk,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    kept: Kept,
    totals: Totals,
    clock: u64,
    /// Since when a write is stable as soon as it has completed, if it is.
    through_since: Option<u64>,
    /// Entries of requests that haven't completed, by the number of their submission, each with
    /// where its header is.
    open: HashMap<u64, Vec<(u64, Request)>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The base isn't there yet.
    Begins,
    Records,
    Ended,
}

impl Recording {
    /// A recording into the empty disk `log`, which doesn't record before [`Recording::begin`].
    pub(crate) fn new(
        name: &str,
        events: &Arc<Events>,
        volume: &Arc<Volume>,
        log: Disk,
        mark_sector: u64,
    ) -> Result<Self, Problem> {
        let kept = Kept {
            mark_sector,
            ended: None,
            imported: None,
        };
        let recording = Self {
            name: name.to_owned(),
            events: Arc::clone(events),
            volume: Arc::downgrade(volume),
            log: log.into_never_waiting(),
            state: Mutex::new(State {
                phase: Phase::Begins,
                kept: kept.clone(),
                totals: Totals::NONE,
                clock: 0,
                through_since: None,
                open: HashMap::new(),
            }),
        };
        recording.write(0, &Totals::NONE.superblock())?;
        recording.keep(&kept)?;
        Ok(recording)
    }

    /// The recording that an earlier process left in `log`, or that was imported. It has ended.
    pub(crate) fn found(name: &str, events: &Arc<Events>, log: Disk) -> Result<Self, Problem> {
        let mut kept: Kept = serde_json::from_slice(&log.settings()?).map_err(internal)?;
        let mut sector: OwnSector = [0; 512];
        log.read(0, &mut [&mut sector])?;
        let own = || Totals::parse(&sector).unwrap_or(Totals::NONE);
        let totals = kept.imported.map_or_else(own, |had| Totals {
            entries: had.entries,
            length_bytes: had.length_bytes,
            writes: had.writes,
            flushes: had.flushes,
            marks: had.marks,
        });
        let was_cut = kept.ended.is_none();
        kept.ended
            .get_or_insert_with(|| "the daemon ended while it recorded".into());
        let recording = Self {
            name: name.to_owned(),
            events: Arc::clone(events),
            volume: Weak::new(),
            log,
            state: Mutex::new(State {
                phase: Phase::Ended,
                totals,
                kept: kept.clone(),
                clock: 0,
                through_since: None,
                open: HashMap::new(),
            }),
        };
        if was_cut {
            recording.keep(&kept)?;
            recording.tell_of_end(&kept);
        }
        Ok(recording)
    }

    /// Keep that a log was imported, and what it has.
    pub(crate) fn keep_imported(log: &Disk, read: &Log, length_bytes: u64) -> Result<(), Problem> {
        let count = |is: fn(&What) -> bool| {
            let requests = read.requests.iter();
            requests.filter(|request| is(&request.what)).count() as u64
        };
        let kept = Kept {
            mark_sector: 0,
            ended: Some("it was imported".into()),
            imported: Some(Imported {
                length_bytes,
                entries: read.requests.len() as u64,
                writes: count(|what| matches!(what, What::Write)),
                flushes: count(|what| matches!(what, What::Flush)),
                marks: count(|what| matches!(what, What::Mark(_))),
            }),
        };
        let kept = serde_json::to_vec(&kept).map_err(internal)?;
        Ok(log.set_settings(&kept)?)
    }

    /// Record from now on. `base` keeps the content, while nothing changes it.
    ///
    /// # Errors
    /// Those of `base`.
    pub(crate) fn begin<T>(&self, base: impl FnOnce() -> Result<T, Problem>) -> Result<T, Problem> {
        let mut state = self.state.lock();
        let taken = base()?;
        state.phase = Phase::Records;
        Ok(taken)
    }

    /// Whether it records.
    pub(crate) fn is_on(&self) -> bool {
        self.state.lock().phase != Phase::Ended
    }

    /// End it. What was recorded is kept.
    pub(crate) fn end(&self, reason: &str) {
        let mut state = self.state.lock();
        self.end_locked(&mut state, reason);
    }

    fn end_locked(&self, state: &mut State, reason: &str) {
        if state.phase == Phase::Ended {
            return;
        }
        state.phase = Phase::Ended;
        state.kept.ended = Some(reason.to_owned());
        state.open.clear();
        if let Some(volume) = self.volume.upgrade() {
            volume.set_tap(None);
        }
        if let Err(problem) = self.keep(&state.kept) {
            tracing::warn!(disk = self.name, %problem, "can't keep why a recording ended");
        }
        self.tell_of_end(&state.kept);
    }

    fn tell_of_end(&self, kept: &Kept) {
        let reason = kept.ended.clone().unwrap_or_default();
        tracing::info!(disk = self.name, reason, "a recording ended");
        let details = BTreeMap::from([("reason".to_owned(), reason.into())]);
        let name = Some(self.name.as_str());
        self.events.tell(EventKind::RecordingEnded, name, details);
    }

    fn keep(&self, kept: &Kept) -> Result<(), Problem> {
        let kept = serde_json::to_vec(kept).map_err(internal)?;
        Ok(self.log.set_settings(&kept)?)
    }

    /// Add a mark. Returns whether it records.
    pub(crate) fn mark(&self, text: &str) -> bool {
        let mut state = self.state.lock();
        if state.phase == Phase::Records {
            self.add_mark(&mut state, text);
        }
        state.phase == Phase::Records
    }

    fn add_mark(&self, state: &mut State, text: &str) {
        let submitted = state.tick();
        let request = Request {
            completed: state.tick(),
            ..request(What::Mark(text.to_owned()), None, submitted)
        };
        self.add(state, request, None, submitted);
    }

    /// Describe it.
    ///
    /// # Errors
    /// The log is gone.
    pub(crate) fn describe(&self) -> Result<model::Recording, Problem> {
        let info = self.log.get_info()?;
        let state = self.state.lock();
        let Totals {
            entries,
            length_bytes,
            writes,
            flushes,
            marks,
        } = state.totals;
        Ok(model::Recording {
            disk: self.name.clone(),
            state: match state.phase {
                Phase::Ended => RecordingState::Ended,
                Phase::Begins | Phase::Records => RecordingState::Recording,
            },
            reason: state.kept.ended.clone(),
            base: format!("{}@{BASE}", self.name),
            limit_bytes: info.spec.quota_bytes.unwrap_or(0),
            charged_bytes: info.charged_bytes,
            length_bytes,
            entries,
            writes,
            flushes,
            marks,
            mark_sector: state.kept.mark_sector,
        })
    }

    /// Add an entry of the submission with this number at the end of the log. If that fails, the
    /// recording ends.
    fn add(&self, state: &mut State, request: Request, data: Option<&[u8]>, number: u64) {
        let at = state.totals.length_bytes;
        let mut totals = state.totals;
        totals.add(&request);
        let added = data
            .map_or(Ok(()), |data| self.write(at + OWN_SECTOR_BYTES, data))
            .and_then(|()| self.write(at, &header(&request)))
            .and_then(|()| self.write(0, &totals.superblock()));
        match added {
            Ok(()) => {
                state.totals = totals;
                if request.completed == NEVER {
                    let open = state.open.entry(number).or_default();
                    open.push((at, request));
                }
            }
            Err(error) => self.end_locked(state, &format!("its log is full: {error}")),
        }
    }

    fn write(&self, at_bytes: u64, bytes: &[u8]) -> Result<(), Error> {
        let mut at = at_bytes;
        let mut rest = bytes;
        while !rest.is_empty() {
            let to_page = usize::try_from(PAGE_BYTES - at % PAGE_BYTES).unwrap_or(usize::MAX);
            let (now, later) = rest.split_at(to_page.min(rest.len()));
            self.log.write(at / OWN_SECTOR_BYTES, &[now])?;
            at += now.len() as u64;
            rest = later;
        }
        Ok(())
    }
}

impl State {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    /// The text of a mark, if a write is one.
    fn mark_in(&self, range: ByteRange, bytes: &[u8]) -> Option<String> {
        if range.start_bytes() != self.kept.mark_sector.saturating_mul(512) {
            return None;
        }
        let text = bytes.strip_prefix(MARK_MAGIC)?;
        let end = text.iter().position(|&byte| byte == 0 || byte == b'\n');
        let text = &text[..end.unwrap_or(text.len()).min(MOST_MARK_BYTES)];
        Some(String::from_utf8_lossy(text).trim().to_owned())
    }
}

impl Tap for Recording {
    fn moment(&self) -> u64 {
        self.state.lock().tick()
    }

    fn begins(&self, submitted: u64) -> Submission {
        Submission {
            number: self.state.lock().tick(),
            at: submitted,
        }
    }

    fn change(
        &self,
        submission: Submission,
        change: &Change<'_>,
        act: &mut dyn FnMut() -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut state = self.state.lock();
        if state.phase != Phase::Records {
            return act();
        }
        if let Change::Write(range, bytes) = change
            && let Some(text) = state.mark_in(*range, bytes)
        {
            self.add_mark(&mut state, &text);
            return Ok(());
        }
        let done = act();
        match &done {
            Ok(()) => {
                let (what, range, data) = match change {
                    Change::Write(range, bytes) => (What::Write, Some(*range), Some(*bytes)),
                    Change::WriteZeroes(segment) => {
                        let unmap = segment.unmap;
                        (What::WriteZeroes { unmap }, Some(segment.range), None)
                    }
                    Change::Discard(range) => (What::Discard, Some(*range), None),
                    Change::Flush => (What::Flush, None, None),
                };
                let request = request(what, range, submission.at);
                self.add(&mut state, request, data, submission.number);
            }
            // Part of it may be on the disk, and which part isn't known.
            Err(error) if error.is_out_of_memory() => {
                let reason = format!("a write found no memory, and may be there in part: {error}");
                self.end_locked(&mut state, &reason);
            }
            Err(_) => {}
        }
        done
    }

    fn completed(&self, submission: Submission) {
        let mut state = self.state.lock();
        let Some(entries) = state.open.remove(&submission.number) else {
            return;
        };
        let completed = state.tick();
        // It has to be so for the whole of the request.
        let at_once = state
            .through_since
            .is_some_and(|since| since < submission.at);
        for (at, request) in entries {
            let at_once = at_once && request.what != What::Flush;
            let request = Request {
                completed,
                at_once,
                ..request
            };
            // The header is there already, so this needs no memory.
            if let Err(error) = self.write(at, &header(&request)) {
                self.end_locked(&mut state, &format!("its log can't be written: {error}"));
            }
        }
    }

    fn writes_through(&self, is_through: bool) {
        let mut state = self.state.lock();
        state.through_since = match (is_through, state.through_since) {
            (false, _) => None,
            (true, None) => Some(state.tick()),
            (true, since) => since,
        };
    }
}

fn request(what: What, range: Option<ByteRange>, submitted: u64) -> Request {
    Request {
        what,
        start_bytes: range.map_or(0, ByteRange::start_bytes),
        length_bytes: range.map_or(0, ByteRange::len_bytes),
        submitted,
        completed: NEVER,
        at_once: false,
        time_ns: now_ns(),
        data_at: 0,
    }
}
