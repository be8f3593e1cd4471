//! What a VM's snapshot holds of its disk (vhost-user "DEVICE_STATE").
//!
//! A VMM that saves a VM asks each device for its state. The bytes of a RAM disk are ours and may
//! be many, so the state is a name for them: saving takes a snapshot in the store, which costs
//! nothing, and the state says which. Loading gives the disk the content of that snapshot. On
//! another host, in another store, or when the snapshot is gone, there is nothing to load, and
//! saying so is the only answer that loses no data.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::device::{SavedState, StateError};
use crate::store::{self, Store};

/// States of one disk that are kept. A front end can save as often as it likes, and snapshots hold
/// on to memory: the oldest goes.
const MOST_SAVED: usize = 8;

/// First word of a state, and the version of what follows.
const MAGIC: &str = "ramblk-disk-state";
const VERSION: &str = "1";

/// Saves and loads the state of one disk.
#[derive(Debug)]
pub(super) struct StateKeeper {
    store: Arc<Store>,
    key: String,
    id: u64,
    /// Made when it is needed first: most disks are never saved.
    saved: Mutex<Option<Saved>>,
}

#[derive(Debug, Default)]
struct Saved {
    /// Keys of the snapshots, the oldest first.
    keys: VecDeque<String>,
    next: u64,
}

fn refused(error: impl std::fmt::Display) -> StateError {
    StateError(error.to_string())
}

impl StateKeeper {
    /// For the disk `key` of `store`.
    pub(super) fn new(store: &Arc<Store>, key: &str) -> Result<Self, store::Error> {
        Ok(Self {
            store: Arc::clone(store),
            key: key.to_owned(),
            id: store.open(key)?.get_info()?.id,
            saved: Mutex::new(None),
        })
    }

    /// The states that the store has of this disk.
    fn find_saved(&self) -> Saved {
        let prefix = prefix(self.id);
        let number = |key: &String| key.strip_prefix(&prefix)?.parse().ok();
        let mut numbers: Vec<u64> = self.store.keys().iter().filter_map(number).collect();
        numbers.sort_unstable();
        Saved {
            next: numbers.last().map_or(0, |last| last + 1),
            keys: numbers.iter().map(|n| format!("{prefix}{n}")).collect(),
        }
    }

    /// For a disk that was just made, and can't have been saved.
    pub(super) fn of_new(store: &Arc<Store>, key: &str) -> Result<Self, store::Error> {
        let keeper = Self::new(store, key)?;
        *keeper.saved.lock() = Some(Saved::default());
        Ok(keeper)
    }

    /// Let go of all saved states: the disk is gone.
    pub(super) fn forget(&self) {
        let mut saved = self.saved.lock();
        let saved = saved.get_or_insert_with(|| self.find_saved());
        for key in saved.keys.drain(..) {
            // Whoever else ended it wanted the same.
            let _ = self.store.destroy(&key);
        }
    }

    /// The state with the snapshot `snapshot` of `size_bytes`: words, so that who finds one in a
    /// VM's snapshot can tell what it is.
    fn words(&self, snapshot: &str, size_bytes: u64) -> String {
        format!(
            "{MAGIC} {VERSION} pool={:032x} disk={} snapshot={snapshot} size_bytes={size_bytes}\n",
            self.store.id(),
            self.id
        )
    }
}

/// What keys of saved states begin with. Names of disks have no `@`.
pub(super) const STATE_PREFIX: &str = "@state.";

fn prefix(id: u64) -> String {
    format!("{STATE_PREFIX}{id}.")
}

impl SavedState for Arc<StateKeeper> {
    fn save(&self) -> Result<Vec<u8>, StateError> {
        let mut saved = self.saved.lock();
        let saved = saved.get_or_insert_with(|| self.find_saved());
        let key = format!("{}{}", prefix(self.id), saved.next);
        let snapshot = self.store.snapshot(&self.key, &key).map_err(refused)?;
        saved.next += 1;
        saved.keys.push_back(key.clone());
        if saved.keys.len() > MOST_SAVED
            && let Some(oldest) = saved.keys.pop_front()
        {
            self.store.destroy(&oldest).map_err(refused)?;
            tracing::info!(snapshot = oldest, "oldest saved state of the disk is gone");
        }
        let size_bytes = snapshot.get_info().map_err(refused)?.size_bytes;
        Ok(self.words(&key, size_bytes).into_bytes())
    }

