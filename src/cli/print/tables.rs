//! Answers of the API as text for people.

use std::fmt::Write;
use std::time::{Duration, UNIX_EPOCH};

use crate::cli::print::age::{age, age_seconds};
use crate::cli::print::counted;
use crate::cli::print::layout::{pairs, table};
use crate::cli::print::rates::{Rates, quantile, real};
use crate::cli::print::states::{
    faults, history, import, life, queues, sanitizer_counts, sanitizer_mode, share,
    state_and_reason, volatile,
};
use crate::cli::values::size::{human, human_and_exact};
use crate::model::{
    ClonedState, Compared, ContentId, Difference, DifferenceKind, Disk, FrontEnd, Group, Limits,
    MapExtent, OnFull, OperationStats, Protocol, Rate, Resized, Snapshot, Stats,
};

/// The text, or a dash if there is none.
pub(in crate::cli) fn or_dash(text: String) -> String {
    if text.is_empty() { "-".into() } else { text }
}

/// A disk's labels.
pub(in crate::cli) fn labels(disk: &Disk) -> String {
    let labels = disk
        .labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"));
    or_dash(labels.collect::<Vec<_>>().join(","))
}

/// `yes` or `no`.
pub(in crate::cli) fn yes(yes: bool) -> String {
    if yes { "yes" } else { "no" }.into()
}

/// When a disk was created, and how long ago that is.
fn created(disk: &Disk) -> String {
    let when = UNIX_EPOCH + Duration::from_nanos(disk.created_ns);
    match disk.created_ns {
        0 => "-".into(),
        ns => format!(
            "{} ({} ago)",
            humantime::format_rfc3339_seconds(when),
            age(age_seconds(ns))
        ),
    }
}

/// `ramblk show`.
pub(in crate::cli) fn disk(disk: &Disk) -> String {
    let ends = disk.front_ends.iter().map(front_end).collect::<Vec<_>>();
    let on_full = match disk.on_full {
        OnFull::Error => "writes fail",
        OnFull::Stall => "writes wait",
    };
    let image = disk.image.as_ref().map(|image| image.name.clone());
    let id = |id: Option<ContentId>| id.map_or_else(|| "-".into(), |id| id.to_string());
    let mut rows = vec![
        ("name", disk.name.clone()),
        ("size", human_and_exact(disk.size_bytes)),
        ("state", state_and_reason(disk)),
        (
            "import",
            disk.import.as_ref().map_or_else(|| "-".into(), import),
        ),
        ("image", or_dash(image.unwrap_or_default())),
        ("id", or_dash(disk.id.clone())),
        ("created", created(disk)),
        ("generation", disk.generation.to_string()),
        ("content id", id(disk.content_id)),
        ("made from", id(disk.made_from)),
        ("socket", disk.socket.clone()),
        ("attached", or_dash(ends.join("; "))),
        ("block size", human_and_exact(disk.block_size)),
        ("queues", disk.queues.to_string()),
        ("read-only", yes(disk.read_only)),
        ("serial", disk.serial.clone()),
        ("share", share(disk.share).into()),
        ("in order", yes(disk.in_order)),
        ("detect zeroes", yes(disk.detect_zeroes)),
        ("mapped", human_and_exact(disk.mapped_bytes)),
        ("memory", human_and_exact(disk.charged_bytes)),
        (
            "unique",
            disk.unique_bytes
                .map_or_else(|| "-".into(), human_and_exact),
        ),
        (
            "quota",
            disk.quota_bytes
                .map_or_else(|| "none".into(), human_and_exact),
        ),
        ("when full", on_full.into()),
        ("limits", limits(&disk.limits)),
        ("group", disk.group.clone().unwrap_or_else(|| "-".into())),
        ("labels", labels(disk)),
        ("faults", or_dash(faults(disk))),
        ("parent", disk.parent.clone().unwrap_or_else(|| "-".into())),
        ("snapshots", or_dash(disk.snapshots.join(" "))),
        ("forks", forks(disk.children.as_deref().unwrap_or_default())),
    ];
    if disk.history.is_some() {
        rows.push(("history", history(disk)));
    }
    if !disk.saved_states.is_empty() {
        let numbers = disk.saved_states.iter().map(u64::to_string);
        rows.push(("saved states", numbers.collect::<Vec<_>>().join(" ")));
    }
    rows.extend(disk.clone_of.as_ref().map(|it| ("clone of", clone_of(it))));
    rows.extend(life(disk).map(|life| ("ends", life)));
    rows.extend(socket_owner(disk).map(|owner| ("socket owner", owner)));
    rows.extend(disk.protected.then(|| ("protected", yes(true))));
    rows.extend(sanitizer_mode(disk.sanitize).map(|mode| ("sanitizer", mode.into())));
    rows.extend(disk.volatile.as_ref().map(|it| ("volatile", volatile(it))));
    pairs(&rows)
}

