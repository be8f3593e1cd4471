//! The disks of a daemon, by name: made, changed, copied and destroyed while others run.
//!
//! | file | what it holds |
//! |---|---|
//! | `events` | what happens to disks, told to listeners |
//! | `settings` | the settings of a disk, and what the daemon keeps of them |
//! | `served` | one disk that is served |
//! | `registry` | which disks are served, and the locks that keep that consistent |
//! | `actions` | what can be done with disks: functions over the registry |
//! | `upkeep` | what happens to them by itself |
//! | `mod` | the start |

pub(crate) mod actions;
pub mod events;
mod registry;
pub(crate) mod served;
pub(crate) mod settings;
pub(crate) mod upkeep;

pub use actions::apply::ApplyOptions;
pub use actions::content::Reader;
pub use actions::destroy::DestroyOptions;
pub use actions::upload::{Upload, UploadOptions};
pub use actions::{
    apply, change, content, create, describe, destroy, fork, groups, reset, snapshots, upload,
};
pub use registry::{Disks, DisksOptions};
pub use settings::names::{MAX_NAME_BYTES, Made, Target, check_name};

use std::sync::Arc;

use super::error::Error;
use crate::store::Store;
use crate::vhost_user::Hub;

/// The disks that `store` has, each at its socket again; none, if it is new.
///
/// # Errors
/// If there is no thread left, or what the store has is not a daemon's.
pub fn open(store: Arc<Store>, hub: Arc<Hub>, options: DisksOptions) -> Result<Arc<Disks>, Error> {
    let disks = Arc::new(Disks::new(store, hub, options)?);
    upkeep::monitor::start(&disks)?;
    upkeep::adopt::adopt(&disks).map_err(|problem| Error::Disks(Box::new(problem)))?;
    upkeep::sockets::watch(&disks)?;
    // There may be disks that wait for content.
    disks.store().pressure().raise();
    Ok(disks)
}
