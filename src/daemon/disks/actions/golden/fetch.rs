//! Fetching a golden image, by one client at a time: the others wait for it, and if it breaks off,
//! the next one begins.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::describe::{fetching, present};
use crate::daemon::disks::actors;
use crate::daemon::disks::events::Events;
use crate::daemon::disks::registry::Disks;
use crate::daemon::disks::served::filling::fill;
use crate::daemon::disks::served::golden::{Fetch, Fetches, Golden};
use crate::daemon::disks::served::uploads::Progress;
use crate::daemon::disks::settings::golden::{GoldenRecord, now_ns};
use crate::daemon::disks::settings::names::{IMPORT_PREFIX, ImageName, check_name, image_key};
use crate::daemon::disks::settings::origin::{check_image, nothing};
use crate::daemon::disks::settings::problems::{conflict, invalid};
use crate::model::{
    Actor, ContentId, Detail, Digest, EventKind, GoldenImage, GoldenOffer, GoldenRequest, Image,
    Problem,
};
use crate::store::{
    Bytes, Change, Disk, DiskSpec, MAX_CAPACITY_BYTES, OnFull, SectorSize, Shrink, Store,
};

/// Offer an image: it is present, or the caller is to fetch it, or another client does.
///
/// # Errors
/// `invalid`; `conflict` if the name is that of another image, or the image has another name;
/// `over-budget`.
pub fn offer(
    disks: &Disks,
    digest: Digest,
    request: &GoldenRequest,
) -> Result<GoldenOffer, Problem> {
    check_image(&Image {
        name: request.source.clone(),
        id: None,
        size_bytes: None,
    })?;
    let name = request.name.as_deref();
    name.map_or(Ok(()), check_name)?;
    check_format_name(request.format.as_deref())?;
    let _control = disks.control();
    check_name_is_free(disks, &digest, name)?;
    if let Ok(image) = disks.find_image(&ImageName::Digest(digest)) {
        check_format(&digest, image.record().format.as_deref(), request)?;
        adjust(&image, request)?;
        return Ok(GoldenOffer {
            image: present(disks, &image)?,
            fetch: None,
        });
    }
    check_key_is_free(disks, &digest)?;
    if let Some(other) = disks.fetches.get(&digest) {
        check_format(&digest, other.request.format.as_deref(), request)?;
    }
    let fetch = disks.fetches.claim(digest, request);
    let known = disks.fetches.get(&digest);
    let image = known.map(|known| fetching(digest, &known));
    // A claim can't be overdue at once.
    let image = image.ok_or_else(|| conflict(format!("image {digest} is not being fetched")))?;
    Ok(GoldenOffer { image, fetch })
}

/// Check that this can be the name of a format. Which formats there are, only clients know.
fn check_format_name(format: Option<&str>) -> Result<(), Problem> {
    let known = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'.';
    match format {
        Some(text) if text.is_empty() || text.len() > 32 || !text.bytes().all(known) => {
            Err(invalid(
                "format",
                format!("{text:?} is not the name of a format: use 1 to 32 of a-z 0-9 ."),
            ))
        }
        _ => Ok(()),
    }
}

/// Check that a request takes the file for the same format as the client that fetched it.
fn check_format(
    digest: &Digest,
    had: Option<&str>,
    request: &GoldenRequest,
) -> Result<(), Problem> {
    if had == request.format.as_deref() {
        return Ok(());
    }
    let words = |format: Option<&str>| match format {
        Some(format) => format!("as {format}"),
        None => "without naming its format".to_owned(),
    };
    Err(conflict(format!(
        "image {digest} was pulled {}, and you ask for it {}, which may be other content: ask for \
         it in the same way, or remove it first",
        words(had),
        words(request.format.as_deref())
    )))
}

/// Check that no other image has this name.
fn check_name_is_free(disks: &Disks, digest: &Digest, name: Option<&str>) -> Result<(), Problem> {
    let Some(name) = name else {
        return Ok(());
    };
    let images = disks.all_images().into_iter();
    let there = images.map(|image| (image.digest, image.record().name));
    let fetches = disks.fetches.all().into_iter();
    let coming = fetches.map(|(digest, fetch)| (digest, fetch.request.name));
    let mut others = there.chain(coming).filter(|(other, _)| other != digest);
    match others.find(|(_, other)| other.as_deref() == Some(name)) {
        None => Ok(()),
        Some((other, _)) => Err(conflict(format!(
            "image {other} has the name {name:?} already: choose another one, or remove that image \
             first"
        ))),
    }
}

