//! What the process gives up for good: new privileges, capabilities, and networks.

use std::io;

use nix::sched::{CloneFlags, unshare};
use rustix::thread::{
    CapabilitySet, CapabilitySets, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};

/// Give up all capabilities but `kept`, for the calling thread and for those that it starts, and
/// the right to get any by running a program.
///
/// # Errors
/// The kernel's.
pub(super) fn drop_all_but(kept: CapabilitySet) -> io::Result<()> {
    set_no_new_privs(true)?;
    let held = rustix::thread::capabilities(None)?;
    if held.effective.contains(CapabilitySet::SETPCAP) {
        for capability in (CapabilitySet::all() - kept).iter() {
            // An older kernel knows fewer of them.
            let _ = remove_capability_from_bounding_set(capability);
        }
    }
    // Linux 4.3 and newer; an older one has none to clear.
    let _ = clear_ambient_capability_set();
    let kept = kept & held.permitted;
    set_capabilities(
        None,
        CapabilitySets {
            effective: kept,
            permitted: kept,
            inheritable: CapabilitySet::empty(),
        },
    )?;
    Ok(())
}

/// Move the calling thread, and those that it will start, into a network of their own, without any
/// interface. Sockets that exist stay where they are. Returns whether the system let it.
///
/// An unprivileged process could do that in a user namespace only, in which it would no longer
/// know its clients by their user IDs.
pub(super) fn leave_networks() -> bool {
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWIPC).is_ok()
}
