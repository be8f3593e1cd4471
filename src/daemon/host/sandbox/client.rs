//! The sandbox of a process that reads or writes images on other hosts and serves nothing.
//!
//! It needs networks, certificates, and whatever HTTP, TLS and the formats of images call. So calls
//! are refused by a list, unlike those of a process that serves disks. What unpacks an image in
//! there can write temporary files, and can run no program.

use std::fs;
use std::path::PathBuf;

use libc as c;
use rustix::thread::CapabilitySet;

use super::calls::{Args, Call, LACKING};
use super::mode::Lack;
use super::places::{self, Places};
use super::{apply, filter, keep, privileges};

const INTERNET: &[u64] = &[c::AF_UNIX as u64, c::AF_INET as u64, c::AF_INET6 as u64];

/// What such a process never does.
const REFUSED: &[Call] = &[
    Call(c::SYS_execve, Args::Any),
    Call(c::SYS_execveat, Args::Any),
    Call(c::SYS_clone, Args::Bits(0, c::CLONE_THREAD as u64, 0)),
    #[cfg(target_arch = "x86_64")]
    Call(c::SYS_fork, Args::Any),
    #[cfg(target_arch = "x86_64")]
    Call(c::SYS_vfork, Args::Any),
    Call(c::SYS_socket, Args::NoneOf(0, INTERNET)),
    Call(c::SYS_ptrace, Args::Any),
    Call(c::SYS_process_vm_readv, Args::Any),
    Call(c::SYS_process_vm_writev, Args::Any),
    Call(c::SYS_process_madvise, Args::Any),
    Call(c::SYS_pidfd_getfd, Args::Any),
    Call(c::SYS_kcmp, Args::Any),
    Call(c::SYS_kill, Args::Any),
    Call(c::SYS_tkill, Args::Any),
    Call(c::SYS_tgkill, Args::OtherProcess(0)),
    Call(c::SYS_rt_sigqueueinfo, Args::Any),
    Call(c::SYS_rt_tgsigqueueinfo, Args::Any),
    Call(c::SYS_pidfd_send_signal, Args::Any),
    Call(c::SYS_bpf, Args::Any),
    Call(c::SYS_userfaultfd, Args::Any),
    Call(c::SYS_perf_event_open, Args::Any),
    Call(c::SYS_io_uring_setup, Args::Any),
    Call(c::SYS_unshare, Args::Any),
    Call(c::SYS_setns, Args::Any),
    Call(c::SYS_mount, Args::Any),
    Call(c::SYS_umount2, Args::Any),
    Call(c::SYS_open_tree, Args::Any),
    Call(c::SYS_move_mount, Args::Any),
    Call(c::SYS_fsopen, Args::Any),
    Call(c::SYS_mount_setattr, Args::Any),
    Call(c::SYS_pivot_root, Args::Any),
    Call(c::SYS_chroot, Args::Any),
    Call(c::SYS_keyctl, Args::Any),
    Call(c::SYS_add_key, Args::Any),
    Call(c::SYS_request_key, Args::Any),
    Call(c::SYS_init_module, Args::Any),
    Call(c::SYS_finit_module, Args::Any),
    Call(c::SYS_delete_module, Args::Any),
    Call(c::SYS_kexec_load, Args::Any),
    Call(c::SYS_fanotify_init, Args::Any),
    Call(c::SYS_reboot, Args::Any),
    Call(c::SYS_open_by_handle_at, Args::Any),
    Call(c::SYS_personality, Args::Any),
];

/// Where certificates, names of hosts and libraries are.
const SYSTEM: [&str; 6] = [
    "/etc",
    "/usr",
    "/lib",
    "/lib64",
    "/run",
    "/var/lib/ca-certificates",
];

/// Confine this process, which has one thread, to networks, temporary files, the system's libraries
/// and certificates, and `readable`. It keeps no capability. Returns what the system lacks for
/// that.
pub fn confine_client(readable: Vec<PathBuf>) -> Vec<Lack> {
    let mut missing = Vec::new();
    #[cfg(ramblk_hooks)]
    super::attempt::prepare();
    // They may lead to anywhere.
    let links = ["/etc/resolv.conf", "/etc/hosts"];
    let names = links.iter().filter_map(|link| fs::canonicalize(link).ok());
    let system = SYSTEM.iter().map(PathBuf::from);
    let places = Places {
        files: vec![std::env::temp_dir()],
        readable: system.chain(names).chain(readable).collect(),
        connects: true,
        ..Places::default()
    };
    keep(
        privileges::drop_all_but(CapabilitySet::empty()),
        "capabilities can't be dropped",
        &mut missing,
    );
    let enforced = places.rules().map_err(std::io::Error::other);
    let enforced = enforced.and_then(|rules| places::enforce(&rules));
    let enforced = keep(enforced, "files can't be refused", &mut missing);
    missing.extend(enforced.flatten());
    apply(
        [filter::fail(LACKING, c::ENOSYS), filter::end(REFUSED)],
        &mut missing,
    );
    #[cfg(ramblk_hooks)]
    super::attempt::at("client-confined");
    missing
}
