//! What the service manager is told, as systemd wants it (`sd_notify`).

use sd_notify::NotifyState;

/// Notify the service manager, if there is one.
pub(super) fn tell_manager(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "can't notify the service manager");
    }
}
