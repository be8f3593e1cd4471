//! The sandbox: after the start the process can do only what it needs.
//!
//! | file | what it holds |
//! |---|---|
//! | `mode` | how far the process confines itself, and what a system lacks for that |
//! | `privileges` | new privileges, capabilities and networks, which it gives up |
//! | `places` | the files that it may use |
//! | `kind` | kinds of threads |
//! | `calls` | the system calls of each kind |
//! | `filter` | a list of calls as a program of the kernel's |
//! | `refusal` | a call that was refused |
//! | `trap` | the handler of refused calls |
//! | `client` | the sandbox of a process that reads from other hosts |
//! | `broker` | the sandbox of a broker |
//! | `attempt` | calls that tests try |
//! | `mod` | putting these into force, for the process and for each thread |

#[cfg(ramblk_hooks)]
mod attempt;
pub(crate) mod broker;
mod calls;
pub(crate) mod client;
mod filter;
mod kind;
pub(crate) mod mode;
pub(crate) mod places;
mod privileges;
pub(crate) mod refusal;
mod trap;

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use landlock::RulesetCreated;
use parking_lot::Mutex;
use rustix::thread::CapabilitySet;
use seccompiler::{BackendError, BpfProgram, SeccompAction};

use self::kind::Kind;
use self::mode::{Lack, SandboxMode};
use self::places::Places;
use self::refusal::Refusal;
use crate::daemon::Error;
use crate::daemon::host::broker::{self as brokers, NoBroker};
use crate::daemon::host::socket::SocketAccess;
use crate::store::OwnerWords;
use crate::threads::{self, Role};
use crate::vhost_user::{look_by, maps_privately};

/// What the process still needs when it has started.
#[derive(Clone, Debug)]
pub(crate) struct Needs {
    /// Files, sockets and other processes.
    pub(crate) places: Places,
    /// Capabilities, of those that it has.
    pub(crate) capabilities: CapabilitySet,
}

impl Needs {
    /// Keep what the sockets' group, locked memory or a command may need, and what reaches
    /// directories of other users.
    pub(crate) fn keep_capabilities(&mut self, access: SocketAccess, locks: bool, ends: bool) {
        let own = rustix::process::geteuid().as_raw();
        let is_foreign = |directory: &PathBuf| {
            let about = std::fs::metadata(directory);
            about.is_ok_and(|about| about.uid() != own)
        };
        let foreign = self.places.sockets.iter().chain(&self.places.files);
        let may_need = [
            (access.group.is_some(), CapabilitySet::CHOWN),
            (locks, CapabilitySet::IPC_LOCK),
            (ends, CapabilitySet::KILL),
            (
                foreign.into_iter().any(is_foreign),
                CapabilitySet::DAC_OVERRIDE,
            ),
        ];
        for (_, capability) in may_need.iter().filter(|(needed, _)| *needed) {
            self.capabilities |= *capability;
        }
    }
}

/// What is in force, for threads that start.
struct InForce {
    /// Programs by the number of the kind, if the kernel takes any.
    filters: Option<Filters>,
    rules: Mutex<Option<RulesetCreated>>,
    /// Whether more than reports is wanted.
    refuses: bool,
    capabilities: CapabilitySet,
    /// Whether the first thread has left other things than system calls to its threads.
    process_is_confined: AtomicBool,
}

struct Filters {
    lacking: BpfProgram,
    /// For kinds without files.
    denied: BpfProgram,
    of_kinds: Vec<BpfProgram>,
}

static IN_FORCE: OnceLock<InForce> = OnceLock::new();

/// A process that confines itself. Nothing of this is undone.
#[derive(Debug)]
pub(crate) struct Sandbox {
    mode: SandboxMode,
    /// Whether a socket of its network must be reached.
    needs_network: bool,
}

impl Sandbox {
    /// From now on threads confine themselves when they start, to `needs`. What the system lacks
    /// for that is logged.
    ///
    /// # Errors
    /// The system lacks something, and the mode is [`SandboxMode::Strict`].
    pub(crate) fn begin(mode: SandboxMode, needs: &Needs) -> Result<Self, Error> {
        let mode = if collected().is_some() {
            SandboxMode::Log
        } else {
            mode
        };
        let sandbox = Self {
            mode,
            needs_network: needs.places.needs_abstract,
        };
        #[cfg(ramblk_hooks)]
        attempt::prepare();
        if mode == SandboxMode::Off {
            return Ok(sandbox);
        }
        let mut missing = Vec::new();
        if mode.refuses()
            && let Err(forbidden) = start_broker(needs, &mut missing)
        {
            sandbox.judge(&[forbidden])?;
            return Ok(Self {
                mode: SandboxMode::Off,
                ..sandbox
            });
        }
        let filters = sandbox.filters();
        let filters = keep(filters, "system calls can't be refused", &mut missing);
        let rules = match mode.refuses() {
            true => keep(
                needs.places.rules().map_err(io::Error::other),
                "files can't be refused",
                &mut missing,
            ),
            false => None,
        };
        let found = IN_FORCE.set(InForce {
            filters,
            rules: Mutex::new(rules),
            refuses: mode.refuses(),
            capabilities: needs.capabilities,
            process_is_confined: AtomicBool::new(false),
        });
        debug_assert!(found.is_ok(), "a process has one sandbox");
        sandbox.try_out(&mut missing);
        sandbox.judge(&missing)?;
        threads::at_start(enter);
        Ok(sandbox)
    }

