//! The disks of a daemon, by name: they are created, changed, forked and destroyed while others
//! run.
//!
//! | file | what it holds |
//! |---|---|
//! | `events` | events of disks, for listeners, and the past ones that are kept |
//! | `actors` | who causes what happens |
//! | `settings` | the settings of a disk, and how the daemon stores them |
//! | `served` | one disk that is served |
//! | `registry` | which disks are served, and the locks that keep that consistent |
//! | `actions` | the actions on disks: functions over the registry |
//! | `upkeep` | what the daemon does by itself: the monitor, sockets, the start |
//! | `mod` | opening the registry |

pub(crate) mod actions;
pub(crate) mod actors;
pub mod events;
mod registry;
pub(crate) mod served;
pub(crate) mod settings;
pub(crate) mod upkeep;

pub use actions::apply::ApplyOptions;
pub use actions::branch::{reset, snapshots};
pub use actions::content::Reader;
pub use actions::destroy::DestroyOptions;
pub use actions::forks::fork;
pub use actions::golden;
pub use actions::upload::{Upload, UploadOptions};
pub use actions::view::{self, ViewOptions};
pub use actions::{
    apply, change, content, crash_state, create, describe, destroy, faults, groups, history, power,
    record, rename, upload,
};
pub use registry::{Disks, DisksOptions};
pub use served::views::View;
pub use settings::names::{ImageName, MAX_NAME_BYTES, Made, Target, check_name};

use std::collections::BTreeMap;
use std::sync::Arc;

use super::error::Error;
use crate::model::EventKind;
use crate::store::Store;
use crate::vhost_user::Hub;

/// Open the registry with the disks of `store`, and let each listen at its socket.
///
/// # Errors
/// There is no thread left, or the store's content is not that of a daemon.
pub fn open(store: Arc<Store>, hub: Arc<Hub>, options: DisksOptions) -> Result<Arc<Disks>, Error> {
    let disks = Arc::new(Disks::new(store, hub, options)?);
    upkeep::monitor::start(&disks)?;
    upkeep::adopt::adopt(&disks).map_err(|problem| Error::Disks(Box::new(problem)))?;
    upkeep::sockets::watch(&disks)?;
    tell_of_start(&disks);
    // Some disks may be importing.
    disks.store().pressure().raise();
    Ok(disks)
}

/// Tell listeners that come later that this is a new run.
fn tell_of_start(disks: &Disks) {
    let (count, _) = disks.counts();
    let details = BTreeMap::from([
        ("version".to_owned(), env!("CARGO_PKG_VERSION").into()),
        ("disks".to_owned(), count.into()),
    ]);
    disks.events().tell(EventKind::Started, None, details);
}
