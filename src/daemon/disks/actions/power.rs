//! Power cuts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::describe::describe;
use super::{create, groups};
use crate::crash::{self, Choice, Fate, Policy, TearUnit};
use crate::daemon::disks::registry::Disks;
use crate::daemon::disks::served::cut::{CutRecord, Lost};
use crate::daemon::disks::served::disk::ServedDisk;
use crate::daemon::disks::settings::lineage::Lineage;
use crate::daemon::disks::settings::metadata::Metadata;
use crate::daemon::disks::settings::names::check_name;
use crate::daemon::disks::settings::problems::{conflict, invalid};
use crate::daemon::disks::settings::valid::ValidDisk;
use crate::device::{Cache, Frozen, Remains};
use crate::model::{
    Because, Disk, DiskCut, EventKind, Keep, KeptPart, Life, LostFate, LostWrite, PowerCut,
    PowerCutRequest, Problem, ProblemKind,
};
use crate::vhost_user::Owed;

/// The most disks of one cut.
const MOST_DISKS: usize = 64;
/// The most writes that an answer lists.
const MOST_LISTED: usize = 256;
/// How long requests that have begun may take, and then the end of sessions.
const PATIENCE: Duration = Duration::from_secs(2);

/// A disk that is about to lose its power.
struct Victim {
    served: Arc<ServedDisk>,
    cache: Arc<Cache>,
}

/// Cut the power of disks at one instant, or make beside a disk what it would be after that.
///
/// # Errors
/// `not-found`; `invalid` for a policy that contradicts itself, and for a disk without a volatile
/// write cache; `busy` if requests or front ends don't end; `over-budget`. Then no disk is changed.
pub fn cut(disks: &Disks, request: &PowerCutRequest) -> Result<PowerCut, Problem> {
    let policy = policy(request)?;
    check_names(request)?;
    let _control = disks.control();
    let victims = find(disks, &request.disks)?;
    let is_cut = request.fork.is_none();
    let frozen: Vec<Frozen> = victims
        .iter()
        .map(|victim| victim.cache.freeze(is_cut))
        .collect();
    let until = Instant::now() + PATIENCE;
    if !frozen.iter().all(|frozen| frozen.is_quiet_by(until)) {
        return Err(busy("requests that have begun don't end"));
    }
    // Nothing changes now: this is the instant.
    let remains = frozen.iter().map(Frozen::remains);
    let remains: Vec<Remains> = remains.collect::<Result<_, _>>()?;
    // A disk that only gets a fork goes on at once.
    let frozen = if is_cut { frozen } else { Vec::new() };
    let mut cuts = Vec::new();
    for (place, (victim, remains)) in victims.iter().zip(&remains).enumerate() {
        // Each disk of one seed has choices of its own.
        let seed = request.seed.wrapping_add(place as u64);
        let choice = policy.choose(remains.window(), seed);
        remains.make(&choice)?;
        cuts.push(told(&victim.served, remains, &choice));
    }
    match &request.fork {
        Some(new) => {
            fork(disks, &victims[0].served, &remains[0], new)?;
            cuts[0].fork = Some(new.clone());
        }
        None => end(disks, request, &victims, &remains, &frozen, &mut cuts)?,
    }
    Ok(PowerCut {
        disks: cuts,
        keep: request.keep,
        seed: request.seed,
        tear_unit_bytes: policy.unit().bytes(),
    })
}

fn policy(request: &PowerCutRequest) -> Result<Policy, Problem> {
    let usual = TearUnit::PHYSICAL_BLOCK.bytes();
    let unit = TearUnit::new(request.tear_unit_bytes.unwrap_or(usual));
    let unit = unit.map_err(|error| invalid("tear_unit_bytes", error.to_string()))?;
    let keep = match request.keep {
        Keep::None => crash::Keep::None,
        Keep::All => crash::Keep::All,
        Keep::Prefix => crash::Keep::Prefix,
        Keep::Subset => crash::Keep::Subset,
        Keep::Reorder => crash::Keep::Reorder,
    };
    let policy = Policy::new(keep, request.torn, request.garbage, unit);
    policy.map_err(|error| invalid("keep", error.to_string()))
}

fn check_count(names: &[String]) -> Result<(), Problem> {
    if names.is_empty() || names.len() > MOST_DISKS {
        let detail = format!("{} disks: give 1 to {MOST_DISKS}", names.len());
        return Err(invalid("disks", detail));
    }
    Ok(())
}

