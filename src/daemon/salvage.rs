//! A state directory that no daemon uses, damaged or not: what is there, what is wrong, and the
//! disks that can be saved. Nothing is changed.

use std::fs::File;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::Error;
use super::disks::settings::metadata::Decoded;
use super::disks::settings::names::{
    GROUP_PREFIX, IMPORT_PREFIX, READER_PREFIX, STATE_PREFIX, Target,
};
use super::host::state_dir;
use crate::model::Limits;
use crate::store::{self, Finding, FoundDisk, Inspection, Part};

/// What is in a state directory.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The file that disks lie in.
    pub path: PathBuf,
    /// Whether a daemon would take it as it is.
    pub clean: bool,
    /// Its layout.
    pub layout: u64,
    /// Its id, in hexadecimal digits.
    pub id: String,
    /// How long the file should be.
    pub size_bytes: u64,
    /// How long it is.
    pub file_bytes: u64,
    /// What it takes of the host's memory.
    pub memory_bytes: u64,
    /// What of that nothing uses any more; the next daemon frees it.
    pub unused_bytes: u64,
    /// Disks, and snapshots as `NAME@SNAPSHOT`, in order.
    pub disks: Vec<SavedDisk>,
    /// Groups of disks.
    pub groups: Vec<String>,
    /// What is wrong.
    pub findings: Vec<Damage>,
    /// How many findings are not listed.
    pub more_findings: u64,
}

/// A disk or a snapshot, and what is left of it.
#[derive(Clone, Debug, Serialize)]
pub struct SavedDisk {
    /// `NAME` or `NAME@SNAPSHOT`.
    pub name: String,
    /// Its size.
    pub size_bytes: u64,
    /// Its quota.
    pub quota_bytes: Option<u64>,
    /// What of it is mapped and can be read.
    pub mapped_bytes: u64,
    /// What of its address range can't be read.
    pub lost_bytes: u64,
    /// Whether all of it can be read.
    pub whole: bool,
    /// Whether its first content had not come yet, so that there is nothing to save.
    pub importing: bool,
}

/// Something that is wrong.
#[derive(Clone, Debug, Serialize)]
pub struct Damage {
    /// What it is, and where.
    pub what: String,
    /// The disks and snapshots that it hurts, as far as that can be told.
    pub disks: Vec<String>,
}

/// A state directory that is looked at. No daemon can start on it meanwhile.
#[derive(Debug)]
pub struct Salvage {
    path: PathBuf,
    inspection: Inspection,
}

impl Salvage {
    /// Look at a state directory, or at a copy of the file in one.
    ///
    /// # Errors
    /// [`Error::State`]: a daemon uses it ([`Error::is_busy`]), it is nothing of ramblk's or of
    /// another version, or it can't be read. [`Error::StateDirectory`] if there is nothing.
    pub fn open(place: &Path) -> Result<Self, Error> {
        let path = if place.is_dir() {
            place.join(state_dir::ARENA)
        } else {
            place.to_owned()
        };
        if !path.exists() {
            return Err(Error::StateDirectory {
                path: place.to_owned(),
                reason: format!(
                    "has no file {:?}: give the directory that a daemon keeps disks in (ramblk \
                     serve logs it as state_dir)",
                    state_dir::ARENA
                ),
            });
        }
        let file = File::open(&path).map_err(|source| store::Error::Arena {
            doing: "open",
            source,
        });
        match file.and_then(Inspection::open) {
            Ok(inspection) => Ok(Self { path, inspection }),
            Err(source) => Err(Error::State { path, source }),
        }
    }

