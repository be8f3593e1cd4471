//! The operations of the kill test without the kill: the counts that a living store keeps with many
//! threads are those that recovery computes.

use std::time::Duration;

use ramblk::store::Store;

use super::child::{OPTIONS, Shared, logs, work};
use super::history::History;
use super::random::{Seed, seed};
use super::{kill, log};

#[test]
fn counts_of_a_busy_store_are_exact() {
    let seed = Seed(seed());
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let path = folder.path().join("arena");
    let mut history = History::default();
    let mut store = Store::create_at(&path, &OPTIONS).unwrap();
    for round in 1..=4 {
        let first = round << 32;
        let shared = Shared::new(store, first);
        std::thread::scope(|scope| {
            let logs = logs(folder.path(), &shared);
            scope.spawn(|| work(&shared, seed.0 ^ round, first, logs));
            std::thread::sleep(Duration::from_millis(500));
            shared.finish();
        });
        let entries = log::take(folder.path());
        let seen = history.check(&shared.store, &entries, 0);
        let seen = seen.unwrap_or_else(|what| panic!("round {round}: {what}"));
        assert_eq!(seen.begun, 0);
        let charged_bytes = shared.store.charged_bytes();
        drop(shared);
        store = kill::open(&path, &OPTIONS).unwrap();
        assert_eq!(store.charged_bytes(), charged_bytes, "round {round}");
        history.check(&store, &[], 0).unwrap();
        if round == 2 {
            end(&store);
            history = History::default();
        }
    }
    // Without a recovery in between.
    let shared = Shared::new(store, 5 << 32);
    std::thread::scope(|scope| {
        let logs = logs(folder.path(), &shared);
        scope.spawn(|| work(&shared, seed.0, 5 << 32, logs));
        std::thread::sleep(Duration::from_millis(1000));
        shared.finish();
    });
    end(&shared.store);
}

fn end(store: &Store) {
    for key in store.keys() {
        store.destroy(&key).unwrap();
    }
    assert_eq!(store.charged_bytes(), 0, "memory was lost");
}
