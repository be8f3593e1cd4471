//! Running a check, with all processes that it starts.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

/// How much of a check's output is kept.
const OUTPUT_BYTES: u64 = 2048;
/// What a shell returns if there is no such command, or it can't be run.
const NO_COMMAND: [i32; 2] = [126, 127];

/// A check of a state.
#[derive(Debug)]
pub(super) struct Check {
    /// The command and its arguments, with the places of values.
    pub(super) words: Vec<String>,
    /// How long it may take.
    pub(super) timeout: Duration,
}

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
    #[error("can't run {0:?}: {1}")]
    Start(String, io::Error),
    #[error("{0:?} exits with {1}: there is no such command, or one that it calls is missing")]
    Missing(String, i32),
    #[error("can't wait for {0:?}: {1}")]
    Wait(String, io::Error),
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
        let file = File::create(output).map_err(start)?;
        let mut command = Command::new(&program);
        command
            .args(words.get(1..).unwrap_or_default())
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(file.try_clone().map_err(start)?)
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
            let left = Timespec::try_from(left).map_err(io::Error::other)?;
            let mut waiting = [PollFd::new(&descriptor, PollFlags::IN)];
            match poll(&mut waiting, Some(&left)) {
                Ok(0) => return Ok(false),
                Ok(_) => return Ok(true),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn verdict(program: &str, status: ExitStatus) -> Result<Verdict, NoCheck> {
    match (status.code(), status.signal()) {
        (Some(0), _) => Ok(Verdict::Good),
        (Some(code), _) if NO_COMMAND.contains(&code) => {
            Err(NoCheck::Missing(program.to_owned(), code))
        }
        (Some(code), _) => Ok(Verdict::Bad(format!("exit code {code}"))),
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
