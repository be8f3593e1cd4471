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
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::daemon::disks::events::Events;
use crate::daemon::disks::registry::Disks;
use crate::daemon::disks::served::disk::ServedDisk;
use crate::daemon::disks::served::uploads::Begun;
use crate::daemon::disks::settings::metadata::Metadata;
use crate::daemon::disks::settings::origin::{check_image, nothing};
use crate::daemon::disks::settings::problems::{attached, conflict};
use crate::model::{Detail, DiskState, EventKind, Image, Problem, ProblemKind};
use crate::store::{Bytes, Disk, DiskSpec, Leftover, OnFull, PAGE_BYTES, Store};

/// Whether an upload is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UploadOptions {
    /// Do it though a front end is connected, whose guest sees other bytes all at once.
    pub force: bool,
    /// Only if the disk's first content is not whole yet.
    pub importing: bool,
}

/// An upload that may begin.
struct Admitted {
    served: Arc<ServedDisk>,
    /// Of what it is filled into.
    spec: DiskSpec,
    total_bytes: Option<u64>,
    called: Option<String>,
}

/// New content for a disk, on its way. Dropped before [`commit`] it leaves the disk as it
/// is, which takes time with what has come.
#[derive(Debug)]
pub struct Upload {
    served: Arc<ServedDisk>,
    store: Arc<Store>,
    events: Arc<Events>,
    /// Its number, and the disk that it fills.
    begun: Begun<Disk>,
    image: Option<Image>,
    /// What people call what comes.
    called: Option<String>,
    force: bool,
    done: AtomicBool,
    /// Why it came to nothing.
    reason: Mutex<Option<String>>,
}

impl Upload {
    /// Size of the disk in bytes.
    pub fn size_bytes(&self) -> u64 {
        self.begun.made.capacity().bytes()
    }

    /// Put `bytes` at `start_bytes`. Pages of zeros stay unmapped. The end may lie within a block
    /// only where the content ends; the rest of the block is zero then.
    ///
    /// # Errors
    /// `invalid` if that is not inside the disk, or not aligned; `over-budget`, at once, if there
    /// is no memory for it; `conflict` if another upload took over, or the disk is gone.
    pub fn write(&self, start_bytes: u64, bytes: &[u8]) -> Result<(), Problem> {
        let sector_bytes = self.begun.made.sector_size().bytes();
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
        let sector_bytes = usize::try_from(self.begun.made.sector_size().bytes()).unwrap_or(1);
        let written = if bytes.len().is_multiple_of(sector_bytes) {
            self.begun.made.write(sector, &[bytes])
        } else {
            let mut whole = bytes.to_vec();
            whole.resize(bytes.len().next_multiple_of(sector_bytes), 0);
            self.begun.made.write(sector, &[&whole])
        };
        written.map_err(|error| match self.check_current() {
            Err(problem) => problem,
            Ok(()) => error.into(),
        })
    }

    /// The content is known up to here.
    pub fn reached(&self, bytes: u64) {
        self.begun.progress.reached(bytes);
    }

    /// Say why it comes to nothing; what is said first counts.
    pub fn fail(&self, reason: &str) {
        self.reason.lock().get_or_insert_with(|| reason.to_owned());
    }

    fn check_current(&self) -> Result<(), Problem> {
        if self.served.uploads.is_current(self.begun.number) {
            return Ok(());
        }
        Err(conflict(format!(
            "another upload of disk {:?} took over, or the disk was destroyed",
            self.served.name
        )))
    }

