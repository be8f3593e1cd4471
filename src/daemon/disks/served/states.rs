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

use crate::daemon::disks::settings::metadata::Kept as KeptBlob;
use crate::daemon::disks::settings::origin::Origin;
use crate::device::{SavedState, StateError};
use crate::store::{self, Leftover, Store};

/// States of one disk that are kept. A front end can save as often as it likes, and snapshots hold
/// on to memory: the oldest goes.
const MOST_SAVED: usize = 8;

/// First word of a state, and the version of what follows.
const MAGIC: &str = "ramblk-disk-state";
const VERSION: &str = "1";

/// Saves and loads the state of one disk.
#[derive(Debug)]
pub(crate) struct StateKeeper {
    store: Arc<Store>,
    key: String,
    id: u64,
    kept: Mutex<Kept>,
    /// What is kept of the disk beside its record. Taken after `kept`.
    about: Arc<Mutex<KeptBlob>>,
}

/// What a keeper knows of the states of its disk.
#[derive(Debug)]
enum Kept {
    /// Nothing yet: most disks are never saved.
    Unknown,
    /// Which there are.
    Known(Saved),
    /// The disk was destroyed. Another one may have its name by now.
    Gone,
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
    /// For the disk `key` of `store`, with what is kept beside its record.
    pub(crate) fn new(
        store: &Arc<Store>,
        key: &str,
        about: &Arc<Mutex<KeptBlob>>,
    ) -> Result<Self, store::Error> {
        Ok(Self {
            store: Arc::clone(store),
            key: key.to_owned(),
            id: store.open(key)?.get_info()?.id,
            kept: Mutex::new(Kept::Unknown),
            about: Arc::clone(about),
        })
    }

    /// The states that there are.
    fn saved<'a>(&self, kept: &'a mut Kept) -> Result<&'a mut Saved, StateError> {
        if matches!(kept, Kept::Unknown) {
            *kept = Kept::Known(self.find_saved());
        }
        match kept {
            Kept::Known(saved) => Ok(saved),
            Kept::Unknown | Kept::Gone => Err(refused("the disk was destroyed")),
        }
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
    pub(crate) fn of_new(
        store: &Arc<Store>,
        key: &str,
        about: &Arc<Mutex<KeptBlob>>,
    ) -> Result<Self, store::Error> {
        let keeper = Self::new(store, key, about)?;
        *keeper.kept.lock() = Kept::Known(Saved::default());
        Ok(keeper)
    }

    /// Let go of all saved states, once the store has the disk no more; none is saved or loaded
    /// from then on.
    pub(crate) fn forget(&self) -> Vec<Leftover> {
        let kept = std::mem::replace(&mut *self.kept.lock(), Kept::Gone);
        let saved = match kept {
            Kept::Known(saved) => saved,
            Kept::Unknown => self.find_saved(),
            Kept::Gone => Saved::default(),
        };
        // Whoever else ended one wanted the same.
        let destroy = |key: &String| self.store.destroy(key).ok();
        saved.keys.iter().filter_map(destroy).collect()
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
pub(crate) const STATE_PREFIX: &str = "@state.";

fn prefix(id: u64) -> String {
    format!("{STATE_PREFIX}{id}.")
}

impl SavedState for Arc<StateKeeper> {
    fn save(&self) -> Result<Vec<u8>, StateError> {
        let mut kept = self.kept.lock();
        let saved = self.saved(&mut kept)?;
        let key = format!("{}{}", prefix(self.id), saved.next);
        let snapshot = self.store.snapshot(&self.key, &key).map_err(refused)?;
        saved.next += 1;
        saved.keys.push_back(key.clone());
        let oldest = (saved.keys.len() > MOST_SAVED).then(|| saved.keys.pop_front());
        let left = match oldest.flatten() {
            Some(oldest) => {
                tracing::info!(snapshot = oldest, "oldest saved state of the disk goes");
                Some(self.store.destroy(&oldest).map_err(refused)?)
            }
            None => None,
        };
        // What it held is freed when nobody waits for the lock.
        drop(kept);
        drop(left);
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
        let mut kept = self.kept.lock();
        let saved = self.saved(&mut kept)?;
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
        let mut about = self.about.lock();
        let mut new = about.clone();
        // The image that the content was made from is the one of that moment too.
        new.import = Origin::of_snapshot(&source.settings().map_err(refused)?);
        let blob = new.to_blob().map_err(|problem| refused(problem.detail))?;
        let left = self.store.reset_with(&self.key, snapshot, Some(&blob));
        let left = left.map_err(refused)?;
        *about = new;
        drop((about, kept));
        left.free();
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::store::{DiskSpec, SectorSize};

    fn about() -> Arc<Mutex<KeptBlob>> {
        let settings = crate::model::DiskSettings::new(1 << 20);
        Arc::new(Mutex::new(KeptBlob::of(&settings)))
    }

    fn keeper() -> Arc<StateKeeper> {
        let store = Arc::new(Store::new(64 << 20).unwrap());
        let spec = DiskSpec::new(SectorSize::S512, 1 << 20);
        store.create("disk", &spec).unwrap();
        Arc::new(StateKeeper::of_new(&store, "disk", &about()).unwrap())
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

    /// A front end of a disk that was destroyed goes on asking.
    #[test]
    fn a_state_saved_beside_a_destroy_leaves_nothing_and_touches_no_other_disk_of_that_name() {
        let keeper = keeper();
        write(&keeper, 1);
        let state = keeper.save().unwrap();
        keeper.store.destroy("disk").unwrap();
        // Between the end of the disk and of its states.
        assert!(keeper.save().is_err());
        keeper.forget();
        let spec = DiskSpec::new(SectorSize::S512, 1 << 20);
        keeper.store.create("disk", &spec).unwrap();
        write(&keeper, 9);
        assert!(keeper.save().unwrap_err().0.contains("destroyed"));
        assert!(keeper.load(&state).unwrap_err().0.contains("destroyed"));
        assert_eq!(first_byte(&keeper), 9);
        assert_eq!(keeper.store.keys(), ["disk"]);
    }

    #[test]
    fn only_the_last_states_are_kept() {
        let keeper = keeper();
        let states: Vec<_> = (0..=MOST_SAVED).map(|_| keeper.save().unwrap()).collect();
        assert!(keeper.load(&states[0]).unwrap_err().0.contains("is gone"));
        keeper.load(&states[1]).unwrap();
        assert_eq!(keeper.store.keys().len(), MOST_SAVED + 1);
        // A keeper that comes later goes on with what is there.
        let again = StateKeeper::new(&keeper.store, "disk", &about()).unwrap();
        let again = Arc::new(again);
        again.load(&states[1]).unwrap();
        again.save().unwrap();
        assert!(again.load(&states[1]).is_err());
    }
}
