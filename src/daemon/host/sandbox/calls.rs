//! The system calls of each role of thread, as lists that roles share. `docs/internals/sandbox.md`
//! has the same lists and roles.
//!
//! What a list has was found by `--sandbox log` in the tests, and looked up where only an error or
//! another C library leads to it.

use libc as c;

use super::kind::Kind;

/// A system call by its number, and the arguments that it may have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call(pub(super) i64, pub(super) Args);

/// What the arguments of a call may be. An argument is named by its index.
#[derive(Clone, Copy, Debug)]
pub(super) enum Args {
    Any,
    /// The lower 32 bits of this argument are one of these.
    OneOf(u8, &'static [u64]),
    /// They are none of these.
    NoneOf(u8, &'static [u64]),
    /// They are not this.
    Not(u8, u64),
    /// Those of them that are in the first number are the second number.
    Bits(u8, u64, u64),
    /// They are the number of this process.
    OwnProcess(u8),
    /// They are not.
    OtherProcess(u8),
}

use Args::{Any, Bits, Not, OneOf, OwnProcess};

const PROT_EXEC: u64 = c::PROT_EXEC as u64;
const SIGSYS: u64 = c::SIGSYS as u64;
const CLONE_THREAD: u64 = c::CLONE_THREAD as u64;
const AF_UNIX: &[u64] = &[c::AF_UNIX as u64];
/// Of descriptors: not to wait, not to be inherited, how much there is to read, what kind it is.
const DESCRIPTORS: &[u64] = &[c::FIONBIO, c::FIOCLEX, c::FIONREAD, c::TCGETS];
/// Names of threads, and of memory, which the C library may set.
const NAMING: &[u64] = &[c::PR_SET_NAME as u64, c::PR_SET_VMA as u64];
const CONFINING: &[u64] = &[c::PR_SET_NO_NEW_PRIVS as u64];
const FILTERS: &[u64] = &[c::SECCOMP_SET_MODE_FILTER as u64];
/// Of descriptors: flags, copies, locks, seals. Not whom to send signals to.
const CONTROL: &[u64] = &[
    c::F_GETFD as u64,
    c::F_SETFD as u64,
    c::F_GETFL as u64,
    c::F_SETFL as u64,
    c::F_DUPFD_CLOEXEC as u64,
    c::F_OFD_SETLK as u64,
    c::F_GET_SEALS as u64,
    c::F_ADD_SEALS as u64,
];

/// The bit of a mode by which a program runs with its owner's rights.
const SET_ID: u64 = 0o4000;

/// No new limit: the address of one, of which there is none.
const READ_ONLY: &[u64] = &[0];

/// A named list.
pub(super) type List = (&'static str, &'static [Call]);

/// What every thread may need: memory, locks, clocks, signals to its own process, its end, and
/// reading and writing what is open.
pub(super) const COMMON: List = (
    "common",
    &[
        Call(c::SYS_brk, Any),
        Call(c::SYS_mmap, Bits(2, PROT_EXEC, 0)),
        Call(c::SYS_mprotect, Bits(2, PROT_EXEC, 0)),
        Call(c::SYS_munmap, Any),
        Call(c::SYS_mremap, Any),
        Call(c::SYS_madvise, Any),
        Call(c::SYS_futex, Any),
        Call(c::SYS_sched_yield, Any),
        Call(c::SYS_sched_getaffinity, Any),
        Call(c::SYS_getcpu, Any),
        Call(c::SYS_nanosleep, Any),
        Call(c::SYS_clock_nanosleep, Any),
        Call(c::SYS_clock_gettime, Any),
        Call(c::SYS_gettimeofday, Any),
        Call(c::SYS_sysinfo, Any),
        Call(c::SYS_getrandom, Any),
        Call(c::SYS_rt_sigaction, Not(0, SIGSYS)),
        Call(c::SYS_rt_sigprocmask, Any),
        Call(c::SYS_rt_sigreturn, Any),
        Call(c::SYS_restart_syscall, Any),
        Call(c::SYS_sigaltstack, Any),
        Call(c::SYS_tgkill, OwnProcess(0)),
        Call(c::SYS_gettid, Any),
        Call(c::SYS_getpid, Any),
        Call(c::SYS_getuid, Any),
        Call(c::SYS_geteuid, Any),
        Call(c::SYS_getgid, Any),
        Call(c::SYS_getegid, Any),
        Call(c::SYS_getrusage, Any),
        Call(c::SYS_rseq, Any),
        Call(c::SYS_set_robust_list, Any),
        Call(c::SYS_prctl, OneOf(0, NAMING)),
        Call(c::SYS_exit, Any),
        Call(c::SYS_exit_group, Any),
        Call(c::SYS_read, Any),
        Call(c::SYS_readv, Any),
        Call(c::SYS_write, Any),
        Call(c::SYS_writev, Any),
        Call(c::SYS_close, Any),
        // A fault on command ends a front end's connection, which a worker finds.
        Call(c::SYS_shutdown, Any),
        Call(c::SYS_fcntl, OneOf(1, CONTROL)),
        Call(c::SYS_fstat, Any),
    ],
);

/// Lines of the log for the journal: any thread may write one. A long one is passed as memory.
pub(super) const LOG: List = (
    "log",
    &[
        Call(c::SYS_sendto, Any),
        Call(c::SYS_sendmsg, Any),
        Call(c::SYS_memfd_create, Any),
    ],
);

/// Waiting for descriptors.
pub(super) const EVENTS: List = (
    "events",
    &[
        Call(c::SYS_epoll_pwait, Any),
        Call(c::SYS_epoll_ctl, Any),
        Call(c::SYS_epoll_create1, Any),
        Call(c::SYS_eventfd2, Any),
        Call(c::SYS_timerfd_create, Any),
        Call(c::SYS_timerfd_settime, Any),
        Call(c::SYS_ppoll, Any),
    ],
);

/// The same on x86-64, which has these since before others.
#[cfg(target_arch = "x86_64")]
pub(super) const OLD_EVENTS: List = (
    "old-events",
    &[Call(c::SYS_epoll_wait, Any), Call(c::SYS_poll, Any)],
);
#[cfg(not(target_arch = "x86_64"))]
pub(super) const OLD_EVENTS: List = ("old-events", &[]);

/// The memory of disks: holes, and pages that are read to look for them.
pub(super) const ARENA: List = (
    "arena",
    &[
        Call(c::SYS_fallocate, Any),
        Call(c::SYS_flock, Any),
        Call(c::SYS_ftruncate, Any),
        Call(c::SYS_mlock2, Any),
        Call(c::SYS_mlock, Any),
        Call(c::SYS_lseek, Any),
        Call(c::SYS_pread64, Any),
        Call(c::SYS_pwrite64, Any),
    ],
);

/// How a thread runs: its processor and its time slices.
pub(super) const SCHEDULING: List = (
    "scheduling",
    &[
        Call(c::SYS_sched_setaffinity, Any),
        Call(c::SYS_sched_setattr, Any),
        Call(c::SYS_getpriority, Any),
        Call(c::SYS_setpriority, Any),
    ],
);

/// Messages over sockets that are open.
pub(super) const MESSAGES: List = (
    "messages",
    &[
        Call(c::SYS_recvmsg, Any),
        Call(c::SYS_recvfrom, Any),
        Call(c::SYS_getsockopt, Any),
        Call(c::SYS_setsockopt, Any),
        Call(c::SYS_getsockname, Any),
        Call(c::SYS_getpeername, Any),
        Call(c::SYS_ioctl, OneOf(1, DESCRIPTORS)),
    ],
);

/// Connections of clients.
pub(super) const CLIENTS: List = ("clients", &[Call(c::SYS_accept4, Any)]);

/// Files by name, among those that landlock lets the process see, and the process's own limits.
pub(super) const FILES: List = (
    "files",
    &[
        Call(c::SYS_openat, Any),
        Call(c::SYS_newfstatat, Any),
        Call(c::SYS_statx, Any),
        Call(c::SYS_statfs, Any),
        Call(c::SYS_fstatfs, Any),
        Call(c::SYS_getdents64, Any),
        Call(c::SYS_readlinkat, Any),
        Call(c::SYS_faccessat, Any),
        Call(c::SYS_faccessat2, Any),
        Call(c::SYS_getcwd, Any),
        Call(c::SYS_prlimit64, OneOf(2, READ_ONLY)),
    ],
);

/// The same on x86-64.
#[cfg(target_arch = "x86_64")]
pub(super) const OLD_FILES: List = (
    "old-files",
    &[
        Call(c::SYS_open, Any),
        Call(c::SYS_stat, Any),
        Call(c::SYS_lstat, Any),
        Call(c::SYS_readlink, Any),
        Call(c::SYS_access, Any),
    ],
);
#[cfg(not(target_arch = "x86_64"))]
pub(super) const OLD_FILES: List = ("old-files", &[]);

/// Sockets with a path.
pub(super) const SOCKETS: List = (
    "sockets",
    &[
        Call(c::SYS_socket, OneOf(0, AF_UNIX)),
        Call(c::SYS_socketpair, OneOf(0, AF_UNIX)),
        Call(c::SYS_bind, Any),
        Call(c::SYS_listen, Any),
        Call(c::SYS_connect, Any),
        Call(c::SYS_fchmodat, Bits(2, SET_ID, 0)),
        Call(c::SYS_fchownat, Any),
        Call(c::SYS_unlinkat, Any),
        Call(c::SYS_mkdirat, Any),
        Call(c::SYS_inotify_add_watch, Any),
    ],
);

/// The same on x86-64.
#[cfg(target_arch = "x86_64")]
pub(super) const OLD_SOCKETS: List = (
    "old-sockets",
    &[
        Call(c::SYS_chmod, Bits(1, SET_ID, 0)),
        Call(c::SYS_chown, Any),
        Call(c::SYS_lchown, Any),
        Call(c::SYS_unlink, Any),
        Call(c::SYS_rmdir, Any),
        Call(c::SYS_mkdir, Any),
    ],
);
#[cfg(not(target_arch = "x86_64"))]
pub(super) const OLD_SOCKETS: List = ("old-sockets", &[]);

/// Other threads, which confine themselves further. `clone3` isn't there (see `lack`), since its
/// flags can't be checked: the C library then uses `clone`.
pub(super) const THREADS: List = (
    "threads",
    &[
        Call(c::SYS_clone, Bits(0, CLONE_THREAD, CLONE_THREAD)),
        Call(c::SYS_clone3, Any),
        Call(c::SYS_prctl, OneOf(0, CONFINING)),
        Call(c::SYS_seccomp, OneOf(0, FILTERS)),
    ],
);

/// The end of a command that was started before, of which there is one.
pub(super) const COMMAND: List = (
    "command",
    &[Call(c::SYS_kill, Any), Call(c::SYS_pidfd_send_signal, Any)],
);

/// Whether processes that were started before have ended.
pub(super) const CHILDREN: List = (
    "children",
    &[Call(c::SYS_wait4, Any), Call(c::SYS_waitid, Any)],
);

/// Calls that the process lacks, on top of all lists: the kernel says `ENOSYS`.
pub(super) const LACKING: &[i64] = &[c::SYS_clone3];

/// Calls that start a thread or a process can't be made by a handler: with `--sandbox log` they
/// are allowed everywhere.
pub(super) const NOT_LOGGED: &[Call] = &[Call(c::SYS_clone, Any), Call(c::SYS_clone3, Any)];

/// Calls that fail (`EACCES`) where a thread has no list of files, since the C library looks for
/// processors, and a panic for its program: neither needs what it looks for.
pub(super) const DENIED: &[i64] = &[
    c::SYS_openat,
    c::SYS_newfstatat,
    c::SYS_statx,
    c::SYS_readlinkat,
    c::SYS_getcwd,
    c::SYS_faccessat,
    c::SYS_faccessat2,
    #[cfg(target_arch = "x86_64")]
    c::SYS_open,
    #[cfg(target_arch = "x86_64")]
    c::SYS_stat,
    #[cfg(target_arch = "x86_64")]
    c::SYS_lstat,
    #[cfg(target_arch = "x86_64")]
    c::SYS_readlink,
    #[cfg(target_arch = "x86_64")]
    c::SYS_access,
];

/// Whether the calls of [`DENIED`] are among those of a kind of thread.
pub(super) fn has_files(kind: Kind) -> bool {
    lists(kind).iter().any(|(name, _)| *name == FILES.0)
}

/// With hooks, points at which tests kill the process.
#[cfg(ramblk_hooks)]
const HOOKS: &[Call] = &[Call(c::SYS_kill, OwnProcess(0))];
#[cfg(not(ramblk_hooks))]
const HOOKS: &[Call] = &[];

/// The lists of a kind of thread.
pub(super) fn lists(kind: Kind) -> &'static [List] {
    match kind {
        Kind::Worker => &[COMMON, LOG, EVENTS, OLD_EVENTS, ARENA, SCHEDULING],
        Kind::Idle => &[COMMON, LOG, EVENTS, OLD_EVENTS, MESSAGES],
        Kind::Reclaimer => &[COMMON, LOG, ARENA, SCHEDULING, FILES, OLD_FILES],
        Kind::Acceptor => &[
            COMMON, LOG, EVENTS, OLD_EVENTS, ARENA, MESSAGES, CLIENTS, FILES, OLD_FILES, THREADS,
        ],
        Kind::Session => &[
            COMMON, LOG, EVENTS, OLD_EVENTS, ARENA, MESSAGES, FILES, OLD_FILES,
        ],
        Kind::Upkeep => &[
            COMMON,
            LOG,
            EVENTS,
            OLD_EVENTS,
            ARENA,
            MESSAGES,
            FILES,
            OLD_FILES,
            SOCKETS,
            OLD_SOCKETS,
        ],
        Kind::Api => &[
            COMMON,
            LOG,
            EVENTS,
            OLD_EVENTS,
            ARENA,
            MESSAGES,
            CLIENTS,
            FILES,
            OLD_FILES,
            SOCKETS,
            OLD_SOCKETS,
            SCHEDULING,
            THREADS,
        ],
        Kind::Image => &[COMMON, LOG, ARENA],
        Kind::Main => &[
            COMMON,
            LOG,
            EVENTS,
            OLD_EVENTS,
            ARENA,
            MESSAGES,
            FILES,
            OLD_FILES,
            SOCKETS,
            OLD_SOCKETS,
            THREADS,
            CHILDREN,
        ],
        Kind::MainWithCommand => &[
            COMMON,
            LOG,
            EVENTS,
            OLD_EVENTS,
            ARENA,
            MESSAGES,
            FILES,
            OLD_FILES,
            SOCKETS,
            OLD_SOCKETS,
            THREADS,
            CHILDREN,
            COMMAND,
        ],
    }
}

/// The system calls of a kind of thread.
pub(super) fn of(kind: Kind) -> impl Iterator<Item = Call> {
    let denied = DENIED.iter().filter(move |_| !has_files(kind));
    let listed = lists(kind).iter().flat_map(|(_, calls)| *calls);
    let denied = denied.map(|number| Call(*number, Any));
    listed.chain(HOOKS).copied().chain(denied)
}
