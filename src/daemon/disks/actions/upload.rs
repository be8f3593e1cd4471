//! Uploading new content for a disk. It fills a tree of its own, which replaces the disk's tree at
//! one instant when it is complete.
//!
//! The content that has arrived is a hidden disk of the store (`@import.ID.N`). It is charged to
//! the pool, and the target's quota bounds it too. When it is complete, [`Store::take_over`]
//! publishes a record of the target that names the new tree: a guest or reader sees the old content
//! or the new. An upload that breaks off leaves nothing behind.
//!
//! A disk has one upload at a time. A later one replaces the one before, whose client may have
//! disconnected without the daemon having noticed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::content::staged::Staged;
use crate::daemon::disks::actors;
use crate::daemon::disks::events::Events;
use crate::daemon::disks::registry::Disks;
use crate::daemon::disks::served::disk::ServedDisk;
use crate::daemon::disks::served::filling::fill;
use crate::daemon::disks::served::uploads::Begun;
use crate::daemon::disks::settings::lineage::Lineage;
use crate::daemon::disks::settings::metadata::Metadata;
use crate::daemon::disks::settings::origin::{check_image, nothing};
use crate::daemon::disks::settings::problems::{attached, conflict, invalid};
use crate::model::{Actor, ContentId, Detail, DiskState, EventKind, Image, Problem, ProblemKind};
use crate::store::{Bytes, Disk, DiskSpec, Leftover, OnFull, Store};

/// When an upload may replace the content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UploadOptions {
    /// Even if a front end is connected; its guest sees the content change at one instant.
    pub force: bool,
    /// Only if the disk is importing.
    pub importing: bool,
}

/// The identifiers that an upload names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ids {
    /// That of the new content, if it has one.
    pub content: Option<ContentId>,
    /// That of the content which the upload is a change of: the disk must have it.
    pub base: Option<ContentId>,
}

/// An upload that may begin.
struct Admitted {
    served: Arc<ServedDisk>,
    /// The settings of the hidden disk.
    spec: DiskSpec,
    total_bytes: Option<u64>,
    called: Option<String>,
}

/// An upload of new content for a disk. If you drop it before [`commit`], the disk stays as it is;
/// dropping it takes longer the more content has arrived.
#[derive(Debug)]
pub struct Upload {
    served: Arc<ServedDisk>,
    store: Arc<Store>,
    events: Arc<Events>,
    /// Who sends it. It may end on another thread than that of a request.
    by: Actor,
    /// Its number, and the disk that it fills.
    begun: Begun<Disk>,
    /// What becomes the disk's content, if the upload is a change of the present one.
    staged: Option<Staged>,
    content_id: Option<ContentId>,
    image: Option<Image>,
    /// The name of the image, for events.
    called: Option<String>,
    force: bool,
    done: AtomicBool,
    /// Why the upload failed.
    reason: Mutex<Option<String>>,
}

impl Upload {
    /// Whether it is a change of the disk's present content, and not content of its own.
    pub fn is_change(&self) -> bool {
        self.staged.is_some()
    }

    /// Replace a range by zeros, in a change of the present content.
    ///
    /// # Errors
    /// The same as [`Upload::write`].
    pub fn zero(&self, start_bytes: u64, length_bytes: u64) -> Result<(), Problem> {
        if let Some(staged) = &self.staged {
            staged.zero(start_bytes, length_bytes)?;
        }
        self.reached(start_bytes + length_bytes);
        Ok(())
    }

    /// Size of the content in bytes, up to the end of the disk.
    pub fn size_bytes(&self) -> u64 {
        self.begun.made.capacity().bytes()
    }

    /// Write `bytes` at `start_bytes`. Pages of zeros stay unmapped. Only at the end of the content
    /// may the bytes end within a block, whose rest is then zero.
    ///
    /// # Errors
    /// `invalid` if the range is not inside the disk, or not aligned; `over-budget`, without
    /// waiting, if there is no memory; `conflict` if another upload replaced this one, or the disk
    /// is gone.
    pub fn write(&self, start_bytes: u64, bytes: &[u8]) -> Result<(), Problem> {
        if let Some(staged) = &self.staged {
            staged.write(start_bytes, bytes)?;
            self.reached(start_bytes + bytes.len() as u64);
            return Ok(());
        }
        let end = fill(&self.begun.made, start_bytes, bytes);
        let end = end.map_err(|problem| self.check_current().err().unwrap_or(problem))?;
        self.reached(end);
        Ok(())
    }

    /// Note that the content has arrived up to here, including holes.
    pub fn reached(&self, bytes: u64) {
        self.begun.progress.reached(bytes);
    }

    /// Note why the upload failed. Only the first reason is kept.
    pub fn fail(&self, reason: &str) {
        self.reason.lock().get_or_insert_with(|| reason.to_owned());
    }

