//! A power cut of several disks as one record: whatever kills the daemon, all of them have lost
//! their power or none has.
//!
//! What remains of each disk is a hidden disk, which a process that starts destroys. The record of
//! a cut, [`CUT_KEY`], names them all, and is there from one instant on: from then on the cut has
//! happened. A process that finds it lets the disks be what it says, and then destroys it.

use serde::{Deserialize, Serialize};

use crate::daemon::disks::settings::names::{CUT_KEY, IMPORT_PREFIX};
use crate::store::{self, DiskSpec, SectorSize, Store};

/// Enough for all disks of a cut, whose names and keys are short.
const RECORD_BYTES: u64 = 64 << 10;

/// A disk of a cut.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lost {
    /// Its name.
    pub(crate) disk: String,
    /// The hidden disk with its content and its settings after the cut.
    pub(crate) remains: String,
}

/// The record of a cut, which has happened from now on. Dropping it leaves it to the next process;
/// end it with [`CutRecord::end`] when the disks are what it says.
#[derive(Debug)]
pub(crate) struct CutRecord<'s>(&'s Store);

impl<'s> CutRecord<'s> {
    /// Keep a record of these disks, at one instant.
    ///
    /// # Errors
    /// The store's; there is no record then.
    pub(crate) fn new(store: &'s Store, lost: &[Lost]) -> Result<Self, store::Error> {
        let mut text = serde_json::to_vec(lost).unwrap_or_default();
        text.resize(text.len().next_multiple_of(512), b' ');
        let key = format!("{IMPORT_PREFIX}cut");
        // A cut that failed here may have left one.
        drop(store.destroy(&key));
        let disk = store.create(&key, &DiskSpec::new(SectorSize::S512, RECORD_BYTES))?;
        let written = disk
            .write(0, &[&text])
            .and_then(|()| store.rename(&key, CUT_KEY));
        if let Err(error) = written {
            drop(store.destroy(&key));
            return Err(error);
        }
        Ok(Self(store))
    }

    /// The disks are what it says.
    pub(crate) fn end(self) -> Result<(), store::Error> {
        self.0.destroy(CUT_KEY).map(drop)
    }
}

/// Finish a cut that an earlier process began. It comes before that process's hidden disks are
/// destroyed.
///
/// # Errors
/// The store's, of which none is expected.
pub(crate) fn finish(store: &Store) -> Result<(), store::Error> {
    let Ok(record) = store.open(CUT_KEY) else {
        return Ok(());
    };
    let mut text = vec![0; usize::try_from(RECORD_BYTES).unwrap_or(0)];
    record.read(0, &mut [&mut text])?;
    let end = text.iter().position(|&byte| byte == 0);
    let text = &text[..end.unwrap_or(text.len())];
    match serde_json::from_slice::<Vec<Lost>>(text) {
        Ok(lost) => {
            for Lost { disk, remains } in &lost {
                let settings = store.open(remains).and_then(|remains| remains.settings());
                let left = settings.and_then(|settings| store.absorb(disk, remains, &settings));
                if let Err(error) = left {
                    tracing::error!(disk, %error, "can't finish the power cut of a disk");
                }
            }
            tracing::info!(
                disks = lost.len(),
                "finished a power cut that the earlier process began"
            );
        }
        Err(error) => tracing::warn!(%error, "the record of a power cut can't be read"),
    }
    drop(record);
    store.destroy(CUT_KEY).map(drop)
}
