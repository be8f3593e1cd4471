//! New content for a disk, filled into a tree of its own that takes the disk's place when it is
//! whole, at one instant.
//!
//! What comes is kept in a disk of the store that nobody sees (`@import.ID.N`). It is charged to
//! the pool, and bounded by the quota of the disk that it is for. When all of it is there, the
//! disk's record is replaced by one that names the new tree ([`Store::take_over`]): a guest or
//! reader sees what was there before, or all that is new. What breaks off leaves nothing.
//!
//! A disk has one upload at a time: a later one takes over, since the one before may be that of a
//! client that is gone and whose end hasn't been noticed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::daemon::disks::Disks;
use crate::daemon::disks::events::Events;
use crate::daemon::disks::served::disk::Entry;
use crate::daemon::disks::settings::metadata::Kept;
use crate::daemon::disks::settings::origin::{check_image, nothing};
use crate::daemon::disks::settings::problems::{attached, conflict};
use crate::model::{self, Detail, DiskState, EventKind, Image, Problem, ProblemKind};
use crate::store::{Bytes, Disk, DiskSpec, Leftover, OnFull, PAGE_BYTES, Store};

/// What keys of trees begin with that are being filled. Names of disks have no `@`.
pub(crate) const IMPORT_PREFIX: &str = "@import.";

/// The upload of a disk, if there is one.
#[derive(Debug)]
pub(crate) struct Uploads(Mutex<State>);

#[derive(Debug)]
struct State {
    /// So many so far: the number of the latest.
    count: u64,
    current: Option<Current>,
    /// Since when nobody sends anything.
    alone_since: Instant,
}

#[derive(Debug)]
struct Current {
    number: u64,
    key: String,
    progress: Arc<Progress>,
}

/// How far an upload is.
#[derive(Debug)]
struct Progress {
    done_bytes: AtomicU64,
    total_bytes: Option<u64>,
}

impl Default for Uploads {
    fn default() -> Self {
        Self(Mutex::new(State {
            count: 0,
            current: None,
            alone_since: Instant::now(),
        }))
    }
}

impl Uploads {
    /// How far new content has come, if any is on its way or, as `first` has it, to come.
    pub(crate) fn progress(&self, first: Option<&Image>) -> Option<model::Import> {
        let state = self.0.lock();
        match (&state.current, first) {
            (Some(current), _) => Some(model::Import {
                done_bytes: current.progress.done_bytes.load(Ordering::Relaxed),
                total_bytes: current.progress.total_bytes,
                uploading: true,
            }),
            (None, Some(image)) => Some(model::Import {
                done_bytes: 0,
                total_bytes: image.size_bytes,
                uploading: false,
            }),
            (None, None) => None,
        }
    }

    /// Somebody is about to send content: wait for it from now on.
    pub(crate) fn expect(&self) {
        self.0.lock().alone_since = Instant::now();
    }

    /// How long nobody has sent anything; `None` while somebody does.
    pub(crate) fn alone_for(&self) -> Option<Duration> {
        let state = self.0.lock();
        let alone = state.current.is_none();
        alone.then(|| state.alone_since.elapsed())
    }

    fn is_current(&self, number: u64) -> bool {
        let state = self.0.lock();
        state.current.as_ref().is_some_and(|it| it.number == number)
    }

    /// End the upload `number`, or whichever there is; returns the key of its tree, if it was there
    /// still.
    fn end(&self, number: Option<u64>) -> Option<String> {
        let mut state = self.0.lock();
        let meant = |it: &mut Current| number.is_none_or(|number| it.number == number);
        let ended = state.current.take_if(meant)?;
        state.alone_since = Instant::now();
        Some(ended.key)
    }
}

/// Whether an upload is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UploadOptions {
    /// Do it though a front end is connected, whose guest sees other bytes all at once.
    pub force: bool,
    /// Only if the disk's first content is not whole yet.
    pub importing: bool,
}

/// An upload that may begin.
struct Planned {
    entry: Arc<Entry>,
    /// Of what it is filled into.
    spec: DiskSpec,
    total_bytes: Option<u64>,
    called: Option<String>,
}

