//! States of disks, in words.

use crate::cli::values::size::human;
use crate::model::{Disk, DiskState, Import, Share};

/// A disk's state.
pub(in crate::cli) fn state(disk: &Disk) -> &'static str {
    match disk.state {
        DiskState::Ok => "ok",
        DiskState::Full => "full",
        DiskState::Stalled => "stalled",
        DiskState::Failed => "failed",
        DiskState::Unreachable => "unreachable",
        DiskState::Importing => "importing",
    }
}

/// How many front ends may use a disk.
pub(in crate::cli) fn share(share: Share) -> &'static str {
    match share {
        Share::None => "one front end",
        Share::Ro => "any number of front ends, read-only",
        Share::Rw => "any number of front ends, all writing",
    }
}

/// The progress of an import.
pub(in crate::cli) fn import(import: &Import) -> String {
    let total = import.total_bytes;
    let total = total.map_or_else(|| "an unknown total".into(), human);
    let sender = match import.uploading {
        true => "",
        false => ", and no client sends more",
    };
    format!("{} of {total} received{sender}", human(import.done_bytes))
}

/// A note on queues that are served differently, if any are.
pub(in crate::cli) fn queues(count: u16, how: &str) -> String {
    match count {
        0 => String::new(),
        _ => format!("; queues {how}: {count}"),
    }
}
