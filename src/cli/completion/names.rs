//! Names of disks, snapshots, groups, images, faults and labels, from the daemon.
//!
//! A person waits for them at a prompt: whatever takes too long, or fails, has no names.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use clap_complete::engine::{CompletionCandidate, PathCompleter, ValueCompleter};
use serde::de::DeserializeOwned;

use crate::cli::values::size::human;
use crate::client::Client;
use crate::daemon::default_api_socket;
use crate::model::{Disk, GoldenImage, Group};
use crate::threads::{Role, spawn};

/// How long to wait for the daemon.
const PATIENCE: Duration = Duration::from_millis(250);

const API_SOCKET: &str = "--api-socket";

/// What is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A disk.
    Disk,
    /// A disk, or `DISK@SNAPSHOT`.
    Content,
    /// The same, or `image://NAME`.
    Any,
    /// A snapshot of any disk, by its own name.
    Snapshot,
    /// A group of disks.
    Group,
    /// A golden image.
    Image,
    /// A golden image as content, `image://NAME`, or a file.
    ContentImage,
    /// The id of a fault, of the disk that the command line names.
    Fault,
    /// `KEY=VALUE`.
    Label,
}

/// Asks the daemon that a command line names.
#[derive(Clone, Debug)]
pub(super) struct Names {
    socket: PathBuf,
    /// The words before the one that is being written, from the verb on.
    words: Vec<String>,
}

impl Names {
    /// The daemon that these words would call.
    pub(super) fn new(words: &[OsString]) -> Self {
        let next = |at: usize| words.get(at + 1).map(PathBuf::from);
        let named = words.iter().enumerate().find_map(|(at, word)| {
            let word = word.to_str()?;
            let value = word.strip_prefix(API_SOCKET)?;
            match value.strip_prefix('=') {
                Some(path) => Some(PathBuf::from(path)),
                None => value.is_empty().then(|| next(at)).flatten(),
            }
        });
        let variable = std::env::var_os("RAMBLK_API").filter(|path| !path.is_empty());
        let socket = named.or_else(|| variable.map(PathBuf::from));
        let before = words.split_last().map_or(&[][..], |(_, before)| before);
        let before = before
            .iter()
            .map(|word| word.to_string_lossy().into_owned());
        Self {
            socket: socket.unwrap_or_else(default_api_socket),
            words: before.collect(),
        }
    }

    /// The names of a kind that begin with `start`.
    pub(super) fn of(&self, kind: Kind, start: &str) -> Vec<CompletionCandidate> {
        let mut found = match kind {
            Kind::Disk => self.disks(),
            Kind::Content => self.content(start),
            Kind::Any if start.starts_with("image:") => self.images("image://"),
            Kind::Any => {
                let mut found = self.content(start);
                if !start.contains('@') {
                    found.extend(self.images("image://"));
                }
                found
            }
            Kind::Snapshot => self.snapshots(),
            Kind::Group => self.groups(),
            Kind::Image => self.images(""),
            Kind::ContentImage => {
                let mut found = self.images("image://");
                found.extend(PathCompleter::any().complete(start.as_ref()));
                found
            }
            Kind::Fault => self.faults(),
            Kind::Label => self.labels(),
        };
        let fits = |it: &CompletionCandidate| it.get_value().to_string_lossy().starts_with(start);
        found.retain(fits);
        found
    }

    /// The faults of a disk that the command line names, as their rules say.
    fn faults(&self) -> Vec<CompletionCandidate> {
        let disks: Vec<Disk> = self.get("/v1/disks");
        // Other words are verbs and options, and ids that are there already.
        let is_named = |disk: &&Disk| self.words.iter().skip(1).any(|word| *word == disk.name);
        let rules = disks.iter().filter(is_named).flat_map(|disk| &disk.faults);
        let named = rules.filter_map(|rule| {
            let id = rule.split(',').find_map(|word| word.strip_prefix("id="))?;
            let is_there = self.words.iter().any(|word| word == id);
            (!is_there).then(|| candidate(id, rule.clone()))
        });
        named.collect()
    }

