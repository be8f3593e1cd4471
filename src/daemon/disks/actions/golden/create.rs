//! Creating a disk from a golden image, without copying.

use super::remove::making_room;
use crate::daemon::disks::actions::describe::describe;
use crate::daemon::disks::actions::{create, groups};
use crate::daemon::disks::registry::Disks;
use crate::daemon::disks::settings::lineage::Lineage;
use crate::daemon::disks::settings::names::{ImageName, Made};
use crate::daemon::disks::settings::problems::invalid;
use crate::daemon::disks::settings::valid::ValidDisk;
use crate::model::{Disk, DiskSettings, EventKind, Image, Problem};
use crate::store::Bytes;

/// Create a disk with the content of an image, or find one with the same settings that was made
/// from it. The disk may be larger than the image, and have blocks of either size.
///
/// # Errors
/// `not-found` if there is no such image; `invalid` if the disk would be smaller than the image;
/// `conflict` if the disk exists with other settings, or was made from something
/// else; `over-budget`.
pub fn put(
    disks: &Disks,
    name: &str,
    settings: &DiskSettings,
    which: &ImageName,
) -> Result<(Disk, Made), Problem> {
    let image = disks.find_image(which).ok();
    let but = image.map(|image| image.digest);
    // A record needs a page or two, which other images may have.
    making_room(disks, but, || {
        put_once(disks, name, settings.clone(), which)
    })
}

fn put_once(
    disks: &Disks,
    name: &str,
    settings: DiskSettings,
    which: &ImageName,
) -> Result<(Disk, Made), Problem> {
    let valid = ValidDisk::new(name, settings, disks.store().limit_bytes())?;
    let _control = disks.control();
    let image = disks.find_image(which);
    if let Ok(served) = disks.find(name) {
        // A disk that was made from an image outlives it.
        let digest = match (&image, which) {
            (Ok(image), _) => image.digest,
            (Err(_), ImageName::Digest(digest)) => *digest,
            (Err(problem), ImageName::Name(_)) => return Err(problem.clone()),
        };
        served.check_made_from(&Image {
            name: which.to_string(),
            id: Some(digest.to_string()),
            size_bytes: None,
        })?;
        served.check_whole("take it as made")?;
        return create::existing(disks, &served, &valid);
    }
    let image = image?;
    let info = image.disk.get_info()?;
    if valid.spec.size_bytes < info.size_bytes {
        return Err(invalid(
            "size_bytes",
            format!(
                "image {which} has {} and does not fit into {}: give {} or more",
                Bytes(info.size_bytes),
                Bytes(valid.spec.size_bytes),
                info.size_bytes
            ),
        ));
    }
    let record = image.record();
    let lineage = Lineage::of(record.content(), &image.disk)?;
    let valid = valid.with_origin(record.origin())?;
    let valid = valid.made_from(Some(lineage))?;
    create::check_room(disks)?;
    disks.factory.check_owner(None, &valid.settings)?;
    disks.factory.check(name)?;
    let limiter = groups::limiter(disks, valid.settings.group.as_deref())?;
    let disk = disks
        .store()
        .fork_as(&image.key, name, &valid.spec, &valid.blob)?;
    let served = create::serve_new(disks, name, disk, &valid, limiter)?;
    image.touch();
    let events = disks.events();
    events.tell_with(EventKind::Forked, name, "from", image.address());
    Ok((describe(disks, &served)?, Made::New))
}
