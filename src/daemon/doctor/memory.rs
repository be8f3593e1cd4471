//! Huge pages, the host's memory, and limits of control groups and of this user.

use std::path::Path;

use rustix::process::{Resource, getrlimit};

use super::files::read;
use crate::daemon::check::diagnosis::Diagnosis;
use crate::daemon::host::cgroup;
use crate::daemon::host::limit::meminfo_bytes;
use crate::store::Bytes;

const SHMEM: &str = "huge-pages";
const MEMORY: &str = "memory";
const CGROUP: &str = "cgroup";
const ULIMIT: &str = "ulimit";
const HUGETLB: &str = "hugetlbfs";

/// Below this a daemon has no room for more than a few hundred disks.
const FEW_DESCRIPTORS: u64 = 4096;

pub(super) fn look(root: &Path) -> Vec<Diagnosis> {
    let mut found = vec![shmem(root), memory(root)];
    found.extend(hugetlb(root));
    found.push(group(root));
    let [descriptors, locked] = [Resource::Nofile, Resource::Memlock]
        .map(|resource| getrlimit(resource).maximum.unwrap_or(u64::MAX));
    found.extend(limits(descriptors, locked));
    found
}

/// The word in brackets, which is chosen: `always within_size advise [never] deny force`.
fn chosen(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once('[')?;
    Some(rest.split_once(']')?.0)
}

fn shmem(root: &Path) -> Diagnosis {
    let file = "sys/kernel/mm/transparent_hugepage/shmem_enabled";
    let text = read(root, file).unwrap_or_default();
    let remedy = "echo advise > /sys/kernel/mm/transparent_hugepage/shmem_enabled";
    match chosen(&text) {
        Some("deny") => {
            let what = "huge pages are forbidden for shared memory (shmem_enabled is deny): random \
                        access to disks and to guests' memory is slower";
            Diagnosis::warning(SHMEM, what, remedy)
        }
        Some("never") => {
            let what = "shmem_enabled is never: disks get huge pages all the same, and the memory \
                        of guests doesn't";
            Diagnosis::note(SHMEM, what, remedy)
        }
        Some(word) => Diagnosis::ok(SHMEM, format!("shmem_enabled is {word}")),
        None => {
            let what = "this kernel has no transparent huge pages for shared memory";
            Diagnosis::note(SHMEM, what, "use a kernel with CONFIG_TRANSPARENT_HUGEPAGE")
        }
    }
}

fn memory(root: &Path) -> Diagnosis {
    let meminfo = read(root, "proc/meminfo").unwrap_or_default();
    let figure = |name: &str| meminfo_bytes(&meminfo, name);
    let (Some(total), Some(free)) = (figure("MemTotal"), figure("MemAvailable")) else {
        return Diagnosis::note(MEMORY, "the host's memory isn't shown here", "mount /proc");
    };
    let what = format!("{} of {} are available", Bytes(free), Bytes(total));
    if free < total / 10 {
        let remedy = "end something, or destroy disks: without memory the kernel kills processes";
        return Diagnosis::warning(MEMORY, what, remedy);
    }
    match figure("SwapTotal") {
        Some(swap) if swap > 0 => {
            let what = format!("{what}, and {} of swap, to which disks may go", Bytes(swap));
            Diagnosis::note(MEMORY, what, "serve --lock-memory keeps them in memory")
        }
        _ => Diagnosis::ok(MEMORY, what),
    }
}

/// Huge pages that are set aside for guests.
fn hugetlb(root: &Path) -> Option<Diagnosis> {
    let meminfo = read(root, "proc/meminfo")?;
    let count = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().parse::<u64>().ok()
    };
    let (total, free) = (count("HugePages_Total:")?, count("HugePages_Free:")?);
    let each = meminfo_bytes(&meminfo, "Hugepagesize")?;
    (total > 0).then(|| {
        let what = format!("{free} of {total} huge pages of {} are free", Bytes(each));
        match free {
            0 => Diagnosis::note(
                HUGETLB,
                what,
                "raise vm.nr_hugepages, if more machines should have them",
            ),
            _ => Diagnosis::ok(HUGETLB, what),
        }
    })
}

fn group(root: &Path) -> Diagnosis {
    let total = read(root, "proc/meminfo").and_then(|it| meminfo_bytes(&it, "MemTotal"));
    match cgroup::smallest(root) {
        Some(bound) if total.is_none_or(|total| bound.bytes < total) => {
            let file = bound.file.display();
            let what = format!("{file} limits this process to {}", Bytes(bound.bytes));
            let remedy = "a daemon started here takes three quarters of that, or what \
                          --memory-limit says";
            Diagnosis::note(CGROUP, what, remedy)
        }
        _ => Diagnosis::ok(CGROUP, "no control group limits the memory of this process"),
    }
}

