//! What recipes share: queues, quoting and comments.

use crate::model::{Disk, Share};

/// The most queues that a recipe asks for; a guest uses one per processor.
const MOST_QUEUES: u16 = 4;
/// Entries of a queue.
pub(super) const QUEUE_SIZE: u16 = 256;

/// The queues that a recipe asks for.
pub(super) fn queues(disk: &Disk) -> u16 {
    disk.queues.clamp(1, MOST_QUEUES)
}

/// A word for a shell, in quotes only if it needs them.
pub(super) fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%=,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Comments about a disk.
pub(super) fn notes(disk: &Disk) -> Vec<String> {
    let mut notes = Vec::new();
    if disk.read_only || disk.share == Share::Ro {
        notes.push("The guest sees this disk as read-only; no option is needed.".into());
    }
    if disk.share == Share::None && disk.attached {
        notes.push(
            "A front end is connected now; this one is served once that one disconnects.".into(),
        );
    }
    notes.push(format!(
        "In the guest: /dev/disk/by-id/virtio-{}",
        disk.serial
    ));
    notes
}

/// Notes as comments of a shell.
pub(super) fn comments(notes: &[String]) -> String {
    notes.iter().map(|note| format!("# {note}\n")).collect()
}
