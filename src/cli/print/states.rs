//! States of disks, in words.

use crate::cli::print::counted;
use crate::cli::print::layout::{columns, folded};
use crate::cli::values::every::every;
use crate::cli::values::size::human;
use crate::cli::values::time::{about, time};
use crate::model::{
    Disk, DiskState, Import, OnDetach, Sanitize, SanitizerCounts, Share, StableBy, Volatile,
};

/// A disk's state.
pub(in crate::cli) fn state(disk: &Disk) -> &'static str {
    match disk.state {
        DiskState::Ok => "ok",
        DiskState::Full => "full",
        DiskState::Stalled => "stalled",
        DiskState::Failed => "failed",
        DiskState::Unreachable => "unreachable",
        DiskState::PoweredOff => "powered-off",
        DiskState::Importing => "importing",
    }
}

/// A disk's state with the reason, and with what to do if that is a verb.
pub(in crate::cli) fn state_and_reason(disk: &Disk) -> String {
    let reason = match disk.state {
        DiskState::Failed => disk.failure.clone(),
        DiskState::PoweredOff => Some(format!("'ramblk power-on {}' turns it on", disk.name)),
        _ => None,
    };
    let mut text = state(disk).to_owned();
    if let Some(reason) = reason {
        text += &format!(": {reason}");
    }
    match (&disk.unreachable, disk.state) {
        (None, _) => {}
        (Some(why), DiskState::Unreachable) => text += &format!(": {why}"),
        (Some(why), _) => text += &format!("; no front end can connect: {why}"),
    }
    text
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

/// What a power cut could lose now.
pub(in crate::cli) fn volatile(volatile: &Volatile) -> String {
    if let Some(trouble) = &volatile.trouble {
        return format!("not known, for lack of memory: {trouble}");
    }
    let by = match volatile.stable_by {
        StableBy::Flush => "a write is stable after a flush",
        StableBy::WriteThrough => "writeback is off: a write is stable when it completes",
        StableBy::NoFlush => "the driver can't flush: a write is stable when it completes",
    };
    format!(
        "{} of {}; {by}; log {} of {}",
        counted(volatile.writes as u64, "write"),
        human(volatile.bytes),
        human(volatile.log_bytes),
        human(volatile.log_limit_bytes)
    )
}

/// What a sanitizer does, unless it is off.
pub(in crate::cli) fn sanitizer_mode(sanitize: Sanitize) -> Option<&'static str> {
    match sanitize {
        Sanitize::Off => None,
        Sanitize::Count => Some("count"),
        Sanitize::Log => Some("log"),
        Sanitize::Fail => Some("fail"),
    }
}

/// The counts in a line.
pub(in crate::cli) fn sanitizer_counts(counts: SanitizerCounts) -> String {
    let line = format!(
        "sanitizer: {} reads of unwritten sectors, {} times 256 MiB written without a flush, \
         {} changes by a second front end",
        counts.unwritten_reads, counts.no_flush, counts.second_writer
    );
    folded(&line, "sanitizer: ".len(), columns()) + "\n"
}

/// The history of a disk in a line.
pub(in crate::cli) fn history(disk: &Disk) -> String {
    let Some(settings) = &disk.history else {
        return "off".into();
    };
    let amount = disk.history_amount.unwrap_or_default();
    let limit = settings.limit_bytes.map(human);
    let limit = limit.map_or_else(String::new, |limit| format!(", limit {limit}"));
    let missed = match amount.missed {
        0 => String::new(),
        missed => format!(", {missed} missed"),
    };
    format!(
        "each {}, keeps {}{limit}: {} with {} of their own{missed}",
        every(settings),
        settings.keep,
        counted(amount.points, "point"),
        human(amount.held_bytes)
    )
}

/// A disk's faults, and the parameters of the personality among them.
pub(in crate::cli) fn faults(disk: &Disk) -> String {
    let mut text = disk.faults.join(" ");
    if let Some(parameters) = &disk.personality {
        text += &format!(" ({parameters})");
    }
    text
}

/// The time that a disk has left, if it has an end.
pub(super) fn left(disk: &Disk) -> Option<String> {
    Some(about(disk.ending?.in_ms))
}

/// How the life of a disk ends, if it has an end of its own.
pub(super) fn life(disk: &Disk) -> Option<String> {
    let mut words = Vec::new();
    if let Some(end) = disk.ending {
        words.push(format!("in {} ({})", about(end.in_ms), end.by.name()));
    }
    if let Some(ms) = disk.life.ttl_ms {
        words.push(format!("destroyed {} after it was set", time(ms)));
    }
    let becomes = match disk.life.on_detach {
        OnDetach::Keep => None,
        OnDetach::Reset => Some("reset"),
        OnDetach::Destroy => Some("destroyed"),
    };
    if let Some(becomes) = becomes {
        let grace = time(disk.life.grace());
        words.push(format!(
            "{becomes} {grace} after its last front end has left"
        ));
    }
    (!words.is_empty()).then(|| words.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::print::samples;

    #[test]
    fn each_state_is_told_with_its_own_reason() {
        let is = |state, failure: Option<&str>, unreachable: Option<&str>| {
            state_and_reason(&Disk {
                state,
                failure: failure.map(str::to_owned),
                unreachable: unreachable.map(str::to_owned),
                ..samples::disk("vm1")
            })
        };
        assert_eq!(is(DiskState::Ok, None, None), "ok");
        assert_eq!(is(DiskState::Importing, None, None), "importing");
        assert_eq!(
            is(DiskState::Failed, Some("it crashed"), None),
            "failed: it crashed"
        );
        let gone = Some("its socket was removed");
        let unreachable = is(DiskState::Unreachable, None, gone);
        assert_eq!(unreachable, "unreachable: its socket was removed");
        let full = is(DiskState::Full, None, gone);
        assert_eq!(
            full,
            "full; no front end can connect: its socket was removed"
        );
        let off = is(DiskState::PoweredOff, None, None);
        assert_eq!(off, "powered-off: 'ramblk power-on vm1' turns it on");
    }
}