    /// All about it.
    pub fn report(&self) -> Report {
        let found = &self.inspection;
        let groups = found.disks().iter();
        let groups = groups.filter_map(|it| it.key.strip_prefix(GROUP_PREFIX));
        let mut findings: Vec<_> = found.findings().iter().map(damage).collect();
        findings.extend(self.bad_settings());
        let disks = found.disks().iter().filter(|it| is_named(it));
        Report {
            path: self.path.clone(),
            clean: findings.is_empty(),
            layout: found.layout(),
            id: format!("{:032x}", found.id()),
            size_bytes: found.size_bytes(),
            file_bytes: found.file_bytes(),
            memory_bytes: found.memory_bytes(),
            unused_bytes: found.unused_bytes(),
            disks: disks.map(saved).collect(),
            groups: groups.map(str::to_owned).collect(),
            findings,
            more_findings: found.more_findings(),
        }
    }

    /// What a daemon keeps with its disks, and could not read.
    fn bad_settings(&self) -> Vec<Damage> {
        let disks = self.inspection.disks();
        let has = |key: &str| self.inspection.disk(key).is_ok();
        let wrong = |disk: &FoundDisk| {
            if disk.key.starts_with(GROUP_PREFIX) {
                let read = serde_json::from_slice::<Limits>(&disk.settings);
                return read.err().map(|error| error.to_string());
            }
            let target = Target::parse(&disk.key).ok()?;
            if target.snapshot.is_some() {
                return (!has(&target.disk)).then(|| "its disk is not there".to_owned());
            }
            if disk.settings.is_empty() {
                return None;
            }
            match Decoded::new(&disk.settings) {
                Err(error) => Some(error.to_string()),
                Ok(decoded) => {
                    let group = decoded.metadata.group?;
                    let there = has(&format!("{GROUP_PREFIX}{group}"));
                    (!there).then(|| format!("its group {group:?} is not there"))
                }
            }
        };
        let found = disks.iter().filter_map(|disk| {
            let why = wrong(disk)?;
            Some(Damage {
                what: format!("settings of {:?}: {why}", disk.key),
                disks: is_named(disk)
                    .then(|| disk.key.clone())
                    .into_iter()
                    .collect(),
            })
        });
        found.collect()
    }

    /// The disk or snapshot that is meant, if it is there.
    pub fn disk(&self, target: &Target) -> Option<SavedDisk> {
        let found = self.inspection.disk(&key(target)).ok()?;
        is_named(found).then(|| saved(found))
    }

    /// Stretches of a disk or snapshot that hold data, in order, and those that can't be read. What
    /// lies between is zeros.
    ///
    /// # Errors
    /// [`Error::Store`] if it is not there; as an item, if the file can't be read.
    pub fn parts(
        &self,
        target: &Target,
    ) -> Result<impl Iterator<Item = Result<Part, Error>>, Error> {
        let parts = self.inspection.parts(&key(target))?;
        Ok(parts.map(|part| Ok(part?)))
    }

    /// The bytes of a stretch; none of one that can't be read.
    ///
    /// # Errors
    /// [`Error::Store`] if the file can't be read.
    pub fn read(&self, part: &Part, bytes: &mut Vec<u8>) -> Result<(), Error> {
        Ok(self.inspection.read(part, bytes)?)
    }
}

fn key(target: &Target) -> String {
    match &target.snapshot {
        Some(snapshot) => format!("{}@{snapshot}", target.disk),
        None => target.disk.clone(),
    }
}

/// Whether it is something that users have a name for.
fn is_named(disk: &FoundDisk) -> bool {
    let own = [GROUP_PREFIX, READER_PREFIX, STATE_PREFIX, IMPORT_PREFIX];
    !own.iter().any(|prefix| disk.key.starts_with(prefix))
}

fn saved(disk: &FoundDisk) -> SavedDisk {
    SavedDisk {
        name: disk.key.clone(),
        size_bytes: disk.size_bytes,
        quota_bytes: disk.quota_bytes,
        mapped_bytes: disk.mapped_bytes,
        lost_bytes: disk.lost_bytes,
        whole: disk.is_whole(),
        importing: Decoded::new(&disk.settings)
            .is_ok_and(|decoded| decoded.metadata.origin.is_importing()),
    }
}

fn damage(finding: &Finding) -> Damage {
    Damage {
        what: finding.what.clone(),
        disks: finding.keys.clone(),
    }
}