/// Who owns a disk's socket, if that isn't the daemon.
fn socket_owner(disk: &Disk) -> Option<String> {
    let owner = disk.socket_owner.as_ref()?;
    Some(match &disk.socket_not_given {
        Some(why) => format!("the daemon, instead of {owner}: {why}"),
        None => format!("{owner} (forks don't inherit it)"),
    })
}

fn clone_of(state: &ClonedState) -> String {
    match &state.disk {
        Some(disk) => format!("state {} of {disk}", state.number),
        None => format!("state {} of a disk that is gone", state.number),
    }
}

/// The forks of a disk or an image: how many, and the first of them.
pub(super) fn forks(children: &[String]) -> String {
    const NAMED: usize = 8;
    match children.len() {
        0 => "-".into(),
        few @ ..=NAMED => format!("{few}: {}", children.join(" ")),
        many => format!("{many}: {} ...", children[..NAMED].join(" ")),
    }
}

fn front_end(end: &FrontEnd) -> String {
    let who = match end.pid {
        Some(pid) => format!("process {pid}"),
        None => format!("session {}", end.session),
    };
    let how = match (end.live, end.notifiable) {
        _ if end.protocol == Protocol::Nbd => "over NBD",
        (false, _) => "no driver started",
        (true, true) => "in use",
        (true, false) => "in use; can't be notified of a new size",
    };
    let polled = queues(end.polled_queues, "polled");
    let more = polled + &queues(end.untracked_queues, "untracked");
    format!("{who} ({how}{more})")
}

/// Limits in a line.
pub(in crate::cli) fn limits(limits: &Limits) -> String {
    let kinds = [
        ("", limits.total),
        ("read ", limits.read),
        ("write ", limits.write),
    ];
    let said = kinds.iter().filter_map(|(kind, limit)| {
        let words = rate(limit);
        (!words.is_empty()).then(|| format!("{kind}{words}"))
    });
    let said = said.collect::<Vec<_>>().join("; ");
    if said.is_empty() { "none".into() } else { said }
}

fn rate(rate: &Rate) -> String {
    let mut words = Vec::new();
    if let Some(iops) = rate.iops {
        words.push(format!("{}/s", counted(iops, "request")));
    }
    if let Some(burst) = rate.iops_burst {
        words.push(format!("burst {}", counted(burst, "request")));
    }
    if let Some(bytes) = rate.bytes_per_second {
        words.push(format!("{}/s", human(bytes)));
    }
    if let Some(burst) = rate.bytes_burst {
        words.push(format!("burst {}", human(burst)));
    }
    words.join(", ")
}

/// `ramblk snapshots`.
pub(in crate::cli) fn snapshots(snapshots: &[Snapshot]) -> String {
    let rows = snapshots.iter().map(|snapshot| {
        vec![
            format!("{}@{}", snapshot.disk, snapshot.name),
            human(snapshot.size_bytes),
            human(snapshot.mapped_bytes),
            human(snapshot.charged_bytes),
        ]
    });
    table(
        &["SNAPSHOT", "SIZE", "MAPPED", "MEMORY"],
        &[1, 2, 3],
        rows.collect(),
    )
}

