//! A change that is prepared: what to publish, and what to undo if another one can't be prepared.

use std::sync::Arc;

use super::step::Step;
use crate::store::base::error::Error;
use crate::store::base::range::Capacity;
use crate::store::disks::inner::{DiskInner, Moment};
use crate::store::disks::table::{DiskTable, Holding, Placed, Slots};
use crate::store::layout::intent::SlotChange;
use crate::store::layout::record::Record;
use crate::store::pages::locks::AllShards;

/// A disk that a transaction uses, with all of its locks.
pub(super) struct Held<'d> {
    pub(super) disk: &'d Arc<DiskInner>,
    pub(super) all: &'d AllShards<'d>,
}

/// A prepared change.
#[derive(Debug)]
pub(super) enum Plan<'d> {
    /// A new disk.
    Add {
        source: &'d DiskInner,
        holding: Holding,
        record: Record,
        moment: Moment,
    },
    /// A disk whose record and tree are replaced.
    Replace {
        disk: &'d DiskInner,
        record: Record,
        placed: Placed,
        source: &'d DiskInner,
        moment: Moment,
    },
    /// A disk whose key changes.
    Rename {
        disk: &'d DiskInner,
        record: Record,
        placed: Placed,
    },
    /// A disk that ends.
    End { disk: &'d DiskInner },
}

/// Prepare a new disk or snapshot.
fn add<'d>(
    table: &DiskTable,
    slots: &mut Slots,
    step: &Step<'_>,
    key: &str,
    source: &Held<'d>,
) -> Result<Plan<'d>, Error> {
    let mut record = source.disk.record();
    record.parent = record.id;
    record.made_at_ms = 0;
    key.clone_into(&mut record.key);
    step.settings().clone_into(&mut record.settings);
    let snapshot = !matches!(step, Step::Fork { .. });
    match *step {
        Step::Fork { spec, .. } => {
            Capacity::new(spec.size_bytes, spec.sector_size)?;
            spec.check_holds(&record.spec)?;
            record.spec = *spec;
        }
        _ => record.spec.read_only = snapshot,
    }
    record.snapshot = snapshot;
    record.id = slots.next_id();
    let moment = source.disk.share_under(source.all);
    let holding = table.hold(slots, &record, table.arrived(moment.root));
    Ok(Plan::Add {
        holding: holding.inspect_err(|_| source.disk.unshare(moment.root))?,
        source: source.disk,
        record,
        moment,
    })
}

/// Prepare a reset of `disk`.
fn replace<'d>(
    table: &DiskTable,
    (settings, least_bytes): (&[u8], u64),
    disk: &'d DiskInner,
    source: &Held<'d>,
) -> Result<Plan<'d>, Error> {
    disk.check_may_change()?;
    let sector_size = disk.sector_size();
    if least_bytes > 0 {
        Capacity::new(least_bytes, sector_size)?;
    }
    let moment = source.disk.share_under(source.all);
    let mut record = disk.record();
    let size_bytes = moment.capacity.bytes().max(least_bytes);
    record.spec.size_bytes = size_bytes.next_multiple_of(sector_size.bytes());
    settings.clone_into(&mut record.settings);
    let root = table.arrived(moment.root);
    let account = disk.map().tree.nodes.account();
    match table.place(account, &record, root, true) {
        Ok(placed) => Ok(Plan::Replace {
            disk,
            record,
            placed,
            source: source.disk,
            moment,
        }),
        Err(error) => {
            source.disk.unshare(moment.root);
            Err(error)
        }
    }
}

/// Prepare another key for `disk`, whose locks are held.
fn rename<'d>(
    table: &DiskTable,
    disk: &'d DiskInner,
    new: &str,
    settings: Option<&[u8]>,
) -> Result<Plan<'d>, Error> {
    let mut record = disk.record();
    new.clone_into(&mut record.key);
    if let Some(settings) = settings {
        settings.clone_into(&mut record.settings);
    }
    let account = disk.map().tree.nodes.account();
    let placed = table.place(account, &record, disk.root(), true)?;
    Ok(Plan::Rename {
        disk,
        record,
        placed,
    })
}

impl<'d> Plan<'d> {
    /// Prepare a step. `held` finds the disks that it names.
    ///
    /// # Errors
    /// As [`Store::transact`](crate::store::Store::transact). Nothing is taken then.
    pub(super) fn prepare(
        table: &DiskTable,
        slots: &mut Slots,
        step: &Step<'_>,
        held: impl Fn(&str) -> Result<Held<'d>, Error>,
    ) -> Result<Self, Error> {
        match *step {
            Step::Fork { source, key, .. } | Step::Snapshot { source, key, .. } => {
                add(table, slots, step, key, &held(source)?)
            }
            Step::Reset {
                key,
                to,
                settings,
                least_bytes,
            } => {
                let disk = held(key)?.disk;
                replace(table, (settings, least_bytes), disk, &held(to)?)
            }
            Step::Rename { key, new, settings } => rename(table, held(key)?.disk, new, settings),
            Step::Destroy { key } => Ok(Self::End {
                disk: held(key)?.disk,
            }),
        }
    }

    /// The word of the disk table that it changes.
    pub(super) fn slot_change(&self) -> SlotChange {
        match self {
            Self::Add { holding, .. } => (holding.slot, Some(holding.placed.block)),
            Self::Replace { disk, placed, .. } | Self::Rename { disk, placed, .. } => {
                (disk.slot, Some(placed.block))
            }
            Self::End { disk } => (disk.slot, None),
        }
    }

    /// Free what it took. It wasn't published.
    pub(super) fn undo(self, table: &DiskTable, slots: &mut Slots) {
        match self {
            Self::Add {
                source,
                holding,
                moment,
                ..
            } => {
                source.unshare(moment.root);
                table.let_go(slots, holding);
            }
            Self::Replace {
                placed,
                source,
                moment,
                ..
            } => {
                source.unshare(moment.root);
                table.free(placed);
            }
            Self::Rename { placed, .. } => table.free(placed),
            Self::End { .. } => {}
        }
    }
}
