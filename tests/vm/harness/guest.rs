//! A running virtual machine.

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use rustix::process::Signal;
use tempfile::TempDir;

use super::PATIENCE;
use super::console::Console;
use super::machine::Machine;
use super::process::{Process, command};
use super::qmp::Qmp;

/// The monitor's socket beside the guest's script.
const MONITOR: &str = "monitor.sock";

/// A virtual machine and its serial port; killed when dropped.
pub(crate) struct Guest {
    process: Process,
    console: Console,
    /// Holds the guest's script, which QEMU reads once, when it starts, and its monitor's socket.
    scratch: TempDir,
}

impl Guest {
    /// Boots Linux on the disk at `socket` and has it run the shell script `job`.
    pub(crate) fn start(machine: &Machine, socket: &Path, job: &str) -> Self {
        Self::within(job, |file| qemu(&machine.linux(socket.as_os_str(), file)))
    }

    /// The same with a monitor, see [`Self::monitor`].
    pub(crate) fn start_monitored(machine: &Machine, socket: &Path, job: &str) -> Self {
        Self::within(job, |file| {
            let mut command = qemu(&machine.linux(socket.as_os_str(), file));
            let mut monitor = OsString::from("unix:");
            monitor.push(file.with_file_name(MONITOR));
            monitor.push(",server=on,wait=off");
            command.arg("-qmp").arg(monitor);
            command
        })
    }

    /// Starts a machine that boots from the disk at `socket`: if that leads to a Linux of ours, it
    /// runs the script `job`.
    pub(crate) fn boot_disk(machine: &Machine, socket: &Path, job: &str) -> Self {
        Self::within(job, |file| qemu(&machine.bare(socket.as_os_str(), file)))
    }

    /// Starts whatever command `wrap` makes to run QEMU, given the file with the guest's script.
    pub(crate) fn within(job: &str, wrap: impl FnOnce(&Path) -> Command) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("job.sh");
        std::fs::write(&file, job).unwrap();
        let mut command = wrap(&file);
        // What QEMU complains about belongs into the transcript too.
        let (output, input) = std::io::pipe().unwrap();
        command
            .stdin(Stdio::piped())
            .stdout(input.try_clone().unwrap())
            .stderr(input);
        let process = Process::spawn(&mut command);
        // It holds the pipe's other end: kept, the console would never close.
        drop(command);
        let console = Console::listen(output);
        Self {
            process,
            console,
            scratch,
        }
    }

    /// The machine's monitor, if it was started with [`Self::start_monitored`].
    pub(crate) fn monitor(&self) -> Qmp {
        Qmp::connect(&self.scratch.path().join(MONITOR))
    }

    /// Waits until the guest says exactly `line`, whatever it says before.
    pub(crate) fn wait_for(&mut self, line: &str) {
        self.console.wait_for(line);
    }

    /// Waits until the guest asks its host for `request`.
    pub(crate) fn wait_for_request(&mut self, request: &str) {
        self.wait_for(&format!("@host: {request}"));
    }

    /// Waits until the guest asks its host for `request` and a figure, which is returned.
    pub(crate) fn wait_for_figure(&mut self, request: &str) -> u64 {
        let line = self.console.wait_for_start(&format!("@host: {request} "));
        let figure = line.rsplit(' ').next().and_then(|word| word.parse().ok());
        figure.unwrap_or_else(|| panic!("no figure: {line}"))
    }

    /// Answers a request: the guest's script finds `text` in `$answer`.
    pub(crate) fn answer(&mut self, text: &str) {
        let stdin = self.process.child().stdin.as_mut().unwrap();
        stdin.write_all(format!("{text}\n").as_bytes()).unwrap();
        stdin.flush().unwrap();
    }

    /// Waits for the script's good end and the machine's.
    pub(crate) fn finish(self) {
        let (status, transcript) = self.finish_with_status();
        assert!(status.success(), "QEMU ended with {status}\n{transcript}");
    }

    /// Waits for the script's good end and the command's: its exit status, and the transcript.
    pub(crate) fn finish_with_status(mut self) -> (ExitStatus, String) {
        self.wait_for("@done 0");
        let status = self.process.wait(PATIENCE);
        let transcript = self.console.transcript();
        let Some(status) = status else {
            panic!("the guest's script is done, but its machine runs on\n{transcript}");
        };
        (status, transcript)
    }

    /// Waits until the machine ends by itself, whatever runs in it.
    pub(crate) fn end(mut self) {
        let status = self.process.wait(PATIENCE);
        let transcript = self.console.transcript();
        assert!(
            status.is_some_and(|status| status.success()),
            "{status:?}\n{transcript}"
        );
    }

    /// Kills the machine where it stands: the guest gets no chance to finish anything.
    pub(crate) fn kill(mut self) {
        self.process.signal(Signal::KILL);
        assert!(
            self.process.wait(PATIENCE).is_some(),
            "QEMU survives SIGKILL"
        );
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // The console says it itself when it is what fails.
        if std::thread::panicking() && !self.console.told() {
            eprintln!("{}", self.console.transcript());
        }
    }
}

fn qemu(args: &[OsString]) -> Command {
    let (program, args) = args.split_first().unwrap();
    let mut command = command(program);
    command.args(args);
    command
}