/// `ramblk group list`: how many disks share the limits, since there may be thousands.
pub(in crate::cli) fn groups(groups: &[Group]) -> String {
    let rows = groups.iter().map(|group| {
        vec![
            group.name.clone(),
            group.disks.len().to_string(),
            limits(&group.limits),
        ]
    });
    table(&["GROUP", "DISKS", "LIMITS"], &[1], rows.collect())
}

/// `ramblk group show`.
pub(in crate::cli) fn group(group: &Group) -> String {
    pairs(&[
        ("group", group.name.clone()),
        ("limits", limits(&group.limits)),
        ("disks", or_dash(group.disks.join(" "))),
    ])
}

/// `ramblk map`.
pub(in crate::cli) fn map(extents: &[MapExtent]) -> String {
    let rows = extents.iter().map(|extent| {
        let is = if extent.mapped { "mapped" } else { "hole" };
        vec![
            extent.start_bytes.to_string(),
            extent.length_bytes.to_string(),
            is.into(),
        ]
    });
    table(&["START", "LENGTH", "IS"], &[0, 1], rows.collect())
}

/// `ramblk diff`: nothing if both are the same.
pub(in crate::cli) fn differences(extents: &[Difference], end: &Compared) -> String {
    let mut text = String::new();
    if !extents.is_empty() {
        let rows = extents.iter().map(|extent| {
            let now = match extent.kind {
                DifferenceKind::Data => "data",
                DifferenceKind::Zero => "zero",
            };
            vec![
                extent.start_bytes.to_string(),
                extent.length_bytes.to_string(),
                now.into(),
            ]
        });
        text = table(&["START", "LENGTH", "NOW"], &[0, 1], rows.collect());
    }
    if end.from_bytes != end.to_bytes {
        let (from, to) = (
            human_and_exact(end.from_bytes),
            human_and_exact(end.to_bytes),
        );
        text += &format!("size: {from} → {to}\n");
    }
    text
}

/// `ramblk stats`: since the disk was created.
pub(in crate::cli) fn stats(stats: &Stats) -> String {
    let rows = stats.operations.iter().map(|(kind, done)| {
        vec![
            kind.replace('_', "-"),
            done.completed.to_string(),
            done.errors.to_string(),
            human(done.bytes),
            mean(done).map_or_else(|| "-".into(), time),
            p(done, 0.5),
            p(done, 0.99),
        ]
    });
    let head = ["REQUESTS", "DONE", "ERRORS", "BYTES", "MEAN", "P50", "P99"];
    let mut text = table(&head, &[1, 2, 3, 4, 5, 6], rows.collect());
    let _ = writeln!(
        text,
        "\nnow: {} in flight, {} wait for a limit, {} wait for memory, {} held by faults\n\
         in all: {} waited for a limit, {} found no memory, {} faults",
        stats.in_flight,
        stats.throttled,
        stats.stalled,
        stats.held,
        stats.throttled_total,
        stats.full_total,
        stats.faults_total
    );
    text += &stats.sanitizer.map(sanitizer_counts).unwrap_or_default();
    text
}

fn mean(done: &OperationStats) -> Option<f64> {
    (done.completed > 0).then(|| real(done.time_ns) / 1e9 / real(done.completed))
}

fn p(done: &OperationStats, part: f64) -> String {
    quantile(&done.latency, part).map_or_else(|| "-".into(), time)
}

/// A time in the unit that suits it.
pub(in crate::cli) fn time(seconds: f64) -> String {
    match seconds {
        s if s < 1e-3 => format!("{:.1} us", s * 1e6),
        s if s < 1.0 => format!("{:.1} ms", s * 1e3),
        s => format!("{s:.1} s"),
    }
}

/// A rate of bytes.
pub(in crate::cli) fn bandwidth(bytes_per_second: f64) -> String {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it saturates, and a rate is not negative"
    )]
    let whole = bytes_per_second.round() as u64;
    format!("{}/s", human(whole))
}

