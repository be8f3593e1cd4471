//! `doctor`: the daemon, its disks, and the host that they are on.

use std::path::Path;

use clap::Args;
use rustix::fs::{Access, AtFlags, CWD};

use crate::cli::error::Error;
use crate::cli::print::diagnoses::report;
use crate::cli::print::output::OutputArgs;
use crate::client::{self, Client};
use crate::daemon::{Attached, Diagnosis, doctor};
use crate::model::{Disk, DiskState, Pool, Protocol, Version};

const DAEMON: &str = "daemon";
const SOCKETS: &str = "sockets";
const DISK: &str = "disk";

/// The most disks that are named in a line.
const MOST_NAMED: usize = 5;

#[derive(Debug, Args)]
pub(in crate::cli) struct Doctor {
    #[command(flatten)]
    output: OutputArgs,
}

impl Doctor {
    pub(super) fn run_with(self, ask: impl FnOnce() -> Result<Client, Error>) -> Result<(), Error> {
        let mut found = Vec::new();
        let mut attached = Vec::new();
        match ask().and_then(|client| Daemon::ask(&client)) {
            Ok(daemon) => {
                found.extend(daemon.diagnoses());
                attached = daemon.attached();
            }
            Err(error) => found.push(no_daemon(&error)),
        }
        found.extend(doctor(&attached));
        report(&found, self.output)
    }
}

/// Why the daemon can't be asked.
fn no_daemon(error: &Error) -> Diagnosis {
    match error {
        Error::Client(client::Error::NoDaemon { .. }) => {
            // It is a note: the host can be looked at before the first start.
            Diagnosis::note(DAEMON, error.to_string(), "")
        }
        error => Diagnosis::refused(DAEMON, error),
    }
}

/// What a daemon says of itself and its disks.
struct Daemon {
    socket: String,
    version: Version,
    pool: Pool,
    disks: Vec<Disk>,
}

impl Daemon {
    fn ask(client: &Client) -> Result<Self, Error> {
        Ok(Self {
            socket: client.socket().display().to_string(),
            version: client.get("/v1/version")?,
            pool: client.get("/v1/pool")?,
            disks: client.get("/v1/disks")?,
        })
    }

    fn diagnoses(&self) -> Vec<Diagnosis> {
        let (socket, version) = (&self.socket, &self.version.version);
        let what = format!(
            "ramblk {version} answers at {socket}; disks: {}",
            self.disks.len()
        );
        let own = env!("CARGO_PKG_VERSION");
        let mut found = vec![match version == own {
            true => Diagnosis::ok(DAEMON, what),
            false => {
                let what = format!("{what}, and this program is ramblk {own}");
                Diagnosis::note(DAEMON, what, "restart the daemon, if it was upgraded")
            }
        }];
        let warnings = self.pool.warnings.iter();
        found.extend(warnings.map(|warning| Diagnosis::warning(DAEMON, warning, "")));
        found.extend(self.disks.iter().filter_map(bad_state));
        found.extend(sockets(&self.disks));
        found
    }

    fn attached(&self) -> Vec<Attached> {
        let all = self.disks.iter().flat_map(|disk| {
            let machines = disk.front_ends.iter();
            let machines = machines.filter(|end| end.protocol == Protocol::VhostUser);
            machines.map(|end| Attached {
                disk: disk.name.clone(),
                pid: end.pid,
            })
        });
        all.collect()
    }
}

/// A disk that doesn't work, or whose requests may get lost.
fn bad_state(disk: &Disk) -> Option<Diagnosis> {
    let name = &disk.name;
    let why = disk.failure.as_ref().or(disk.unreachable.as_ref());
    let why = why.map(|why| format!(": {why}")).unwrap_or_default();
    let untracked = disk.front_ends.iter().any(|end| end.untracked_queues > 0);
    match disk.state {
        DiskState::Failed => {
            let remedy = format!("look at the daemon's log, then 'ramblk repair {name}'");
            let what = format!("every request of {name:?} fails{why}");
            Some(Diagnosis::problem(DISK, what, &remedy))
        }
        DiskState::Unreachable => {
            let what = format!("no front end can connect to {name:?}{why}");
            let remedy = "remove what has taken the place of its socket";
            Some(Diagnosis::problem(DISK, what, remedy))
        }
        DiskState::Full | DiskState::Stalled => {
            let what = format!("writes of {name:?} find no memory");
            let remedy = "discard or destroy something, or raise the quota or the memory limit";
            Some(Diagnosis::warning(DISK, what, remedy))
        }
        DiskState::Ok if untracked => {
            let what = format!("requests of {name:?} may get lost when ramblk restarts");
            let remedy = format!("give the machine no more queues than {}", disk.queues);
            Some(Diagnosis::note(DISK, what, &remedy))
        }
        DiskState::Ok | DiskState::Importing => None,
    }
}

/// Whether this user can connect to the sockets of disks.
fn sockets(disks: &[Disk]) -> Option<Diagnosis> {
    let can = |disk: &&Disk| {
        let path = Path::new(&disk.socket);
        rustix::fs::accessat(CWD, path, Access::WRITE_OK, AtFlags::EACCESS).is_ok()
    };
    let reachable =
        |disk: &&Disk| !matches!(disk.state, DiskState::Importing | DiskState::Unreachable);
    let all: Vec<&Disk> = disks.iter().filter(reachable).collect();
    let closed: Vec<&str> = all
        .iter()
        .filter(|disk| !can(disk))
        .map(|disk| disk.name.as_str())
        .collect();
    if all.is_empty() {
        return None;
    }
    if closed.is_empty() {
        let what = format!("this user can connect to each disk ({})", all.len());
        return Some(Diagnosis::ok(SOCKETS, what));
    }
    let named = closed[..closed.len().min(MOST_NAMED)].join(", ");
    let more = match closed.len().saturating_sub(MOST_NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let what = format!("this user can't connect to {named}{more}");
    let remedy = "run the machine as a member of the sockets' group (serve --socket-group)";
    Some(Diagnosis::problem(SOCKETS, what, remedy))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::cli::print::samples;
    use crate::daemon::Severity;

    fn disk() -> Disk {
        samples::disk("vm1")
    }

    #[test]
    fn disks_that_dont_work_are_told() {
        let of = |state: DiskState| bad_state(&Disk { state, ..disk() }).map(|it| it.severity);
        assert_eq!(of(DiskState::Ok), None);
        assert_eq!(of(DiskState::Importing), None);
        assert_eq!(of(DiskState::Full), Some(Severity::Warning));
        assert_eq!(of(DiskState::Failed), Some(Severity::Problem));
        assert_eq!(of(DiskState::Unreachable), Some(Severity::Problem));
    }

    #[test]
    fn sockets_are_tried_without_connecting() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let open = Disk {
            socket: path.display().to_string(),
            ..disk()
        };
        let gone = Disk {
            socket: folder.path().join("none").display().to_string(),
            ..disk()
        };
        let told = |disks: &[Disk]| sockets(disks).map(|it| it.severity);
        assert_eq!(told(&[]), None);
        assert_eq!(told(std::slice::from_ref(&open)), Some(Severity::Ok));
        assert_eq!(told(&[open, gone]), Some(Severity::Problem));
    }
}