/// Check that no image has the same key, which has only some digits of the digest.
fn check_key_is_free(disks: &Disks, digest: &Digest) -> Result<(), Problem> {
    let key = image_key(digest);
    match disks.store().open(&key) {
        Err(_) => Ok(()),
        Ok(_) => Err(conflict(format!(
            "the store has a disk {key:?}, which is not image {digest}: nothing can be pulled there"
        ))),
    }
}

/// Give an image the requested name, and keep it or not.
fn adjust(image: &Golden, request: &GoldenRequest) -> Result<(), Problem> {
    let had = image.record();
    if let (Some(had), Some(name)) = (&had.name, &request.name)
        && had != name
    {
        return Err(conflict(format!(
            "image {} has the name {had:?}, which can't be changed: remove it first, or leave out \
             the name {name:?}",
            image.digest
        )));
    }
    image.edit(|record| {
        record.name = record.name.take().or_else(|| request.name.clone());
        record.keep = request.keep.unwrap_or(record.keep);
    })
}

/// The content of a golden image on its way. If you drop it before [`finish`], there is no image;
/// dropping it takes longer the more content has arrived.
#[derive(Debug)]
pub struct ImageFetch {
    digest: Digest,
    fetch: Fetch,
    store: Arc<Store>,
    events: Arc<Events>,
    /// Who sends it. It may end on another thread than that of a request.
    by: Actor,
    /// The hidden disk that it fills, and its key.
    disk: Disk,
    key: String,
    progress: Arc<Progress>,
    content_id: Option<ContentId>,
    done: AtomicBool,
    /// Why it failed.
    reason: Mutex<Option<String>>,
    fetches: Arc<Fetches>,
}

/// Begin to send the content of an image, under the `number` of [`offer`]. It will have
/// `length_bytes`, if that is known.
///
/// # Errors
/// `conflict` if another client is fetching the image, or it is present; `over-budget`.
pub fn begin(
    disks: &Disks,
    digest: Digest,
    number: u64,
    length_bytes: Option<u64>,
) -> Result<ImageFetch, Problem> {
    let _control = disks.control();
    let progress = Arc::new(Progress::new(length_bytes));
    let fetch = disks.fetches.begin(&digest, number, &progress);
    let fetch = fetch.ok_or_else(|| {
        conflict(format!(
            "image {digest} is not to be fetched under number {number}: ask for it again with PUT"
        ))
    })?;
    let key = format!("{IMPORT_PREFIX}image.{number}");
    // The length of a stream is known only at its end.
    let mut spec = DiskSpec::new(SectorSize::S512, MAX_CAPACITY_BYTES);
    spec.on_full = OnFull::Error;
    let made = disks.store().create(&key, &spec);
    let disk = made.inspect_err(|_| disks.fetches.end(&digest, number))?;
    Ok(ImageFetch {
        digest,
        fetch,
        store: Arc::clone(disks.store()),
        events: Arc::clone(disks.events()),
        by: actors::current(),
        disk: disk.into_never_waiting(),
        key,
        progress,
        content_id: None,
        done: AtomicBool::new(false),
        reason: Mutex::new(None),
        fetches: Arc::clone(&disks.fetches),
    })
}

impl ImageFetch {
    /// The most content in bytes.
    pub fn size_bytes(&self) -> u64 {
        self.disk.capacity().bytes()
    }

    /// The same, with the identifier of the content, if that is known.
    #[must_use]
    pub fn of_content(mut self, id: Option<ContentId>) -> Self {
        self.content_id = id;
        self
    }

    /// Write `bytes` at `start_bytes`, as [`Upload::write`](crate::daemon::disks::Upload::write).
    ///
    /// # Errors
    /// `invalid`; `over-budget`, without waiting, if there is no memory.
    pub fn write(&self, start_bytes: u64, bytes: &[u8]) -> Result<(), Problem> {
        let end = fill(&self.disk, start_bytes, bytes)?;
        self.reached(end);
        Ok(())
    }

