//! The sandbox of a broker, which serves a process that has confined itself.
//!
//! It must see the mappings of other processes and directories of any name, which is what landlock
//! takes. So it has a list of calls like a thread of that process, and opens files only to read
//! them. What it gets are messages of a fixed form.

use libc as c;
use rustix::thread::CapabilitySet;

use super::calls::{Args, COMMON, Call, LACKING};
use super::mode::Lack;
use super::places::Places;
use super::{apply, filter, keep, privileges};

/// To make anything, or to write, a file is opened with one of these flags.
const WRITING: u64 =
    (c::O_ACCMODE | c::O_CREAT | c::O_TRUNC | (c::O_TMPFILE & !c::O_DIRECTORY)) as u64;
const UNIX: &[u64] = &[c::AF_UNIX as u64];

/// What it needs beside what all threads do.
const CALLS: &[Call] = &[
    Call(c::SYS_openat, Args::Bits(2, WRITING, 0)),
    Call(c::SYS_newfstatat, Args::Any),
    Call(c::SYS_statx, Args::Any),
    Call(c::SYS_lseek, Args::Any),
    Call(c::SYS_recvfrom, Args::Any),
    Call(c::SYS_sendto, Args::Any),
    Call(c::SYS_recvmsg, Args::Any),
    Call(c::SYS_sendmsg, Args::Any),
    Call(c::SYS_socket, Args::OneOf(0, UNIX)),
    Call(c::SYS_bind, Args::Any),
    Call(c::SYS_listen, Args::Any),
    Call(c::SYS_fchmodat, Args::Any),
    Call(c::SYS_fchownat, Args::Any),
    Call(c::SYS_unlinkat, Args::Any),
    Call(c::SYS_mkdirat, Args::Any),
    #[cfg(target_arch = "x86_64")]
    Call(c::SYS_open, Args::Bits(1, WRITING, 0)),
    #[cfg(target_arch = "x86_64")]
    Call(c::SYS_stat, Args::Any),
    #[cfg(target_arch = "x86_64")]
    Call(c::SYS_lstat, Args::Any),
    #[cfg(target_arch = "x86_64")]
    Call(c::SYS_chmod, Args::Any),
    #[cfg(target_arch = "x86_64")]
    Call(c::SYS_chown, Args::Any),
    #[cfg(target_arch = "x86_64")]
    Call(c::SYS_unlink, Args::Any),
    #[cfg(target_arch = "x86_64")]
    Call(c::SYS_rmdir, Args::Any),
    #[cfg(target_arch = "x86_64")]
    Call(c::SYS_mkdir, Args::Any),
];

/// Confine this process, which has one thread, to what a broker does. Of its capabilities it keeps
/// those that reach other users' directories and mappings. Returns what the system lacks for that.
pub fn confine_broker() -> Vec<Lack> {
    let mut missing = Vec::new();
    #[cfg(ramblk_hooks)]
    super::attempt::prepare();
    // Not to be enforced: where a filter ends a process for it, this one is ended first.
    let rules = Places::default().rules().map_err(std::io::Error::other);
    keep(rules, "files can't be refused", &mut missing);
    let kept = CapabilitySet::CHOWN | CapabilitySet::DAC_OVERRIDE | CapabilitySet::SYS_PTRACE;
    keep(
        privileges::drop_all_but(kept),
        "capabilities can't be dropped",
        &mut missing,
    );
    let calls = COMMON.1.iter().chain(CALLS).copied();
    apply(
        [filter::fail(LACKING, c::ENOSYS), filter::only(calls)],
        &mut missing,
    );
    #[cfg(ramblk_hooks)]
    super::attempt::at("broker-confined");
    missing
}
