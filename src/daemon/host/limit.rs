//! The default memory limit, which leaves enough for the host.

use std::fs;
use std::path::Path;

use super::cgroup::{self, Bound};
use crate::daemon::error::Error;
use crate::store::Bytes;

/// The least limit: a page and the nodes that lead to it, with room to spare.
const LEAST_LIMIT_BYTES: u64 = 64 << 10;

/// A memory limit and its origin, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MemoryLimit {
    pub(crate) bytes: u64,
    pub(crate) from: String,
}

impl MemoryLimit {
    /// A limit that the user set.
    pub(crate) fn asked(bytes: u64) -> Self {
        let from = "--memory-limit".to_owned();
        Self { bytes, from }
    }

    /// The default: half of the host's memory, or three quarters of the smallest limit of our
    /// control groups if that is less.
    pub(crate) fn usual() -> Self {
        Self::least(Self::host_bytes(), cgroup::smallest(Path::new("/")))
    }

    /// The host's memory.
    pub(crate) fn host_bytes() -> u64 {
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        // Without `/proc` the kernel has it too, but not as a container may have it.
        meminfo_bytes(&meminfo, "MemTotal").unwrap_or_else(system_bytes)
    }

    /// This limit, if a disk fits into it.
    ///
    /// # Errors
    /// [`Error::Usage`] if none does.
    pub(crate) fn checked(self) -> Result<Self, Error> {
        if self.bytes < LEAST_LIMIT_BYTES {
            return Err(Error::Usage(format!(
                "a memory limit of {} ({}) holds no disk: give at least 64K with --memory-limit",
                Bytes(self.bytes),
                self.from
            )));
        }
        Ok(self)
    }

    fn least(host_bytes: u64, bound: Option<Bound>) -> Self {
        let half = Self {
            bytes: host_bytes / 2,
            from: "half of the host's memory".to_owned(),
        };
        let part = bound.map(|bound| Self {
            bytes: bound.bytes / 4 * 3,
            from: format!("three quarters of {}", bound.file.display()),
        });
        part.filter(|part| part.bytes < half.bytes).unwrap_or(half)
    }
}

/// An amount that `/proc/meminfo` names, in bytes.
pub(crate) fn meminfo_bytes(meminfo: &str, name: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
    let amount = line.strip_prefix(':')?.trim();
    let kib: u64 = amount.strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// The host's memory according to `sysinfo(2)`.
fn system_bytes() -> u64 {
    let about = rustix::system::sysinfo();
    about.totalram.saturating_mul(about.mem_unit.into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn memory_of_the_host_is_read_in_kib() {
        let meminfo = "MemTotal:       24654432 kB\nMemFree:        23000000 kB\n";
        assert_eq!(meminfo_bytes(meminfo, "MemTotal"), Some(24_654_432 * 1024));
        assert_eq!(meminfo_bytes("nonsense", "MemTotal"), None);
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap();
        assert!(system_bytes() >= meminfo_bytes(&meminfo, "MemTotal").unwrap());
    }

    #[test]
    fn the_smaller_of_host_and_group_counts_and_is_named() {
        let bound = |bytes| {
            let file = "/sys/fs/cgroup/memory.high".into();
            Some(Bound { bytes, file })
        };
        let limit = MemoryLimit::least(1000, bound(400));
        assert_eq!(limit.bytes, 300);
        assert_eq!(limit.from, "three quarters of /sys/fs/cgroup/memory.high");
        for none in [None, bound(100_000)] {
            let limit = MemoryLimit::least(1000, none);
            assert_eq!(
                (limit.bytes, limit.from.as_str()),
                (500, "half of the host's memory")
            );
        }
    }
}
