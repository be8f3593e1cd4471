//! Forking disks: any number, of one moment, all of them or none.

use std::collections::HashSet;
use std::sync::Arc;

use super::source::Source;
use crate::daemon::disks::actions::describe::describe;
use crate::daemon::disks::actions::golden::remove::making_room;
use crate::daemon::disks::actions::{create, groups};
use crate::daemon::disks::registry::Disks;
use crate::daemon::disks::served::disk::ServedDisk;
use crate::daemon::disks::settings::differences::check_alike;
use crate::daemon::disks::settings::names::{ImageName, Made, check_name};
use crate::daemon::disks::settings::problems::{conflict, invalid};
use crate::daemon::disks::settings::valid::ValidDisk;
use crate::device::Limiter;
use crate::model::{
    Disk, EventKind, ForkRequest, ForkSettings, ForkSource, Forked, ForksRequest, Problem,
    ProblemKind,
};
use crate::store::{Bytes, PAGE_BYTES, Step};

/// The memory that a fork takes at first: its record, and its settings.
const FORK_BYTES: u64 = 2 * PAGE_BYTES;

/// Create a disk with the content of `name` or of one of its snapshots, at one moment and without
/// copying.
///
/// # Errors
/// `not-found`; `invalid`; `conflict` if the new name is taken; `over-budget`.
pub fn fork(disks: &Disks, name: &str, request: ForkRequest) -> Result<Disk, Problem> {
    check_name(&request.name)?;
    let new = request.name;
    let source = ForkSource {
        disk: Some(name.to_owned()),
        snapshot: request.snapshot,
        names: vec![new.clone()],
        ..ForkSource::default()
    };
    let settings = ForkSettings {
        serial: request.serial,
        read_only: request.read_only,
        queues: request.queues,
        labels: request.labels,
        ..ForkSettings::default()
    };
    let _control = disks.control();
    let found = Source::find(disks, &source)?;
    if disks.find(&new).is_ok() {
        return Err(conflict(format!(
            "disk {new:?} exists already; choose another name or destroy it first"
        )));
    }
    let plan = Fork::new(disks, &new, &found, &settings)?;
    let served = make(disks, vec![plan])?;
    match served.first() {
        Some(served) => describe(disks, served),
        None => disks.find(&new).and_then(|served| describe(disks, &served)),
    }
}

/// Create disks with the content that their sources have at one moment: all of them or none, even
/// if the process is killed meanwhile. Disks that exist, were forked from the same source and have
/// the settings that are given stay as they are.
///
/// # Errors
/// `not-found`; `invalid`; `conflict` if a disk exists that is another one; `over-budget`.
pub fn fork_all(disks: &Disks, request: &ForksRequest) -> Result<(Forked, Made), Problem> {
    let names = names(disks, request)?;
    let digests = request.sources.iter().find_map(|source| {
        let which = ImageName::parse(source.image.as_deref()?).ok()?;
        disks.find_image(&which).ok().map(|image| image.digest)
    });
    // Records need memory, which images without forks may have.
    let created = making_room(disks, digests, || fork_once(disks, request))?;
    let described = names
        .iter()
        .map(|name| describe(disks, &*disks.find(name)?));
    let forked = Forked {
        created,
        disks: described.collect::<Result<_, _>>()?,
    };
    let made = match created {
        0 => Made::Existing,
        _ => Made::New,
    };
    Ok((forked, made))
}

/// The names of all disks that are wanted.
fn names<'r>(disks: &Disks, request: &'r ForksRequest) -> Result<Vec<&'r str>, Problem> {
    let names = request.sources.iter().flat_map(|source| &source.names);
    let names: Vec<&str> = names.map(String::as_str).collect();
    let most = disks.options.most_disks;
    if names.is_empty() || names.len() > most {
        return Err(invalid(
            "names",
            format!("{} names of new disks: give 1 to {most}", names.len()),
        ));
    }
    let mut once = HashSet::new();
    for name in &names {
        check_name(name)?;
        if !once.insert(name) {
            let detail = format!("{name:?} is there twice: name each new disk once");
            return Err(invalid("names", detail));
        }
    }
    Ok(names)
}

