//! `mount`: the content of a disk as a file.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;

use super::{View, uri};
use crate::cli::error::Error;
use crate::cli::print::output::{OutputArgs, out};
use crate::cli::values::target::parse_target;
use crate::client::Client;
use crate::daemon::{self, Command, Life};
use crate::model::Target;

/// How long the file may take to appear.
const APPEARS_WITHIN: Duration = Duration::from_secs(10);
/// How often to look for it.
const LOOK_EVERY: Duration = Duration::from_millis(20);

#[derive(Debug, Args)]
pub(in crate::cli) struct Mount {
    /// The disk as it is now, or a snapshot of it.
    #[arg(value_name = "NAME[@SNAPSHOT]", value_parser = parse_target)]
    target: Target,

    /// An existing directory, in which the file is for as long as this runs.
    #[arg(value_name = "DIR")]
    directory: PathBuf,

    #[command(flatten)]
    output: OutputArgs,
}

/// What was mounted.
#[derive(Debug, Serialize)]
struct Mounted {
    /// The file with the content.
    file: PathBuf,
    /// Its size.
    size_bytes: u64,
}

impl Mount {
    pub(in crate::cli) fn run(self, client: &Client) -> Result<(), Error> {
        if !self.directory.is_dir() {
            let text = format!("{:?} is not a directory: make it first", self.directory);
            return Err(Error::Usage(text));
        }
        let life = Life::begin()?;
        let (view, listener) = View::open(client, &self.target, false, None)?;
        view.relay.listen(listener, life.ender())?;
        let file = self.directory.join(self.target.to_string());
        let words = ["nbdfuse".into(), "-r".into(), file.display().to_string()];
        let words = [&words[..], &[uri(view.socket.path())]].concat();
        let mut command = match Command::start(&words, &[], None, None) {
            Err(daemon::Error::Command { source, .. }) if source.kind() == ErrorKind::NotFound => {
                out(&self.by_hand())?;
                let text = "nothing is mounted, since there is no nbdfuse: install it (Debian: the \
                            package nbdfuse), or run the commands above as root";
                return Err(Error::Other(text.into()));
            }
            started => started?,
        };
        let is_there = appears(&file, command.as_mut());
        if is_there {
            let mounted = Mounted {
                file,
                size_bytes: view.relay.size_bytes,
            };
            let name = &self.target;
            self.output.print(&mounted, |mounted| {
                format!("the content of {name} is {}\n", mounted.file.display())
            })?;
        }
        let ended = view.end(life.wait(command));
        ended.map_err(|error| match is_there {
            true => error,
            // It has said why.
            false => Error::Other(format!(
                "nothing is mounted: nbdfuse needs /dev/fuse, fusermount3, and a directory of this \
                 user; without them 'ramblk nbd {}' serves the same",
                self.target
            )),
        })
    }

    /// The commands with which the kernel's own client does it.
    fn by_hand(&self) -> String {
        let (target, directory) = (&self.target, self.directory.display());
        format!(
            "ramblk nbd {target} --socket /run/nbd-{target}.sock &\n\
             modprobe nbd\n\
             nbd-client -unix /run/nbd-{target}.sock /dev/nbd0 -readonly\n\
             mount -o ro /dev/nbd0 {directory}    # or /dev/nbd0p1, its first partition\n"
        )
    }
}

/// Wait for the file, as long as the command runs.
fn appears(file: &Path, mut command: Option<&mut Command>) -> bool {
    let deadline = Instant::now() + APPEARS_WITHIN;
    while Instant::now() < deadline {
        if file.exists() {
            return true;
        }
        if command.as_mut().is_some_and(|it| it.status().is_some()) {
            return false;
        }
        std::thread::sleep(LOOK_EVERY);
    }
    false
}
