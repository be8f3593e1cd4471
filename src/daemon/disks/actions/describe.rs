//! Describing disks and their figures.

use std::sync::Arc;

use super::history;
use super::ids;
use crate::daemon::disks::registry::Disks;
use crate::daemon::disks::served::disk::ServedDisk;
use crate::daemon::disks::served::golden::Golden;
use crate::daemon::disks::served::power;
use crate::daemon::disks::settings::faults;
use crate::model::{
    By, ClonedState, Disk, DiskState, Findings, FrontEnd, Pool, Problem, Protocol, Stats, Usage,
};

/// All disks that have every one of `labels`, sorted by name. Takes longer the more disks there
/// are.
pub fn list(disks: &Disks, labels: &[(String, String)]) -> Vec<Disk> {
    let all = disks.all();
    let found = all.iter().filter(|served| has_labels(served, labels));
    let sockets = Sockets::of_many(disks);
    let mut listed = Vec::with_capacity(all.len());
    // A disk that is destroyed meanwhile is left out.
    listed.extend(found.filter_map(|served| describe_with(disks, served, sockets).ok()));
    listed
}

/// How it is found out whether front ends can connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sockets {
    /// By a look at the disk's socket: two microseconds.
    Look,
    /// By what was noted, since nothing that is watched has changed after that.
    Noted,
}

impl Sockets {
    /// For a list of disks.
    fn of_many(disks: &Disks) -> Self {
        match disks.factory.removals.is_quiet() {
            true => Self::Noted,
            false => Self::Look,
        }
    }
}

fn has_labels(served: &ServedDisk, labels: &[(String, String)]) -> bool {
    let metadata = served.metadata.lock();
    labels
        .iter()
        .all(|(key, value)| metadata.labels.get(key) == Some(value))
}

/// A disk, with its `unique_bytes`. Counting these takes longer the more is mapped.
///
/// # Errors
/// `not-found`.
pub fn get(disks: &Disks, name: &str) -> Result<Disk, Problem> {
    let served = disks.find(name)?;
    Ok(Disk {
        unique_bytes: Some(served.disk.unique_bytes()?),
        children: Some(disks.children(name, None)),
        saved_states: served.states.numbers(),
        ..describe(disks, &served)?
    })
}

/// A disk, without the fields that take time to compute.
///
/// # Errors
/// `not-found`.
pub fn of(disks: &Disks, name: &str) -> Result<Disk, Problem> {
    describe(disks, &*disks.find(name)?)
}

/// The counters of all disks that have every one of `labels`, sorted by name, without kinds of
/// requests that never came.
pub fn all_stats(disks: &Disks, labels: &[(String, String)]) -> Vec<Stats> {
    let all = disks.all();
    let found = all.iter().filter(|served| has_labels(served, labels));
    found.map(|served| used(served.stats())).collect()
}

/// Without kinds of requests that never came.
fn used(mut stats: Stats) -> Stats {
    stats.operations.retain(|_, one| one.completed > 0);
    stats
}

/// What disks take and do, added up.
pub fn usage(disks: &Disks, by: &By) -> Vec<Usage> {
    let all = disks.all();
    let sockets = Sockets::of_many(disks);
    let looks: Vec<_> = all
        .iter()
        // A disk that is destroyed meanwhile is left out.
        .filter_map(|served| Some((describe_with(disks, served, sockets).ok()?, served.stats())))
        .collect();
    Usage::by(by, looks.iter().map(|(disk, stats)| (disk, stats)))
}

/// The counters of a disk's requests.
///
/// # Errors
/// `not-found`.
pub fn stats(disks: &Disks, name: &str) -> Result<Stats, Problem> {
    Ok(disks.find(name)?.stats())
}

/// What the sanitizer of a disk has found.
///
/// # Errors
/// `not-found`.
pub fn findings(disks: &Disks, name: &str) -> Result<Findings, Problem> {
    Ok(disks.find(name)?.findings())
}

/// How long each worker has polled in vain, in nanoseconds, by its number.
pub(crate) fn polled_ns(disks: &Disks) -> Vec<u64> {
    disks.factory.hub.polled_ns()
}

