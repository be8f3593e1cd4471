//! `nbd` and `mount`: a look into a disk from the host.
//!
//! | file | what it holds |
//! |---|---|
//! | `relay` | the socket, and its clients' connections to the daemon |
//! | `mount` | `mount` |

pub(super) mod mount;
mod relay;

use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use tempfile::TempDir;

use self::relay::Relay;
use crate::cli::error::Error;
use crate::cli::print::output::OutputArgs;
use crate::cli::values::target::parse_target;
use crate::client::{Client, path};
use crate::daemon::{Command, Ending, Life, SocketAccess, SocketPath};
use crate::model::{ProblemKind, Target};

#[derive(Debug, Args)]
pub(in crate::cli) struct Nbd {
    /// The disk as it is now, or a snapshot of it.
    #[arg(value_name = "NAME[@SNAPSHOT]", value_parser = parse_target)]
    target: Target,

    /// Let clients write to the disk. They count as a front end: --share says whether there may be
    /// another one.
    #[arg(long)]
    rw: bool,

    /// Socket for NBD clients. The default is one in a new directory.
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,

    #[command(flatten)]
    output: OutputArgs,

    /// Command to run, with {uri} or $uri for the disk's URI. Ends with it, with its exit code.
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// What clients connect to.
#[derive(Debug, Serialize)]
struct Served {
    /// Its URI.
    uri: String,
    /// Its socket.
    socket: PathBuf,
    /// Its size.
    size_bytes: u64,
}

impl Nbd {
    pub(in crate::cli) fn run(self, client: &Client) -> Result<(), Error> {
        let life = Life::begin()?;
        let (view, listener) = View::open(client, &self.target, self.rw, self.socket.as_deref())?;
        view.relay.listen(listener, life.ender())?;
        let uri = uri(view.socket.path());
        let command = if self.command.is_empty() {
            let served = Served {
                uri,
                socket: view.socket.path().to_owned(),
                size_bytes: view.relay.size_bytes,
            };
            self.output
                .print(&served, |served| format!("{}\n", served.uri))?;
            None
        } else {
            // `${uri}` has `{uri}` in it.
            let values = ["${uri}", "{uri}", "$uri"].map(|name| (name, uri.as_str()));
            Command::start(&self.command, &values, Some(("uri", &uri)), None)?
        };
        let ending = life.wait(command);
        view.end(ending)
    }
}

/// A view of a disk, and the socket that leads to it.
struct View {
    relay: Relay,
    socket: SocketPath,
    /// Removed after the socket in it.
    _directory: Option<TempDir>,
}

impl View {
    /// Open a view, at this socket or at one in a directory of its own.
    fn open(
        client: &Client,
        target: &Target,
        is_writable: bool,
        socket: Option<&Path>,
    ) -> Result<(Self, UnixListener), Error> {
        // All connections have this name, and no other process does.
        let name = format!("{}.{:x}", std::process::id(), fastrand::u64(..));
        let snapshot = target.snapshot.as_deref().map(path::encode);
        let snapshot = snapshot.map_or_else(String::new, |name| format!("&snapshot={name}"));
        let path = path::nbd(&target.disk);
        let path = format!("{path}?view={name}&rw={is_writable}{snapshot}");
        let relay = Relay::open(client, path).map_err(|error| {
            error.advise(ProblemKind::Attached, |_| {
                "without --rw you read the disk as it is now, beside its guest".into()
            })
        })?;
        let directory = match socket {
            Some(_) => None,
            None => Some(directory()?),
        };
        let own = directory.as_ref().map(|it| it.path().join("nbd.sock"));
        let at = socket.map(Path::to_owned).or(own).unwrap_or_default();
        let (socket, listener) = SocketPath::listen(&at, SocketAccess::default())?;
        let view = Self {
            relay,
            socket,
            _directory: directory,
        };
        Ok((view, listener))
    }

    /// End the view, and say how it ended.
    fn end(self, ending: Ending) -> Result<(), Error> {
        let is_lost = self.relay.is_lost();
        self.relay.end();
        match ending {
            Ending::Command(0) => Ok(()),
            Ending::Command(exit_code) => Err(Error::Told { exit_code }),
            Ending::Asked if is_lost => {
                let text =
                    "the daemon ended the view: it has ended itself, or the disk was destroyed";
                Err(Error::Other(text.into()))
            }
            Ending::Asked => Ok(()),
        }
    }
}

fn directory() -> Result<TempDir, Error> {
    let made = tempfile::Builder::new().prefix("ramblk-nbd-").tempdir();
    made.map_err(|source| Error::File {
        what: "make a directory in",
        path: std::env::temp_dir(),
        source,
    })
}

/// The URI of the export at a socket.
fn uri(socket: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    let socket = std::path::absolute(socket).unwrap_or_else(|_| socket.to_owned());
    let escaped = socket
        .as_os_str()
        .as_bytes()
        .iter()
        .map(|&byte| match byte {
            b'/' | b'.' | b'_' | b'-' | b'~' => char::from(byte).to_string(),
            byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        });
    format!("nbd+unix:///?socket={}", escaped.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_escapes_what_a_query_cannot_have() {
        assert_eq!(
            uri(Path::new("/run/a.sock")),
            "nbd+unix:///?socket=/run/a.sock"
        );
        assert_eq!(
            uri(Path::new("/tmp/a b&c?d%")),
            "nbd+unix:///?socket=/tmp/a%20b%26c%3Fd%25"
        );
    }
}
