//! The back ends that take part in a row.

use std::path::{Path, PathBuf};

use super::shapes::{Measured, Row};
use crate::Settings;
use crate::back_end::{BackEnd, Peer, Start};
use crate::measure::Failure;
use crate::place::BACK_END_CPU;

/// A build of ramblk that `--ramblk` names, with options of its own, or another back end that
/// `--other` names.
#[derive(Clone, Debug)]
pub(crate) struct Build {
    name: String,
    program: PathBuf,
    options: Vec<String>,
}

impl Build {
    /// Parse `[NAME=]PATH [OPTION...]`. Without a name, the path and the options are the name.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        let mut words = text.split_whitespace();
        let first = words.next().ok_or("--ramblk needs a path behind it")?;
        let options: Vec<String> = words.map(str::to_owned).collect();
        let (name, path) = match first.split_once('=') {
            Some((name, path)) => (name.to_owned(), path),
            None => (text.to_owned(), first),
        };
        let program = Path::new(path)
            .canonicalize()
            .map_err(|error| format!("{path}: {error}"))?;
        Ok(Self {
            name,
            program,
            options,
        })
    }
}

/// Which back ends `--peers` selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// This build, with its defaults.
    Ramblk,
    /// The builds that `--ramblk` names.
    Builds,
    /// This build with one worker, pinned.
    Pin,
    /// The same, which polls for up to 200 µs.
    PinPoll,
    Stock,
    NullCo,
    File,
    /// nbdkit's memory, through qemu-storage-daemon.
    Nbdkit,
    /// The programs that `--other` names.
    Others,
}

impl Kind {
    const ALL: [(&'static str, Self); 9] = [
        ("ramblk", Self::Ramblk),
        ("builds", Self::Builds),
        ("pin", Self::Pin),
        ("pin-poll", Self::PinPoll),
        ("stock", Self::Stock),
        ("null-co", Self::NullCo),
        ("file", Self::File),
        ("nbdkit", Self::Nbdkit),
        ("others", Self::Others),
    ];

    /// Parse a list of names.
    pub(crate) fn parse_list(text: &str) -> Result<Vec<Self>, Failure> {
        let parse = |name: &str| {
            let found = Self::ALL.iter().find(|(known, _)| *known == name);
            found.map(|(_, kind)| *kind).ok_or_else(|| {
                let known = Self::ALL.map(|(known, _)| known).join(", ");
                format!("there is no peer {name:?}; there are {known}").into()
            })
        };
        text.split(',').map(parse).collect()
    }

    /// Which take part unless `--peers` says otherwise. The variants of ramblk pin workers, which a
    /// row that pins everything does anyway; a run after a fill takes long.
    fn usual(row: &Row) -> Vec<Self> {
        let mut kinds = vec![Self::Ramblk, Self::Builds];
        if row.measured == Measured::Rate && !row.pinned && row.disks == 1 {
            kinds.extend([Self::Pin, Self::PinPoll]);
        }
        if row.measured != Measured::AfterFill {
            kinds.extend([Self::Stock, Self::NullCo, Self::File]);
        }
        if row.disks == 1 {
            kinds.push(Self::Others);
        }
        kinds
    }
}

/// A back end that takes part.
#[derive(Clone, Debug)]
pub(super) struct Contender {
    pub(super) name: String,
    peer: Peer,
    program: PathBuf,
    options: Vec<String>,
}

impl Contender {
    /// Start it with the disks of a row.
    pub(super) fn start(&self, row: &Row) -> Result<BackEnd, Failure> {
        BackEnd::launch(&Start {
            peer: self.peer,
            program: &self.program,
            options: &self.options,
            disks: row.disks,
            cpu: row.pinned.then_some(BACK_END_CPU),
        })
    }
}

/// Those that take part in a row, the first of which all are compared with.
pub(super) fn chosen(row: &Row, settings: &Settings) -> Result<Vec<Contender>, Failure> {
    let kinds = match &settings.peers {
        Some(kinds) => kinds.clone(),
        None => Kind::usual(row),
    };
    let own = std::env::current_exe()?;
    let one = |name: &str, peer: Peer, program: &Path, options: &str| Contender {
        name: name.to_owned(),
        peer,
        program: program.to_owned(),
        options: options.split_whitespace().map(str::to_owned).collect(),
    };
    let ramblk = |name: &str, options: &str| one(name, Peer::Ramblk, &settings.ramblk, options);
    let mut found = Vec::new();
    for kind in kinds {
        match kind {
            Kind::Ramblk => found.push(ramblk("ramblk", "")),
            Kind::Pin => found.push(ramblk("--pin 1", "--pin 1")),
            Kind::PinPoll => found.push(ramblk("--pin 1 --poll-us 200", "--pin 1 --poll-us 200")),
            Kind::Stock => found.push(one("stock", Peer::Stock, &own, "")),
            Kind::NullCo => found.push(one("null-co", Peer::NullCo, &own, "")),
            Kind::File => found.push(one("file on tmpfs", Peer::File, &own, "")),
            Kind::Nbdkit => found.push(one("nbdkit memory", Peer::Nbdkit, &own, "")),
            Kind::Others => found.extend(settings.others.iter().map(|other| Contender {
                name: other.name.clone(),
                peer: Peer::Other,
                program: other.program.clone(),
                options: other.options.clone(),
            })),
            Kind::Builds => found.extend(settings.builds.iter().map(|build| Contender {
                name: build.name.clone(),
                peer: Peer::Ramblk,
                program: build.program.clone(),
                options: build.options.clone(),
            })),
        }
    }
    if found.is_empty() {
        return Err("no peer is left: `builds` needs --ramblk, and `others` needs --other".into());
    }
    Ok(found)
}
