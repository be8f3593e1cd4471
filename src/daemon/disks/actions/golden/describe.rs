//! Describing golden images.

use crate::daemon::disks::registry::Disks;
use crate::daemon::disks::served::golden::{Fetch, Golden};
use crate::daemon::disks::served::uploads::Progress;
use crate::daemon::disks::settings::names::ImageName;
use crate::model::{Digest, GoldenImage, GoldenState, Problem};

/// All images, and those that are being fetched, sorted by name and then by digest.
pub fn list(disks: &Disks) -> Vec<GoldenImage> {
    let images = disks.all_images();
    // An image that is removed meanwhile is left out.
    let present = images.iter().filter_map(|image| present(disks, image).ok());
    let mut all: Vec<_> = present.collect();
    let fetches = disks.fetches.all();
    // Fetched since the list was made.
    let is_new = |digest: &Digest| images.iter().all(|image| image.digest != *digest);
    let coming = fetches.iter().filter(|(digest, _)| is_new(digest));
    all.extend(coming.map(|(digest, fetch)| fetching(*digest, fetch)));
    all.sort_unstable_by(|one, two| {
        let key = |image: &GoldenImage| (image.name.is_none(), image.name.clone(), image.digest);
        key(one).cmp(&key(two))
    });
    all
}

/// An image, or one that is being fetched.
///
/// # Errors
/// `not-found`.
pub fn get(disks: &Disks, which: &ImageName) -> Result<GoldenImage, Problem> {
    let found = disks.find_image(which);
    if let (Err(_), ImageName::Digest(digest)) = (&found, which)
        && let Some(fetch) = disks.fetches.get(digest)
    {
        return Ok(fetching(*digest, &fetch));
    }
    present(disks, &*found?)
}

/// An image of which all is there.
pub(crate) fn present(disks: &Disks, image: &Golden) -> Result<GoldenImage, Problem> {
    let (info, record) = (image.disk.get_info()?, image.record());
    Ok(GoldenImage {
        digest: record.digest,
        name: record.name,
        source: record.source,
        format: record.format,
        state: GoldenState::Present,
        size_bytes: info.size_bytes,
        mapped_bytes: info.mapped_bytes,
        charged_bytes: info.charged_bytes,
        keep: record.keep,
        protected: record.protected,
        pulled_ns: record.pulled_ns,
        used_ns: record.used_ns,
        forks: disks.forks_of(image.id),
        import: None,
    })
}

/// An image that is being fetched.
pub(crate) fn fetching(digest: Digest, fetch: &Fetch) -> GoldenImage {
    let import = fetch.progress.as_deref().map(Progress::describe);
    GoldenImage {
        digest,
        name: fetch.request.name.clone(),
        source: fetch.request.source.clone(),
        format: fetch.request.format.clone(),
        state: GoldenState::Fetching,
        size_bytes: 0,
        mapped_bytes: 0,
        charged_bytes: 0,
        keep: fetch.request.keep.unwrap_or(false),
        protected: false,
        pulled_ns: 0,
        used_ns: 0,
        forks: Vec::new(),
        import,
    }
}
