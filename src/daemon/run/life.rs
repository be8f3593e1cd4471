//! What a process waits for that runs beside a command: the command's end, a signal, or an end of
//! another kind.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::mpsc::{Receiver, Sender, channel};

use signal_hook::consts::{SIGCHLD, SIGTERM};
use signal_hook::iterator::Signals;

use super::command::Command;
use crate::daemon::Error;
use crate::daemon::host::signals;
use crate::threads::{self, Role};

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// A signal, or the end of the one inherited connection.
    Asked,
    /// The command ended with this exit code, or with 128 plus the number of the signal that ended
    /// it.
    Command(u8),
}

#[derive(Debug)]
enum Event {
    Signal(i32),
    Other,
}

/// What a process waits for.
#[derive(Debug)]
pub(crate) struct Life {
    events: Sender<Event>,
    incoming: Receiver<Event>,
}

/// Ends a [`Life`] from any thread.
#[derive(Clone, Debug)]
pub(crate) struct Ender(Sender<Event>);

impl Ender {
    /// End it as a signal does.
    pub(crate) fn end(&self) {
        // Without a receiver it has ended already.
        let _ = self.0.send(Event::Other);
    }
}

impl Life {
    /// Hear signals from now on.
    ///
    /// # Errors
    /// The system refuses a handler, or has no thread left.
    pub(crate) fn begin() -> Result<Self, Error> {
        let mut heard = signals::ending();
        heard.push(SIGCHLD);
        let signals = Signals::new(heard).map_err(Error::system("watch for signals"))?;
        let (events, incoming) = channel();
        forward(signals, events.clone())?;
        Ok(Self { events, incoming })
    }

    pub(crate) fn ender(&self) -> Ender {
        Ender(self.events.clone())
    }

    /// Wait for the end. If that isn't the command's own, the command is ended first.
    pub(crate) fn wait(self, mut command: Option<Command>) -> Ending {
        loop {
            // This has a sender itself, so there always is one.
            let event = self.incoming.recv().unwrap_or(Event::Signal(SIGTERM));
            if let Some(status) = command.as_mut().and_then(Command::status) {
                return Ending::Command(exit_code(status));
            }
            if let Event::Signal(SIGCHLD) = event {
                continue;
            }
            // The command ends first, since it may still use the disk.
            if let Some(command) = command {
                command.end();
            }
            return Ending::Asked;
        }
    }
}

/// Send every signal as an event.
fn forward(mut signals: Signals, events: Sender<Event>) -> Result<(), Error> {
    threads::spawn(Role::Signals, move || {
        for signal in signals.forever() {
            if events.send(Event::Signal(signal)).is_err() {
                return;
            }
        }
    })
    .map(|_| ())
    .map_err(Error::system("start a thread"))
}

fn exit_code(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}