/// New content for a disk, on its way. Dropped before [`Disks::commit`] it leaves the disk as it
/// is, which takes time with what has come.
#[derive(Debug)]
pub struct Upload {
    entry: Arc<Entry>,
    store: Arc<Store>,
    events: Arc<Events>,
    /// Where it is filled in.
    disk: Disk,
    number: u64,
    image: Option<Image>,
    /// What people call what comes.
    called: Option<String>,
    force: bool,
    progress: Arc<Progress>,
    done: AtomicBool,
    /// Why it came to nothing.
    reason: Mutex<Option<String>>,
}

impl Upload {
    /// Size of the disk in bytes.
    pub fn size_bytes(&self) -> u64 {
        self.disk.capacity().bytes()
    }

    /// Put `bytes` at `start_bytes`. Pages of zeros stay unmapped. The end may lie within a block
    /// only where the content ends; the rest of the block is zero then.
    ///
    /// # Errors
    /// `invalid` if that is not inside the disk, or not aligned; `over-budget`, at once, if there
    /// is no memory for it; `conflict` if another upload took over, or the disk is gone.
    pub fn write(&self, start_bytes: u64, bytes: &[u8]) -> Result<(), Problem> {
        let sector_bytes = self.disk.sector_size().bytes();
        if !start_bytes.is_multiple_of(sector_bytes) {
            return Err(Problem::new(
                ProblemKind::Invalid,
                format!("{start_bytes} is no multiple of the block size, {sector_bytes}"),
            ));
        }
        let mut at = start_bytes;
        let mut rest = bytes;
        while !rest.is_empty() {
            let to_page = PAGE_BYTES - at % PAGE_BYTES;
            let len = usize::try_from(to_page).unwrap_or(usize::MAX);
            let (now, later) = rest.split_at(len.min(rest.len()));
            if now.iter().any(|&byte| byte != 0) {
                self.write_page(at / sector_bytes, now)?;
            }
            at += now.len() as u64;
            rest = later;
        }
        self.reached(at);
        Ok(())
    }

    fn write_page(&self, sector: u64, bytes: &[u8]) -> Result<(), Problem> {
        let sector_bytes = usize::try_from(self.disk.sector_size().bytes()).unwrap_or(1);
        let written = if bytes.len().is_multiple_of(sector_bytes) {
            self.disk.write(sector, &[bytes])
        } else {
            let mut whole = bytes.to_vec();
            whole.resize(bytes.len().next_multiple_of(sector_bytes), 0);
            self.disk.write(sector, &[&whole])
        };
        written.map_err(|error| match self.check_current() {
            Err(problem) => problem,
            Ok(()) => error.into(),
        })
    }

    /// The content is known up to here.
    pub fn reached(&self, bytes: u64) {
        self.progress.done_bytes.fetch_max(bytes, Ordering::Relaxed);
    }

    /// Say why it comes to nothing; what is said first counts.
    pub fn fail(&self, reason: &str) {
        self.reason.lock().get_or_insert_with(|| reason.to_owned());
    }

    fn check_current(&self) -> Result<(), Problem> {
        if self.entry.import.is_current(self.number) {
            return Ok(());
        }
        Err(conflict(format!(
            "another upload of disk {:?} took over, or the disk was destroyed",
            self.entry.name
        )))
    }

    /// That all of what was announced is there.
    fn check_length(&self, content_bytes: u64) -> Result<(), Problem> {
        if content_bytes == 0 {
            return Err(nothing("image_bytes"));
        }
        match self.progress.total_bytes {
            Some(total_bytes) if total_bytes != content_bytes => Err(Problem::new(
                ProblemKind::Invalid,
                format!(
                    "the image has {}, and {} came: the disk stays as it was",
                    Bytes(total_bytes),
                    Bytes(content_bytes)
                ),
            )),
            _ => Ok(()),
        }
    }

    fn tell(&self, kind: EventKind, more: (&str, Detail)) {
        let image = self.called.clone();
        let image = image.map(|name| ("image".to_owned(), name.into()));
        let more = [(more.0.to_owned(), more.1)];
        let details = more.into_iter().chain(image).collect();
        self.events.tell(kind, Some(&self.entry.name), details);
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if self.done.load(Ordering::Relaxed) {
            return;
        }
        if let Some(key) = self.entry.import.end(Some(self.number)) {
            // Whoever else ended it wanted the same.
            let _ = self.store.destroy(&key);
        } else {
            self.fail("another upload took over, or the disk was destroyed");
        }
        self.fail("it broke off");
        let reason = self.reason.lock().take().unwrap_or_default();
        tracing::info!(disk = self.entry.name, reason, "an import came to nothing");
        self.tell(EventKind::ImportFailed, ("reason", reason.into()));
        // Who waits for the next one looks when that is due.
        self.store.pressure().raise();
    }
}

