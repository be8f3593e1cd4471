//! The files that the process may use from its start on (landlock).
//!
//! A rule is for a directory and everything below it, and stays with the directory itself: not with
//! its name. The kernel also refuses everything of a process outside: its memory, signals to it,
//! sockets in the abstract namespace.

use std::io;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, NetPort, PathBeneath,
    PathFd, RestrictionStatus, Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr,
    RulesetError, RulesetStatus, Scope, make_bitflags,
};

use super::mode::Lack;

/// The newest rights that are known here. An older kernel has fewer of them.
const ABI_KNOWN: ABI = ABI::V6;

/// What the process uses.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places {
    /// Directories in which it makes and removes sockets, and directories for them.
    pub(crate) sockets: Vec<PathBuf>,
    /// Directories of files that it reads and writes.
    pub(crate) files: Vec<PathBuf>,
    /// Directories of files that it reads.
    pub(crate) readable: Vec<PathBuf>,
    /// The TCP port that it listens at.
    pub(crate) tcp_port: Option<u16>,
    /// Whether it connects to other hosts.
    pub(crate) connects: bool,
    /// Whether it uses a socket in the abstract namespace.
    pub(crate) needs_abstract: bool,
    /// Whether it ends a process that it has started before.
    pub(crate) ends_a_command: bool,
}

/// What can be done with sockets.
const OF_SOCKETS: BitFlags<AccessFs> = make_bitflags!(AccessFs::{
    MakeSock | MakeDir | RemoveFile | RemoveDir | ReadDir
});
/// What can be done with files. A new one has no name before it is whole (`linkat`).
const OF_FILES: BitFlags<AccessFs> = make_bitflags!(AccessFs::{
    ReadFile | WriteFile | MakeReg | RemoveFile | ReadDir | Truncate | Refer
});
const OF_READING: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadFile | ReadDir});

impl Places {
    /// The rules, for the calling thread or others to enforce.
    ///
    /// # Errors
    /// The kernel's. A kernel without landlock is none: see [`enforce`].
    pub(super) fn rules(&self) -> Result<RulesetCreated, RulesetError> {
        let mut rules = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(ABI_KNOWN))?
            .handle_access(AccessNet::BindTcp)?;
        if !self.connects {
            rules = rules.handle_access(AccessNet::ConnectTcp)?;
        }
        if !self.needs_abstract {
            rules = rules.scope(Scope::AbstractUnixSocket)?;
        }
        if !self.ends_a_command {
            rules = rules.scope(Scope::Signal)?;
        }
        let mut rules = rules.create()?;
        // The process's own figures, and the names of others. The kernel protects what is theirs.
        let proc = [PathBuf::from("/proc")];
        // Owners of sockets, by name. The rule goes with the file: one that replaces it has none.
        let accounts = ["/etc/passwd", "/etc/group"].map(PathBuf::from);
        let all = [
            (&accounts[..], make_bitflags!(AccessFs::{ReadFile})),
            (&self.sockets[..], OF_SOCKETS),
            (&self.files[..], OF_FILES),
            (&self.readable[..], OF_READING),
            (&proc[..], OF_READING),
        ];
        for (directories, access) in all {
            for directory in directories {
                rules = allow(rules, directory, access)?;
            }
        }
        if let Some(port) = self.tcp_port {
            rules = rules.add_rule(NetPort::new(port, AccessNet::BindTcp))?;
        }
        Ok(rules)
    }
}

/// The rules with one more for sockets in this directory.
///
/// # Errors
/// The kernel's.
pub(super) fn allow_sockets(
    rules: RulesetCreated,
    directory: &Path,
) -> Result<RulesetCreated, RulesetError> {
    allow(rules, directory, OF_SOCKETS)
}

fn allow(
    rules: RulesetCreated,
    directory: &Path,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, RulesetError> {
    match PathFd::new(named(directory)) {
        Ok(directory) => rules.add_rule(PathBeneath::new(directory, access)),
        // One that isn't there can't be used either.
        Err(_) => Ok(rules),
    }
}

/// The path of a directory; the empty one is the current directory's.
fn named(directory: &Path) -> &Path {
    match directory.as_os_str().is_empty() {
        true => Path::new("."),
        false => directory,
    }
}

/// Enforce `rules` for the calling thread, and for those that it starts. Returns what the kernel
/// can't enforce.
///
/// # Errors
/// The kernel's.
pub(super) fn enforce(rules: &RulesetCreated) -> io::Result<Option<Lack>> {
    let enforced = rules.try_clone()?.restrict_self();
    let RestrictionStatus {
        ruleset, landlock, ..
    } = enforced.map_err(io::Error::other)?;
    Ok(match ruleset {
        RulesetStatus::FullyEnforced => None,
        RulesetStatus::PartiallyEnforced => Some(Lack::in_part(format!(
            "the kernel enforces a part of the rules for files, networks and signals ({landlock:?})"
        ))),
        RulesetStatus::NotEnforced => Some(Lack::whole(format!(
            "the kernel has no rules for files ({landlock:?}): use one with landlock, 5.13 or newer"
        ))),
    })
}
