//! Removing golden images: by request, or because memory is wanted and nothing is forked from them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::describe::present;
use super::fetch::details;
use crate::daemon::disks::registry::Disks;
use crate::daemon::disks::served::golden::Golden;
use crate::daemon::disks::settings::names::ImageName;
use crate::daemon::disks::settings::problems::{conflict_at, protected};
use crate::model::{Detail, Digest, EventKind, GoldenImage, GoldenPatch, Problem};
use crate::store::{Leftover, PAGE_BYTES};

/// What an image is charged for and isn't counted as its own: its settings.
const SETTINGS_BYTES: u64 = PAGE_BYTES;

/// Remove an image. Its memory is freed when you drop the result. With `force` also if disks were
/// forked from it: these keep their content, and can't be reset to it any more.
///
/// # Errors
/// `not-found`; `conflict` if disks were forked from it, without `force`.
pub fn remove(disks: &Disks, which: &ImageName, force: bool) -> Result<Leftover, Problem> {
    let _control = disks.control();
    let image = disks.find_image(which)?;
    if image.record().protected {
        return Err(protected("image", &which.to_string()));
    }
    let forks = disks.forks_of(image.id);
    if let (Some(first), false) = (forks.first(), force) {
        let others = match forks.len() - 1 {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let detail = format!(
            "disk {first:?}{others} was forked from image {which} and could not be reset to it any \
             more, though it keeps its content; destroy it first, or set force"
        );
        return Err(conflict_at("force", detail));
    }
    let left = remove_locked(disks, &image)?;
    let freed = image_details(&image, ("forks", forks.len().into()));
    disks.events().tell(EventKind::ImageRemoved, None, freed);
    Ok(left)
}

fn remove_locked(disks: &Disks, image: &Golden) -> Result<Leftover, Problem> {
    let left = disks.store().destroy(&image.key)?;
    disks.remove_image(image);
    Ok(left)
}

fn image_details(image: &Golden, more: (&str, Detail)) -> BTreeMap<String, Detail> {
    details(&image.digest, image.record().name.as_deref(), more)
}

/// Which images may be dropped when memory is wanted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Droppable {
    /// Only those that were not used for this long.
    pub(crate) idle_for: Duration,
    /// Not this one.
    pub(crate) but: Option<Digest>,
}

/// Drop the image whose last use was the longest ago, of those that have no forks and may be
/// dropped. Frees its memory, which takes longer the more there is. Returns whether there was one.
pub(crate) fn drop_one(disks: &Disks, which: Droppable) -> bool {
    let mut images = disks.all_images();
    images.retain(|image| !stays(image) && Some(image.digest) != which.but);
    images.sort_unstable_by_key(|image| image.record().used_ns);
    images
        .iter()
        .any(|image| drop_if_unused(disks, image, which.idle_for))
}

/// How long until another image may be dropped that was not used for `idle_for`, if there is one.
pub(crate) fn next_within(disks: &Disks, idle_for: Duration) -> Option<Duration> {
    let images = disks.all_images();
    let candidates = images
        .iter()
        .filter(|image| !stays(image) && disks.forks_of(image.id).is_empty());
    let waits = candidates.map(|image| idle_for.saturating_sub(image.idle_for()));
    waits.filter(|wait| !wait.is_zero()).min()
}

/// Whether it stays when memory is wanted.
fn stays(image: &Golden) -> bool {
    let record = image.record();
    record.keep || record.protected
}

/// Change an image. Its content stays as it is.
///
/// # Errors
/// `not-found`.
pub fn patch(disks: &Disks, which: &ImageName, patch: GoldenPatch) -> Result<GoldenImage, Problem> {
    let _control = disks.control();
    let image = disks.find_image(which)?;
    if let Some(protected) = patch.protected {
        image.edit(|record| record.protected = protected)?;
    }
    present(disks, &image)
}

fn drop_if_unused(disks: &Disks, image: &Arc<Golden>, idle_for: Duration) -> bool {
    let control = disks.control();
    let found = disks.find_image(&ImageName::Digest(image.digest));
    let same = found.is_ok_and(|found| Arc::ptr_eq(&found, image));
    if !same || image.idle_for() < idle_for || is_in_use(disks, image) {
        return false;
    }
    let charged_bytes = image.disk.get_info().map_or(0, |info| info.charged_bytes);
    let left = match remove_locked(disks, image) {
        Ok(left) => left,
        Err(problem) => {
            tracing::error!(digest = %image.digest, %problem, "can't drop an image");
            return false;
        }
    };
    tracing::info!(digest = %image.digest, charged_bytes, "memory is wanted: an image is dropped");
    let details = image_details(image, ("charged_bytes", charged_bytes.into()));
    disks.events().tell(EventKind::ImageDropped, None, details);
    drop(control);
    left.free();
    true
}

/// Do `attempt`, and again as long as it finds no memory and an image other than `but` can be
/// dropped.
pub(crate) fn making_room<T>(
    disks: &Disks,
    but: Option<Digest>,
    mut attempt: impl FnMut() -> Result<T, Problem>,
) -> Result<T, Problem> {
    loop {
        // What is over budget may be a quota, or descriptors.
        let refusals = disks.store().pressure().refusals();
        let done = attempt();
        let is_refused = done.is_err() && disks.store().pressure().refusals() != refusals;
        let which = Droppable {
            but,
            ..Droppable::default()
        };
        if !is_refused || !drop_one(disks, which) {
            return done;
        }
    }
}

/// Whether a disk was forked from the image, or shares memory with it as the fork of a fork.
fn is_in_use(disks: &Disks, image: &Golden) -> bool {
    if !disks.forks_of(image.id).is_empty() {
        return true;
    }
    let charged = image.disk.get_info().map(|info| info.charged_bytes);
    let (Ok(charged), Ok(unique)) = (charged, image.disk.unique_bytes()) else {
        return true;
    };
    charged > unique + SETTINGS_BYTES
}
