//! The state of a disk in a VM's snapshot (vhost-user's DEVICE_STATE).
//!
//! A VMM that saves a VM asks each device for its state. The content of a RAM disk may be large, so
//! the state only names it: saving takes a snapshot in the store, which costs nothing, and the
//! state has its name. Loading replaces the disk's content by that of the snapshot. On another
//! host, in another store, or if the snapshot is gone, loading fails: that is the only answer that
//! loses no data.
//!
//! A disk that was forked from a saved state, a clone, can load just that one too, so that the VM
//! runs once more on the clone. The state alone opens nothing: the client of the API that forks the
//! disk says which one it may load, or a front end could read another tenant's disk. A clone that
//! has not been written yet has the content already, and needs the state's snapshot no more.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::daemon::disks::settings::lineage::Lineage;
use crate::daemon::disks::settings::metadata::Metadata;
use crate::daemon::disks::settings::origin::Origin;
use crate::daemon::disks::settings::state::{Birth, StateName};
use crate::device::{SavedState, StateError};
use crate::model::Problem;
use crate::store::{Change, Disk, Leftover, Store};

/// How many states of one disk are kept. A front end can save as often as it likes, and snapshots
/// hold memory, so the oldest one is destroyed.
const MOST_SAVED: usize = 8;

/// The first word of a state, and the version of the words after it.
const MAGIC: &str = "ramblk-disk-state";
const VERSION: &str = "1";
/// What is said of a state that is not as it was saved.
const DAMAGED: &str = "the saved state is damaged";

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
    /// The states' numbers, the oldest first.
    numbers: VecDeque<u64>,
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
        let keys = self.store.keys();
        let names = keys.iter().filter_map(|key| StateName::parse(key));
        let mut numbers: Vec<u64> = names
            .filter(|name| name.disk == self.id)
            .map(|name| name.number)
            .collect();
        numbers.sort_unstable();
        Snapshots {
            next: numbers.last().map_or(0, |last| last + 1),
            numbers: numbers.into(),
        }
    }

    /// The numbers of the states that are kept, the oldest first.
    pub(crate) fn numbers(&self) -> Vec<u64> {
        let mut known = self.known.lock();
        let saved = self.saved(&mut known);
        saved.map_or_else(
            |_| Vec::new(),
            |saved| saved.numbers.iter().copied().collect(),
        )
    }

    /// The name of this disk's state `number`.
    pub(crate) fn name(&self, number: u64) -> StateName {
        StateName {
            disk: self.id,
            number,
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
        let destroy = |number: &u64| self.store.destroy(&self.name(*number).to_string()).ok();
        saved.numbers.iter().filter_map(destroy).collect()
    }

    /// The text of state `name`, whose size is `size_bytes`. A person who finds it in a VM's
    /// snapshot can see what it is.
    fn words(&self, name: StateName, size_bytes: u64) -> String {
        let StateName { disk, .. } = name;
        format!(
            "{MAGIC} {VERSION} pool={:032x} disk={disk} snapshot={name} size_bytes={size_bytes}\n",
            self.store.id(),
        )
    }

    /// Take the snapshot `key`, with an identifier of its content.
    fn keep(&self, key: &str) -> Result<Disk, StateError> {
        let detail = |problem: Problem| refused(problem.detail);
        let metadata = self.metadata.lock().clone();
        // Whatever the disk has been made from, it may have been written since.
        let settings = metadata.for_snapshot(None).map_err(detail)?;
        let change = Change {
            settings: Some(&settings),
            ..Change::default()
        };
        let taken = self.store.snapshot_with(&self.key, key, &change);
        let taken = taken.map_err(refused)?;
        let named = Lineage::new(&taken).map_err(refused).and_then(|lineage| {
            let settings = metadata.for_snapshot(Some(lineage)).map_err(detail)?;
            taken.set_settings(&settings).map_err(refused)
        });
        named.inspect_err(|_| drop(self.store.destroy(key)))?;
        Ok(taken)
    }

    /// The name in a state of this store.
    fn parse(&self, text: &str) -> Result<StateName, StateError> {
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
        let name = field("snapshot=").and_then(StateName::parse);
        name.filter(|name| field("disk=") == Some(&name.disk.to_string()))
            .ok_or_else(|| refused(DAMAGED))
    }

    /// Replace the content by that of state `name`, and the state's text must be `text`.
    fn replace(&self, name: StateName, text: &str) -> Result<(), StateError> {
        let key = name.to_string();
        let gone = || {
            refused(format_args!(
                "snapshot {key} is gone: the last {MOST_SAVED} states of a disk are kept, while \
                 it is there"
            ))
        };
        let source = self.store.open(&key).map_err(|_| gone())?;
        let size_bytes = source.get_info().map_err(|_| gone())?.size_bytes;
        if self.words(name, size_bytes) != text {
            return Err(refused(DAMAGED));
        }
        let mut metadata = self.metadata.lock();
        let mut new = metadata.clone();
        // The image that the content was made from is the one of that moment.
        new.origin = Origin::of_snapshot(&source.settings().map_err(refused)?);
        new.lineage = Metadata::lineage_of(&source).map_err(refused)?;
        new.identity = new.identity.changed();
        let blob = new.encode().map_err(|problem| refused(problem.detail))?;
        let left = self.store.reset_with(&self.key, &key, Some(&blob), 0);
        let left = left.map_err(refused)?;
        *metadata = new;
        drop(metadata);
        left.free();
        Ok(())
    }

    /// Load the state that this disk was forked from.
    fn load_birth(&self, birth: Birth, text: &str) -> Result<(), StateError> {
        if self.words(birth.state, birth.size_bytes) != text {
            return Err(refused(DAMAGED));
        }
        let lineage = self.metadata.lock().lineage;
        let disk = self.store.open(&self.key).map_err(refused)?;
        let has_it = lineage.map(|lineage| lineage.is_content_of(&disk));
        if has_it.transpose().map_err(refused)? == Some(true) {
            return Ok(());
        }
        self.replace(birth.state, text)
    }
}

