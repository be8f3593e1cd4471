//! The command that ramblk runs beside a disk, most often a virtual machine monitor.

use std::process::{Child, Command as Program, ExitStatus};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use crate::daemon::Error;
use crate::daemon::host::inherit;

/// How long the command may take to end before it is killed, since ramblk itself must end within a
/// second.
const END_WITHIN: Duration = Duration::from_millis(500);

/// A command that is running.
#[derive(Debug)]
pub(crate) struct Command(Child);

impl Command {
    /// Start it, with each first of `values` replaced by the second in every word, and with one
    /// more variable in its environment. It gets the limit on descriptors that ramblk itself was
    /// started with: a program that uses `select` can't have descriptors above 1023, and must not
    /// get more than it expects.
    pub(crate) fn start(
        words: &[String],
        values: &[(&str, &str)],
        variable: Option<(&str, &str)>,
        descriptors: Option<(u64, u64)>,
    ) -> Result<Option<Self>, Error> {
        let fill = |word: &String| {
            let filled = values.iter();
            filled.fold(word.clone(), |word, (name, value)| {
                word.replace(name, value)
            })
        };
        let words: Vec<String> = words.iter().map(fill).collect();
        let Some((program, arguments)) = words.split_first() else {
            return Ok(None);
        };
        let mut program_line = Program::new(program);
        program_line.args(arguments).envs(variable);
        if let Some((soft, hard)) = descriptors {
            inherit::pass_on(&mut program_line, soft, hard);
        }
        let child = program_line.spawn().map_err(|source| Error::Command {
            program: program.clone(),
            source,
        })?;
        Ok(Some(Self(child)))
    }

    /// Its status, if it has ended.
    pub(crate) fn status(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().ok().flatten()
    }

    /// Send it SIGTERM, and after a while SIGKILL.
    pub(crate) fn end(mut self) {
        let deadline = Instant::now() + END_WITHIN;
        // It was not reaped, or `status` would have returned it, so the number is still this
        // child's.
        if self.status().is_none()
            && let Some(pid) = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw)
        {
            let _ = rustix::process::kill_process(pid, Signal::TERM);
        }
        while self.status().is_none() {
            if Instant::now() >= deadline {
                tracing::warn!("the command did not end on SIGTERM and is killed");
                let _ = self.0.kill();
                let _ = self.0.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