    fn check_current(&self) -> Result<(), Problem> {
        if self.served.uploads.is_current(self.begun.number) {
            return Ok(());
        }
        Err(conflict(format!(
            "another upload of disk {:?} replaced this one, or the disk was destroyed",
            self.served.name
        )))
    }

    /// Check that the content has the announced length.
    fn check_length(&self, content_bytes: u64) -> Result<(), Problem> {
        if content_bytes == 0 {
            return Err(nothing("image_bytes"));
        }
        if self.is_change() && content_bytes != self.size_bytes() {
            let detail = format!(
                "the change ends at {content_bytes}, and the disk has {}: name the size with \
                 image_bytes",
                self.size_bytes()
            );
            return Err(invalid("image_bytes", detail));
        }
        match self.begun.progress.total_bytes {
            Some(total_bytes) if total_bytes != content_bytes => Err(Problem::new(
                ProblemKind::Invalid,
                format!(
                    "the image has {}, but {} arrived: the disk stays as it was",
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
        let disk = Some(self.served.name.as_str());
        self.events.tell_by(self.by.clone(), kind, disk, details);
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if self.done.load(Ordering::Relaxed) {
            return;
        }
        if let Some(key) = self.served.uploads.end(Some(self.begun.number)) {
            // If another thread has ended it, nothing is left to do.
            let _ = self.store.destroy(&key);
        } else {
            self.fail("another upload replaced this one, or the disk was destroyed");
        }
        self.fail("it broke off");
        let reason = self.reason.lock().take().unwrap_or_default();
        tracing::info!(disk = self.served.name, reason, "an import failed");
        self.tell(EventKind::ImportFailed, ("reason", reason.into()));
        // The monitor computes again when the next one is overdue.
        self.store.pressure().raise();
    }
}

/// Begin an upload of new content for a disk, which stays unchanged until [`commit`]. The content
/// will have `length_bytes`, if that is known. An earlier upload of the disk ends.
///
/// # Errors
/// `not-found`; `invalid`; `attached` if a front end is connected, without `force`; `too-large`;
/// `conflict` if the disk is importing another image, or `options` require that it is importing and
/// it isn't; `over-budget`.
pub fn begin(
    disks: &Disks,
    name: &str,
    image: Option<Image>,
    length_bytes: Option<u64>,
    options: UploadOptions,
) -> Result<Upload, Problem> {
    let named = (image, Ids::default());
    begin_with(disks, name, named, length_bytes, options)
}

/// The same as [`begin`], with identifiers. With a base, the upload is a change of the disk's
/// present content, which gets the size of `image`, if that has one.
///
/// # Errors
/// The same as [`begin`]; `conflict` if the disk doesn't have the content of the base; `attached`
/// with a base, even with `force`.
pub fn begin_with(
    disks: &Disks,
    name: &str,
    (image, ids): (Option<Image>, Ids),
    length_bytes: Option<u64>,
    options: UploadOptions,
) -> Result<Upload, Problem> {
    let options = UploadOptions {
        force: options.force && ids.base.is_none(),
        ..options
    };
    image.as_ref().map_or(Ok(()), check_image)?;
    let control = disks.control();
    let may_grow = ids.base.is_some();
    let admitted = || {
        let lengths = (length_bytes, may_grow);
        admit(disks, name, image.as_ref(), lengths, options)
    };
    let ended = end(disks, &admitted()?.served);
    drop(control);
    // Not under the lock, since it takes a while, and before the new upload needs memory.
    drop(ended);
    let (begun, late) = {
        let _control = disks.control();
        let admitted = admitted()?;
        let late = end(disks, &admitted.served);
        let begun = begin_locked(disks, admitted, (image, ids), options.force);
        (begun, late)
    };
    // Another upload may have begun in between.
    drop(late);
    begun
}

/// Check that an upload may begin. The caller holds the control lock.
fn admit(
    disks: &Disks,
    name: &str,
    image: Option<&Image>,
    (length_bytes, may_grow): (Option<u64>, bool),
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
    if longest > size_bytes && !may_grow {
        return Err(Problem::new(
            ProblemKind::TooLarge,
            format!(
                "the content has {} and disk {name:?} has {}: resize the disk first",
                Bytes(longest),
                Bytes(size_bytes)
            ),
        ));
    }
    // The metadata must fit into the settings, whatever length the content will have.
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

/// Begin an upload of a disk that has none. The caller holds the control lock.
fn begin_locked(
    disks: &Disks,
    admitted: Admitted,
    (image, ids): (Option<Image>, Ids),
    force: bool,
) -> Result<Upload, Problem> {
    let Admitted {
        served,
        spec,
        total_bytes,
        called,
    } = admitted;
    let store = Arc::clone(disks.store());
    let staged = match ids.base {
        Some(base) => {
            let size_bytes = image.as_ref().and_then(|image| image.size_bytes);
            Some(Staged::on(disks, &served, base, size_bytes)?)
        }
        None => None,
    };
    let begun = served.uploads.begin(served.id, total_bytes, |key| {
        let made = match &staged {
            Some(staged) => staged.open()?,
            None => store.create(key, &spec)?,
        };
        Ok::<_, Problem>(made.into_never_waiting())
    })?;
    Ok(Upload {
        served,
        store,
        events: Arc::clone(disks.events()),
        by: actors::current(),
        begun,
        staged,
        content_id: ids.content,
        image,
        called,
        force,
        done: AtomicBool::new(false),
        reason: Mutex::new(None),
    })
}

/// Commit an upload, whose content of `content_bytes` has arrived: it becomes the disk's content,
/// and zeros follow it up to the disk's end. If the disk was importing, its socket now listens.
///
/// # Errors
/// `attached` if a front end has connected since, without `force`; `invalid` if the length is not
/// the announced one; `conflict` if another upload replaced this one, or the disk was resized;
/// `over-budget`. The disk then stays as it was.
pub fn commit(disks: &Disks, upload: &Upload, content_bytes: u64) -> Result<(), Problem> {
    finish(disks, upload, content_bytes).map(drop)
}

/// The same as [`commit`], but quick: the memory of the old content is freed when you drop the
/// result.
///
/// # Errors
/// The same as [`commit`].
pub fn finish(
    disks: &Disks,
    upload: &Upload,
    content_bytes: u64,
) -> Result<Vec<Leftover>, Problem> {
    upload.reached(content_bytes);
    let committed = commit_now(disks, upload, content_bytes);
    committed.inspect_err(|problem| upload.fail(&problem.detail))
}

fn commit_now(
    disks: &Disks,
    upload: &Upload,
    content_bytes: u64,
) -> Result<Vec<Leftover>, Problem> {
    upload.check_length(content_bytes)?;
    let _control = disks.control();
    upload.check_current()?;
    let served = &upload.served;
    let (had_bytes, size_bytes) = (served.disk.capacity().bytes(), upload.size_bytes());
    if had_bytes != size_bytes && !upload.is_change() {
        return Err(conflict(format!(
            "disk {:?} had {} when the import began and has {} now: import the image again",
            served.name,
            Bytes(size_bytes),
            Bytes(had_bytes)
        )));
    }
    let was_importing = served.is_importing();
    // Steps that may fail come before the commit.
    let owner = served.metadata.lock().socket_owner.clone();
    let make = || disks.factory.make_socket(&served.name, owner.as_deref());
    let socket = was_importing.then(make);
    let socket = socket.transpose()?;
    let left = swap(disks, upload, content_bytes)?;
    served.end_recording("the disk's content was replaced");
    // The content is committed: from here on nothing can be refused.
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
    // The monitor may have looked at the disk just before.
    disks.store().pressure().raise();
    upload.tell(EventKind::Imported, ("content_bytes", content_bytes.into()));
    Ok(left)
}

/// Replace the content, at one instant.
fn swap(disks: &Disks, upload: &Upload, content_bytes: u64) -> Result<Vec<Leftover>, Problem> {
    let served = &upload.served;
    let id = upload.content_id;
    let lineage = id.map(|id| Lineage::of(id, &upload.begun.made));
    let lineage = lineage.transpose()?.map(|lineage| match content_bytes {
        whole if whole == upload.size_bytes() => lineage,
        // Zeros follow it, and so the disk has other content.
        _ => lineage.left_behind(),
    });
    let (image, key) = (upload.image.as_ref(), &upload.begun.key);
    let edit = |metadata: &mut Metadata| {
        metadata.origin = metadata.origin.after(image, content_bytes);
        metadata.lineage = lineage;
    };
    if let Some(staged) = &upload.staged {
        let left = staged.commit(served, edit)?;
        upload.done.store(true, Ordering::Relaxed);
        served.uploads.end(Some(upload.begun.number));
        return Ok(left);
    }
    let left = served.replace_metadata(edit, |blob| {
        // No front end can connect between the check and the commit.
        let taken = served.server.unless_attached(upload.force, || {
            disks.store().take_over(&served.name, key, blob)
        });
        Ok(taken.ok_or_else(|| attached(&served.name, "write to it"))??)
    })?;
    served.stabilise();
    upload.done.store(true, Ordering::Relaxed);
    served.uploads.end(Some(upload.begun.number));
    Ok(vec![left])
}

/// End the upload of a disk, if there is one, for a new upload or because the disk is destroyed.
pub(crate) fn end(disks: &Disks, served: &ServedDisk) -> Option<Leftover> {
    let key = served.uploads.end(None)?;
    // Its client may have ended it just now.
    disks.store().destroy(&key).ok()
}
