//! Errors of the rooms below, as the API's problems.

use serde_json::Value;

use super::keys;
use crate::daemon::Error;
use crate::model::{FieldChange, Missing, Problem, ProblemKind};
use crate::store::Bytes;
use crate::{image, store, vhost_user};

/// An error that should be impossible.
pub(crate) fn internal(error: impl std::fmt::Display) -> Problem {
    Problem::new(ProblemKind::Internal, error.to_string())
}

/// There is nothing of this kind with this name.
pub(crate) fn not_found(what: Missing, name: &str) -> Problem {
    let noun = what.noun();
    Problem::missing(what, format!("there is no {noun} named {name:?}"))
}

/// The changes in words: what each field is, and what was requested.
pub(crate) fn figures(changes: &[FieldChange]) -> String {
    let each = changes.iter().map(|it| {
        let (old, new) = (figure(&it.field, &it.old), figure(&it.field, &it.new));
        format!("{} {old}, not {new}", it.field)
    });
    each.collect::<Vec<_>>().join("; ")
}

/// The value of a field as people write it: `10G`, `7d`, `none`.
fn figure(field: &str, value: &Value) -> String {
    const UNITS: [(u64, &str); 4] = [
        (86_400_000, "d"),
        (3_600_000, "h"),
        (60_000, "m"),
        (1000, "s"),
    ];
    match (value, value.as_u64()) {
        (Value::Null, _) => "none".to_owned(),
        (_, Some(bytes)) if field.contains("bytes") => Bytes(bytes).exact(),
        (_, Some(ms)) if field.ends_with("_ms") => {
            let fits = |(unit, _): &(u64, &str)| ms > 0 && ms.is_multiple_of(*unit);
            match UNITS.into_iter().find(fits) {
                Some((unit, name)) => format!("{}{name}", ms / unit),
                None => format!("{ms}ms"),
            }
        }
        _ => value.to_string(),
    }
}

/// A field that can't have this value.
pub(crate) fn invalid(field: &str, detail: String) -> Problem {
    Problem {
        field: Some(field.to_owned()),
        ..Problem::new(ProblemKind::Invalid, detail)
    }
}

pub(crate) fn conflict(detail: String) -> Problem {
    Problem::new(ProblemKind::Conflict, detail)
}

/// A conflict with this field of what is there, or that this parameter of the request would allow.
pub(crate) fn conflict_at(field: &str, detail: String) -> Problem {
    Problem {
        field: Some(field.to_owned()),
        ..conflict(detail)
    }
}

/// The refusal to destroy what is protected.
pub(crate) fn protected(what: &str, name: &str) -> Problem {
    let detail = format!("{what} {name:?} is protected: take its protection away first");
    conflict_at("protected", detail)
}

pub(crate) fn attached(name: &str, what: &str) -> Problem {
    Problem::new(
        ProblemKind::Attached,
        format!("a front end is connected to disk {name:?}; detach it first, or {what} with force"),
    )
}

impl From<store::Error> for Problem {
    fn from(error: store::Error) -> Self {
        let kind = match &error {
            store::Error::Unknown { key } | store::Error::Disconnected { key } => {
                return Self::missing(keys::kind_of(key), error.to_string());
            }
            store::Error::Exists { .. }
            | store::Error::IsReadOnly { .. }
            | store::Error::QuotaBelowCharge { .. } => ProblemKind::Conflict,
            store::Error::WouldShrink { .. } => ProblemKind::WouldLoseData,
            store::Error::Full { .. }
            | store::Error::OverQuota { .. }
            | store::Error::HostFull { .. }
            | store::Error::TooManyDisks => ProblemKind::OverBudget,
            store::Error::Arena { .. }
            | store::Error::Reserve { .. }
            | store::Error::Damaged { .. }
            | store::Error::Busy
            | store::Error::Foreign
            | store::Error::OtherLayout { .. } => ProblemKind::Internal,
            store::Error::Unimplemented { .. }
            | store::Error::InvalidKey { .. }
            | store::Error::InvalidSize { .. }
            | store::Error::OutOfRange { .. }
            | store::Error::Misaligned { .. }
            | store::Error::SettingsTooLong { .. }
            | store::Error::LimitTooLarge { .. } => ProblemKind::Invalid,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Store(error) => error.into(),
            Error::Image(image::Error::Store(error)) => error.into(),
            Error::Serial(_) | Error::Usage(_) | Error::PathTooLong { .. } => {
                Self::new(ProblemKind::Invalid, error.to_string())
            }
            Error::PathInUse { .. } | Error::PathTaken { .. } => {
                Self::new(ProblemKind::Conflict, error.to_string())
            }
            Error::Socket { ref source, .. } | Error::Directory { ref source, .. }
                if is_lack_of_room(source) =>
            {
                Self::new(ProblemKind::OverBudget, error.to_string())
            }
            _ => Self::new(ProblemKind::Internal, error.to_string()),
        }
    }
}

impl From<vhost_user::Error> for Problem {
    fn from(error: vhost_user::Error) -> Self {
        Error::from(error).into()
    }
}

/// Whether the error is for lack of descriptors, or of room in the run directory.
fn is_lack_of_room(error: &std::io::Error) -> bool {
    const WANTS: [i32; 4] = [libc::EMFILE, libc::ENFILE, libc::ENOSPC, libc::EDQUOT];
    error
        .raw_os_error()
        .is_some_and(|code| WANTS.contains(&code))
}
