//! The state directory of a stopped daemon, damaged or not: what is in it, what is wrong with it,
//! and which disks can be saved. Nothing is changed.

use std::fs::File;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::Error;
use super::disks::settings::golden::GoldenRecord;
use super::disks::settings::metadata::Decoded;
use super::disks::settings::names::{
    GROUP_PREFIX, IMAGE_PREFIX, IMPORT_PREFIX, READER_PREFIX, RECORD_PREFIX, STATE_PREFIX, Target,
};
use super::disks::settings::valid::ValidDisk;
use super::host::state_dir;
use crate::model::{Digest, Limits};
use crate::store::{self, Finding, FoundDisk, Inspection, Part};

/// The content of a state directory.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The file that disks lie in.
    pub path: PathBuf,
    /// Whether a daemon would accept it.
    pub clean: bool,
    /// Its layout.
    pub layout: u64,
    /// Its id, in hexadecimal digits.
    pub id: String,
    /// How long the file should be.
    pub size_bytes: u64,
    /// How long it is.
    pub file_bytes: u64,
    /// The host's memory that it takes.
    pub memory_bytes: u64,
    /// The part of that which is unused; the next daemon frees it.
    pub unused_bytes: u64,
    /// Disks, and snapshots as `NAME@SNAPSHOT`, in order.
    pub disks: Vec<SavedDisk>,
    /// Golden images.
    pub images: Vec<SavedImage>,
    /// Groups of disks.
    pub groups: Vec<String>,
    /// What is wrong.
    pub findings: Vec<Damage>,
    /// How many findings are not listed.
    pub more_findings: u64,
}

/// A disk or a snapshot, and how much of it can be read.
#[derive(Clone, Debug, Serialize)]
pub struct SavedDisk {
    /// `NAME` or `NAME@SNAPSHOT`.
    pub name: String,
    /// Its size.
    pub size_bytes: u64,
    /// Its quota.
    pub quota_bytes: Option<u64>,
    /// Mapped bytes that can be read.
    pub mapped_bytes: u64,
    /// Bytes of its address range that can't be read.
    pub lost_bytes: u64,
    /// Whether all of it can be read.
    pub whole: bool,
    /// Whether its first content was incomplete, so that there is nothing to save.
    pub importing: bool,
}

/// A golden image, and how much of it can be read.
#[derive(Clone, Debug, Serialize)]
pub struct SavedImage {
    /// Its digest, if that can be read.
    pub digest: Option<Digest>,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// Its size.
    pub size_bytes: u64,
    /// Mapped bytes that can be read.
    pub mapped_bytes: u64,
    /// Bytes of its address range that can't be read.
    pub lost_bytes: u64,
    /// Whether all of it can be read.
    pub whole: bool,
}

/// A finding: something that is wrong.
#[derive(Clone, Debug, Serialize)]
pub struct Damage {
    /// What is wrong, and where.
    pub what: String,
    /// The disks and snapshots that it damages, as far as known.
    pub disks: Vec<String>,
}

/// A state directory that is being inspected. No daemon can start on it meanwhile.
#[derive(Debug)]
pub struct Salvage {
    path: PathBuf,
    inspection: Inspection,
}

impl Salvage {
    /// Inspect a state directory, or a copy of the file in one.
    ///
    /// # Errors
    /// [`Error::State`] if a daemon uses it ([`Error::is_busy`]), it isn't ramblk's, has an unknown
    /// layout, or can't be read. [`Error::StateDirectory`] if it doesn't exist.
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