fn check_names(request: &PowerCutRequest) -> Result<(), Problem> {
    let names = &request.disks;
    check_count(names)?;
    let each: BTreeSet<&String> = names.iter().collect();
    if each.len() < names.len() {
        return Err(invalid("disks", "a disk is named twice".into()));
    }
    let Some(new) = &request.fork else {
        return Ok(());
    };
    check_name(new)?;
    if names.len() > 1 {
        let detail = format!("{} disks can't become one fork: name one disk", names.len());
        return Err(invalid("fork", detail));
    }
    if request.off {
        let detail = "a fork leaves the disk running, so it can't be off: leave out one of them";
        return Err(invalid("off", detail.into()));
    }
    Ok(())
}

fn find(disks: &Disks, names: &[String]) -> Result<Vec<Victim>, Problem> {
    let victim = |name: &String| {
        let served = disks.find(name)?;
        served.check_whole("cut its power")?;
        let cache = served.server.device().volume().cache();
        let cache = cache.ok_or_else(|| {
            invalid(
                "disks",
                format!(
                    "disk {name:?} has no volatile write cache, so a power cut loses nothing: \
                     create it with write_cache volatile, or detach it and set that"
                ),
            )
        })?;
        Ok(Victim { served, cache })
    };
    names.iter().map(victim).collect()
}

fn busy(what: &str) -> Problem {
    let seconds = PATIENCE.as_secs();
    let detail = format!("{what} within {seconds} s, so nothing was cut; try again");
    Problem::new(ProblemKind::Busy, detail)
}

/// Make the survivor beside the disk.
fn fork(
    disks: &Disks,
    source: &Arc<ServedDisk>,
    remains: &Remains,
    new: &str,
) -> Result<(), Problem> {
    if disks.find(new).is_ok() {
        return Err(conflict(format!(
            "disk {new:?} exists already; choose another name or destroy it first"
        )));
    }
    let mut settings = source.settings()?;
    let content = disks.store().open(remains.key())?;
    settings.size_bytes = content.capacity().bytes();
    settings.life = Life::default();
    settings.protected = false;
    settings.serial = None;
    settings.labels = BTreeMap::new();
    let valid = ValidDisk::new(new, settings, disks.store().limit_bytes())?;
    let limiter = groups::limiter(disks, valid.settings.group.as_deref())?;
    create::check_room(disks)?;
    disks.factory.check(new)?;
    let store = disks.store();
    let disk = store.fork_as(remains.key(), new, &valid.spec, &valid.blob)?;
    create::serve_new(disks, new, disk, &valid, limiter)?;
    let events = disks.events();
    events.tell_with(EventKind::Forked, new, "from", source.name.as_str());
    Ok(())
}

/// Let the disks be what remains of them.
fn end(
    disks: &Disks,
    request: &PowerCutRequest,
    victims: &[Victim],
    remains: &[Remains],
    frozen: &[Frozen],
    cuts: &mut [DiskCut],
) -> Result<(), Problem> {
    // All sockets first, so that no front end reconnects between two disks' ends.
    for victim in victims {
        victim.served.stop_listening();
    }
    let until = Instant::now() + PATIENCE;
    let mut owed = Vec::new();
    for (victim, cut) in victims.iter().zip(&mut *cuts) {
        let served = &victim.served;
        cut.disconnected = served.server.front_ends().len();
        served.views.disconnect();
        owed.push(served.server.disconnect());
    }
    let have_ended = victims
        .iter()
        .all(|victim| victim.served.server.is_idle_by(until));
    if !have_ended {
        listen(disks, victims, false)?;
        return Err(busy("a front end's session didn't end"));
    }
    let record = record(disks, victims, remains);
    let record = record.inspect_err(|_| drop(listen(disks, victims, false)))?;
    for ((victim, remains), frozen) in victims.iter().zip(remains).zip(frozen) {
        let served = &victim.served;
        let left = served.replace_metadata(leave_behind, |blob| {
            let store = disks.store();
            Ok(store.absorb(&served.name, remains.key(), blob)?)
        });
        let left = left.inspect_err(|_| drop(listen(disks, victims, false)))?;
        drop(left);
        frozen.stabilise();
        served.end_recording("the power was cut");
    }
    owed.into_iter().for_each(Owed::disown);
    record.map_or(Ok(()), CutRecord::end)?;
    for cut in &mut *cuts {
        cut.hint = (cut.disconnected > 0).then(|| HINT.to_owned());
        let details = BTreeMap::from([
            ("seed".to_owned(), request.seed.into()),
            ("volatile_writes".to_owned(), cut.volatile_writes.into()),
            ("lost_writes".to_owned(), cut.lost_writes.into()),
        ]);
        let events = disks.events();
        events.tell(EventKind::PowerCut, Some(&cut.disk), details);
    }
    listen(disks, victims, request.off)
}

