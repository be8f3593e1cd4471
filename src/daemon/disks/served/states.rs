//! The state of a disk in a VM's snapshot (vhost-user's DEVICE_STATE).
//!
//! A VMM that saves a VM asks each device for its state. The content of a RAM disk may be large, so
//! the state only names it: saving takes a snapshot in the store, which costs nothing, and the
//! state has its name. Loading replaces the disk's content by that of the snapshot. On another
//! host, in another store, or if the snapshot is gone, loading fails: that is the only answer that
//! loses no data.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::daemon::disks::settings::lineage::Lineage;
use crate::daemon::disks::settings::metadata::Metadata;
use crate::daemon::disks::settings::names::STATE_PREFIX;
use crate::daemon::disks::settings::origin::Origin;
use crate::device::{SavedState, StateError};
use crate::store::{Leftover, Store};

/// How many states of one disk are kept. A front end can save as often as it likes, and snapshots
/// hold memory, so the oldest one is destroyed.
const MOST_SAVED: usize = 8;

/// The first word of a state, and the version of the words after it.
const MAGIC: &str = "ramblk-disk-state";
const VERSION: &str = "1";

/// Saves and loads the state of one disk.
#[derive(Debug)]
pub(crate) struct SavedStates {
    store: Arc<Store>,
    key: String,
    id: u64,
    known: Mutex<Known>,
    /// The disk's metadata. Locked after `known`.
    metadata: Arc<Mutex<Metadata>>,
}

/// What is known of the states of the disk.
#[derive(Debug)]
enum Known {
    /// Not looked for yet: most disks are never saved.
    Nothing,
    /// The snapshots of the disk's states.
    All(Snapshots),
    /// The disk was destroyed. Another disk may have its name now.
    Gone,
}

#[derive(Debug, Default)]
struct Snapshots {
    /// Keys of the snapshots, the oldest first.
    keys: VecDeque<String>,
    next: u64,
}

fn refused(error: impl std::fmt::Display) -> StateError {
    StateError(error.to_string())
}

impl SavedStates {
    /// The states of the disk that `store` has under `key` with number `id`. A disk that `is_new`
    /// has none.
    pub(crate) fn new(
        store: &Arc<Store>,
        key: &str,
        id: u64,
        metadata: &Arc<Mutex<Metadata>>,
        is_new: bool,
    ) -> Self {
        let known = match is_new {
            true => Known::All(Snapshots::default()),
            false => Known::Nothing,
        };
        Self {
            store: Arc::clone(store),
            key: key.to_owned(),
            id,
            known: Mutex::new(known),
            metadata: Arc::clone(metadata),
        }
    }

    /// The disk's states.
    fn saved<'a>(&self, known: &'a mut Known) -> Result<&'a mut Snapshots, StateError> {
        if matches!(known, Known::Nothing) {
            *known = Known::All(self.find_saved());
        }
        match known {
            Known::All(saved) => Ok(saved),
            Known::Nothing | Known::Gone => Err(refused("the disk was destroyed")),
        }
    }

    /// Find this disk's states in the store.
    fn find_saved(&self) -> Snapshots {
        let prefix = prefix(self.id);
        let number = |key: &String| key.strip_prefix(&prefix)?.parse().ok();
        let mut numbers: Vec<u64> = self.store.keys().iter().filter_map(number).collect();
        numbers.sort_unstable();
        Snapshots {
            next: numbers.last().map_or(0, |last| last + 1),
            keys: numbers.iter().map(|n| format!("{prefix}{n}")).collect(),
        }
    }

    /// Destroy all saved states, after the disk was destroyed. From then on none can be saved or
    /// loaded.
    pub(crate) fn forget(&self) -> Vec<Leftover> {
        let known = std::mem::replace(&mut *self.known.lock(), Known::Gone);
        let saved = match known {
            Known::All(saved) => saved,
            Known::Nothing => self.find_saved(),
            Known::Gone => Snapshots::default(),
        };
        // If another thread has destroyed one, nothing is left to do.
        let destroy = |key: &String| self.store.destroy(key).ok();
        saved.keys.iter().filter_map(destroy).collect()
    }

    /// The state for `snapshot`, whose size is `size_bytes`. It is readable text, so that a person
    /// who finds it in a VM's snapshot can see what it is.
    fn words(&self, snapshot: &str, size_bytes: u64) -> String {
        format!(
            "{MAGIC} {VERSION} pool={:032x} disk={} snapshot={snapshot} size_bytes={size_bytes}\n",
            self.store.id(),
            self.id
        )
    }
}