    fn get<T: DeserializeOwned + Send + 'static>(&self, path: &'static str) -> Vec<T> {
        let (tell, told) = mpsc::channel();
        let socket = self.socket.clone();
        // It ends with the process, if not before.
        let ask = move || {
            let found = Client::new(socket).and_then(|client| client.get::<Vec<T>>(path));
            let _ = tell.send(found.unwrap_or_default());
        };
        let asked = spawn(Role::Names, ask);
        let answer = asked.ok().and_then(|_| told.recv_timeout(PATIENCE).ok());
        answer.unwrap_or_default()
    }

    fn disks(&self) -> Vec<CompletionCandidate> {
        let disks: Vec<Disk> = self.get("/v1/disks");
        let of = |disk: &Disk| candidate(&disk.name, human(disk.size_bytes));
        disks.iter().map(of).collect()
    }

    /// Disks, or the snapshots of the disk whose name and `@` are there.
    fn content(&self, start: &str) -> Vec<CompletionCandidate> {
        let Some((name, _)) = start.split_once('@') else {
            return self.disks();
        };
        let disks: Vec<Disk> = self.get("/v1/disks");
        let disk = disks.iter().find(|disk| disk.name == name);
        let snapshots = disk.into_iter().flat_map(|disk| &disk.snapshots);
        let of = |it: &String| candidate(&format!("{name}@{it}"), "snapshot".into());
        snapshots.map(of).collect()
    }

    fn snapshots(&self) -> Vec<CompletionCandidate> {
        let disks: Vec<Disk> = self.get("/v1/disks");
        let all = disks.iter().flat_map(|disk| &disk.snapshots);
        let all: BTreeSet<&String> = all.collect();
        let all = all.into_iter();
        all.map(|name| candidate(name, "snapshot".into())).collect()
    }

    fn groups(&self) -> Vec<CompletionCandidate> {
        let groups: Vec<Group> = self.get("/v1/groups");
        let of = |it: &Group| candidate(&it.name, format!("{} disks", it.disks.len()));
        groups.iter().map(of).collect()
    }

    fn images(&self, before: &str) -> Vec<CompletionCandidate> {
        let images: Vec<GoldenImage> = self.get("/v1/images");
        let named = images.iter().filter_map(|image| {
            let name = image.name.as_ref()?;
            let size = human(image.size_bytes);
            Some(candidate(&format!("{before}{name}"), size))
        });
        named.collect()
    }

    fn labels(&self) -> Vec<CompletionCandidate> {
        let disks: Vec<Disk> = self.get("/v1/disks");
        let all = disks.iter().flat_map(|disk| &disk.labels);
        let all: BTreeSet<String> = all.map(|(key, value)| format!("{key}={value}")).collect();
        let all = all.iter();
        all.map(|label| candidate(label, "label".into())).collect()
    }
}

fn candidate(name: &str, help: String) -> CompletionCandidate {
    CompletionCandidate::new(name).help(Some(help.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_is_that_of_the_command_line() {
        let socket = |line: &str| {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            Names::new(&words).socket
        };
        assert_eq!(socket("ramblk --api-socket /a show "), PathBuf::from("/a"));
        assert_eq!(socket("ramblk show --api-socket=/b "), PathBuf::from("/b"));
        assert!(socket("ramblk show ").ends_with("api.sock"));
    }

    #[test]
    fn without_a_daemon_there_are_no_names() {
        let names = Names {
            socket: "/nowhere/api.sock".into(),
            words: vec!["ramblk".into()],
        };
        for kind in [Kind::Disk, Kind::Any, Kind::Group, Kind::Label, Kind::Fault] {
            assert!(names.of(kind, "").is_empty());
        }
    }
}
