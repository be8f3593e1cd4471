//! Running a check, with all processes that it starts.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use crate::cli::error::Error;

/// How much of a check's output is kept.
const OUTPUT_BYTES: u64 = 2048;
/// What a shell returns if a command can't be run.
const NOT_EXECUTABLE: u8 = 126;
/// What a shell returns if there is no such command.
const NO_COMMAND: u8 = 127;
/// Where commands are looked for without `PATH`, as execvp(3) does.
const USUAL_PATH: &str = "/bin:/usr/bin";

/// A check of a state.
#[derive(Debug)]
pub(super) struct Check {
    /// The command and its arguments, with the places of values.
    pub(super) words: Vec<String>,
    /// How long it may take.
    pub(super) timeout: Duration,
    /// Whether the exploration is to end now.
    pub(super) interrupted: Arc<AtomicBool>,
}

/// How often a running check is told that.
const LOOKS_EVERY: Duration = Duration::from_millis(100);

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing.
    Good,
    /// A reason.
    Bad(String),
}

/// The check can't be run.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoCheck {
    #[error("can't run {0:?}: {1}; give another check")]
    Start(String, io::Error),
    #[error("there is no command {0:?}: name the check with its path, or install it")]
    Missing(String),
    #[error("{0:?} can't be run: it is no file that you may execute")]
    NotExecutable(String),
    #[error(
        "{0:?} exits with {1}, which says that a command that it calls is missing or can't be \
             run; another exit code finds a state bad"
    )]
    Says(String, u8),
    #[error("can't keep what it prints: {0}")]
    Output(io::Error),
    #[error("can't wait for {0:?}: {1}")]
    Wait(String, io::Error),
    #[error("it was interrupted")]
    Interrupted,
}

impl NoCheck {
    /// What a shell returns for it, where it is about a command.
    fn exit_code(&self) -> Option<u8> {
        match self {
            Self::Missing(_) => Some(NO_COMMAND),
            Self::NotExecutable(_) => Some(NOT_EXECUTABLE),
            Self::Says(_, exit_code) => Some(*exit_code),
            Self::Start(_, error) => match error.kind() {
                // Its interpreter is missing.
                io::ErrorKind::NotFound => Some(NO_COMMAND),
                io::ErrorKind::PermissionDenied => Some(NOT_EXECUTABLE),
                _ if error.raw_os_error() == Some(rustix::io::Errno::NOEXEC.raw_os_error()) => {
                    Some(NOT_EXECUTABLE)
                }
                _ => None,
            },
            Self::Output(_) | Self::Wait(..) | Self::Interrupted => None,
        }
    }
}

impl From<NoCheck> for Error {
    fn from(error: NoCheck) -> Self {
        let detail = error.to_string();
        match error.exit_code() {
            Some(exit_code) => Self::NoCommand { detail, exit_code },
            None => Self::Other(detail),
        }
    }
}

/// Whether there is a command that these words name, as far as they are known.
///
/// # Errors
/// There is none, or it can't be executed.
pub(super) fn find(words: &[String]) -> Result<(), NoCheck> {
    let Some(program) = words.first() else {
        return Ok(());
    };
    // The state itself may be the command.
    if program.contains('{') {
        return Ok(());
    }
    let paths = match program.contains('/') {
        true => vec![PathBuf::from(program)],
        false => {
            let path = std::env::var_os("PATH").unwrap_or_else(|| USUAL_PATH.into());
            let folders = std::env::split_paths(&path);
            folders.map(|folder| folder.join(program)).collect()
        }
    };
    let mut there = paths.iter().filter(|path| path.exists());
    let may_run = |path: &&PathBuf| {
        let may = accessat(CWD, path.as_path(), Access::EXEC_OK, AtFlags::EACCESS);
        path.is_file() && may.is_ok()
    };
    if program.is_empty() || there.clone().next().is_none() {
        return Err(NoCheck::Missing(program.clone()));
    }
    match there.any(|path| may_run(&path)) {
        true => Ok(()),
        false => Err(NoCheck::NotExecutable(program.clone())),
    }
}

impl Check {
    /// Run it with these values in its words and in its environment. Its output goes to `output`.
    pub(super) fn run(
        &self,
        values: &[(&str, String)],
        environment: &[(&str, String)],
        output: &Path,
    ) -> Result<Verdict, NoCheck> {
        let fill = |word: &String| {
            let each = values.iter();
            each.fold(word.clone(), |word, (name, value)| {
                word.replace(name, value)
            })
        };
        let words: Vec<String> = self.words.iter().map(fill).collect();
        let program = words.first().cloned().unwrap_or_default();
        let start = |error| NoCheck::Start(program.clone(), error);
        let wait = |error| NoCheck::Wait(program.clone(), error);
        let file = File::create(output).map_err(NoCheck::Output)?;
        let mut command = Command::new(&program);
        command
            .args(words.get(1..).unwrap_or_default())
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(file.try_clone().map_err(NoCheck::Output)?)
            .stderr(file)
            .process_group(0);
        let mut child = command.spawn().map_err(start)?;
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let in_time = match group {
            Some(pid) => self.ends_in_time(pid).map_err(wait),
            None => Ok(true),
        };
        // It isn't reaped yet, so the group is still its own: what it left behind ends with it.
        if let Some(group) = group {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let status = child.wait().map_err(wait)?;
        if self.interrupted.load(Ordering::Relaxed) {
            return Err(NoCheck::Interrupted);
        }
        if !in_time? {
            let after = self.timeout.as_secs_f64();
            return Ok(Verdict::Bad(format!("no end after {after} s")));
        }
        verdict(&program, status)
    }

    /// Wait for its end, without reaping it. Returns whether it came in time.
    fn ends_in_time(&self, pid: Pid) -> io::Result<bool> {
        let descriptor = pidfd_open(pid, PidfdFlags::empty())?;
        let until = Instant::now() + self.timeout;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let step = Timespec::try_from(left.min(LOOKS_EVERY)).map_err(io::Error::other)?;
            let mut waiting = [PollFd::new(&descriptor, PollFlags::IN)];
            match poll(&mut waiting, Some(&step)) {
                Ok(0) if left <= LOOKS_EVERY || self.interrupted.load(Ordering::Relaxed) => {
                    return Ok(false);
                }
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return Ok(true),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn verdict(program: &str, status: ExitStatus) -> Result<Verdict, NoCheck> {
    match (status.code(), status.signal()) {
        (Some(0), _) => Ok(Verdict::Good),
        (Some(code), _) => match u8::try_from(code) {
            Ok(says @ (NOT_EXECUTABLE | NO_COMMAND)) => {
                Err(NoCheck::Says(program.to_owned(), says))
            }
            _ => Ok(Verdict::Bad(format!("exit code {code}"))),
        },
        (None, Some(signal)) => Ok(Verdict::Bad(format!("signal {signal}"))),
        (None, None) => Ok(Verdict::Bad("no exit code".into())),
    }
}

/// The end of what a check has written.
pub(super) fn tail(output: &Path) -> String {
    let read = || {
        let mut file = File::open(output)?;
        let length = fs::metadata(output)?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(OUTPUT_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(OUTPUT_BYTES).read_to_end(&mut bytes)?;
        Ok::<_, io::Error>(String::from_utf8_lossy(&bytes).trim().to_owned())
    };
    read().unwrap_or_default()
}