    /// How far the process confines itself, in a word.
    pub(crate) fn word(&self) -> &'static str {
        self.mode.word()
    }

    /// Compile all filters, and install the handler of what they refuse.
    fn filters(&self) -> io::Result<Filters> {
        let otherwise = match (self.mode.refuses(), trap::passage()) {
            (false, None) => SeccompAction::Log,
            _ => SeccompAction::Trap,
        };
        let compile = |kind: &Kind| {
            let extra: &[calls::Call] = match self.mode.refuses() {
                true => &[],
                false => calls::NOT_LOGGED,
            };
            let calls = calls::of(*kind).chain(extra.iter().copied());
            let filter = filter::allow(calls, otherwise.clone())?;
            Ok(match (self.mode.refuses(), trap::passage()) {
                (false, Some(passage)) => filter::with_passage(&filter, passage),
                _ => filter,
            })
        };
        let compiled: Result<Vec<_>, BackendError> = Kind::ALL.iter().map(compile).collect();
        let fail = |calls, error| match self.mode.refuses() {
            true => filter::fail(calls, error).map_err(io::Error::other),
            false => Ok(Vec::new()),
        };
        let filters = Filters {
            of_kinds: compiled.map_err(io::Error::other)?,
            lacking: fail(calls::LACKING, libc::ENOSYS)?,
            denied: fail(calls::DENIED, libc::EACCES)?,
        };
        let reports = match self.mode.refuses() {
            true => None,
            false => Some(log_reports()?),
        };
        trap::install(reports)?;
        Ok(filters)
    }

    /// Find out on a thread of its own what this system refuses to put into force.
    fn try_out(&self, missing: &mut Vec<Lack>) {
        let tried = threads::spawn(Role::Signals, || {
            let mut missing = Vec::new();
            confine(Kind::Idle, true, &mut missing);
            missing
        });
        match tried.map(std::thread::JoinHandle::join) {
            Ok(Ok(found)) => missing.extend(found),
            Ok(Err(_)) => {
                missing.push(Lack::whole("a thread that confines itself panics".into()));
            }
            Err(error) => {
                missing.push(Lack::whole(format!("a thread can't be started: {error}")));
            }
        }
    }

    fn judge(&self, missing: &[Lack]) -> Result<(), Error> {
        if missing.is_empty() {
            return Ok(());
        }
        let is_part = missing.iter().all(|lack| lack.is_part);
        let missing: Vec<_> = missing.iter().map(|lack| lack.what.as_str()).collect();
        let missing = missing.join("; ");
        if self.mode == SandboxMode::Strict {
            return Err(Error::Sandbox { missing });
        }
        // On a kernel that isn't the newest there is nothing to do about it.
        match is_part {
            true => tracing::info!(missing, "the sandbox is as whole as this kernel lets it be"),
            false => tracing::warn!(
                missing,
                "the sandbox is incomplete, and the process goes on without what is missing; \
                 --sandbox strict wouldn't, and off doesn't say so"
            ),
        }
        Ok(())
    }

    /// Let threads that confine themselves from now on use sockets in this directory too, if there
    /// is one, and in no further ones.
    pub(crate) fn allow_last(&self, directory: Option<&Path>) {
        if let Some(directory) = directory {
            brokers::allow(directory);
            self.allow_sockets_in(directory);
        }
        brokers::seal();
    }

    fn allow_sockets_in(&self, directory: &Path) {
        let Some(in_force) = IN_FORCE.get() else {
            return;
        };
        let mut rules = in_force.rules.lock();
        let more = rules.take().map(|it| places::allow_sockets(it, directory));
        *rules = more.and_then(|more| {
            more.inspect_err(|error| tracing::warn!(%error, "files can't be refused"))
                .ok()
        });
    }

    /// Confine the calling thread, and all that will start, in everything but system calls. Returns
    /// without doing anything unless the mode refuses things.
    pub(crate) fn confine_process(&self) {
        let Some(in_force) = IN_FORCE.get().filter(|_| self.mode.refuses()) else {
            return;
        };
        brokers::seal();
        if self.needs_network || !privileges::leave_networks() {
            tracing::debug!("the process stays in its network: it may not leave it");
        }
        confine_but_for_calls(in_force, &mut Vec::new());
        in_force.process_is_confined.store(true, Ordering::Release);
    }

    /// Confine the first thread, which has started all others that it must.
    pub(crate) fn confine_main(&self, has_command: bool) {
        let kind = match has_command {
            true => Kind::MainWithCommand,
            false => Kind::Main,
        };
        if let Some(in_force) = IN_FORCE.get() {
            let is_confined = in_force.process_is_confined.load(Ordering::Acquire);
            confine(kind, !is_confined, &mut Vec::new());
        }
    }

    /// From now on a refused call is noted in `words`. Returns the one that ended the process
    /// before this one.
    pub(crate) fn keep_refusals_in(words: OwnerWords) -> Option<Refusal> {
        let found = Refusal::take(&words);
        trap::keep_in(words);
        found
    }
}

