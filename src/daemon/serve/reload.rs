//! Applying the configuration file again while the daemon runs, when SIGHUP asks for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use sd_notify::NotifyState;

use super::config::{ServeOptions, metrics_labels};
use super::manager::tell_manager;
use crate::daemon::disks::{ApplyOptions, Disks, apply, describe};
use crate::model::{Applied, Detail, EventKind};

/// Reads the options again from where the first ones came from. The error is a sentence that says
/// what to do.
pub type Reread = Box<dyn Fn() -> Result<ServeOptions, String> + Send>;

/// What a reload needs: where to read, and the options that the daemon was started with.
pub(super) struct Reload {
    reread: Reread,
    started_with: ServeOptions,
}

impl Reload {
    pub(super) fn new(reread: Reread, started_with: ServeOptions) -> Self {
        Self {
            reread,
            started_with,
        }
    }

    /// Read the file again, and apply its disks and groups if all of them can be. A file that is
    /// refused changes nothing. The manager learns when it is done.
    pub(super) fn apply(&self, disks: &Arc<Disks>) {
        let begun = NotifyState::monotonic_usec_now();
        match begun {
            Ok(now) => tell_manager(&[NotifyState::Reloading, now]),
            Err(error) => tracing::warn!(%error, "can't notify the service manager"),
        }
        let read = (self.reread)();
        let done = read.and_then(|options| {
            let labels = metrics_labels(options.metrics_labels.clone());
            let labels = labels.map_err(|error| error.to_string())?;
            let applied = apply::apply(disks, &options.declaration, ApplyOptions::default());
            let applied = applied.map_err(|problem| problem.detail)?;
            disks.declare(&options.declaration);
            disks.show_labels(labels);
            Ok((applied, self.started_with.need_restart(&options)))
        });
        match done {
            Ok((applied, need_restart)) => tell(disks, &applied, &need_restart),
            Err(why) => {
                tracing::error!(
                    reason = why,
                    "the configuration is refused, and nothing of it was applied"
                );
                let details = BTreeMap::from([("reason".to_owned(), Detail::Text(why))]);
                disks.events().tell(EventKind::ReloadRefused, None, details);
            }
        }
        let status = format!("serving {} disks", describe::pool(disks).disks);
        tell_manager(&[NotifyState::Ready, NotifyState::Status(&status)]);
    }
}

fn tell(disks: &Disks, applied: &Applied, need_restart: &[&str]) {
    let count = |names: &[String]| Detail::Count(names.len() as u64);
    let mut details = BTreeMap::from([
        ("created".to_owned(), count(&applied.created)),
        ("changed".to_owned(), count(&applied.changed)),
        ("groups".to_owned(), count(&applied.groups)),
    ]);
    tracing::info!(
        created = applied.created.len(),
        changed = applied.changed.len(),
        groups = applied.groups.len(),
        "the configuration was applied again"
    );
    if !need_restart.is_empty() {
        let keys = need_restart.join(", ");
        tracing::warn!(keys, "these keys of [daemon] changed, and need a restart");
        details.insert("needs_restart".to_owned(), Detail::Text(keys));
    }
    disks.events().tell(EventKind::Reloaded, None, details);
}