/// Hard limits on open files, and on locked memory in bytes.
fn limits(files: u64, locked_bytes: u64) -> Vec<Diagnosis> {
    let mut found = Vec::new();
    let what = format!("{files} open files at most");
    found.push(if files < FEW_DESCRIPTORS {
        let remedy = "raise the hard limit (ulimit -Hn, LimitNOFILE=), for more than some hundred \
                      disks";
        Diagnosis::note(ULIMIT, what, remedy)
    } else {
        Diagnosis::ok(ULIMIT, what)
    });
    found.push(match locked_bytes {
        u64::MAX => Diagnosis::ok(ULIMIT, "any amount of memory may be locked"),
        bytes => {
            let what = format!("{} of memory may be locked", Bytes(bytes));
            let remedy = "raise the limit for serve --lock-memory (ulimit -l, LimitMEMLOCK=)";
            Diagnosis::note(ULIMIT, what, remedy)
        }
    });
    found
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::super::files::tree::with;
    use super::*;
    use crate::daemon::check::diagnosis::Severity::{self, Note, Ok, Warning};

    const MEMINFO: &str = "MemTotal:       24654432 kB\nMemFree:        1000 kB\n\
                           MemAvailable:   20654432 kB\nSwapTotal:             0 kB\n\
                           HugePages_Total:       4\nHugePages_Free:        1\n\
                           Hugepagesize:       2048 kB\n";

    fn told(found: &Diagnosis, severity: Severity, wanted: &str) {
        let text = found.to_string();
        assert_eq!(found.severity, severity, "{text}");
        assert!(text.contains(wanted), "{wanted}: {text}");
    }

    #[test]
    fn the_setting_for_shared_memory_is_read() {
        let file = "sys/kernel/mm/transparent_hugepage/shmem_enabled";
        for (text, severity, wanted) in [
            (
                "always within_size [advise] never deny force\n",
                Ok,
                "is advise",
            ),
            (
                "always within_size advise [never] deny force\n",
                Note,
                "echo advise",
            ),
            (
                "always within_size advise never [deny] force\n",
                Warning,
                "echo advise",
            ),
            ("nonsense", Note, "CONFIG_"),
        ] {
            told(&shmem(with(&[(file, text)]).path()), severity, wanted);
        }
        told(&shmem(with(&[]).path()), Note, "CONFIG_");
    }

    #[test]
    fn memory_that_runs_out_and_swap_are_told() {
        let root = |text: &str| with(&[("proc/meminfo", text)]);
        let found = memory(root(MEMINFO).path());
        told(
            &found,
            Ok,
            "19G (21150138368 bytes) of 23G (25246138368 bytes) are available",
        );
        let swapping = MEMINFO.replace("SwapTotal:             0", "SwapTotal:  1048576");
        told(&memory(root(&swapping).path()), Note, "--lock-memory");
        let low = MEMINFO.replace("20654432", "654432");
        told(&memory(root(&low).path()), Warning, "end something");
        told(&memory(with(&[]).path()), Note, "mount /proc");
        let huge = hugetlb(root(MEMINFO).path());
        told(&huge.unwrap(), Ok, "1 of 4 huge pages of 2M");
        let none = MEMINFO.replace("HugePages_Total:       4", "HugePages_Total:       0");
        assert_eq!(hugetlb(root(&none).path()), None);
    }

    #[test]
    fn a_control_group_counts_if_it_is_less_than_the_host() {
        let with_max = |max: &str| {
            with(&[
                ("proc/meminfo", MEMINFO),
                ("proc/self/cgroup", "0::/\n"),
                (
                    "proc/self/mountinfo",
                    "31 23 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
                ),
                ("sys/fs/cgroup/memory.max", max),
            ])
        };
        told(&group(with_max("1073741824\n").path()), Note, "to 1G");
        told(&group(with_max("max\n").path()), Ok, "no control group");
        told(
            &group(with_max("99999999999999\n").path()),
            Ok,
            "no control group",
        );
    }

    #[test]
    fn limits_of_the_user_are_told() {
        let few = limits(1024, 8 << 20);
        told(&few[0], Note, "LimitNOFILE=");
        told(&few[1], Note, "8M of memory");
        let many = limits(1 << 20, u64::MAX);
        assert!(many.iter().all(|it| it.severity == Ok), "{many:?}");
    }
}
