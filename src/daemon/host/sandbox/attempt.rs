//! System calls that a test makes in a thread of its choice, to see what becomes of them. Only a
//! build with hooks has this file.
#![allow(
    unsafe_code,
    clippy::multiple_unsafe_ops_per_block,
    reason = "no crate makes calls that no thread should make, and one of these is made"
)]

use std::io;
use std::ptr::null;
use std::sync::OnceLock;

use libc as c;

/// The parent process: the sandbox refuses to ask for it.
static PARENT: OnceLock<i32> = OnceLock::new();

/// Have points make calls that a test asks for.
pub(super) fn prepare() {
    let parent = rustix::process::getppid().map_or(1, |pid| pid.as_raw_nonzero().get());
    let _ = PARENT.set(parent);
    crate::store::points::make_calls_by(make);
}

/// Make the call that a test wants at this point of a helper, which has just confined itself.
pub(super) fn at(point: &str) {
    if let Some(call) = crate::store::points::call_at(point) {
        make(&call);
    }
}

/// Make a call, and write to stderr what came of it: nothing does if it ended the process.
fn make(call: &str) {
    let outcome = match attempt(call) {
        None => format!("bug: no call {call}"),
        Some(result) if result < 0 => io::Error::last_os_error().to_string(),
        Some(_) => "it succeeded".into(),
    };
    let line = format!("tried {call}: {outcome}\n");
    let _ = rustix::io::write(rustix::stdio::stderr(), line.as_bytes());
}

fn attempt(call: &str) -> Option<i64> {
    let none = null::<c::c_void>();
    let parent = PARENT.get().copied().unwrap_or(1);
    // SAFETY: none of these calls touches memory of this process: they get null pointers, paths
    // with a NUL, and numbers. Those that could start something get arguments that are refused.
    let result = unsafe {
        match call {
            "execve" => c::syscall(c::SYS_execve, c"/bin/true".as_ptr(), none, none),
            "socket" => c::syscall(c::SYS_socket, c::AF_INET, c::SOCK_STREAM, 0),
            "ptrace" => c::syscall(c::SYS_ptrace, c::PTRACE_SEIZE, parent, none, none),
            "open" => {
                let (path, how) = (c"/etc/shadow".as_ptr(), c::O_RDONLY | c::O_CLOEXEC);
                c::syscall(c::SYS_openat, c::AT_FDCWD, path, how)
            }
            "write" => {
                let (path, how) = (c"/etc/passwd".as_ptr(), c::O_WRONLY | c::O_CLOEXEC);
                c::syscall(c::SYS_openat, c::AT_FDCWD, path, how)
            }
            "process_vm_readv" => c::syscall(c::SYS_process_vm_readv, parent, none, 0, none, 0, 0),
            "process_vm_writev" => {
                c::syscall(c::SYS_process_vm_writev, parent, none, 0, none, 0, 0)
            }
            // No flags and no stack: a copy of this process, which would be refused its next call.
            "clone" => c::syscall(c::SYS_clone, c::SIGCHLD, none, none, none, none),
            "packet" => c::syscall(c::SYS_socket, c::AF_PACKET, c::SOCK_RAW, 0),
            "x32" => c::syscall(0x4000_0000 | 520, none, none, none),
            "io_uring_setup" => c::syscall(c::SYS_io_uring_setup, 1, none),
            "mount" => c::syscall(c::SYS_mount, none, none, none, 0, none),
            "kill" => c::syscall(c::SYS_kill, parent, 0),
            "userfaultfd" => c::syscall(c::SYS_userfaultfd, c::O_CLOEXEC),
            "bpf" => c::syscall(c::SYS_bpf, 0, none, 0),
            "tgkill" => c::syscall(c::SYS_tgkill, parent, parent, 0),
            "mprotect" => c::syscall(c::SYS_mprotect, none, 0, c::PROT_EXEC),
            "unshare" => c::syscall(c::SYS_unshare, c::CLONE_NEWUSER),
            _ => return None,
        }
    };
    Some(result)
}