/// Start the broker, or else note why there is none. The error is why a process that confines
/// itself would be ended.
fn start_broker(needs: &Needs, missing: &mut Vec<Lack>) -> Result<(), Lack> {
    match brokers::start(&needs.places.sockets) {
        Err(error @ NoBroker::Forbidden) => return Err(Lack::whole(error.to_string())),
        Err(NoBroker::System(error)) => {
            missing.push(Lack::whole(format!("no broker can be started: {error}")));
        }
        Ok(()) => {}
    }
    look_by(|pid, user, inode| {
        let asked = brokers::maps_privately(pid, user, inode);
        asked.unwrap_or_else(|| maps_privately(pid, user, inode))
    });
    Ok(())
}

/// What was returned, or else note why that is missing.
fn keep<T>(found: io::Result<T>, what: &str, missing: &mut Vec<Lack>) -> Option<T> {
    found
        .map_err(|error| missing.push(Lack::whole(format!("{what}: {error}"))))
        .ok()
}

/// Apply these programs to a process of one thread, or else note why that is not possible.
fn apply(programs: [Result<BpfProgram, BackendError>; 2], missing: &mut Vec<Lack>) {
    for program in programs {
        let applied = program.map_err(io::Error::other);
        let applied = applied.and_then(|program| filter::apply(&program));
        keep(applied, "system calls can't be refused", missing);
    }
}

/// Confine a thread that starts with this role.
fn enter(role: Role) {
    let Some(kind) = Kind::of(role) else {
        return;
    };
    let is_confined = IN_FORCE
        .get()
        .is_some_and(|it| it.process_is_confined.load(Ordering::Acquire));
    // What the system lacks was found and logged before.
    confine(
        kind,
        !is_confined && !Kind::is_inside(role),
        &mut Vec::new(),
    );
}

fn confine(kind: Kind, wholly: bool, missing: &mut Vec<Lack>) {
    let Some(in_force) = IN_FORCE.get() else {
        return;
    };
    if wholly && in_force.refuses {
        confine_but_for_calls(in_force, missing);
    }
    trap::i_am(kind);
    let Some(filters) = &in_force.filters else {
        return;
    };
    let denied = (!calls::has_files(kind)).then_some(&filters.denied);
    let programs = [&filters.lacking, &filters.of_kinds[kind.number()]];
    // The strictest answer counts, in whatever order they come; the last one forbids more filters.
    let programs = denied.into_iter().chain(programs);
    for program in programs.filter(|program| !program.is_empty()) {
        if let Err(error) = filter::apply(program) {
            let what = format!("system calls can't be refused: {error}");
            missing.push(Lack::whole(what));
            return;
        }
    }
}

fn confine_but_for_calls(in_force: &InForce, missing: &mut Vec<Lack>) {
    let dropped = privileges::drop_all_but(in_force.capabilities);
    keep(dropped, "capabilities can't be dropped", missing);
    if let Some(rules) = &*in_force.rules.lock() {
        let enforced = places::enforce(rules);
        let enforced = keep(enforced, "files can't be refused", missing);
        missing.extend(enforced.flatten());
    }
}

/// `RAMBLK_TEST_SANDBOX=<file>` makes every mode `log`, and collects what would be refused in the
/// file.
#[cfg(ramblk_hooks)]
fn collected() -> Option<File> {
    let path = std::env::var_os("RAMBLK_TEST_SANDBOX")?;
    File::options().append(true).create(true).open(path).ok()
}

/// None.
#[cfg(not(ramblk_hooks))]
fn collected() -> Option<File> {
    None
}

/// A pipe for reports of calls that would be refused, and a thread that logs them.
fn log_reports() -> io::Result<OwnedFd> {
    let (from, to) = rustix::pipe::pipe_with(
        rustix::pipe::PipeFlags::CLOEXEC | rustix::pipe::PipeFlags::NONBLOCK,
    )?;
    // Only writing must not wait.
    rustix::fs::fcntl_setfl(&from, rustix::fs::OFlags::empty())?;
    let mut from = File::from(from);
    threads::spawn(Role::Refusals, move || {
        let mut bits = [0; 8];
        while from.read_exact(&mut bits).is_ok() {
            if let Some(refusal) = Refusal::from_bits(u64::from_ne_bytes(bits)) {
                if let Some(mut file) = collected() {
                    let line = format!("{} {}\n", refusal.thread(), refusal.call());
                    let _ = file.write_all(line.as_bytes());
                }
                tracing::warn!(
                    call = refusal.call(),
                    number = refusal.number(),
                    thread = refusal.thread(),
                    "--sandbox on would refuse this system call and end the process"
                );
            }
        }
    })?;
    Ok(to)
}
