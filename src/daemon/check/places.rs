//! The directory of sockets, the API's socket, and the place of the disks.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD};

use super::diagnosis::Diagnosis;
use super::process::Daemons;
use crate::daemon::disks::settings::valid::check_socket_path;
use crate::daemon::host::paths;
use crate::daemon::host::state_dir::{self, Location};
use crate::daemon::serve::config::ServeOptions;

const RUN_DIR: &str = "run-dir";
const API_SOCKET: &str = "api-socket";
const STATE_DIR: &str = "state-dir";

/// Write and search: what a process needs of a directory in which it creates files.
const MAKE_FILES: Access = Access::WRITE_OK.union(Access::EXEC_OK);

/// The places that a daemon would use.
#[derive(Debug, Default)]
pub(super) struct Places {
    pub(super) run_dir: Option<PathBuf>,
    /// Where disks would be kept.
    pub(super) location: Option<Location>,
    /// The daemons that listen at the API's socket now.
    pub(super) daemons: Daemons,
    /// Whether any process listens there.
    pub(super) is_served: bool,
}

impl Places {
    /// Look at them, and say what was found.
    pub(super) fn look(options: &ServeOptions, told: &mut Vec<Diagnosis>) -> Self {
        let mut found = Self::default();
        match options
            .run_dir
            .clone()
            .map_or_else(paths::default_run_dir, Ok)
        {
            Ok(path) => {
                told.push(directory(RUN_DIR, &path));
                found.run_dir = Some(path);
            }
            Err(error) => told.push(Diagnosis::refused(RUN_DIR, &error)),
        }
        if let Some(path) = options.api_socket_in(found.run_dir.as_deref()) {
            found.look_at_socket(&path, options.api_socket.is_some(), told);
        }
        match state_dir::foresee(&options.state, options.run_dir.as_deref()) {
            Ok(location) => {
                told.push(state(&location, found.run_dir.as_deref()));
                found.location = Some(location);
            }
            Err(error) => told.push(Diagnosis::refused(STATE_DIR, &error)),
        }
        found
    }

    fn look_at_socket(&mut self, path: &Path, is_asked: bool, told: &mut Vec<Diagnosis>) {
        if let Err(problem) = check_socket_path(path) {
            told.push(Diagnosis::refused(API_SOCKET, &problem.detail));
            return;
        }
        if let Some(folder) = path.parent().filter(|_| is_asked)
            && !folder.as_os_str().is_empty()
            && !may(folder, MAKE_FILES)
        {
            let what = format!("{path:?}: this user can't create it in {folder:?}");
            let remedy = "create that directory for the user, or choose another --api-socket";
            told.push(Diagnosis::problem(API_SOCKET, what, remedy));
            return;
        }
        let Ok(there) = fs::symlink_metadata(path) else {
            told.push(Diagnosis::ok(API_SOCKET, format!("{path:?} is free")));
            return;
        };
        if !there.file_type().is_socket() {
            let what = format!("{path:?} exists and is not a socket");
            let remedy = "remove it, or choose another --api-socket";
            told.push(Diagnosis::problem(API_SOCKET, what, remedy));
            return;
        }
        let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        self.daemons = Daemons::at(&whole);
        // Connecting comes last: it would start a service that a manager keeps the socket for.
        self.is_served = self.daemons.listens || connects(path);
        told.push(self.about_socket(path));
    }

    fn about_socket(&self, path: &Path) -> Diagnosis {
        let stop = "stop it before another one starts, as a restart of the service does";
        match (self.is_served, self.daemons.pids.first()) {
            (false, _) => Diagnosis::ok(
                API_SOCKET,
                format!("{path:?} is left over, and the start replaces it"),
            ),
            (true, Some(pid)) => {
                let what = format!("process {pid}, a daemon, serves at {path:?}");
                Diagnosis::note(API_SOCKET, what, stop)
            }
            (true, None) if self.daemons.hidden => {
                let what = format!("a process that this user can't look into serves at {path:?}");
                Diagnosis::note(API_SOCKET, what, stop)
            }
            (true, None) => {
                let what =
                    format!("{path:?} is kept by a process that is no daemon, as systemd is");
                let remedy = "have it pass the socket under the name api, or stop it";
                Diagnosis::note(API_SOCKET, what, remedy)
            }
        }
    }
}

fn connects(path: &Path) -> bool {
    match UnixStream::connect(path) {
        Ok(_) => true,
        Err(error) => error.kind() != ErrorKind::ConnectionRefused,
    }
}

/// Whether this process may do this with a file, by its effective user.
pub(super) fn may(path: &Path, access: Access) -> bool {
    rustix::fs::accessat(CWD, path, access, AtFlags::EACCESS).is_ok()
}

/// A directory in which the daemon creates files, and which it creates itself if it can.
fn directory(subject: &'static str, path: &Path) -> Diagnosis {
    let Ok(there) = fs::metadata(path) else {
        let above = paths::nearest(path);
        if above.is_dir() && may(&above, MAKE_FILES) {
            let what = format!("{path:?} does not exist, and the start creates it");
            return Diagnosis::ok(subject, what);
        }
        let what = format!("{path:?} does not exist, and this user can't create it in {above:?}");
        let remedy = format!("create it for the user, or choose another --{subject}");
        return Diagnosis::problem(subject, what, &remedy);
    };
    let (owner, mode) = (there.uid(), there.mode() & 0o7777);
    let what = format!("{path:?} belongs to user {owner} and has mode {mode:04o}");
    if !there.is_dir() {
        let what = format!("{path:?} is not a directory");
        let remedy = format!("remove it, or choose another --{subject}");
        return Diagnosis::problem(subject, what, &remedy);
    }
    if !may(path, MAKE_FILES) {
        let user = rustix::process::geteuid().as_raw();
        let what = format!("{what}: user {user} can't create files there");
        let remedy = format!("run as user {owner}, or choose another --{subject}");
        return Diagnosis::problem(subject, what, &remedy);
    }
    if mode & 0o1002 == 0o2 {
        let what = format!("{what}: every user can replace the sockets in it");
        return Diagnosis::warning(subject, what, &format!("chmod o-w {}", path.display()));
    }
    if owner != rustix::process::geteuid().as_raw() {
        let what = format!("{what}, and this check runs as another user");
        let remedy = "run it as the daemon's user: runuser -u USER -- ramblk serve --check ...";
        return Diagnosis::note(subject, what, remedy);
    }
    Diagnosis::ok(subject, what)
}

fn state(location: &Location, run_dir: Option<&Path>) -> Diagnosis {
    match location {
        // It was judged as the directory of sockets.
        Location::Directory(path) if Some(path.as_path()) == run_dir => {
            Diagnosis::ok(STATE_DIR, format!("disks are kept in {path:?}"))
        }
        Location::Directory(path) => directory(STATE_DIR, path),
        Location::Manager => Diagnosis::ok(STATE_DIR, "the service manager keeps the disks"),
        Location::Process(reason) => {
            let what = format!("a restart loses all disks: {reason}");
            let remedy = "to keep them, give --state-dir a directory on a tmpfs";
            Diagnosis::warning(
                STATE_DIR,
                what,
                &format!("{remedy} (findmnt -t tmpfs lists them)"),
            )
        }
    }
}
