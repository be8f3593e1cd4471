//! Default paths of a daemon, and where clients look for its socket.

use std::env;
use std::path::{Path, PathBuf};

use crate::daemon::Error;
use crate::daemon::error::MAX_SOCKET_PATH_BYTES;
use crate::daemon::host::broker;

/// The run directory of root's daemon.
const SYSTEM_RUN_DIR: &str = "/run/ramblk";
/// The name of the API's socket in the run directory.
pub(crate) const API_SOCKET: &str = "api.sock";
/// The name of the socket for clients that only read, beside it.
pub(crate) const READERS_SOCKET: &str = "api-ro.sock";

/// The directory of sockets: the first of `$RUNTIME_DIRECTORY`, which systemd sets; `/run/ramblk`
/// for root; `$XDG_RUNTIME_DIR/ramblk` for other users.
///
/// # Errors
/// [`Error::Usage`] if a user has no `XDG_RUNTIME_DIR`.
pub fn default_run_dir() -> Result<PathBuf, Error> {
    run_dir(&variable, rustix::process::geteuid().is_root()).ok_or_else(|| {
        Error::Usage(
            "XDG_RUNTIME_DIR is not set, so there is no place for sockets: give a directory with \
             --run-dir DIR, and tell other verbs with RAMBLK_API=DIR/api.sock"
                .into(),
        )
    })
}

/// The API's socket for a client: `api.sock` in [`default_run_dir`], or that of root's daemon if
/// the user has none.
pub fn default_api_socket() -> PathBuf {
    let system = PathBuf::from(SYSTEM_RUN_DIR).join(API_SOCKET);
    let own = run_dir(&variable, rustix::process::geteuid().is_root());
    match own.map(|dir| dir.join(API_SOCKET)) {
        Some(own) if own.exists() || !system.exists() => own,
        _ => system,
    }
}

/// Create a directory, and those above it.
pub(crate) fn make_directory(path: &Path) -> Result<(), Error> {
    broker::make_directories(path).map_err(|source| Error::Directory {
        path: path.to_owned(),
        source,
    })
}

/// The path itself if it exists, or the nearest directory above it that does.
pub(crate) fn nearest(path: &Path) -> PathBuf {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let there = whole.ancestors().find(|above| above.exists());
    there.unwrap_or(Path::new("/")).to_owned()
}

/// The path from the root on, so that it says the same in every directory. It stays as it is where
/// it would leave less than `below_bytes` of a socket's path: a short one works, however deep
/// the directory is that the daemon was started in.
pub(crate) fn whole(path: PathBuf, below_bytes: usize) -> PathBuf {
    match std::path::absolute(&path) {
        Ok(whole) if whole.as_os_str().len() + below_bytes <= MAX_SOCKET_PATH_BYTES => whole,
        _ => path,
    }
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

fn run_dir(variable: &dyn Fn(&str) -> Option<String>, root: bool) -> Option<PathBuf> {
    if let Some(list) = variable("RUNTIME_DIRECTORY") {
        return list.split(':').next().map(PathBuf::from);
    }
    if root {
        return Some(PathBuf::from(SYSTEM_RUN_DIR));
    }
    variable("XDG_RUNTIME_DIR").map(|dir| PathBuf::from(dir).join("ramblk"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(set: &[(&str, &str)], root: bool) -> Option<PathBuf> {
        let look = |name: &str| {
            let found = set.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        run_dir(&look, root)
    }

    #[test]
    fn a_path_becomes_whole_unless_a_socket_below_it_would_have_a_path_too_long() {
        let path = PathBuf::from("tm/run");
        let here = env::current_dir().unwrap_or_default();
        assert_eq!(whole(path.clone(), 0), here.join("tm/run"));
        assert_eq!(whole(path.clone(), MAX_SOCKET_PATH_BYTES), path);
        assert_eq!(whole("/run/a".into(), 0), PathBuf::from("/run/a"));
    }

    #[test]
    fn systemd_comes_first_and_then_who_asks() {
        let user = [("XDG_RUNTIME_DIR", "/run/user/7")];
        let path = |text: &str| Some(PathBuf::from(text));
        assert_eq!(with(&user, false), path("/run/user/7/ramblk"));
        assert_eq!(with(&user, true), path("/run/ramblk"));
        assert_eq!(
            with(&[("RUNTIME_DIRECTORY", "/run/a:/run/b")], false),
            path("/run/a")
        );
        assert_eq!(with(&[], false), None);
    }
}
