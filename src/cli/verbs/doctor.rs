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
        found.extend(self.disks.iter().flat_map(troubles));
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

/// Why a disk doesn't work, can't be reached, or may lose requests.
fn troubles(disk: &Disk) -> Vec<Diagnosis> {
    let name = &disk.name;
    let reason = |why: &Option<String>| why.as_ref().map_or(String::new(), |it| format!(": {it}"));
    let mut found = Vec::new();
    match disk.state {
        DiskState::Failed => {
            let remedy = format!("look at the daemon's log, then 'ramblk repair {name}'");
            let what = format!("every request of {name:?} fails{}", reason(&disk.failure));
            found.push(Diagnosis::problem(DISK, what, &remedy));
        }
        DiskState::PoweredOff => {
            let what = format!("the power of {name:?} is off, so no front end can connect");
            let remedy = format!("'ramblk power-on {name}' turns it on");
            found.push(Diagnosis::note(DISK, what, &remedy));
        }
        DiskState::Full | DiskState::Stalled => {
            let what = format!("writes of {name:?} find no memory");
            let remedy = "discard or destroy something, or raise the quota or the memory limit";
            found.push(Diagnosis::warning(DISK, what, remedy));
        }
        DiskState::Ok | DiskState::Unreachable | DiskState::Importing => {}
    }
    // A disk that is full or has failed may have lost its socket too.
    if disk.unreachable.is_some() {
        let what = format!(
            "no front end can connect to {name:?}{}",
            reason(&disk.unreachable)
        );
        let remedy = "remove what has taken the place of its socket";
        found.push(Diagnosis::problem(DISK, what, remedy));
    }
    if disk.front_ends.iter().any(|end| end.untracked_queues > 0) {
        let what = format!("requests of {name:?} may get lost when ramblk restarts");
        let remedy = format!("give the machine no more queues than {}", disk.queues);
        found.push(Diagnosis::note(DISK, what, &remedy));
    }
    found
}

/// Whether a socket of this disk is there to connect to, as far as the daemon knows.
fn is_reachable(disk: &Disk) -> bool {
    let is_open = !matches!(disk.state, DiskState::Importing | DiskState::PoweredOff);
    is_open && disk.unreachable.is_none()
}

/// Whether this user can connect to the sockets of disks.
fn sockets(disks: &[Disk]) -> Option<Diagnosis> {
    let can = |disk: &&Disk| {
        let path = Path::new(&disk.socket);
        rustix::fs::accessat(CWD, path, Access::WRITE_OK, AtFlags::EACCESS).is_ok()
    };
    let all: Vec<&Disk> = disks.iter().filter(|disk| is_reachable(disk)).collect();
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
        let of = |disk: &Disk| -> Vec<Severity> {
            troubles(disk).iter().map(|it| it.severity).collect()
        };
        let is = |state: DiskState| of(&Disk { state, ..disk() });
        assert_eq!(is(DiskState::Ok), []);
        assert_eq!(is(DiskState::Importing), []);
        assert_eq!(is(DiskState::PoweredOff), [Severity::Note]);
        assert_eq!(is(DiskState::Full), [Severity::Warning]);
        assert_eq!(is(DiskState::Stalled), [Severity::Warning]);
        assert_eq!(is(DiskState::Failed), [Severity::Problem]);
        let removed = Disk {
            state: DiskState::Full,
            unreachable: Some("its socket was removed".into()),
            ..disk()
        };
        assert_eq!(of(&removed), [Severity::Warning, Severity::Problem]);
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
        assert_eq!(told(&[open, gone.clone()]), Some(Severity::Problem));
        for state in [DiskState::Importing, DiskState::PoweredOff] {
            assert_eq!(
                told(&[Disk {
                    state,
                    ..gone.clone()
                }]),
                None,
                "{state:?}"
            );
        }
    }
}
