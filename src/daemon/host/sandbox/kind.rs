//! Kinds of threads: roles that need the same system calls.

use crate::threads::Role;

/// Threads that need the same system calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Serves rings.
    Worker,
    /// Only waits and tells others.
    Idle,
    /// Returns memory.
    Reclaimer,
    /// Accepts front ends and starts their threads.
    Acceptor,
    /// Handles the messages of a front end.
    Session,
    /// Looks after sockets, quotas and histories.
    Upkeep,
    /// Answers the API, and NBD clients, and does the work.
    Api,
    /// Reads an image.
    Image,
    /// The first thread, once everything has started.
    Main,
    /// The same, with a command that it must end.
    MainWithCommand,
}

impl Kind {
    pub(super) const ALL: [Self; 10] = [
        Self::Worker,
        Self::Idle,
        Self::Reclaimer,
        Self::Acceptor,
        Self::Session,
        Self::Upkeep,
        Self::Api,
        Self::Image,
        Self::Main,
        Self::MainWithCommand,
    ];

    /// The kind of a thread with this role; `None` for roles that no process has that confines
    /// itself.
    pub(super) fn of(role: Role) -> Option<Self> {
        match role {
            Role::Worker(_) => Some(Self::Worker),
            Role::Watchdog | Role::Signals | Role::LastSession | Role::Refusals => Some(Self::Idle),
            Role::Reclaimer => Some(Self::Reclaimer),
            Role::Acceptor => Some(Self::Acceptor),
            Role::Session(_) => Some(Self::Session),
            Role::Removal | Role::Monitor | Role::Keeper => Some(Self::Upkeep),
            Role::Api | Role::ApiWork | Role::Nbd(_) => Some(Self::Api),
            Role::Image => Some(Self::Image),
            Role::NbdRelay
            | Role::NbdAccept
            | Role::Remote
            | Role::Explore(_)
            | Role::LoadQueue(_)
            | Role::LoadWatch
            | Role::Names
            | Role::Figures => None,
        }
    }

    /// Whether threads of this role are started by one that has confined itself, so that only the
    /// system calls are left to restrict.
    pub(super) fn is_inside(role: Role) -> bool {
        matches!(
            role,
            Role::Session(_) | Role::ApiWork | Role::Nbd(_) | Role::Keeper
        )
    }

    /// Its name in messages and in the documentation.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::Idle => "idle",
            Self::Reclaimer => "reclaimer",
            Self::Acceptor => "acceptor",
            Self::Session => "session",
            Self::Upkeep => "upkeep",
            Self::Api => "api",
            Self::Image => "image",
            Self::Main => "main",
            Self::MainWithCommand => "main-with-command",
        }
    }

    /// Its place in tables.
    pub(super) fn number(self) -> usize {
        Self::ALL.iter().position(|kind| *kind == self).unwrap_or(0)
    }
}
