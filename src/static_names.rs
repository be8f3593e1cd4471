//! Functions of the C library that ask name services of the host, for a static program. They would
//! load libraries of the host, so these take their place, and find nothing. Their callers, in the
//! HTTP client and in the standard library's search for the home directory, aren't reached:
//! `src/remote/http/names` and `HOME` are asked instead.
//!
//! With them, the linker leaves out 0.1 MB of the C library.
#![allow(unsafe_code)]

use libc::{addrinfo, c_char, c_int, passwd, size_t, uid_t};

/// No host has an address.
#[unsafe(no_mangle)]
extern "C" fn getaddrinfo(
    _node: *const c_char,
    _service: *const c_char,
    _hints: *const addrinfo,
    _found: *mut *mut addrinfo,
) -> c_int {
    libc::EAI_FAIL
}

/// There is nothing to free.
#[unsafe(no_mangle)]
extern "C" fn freeaddrinfo(_found: *mut addrinfo) {}

/// No user has an entry.
#[unsafe(no_mangle)]
extern "C" fn getpwuid_r(
    _uid: uid_t,
    _entry: *mut passwd,
    _buffer: *mut c_char,
    _length: size_t,
    _found: *mut *mut passwd,
) -> c_int {
    libc::ENOSYS
}