fn prefix(id: u64) -> String {
    format!("{STATE_PREFIX}{id}.")
}

impl SavedState for Arc<SavedStates> {
    fn save(&self) -> Result<Vec<u8>, StateError> {
        let mut known = self.known.lock();
        let saved = self.saved(&mut known)?;
        let key = format!("{}{}", prefix(self.id), saved.next);
        let snapshot = self.store.snapshot(&self.key, &key).map_err(refused)?;
        saved.next += 1;
        saved.keys.push_back(key.clone());
        let oldest = (saved.keys.len() > MOST_SAVED).then(|| saved.keys.pop_front());
        let left = match oldest.flatten() {
            Some(oldest) => {
                tracing::info!(
                    snapshot = oldest,
                    "the oldest saved state of the disk is destroyed"
                );
                Some(self.store.destroy(&oldest).map_err(refused)?)
            }
            None => None,
        };
        // Its memory is freed after the lock is released.
        drop(known);
        drop(left);
        let size_bytes = snapshot.get_info().map_err(refused)?.size_bytes;
        Ok(self.words(&key, size_bytes).into_bytes())
    }

    fn load(&self, state: &[u8]) -> Result<(), StateError> {
        let text = std::str::from_utf8(state).unwrap_or_default();
        let mut words = text.split_whitespace();
        if words.next() != Some(MAGIC) {
            return Err(refused("this is not a saved state of a ramblk disk"));
        }
        match words.next() {
            Some(VERSION) => {}
            other => {
                return Err(refused(format_args!(
                    "the saved state has version {other:?}; {VERSION} is known"
                )));
            }
        }
        let field = |name: &str| words.clone().find_map(|word| word.strip_prefix(name));
        let pool = format!("{:032x}", self.store.id());
        if field("pool=") != Some(&pool) {
            return Err(refused(format_args!(
                "the state was saved in another store, and its bytes are there; this is {pool}"
            )));
        }
        let snapshot = field("snapshot=").unwrap_or_default();
        if field("disk=") != Some(&self.id.to_string()) || !snapshot.starts_with(&prefix(self.id)) {
            return Err(refused("the state was saved of another disk"));
        }
        // Held while it is loaded, so that no other save destroys it.
        let mut known = self.known.lock();
        let saved = self.saved(&mut known)?;
        if !saved.keys.iter().any(|key| key == snapshot) {
            return Err(refused(format_args!(
                "snapshot {snapshot} is gone: the last {MOST_SAVED} states are kept"
            )));
        }
        let source = self.store.open(snapshot).map_err(refused)?;
        let size_bytes = source.get_info().map_err(refused)?.size_bytes;
        if self.words(snapshot, size_bytes) != text {
            return Err(refused("the saved state is damaged"));
        }
        let mut metadata = self.metadata.lock();
        let mut new = metadata.clone();
        // The image that the content was made from is the one of that moment.
        new.origin = Origin::of_snapshot(&source.settings().map_err(refused)?);
        new.lineage = new.lineage.map(Lineage::left_behind);
        let blob = new.encode().map_err(|problem| refused(problem.detail))?;
        let left = self.store.reset_with(&self.key, snapshot, Some(&blob), 0);
        let left = left.map_err(refused)?;
        *metadata = new;
        drop((metadata, known));
        left.free();
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::store::{DiskSpec, SectorSize};

    /// Of the disk "disk" of `store`.
    fn of_disk(store: &Arc<Store>, is_new: bool) -> Arc<SavedStates> {
        let settings = crate::model::DiskSettings::new(1 << 20);
        let metadata = Arc::new(Mutex::new(Metadata::of(&settings)));
        let id = store.open("disk").unwrap().get_info().unwrap().id;
        Arc::new(SavedStates::new(store, "disk", id, &metadata, is_new))
    }

    fn saved_states() -> Arc<SavedStates> {
        let store = Arc::new(Store::new(64 << 20).unwrap());
        let spec = DiskSpec::new(SectorSize::S512, 1 << 20);
        store.create("disk", &spec).unwrap();
        of_disk(&store, true)
    }

    fn first_byte(states: &SavedStates) -> u8 {
        let mut sector = [0; 512];
        let disk = states.store.open("disk").unwrap();
        disk.read(0, &mut [&mut sector]).unwrap();
        sector[0]
    }

    fn write(states: &SavedStates, byte: u8) {
        let disk = states.store.open("disk").unwrap();
        disk.write(0, &[&[byte; 512]]).unwrap();
    }

    #[test]
    fn a_loaded_state_brings_the_bytes_back_as_often_as_wanted() {
        let states = saved_states();
        write(&states, 1);
        let state = states.save().unwrap();
        for byte in [2, 3] {
            write(&states, byte);
            states.load(&state).unwrap();
            assert_eq!(first_byte(&states), 1);
        }
    }

    #[test]
    fn states_of_another_store_another_disk_or_none_are_refused_and_change_nothing() {
        let (states, other) = (saved_states(), saved_states());
        write(&states, 7);
        let foreign = other.save().unwrap();
        assert!(
            states
                .load(&foreign)
                .unwrap_err()
                .0
                .contains("another store")
        );
        let own = states.save().unwrap();
        let text = String::from_utf8(own.clone()).unwrap();
        for damaged in [
            String::new(),
            text.replace("state 1", "state 2"),
            text.replace("disk=", "disk=9"),
            text.replace("size_bytes=1", "size_bytes=2"),
            text.replace("snapshot=@state", "snapshot=disk"),
            text.replace('\n', " more\n"),
        ] {
            assert!(states.load(damaged.as_bytes()).is_err(), "{damaged}");
        }
        assert!(states.load(&[0xff; 100]).is_err());
        assert_eq!(first_byte(&states), 7);
        states.load(&own).unwrap();
    }

    /// A front end of a disk that was destroyed goes on asking.
    #[test]
    fn a_state_saved_beside_a_destroy_leaves_nothing_and_touches_no_other_disk_of_that_name() {
        let states = saved_states();
        write(&states, 1);
        let state = states.save().unwrap();
        states.store.destroy("disk").unwrap();
        // After the disk was destroyed, and before its states are.
        assert!(states.save().is_err());
        states.forget();
        let spec = DiskSpec::new(SectorSize::S512, 1 << 20);
        states.store.create("disk", &spec).unwrap();
        write(&states, 9);
        assert!(states.save().unwrap_err().0.contains("destroyed"));
        assert!(states.load(&state).unwrap_err().0.contains("destroyed"));
        assert_eq!(first_byte(&states), 9);
        assert_eq!(states.store.keys(), ["disk"]);
    }

    #[test]
    fn only_the_last_states_are_kept() {
        let states = saved_states();
        let saved: Vec<_> = (0..=MOST_SAVED).map(|_| states.save().unwrap()).collect();
        assert!(states.load(&saved[0]).unwrap_err().0.contains("is gone"));
        states.load(&saved[1]).unwrap();
        assert_eq!(states.store.keys().len(), MOST_SAVED + 1);
        // A later process finds those that are kept.
        let again = of_disk(&states.store, false);
        again.load(&saved[1]).unwrap();
        again.save().unwrap();
        assert!(again.load(&saved[1]).is_err());
    }
}