impl SavedState for Arc<SavedStates> {
    fn save(&self) -> Result<Vec<u8>, StateError> {
        let mut known = self.known.lock();
        let saved = self.saved(&mut known)?;
        let name = self.name(saved.next);
        let key = name.to_string();
        let snapshot = self.keep(&key)?;
        saved.next += 1;
        saved.numbers.push_back(name.number);
        let oldest = (saved.numbers.len() > MOST_SAVED).then(|| saved.numbers.pop_front());
        let left = match oldest.flatten() {
            Some(oldest) => {
                let oldest = self.name(oldest).to_string();
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
        Ok(self.words(name, size_bytes).into_bytes())
    }

    fn load(&self, state: &[u8]) -> Result<(), StateError> {
        let text = std::str::from_utf8(state).unwrap_or_default();
        let name = self.parse(text)?;
        let birth = self.metadata.lock().birth;
        if let Some(birth) = birth.filter(|birth| birth.state == name) {
            return self.load_birth(birth, text);
        }
        if name.disk != self.id {
            return Err(refused(format_args!(
                "the state was saved of another disk; a disk that is forked from just that state, \
                 which is number {} of the other disk, can load it",
                name.number
            )));
        }
        // Held while it is loaded, so that no other save destroys it.
        let mut known = self.known.lock();
        self.saved(&mut known)?;
        let loaded = self.replace(name, text);
        drop(known);
        loaded
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
        let disk = states.store.open(&states.key).unwrap();
        disk.read(0, &mut [&mut sector]).unwrap();
        sector[0]
    }

    fn write(states: &SavedStates, byte: u8) {
        let disk = states.store.open(&states.key).unwrap();
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
            text.replace("@state.", "@state.9"),
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

    /// A disk that was forked from the state `number` of `states`.
    fn clone_of(states: &SavedStates, number: u64, key: &str) -> Arc<SavedStates> {
        let store = &states.store;
        let name = states.name(number);
        let snapshot = store.open(&name.to_string()).unwrap();
        let size_bytes = snapshot.get_info().unwrap().size_bytes;
        let metadata = Metadata {
            birth: Some(Birth {
                state: name,
                size_bytes,
            }),
            lineage: Metadata::lineage_of(&snapshot).unwrap(),
            ..Metadata::of(&crate::model::DiskSettings::new(size_bytes))
        };
        let spec = DiskSpec::new(SectorSize::S512, size_bytes);
        let blob = metadata.encode().unwrap();
        let disk = store.fork_as(&name.to_string(), key, &spec, &blob).unwrap();
        let metadata = Arc::new(Mutex::new(metadata));
        let id = disk.get_info().unwrap().id;
        Arc::new(SavedStates::new(store, key, id, &metadata, true))
    }

    #[test]
    fn a_clone_loads_the_state_that_it_was_forked_from_and_no_other() {
        let states = saved_states();
        write(&states, 1);
        let first = states.save().unwrap();
        write(&states, 2);
        let second = states.save().unwrap();
        let clone = clone_of(&states, 0, "clone");
        clone.load(&first).unwrap();
        assert_eq!(first_byte(&clone), 1);
        write(&clone, 9);
        let other = clone.load(&second).unwrap_err().0;
        assert!(other.contains("of another disk"), "{other}");
        let text = String::from_utf8(first.clone()).unwrap();
        let longer = text.replace("size_bytes=1", "size_bytes=2");
        assert_eq!(clone.load(longer.as_bytes()).unwrap_err().0, DAMAGED);
        assert_eq!(first_byte(&clone), 9, "what is refused changes nothing");
        // Once more, and the disk that it came from is as it was.
        clone.load(&first).unwrap();
        assert_eq!((first_byte(&clone), first_byte(&states)), (1, 2));
        // The clone has states of its own, which the first disk can't load.
        let own = clone.save().unwrap();
        assert!(states.load(&own).is_err());
        clone.load(&own).unwrap();
    }

    /// A golden machine is saved, its disk is destroyed, and its clones start later.
    #[test]
    fn a_clone_that_was_not_written_needs_the_state_no_more() {
        let states = saved_states();
        write(&states, 1);
        let state = states.save().unwrap();
        let (fresh, written) = (clone_of(&states, 0, "a"), clone_of(&states, 0, "b"));
        write(&written, 9);
        states.store.destroy("disk").unwrap();
        states.forget();
        fresh.load(&state).unwrap();
        assert_eq!(first_byte(&fresh), 1);
        let gone = written.load(&state).unwrap_err().0;
        assert!(gone.contains("is gone"), "{gone}");
        assert_eq!(first_byte(&written), 9);
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