/// The heading of [`rates`].
pub(in crate::cli) const RATES_HEAD: &str =
    "    READ/s   WRITE/s   OTHER/s      READ     WRITE       P99  WAITING  ERRORS/s\n";

/// A line of `ramblk stats --watch`.
pub(in crate::cli) fn rates(rates: &Rates, now: &Stats) -> String {
    format!(
        "{:>10.0}{:>10.0}{:>10.0}{:>10}{:>10}{:>10}{:>9}{:>10.0}\n",
        rates.read_iops,
        rates.write_iops,
        rates.other_iops,
        bandwidth(rates.read_bytes),
        bandwidth(rates.write_bytes),
        rates.p99_seconds.map_or_else(|| "-".into(), time),
        now.throttled + now.stalled + now.held,
        rates.errors,
    )
}

/// The result of `ramblk resize`.
pub(in crate::cli) fn resized(name: &str, resized: &Resized) -> String {
    let mut text = format!(
        "{name}: {} -> {}",
        human(resized.from_bytes),
        human(resized.to_bytes)
    );
    if resized.lost_bytes > 0 {
        let _ = write!(text, ", {} of data lost", human(resized.lost_bytes));
    }
    match (resized.notified, resized.not_notified) {
        (0, 0) => text.push_str("; no front end is connected"),
        (told, 0) => {
            let _ = write!(text, "; front ends notified: {told}");
        }
        (told, not) => {
            let _ = write!(
                text,
                "; front ends notified: {told}, can't be notified: {not}"
            );
        }
    }
    text.push('\n');
    if let Some(hint) = &resized.hint {
        text.push_str(hint);
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::print::rates::between;
    use crate::cli::print::samples::{self, compare};

    #[test]
    fn lists_are_tables() {
        let snapshot = Snapshot {
            disk: "scratch".into(),
            name: "clean".into(),
            size_bytes: 1 << 30,
            mapped_bytes: 1536,
            charged_bytes: 0,
            protected: false,
            children: Vec::new(),
            content_id: None,
        };
        compare("snapshots", &snapshots(&[snapshot]));
        let extent = |start_bytes, mapped| MapExtent {
            start_bytes,
            length_bytes: 4096,
            mapped,
        };
        compare("map", &map(&[extent(0, true), extent(4096, false)]));
        assert_eq!(map(&[]), "START  LENGTH  IS\n");
    }

    #[test]
    fn one_thing_is_shown_as_pairs() {
        let mut disk_now = samples::disk("scratch");
        disk_now.limits.total.iops = Some(1000);
        disk_now.limits.read.bytes_per_second = Some(100 << 20);
        disk_now.limits.read.bytes_burst = Some(1 << 20);
        compare("show", &disk(&disk_now));
        let limits = disk_now.limits;
        let group_now = Group {
            name: "tenants".into(),
            limits,
            disks: vec!["a".into(), "b".into()],
        };
        let listed = groups(std::slice::from_ref(&group_now));
        compare("groups", &(listed + "\n" + &group(&group_now)));
    }

    #[test]
    fn what_guests_did_is_counted_and_timed() {
        let now = samples::stats("scratch", 1000);
        compare("stats", &stats(&now));
        let line = rates(&between(&samples::stats("scratch", 500), &now, 0.5), &now);
        compare("watch", &(RATES_HEAD.to_owned() + &line));
    }

    #[test]
    fn a_change_says_what_to_do_next() {
        let told = Resized {
            from_bytes: 1 << 30,
            to_bytes: 2 << 30,
            lost_bytes: 0,
            notified: 1,
            not_notified: 0,
            hint: None,
        };
        assert_eq!(resized("a", &told), "a: 1G -> 2G; front ends notified: 1\n");
        let untold = Resized {
            lost_bytes: 4096,
            not_notified: 1,
            hint: Some("do this".into()),
            ..told
        };
        assert_eq!(
            resized("a", &untold),
            "a: 1G -> 2G, 4K of data lost; front ends notified: 1, can't be notified: 1\ndo this\n"
        );
    }
}