    fn load(&self, state: &[u8]) -> Result<(), StateError> {
        let text = std::str::from_utf8(state).unwrap_or_default();
        let mut words = text.split_whitespace();
        if words.next() != Some(MAGIC) {
            return Err(refused("this is no saved state of a ramblk disk"));
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
        // Held while it is loaded, so that nobody's save makes it go.
        let mut saved = self.saved.lock();
        let saved = saved.get_or_insert_with(|| self.find_saved());
        if !saved.keys.iter().any(|key| key == snapshot) {
            return Err(refused(format_args!(
                "snapshot {snapshot} is gone: the last {MOST_SAVED} states are kept"
            )));
        }
        let size_bytes = self.store.open(snapshot).and_then(|disk| disk.get_info());
        let size_bytes = size_bytes.map_err(refused)?.size_bytes;
        if self.words(snapshot, size_bytes) != text {
            return Err(refused("the saved state is damaged"));
        }
        self.store.reset(&self.key, snapshot).map_err(refused)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::store::{DiskSpec, SectorSize};

    fn keeper() -> Arc<StateKeeper> {
        let store = Arc::new(Store::new(64 << 20).unwrap());
        let spec = DiskSpec::new(SectorSize::S512, 1 << 20);
        store.create("disk", &spec).unwrap();
        Arc::new(StateKeeper::of_new(&store, "disk").unwrap())
    }

    fn first_byte(keeper: &StateKeeper) -> u8 {
        let mut sector = [0; 512];
        let disk = keeper.store.open("disk").unwrap();
        disk.read(0, &mut [&mut sector]).unwrap();
        sector[0]
    }

    fn write(keeper: &StateKeeper, byte: u8) {
        let disk = keeper.store.open("disk").unwrap();
        disk.write(0, &[&[byte; 512]]).unwrap();
    }

    #[test]
    fn a_loaded_state_brings_the_bytes_back_as_often_as_wanted() {
        let keeper = keeper();
        write(&keeper, 1);
        let state = keeper.save().unwrap();
        for byte in [2, 3] {
            write(&keeper, byte);
            keeper.load(&state).unwrap();
            assert_eq!(first_byte(&keeper), 1);
        }
    }

    #[test]
    fn states_of_another_store_another_disk_or_none_are_refused_and_change_nothing() {
        let (keeper, other) = (keeper(), super::tests::keeper());
        write(&keeper, 7);
        let foreign = other.save().unwrap();
        assert!(
            keeper
                .load(&foreign)
                .unwrap_err()
                .0
                .contains("another store")
        );
        let own = keeper.save().unwrap();
        let text = String::from_utf8(own.clone()).unwrap();
        for damaged in [
            String::new(),
            text.replace("state 1", "state 2"),
            text.replace("disk=", "disk=9"),
            text.replace("size_bytes=1", "size_bytes=2"),
            text.replace("snapshot=@state", "snapshot=disk"),
            text.replace('\n', " more\n"),
        ] {
            assert!(keeper.load(damaged.as_bytes()).is_err(), "{damaged}");
        }
        assert!(keeper.load(&[0xff; 100]).is_err());
        assert_eq!(first_byte(&keeper), 7);
        keeper.load(&own).unwrap();
    }

    #[test]
    fn only_the_last_states_are_kept() {
        let keeper = keeper();
        let states: Vec<_> = (0..=MOST_SAVED).map(|_| keeper.save().unwrap()).collect();
        assert!(keeper.load(&states[0]).unwrap_err().0.contains("is gone"));
        keeper.load(&states[1]).unwrap();
        assert_eq!(keeper.store.keys().len(), MOST_SAVED + 1);
        // A keeper that comes later goes on with what is there.
        let again = StateKeeper::new(&keeper.store, "disk").unwrap();
        let again = Arc::new(again);
        again.load(&states[1]).unwrap();
        again.save().unwrap();
        assert!(again.load(&states[1]).is_err());
    }
}
