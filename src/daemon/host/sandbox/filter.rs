//! A list of system calls as a program of the kernel's (seccomp).
#![allow(
    unsafe_code,
    reason = "the crate that makes programs can't ask the kernel not to slow a thread down"
)]

use std::collections::BTreeMap;
use std::io;

use seccompiler::{
    BackendError, BpfProgram, BpfProgramRef, SeccompAction, SeccompCmpArgLen, SeccompCmpOp,
    SeccompCondition, SeccompFilter, SeccompRule, sock_filter,
};

use super::calls::{Args, Call};

/// A program that allows `calls`. `otherwise` happens to all others.
///
/// # Errors
/// The processor is of a kind that the compiler doesn't know.
pub(super) fn allow(
    calls: impl Iterator<Item = Call>,
    otherwise: SeccompAction,
) -> Result<BpfProgram, BackendError> {
    compile(calls, otherwise, SeccompAction::Allow)
}

/// A program that allows `calls`, and ends a process that makes any other.
///
/// # Errors
/// As [`allow`].
pub(super) fn only(calls: impl Iterator<Item = Call>) -> Result<BpfProgram, BackendError> {
    compile(calls, SeccompAction::KillProcess, SeccompAction::Allow)
}

/// A program that lets `calls` fail with this error, and allows all others.
///
/// # Errors
/// As [`allow`].
pub(super) fn fail(calls: &[i64], error: i32) -> Result<BpfProgram, BackendError> {
    let failing = SeccompAction::Errno(error.unsigned_abs());
    let calls = calls.iter().map(|number| Call(*number, Args::Any));
    compile(calls, SeccompAction::Allow, failing)
}

/// A program that ends a process that makes one of `calls`, and allows all others.
///
/// # Errors
/// As [`allow`].
pub(super) fn end(calls: &[Call]) -> Result<BpfProgram, BackendError> {
    let calls = calls.iter().copied();
    let program = compile(calls, SeccompAction::Allow, SeccompAction::KillProcess)?;
    Ok(without_x32(program))
}

/// A program that also ends a process that makes a call of x32: those are of the same architecture,
/// with numbers of their own that no list has.
fn without_x32(program: BpfProgram) -> BpfProgram {
    if !cfg!(target_arch = "x86_64") {
        return program;
    }
    const FIRST_OF_X32: u32 = 0x4000_0000;
    let first = [
        step(LOAD, 0, 0, NUMBER),
        step(JUMP_IF_NOT_LESS, 0, 1, FIRST_OF_X32),
        step(RETURN, 0, 0, libc::SECCOMP_RET_KILL_PROCESS),
    ];
    [&first, &program[..]].concat()
}

/// A program with a beginning that allows every call from this place.
pub(super) fn with_passage(program: &[sock_filter], passage: u64) -> BpfProgram {
    let half = |shift: u32| u32::try_from(passage >> shift & 0xffff_ffff).unwrap_or(0);
    let first = [
        step(LOAD, 0, 0, INSTRUCTION),
        step(JUMP_IF_EQUAL, 0, 3, half(0)),
        step(LOAD, 0, 0, INSTRUCTION + 4),
        step(JUMP_IF_EQUAL, 0, 1, half(32)),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    [&first, program].concat()
}

// What steps of a program do (`linux/bpf_common.h`).
const LOAD: u16 = 0x20;
const JUMP_IF_EQUAL: u16 = 0x15;
const JUMP_IF_NOT_LESS: u16 = 0x35;
const RETURN: u16 = 0x06;
// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const INSTRUCTION: u32 = 8;

/// One step, with how many others to leave out if a test is true, and if it is false.
fn step(code: u16, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

/// Put a program into force for the calling thread, and those that it will start.
///
/// # Errors
/// The kernel's.
pub(super) fn apply(program: BpfProgramRef<'_>) -> io::Result<()> {
    rustix::thread::set_no_new_privs(true)?;
    // Without this flag, a kernel before 5.16 turns off for the thread what the processor does
    // ahead of stores (SSBD), which costs all that it does. The data is the thread's own anyway.
    match install(program, libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => install(program, 0),
        done => done,
    }
}

fn install(program: BpfProgramRef<'_>, flags: libc::c_ulong) -> io::Result<()> {
    let whole = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(io::Error::other)?,
        filter: program.as_ptr().cast_mut().cast(),
    };
    let how = libc::SECCOMP_SET_MODE_FILTER;
    // SAFETY: the kernel reads `len` steps at `filter`, which live until the call returns, and
    // writes nothing. Both crates have the kernel's layout of a step.
    let done = unsafe { libc::syscall(libc::SYS_seccomp, how, flags, &raw const whole) };
    match done {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn compile(
    calls: impl Iterator<Item = Call>,
    otherwise: SeccompAction,
    listed: SeccompAction,
) -> Result<BpfProgram, BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    let mut whole = Vec::new();
    for Call(number, args) in calls {
        let alternatives = rules.entry(number).or_default();
        match conditions(args)? {
            Some(more) => alternatives.extend(more),
            None => whole.push(number),
        }
    }
    // A call without a rule is one with any arguments.
    for number in whole {
        rules.insert(number, Vec::new());
    }
    let architecture = std::env::consts::ARCH.try_into()?;
    SeccompFilter::new(rules, otherwise, listed, architecture)?.try_into()
}

/// The alternatives of which one must be true; `None` if all arguments are allowed.
fn conditions(args: Args) -> Result<Option<Vec<SeccompRule>>, BackendError> {
    let condition = |index, operator, value| {
        SeccompCondition::new(index, SeccompCmpArgLen::Dword, operator, value)
    };
    let rule = |index, operator, value| SeccompRule::new(vec![condition(index, operator, value)?]);
    let one = |index, operator, value| Ok(Some(vec![rule(index, operator, value)?]));
    match args {
        Args::Any => Ok(None),
        Args::OneOf(index, values) => {
            let rules = values.iter();
            let rules = rules.map(|value| rule(index, SeccompCmpOp::Eq, *value));
            Ok(Some(rules.collect::<Result<_, _>>()?))
        }
        Args::NoneOf(index, values) => {
            let all = values.iter();
            let all = all.map(|value| condition(index, SeccompCmpOp::Ne, *value));
            let rule = SeccompRule::new(all.collect::<Result<_, _>>()?)?;
            Ok(Some(vec![rule]))
        }
        Args::Not(index, value) => one(index, SeccompCmpOp::Ne, value),
        Args::Bits(index, mask, value) => one(index, SeccompCmpOp::MaskedEq(mask), value),
        Args::OwnProcess(index) => one(index, SeccompCmpOp::Eq, own_process()),
        Args::OtherProcess(index) => one(index, SeccompCmpOp::Ne, own_process()),
    }
}

fn own_process() -> u64 {
    let own = rustix::process::getpid().as_raw_nonzero().get();
    own.unsigned_abs().into()
}