/// Create what is missing. Returns how many that was.
fn fork_once(disks: &Disks, request: &ForksRequest) -> Result<usize, Problem> {
    let _control = disks.control();
    let mut plans = Vec::new();
    let sources = request.sources.iter();
    let sources = sources.map(|wanted| Source::find(disks, wanted));
    let sources: Vec<Source> = sources.collect::<Result<_, _>>()?;
    for (source, wanted) in sources.iter().zip(&request.sources) {
        for name in &wanted.names {
            match disks.find(name) {
                Ok(_) if request.if_not_exists => {}
                Ok(served) => check_same(disks, &served, source, &request.settings)?,
                Err(_) => plans.push(Fork::new(disks, name, source, &request.settings)?),
            }
        }
    }
    let count = plans.len();
    let served = make(disks, plans)?;
    debug_assert_eq!(served.len(), count, "all or none");
    Ok(count)
}

/// Check that a disk which exists is the fork that is wanted.
fn check_same(
    disks: &Disks,
    served: &ServedDisk,
    source: &Source,
    settings: &ForkSettings,
) -> Result<(), Problem> {
    let name = served.name.as_str();
    if served.parent_id != Some(source.id) {
        return Err(conflict(format!(
            "disk {name:?} exists and was not forked from {}; choose another name or destroy it \
             first",
            source.name
        )));
    }
    let had = served.settings()?;
    let wanted = settings.over(name, had.clone());
    let wanted = ValidDisk::new(name, wanted, disks.store().limit_bytes())?;
    check_alike(name, &had, &wanted.settings)
}

/// A disk that is about to be made.
struct Fork<'s> {
    source: &'s Source,
    name: String,
    valid: ValidDisk,
    limiter: Option<Arc<Limiter>>,
}

impl<'s> Fork<'s> {
    fn new(
        disks: &Disks,
        name: &str,
        source: &'s Source,
        settings: &ForkSettings,
    ) -> Result<Self, Problem> {
        let valid = source.fork(disks, name, settings)?;
        disks.factory.check(name)?;
        disks.factory.check_owner(None, &valid.settings)?;
        Ok(Self {
            limiter: groups::limiter(disks, valid.settings.group.as_deref())?,
            name: name.to_owned(),
            source,
            valid,
        })
    }

    fn step(&self) -> Step<'_> {
        Step::Fork {
            source: &self.source.key,
            key: &self.name,
            spec: &self.valid.spec,
            settings: &self.valid.blob,
        }
    }
}

/// Make all of these, or none, and send the events. The caller holds the control lock.
fn make(disks: &Disks, forks: Vec<Fork<'_>>) -> Result<Vec<Arc<ServedDisk>>, Problem> {
    create::check_room_for(disks, forks.len())?;
    let steps: Vec<Step<'_>> = forks.iter().map(Fork::step).collect();
    let done = disks.store().transact(&steps);
    let done = done.map_err(|error| in_figures(disks, forks.len(), error.into()))?;
    let mut ready = Vec::with_capacity(forks.len());
    for (fork, disk) in forks.iter().zip(done.made) {
        let served = create::serve(disks, disk, &fork.valid, fork.limiter.clone(), |served| {
            disks.factory.listen_first(served)
        });
        match served {
            Ok(served) => ready.push(served),
            Err(error) => {
                // No client has heard of them. Sessions that have begun end with them.
                drop(ready);
                let names = forks.iter().map(|fork| fork.name.as_str());
                let ends: Vec<_> = names.map(|key| Step::Destroy { key }).collect();
                // Report the first error.
                let _ = disks.store().transact(&ends);
                return Err(in_figures(disks, forks.len(), error.into()));
            }
        }
    }
    let mut all = Vec::with_capacity(ready.len());
    for (fork, served) in forks.iter().zip(ready) {
        all.push(disks.insert(served));
        if let Some(image) = &fork.source.image {
            image.touch();
        }
        let (events, from) = (disks.events(), fork.source.name.as_str());
        events.tell_with(EventKind::Forked, &fork.name, "from", from);
    }
    Ok(all)
}

/// A refusal for want of memory, with what the forks would take.
fn in_figures(disks: &Disks, forks: usize, problem: Problem) -> Problem {
    if !problem.is(ProblemKind::OverBudget) || forks < 2 {
        return problem;
    }
    let store = disks.store();
    let left_bytes = store.limit_bytes().saturating_sub(store.charged_bytes());
    let detail = format!(
        "{}; {forks} forks take {} at first, and {} of {} is left: none was made",
        problem.detail,
        Bytes(FORK_BYTES.saturating_mul(forks as u64)),
        Bytes(left_bytes),
        Bytes(store.limit_bytes())
    );
    problem.with_detail(detail)
}
