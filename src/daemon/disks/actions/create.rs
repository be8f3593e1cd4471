//! Creating disks, which are served from then on.

use std::sync::Arc;

use super::describe::describe;
use super::groups;
use super::history;
use crate::daemon::disks::registry::Disks;
use crate::daemon::disks::served::disk::{Age, ServedDisk};
use crate::daemon::disks::served::factory::ServeAt;
use crate::daemon::disks::settings::differences::check_alike;
use crate::daemon::disks::settings::names::Made;
use crate::daemon::disks::settings::origin::{self, Origin};
use crate::daemon::disks::settings::valid::ValidDisk;
use crate::daemon::error::Error;
use crate::device::Limiter;
use crate::model::{Disk, DiskSettings, EventKind, Image, Problem, ProblemKind};
use crate::store;

/// Create a disk, or find one with the same settings.
///
/// # Errors
/// `invalid`; `conflict` if it exists with other settings; `over-budget`.
pub fn put(disks: &Disks, name: &str, settings: DiskSettings) -> Result<(Disk, Made), Problem> {
    put_as(disks, name, settings, None)
}

/// Create a disk whose first content is that of an image, or find one with the same settings and
/// image. Upload the content with [`super::upload::begin`]. Until it is complete, the disk is
/// importing, and it is destroyed if no client uploads anything for the import timeout.
///
/// # Errors
/// The same as [`put`]; `conflict` if it exists and was made from another image, or from one
/// without an id.
pub fn put_from(
    disks: &Disks,
    name: &str,
    settings: DiskSettings,
    image: Image,
) -> Result<(Disk, Made), Problem> {
    put_as(disks, name, settings, Some(image))
}

fn put_as(
    disks: &Disks,
    name: &str,
    settings: DiskSettings,
    image: Option<Image>,
) -> Result<(Disk, Made), Problem> {
    image.as_ref().map_or(Ok(()), origin::check_image)?;
    let valid = ValidDisk::new(name, settings, disks.store().limit_bytes())?;
    let _control = disks.control();
    if let Ok(served) = disks.find(name) {
        match &image {
            Some(image) => served.check_made_from(image)?,
            None => served.check_whole("take it as made")?,
        }
        return existing(disks, &served, &valid);
    }
    let valid = match image {
        Some(image) => valid.with_origin(Origin::to_come(image))?,
        None => valid,
    };
    let served = create(disks, name, &valid)?;
    if served.is_importing() {
        // The monitor computes again when the next disk is overdue.
        disks.store().pressure().raise();
    }
    Ok((describe(disks, &served)?, Made::New))
}

/// A disk that exists, if it has these settings. The caller has checked its content.
pub(crate) fn existing(
    disks: &Disks,
    served: &ServedDisk,
    valid: &ValidDisk,
) -> Result<(Disk, Made), Problem> {
    check_alike(&served.name, &served.settings()?, &valid.settings)?;
    served.uploads.expect();
    Ok((describe(disks, served)?, Made::Existing))
}

/// Create a disk that doesn't exist, and send the event. The caller holds the control lock.
pub(crate) fn create(
    disks: &Disks,
    name: &str,
    valid: &ValidDisk,
) -> Result<Arc<ServedDisk>, Problem> {
    check_room(disks)?;
    disks.factory.check(name)?;
    disks.factory.check_owner(None, &valid.settings)?;
    let limiter = groups::limiter(disks, valid.settings.group.as_deref())?;
    let disk = disks.store().create_with(name, &valid.spec, &valid.blob)?;
    let served = serve_new(disks, name, disk, valid, limiter)?;
    let size_bytes = valid.spec.size_bytes;
    let events = disks.events();
    events.tell_with(EventKind::Created, name, "size_bytes", size_bytes);
    Ok(served)
}

/// Serve a new disk of the store at its own socket, unless it is importing. If that fails, destroy
/// it again. The caller holds the control lock.
pub(crate) fn serve_new(
    disks: &Disks,
    name: &str,
    disk: store::Disk,
    valid: &ValidDisk,
    limiter: Option<Arc<Limiter>>,
) -> Result<Arc<ServedDisk>, Problem> {
    let listen = |served: &ServedDisk| match served.is_importing() {
        true => Ok(()),
        false => disks.factory.listen_first(served),
    };
    Ok(add(disks, name, disk, valid, limiter, listen)?)
}

/// Serve a new disk of the store, with all of its content, to front ends that connect as `at` says.
/// If that fails, destroy it again.
///
/// # Errors
/// The socket or descriptor can't be used.
pub(crate) fn serve_new_at(
    disks: &Disks,
    name: &str,
    disk: store::Disk,
    valid: &ValidDisk,
    at: ServeAt,
) -> Result<Arc<ServedDisk>, Error> {
    let _control = disks.control();
    let listen = |served: &ServedDisk| disks.factory.listen_at(served, at);
    add(disks, name, disk, valid, None, listen)
}

/// Add a new disk of the store to the registry, after `listen` has let front ends connect. If that
/// fails, destroy it again. The caller holds the control lock.
fn add(
    disks: &Disks,
    name: &str,
    disk: store::Disk,
    valid: &ValidDisk,
    limiter: Option<Arc<Limiter>>,
    listen: impl FnOnce(&ServedDisk) -> Result<(), Error>,
) -> Result<Arc<ServedDisk>, Error> {
    let served = serve(disks, disk, valid, limiter, listen).inspect_err(|_| {
        // Report the first error. The disk was only just created.
        let _ = disks.store().destroy(name);
    })?;
    Ok(disks.insert(served))
}

/// Serve a new disk of the store, which the registry doesn't have yet, after `listen` has let front
/// ends connect.
///
/// # Errors
/// Those of `listen`, among others. The disk stays in the store.
pub(crate) fn serve(
    disks: &Disks,
    disk: store::Disk,
    valid: &ValidDisk,
    limiter: Option<Arc<Limiter>>,
    listen: impl FnOnce(&ServedDisk) -> Result<(), Error>,
) -> Result<ServedDisk, Error> {
    let served = disks.factory.prepare(disk, valid, Age::New)?;
    served.limit(&valid.settings.limits, limiter);
    history::follow(disks, &served, valid.settings.history.as_ref())
        .map_err(|problem| Error::Disks(Box::new(problem)))?;
    listen(&served)?;
    if valid.settings.life.ttl_ms.is_some() {
        // The monitor computes again when the next life is over.
        disks.store().pressure().raise();
    }
    Ok(served)
}

/// Check that one more disk is possible.
pub(crate) fn check_room(disks: &Disks) -> Result<(), Problem> {
    check_room_for(disks, 1)
}

/// Check that this number of disks more is possible.
pub(crate) fn check_room_for(disks: &Disks, more: usize) -> Result<(), Problem> {
    let (there, most) = (disks.counts().0, disks.options.most_disks);
    if there.saturating_add(more) <= most {
        return Ok(());
    }
    let wanted = match more {
        0 | 1 => String::new(),
        more => format!(", and {more} more are wanted"),
    };
    Err(Problem::new(
        ProblemKind::OverBudget,
        format!(
            "there are {there} disks of {most}, which is what the limit on open files allows\
             {wanted}: destroy some, or start the daemon with a higher limit (ulimit -n, \
             LimitNOFILE=)"
        ),
    ))
}
