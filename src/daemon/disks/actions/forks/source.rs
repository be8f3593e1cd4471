//! What disks are forked from: a disk as it is now, a snapshot or point of it, or a golden image.

use std::sync::Arc;

use crate::daemon::disks::actions::branch::snapshots::check_exists;
use crate::daemon::disks::registry::Disks;
use crate::daemon::disks::served::golden::Golden;
use crate::daemon::disks::settings::lineage::Lineage;
use crate::daemon::disks::settings::metadata::Metadata;
use crate::daemon::disks::settings::names::{ImageName, snapshot_key};
use crate::daemon::disks::settings::problems::invalid;
use crate::daemon::disks::settings::state::Birth;
use crate::daemon::disks::settings::valid::ValidDisk;
use crate::model::{DiskSettings, ForkSettings, ForkSource, Missing, Problem, StateChoice};
use crate::store::Bytes;

/// What disks are forked from.
pub(crate) struct Source {
    /// Its key in the store.
    pub(crate) key: String,
    /// The store's number of it.
    pub(crate) id: u64,
    /// Its name in messages and events.
    pub(crate) name: String,
    /// The settings that its forks inherit.
    settings: DiskSettings,
    /// Its content, if it is known.
    lineage: Option<Lineage>,
    /// The saved state, if it is one.
    birth: Option<Birth>,
    /// The image, if it is one.
    pub(crate) image: Option<Arc<Golden>>,
}

impl Source {
    /// Find what a request names. The caller holds the control lock.
    ///
    /// # Errors
    /// `not-found`; `invalid`; `conflict` if its first content is incomplete.
    pub(crate) fn find(disks: &Disks, wanted: &ForkSource) -> Result<Self, Problem> {
        let ForkSource {
            disk,
            snapshot,
            state,
            image,
            ..
        } = wanted;
        match (disk, snapshot, state, image) {
            (Some(disk), snapshot, None, None) => Self::disk(disks, disk, snapshot.as_deref()),
            (Some(disk), None, Some(state), None) => Self::state(disks, disk, *state),
            (None, None, None, Some(image)) => Self::image(disks, image),
            _ => Err(invalid(
                "sources",
                "a source is a disk, or a snapshot or a saved state of one, or an image: name one \
                 of these"
                    .into(),
            )),
        }
    }

    fn disk(disks: &Disks, name: &str, snapshot: Option<&str>) -> Result<Self, Problem> {
        let served = disks.find(name)?;
        served.check_whole("fork it")?;
        let key = match snapshot {
            Some(snapshot) => {
                check_exists(&served, snapshot)?;
                snapshot_key(name, snapshot)?
            }
            None => name.to_owned(),
        };
        let content = disks.store().open(&key)?;
        Ok(Self {
            id: content.get_info()?.id,
            // What a disk has at the moment of the fork is known only of a snapshot.
            lineage: match snapshot {
                Some(_) => Metadata::lineage_of(&content)?,
                None => None,
            },
            // The settings of the disk as it is now, even if the snapshot is older.
            settings: DiskSettings {
                size_bytes: content.capacity().bytes(),
                ..served.settings()?
            },
            name: key.clone(),
            key,
            birth: None,
            image: None,
        })
    }

    fn state(disks: &Disks, name: &str, choice: StateChoice) -> Result<Self, Problem> {
        let served = disks.find(name)?;
        served.check_whole("fork it")?;
        let numbers = served.states.numbers();
        let number = match choice {
            StateChoice::Last => numbers.last().copied(),
            StateChoice::Number(number) => numbers.contains(&number).then_some(number),
        };
        let there = match numbers.as_slice() {
            [] => "its VMM has saved none".to_owned(),
            [only] => format!("there is {only}"),
            [first, .., last] => format!("there are {first} to {last}"),
        };
        let missing = || {
            let detail = format!("there is no saved state {choice} of disk {name:?}: {there}");
            Problem::missing(Missing::SavedState, detail)
        };
        let state = served.states.name(number.ok_or_else(missing)?);
        let key = state.to_string();
        // Its VMM may save another one at any time, and the oldest one is destroyed.
        let content = disks.store().open(&key).map_err(|_| missing())?;
        let info = content.get_info()?;
        let lineage = match Metadata::lineage_of(&content)? {
            Some(lineage) => lineage,
            None => Lineage::new(&content)?,
        };
        Ok(Self {
            id: info.id,
            lineage: Some(lineage),
            settings: DiskSettings {
                size_bytes: info.size_bytes,
                ..served.settings()?
            },
            birth: Some(Birth {
                state,
                size_bytes: info.size_bytes,
            }),
            name: format!("state {} of {name}", state.number),
            key,
            image: None,
        })
    }

    fn image(disks: &Disks, which: &str) -> Result<Self, Problem> {
        let image = disks.find_image(&ImageName::parse(which)?)?;
        let info = image.disk.get_info()?;
        let content = image.record().content();
        Ok(Self {
            key: image.key.clone(),
            id: image.id,
            name: image.address(),
            settings: DiskSettings::new(info.size_bytes),
            lineage: Some(Lineage::of(content, &image.disk)?),
            birth: None,
            image: Some(image),
        })
    }

    /// The fork called `name`.
    ///
    /// # Errors
    /// `invalid`, with the field; `over-budget` for a quota that is larger than the pool.
    pub(crate) fn fork(
        &self,
        disks: &Disks,
        name: &str,
        settings: &ForkSettings,
    ) -> Result<ValidDisk, Problem> {
        let (least_bytes, block_size) = (self.settings.size_bytes, self.settings.block_size);
        if self.birth.is_some() && settings.block_size.is_some_and(|it| it != block_size) {
            return Err(invalid(
                "block_size",
                format!(
                    "{} is that of a guest which knows blocks of {block_size} bytes: leave out the \
                     block size, or fork a snapshot",
                    self.name
                ),
            ));
        }
        let settings = settings.of_fork(name, self.settings.clone());
        if settings.size_bytes < least_bytes {
            return Err(invalid(
                "size_bytes",
                format!(
                    "{} has {} and does not fit into {}: give {least_bytes} or more",
                    self.name,
                    Bytes(least_bytes),
                    Bytes(settings.size_bytes)
                ),
            ));
        }
        let valid = ValidDisk::new(name, settings, disks.store().limit_bytes())?;
        let valid = match &self.image {
            Some(image) => valid.with_origin(image.record().origin())?,
            None => valid,
        };
        valid.made_from(self.lineage)?.born_of(self.birth)
    }
}
