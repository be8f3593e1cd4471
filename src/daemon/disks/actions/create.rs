//! Disks that are made, and served from then on.

use std::sync::Arc;

use super::describe::describe;
use super::groups;
use crate::daemon::disks::registry::Disks;
use crate::daemon::disks::served::disk::{Age, ServedDisk};
use crate::daemon::disks::served::factory::ServeAt;
use crate::daemon::disks::settings::differences::field_changes_to;
use crate::daemon::disks::settings::names::Made;
use crate::daemon::disks::settings::origin::{self, Origin};
use crate::daemon::disks::settings::problems::{conflict, figures};
use crate::daemon::disks::settings::valid::ValidDisk;
use crate::daemon::error::Error;
use crate::device::Limiter;
use crate::model::{Disk, DiskSettings, EventKind, Image, Problem, ProblemKind};
use crate::store;

/// Make a disk, or find it made just so.
///
/// # Errors
/// `invalid`; `conflict` if there is one with other settings; `over-budget`.
pub fn put(disks: &Disks, name: &str, settings: DiskSettings) -> Result<(Disk, Made), Problem> {
    put_as(disks, name, settings, None)
}

/// Make a disk whose first content is that of an image, to be brought by [`super::upload::begin`],
/// or find it made, or being made, just so. Until its content is whole it is importing, and it
/// is destroyed if nobody brings that for too long.
///
/// # Errors
/// As [`put`]; `conflict` if there is one that was made from another image, or from one that can't
/// be told from others.
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
        let differing = field_changes_to(&served.settings()?, &valid.settings);
        if differing.is_empty() {
            served.uploads.expect();
            return Ok((describe(disks, &served)?, Made::Existing));
        }
        return Err(conflict(format!(
            "disk {name:?} exists with other settings ({}); change these, or destroy it first",
            figures(&differing)
        )));
    }
    let valid = match image {
        Some(image) => valid.with_origin(Origin::to_come(image))?,
        None => valid,
    };
    let served = create(disks, name, &valid)?;
    if served.is_importing() {
        // The monitor has one more to destroy if nobody brings its content.
        disks.store().pressure().raise();
    }
    Ok((describe(disks, &served)?, Made::New))
}

/// Make a disk that isn't there, and tell of it. Control is held.
pub(crate) fn create(
    disks: &Disks,
    name: &str,
    valid: &ValidDisk,
) -> Result<Arc<ServedDisk>, Problem> {
    check_room(disks)?;
    disks.factory.check(name)?;
    let limiter = groups::limiter(disks, valid.settings.group.as_deref())?;
    let disk = disks.store().create_with(name, &valid.spec, &valid.blob)?;
    let served = serve_new(disks, name, disk, valid, limiter)?;
    let size_bytes = valid.spec.size_bytes;
    let events = disks.events();
    events.tell_with(EventKind::Created, name, "size_bytes", size_bytes);
    Ok(served)
}

/// Serve a disk that the store has just got at its own socket, unless its content is still to
/// come. If that fails, it is gone again. Control is held.
pub(crate) fn serve_new(
    disks: &Disks,
    name: &str,
    disk: store::Disk,
    valid: &ValidDisk,
    limiter: Option<Arc<Limiter>>,
) -> Result<Arc<ServedDisk>, Problem> {
    let listen = |served: &ServedDisk| match served.is_importing() {
        true => Ok(()),
        false => disks.factory.listen(served),
    };
    Ok(add(disks, name, disk, valid, limiter, listen)?)
}

/// Serve a disk that the store has just got, with all of its content, to front ends that come from
/// elsewhere. If that fails, it is gone again.
///
/// # Errors
/// What is wrong with the socket or descriptor.
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

/// Have a disk that the store has just got in the registry, once `listen` has let front ends
/// connect. If that fails, it is gone again. Control is held.
fn add(
    disks: &Disks,
    name: &str,
    disk: store::Disk,
    valid: &ValidDisk,
    limiter: Option<Arc<Limiter>>,
    listen: impl FnOnce(&ServedDisk) -> Result<(), Error>,
) -> Result<Arc<ServedDisk>, Error> {
    let prepared = disks.factory.prepare(disk, valid, Age::New);
    let served = prepared.and_then(|served| {
        served.limit(&valid.settings.limits, limiter);
        listen(&served)?;
        Ok(served)
    });
    let served = served.inspect_err(|_| {
        // The error is the one to tell; the disk was made a moment ago.
        let _ = disks.store().destroy(name);
    })?;
    Ok(disks.insert(served))
}

/// Check that there can be one more disk.
pub(crate) fn check_room(disks: &Disks) -> Result<(), Problem> {
    let most = disks.options.most_disks;
    if disks.counts().0 < most {
        return Ok(());
    }
    Err(Problem::new(
        ProblemKind::OverBudget,
        format!(
            "there are {most} disks, as many as the limit on open files allows: destroy some, \
             or start the daemon with a higher one (ulimit -n, LimitNOFILE=)"
        ),
    ))
}
