//! Memory limits that control groups set for this process: version 1, version 2, or both.
//!
//! `/proc/self/cgroup` says which group we are in, and `/proc/self/mountinfo` where groups are
//! mounted. Each mount shows the part of its hierarchy below one group (its *root*): groups above
//! the root can't be read, and paths are relative to it. In a namespace of groups both are relative
//! to the namespace's root, and may lead out of it (`/../other`). Every group from ours up to the
//! mount's root counts.

use std::fs;
use std::path::{Path, PathBuf};

/// Version 1 writes "no limit" as the largest possible number of pages in bytes, which depends on
/// the page size. No machine has this much memory.
const NO_LIMIT_BYTES: u64 = 1 << 62;
/// Where groups are mounted if `/proc` doesn't show it.
const USUAL: &str = "sys/fs/cgroup";

/// A limit, and the file that has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bound {
    pub(crate) bytes: u64,
    pub(crate) file: PathBuf,
}

/// The smallest limit of this process. `root` is its `/`, or another directory in tests.
pub(crate) fn smallest(root: &Path) -> Option<Bound> {
    let read = |name: &str| fs::read_to_string(root.join(name));
    let own = read("proc/self/cgroup").unwrap_or_default();
    let mounts = read("proc/self/mountinfo").unwrap_or_default();
    let mut mounts: Vec<Mount> = mounts.lines().filter_map(Mount::parse).collect();
    if mounts.is_empty() {
        mounts = usual_mounts();
    }
    let bounds = mounts.iter().flat_map(|mount| {
        let top = root.join(mount.point.strip_prefix("/").unwrap_or(&mount.point));
        bounds_from(&top, &mount.inside(&own), mount.version)
    });
    let found = bounds.min_by_key(|bound| bound.bytes)?;
    let file = found.file.strip_prefix(root).unwrap_or(&found.file);
    Some(Bound {
        file: Path::new("/").join(file),
        ..found
    })
}

/// The limits of the group at `inside` below `top`, and of all groups up to and including `top`.
fn bounds_from(top: &Path, inside: &Path, version: Version) -> Vec<Bound> {
    let group = top.join(inside);
    // A path that doesn't exist is one of another namespace. Only the mounted groups are known
    // then.
    let group = if group.is_dir() { &group } else { top };
    let groups = group.ancestors().take_while(|dir| dir.starts_with(top));
    groups.flat_map(|dir| version.bounds(dir)).collect()
}

/// Where groups usually are, for a process without `/proc`.
fn usual_mounts() -> Vec<Mount> {
    let mount = |point: &str, version| Mount {
        root: "/".into(),
        point: point.into(),
        version,
    };
    let memory = format!("{USUAL}/memory");
    vec![mount(USUAL, Version::Two), mount(&memory, Version::One)]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Version {
    /// The limits of the group at `dir` itself.
    fn bounds(self, dir: &Path) -> Vec<Bound> {
        let read = |name: &str, parse: fn(&str) -> Option<u64>| {
            let file = dir.join(name);
            let bytes = parse(&fs::read_to_string(&file).ok()?)?;
            Some(Bound { bytes, file })
        };
        let found = match self {
            // Only the second file shows limits above the mount's root.
            Self::One => [
                read("memory.limit_in_bytes", limit),
                read("memory.stat", hierarchical_limit),
            ],
            // Above `high` a process is throttled until it stands still.
            Self::Two => [read("memory.max", limit), read("memory.high", limit)],
        };
        found.into_iter().flatten().collect()
    }
}

/// Parse a limit in bytes. `max` means none.
fn limit(text: &str) -> Option<u64> {
    let bytes = text.trim().parse().ok()?;
    (bytes < NO_LIMIT_BYTES).then_some(bytes)
}

fn hierarchical_limit(stat: &str) -> Option<u64> {
    let mut lines = stat.lines();
    limit(lines.find_map(|line| line.strip_prefix("hierarchical_memory_limit "))?)
}

/// A mounted hierarchy that may limit memory.
#[derive(Debug)]
struct Mount {
    /// The group at the mount point.
    root: PathBuf,
    point: PathBuf,
    version: Version,
}

impl Mount {
    /// A line of `mountinfo`: `36 35 0:31 ROOT POINT OPTIONS [FIELD...] - TYPE SOURCE OPTIONS`.
    fn parse(line: &str) -> Option<Self> {
        let (mount, system) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(3);
        let (root, point) = (mount.next()?, mount.next()?);
        let mut system = system.split(' ');
        let version = match (system.next()?, system.nth(1)?) {
            ("cgroup2", _) => Version::Two,
            ("cgroup", options) if options.split(',').any(|it| it == "memory") => Version::One,
            _ => return None,
        };
        Some(Self {
            root: unescape(root).into(),
            point: unescape(point).into(),
            version,
        })
    }

    /// The path of our group below the mount point, from its path in `/proc/self/cgroup`.
    fn inside(&self, own: &str) -> PathBuf {
        let path = own.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, path) = (fields.next()?, fields.next()?);
            let is_ours = match self.version {
                Version::One => controllers.split(',').any(|it| it == "memory"),
                Version::Two => controllers.is_empty(),
            };
            is_ours.then_some(path)
        });
        // Both paths begin at the same place. One that leaves the mount can't be followed.
        let inside = Path::new(path.unwrap_or("/")).strip_prefix(&self.root);
        let inside = inside.ok().filter(|inside| {
            let mut parts = inside.components();
            parts.all(|part| matches!(part, std::path::Component::Normal(_)))
        });
        inside.unwrap_or(Path::new("")).to_owned()
    }
}