fn leave_behind(metadata: &mut Metadata) {
    metadata.lineage = metadata.lineage.map(Lineage::left_behind);
}

/// The record of a cut of several disks. That of one disk needs none: it happens when that disk is
/// changed.
fn record<'d>(
    disks: &'d Disks,
    victims: &[Victim],
    remains: &[Remains],
) -> Result<Option<CutRecord<'d>>, Problem> {
    if victims.len() == 1 {
        return Ok(None);
    }
    let mut lost = Vec::new();
    for (victim, remains) in victims.iter().zip(remains) {
        let mut after = victim.served.metadata.lock().clone();
        leave_behind(&mut after);
        let hidden = disks.store().open(remains.key())?;
        hidden.set_settings(&after.encode()?)?;
        lost.push(Lost {
            disk: victim.served.name.clone(),
            remains: remains.key().to_owned(),
        });
    }
    Ok(Some(CutRecord::new(disks.store(), &lost)?))
}

const HINT: &str = "a machine that was connected has lost its disk, but not its power: end it, and \
    start it again; one that reconnects by itself (QEMU) is refused its requests in flight";

/// Let front ends connect again, or keep the power off.
fn listen(disks: &Disks, victims: &[Victim], is_off: bool) -> Result<(), Problem> {
    for victim in victims {
        let served = &victim.served;
        served.power.set_off(is_off);
        if !is_off {
            disks.factory.listen(served)?;
        }
    }
    Ok(())
}

/// Turn the power of disks on again. A disk that has power stays as it is.
///
/// # Errors
/// `not-found`; a socket can't be made.
pub fn on(disks: &Disks, names: &[String]) -> Result<Vec<Disk>, Problem> {
    check_count(names)?;
    let _control = disks.control();
    let found = names.iter().map(|name| disks.find(name));
    let found: Vec<Arc<ServedDisk>> = found.collect::<Result<_, _>>()?;
    for served in found.iter().filter(|served| served.power.is_off()) {
        disks.factory.listen(served)?;
        served.power.set_off(false);
        let events = disks.events();
        events.tell(EventKind::PowerOn, Some(&served.name), BTreeMap::new());
    }
    let described = found.iter().map(|served| describe(disks, served));
    described.collect()
}

/// What becomes of a disk, for the answer.
fn told(served: &ServedDisk, remains: &Remains, choice: &Choice) -> DiskCut {
    let window = remains.window();
    let lost = choice.losses(window).take(MOST_LISTED).map(|loss| {
        let write = &loss.write;
        let (fate, kept) = match loss.fate {
            Fate::Torn(runs) => (LostFate::Torn, runs.as_slice()),
            Fate::Garbage(_) => (LostFate::Garbage, [].as_slice()),
            Fate::Lost | Fate::Kept => (LostFate::Lost, [].as_slice()),
        };
        let parts = kept.iter().map(|run| {
            let part = choice.unit().part(write.range, run);
            KeptPart {
                start_bytes: part.start_bytes(),
                length_bytes: part.len_bytes(),
            }
        });
        LostWrite {
            number: write.number,
            kind: write.kind.name().to_owned(),
            start_bytes: write.range.start_bytes(),
            length_bytes: write.range.len_bytes(),
            fate,
            kept: parts.collect(),
            because: match write.completed {
                None => Because::InFlight,
                Some(_) => Because::NoFlush,
            },
        }
    });
    DiskCut {
        disk: served.name.clone(),
        fork: None,
        volatile_writes: window.volatile().count(),
        lost_writes: choice.losses(window).count(),
        lost: lost.collect(),
        disconnected: 0,
        hint: None,
    }
}
