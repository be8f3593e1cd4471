//! States as disks of the daemon, for checks that boot a machine or use NBD.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use crate::cli::error::Error;
use crate::client::{Client, Method, path};
use crate::crash::explore::StateName;
use crate::model::{Disk, StateRequest};

/// Where checks find a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    socket: bool,
    nbd: bool,
}

impl Wanted {
    /// What a check's words ask for.
    pub(super) fn by(words: &[String]) -> Self {
        let has = |name: &str| words.iter().any(|word| word.contains(name));
        Self {
            socket: has("{socket}"),
            nbd: has("{nbd}"),
        }
    }

    /// Whether a state must be a disk.
    pub(super) fn is_disk(self) -> bool {
        self.socket || self.nbd
    }

    /// The words that run a check: with `{nbd}` the client for NBD runs it.
    pub(super) fn words(self, words: Vec<String>, api: &Path) -> Result<Vec<String>, Error> {
        if !self.nbd {
            return Ok(words);
        }
        let own = std::env::current_exe().map_err(|source| Error::File {
            what: "find",
            path: PathBuf::from("/proc/self/exe"),
            source,
        })?;
        let own = own.to_string_lossy().into_owned();
        let api = api.to_string_lossy().into_owned();
        let before = [&own, "--api-socket", &api, "nbd", "{disk}", "--rw", "--"];
        let check = words.iter().map(|word| word.replace("{nbd}", "{uri}"));
        Ok(before.map(str::to_owned).into_iter().chain(check).collect())
    }
}

/// What a connection is asked to be that holds a disk.
const HOLD: &str = "ramblk-hold";

/// A state as a disk, which is destroyed when this is dropped, or this process is killed.
pub(super) struct StateDisk<'c> {
    client: &'c Client,
    /// The daemon destroys the disk when this ends.
    _held: UnixStream,
    pub(super) name: String,
    pub(super) socket: String,
}

impl<'c> StateDisk<'c> {
    /// Make a state of disk `of`; `thread` makes its name its own.
    pub(super) fn make(
        client: &'c Client,
        of: &str,
        thread: usize,
        state: &StateName,
    ) -> Result<Self, Error> {
        let request = StateRequest {
            name: format!("explore-{}-{thread}", std::process::id()),
            state: state.to_string(),
            labels: [("crash-explore".to_owned(), of.to_owned())].into(),
        };
        let states = format!("{}/states", path::recording(of));
        let (held, _) = client.upgrade_sending(Method::POST, &states, &request, HOLD)?;
        let made: Disk = client.get(&path::disk(&request.name))?;
        Ok(Self {
            client,
            _held: held,
            name: made.name,
            socket: made.socket,
        })
    }
}

impl Drop for StateDisk<'_> {
    fn drop(&mut self) {
        // Not only by ending the connection: the next state has its name.
        let path = format!("{}?force=true&snapshots=true", path::disk(&self.name));
        if let Err(error) = self.client.delete(&path) {
            tracing::warn!(disk = self.name, %error, "a state stays as a disk");
        }
    }
}
