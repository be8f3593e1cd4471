//! The memory of virtual machines that have a disk now: whether it is shared, and of which pages it
//! is.

use std::path::Path;

use super::files::read;
use crate::daemon::check::diagnosis::Diagnosis;
use crate::store::Bytes;

const GUEST: &str = "guest-memory";

/// The least mapping that can be the memory of a guest.
const LEAST_BYTES: u64 = 1 << 20;
/// The kernel's usual pages.
const SMALL_PAGE_BYTES: u64 = 4096;

/// A front end that is connected to a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// The disk.
    pub disk: String,
    /// The front end's process, if that is known.
    pub pid: Option<u32>,
}

pub(super) fn look(root: &Path, attached: &[Attached]) -> Vec<Diagnosis> {
    let mut pids: Vec<u32> = attached.iter().filter_map(|it| it.pid).collect();
    pids.sort_unstable();
    pids.dedup();
    let told = pids.into_iter().map(|pid| {
        let disks = attached.iter().filter(|it| it.pid == Some(pid));
        let disks: Vec<&str> = disks.map(|it| it.disk.as_str()).collect();
        let name = read(root, &format!("proc/{pid}/comm"));
        let who = format!(
            "{} (process {pid}, {})",
            name.as_deref().unwrap_or("a front end"),
            disks.join(", ")
        );
        match read(root, &format!("proc/{pid}/smaps")) {
            Some(smaps) => judge(&who, &Shared::of(&smaps)),
            None => {
                let what = format!("{who}: this user can't look at its memory");
                Diagnosis::note(GUEST, what, "run this as root, or as its user")
            }
        }
    });
    told.collect()
}

fn judge(who: &str, shared: &Shared) -> Diagnosis {
    let bytes = Bytes(shared.bytes);
    if shared.bytes == 0 {
        let what = format!("{who} shares no memory, so no request can reach its disk");
        let remedy = "QEMU: -object memory-backend-memfd,id=mem,size=SIZE,share=on -machine \
                      memory-backend=mem; cloud-hypervisor: --memory size=SIZE,shared=on";
        return Diagnosis::problem(GUEST, what, remedy);
    }
    if shared.page_bytes > SMALL_PAGE_BYTES {
        let pages = Bytes(shared.page_bytes);
        let what = format!("{who} shares {bytes}, in huge pages of {pages}");
        return Diagnosis::ok(GUEST, what);
    }
    if shared.huge_bytes > 0 {
        let huge = Bytes(shared.huge_bytes);
        let what = format!("{who} shares {bytes}, and {huge} of it are in huge pages");
        return Diagnosis::ok(GUEST, what);
    }
    let what = format!("{who} shares {bytes}, in small pages only");
    let remedy = "huge pages make it faster: set shmem_enabled to advise, or give QEMU \
                  hugetlb=on, cloud-hypervisor hugepages=on";
    Diagnosis::note(GUEST, what, remedy)
}

/// The shared memory of a process that may be a guest's.
#[derive(Debug, Default, PartialEq, Eq)]
struct Shared {
    bytes: u64,
    /// The part of it that transparent huge pages hold.
    huge_bytes: u64,
    /// The largest pages of any of it.
    page_bytes: u64,
}

impl Shared {
    /// From `/proc/PID/smaps`: a line for each mapping, `7f00-7f80 rw-s 00000000 00:01 1234 PATH`,
    /// and below it its figures, `KernelPageSize:  4 kB`.
    fn of(smaps: &str) -> Self {
        let mut shared = Self::default();
        let mut is_guest = false;
        for line in smaps.lines() {
            if let Some((bytes, is_shared)) = mapping(line) {
                is_guest = is_shared && bytes >= LEAST_BYTES;
                if is_guest {
                    shared.bytes += bytes;
                }
                continue;
            }
            if !is_guest {
                continue;
            }
            let Some((name, figure)) = line.split_once(':') else {
                continue;
            };
            let figure = figure.trim().strip_suffix("kB").map(str::trim);
            let kib: u64 = figure.and_then(|it| it.parse().ok()).unwrap_or(0);
            match name {
                "KernelPageSize" => shared.page_bytes = shared.page_bytes.max(kib << 10),
                "ShmemPmdMapped" | "FilePmdMapped" => shared.huge_bytes += kib << 10,
                _ => {}
            }
        }
        shared
    }
}

/// The length of a mapping, and whether it is shared and writable.
fn mapping(line: &str) -> Option<(u64, bool)> {
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let access = words.next()?;
    let [start, end] = [start, end].map(|it| u64::from_str_radix(it, 16).ok());
    Some((end?.checked_sub(start?)?, access == "rw-s"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::super::files::tree::with;
    use super::*;
    use crate::daemon::check::diagnosis::Severity::{Note, Ok, Problem};

    fn smaps(head: &str, page_kib: u64, huge_kib: u64) -> String {
        format!(
            "{head}\nSize:             524288 kB\nKernelPageSize:   {page_kib} kB\n\
             MMUPageSize:      {page_kib} kB\nRss:              40960 kB\n\
             ShmemPmdMapped:   {huge_kib} kB\nFilePmdMapped:        0 kB\n\
             VmFlags: rd wr sh mr mw me ms\n"
        )
    }

    const MEMFD: &str = "7f0000000000-7f0020000000 rw-s 00000000 00:01 1234   /memfd:mem (deleted)";
    const PRIVATE: &str = "7e0000000000-7e0020000000 rw-p 00000000 00:00 0 ";
    const RING: &str = "7d0000000000-7d0000001000 rw-s 00000000 00:0e 77   anon_inode:kvm-vcpu:0";

    #[test]
    fn the_memory_of_a_guest_is_found_among_mappings() {
        let text = smaps(PRIVATE, 4, 0) + &smaps(RING, 4, 0) + &smaps(MEMFD, 4, 2048);
        let shared = Shared::of(&text);
        let wanted = Shared {
            bytes: 512 << 20,
            huge_bytes: 2 << 20,
            page_bytes: 4096,
        };
        assert_eq!(shared, wanted);
        assert_eq!(Shared::of("nonsense\n: - : kB\n-\n"), Shared::default());
    }

    #[test]
    fn each_machine_is_judged_once_with_all_its_disks() {
        let root = with(&[
            ("proc/7/comm", "qemu-system-x86\n"),
            ("proc/7/smaps", &smaps(MEMFD, 2048, 0)),
            ("proc/8/smaps", &smaps(MEMFD, 4, 0)),
            ("proc/9/smaps", &smaps(PRIVATE, 4, 0)),
            ("proc/10/comm", "other\n"),
        ]);
        let at = |disk: &str, pid| Attached {
            disk: disk.into(),
            pid,
        };
        let attached = [
            at("a", Some(7)),
            at("b", Some(7)),
            at("c", Some(8)),
            at("d", Some(9)),
            at("e", Some(10)),
            at("f", None),
        ];
        let found = look(root.path(), &attached);
        let severities: Vec<_> = found.iter().map(|it| it.severity).collect();
        assert_eq!(severities, [Ok, Note, Problem, Note], "{found:#?}");
        assert!(
            found[0]
                .found
                .contains("qemu-system-x86 (process 7, a, b) shares 512M, in huge")
        );
        assert!(found[2].remedy.as_deref().unwrap().contains("share=on"));
    }
}
