//! The in-flight regions that front ends have used, and those that belong to none any more.

use std::collections::VecDeque;
use std::fs::File;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::vhost_user::queue::inflight::Inflight;

/// How many of them are remembered.
const MOST: usize = 1024;

/// A file, which several processes may have open.
type Identity = (u64, u64);

/// The regions of one server.
#[derive(Debug, Default)]
pub(super) struct Regions(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    used: VecDeque<(Identity, Weak<Inflight>)>,
    disowned: VecDeque<Identity>,
}

/// A region whose requests are owed to no one.
#[derive(Debug, thiserror::Error)]
#[error(
    "the disk has lost its power since this in-flight region was made: end the machine, and start \
     it again"
)]
pub(super) struct Disowned;

impl Regions {
    /// A front end uses this region.
    pub(super) fn take(&self, file: &File, region: &Arc<Inflight>) -> Result<(), Disowned> {
        if region.is_disowned() {
            return Err(Disowned);
        }
        let Ok(found) = rustix::fs::fstat(file) else {
            return Ok(());
        };
        let identity = (found.st_dev, found.st_ino);
        let mut known = self.0.lock();
        if known.disowned.contains(&identity) {
            return Err(Disowned);
        }
        known.used.retain(|(it, _)| *it != identity);
        known.used.push_back((identity, Arc::downgrade(region)));
        while known.used.len() > MOST {
            known.used.pop_front();
        }
        Ok(())
    }

    /// Those that are mapped now.
    pub(super) fn mapped(&self) -> Vec<Arc<Inflight>> {
        let known = self.0.lock();
        known
            .used
            .iter()
            .filter_map(|(_, it)| it.upgrade())
            .collect()
    }

    /// The requests in all of them are owed to no one from now on.
    pub(super) fn disown(&self) {
        let mut known = self.0.lock();
        let used = std::mem::take(&mut known.used);
        known.disowned.extend(used.into_iter().map(|(it, _)| it));
        while known.disowned.len() > MOST {
            known.disowned.pop_front();
        }
    }
}
