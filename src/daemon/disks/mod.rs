//! The disks of a daemon, by name.

use std::sync::Arc;

use super::events::Events;
use super::model::{
    Applied, Config, ConfigGroup, Disk, DiskPatch, DiskSettings, ForkRequest, Group, Limits, Map,
    Patched, Pool, Problem, ResetRequest, Snapshot, Stats,
};

/// All disks of a daemon. Any thread may ask anything at any time; what takes long is said so.
#[derive(Debug)]
pub struct Disks {
    events: Arc<Events>,
}

/// A disk, or a snapshot of it: `NAME` or `NAME@SNAPSHOT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The disk.
    pub disk: String,
    /// The snapshot, if one is meant.
    pub snapshot: Option<String>,
}

/// Whether something was made, or was there as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// It was made now.
    New,
    /// It was there, just so.
    Existing,
}

/// What else may go with a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DestroyOptions {
    /// Do it though a front end is connected: its guest gets errors from then on.
    pub force: bool,
    /// Destroy its snapshots too.
    pub snapshots: bool,
}

/// The content of a disk at one moment, to be read from any thread, in any order.
#[derive(Debug)]
pub struct Reader;

/// The way to write a disk's content from outside.
#[derive(Debug)]
pub struct Writer;

impl Reader {
    /// Size in bytes.
    pub fn size_bytes(&self) -> u64 {
        unimplemented!()
    }
    /// The mapped stretch that contains or follows `from_bytes`: its start and length in bytes.
    pub fn next_mapped(&self, _from_bytes: u64) -> Result<Option<(u64, u64)>, Problem> {
        unimplemented!()
    }
    /// Fill `into` from `start_bytes` on; unaligned is allowed. What isn't mapped reads zero.
    pub fn read(&self, _start_bytes: u64, _into: &mut [u8]) -> Result<(), Problem> {
        unimplemented!()
    }
}

impl Writer {
    /// Size in bytes.
    pub fn size_bytes(&self) -> u64 {
        unimplemented!()
    }
    /// Write `bytes` at `start_bytes` (both multiples of the block size). Pages of zeros are
    /// unmapped instead.
    pub fn write(&self, _start_bytes: u64, _bytes: &[u8]) -> Result<(), Problem> {
        unimplemented!()
    }
    /// Unmap a range: it reads zero.
    pub fn discard(&self, _start_bytes: u64, _length_bytes: u64) -> Result<(), Problem> {
        unimplemented!()
    }
}

impl Disks {
    /// What happens to them.
    pub fn events(&self) -> &Arc<Events> {
        &self.events
    }
    /// All disks that have every one of `labels`, sorted by name. Takes time with their number.
    pub fn list(&self, _labels: &[(String, String)]) -> Vec<Disk> {
        unimplemented!()
    }
    /// A disk, with what only it holds (takes time with what is mapped).
    pub fn get(&self, _name: &str) -> Result<Disk, Problem> {
        unimplemented!()
    }
    /// Make a disk, or find it made just so.
    pub fn put(&self, _name: &str, _settings: DiskSettings) -> Result<(Disk, Made), Problem> {
        unimplemented!()
    }
    /// Change a disk: all of it or nothing. A shrink takes time with what is lost.
    pub fn patch(&self, _name: &str, _patch: DiskPatch) -> Result<Patched, Problem> {
        unimplemented!()
    }
    /// End a disk. Takes time with what it holds.
    pub fn destroy(&self, _name: &str, _options: DestroyOptions) -> Result<(), Problem> {
        unimplemented!()
    }
    /// Its stretches from `start_bytes` on, at most `most` of them.
    pub fn map(&self, _target: &Target, _start_bytes: u64, _most: usize) -> Result<Map, Problem> {
        unimplemented!()
    }
    /// What guests did to it.
    pub fn stats(&self, _name: &str) -> Result<Stats, Problem> {
        unimplemented!()
    }
    /// Its limits.
    pub fn limits(&self, _name: &str) -> Result<Limits, Problem> {
        unimplemented!()
    }
    /// Other limits from now on.
    pub fn set_limits(&self, _name: &str, _limits: Limits) -> Result<Limits, Problem> {
        unimplemented!()
    }
    /// Its snapshots, sorted.
    pub fn snapshots(&self, _name: &str) -> Result<Vec<Snapshot>, Problem> {
        unimplemented!()
    }
    /// One of them.
    pub fn snapshot(&self, _name: &str, _snapshot: &str) -> Result<Snapshot, Problem> {
        unimplemented!()
    }
    /// Take a snapshot. A name that is taken is a conflict.
    pub fn take_snapshot(&self, _name: &str, _snapshot: &str) -> Result<Snapshot, Problem> {
        unimplemented!()
    }
    /// End a snapshot.
    pub fn destroy_snapshot(&self, _name: &str, _snapshot: &str) -> Result<(), Problem> {
        unimplemented!()
    }
    /// A new disk with the content of `name`, or of a snapshot of it.
    pub fn fork(&self, _name: &str, _request: ForkRequest) -> Result<Disk, Problem> {
        unimplemented!()
    }
    /// Give it the content of one of its snapshots, or of what it was forked from.
    pub fn reset(&self, _name: &str, _request: ResetRequest) -> Result<Disk, Problem> {
        unimplemented!()
    }
    /// Its content at this moment.
    pub fn reader(&self, _target: &Target) -> Result<Reader, Problem> {
        unimplemented!()
    }
    /// A way to write it; refused while a front end is connected, unless `force`.
    pub fn writer(&self, _name: &str, _force: bool) -> Result<Writer, Problem> {
        unimplemented!()
    }
    /// All groups, sorted.
    pub fn groups(&self) -> Vec<Group> {
        unimplemented!()
    }
    /// One of them.
    pub fn group(&self, _name: &str) -> Result<Group, Problem> {
        unimplemented!()
    }
    /// Make a group, or give it other limits.
    pub fn put_group(&self, _name: &str, _limits: Limits) -> Result<(Group, Made), Problem> {
        unimplemented!()
    }
    /// End a group that no disk is in.
    pub fn destroy_group(&self, _name: &str) -> Result<(), Problem> {
        unimplemented!()
    }
    /// The memory of all.
    pub fn pool(&self) -> Pool {
        unimplemented!()
    }
    /// All disks and groups, as a configuration that would make them.
    pub fn config(&self) -> Config {
        unimplemented!()
    }
    /// Make what a configuration names and isn't there, and change what may be changed. All of it
    /// is checked before anything is done.
    pub fn apply(&self, _config: Config, _dry_run: bool) -> Result<Applied, Problem> {
        unimplemented!()
    }
}

#[allow(unused)]
fn _keep(_: ConfigGroup) {}