    /// That all of what was announced is there.
    fn check_length(&self, content_bytes: u64) -> Result<(), Problem> {
        if content_bytes == 0 {
            return Err(nothing("image_bytes"));
        }
        match self.begun.progress.total_bytes {
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
        self.events.tell(kind, Some(&self.served.name), details);
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if self.done.load(Ordering::Relaxed) {
            return;
        }
        if let Some(key) = self.served.uploads.end(Some(self.begun.number)) {
            // If another thread ended it, it wanted the same.
            let _ = self.store.destroy(&key);
        } else {
            self.fail("another upload took over, or the disk was destroyed");
        }
        self.fail("it broke off");
        let reason = self.reason.lock().take().unwrap_or_default();
        tracing::info!(disk = self.served.name, reason, "an import came to nothing");
        self.tell(EventKind::ImportFailed, ("reason", reason.into()));
        // The monitor computes anew when the next one is overdue.
        self.store.pressure().raise();
    }
}

/// Begin to upload new content for a disk, which is unchanged until [`commit`]; it will
/// have `length_bytes`, if that is known. Refused while a front end is connected, unless
/// `force`. An upload that is under way ends.
///
/// # Errors
/// `not-found`; `invalid`; `attached`; `too-large`; `conflict` if the disk is importing another
/// image, or `options` need it to be importing and it isn't; `over-budget`.
pub fn begin(
    disks: &Disks,
    name: &str,
    image: Option<Image>,
    length_bytes: Option<u64>,
    options: UploadOptions,
) -> Result<Upload, Problem> {
    image.as_ref().map_or(Ok(()), check_image)?;
    let control = disks.control();
    let admitted = admit(disks, name, image.as_ref(), length_bytes, options)?;
    let ended = end(disks, &admitted.served);
    drop(control);
    // Without the lock, since it takes time with what had come; and before room is asked for.
    drop(ended);
    let (begun, late) = {
        let _control = disks.control();
        let admitted = admit(disks, name, image.as_ref(), length_bytes, options)?;
        let late = end(disks, &admitted.served);
        (begin_locked(disks, admitted, image, options.force), late)
    };
    // Of one that began in between.
    drop(late);
    begun
}

/// Whether new content may come, and what is known of it. The control is held.
fn admit(
    disks: &Disks,
    name: &str,
    image: Option<&Image>,
    length_bytes: Option<u64>,
    options: UploadOptions,
) -> Result<Admitted, Problem> {
    let served = disks.find(name)?;
    if options.importing {
        served.check_importing()?;
    }
    if !options.force && served.is_attached() {
        return Err(attached(name, "write to it"));
    }
    let (info, metadata) = served.look()?;
    if let Some(image) = image.filter(|_| metadata.origin.is_importing()) {
        served.check_made_from(image)?;
    }
    let size_bytes = info.spec.size_bytes;
    let announced = metadata.origin.importing_image();
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
    // The metadata of the whole content must fit, whatever its length.
    let origin = metadata.origin.after(image, size_bytes);
    let last = Metadata {
        origin,
        ..metadata.clone()
    };
    last.encode()?;
    let mut spec = DiskSpec::new(info.spec.sector_size, size_bytes);
    (spec.quota_bytes, spec.on_full) = (info.spec.quota_bytes, OnFull::Error);
    Ok(Admitted {
        called: known.map(|image| image.name.clone()),
        served,
        spec,
        total_bytes,
    })
}

/// The control is held, and the disk has no upload.
fn begin_locked(
    disks: &Disks,
    admitted: Admitted,
    image: Option<Image>,
    force: bool,
) -> Result<Upload, Problem> {
    let Admitted {
        served,
        spec,
        total_bytes,
        called,
    } = admitted;
    let store = Arc::clone(disks.store());
    let begun = served.uploads.begin(served.id, total_bytes, |key| {
        Ok::<_, Problem>(store.create(key, &spec)?.into_never_waiting())
    })?;
    Ok(Upload {
        served,
        store,
        events: Arc::clone(disks.events()),
        begun,
        image,
        called,
        force,
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
pub fn commit(disks: &Disks, upload: &Upload, content_bytes: u64) -> Result<(), Problem> {
    finish(disks, upload, content_bytes).map(drop)
}

/// As [`commit`], but at once: what the disk held is freed when the answer is dropped.
///
/// # Errors
/// As there.
pub fn finish(disks: &Disks, upload: &Upload, content_bytes: u64) -> Result<Leftover, Problem> {
    upload.reached(content_bytes);
    let committed = commit_now(disks, upload, content_bytes);
    committed.inspect_err(|problem| upload.fail(&problem.detail))
}

fn commit_now(disks: &Disks, upload: &Upload, content_bytes: u64) -> Result<Leftover, Problem> {
    upload.check_length(content_bytes)?;
    let _control = disks.control();
    upload.check_current()?;
    let served = &upload.served;
    let (had_bytes, size_bytes) = (served.disk.capacity().bytes(), upload.size_bytes());
    if had_bytes != size_bytes {
        return Err(conflict(format!(
            "disk {:?} had {} when the import began and has {} now: import the image again",
            served.name,
            Bytes(size_bytes),
            Bytes(had_bytes)
        )));
    }
    let was_importing = served.is_importing();
    // What may fail comes before what counts.
    let socket = was_importing.then(|| disks.factory.make_socket(served));
    let socket = socket.transpose()?;
    let left = swap(disks, upload, content_bytes)?;
    // The content is the disk's: nothing from here on can be refused.
    if let Some(socket) = socket {
        served.health.lock().state = DiskState::Ok;
        if let Err(problem) = disks.factory.serve_at(served, socket) {
            tracing::error!(disk = served.name, %problem, "can't serve it until a restart");
        }
    } else if served.disk.capacity().bytes() != had_bytes {
        served.server.config_changed();
    }
    if let Ok(info) = served.disk.get_info() {
        served.set_marks(info.spec.quota_bytes);
    }
    // It may have been looked at just before, and be taken for importing or for emptier.
    disks.store().pressure().raise();
    upload.tell(EventKind::Imported, ("content_bytes", content_bytes.into()));
    Ok(left)
}

/// The instant.
fn swap(disks: &Disks, upload: &Upload, content_bytes: u64) -> Result<Leftover, Problem> {
    let served = &upload.served;
    let (image, key) = (upload.image.as_ref(), &upload.begun.key);
    let edit = |metadata: &mut Metadata| {
        metadata.origin = metadata.origin.after(image, content_bytes);
    };
    let left = served.replace_metadata(edit, |blob| {
        // No front end can come between the look and the instant.
        let taken = served.server.unless_attached(upload.force, || {
            disks.store().take_over(&served.name, key, blob)
        });
        Ok(taken.ok_or_else(|| attached(&served.name, "write to it"))??)
    })?;
    upload.done.store(true, Ordering::Relaxed);
    served.uploads.end(Some(upload.begun.number));
    Ok(left)
}

/// End the upload of a disk, if there is one: another one takes over, or the disk goes.
pub(crate) fn end(disks: &Disks, served: &ServedDisk) -> Option<Leftover> {
    let key = served.uploads.end(None)?;
    // Its sender may have ended it just now.
    disks.store().destroy(&key).ok()
}
