//! How much memory disks may take if nobody says: never so much that the host suffers.

use std::fs;
use std::path::Path;

/// What is assumed where the system does not tell.
const UNKNOWN_MEMORY_BYTES: u64 = 1 << 30;

/// The least of half of the host's memory and three quarters of the smallest cgroup limit above us.
pub(super) fn default_bytes() -> u64 {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let half = total_bytes(&meminfo).unwrap_or(UNKNOWN_MEMORY_BYTES) / 2;
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limit = cgroup_path(&own).and_then(|path| cgroup_bytes(Path::new("/sys/fs/cgroup"), path));
    limit.map_or(half, |limit| half.min(limit / 4 * 3))
}

/// `MemTotal` of `/proc/meminfo`.
fn total_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Our path in the one hierarchy of cgroup v2.
fn cgroup_path(own: &str) -> Option<&str> {
    own.lines().find_map(|line| line.strip_prefix("0::/"))
}

/// The smallest `memory.max` on the way from the root to `path`.
fn cgroup_bytes(root: &Path, path: &str) -> Option<u64> {
    let leaf = root.join(path);
    let limits = leaf
        .ancestors()
        .take_while(|dir| dir.starts_with(root))
        .filter_map(|dir| {
            let text = fs::read_to_string(dir.join("memory.max")).ok()?;
            text.trim().parse::<u64>().ok()
        });
    limits.min()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn memory_of_the_host_is_read_in_kib() {
        let meminfo = "MemTotal:       24654432 kB\nMemFree:        23000000 kB\n";
        assert_eq!(total_bytes(meminfo), Some(24_654_432 * 1024));
        assert_eq!(total_bytes("nonsense"), None);
    }

    #[test]
    fn the_smallest_cgroup_limit_above_counts() {
        let root = tempfile::tempdir().unwrap();
        let leaf = root.path().join("a/b");
        fs::create_dir_all(&leaf).unwrap();
        fs::write(root.path().join("a/memory.max"), "1000000\n").unwrap();
        fs::write(leaf.join("memory.max"), "max\n").unwrap();
        let path = cgroup_path("1:name=old:/x\n0::/a/b\n").unwrap();
        assert_eq!(cgroup_bytes(root.path(), path), Some(1_000_000));
        assert_eq!(cgroup_bytes(root.path(), "c"), None);
    }
}
