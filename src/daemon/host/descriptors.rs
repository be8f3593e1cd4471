//! How many descriptors this process may have open.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// The assumed limit if the system doesn't report one, as in some sandboxes.
const USUAL_DESCRIPTORS: u64 = 1024;

/// Raise the limit as far as possible. Returns the new limit.
pub(crate) fn raise_limit() -> u64 {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return USUAL_DESCRIPTORS;
    };
    match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard,
        Err(_) => soft,
    }
}
