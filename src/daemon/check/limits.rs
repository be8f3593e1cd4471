//! The limits that the system has set for this process, beside what a daemon would need.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use rustix::process::{Resource, getrlimit};
use rustix::thread::{CapabilitySet, capabilities};

use super::diagnosis::Diagnosis;
use crate::daemon::host::cgroup;
use crate::daemon::host::limit::MemoryLimit;
use crate::daemon::serve::most_disks;
use crate::store::{Bytes, StoreOptions};

const MEMORY: &str = "memory-limit";
const DESCRIPTORS: &str = "descriptors";
const LOCKED: &str = "lock-memory";
const METRICS: &str = "metrics-listen";

/// Memory in the file of the disks that doesn't count against the limit, or is kept for what comes
/// next. There is also a small part of all.
const BESIDE_DISKS_BYTES: u64 = 2 << 20;

/// Whether this process has a capability.
pub(super) fn has_capability(wanted: CapabilitySet) -> bool {
    capabilities(None).is_ok_and(|held| held.effective.contains(wanted))
}

/// The memory limit beside those of the host, and the memory that disks take already.
pub(super) fn memory(limit: &MemoryLimit, is_asked: bool, kept_bytes: u64) -> Vec<Diagnosis> {
    let mut told = vec![Diagnosis::ok(
        MEMORY,
        format!("{}, from {}", Bytes(limit.bytes), limit.from),
    )];
    let more = |what: String, remedy: &str| Diagnosis::warning(MEMORY, what, remedy);
    if let Some(bound) = cgroup::smallest(Path::new("/"))
        && is_asked
        && bound.bytes < limit.bytes
    {
        let file = bound.file.display();
        let what = format!(
            "{} is more than {file} allows, {}: the kernel kills the daemon when disks fill",
            Bytes(limit.bytes),
            Bytes(bound.bytes)
        );
        told.push(more(what, "lower --memory-limit, or raise MemoryMax="));
    }
    let host_bytes = MemoryLimit::host_bytes();
    if is_asked && limit.bytes > host_bytes {
        let what = format!(
            "{} is more than the host's memory, {}",
            Bytes(limit.bytes),
            Bytes(host_bytes)
        );
        told.push(more(what, "lower --memory-limit"));
    }
    if kept_bytes > limit.bytes {
        let what = format!(
            "the disks take up to {} already, and the limit is {}",
            Bytes(kept_bytes),
            Bytes(limit.bytes)
        );
        // A daemon refuses to start with a limit that was asked for and is too low. The file of the
        // disks has a little more than what counts.
        let is_too_low = kept_bytes - limit.bytes > BESIDE_DISKS_BYTES + kept_bytes / 64;
        let remedy = "raise --memory-limit, or lower it when disks take less";
        told.push(match is_asked && is_too_low {
            true => Diagnosis::problem(MEMORY, what, remedy),
            false => Diagnosis::warning(MEMORY, what, remedy),
        });
    }
    told
}

/// What the file of the disks needs: its length, its address space, and that it can be locked. It
/// is `had_bytes` long already.
pub(super) fn arena(limit_bytes: u64, lock_memory: bool, had_bytes: u64) -> Vec<Diagnosis> {
    let needed = match StoreOptions::new(limit_bytes).arena_bytes() {
        Ok(needed) => needed,
        Err(error) => return vec![Diagnosis::refused(MEMORY, &error)],
    };
    let mut told = Vec::new();
    // An arena is never made smaller, and one that is long enough is not written at its end.
    let needed = needed.max(had_bytes);
    let grown = if needed > had_bytes { needed } else { 0 };
    let bounds = [
        (
            Resource::Fsize,
            grown,
            "the size of files",
            "ulimit -f, LimitFSIZE=",
        ),
        (Resource::As, needed, "address space", "ulimit -v, LimitAS="),
    ];
    for (resource, needed, name, how) in bounds {
        let soft = getrlimit(resource).current.unwrap_or(u64::MAX);
        if soft < needed {
            let what = format!(
                "the limit on {name} is {}, and disks need {}",
                Bytes(soft),
                Bytes(needed)
            );
            let remedy = format!("raise it ({how}), or lower --memory-limit");
            told.push(Diagnosis::problem(MEMORY, what, &remedy));
        }
    }
    if lock_memory {
        let soft = getrlimit(Resource::Memlock).current.unwrap_or(u64::MAX);
        told.push(
            if soft < needed && !has_capability(CapabilitySet::IPC_LOCK) {
                let what = format!(
                    "the limit on locked memory is {}, and disks need {}",
                    Bytes(soft),
                    Bytes(needed)
                );
                let remedy = "raise it (ulimit -l, LimitMEMLOCK=), or don't lock the memory";
                Diagnosis::problem(LOCKED, what, remedy)
            } else {
                Diagnosis::ok(LOCKED, "the limit on locked memory is high enough")
            },
        );
    }
    told
}

/// Descriptors that a daemon has before it serves a disk, with some to spare.
const FIRST_DESCRIPTORS: u64 = 64;

/// Descriptors for this number of disks.
pub(super) fn descriptors(disks: usize) -> Diagnosis {
    // A daemon raises its limit as far as it may.
    let hard = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    let most = most_disks(hard);
    let what = format!("{hard} descriptors are enough for {most} disks");
    let remedy = "raise the hard limit (ulimit -n, LimitNOFILE=)";
    if hard < FIRST_DESCRIPTORS.saturating_add(disks as u64) {
        let what = format!("{hard} descriptors are too few for a daemon with {disks} disks");
        return Diagnosis::problem(DESCRIPTORS, what, remedy);
    }
    if most < disks.max(1) {
        let what = format!("{what}, with what their front ends need; there are {disks}");
        return Diagnosis::warning(DESCRIPTORS, what, remedy);
    }
    Diagnosis::ok(DESCRIPTORS, what)
}

/// Whether metrics can be served there. A daemon that runs here may have the address already.
pub(super) fn metrics(address: SocketAddr, is_served: bool) -> Diagnosis {
    match TcpListener::bind(address) {
        Ok(_) if address.ip().is_loopback() => Diagnosis::ok(METRICS, format!("{address} is free")),
        Ok(_) => {
            let what = format!("other hosts can read the metrics at {address}");
            Diagnosis::note(
                METRICS,
                what,
                "give an address of this host alone, if they shouldn't",
            )
        }
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse && is_served => {
            Diagnosis::note(
                METRICS,
                format!("{address} is in use, as by the daemon that runs"),
                "",
            )
        }
        Err(error) => {
            let what = format!("can't listen for scrapes at {address}: {error}");
            Diagnosis::problem(METRICS, what, "choose another --metrics-listen")
        }
    }
}
