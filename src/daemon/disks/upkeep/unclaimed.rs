//! Disks whose first content nobody brings: they go by themselves.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::daemon::disks::served::disk::Entry;
use crate::daemon::disks::{DestroyOptions, Disks};
use crate::model::EventKind;

impl Disks {
    /// Destroy disks whose first content nobody has brought for too long; returns when to look
    /// again.
    pub(crate) fn end_lonely_imports(&self) -> Option<Duration> {
        let mut next: Option<Duration> = None;
        for entry in self.entries().iter().filter(|entry| entry.is_importing()) {
            let Some(alone) = entry.import.alone_for() else {
                continue;
            };
            let left = self.import_timeout.saturating_sub(alone);
            if left.is_zero() {
                self.end_lonely_import(entry);
            } else {
                next = Some(next.map_or(left, |next| next.min(left)));
            }
        }
        next
    }

    fn end_lonely_import(&self, entry: &Arc<Entry>) {
        let control = self.control.lock();
        let there = self.entry(&entry.name);
        let same = there.is_ok_and(|there| Arc::ptr_eq(&there, entry));
        let alone = entry.import.alone_for();
        if !same || !entry.is_importing() || alone.is_none_or(|it| it < self.import_timeout) {
            return;
        }
        let seconds = self.import_timeout.as_secs();
        let reason = format!("nobody brought its content for {seconds} s");
        tracing::warn!(disk = entry.name, reason, "a disk that was importing goes");
        let image = entry.kept.lock().import.image().map(|it| it.name.clone());
        let image = image.map(|name| ("image".to_owned(), name));
        let details: BTreeMap<_, _> = [("reason".to_owned(), reason)]
            .into_iter()
            .chain(image)
            .map(|(key, value)| (key, value.into()))
            .collect();
        let events = &self.workshop.events;
        events.tell(EventKind::ImportFailed, Some(&entry.name), details);
        let gone = self.destroy_locked(entry, DestroyOptions::default());
        drop(control);
        if let Err(problem) = gone {
            tracing::error!(disk = entry.name, %problem, "can't destroy it");
            // Not again and again.
            entry.import.expect();
        }
    }
}