    /// The report.
    pub fn report(&self) -> Report {
        let found = &self.inspection;
        let groups = found.disks().iter();
        let groups = groups.filter_map(|it| it.key.strip_prefix(GROUP_PREFIX));
        let mut findings: Vec<_> = found.findings().iter().map(damage).collect();
        findings.extend(self.bad_settings());
        let disks = found.disks().iter().filter(|it| is_named(it));
        let images = found.disks().iter();
        let images = images.filter(|it| it.key.starts_with(IMAGE_PREFIX));
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
            images: images.map(image).collect(),
            groups: groups.map(str::to_owned).collect(),
            findings,
            more_findings: found.more_findings(),
        }
    }

    /// Findings about settings that a daemon could not read.
    fn bad_settings(&self) -> Vec<Damage> {
        let disks = self.inspection.disks();
        let has = |key: &str| self.inspection.disk(key).is_ok();
        let found = disks.iter().filter_map(|disk| {
            let why = fault_of(disk, has)?;
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

    /// A disk or snapshot, if it exists.
    pub fn disk(&self, target: &Target) -> Option<SavedDisk> {
        let found = self.inspection.disk(&key(target)).ok()?;
        is_named(found).then(|| saved(found))
    }

    /// The extents of a disk or snapshot that have data or can't be read, in order. Between them
    /// are zeros.
    ///
    /// # Errors
    /// [`Error::Store`] if it does not exist. An item is an error if the file can't be read.
    pub fn parts(
        &self,
        target: &Target,
    ) -> Result<impl Iterator<Item = Result<Part, Error>>, Error> {
        let parts = self.inspection.parts(&key(target))?;
        Ok(parts.map(|part| Ok(part?)))
    }

    /// The bytes of an extent; none if the extent can't be read.
    ///
    /// # Errors
    /// [`Error::Store`] if the file can't be read.
    pub fn read(&self, part: &Part, bytes: &mut Vec<u8>) -> Result<(), Error> {
        Ok(self.inspection.read(part, bytes)?)
    }
}

/// Why a daemon can't take up a disk, a snapshot or a group, by its settings. `has` tells whether
/// there is something with a key.
pub(crate) fn fault_of(disk: &FoundDisk, has: impl Fn(&str) -> bool) -> Option<String> {
    if disk.key.starts_with(GROUP_PREFIX) {
        let read = serde_json::from_slice::<Limits>(&disk.settings);
        return read.err().map(|error| error.to_string());
    }
    let target = Target::parse(&disk.key).ok()?;
    if target.snapshot.is_some() {
        return (!has(&target.disk)).then(|| "its disk does not exist".to_owned());
    }
    let Decoded { metadata, moved } = match Decoded::new(&disk.settings) {
        Ok(decoded) => decoded,
        Err(error) => return Some(error.to_string()),
    };
    let spec = moved.map_or(disk.spec, |moved| moved.spec(disk.spec));
    if let Err(problem) = ValidDisk::found(&target.disk, &metadata, &spec) {
        return Some(problem.detail);
    }
    let group = metadata.group?;
    let there = has(&format!("{GROUP_PREFIX}{group}"));
    (!there).then(|| format!("its group {group:?} does not exist"))
}

fn key(target: &Target) -> String {
    match &target.snapshot {
        Some(snapshot) => format!("{}@{snapshot}", target.disk),
        None => target.disk.clone(),
    }
}

/// Whether it is a disk or snapshot of a user, not one of the daemon's own.
fn is_named(disk: &FoundDisk) -> bool {
    let own = [
        GROUP_PREFIX,
        IMAGE_PREFIX,
        READER_PREFIX,
        STATE_PREFIX,
        IMPORT_PREFIX,
        RECORD_PREFIX,
    ];
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

fn image(disk: &FoundDisk) -> SavedImage {
    let record = GoldenRecord::decode(&disk.settings).ok();
    SavedImage {
        digest: record.as_ref().map(|record| record.digest),
        name: record.and_then(|record| record.name),
        size_bytes: disk.size_bytes,
        mapped_bytes: disk.mapped_bytes,
        lost_bytes: disk.lost_bytes,
        whole: disk.is_whole(),
    }
}

fn damage(finding: &Finding) -> Damage {
    Damage {
        what: finding.what.clone(),
        disks: finding.keys.clone(),
    }
}
