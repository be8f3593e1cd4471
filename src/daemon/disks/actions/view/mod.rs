//! Views of a disk for NBD clients: of its content at one moment, of a snapshot, or of the disk
//! itself to write to.
//!
//! | file | what it holds |
//! |---|---|
//! | `answers` | what the store says, as NBD has it |
//! | `moment` | content that never changes |
//! | `live` | the disk itself, beside its guests |

mod answers;
mod live;
mod moment;

use std::sync::Arc;

use super::content;
use crate::daemon::disks::registry::Disks;
use crate::daemon::disks::served::views::{View, ViewKey};
use crate::daemon::disks::settings::names::Target;
use crate::daemon::disks::settings::problems::{conflict, invalid};
use crate::model::{Missing, Problem, ProblemKind};
use crate::nbd::Export;
use crate::vhost_user::{Peer, VisitError};
use live::Live;
use moment::Moment;

/// What an NBD client wants to see.
#[derive(Clone, Debug)]
pub struct ViewOptions {
    /// The disk or snapshot.
    pub target: Target,
    /// Whether it wants to write.
    pub is_writable: bool,
    /// A name that its connections have in common: they share one moment, or count as one front
    /// end.
    pub name: Option<String>,
    /// The client.
    pub peer: Option<Peer>,
}

/// A view of a disk or snapshot: of its content at this moment, unless the client wants to write.
///
/// # Errors
/// `not-found`; `over-budget`; `conflict` if the disk is importing, or if the client wants to write
/// and the disk is read-only; `attached` if it wants to write and a front end uses the disk alone;
/// `invalid` if it wants to write to a snapshot.
pub fn open(disks: &Disks, options: ViewOptions) -> Result<View, Problem> {
    let target = options.target;
    if options.is_writable && target.snapshot.is_some() {
        let detail = "a snapshot never changes: fork it, and write to the fork";
        return Err(invalid("rw", detail.into()));
    }
    let served = disks.find(&target.disk)?;
    served.check_whole("read it")?;
    let is_shared = options.name.is_some();
    let key = options.name.map(|name| ViewKey {
        name,
        snapshot: target.snapshot.clone(),
        is_writable: options.is_writable,
    });
    served.views.open(key, || {
        let export: Arc<dyn Export> = if options.is_writable {
            if served.settings()?.read_only {
                let name = &target.disk;
                return Err(conflict(format!(
                    "disk {name:?} is read-only: leave out rw, or fork it"
                )));
            }
            let visitor = served.server.visit(options.peer);
            let visitor = visitor.map_err(|error| refused(&target.disk, error))?;
            Arc::new(Live::new(&target.disk, visitor))
        } else {
            let reader = content::reader(disks, &target)?;
            let snapshots = served.snapshots.lock().clone();
            Arc::new(Moment::new(disks, &target, reader, &snapshots, is_shared)?)
        };
        Ok(export)
    })
}

fn refused(name: &str, error: VisitError) -> Problem {
    match error {
        VisitError::Attached => Problem::new(
            ProblemKind::Attached,
            format!(
                "a front end uses disk {name:?}: detach it first, leave out rw, or share the disk \
                 among front ends that coordinate their writes (share rw)"
            ),
        ),
        VisitError::TooMany => Problem::new(ProblemKind::Busy, format!("disk {name:?}: {error}")),
        VisitError::Closed => Problem::missing(Missing::Disk, format!("disk {name:?} is ending")),
    }
}