/// Decode spaces and the like, which are written as three octal digits.
fn unescape(text: &str) -> String {
    let known = [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ];
    known.iter().fold(text.to_owned(), |text, (code, plain)| {
        text.replace(code, plain)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    /// A tree with these files, and what is found there: bytes and the file.
    fn found(files: &[(&str, &str)]) -> Option<(u64, String)> {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let found = smallest(root.path())?;
        Some((found.bytes, found.file.display().to_string()))
    }

    fn says(bytes: u64, file: &str) -> Option<(u64, String)> {
        Some((bytes, file.to_owned()))
    }

    const NONE_V1: &str = "9223372036854771712\n";
    const MOUNT_V1: &str =
        "35 31 0:32 / /sys/fs/cgroup/memory rw,nosuid shared:16 - cgroup cgroup rw,memory\n";
    const MOUNT_V2: &str =
        "31 23 0:27 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

    #[test]
    fn docker_with_version_1_shows_a_container_its_own_group_as_the_root() {
        let files = [
            (
                "proc/self/cgroup",
                "11:cpu,cpuacct:/docker/f00\n9:memory:/docker/f00\n0::/docker/f00\n",
            ),
            (
                "proc/self/mountinfo",
                "741 739 0:33 /docker/f00 /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu,cpuacct\n\
                 742 739 0:34 /docker/f00 /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n",
            ),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "314572800\n"),
            (
                "sys/fs/cgroup/memory/memory.stat",
                "cache 0\nhierarchical_memory_limit 314572800\n",
            ),
        ];
        let file = "/sys/fs/cgroup/memory/memory.limit_in_bytes";
        assert_eq!(found(&files), says(314_572_800, file));
    }

    #[test]
    fn docker_with_version_2_has_a_namespace_whose_root_is_the_container() {
        let files = [
            ("proc/self/cgroup", "0::/\n"),
            (
                "proc/self/mountinfo",
                "650 648 0:30 / /sys/fs/cgroup ro,nosuid,relatime - cgroup2 cgroup rw\n",
            ),
            ("sys/fs/cgroup/memory.max", "536870912\n"),
            ("sys/fs/cgroup/memory.high", "max\n"),
        ];
        assert_eq!(
            found(&files),
            says(536_870_912, "/sys/fs/cgroup/memory.max")
        );
    }

    #[test]
    fn a_slice_of_systemd_limits_the_services_below_it_by_high_as_well_as_by_max() {
        let files = [
            ("proc/self/cgroup", "0::/vms.slice/ramblk.service\n"),
            ("proc/self/mountinfo", MOUNT_V2),
            ("sys/fs/cgroup/vms.slice/memory.max", "4000000000\n"),
            ("sys/fs/cgroup/vms.slice/memory.high", "2000000000\n"),
            ("sys/fs/cgroup/vms.slice/ramblk.service/memory.max", "max\n"),
            (
                "sys/fs/cgroup/vms.slice/ramblk.service/memory.high",
                "3000000000\n",
            ),
            ("sys/fs/cgroup/other.slice/memory.max", "1\n"),
        ];
        let file = "/sys/fs/cgroup/vms.slice/memory.high";
        assert_eq!(found(&files), says(2_000_000_000, file));
    }

    #[test]
    fn a_hybrid_host_limits_memory_by_version_1_beside_an_empty_version_2() {
        let mounts = format!(
            "{MOUNT_V1}38 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
             37 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n"
        );
        let files = [
            (
                "proc/self/cgroup",
                "9:name=systemd:/vm\n4:memory:/batch/job7\n0::/vm\n",
            ),
            ("proc/self/mountinfo", &mounts),
            ("sys/fs/cgroup/unified/vm/cgroup.procs", "1\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", NONE_V1),
            (
                "sys/fs/cgroup/memory/batch/memory.limit_in_bytes",
                "8000000000\n",
            ),
            (
                "sys/fs/cgroup/memory/batch/job7/memory.limit_in_bytes",
                NONE_V1,
            ),
        ];
        let file = "/sys/fs/cgroup/memory/batch/memory.limit_in_bytes";
        assert_eq!(found(&files), says(8_000_000_000, file));
    }

    #[test]
    fn a_pod_of_kubernetes_is_limited_above_what_its_container_can_see() {
        let files = [
            ("proc/self/cgroup", "5:memory:/kubepods/burstable/pod1/c2\n"),
            (
                "proc/self/mountinfo",
                "80 79 0:34 /kubepods/burstable/pod1/c2 /sys/fs/cgroup/memory ro master:9 - cgroup \
                 cgroup rw,memory\n",
            ),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", NONE_V1),
            (
                "sys/fs/cgroup/memory/memory.stat",
                "rss 1\nhierarchical_memory_limit 600000000\n",
            ),
        ];
        let file = "/sys/fs/cgroup/memory/memory.stat";
        assert_eq!(found(&files), says(600_000_000, file));
    }

    #[test]
    fn a_container_of_lxc_sees_the_whole_host_with_its_own_path_in_it() {
        let files = [
            ("proc/self/cgroup", "7:hugetlb,memory:/lxc.payload/c1\n"),
            (
                "proc/self/mountinfo",
                "90 80 0:34 / /sys/fs/cgroup/hugetlb,memory rw - cgroup none rw,hugetlb,memory\n",
            ),
            (
                "sys/fs/cgroup/hugetlb,memory/lxc.payload/c1/memory.limit_in_bytes",
                "700000000\n",
            ),
        ];
        let file = "/sys/fs/cgroup/hugetlb,memory/lxc.payload/c1/memory.limit_in_bytes";
        assert_eq!(found(&files), says(700_000_000, file));
    }

    #[test]
    fn paths_that_lead_out_of_a_namespace_or_nowhere_end_at_what_is_mounted() {
        for path in ["/../../elsewhere", "/..", "/gone", ""] {
            let own = format!("0::{path}\n");
            let files = [
                ("proc/self/cgroup", own.as_str()),
                ("proc/self/mountinfo", MOUNT_V2),
                ("sys/fs/cgroup/memory.max", "5000000000\n"),
                ("sys/memory.max", "1\n"),
                ("elsewhere/memory.max", "1\n"),
            ];
            let file = "/sys/fs/cgroup/memory.max";
            assert_eq!(found(&files), says(5_000_000_000, file), "{path}");
        }
        // Mounted outside of the namespace, two groups above its root, of which ours is below.
        let files = [
            ("proc/self/cgroup", "0::/../../a/b\n"),
            (
                "proc/self/mountinfo",
                "31 23 0:27 /../.. /cg\\040roups rw - cgroup2 none rw\n",
            ),
            ("cg roups/a/memory.max", "6000000000\n"),
            ("cg roups/a/b/memory.max", "max\n"),
        ];
        assert_eq!(found(&files), says(6_000_000_000, "/cg roups/a/memory.max"));
    }

    #[test]
    fn without_proc_the_usual_places_are_looked_at() {
        let one = ("sys/fs/cgroup/memory/memory.limit_in_bytes", "900000000\n");
        let two = ("sys/fs/cgroup/memory.max", "800000000\n");
        assert_eq!(
            found(&[one]),
            says(900_000_000, "/sys/fs/cgroup/memory/memory.limit_in_bytes")
        );
        assert_eq!(
            found(&[one, two]),
            says(800_000_000, "/sys/fs/cgroup/memory.max")
        );
    }

    #[test]
    fn what_means_no_limit_is_none() {
        // The last ones are of pages of 16 and 64 KiB.
        let nothing = [
            "max\n",
            NONE_V1,
            "9223372036854759424\n",
            "9223372036854710272\n",
        ];
        for text in ["", "-1\n", "nonsense\n"].iter().chain(&nothing) {
            assert_eq!(limit(text), None, "{text}");
        }
        assert_eq!(
            found(&[
                ("proc/self/cgroup", "0::/\n"),
                ("proc/self/mountinfo", MOUNT_V2)
            ]),
            None
        );
        assert_eq!(found(&[]), None);
    }
}
