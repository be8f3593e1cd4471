//! Events as lines for people.

use std::fmt::Write;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::Value;

use crate::cli::values::size::human;
use crate::daemon::user_name;
use crate::model::{Actor, ActorKind, Event, FieldChange};

/// Where a long event goes on below its first line: with room for a digest.
pub(in crate::cli) const INDENT: usize = 2;

/// An event in a line.
pub(in crate::cli) fn event(event: &Event) -> String {
    let when = UNIX_EPOCH + Duration::from_nanos(event.time_ns);
    let mut text = format!(
        "{}  {:<18}",
        humantime::format_rfc3339_millis(when),
        kind(event)
    );
    if let Some(disk) = &event.disk {
        let _ = write!(text, "  {disk}");
    }
    for change in &event.changes {
        let _ = write!(text, "  {}", changed(change));
    }
    for (key, value) in &event.details {
        // The changes say it, with values.
        let is_said = ["settings", "from_bytes", "to_bytes"].contains(&key.as_str());
        if event.changes.is_empty() || !is_said {
            let _ = write!(text, "  {key}={value}");
        }
    }
    if event.actor.kind != ActorKind::Daemon {
        let _ = write!(text, "  by {}", actor(&event.actor));
    }
    // What the system or a client said may have more lines than one.
    text = text.replace(['\n', '\r'], " ");
    text.push('\n');
    text
}

/// The kind of an event, as the API has it.
pub(in crate::cli) fn kind(event: &Event) -> String {
    let kind = serde_json::to_value(event.kind).unwrap_or_default();
    kind.as_str().unwrap_or("?").to_owned()
}

fn changed(change: &FieldChange) -> String {
    let is_size = change.field.contains("bytes");
    let value = |value: &Value| match value {
        Value::Null => "none".to_owned(),
        Value::Number(number) => match number.as_u64().filter(|_| is_size) {
            Some(bytes) => human(bytes),
            None => number.to_string(),
        },
        other => other.to_string(),
    };
    if let Some(edited) = edited(change) {
        return format!("{}: {edited}", change.field);
    }
    format!(
        "{}: {} → {}",
        change.field,
        value(&change.old),
        value(&change.new)
    )
}

/// What came to a list of words and what went, as in `+stall,op=flush -error`, unless it is only in
/// another order.
fn edited(change: &FieldChange) -> Option<String> {
    let words = |value: &Value| -> Option<Vec<String>> {
        let all = match value {
            Value::Null => return Some(Vec::new()),
            Value::Array(all) => all.iter(),
            _ => return None,
        };
        all.map(|it| it.as_str().map(str::to_owned)).collect()
    };
    let (old, new) = (words(&change.old)?, words(&change.new)?);
    let came = new.iter().filter(|it| !old.contains(it));
    let went = old.iter().filter(|it| !new.contains(it));
    let came = came.map(|it| format!("+{it}"));
    let all: Vec<String> = came.chain(went.map(|it| format!("-{it}"))).collect();
    (!all.is_empty()).then(|| all.join(" "))
}

/// A process with its user, as in `root/qemu-system-x86(1234)`.
fn actor(actor: &Actor) -> String {
    let mut text = actor.uid.map_or_else(|| "?".into(), user);
    if let Some(process) = &actor.process {
        let _ = write!(text, "/{process}");
    }
    if let Some(pid) = actor.pid {
        let _ = write!(text, "({pid})");
    }
    text
}

/// The name of a user of this host, or else the number.
fn user(uid: u32) -> String {
    user_name(uid).unwrap_or_else(|| uid.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::EventKind;

    fn happened() -> Event {
        Event {
            id: 7,
            run: "00c0ffee".into(),
            time_ns: 1_764_000_000_123_456_789,
            kind: EventKind::SnapshotDestroyed,
            disk: Some("a".into()),
            actor: Actor::default(),
            changes: Vec::new(),
            details: [("snapshot".to_owned(), "s".into())].into(),
        }
    }

    #[test]
    fn an_event_is_a_line() {
        assert_eq!(
            event(&happened()),
            "2025-11-24T16:00:00.123Z  snapshot-destroyed  a  snapshot=s\n"
        );
        let said = Event {
            details: [("reason".to_owned(), "one\ntwo".into())].into(),
            ..happened()
        };
        assert!(event(&said).ends_with("  reason=one two\n"));
    }

    #[test]
    fn who_did_it_and_what_changed_are_on_the_line() {
        let change = |field: &str, old: Value, new: Value| FieldChange {
            field: field.into(),
            old,
            new,
        };
        let changes = vec![
            change("labels.vm", Value::Null, "web".into()),
            change("quota_bytes", (1_u64 << 30).into(), Value::Null),
            change("limits.read.iops", 5.into(), 7.into()),
            change(
                "faults",
                serde_json::json!(["a", "b"]),
                serde_json::json!(["b", "c,x=1"]),
            ),
        ];
        let actor = Actor {
            kind: ActorKind::Client,
            uid: Some(0),
            pid: Some(12),
            process: Some("ramblk".into()),
            session: None,
        };
        let changed = Event {
            kind: EventKind::Changed,
            details: [("settings".to_owned(), "labels,quota_bytes,limits".into())].into(),
            changes,
            actor,
            ..happened()
        };
        assert_eq!(
            event(&changed),
            "2025-11-24T16:00:00.123Z  changed             a  labels.vm: none → \"web\"  \
             quota_bytes: 1G → none  limits.read.iops: 5 → 7  faults: +c,x=1 -a  by \
             root/ramblk(12)\n"
        );
    }
}
