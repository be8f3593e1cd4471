//! What a declaration changes: field by field, old → new.

use std::fmt::Write;

use serde_json::Value;

use crate::cli::values::size::exact;
use crate::model::{Action, Applied, FieldChange};

/// What was done, or would be done.
pub(in crate::cli) fn applied(applied: &Applied, dry_run: bool) -> String {
    let mut text = String::new();
    for change in &applied.changes {
        let what = match (change.action, dry_run) {
            (Action::Create, true) => "would be created",
            (Action::Create, false) => "created",
            (Action::Change, true) => "would be changed",
            (Action::Change, false) => "changed",
            (Action::Destroy, true) => "would be destroyed",
            (Action::Destroy, false) => "destroyed",
        };
        let _ = writeln!(text, "{} {}: {what}", change.kind, change.name);
        for field in &change.fields {
            let (old, new) = (word(field, &field.old), word(field, &field.new));
            let _ = match change.action {
                Action::Create => writeln!(text, "  {}: {new}", field.field),
                _ => writeln!(text, "  {}: {old} → {new}", field.field),
            };
        }
    }
    for name in &applied.unchanged {
        let _ = writeln!(text, "disk {name}: unchanged");
    }
    if text.is_empty() {
        text.push_str("nothing to do\n");
    }
    text
}

fn word(field: &FieldChange, value: &Value) -> String {
    let name = field.field.as_str();
    let is_size = name.ends_with("_bytes") || name.contains(".bytes_");
    match value {
        Value::Null => "none".to_owned(),
        Value::Number(number) if is_size => {
            number.as_u64().map_or_else(|| number.to_string(), exact)
        }
        Value::String(text) if !name.starts_with("labels.") => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::Changed;

    #[test]
    fn each_field_is_shown_as_it_was_and_as_it_is() {
        let field = |field: &str, old: Value, new: Value| FieldChange {
            field: field.into(),
            old,
            new,
        };
        let change = |kind: &str, name: &str, action, fields| Changed {
            kind: kind.into(),
            name: name.into(),
            action,
            fields,
        };
        let done = Applied {
            unchanged: vec!["d".into()],
            changes: vec![
                change(
                    "group",
                    "g",
                    Action::Change,
                    vec![field(
                        "limits.total.bytes_per_second",
                        json!(1024),
                        json!(2048),
                    )],
                ),
                change(
                    "disk",
                    "a",
                    Action::Create,
                    vec![field("size_bytes", Value::Null, json!(1 << 20))],
                ),
                change(
                    "disk",
                    "b",
                    Action::Change,
                    vec![
                        field("labels.vm", json!("web 1"), Value::Null),
                        field("limits.read.iops", Value::Null, json!(5)),
                        field("on_full", json!("error"), json!("stall")),
                        field("quota_bytes", json!(1 << 20), json!(1_000_000)),
                    ],
                ),
                change(
                    "disk",
                    "c",
                    Action::Destroy,
                    vec![field("mapped_bytes", json!(4096), Value::Null)],
                ),
            ],
            ..Applied::default()
        };
        assert_eq!(
            applied(&done, true),
            "group g: would be changed\n  limits.total.bytes_per_second: 1K → 2K\n\
             disk a: would be created\n  size_bytes: 1M\n\
             disk b: would be changed\n  labels.vm: \"web 1\" → none\n  \
             limits.read.iops: none → 5\n  on_full: error → stall\n  \
             quota_bytes: 1M → 1000000\n\
             disk c: would be destroyed\n  mapped_bytes: 4K → none\n\
             disk d: unchanged\n"
        );
        assert_eq!(applied(&Applied::default(), false), "nothing to do\n");
    }
}