impl Disks {
    /// Begin to bring new content for a disk, which stays as it is until [`Disks::commit`]; it will
    /// have `length_bytes`, if that is known. Refused while a front end is connected, unless
    /// `force`. An upload that is under way ends.
    ///
    /// # Errors
    /// `not-found`; `invalid`; `attached`; `too-large`; `conflict` if the disk is importing another
    /// image, or is to be importing and isn't; `over-budget`.
    pub fn upload(
        &self,
        name: &str,
        image: Option<Image>,
        length_bytes: Option<u64>,
        options: UploadOptions,
    ) -> Result<Upload, Problem> {
        image.as_ref().map_or(Ok(()), check_image)?;
        let control = self.control.lock();
        let planned = self.plan_upload(name, image.as_ref(), length_bytes, options)?;
        let ended = self.end_upload(&planned.entry);
        drop(control);
        // Without the lock, since it takes time with what had come; and before room is asked for.
        drop(ended);
        let (begun, late) = {
            let _control = self.control.lock();
            let planned = self.plan_upload(name, image.as_ref(), length_bytes, options)?;
            let late = self.end_upload(&planned.entry);
            (self.begin(planned, image, options.force), late)
        };
        // Of one that began in between.
        drop(late);
        begun
    }

    /// Whether new content may come, and what is known of it. The control is held.
    fn plan_upload(
        &self,
        name: &str,
        image: Option<&Image>,
        length_bytes: Option<u64>,
        options: UploadOptions,
    ) -> Result<Planned, Problem> {
        let entry = self.entry(name)?;
        if options.importing {
            self.check_importing(&entry)?;
        }
        if !options.force && entry.is_attached() {
            return Err(attached(name, "write to it"));
        }
        let (info, kept) = entry.look()?;
        if let Some(image) = image.filter(|_| kept.import.is_importing()) {
            entry.check_made_from(image)?;
        }
        let size_bytes = info.spec.size_bytes;
        let announced = kept.import.importing_image();
        let known = image.or(announced);
        let said = [known, announced].into_iter().flatten();
        let total_bytes = said.filter_map(|image| image.size_bytes).next();
        let total_bytes = total_bytes.or(length_bytes);
        let longest = total_bytes.max(length_bytes).unwrap_or(0);
        if longest > size_bytes {
            return Err(Problem::new(
                ProblemKind::TooLarge,
                format!(
                    "the content has {} and disk {name:?} {}: resize the disk first",
                    Bytes(longest),
                    Bytes(size_bytes)
                ),
            ));
        }
        // What is to be kept of it in the end must have its place, whatever its length.
        let import = kept.import.after(image, size_bytes);
        Kept {
            import,
            ..kept.clone()
        }
        .to_blob()?;
        let mut spec = DiskSpec::new(info.spec.sector_size, size_bytes);
        (spec.quota_bytes, spec.on_full) = (info.spec.quota_bytes, OnFull::Error);
        Ok(Planned {
            called: known.map(|image| image.name.clone()),
            entry,
            spec,
            total_bytes,
        })
    }

    /// The control is held, and the disk has no upload.
    fn begin(
        &self,
        planned: Planned,
        image: Option<Image>,
        force: bool,
    ) -> Result<Upload, Problem> {
        let Planned {
            entry,
            spec,
            total_bytes,
            called,
        } = planned;
        let store = Arc::clone(&self.workshop.store);
        let mut state = entry.import.0.lock();
        state.count += 1;
        let number = state.count;
        let key = format!("{IMPORT_PREFIX}{}.{number}", entry.id);
        let disk = store.create(&key, &spec)?.into_never_waiting();
        let progress = Arc::new(Progress {
            done_bytes: AtomicU64::new(0),
            total_bytes,
        });
        state.current = Some(Current {
            number,
            key,
            progress: Arc::clone(&progress),
        });
        drop(state);
        Ok(Upload {
            entry,
            store,
            events: Arc::clone(&self.workshop.events),
            disk,
            number,
            image,
            called,
            force,
            progress,
            done: AtomicBool::new(false),
            reason: Mutex::new(None),
        })
    }