    /// Note that the content has arrived up to here, including holes.
    pub fn reached(&self, bytes: u64) {
        self.progress.reached(bytes);
    }

    /// Note why it failed. Only the first reason is kept.
    pub fn fail(&self, reason: &str) {
        self.reason.lock().get_or_insert_with(|| reason.to_owned());
    }

    fn tell(&self, kind: EventKind, more: (&str, Detail)) {
        let details = details(&self.digest, self.fetch.request.name.as_deref(), more);
        self.events.tell_by(self.by.clone(), kind, None, details);
    }
}

/// The details of an event of an image.
pub(crate) fn details(
    digest: &Digest,
    name: Option<&str>,
    more: (&str, Detail),
) -> BTreeMap<String, Detail> {
    let name = name.map(|name| ("name".to_owned(), name.into()));
    let digest = ("digest".to_owned(), digest.to_string().into());
    let more = (more.0.to_owned(), more.1);
    [digest, more].into_iter().chain(name).collect()
}

impl Drop for ImageFetch {
    fn drop(&mut self) {
        if self.done.load(Ordering::Relaxed) {
            return;
        }
        // Nothing else has its key.
        let left = self.store.destroy(&self.key);
        // The claim ends before listeners are told, so that the next one may begin at once.
        self.fetches.end(&self.digest, self.fetch.number);
        self.fail("it broke off");
        let reason = self.reason.lock().take().unwrap_or_default();
        tracing::info!(digest = %self.digest, reason, "an image was not pulled");
        self.tell(EventKind::ImageFailed, ("reason", reason.into()));
        drop(left);
    }
}

/// All of an image's content, `content_bytes`, has arrived: the image is there from now on.
///
/// # Errors
/// `invalid` if there is no content; `conflict` if its name was taken meanwhile; `over-budget`.
/// There is no image then.
pub fn finish(
    disks: &Disks,
    fetch: &ImageFetch,
    content_bytes: u64,
) -> Result<GoldenImage, Problem> {
    fetch.reached(content_bytes);
    let finished = finish_now(disks, fetch, content_bytes);
    finished.inspect_err(|problem| fetch.fail(&problem.detail))
}

fn finish_now(
    disks: &Disks,
    fetch: &ImageFetch,
    content_bytes: u64,
) -> Result<GoldenImage, Problem> {
    if content_bytes == 0 {
        return Err(nothing("data"));
    }
    if let Some(total_bytes) = fetch.progress.total_bytes.filter(|&it| it != content_bytes) {
        return Err(invalid(
            "image_bytes",
            format!(
                "the image has {}, but {} arrived: it is not kept",
                Bytes(total_bytes),
                Bytes(content_bytes)
            ),
        ));
    }
    let now = now_ns();
    let request = fetch.fetch.request.clone();
    let record = GoldenRecord {
        digest: fetch.digest,
        name: request.name,
        source: request.source,
        format: request.format,
        content_bytes,
        content_id: fetch.content_id,
        keep: request.keep.unwrap_or(false),
        protected: false,
        pulled_ns: now,
        used_ns: now,
    };
    let blob = record.encode()?;
    let change = Change {
        settings: Some(&blob),
        read_only: Some(true),
        ..Change::default()
    };
    let sector_bytes = fetch.disk.sector_size().bytes();
    let size_bytes = content_bytes.next_multiple_of(sector_bytes);
    let control = disks.control();
    // What was not sent is not mapped, so nothing is cut off.
    let cut = Some((size_bytes, Shrink::Allow));
    let left = fetch.disk.change(&change, cut)?;
    let key = image_key(&fetch.digest);
    // From this store on the image is there, also for a process that starts after a crash.
    disks.store().rename(&fetch.key, &key)?;
    fetch.done.store(true, Ordering::Relaxed);
    let image = disks.insert_image(Golden::new(disks.store().open(&key)?, record)?);
    disks.fetches.end(&fetch.digest, fetch.fetch.number);
    let described = present(disks, &image)?;
    fetch.tell(
        EventKind::ImagePulled,
        ("content_bytes", content_bytes.into()),
    );
    drop(control);
    drop(left);
    Ok(described)
}
