//! Faults on command.

use super::change;
use crate::daemon::disks::registry::Disks;
use crate::daemon::disks::served::disk::ServedDisk;
use crate::daemon::disks::settings::faults::parameters;
use crate::daemon::disks::settings::problems::{invalid, not_found};
use crate::device::faults::{Firing, Rot, Rule, RuleError, RuleStatus};
use crate::model::{
    DiskPatch, EventKind, Fault, FaultFiring, FaultLog, Missing, Problem, RottenBits,
};

/// The faults of a disk, in the order in which they are asked.
///
/// # Errors
/// `not-found`.
pub fn list(disks: &Disks, name: &str) -> Result<Vec<Fault>, Problem> {
    Ok(all(&*disks.find(name)?))
}

/// Add a fault, behind those that the disk has. It is in force for all requests that are made from
/// now on. A `rot` happens at once, and is then over.
///
/// # Errors
/// `not-found`; `invalid` for a text that is no rule, or for a rule that could never fire.
pub fn add(disks: &Disks, name: &str, rule: &str) -> Result<Fault, Problem> {
    if rule.starts_with("rot") {
        return rot(disks, name, rule);
    }
    let changed = edit(disks, name, |rules| {
        // Parsed by itself first, so that what is wrong is known to be wrong with this one.
        let wrong = |error: RuleError| invalid("rule", error.to_string());
        let rule: Rule = rule.parse().map_err(wrong)?;
        rules.push(rule.to_string());
        Ok(())
    })?;
    let last = changed.into_iter().next_back();
    last.ok_or_else(|| not_found(Missing::Fault, rule))
}

/// Have bits of a disk go wrong at rest.
fn rot(disks: &Disks, name: &str, rule: &str) -> Result<Fault, Problem> {
    let wrong = |error: RuleError| invalid("rule", error.to_string());
    let rot: Rot = rule.parse().map_err(wrong)?;
    let served = disks.find(name)?;
    served.check_whole("have bits of it rot")?;
    rot.check_size(served.disk.capacity().bytes())
        .map_err(wrong)?;
    let rotten = rot.carry_out(&served.disk)?;
    if rotten.is_empty() {
        let detail = "nothing is mapped there, so no bit can rot: write something first";
        return Err(invalid("rule", detail.into()));
    }
    // No request did this, so what follows would replay to something else.
    served.end_recording("bits of the disk were made wrong at rest");
    let events = disks.events();
    events.tell_with(EventKind::FaultFired, name, "kind", rot.to_string());
    Ok(Fault {
        id: "rot".to_owned(),
        rule: rot.to_string(),
        requests: 0,
        fired: 1,
        spent: true,
        crowded: false,
        parameters: None,
        rotten: rotten
            .into_iter()
            .map(|it| RottenBits {
                at_bytes: it.at_bytes,
                mask: it.mask,
            })
            .collect(),
    })
}

/// Remove a fault. What it holds goes on.
///
/// # Errors
/// `not-found`.
pub fn remove(disks: &Disks, name: &str, id: &str) -> Result<(), Problem> {
    edit(disks, name, |rules| {
        let at = position(rules, id).ok_or_else(|| not_found(Missing::Fault, id))?;
        rules.remove(at);
        Ok(())
    })
    .map(drop)
}

/// Remove all faults of a disk. What they hold goes on.
///
/// # Errors
/// `not-found`.
pub fn clear(disks: &Disks, name: &str) -> Result<(), Problem> {
    edit(disks, name, |rules| {
        rules.clear();
        Ok(())
    })
    .map(drop)
}

/// Let the requests go on that a fault holds now. It stays in force for later ones.
///
/// # Errors
/// `not-found`.
pub fn release(disks: &Disks, name: &str, id: &str) -> Result<Fault, Problem> {
    let served = disks.find(name)?;
    if !served.server.device().volume().faults().release(id) {
        return Err(not_found(Missing::Fault, id));
    }
    let mut faults = all(&served).into_iter();
    let fault = faults.find(|fault| fault.id == id);
    fault.ok_or_else(|| not_found(Missing::Fault, id))
}

/// The last firings of a disk's faults since the daemon started.
///
/// # Errors
/// `not-found`.
pub fn log(disks: &Disks, name: &str) -> Result<FaultLog, Problem> {
    let log = disks.find(name)?.server.device().volume().faults().log();
    Ok(FaultLog {
        dropped: log.dropped,
        firings: log.firings.into_iter().map(firing).collect(),
    })
}

fn all(served: &ServedDisk) -> Vec<Fault> {
    let list = served.server.device().volume().faults().list();
    list.into_iter().map(fault).collect()
}

/// The place of a rule among those of a disk, which are in their normal form.
fn position(rules: &[String], id: &str) -> Option<usize> {
    let is_it = |text: &String| {
        let rule = text.parse::<Rule>();
        rule.is_ok_and(|rule| rule.id.as_deref() == Some(id))
    };
    rules.iter().position(is_it)
}

/// Change the rules of a disk, at one instant and for good. Returns those that it then has.
fn edit(
    disks: &Disks,
    name: &str,
    edit: impl FnOnce(&mut Vec<String>) -> Result<(), Problem>,
) -> Result<Vec<Fault>, Problem> {
    let control = disks.control();
    let served = disks.find(name)?;
    let mut rules = served.metadata.lock().faults.clone();
    edit(&mut rules)?;
    let patch = DiskPatch {
        faults: Some(rules),
        ..DiskPatch::default()
    };
    change::patch_locked(disks, &served, &patch, 0)?;
    drop(control);
    Ok(all(&served))
}

fn fault(status: RuleStatus) -> Fault {
    Fault {
        parameters: parameters(&status.rule),
        rule: status.rule.to_string(),
        id: status.rule.id.unwrap_or_default(),
        requests: status.requests,
        fired: status.fired,
        spent: status.is_spent,
        crowded: status.is_crowded,
        rotten: Vec::new(),
    }
}

fn firing(firing: Firing) -> FaultFiring {
    let wait = firing.wait.map(|wait| wait.as_nanos());
    FaultFiring {
        id: firing.rule.to_string(),
        number: firing.number,
        kind: firing.kind.to_string(),
        op: firing.operation.name().to_owned(),
        start_bytes: firing.range.start_bytes,
        length_bytes: firing.range.len_bytes,
        asked: firing.asked,
        wait_ns: wait.map(|ns| u64::try_from(ns).unwrap_or(u64::MAX)),
    }
}
