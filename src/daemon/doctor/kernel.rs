//! KVM, and what the kernel has for sandboxes.

use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;

use super::files::read;
use crate::daemon::check::diagnosis::Diagnosis;

const KVM: &str = "kvm";
const KERNEL: &str = "kernel";
const LANDLOCK: &str = "landlock";
const SECCOMP: &str = "seccomp";

/// Since this version a process can request a slice of processor time.
const SLICES: (u32, u32) = (6, 12);
/// The first version with Landlock.
const FIRST_LANDLOCK: (u32, u32) = (5, 13);

pub(super) fn look(root: &Path) -> Vec<Diagnosis> {
    let release = read(root, "proc/sys/kernel/osrelease").unwrap_or_default();
    vec![
        kvm(root),
        kernel(&release),
        landlock(root, &release),
        seccomp(root),
    ]
}

fn kvm(root: &Path) -> Diagnosis {
    let slow = "guests run without it, many times slower";
    let device = root.join("dev/kvm");
    match File::options().read(true).write(true).open(&device) {
        Ok(_) if virtualizes(root) == Some(false) => {
            let what = "this user may use /dev/kvm, but the processor doesn't show virtualization \
                        (vmx or svm): guests may start without it only";
            Diagnosis::warning(KVM, what, no_kvm(root))
        }
        Ok(_) => Diagnosis::ok(KVM, "/dev/kvm can be used"),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            let what = format!("this user may not use /dev/kvm; {slow}");
            let remedy = "add the user that runs the machines to the group kvm";
            Diagnosis::warning(KVM, what, remedy)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let what = format!("there is no /dev/kvm; {slow}");
            Diagnosis::warning(KVM, what, no_kvm(root))
        }
        Err(error) => {
            let what = format!("/dev/kvm can't be used: {error}; {slow}");
            Diagnosis::warning(KVM, what, no_kvm(root))
        }
    }
}

/// Which of these flags the first processor shows; `None` if it shows none at all, as those do that
/// aren't x86.
fn flags<const N: usize>(root: &Path, wanted: [&str; N]) -> Option<[bool; N]> {
    let cpus = read(root, "proc/cpuinfo")?;
    let flags = cpus.lines().find(|line| line.starts_with("flags"))?;
    Some(wanted.map(|wanted| flags.split(' ').any(|it| it == wanted)))
}

/// Whether the processor shows that it runs virtual machines; `None` if that isn't known.
fn virtualizes(root: &Path) -> Option<bool> {
    flags(root, ["vmx", "svm"]).map(|has| has.contains(&true))
}

/// What to do where there is no KVM.
fn no_kvm(root: &Path) -> &'static str {
    match flags(root, ["vmx", "svm"]) {
        Some([true, _]) => "modprobe kvm_intel; in a container, pass the device on",
        Some([_, true]) => "modprobe kvm_amd; in a container, pass the device on",
        _ => "turn virtualization on in the firmware, or for this machine if it is itself virtual",
    }
}

/// `6.1.0-13-amd64` as numbers.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn kernel(release: &str) -> Diagnosis {
    match version(release) {
        Some(version) if version < SLICES => Diagnosis::note(
            KERNEL,
            format!("Linux {release} gives a waking thread no slice of its own"),
            "Linux 6.12 or newer makes latencies beside other processes shorter",
        ),
        Some(_) => Diagnosis::ok(KERNEL, format!("Linux {release}")),
        None => Diagnosis::note(KERNEL, "the version of the kernel is unknown", ""),
    }
}

fn landlock(root: &Path, release: &str) -> Diagnosis {
    let remedy = "boot with landlock in the list lsm=, so that programs can confine themselves";
    match read(root, "sys/kernel/security/lsm") {
        Some(modules) if modules.split(',').any(|it| it == "landlock") => {
            Diagnosis::ok(LANDLOCK, "the kernel has Landlock")
        }
        Some(modules) => {
            let what = format!("the kernel runs without Landlock ({modules})");
            Diagnosis::note(LANDLOCK, what, remedy)
        }
        None if version(release).is_some_and(|it| it < FIRST_LANDLOCK) => {
            let what = format!("Linux {release} has no Landlock");
            Diagnosis::note(LANDLOCK, what, "Linux 5.13 or newer has it")
        }
        None => {
            let what = "whether the kernel has Landlock isn't shown here";
            let remedy = "mount securityfs at /sys/kernel/security, to see it";
            Diagnosis::note(LANDLOCK, what, remedy)
        }
    }
}

fn seccomp(root: &Path) -> Diagnosis {
    match read(root, "proc/sys/kernel/seccomp/actions_avail") {
        Some(actions) if actions.split(' ').any(|it| it == "kill_process") => {
            Diagnosis::ok(SECCOMP, "the kernel filters system calls")
        }
        _ => {
            let what = "the kernel has no filters for system calls (CONFIG_SECCOMP_FILTER)";
            Diagnosis::note(
                SECCOMP,
                what,
                "use a kernel with them, if you confine programs",
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::files::tree::with;
    use super::*;
    use crate::daemon::check::diagnosis::Severity::{self, Note, Ok, Warning};

    #[test]
    fn kvm_is_there_or_there_is_something_to_do() {
        let severity = |files: &[(&str, &str)], wanted: &str| {
            let told = kvm(with(files).path());
            let text = told.to_string();
            assert!(text.contains(wanted), "{wanted}: {text}");
            told.severity
        };
        let there = ("dev/kvm", "");
        assert_eq!(severity(&[there], "can be used"), Ok);
        let intel = ("proc/cpuinfo", "processor : 0\nflags : fpu vmx sse\n");
        assert_eq!(severity(&[there, intel], "can be used"), Ok);
        // As in a virtual machine whose host passes none of it on: QEMU's guests don't start.
        let hidden = ("proc/cpuinfo", "flags\t\t: fpu sse hypervisor\n");
        assert_eq!(severity(&[there, hidden], "doesn't show"), Warning);
        assert_eq!(severity(&[intel], "modprobe kvm_intel"), Warning);
        let amd = ("proc/cpuinfo", "flags\t\t: fpu svm sse\n");
        assert_eq!(severity(&[amd], "modprobe kvm_amd"), Warning);
        assert_eq!(severity(&[], "in the firmware"), Warning);
        // A folder in its place.
        assert_eq!(severity(&[("dev/kvm/x", "")], "can't be used"), Warning);
    }

    #[test]
    fn kernels_are_told_apart() {
        let of = |release: &str| kernel(release).severity;
        assert_eq!(
            [of("6.1.0-13-amd64"), of("6.12.3"), of("7.0")],
            [Note, Ok, Ok]
        );
        assert_eq!(of("nonsense"), Note);
    }

    #[test]
    fn sandboxes_are_found_where_the_kernel_tells() {
        let found = |files: &[(&str, &str)]| -> [Severity; 2] {
            let root = with(files);
            let release = "5.10.0";
            [landlock(root.path(), release), seccomp(root.path())].map(|it| it.severity)
        };
        let lsm = ("sys/kernel/security/lsm", "capability,landlock,yama\n");
        let actions = "proc/sys/kernel/seccomp/actions_avail";
        assert_eq!(found(&[lsm, (actions, "kill_process trap\n")]), [Ok, Ok]);
        assert_eq!(
            found(&[(lsm.0, "capability,yama"), (actions, "trap")]),
            [Note, Note]
        );
        assert_eq!(found(&[]), [Note, Note]);
    }
}