    /// All of the content has come, `content_bytes` of it: it is the disk's from now on, and zeros
    /// follow it to the disk's end. A disk that was importing can be attached to.
    ///
    /// # Errors
    /// `attached` if a front end came meanwhile and the upload has no `force`; `invalid` if it is
    /// not what was announced; `conflict` if another upload took over, or the disk has another size
    /// now; `over-budget`. The disk is as it was then.
    pub fn commit(&self, upload: &Upload, content_bytes: u64) -> Result<(), Problem> {
        self.finish(upload, content_bytes).map(drop)
    }

    /// As [`Disks::commit`], but at once: what the disk held is freed when the answer is dropped.
    ///
    /// # Errors
    /// As there.
    pub fn finish(&self, upload: &Upload, content_bytes: u64) -> Result<Leftover, Problem> {
        upload.reached(content_bytes);
        let committed = self.commit_now(upload, content_bytes);
        committed.inspect_err(|problem| upload.fail(&problem.detail))
    }

    fn commit_now(&self, upload: &Upload, content_bytes: u64) -> Result<Leftover, Problem> {
        upload.check_length(content_bytes)?;
        let _control = self.control.lock();
        upload.check_current()?;
        let entry = &upload.entry;
        let (had_bytes, size_bytes) = (entry.disk.capacity().bytes(), upload.size_bytes());
        if had_bytes != size_bytes {
            return Err(conflict(format!(
                "disk {:?} had {} when the import began and has {} now: import the image again",
                entry.name,
                Bytes(size_bytes),
                Bytes(had_bytes)
            )));
        }
        let was_importing = entry.is_importing();
        // What may fail comes before what counts.
        let socket = was_importing.then(|| self.workshop.make_socket(entry));
        let socket = socket.transpose()?;
        let left = self.swap(upload, content_bytes)?;
        // The content is the disk's: nothing from here on can be refused.
        if let Some(socket) = socket {
            entry.health.lock().state = DiskState::Ok;
            if let Err(problem) = self.workshop.serve_at(entry, socket) {
                tracing::error!(disk = entry.name, %problem, "can't serve it until a restart");
            }
        } else if entry.disk.capacity().bytes() != had_bytes {
            entry.server.config_changed();
        }
        self.mark(entry);
        // It may have been looked at just before, and be taken for importing or for emptier.
        self.workshop.store.pressure().raise();
        upload.tell(EventKind::Imported, ("content_bytes", content_bytes.into()));
        Ok(left)
    }

    /// The instant.
    fn swap(&self, upload: &Upload, content_bytes: u64) -> Result<Leftover, Problem> {
        let entry = &upload.entry;
        let mut kept = entry.kept.lock();
        let new = Kept {
            import: kept.import.after(upload.image.as_ref(), content_bytes),
            ..kept.clone()
        };
        let blob = new.to_blob()?;
        let key = format!("{IMPORT_PREFIX}{}.{}", entry.id, upload.number);
        let store = &self.workshop.store;
        // No front end can come between the look and the instant.
        let taken = entry
            .server
            .unless_attached(upload.force, || store.take_over(&entry.name, &key, &blob));
        let left = taken.ok_or_else(|| attached(&entry.name, "write to it"))??;
        *kept = new;
        upload.done.store(true, Ordering::Relaxed);
        entry.import.end(Some(upload.number));
        Ok(left)
    }

    /// End the upload of a disk, if there is one: another one takes over, or the disk goes.
    pub(crate) fn end_upload(&self, entry: &Entry) -> Option<Leftover> {
        let key = entry.import.end(None)?;
        // Whoever sends it may have ended it just now.
        self.workshop.store.destroy(&key).ok()
    }

    /// That a disk is the one that is meant: there, and its first content still to come.
    pub(crate) fn check_importing(&self, entry: &Entry) -> Result<(), Problem> {
        if entry.is_importing() {
            return Ok(());
        }
        Err(conflict(format!(
            "disk {:?} is not importing: its content is whole",
            entry.name
        )))
    }
}