/// The memory of all disks.
pub fn pool(disks: &Disks) -> Pool {
    let all = disks.all();
    let mapped_bytes = all.iter().map(|served| served.mapped_bytes()).sum();
    let (count, snapshots) = disks.counts();
    let images = disks.all_images();
    let (history_points, history_held_bytes) = disks.keeper.amount();
    let charged = |image: &Arc<Golden>| Some(image.disk.get_info().ok()?.charged_bytes);
    Pool {
        limit_bytes: disks.store().limit_bytes(),
        limit_from: disks.options.limit_from.clone(),
        charged_bytes: disks.store().charged_bytes(),
        mapped_bytes,
        disks: count,
        snapshots,
        images: images.len(),
        images_charged_bytes: images.iter().filter_map(charged).sum(),
        history_points,
        history_held_bytes,
        most_disks: disks.options.most_disks,
        workers: disks.options.workers,
        warnings: disks.warnings(),
    }
}

/// A disk, without the fields that take time to compute.
pub(crate) fn describe(disks: &Disks, served: &ServedDisk) -> Result<Disk, Problem> {
    describe_with(disks, served, Sockets::Look)
}

fn describe_with(disks: &Disks, served: &ServedDisk, sockets: Sockets) -> Result<Disk, Problem> {
    let (info, metadata) = served.look()?;
    let settings = metadata.settings(&info.spec);
    let unreachable = match sockets {
        Sockets::Look => served.unreachable(),
        Sockets::Noted => served.noted_unreachable(),
    };
    let front_ends = front_ends(served);
    let socket = disks.factory.absolute_socket_path(served);
    let ending = served.ending();
    // Before the locks that are held until the end of the next statement.
    let content_id = ids::of_disk(disks, served)?;
    Ok(Disk {
        name: served.name.clone(),
        id: metadata.identity.uuid(),
        created_ns: metadata.identity.created_ns,
        generation: metadata.identity.generation,
        size_bytes: settings.size_bytes,
        block_size: settings.block_size,
        socket: socket.display().to_string(),
        attached: !front_ends.is_empty(),
        front_ends,
        read_only: settings.read_only,
        serial: served.server.device().volume().serial().text().to_owned(),
        queues: settings.queues,
        share: settings.share,
        in_order: settings.in_order,
        detect_zeroes: settings.detect_zeroes,
        on_full: settings.on_full,
        sanitize: settings.sanitize,
        history: settings.history,
        history_amount: history::amount(served),
        write_cache: settings.write_cache,
        volatile: power::figures(served.server.device().volume()),
        mapped_bytes: info.mapped_bytes,
        charged_bytes: info.charged_bytes,
        unique_bytes: None,
        quota_bytes: settings.quota_bytes,
        limits: settings.limits,
        group: settings.group,
        labels: settings.labels,
        life: settings.life,
        ending,
        protected: settings.protected,
        socket_owner: settings.socket_owner,
        socket_not_given: served.socket_not_given(),
        personality: faults::personality(&settings.faults),
        faults: settings.faults,
        parent: info.parent_id.and_then(|id| disks.name_of(id)),
        snapshots: served.snapshots.lock().iter().cloned().collect(),
        children: None,
        saved_states: Vec::new(),
        clone_of: metadata.birth.map(|birth| ClonedState {
            disk: disks.name_of(birth.state.disk),
            number: birth.state.number,
        }),
        state: match served.health.lock().state {
            state @ (DiskState::Failed | DiskState::Importing) => state,
            _ if served.power.is_off() => DiskState::PoweredOff,
            DiskState::Ok if unreachable.is_some() => DiskState::Unreachable,
            state => state,
        },
        unreachable,
        failure: metadata.failure,
        import: served.uploads.progress(metadata.origin.importing_image()),
        image: metadata.origin.image().cloned(),
        content_id,
        made_from: metadata.lineage.map(|lineage| lineage.id),
    })
}

fn front_ends(served: &ServedDisk) -> Vec<FrontEnd> {
    let connected = served.server.front_ends();
    let described = connected.iter().map(|it| FrontEnd {
        session: it.session,
        protocol: match it.is_visitor {
            true => Protocol::Nbd,
            false => Protocol::VhostUser,
        },
        pid: it.peer.and_then(|peer| peer.pid),
        live: it.live,
        notifiable: it.notifiable,
        polled_queues: it.polled_queues,
        untracked_queues: it.untracked_queues,
    });
    described.collect()
}
