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

/// Name of the monitor's socket, next to the guest's script.
const MONITOR: &str = "monitor.sock";

/// A virtual machine and its serial port; killed when dropped.
pub(crate) struct Guest {
    process: Process,
    console: Console,
    /// The guest's script, which QEMU reads once at its start, and its monitor's socket.
    scratch: TempDir,
}

impl Guest {
    /// Boot Linux on the disk at `socket`, and run the shell script `job` in it.
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

    /// Start a machine that boots from the disk at `socket`. If that leads to one of our Linuxes,
    /// it runs the script `job`.
    pub(crate) fn boot_disk(machine: &Machine, socket: &Path, job: &str) -> Self {
        Self::within(job, |file| qemu(&machine.bare(socket.as_os_str(), file)))
    }

    /// Run QEMU with the command that `wrap` makes from the file with the guest's script.
    pub(crate) fn within(job: &str, wrap: impl FnOnce(&Path) -> Command) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("job.sh");
        std::fs::write(&file, job).unwrap();
        let mut command = wrap(&file);
        // QEMU's own messages belong in the transcript too.
        let (output, input) = std::io::pipe().unwrap();
        command
            .stdin(Stdio::piped())
            .stdout(input.try_clone().unwrap())
            .stderr(input);
        let process = Process::spawn(&mut command);
        // It holds the other end of the pipe: otherwise the console would never close.
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

    /// Wait until the guest prints exactly `line`, skipping everything before.
    pub(crate) fn wait_for(&mut self, line: &str) {
        self.console.wait_for(line);
    }

    /// Wait until the guest sends `request` to its host.
    pub(crate) fn wait_for_request(&mut self, request: &str) {
        self.wait_for(&format!("@host: {request}"));
    }

    /// Wait until the guest sends `request` with a figure, and return the figure.
    pub(crate) fn wait_for_figure(&mut self, request: &str) -> u64 {
        let line = self.console.wait_for_start(&format!("@host: {request} "));
        let figure = line.rsplit(' ').next().and_then(|word| word.parse().ok());
        figure.unwrap_or_else(|| panic!("no figure: {line}"))
    }

    /// Answer a request: the guest's script finds `text` in `$answer`.
    pub(crate) fn answer(&mut self, text: &str) {
        let stdin = self.process.child().stdin.as_mut().unwrap();
        stdin.write_all(format!("{text}\n").as_bytes()).unwrap();
        stdin.flush().unwrap();
    }

    /// Wait until the script and the machine end successfully.
    pub(crate) fn finish(self) {
        let (status, transcript) = self.finish_with_status();
        assert!(status.success(), "QEMU ended with {status}\n{transcript}");
    }

    /// Wait until the script ends successfully, and return the command's exit status and the
    /// transcript.
    pub(crate) fn finish_with_status(mut self) -> (ExitStatus, String) {
        self.wait_for("@done 0");
        let status = self.process.wait(PATIENCE);
        let transcript = self.console.transcript();
        let Some(status) = status else {
            panic!("the guest's script is done, but its machine runs on\n{transcript}");
        };
        (status, transcript)
    }

    /// Wait until the machine ends by itself, whatever runs in it.
    pub(crate) fn end(mut self) {
        let status = self.process.wait(PATIENCE);
        let transcript = self.console.transcript();
        assert!(
            status.is_some_and(|status| status.success()),
            "{status:?}\n{transcript}"
        );
    }

    /// Kill the machine at once: the guest can't finish anything.
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
        // If the console itself failed, it has already printed this.
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
