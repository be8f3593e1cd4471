//! Virtual machine monitors that are installed, and what each version needs to use a disk.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::daemon::check::diagnosis::Diagnosis;

const MONITOR: &str = "monitor";

/// How long a program may take to say its version.
const PATIENCE: Duration = Duration::from_secs(3);
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// The most bytes that are read of what it says.
const MOST_SAID: u64 = 4096;

/// Programs beside QEMU's, which have a name for each processor.
const OTHERS: [&str; 4] = ["cloud-hypervisor", "crosvm", "firecracker", "libvirtd"];
const QEMU: &str = "qemu-system-";

type Version = (u32, u32);

pub(super) fn look(path: &OsStr) -> Vec<Diagnosis> {
    let programs = programs(path);
    if programs.is_empty() {
        let what = "no virtual machine monitor is in PATH";
        let remedy = "install qemu-system-x86, cloud-hypervisor, crosvm or firecracker here, or \
                      look in the PATH of the user that runs machines";
        return vec![Diagnosis::note(MONITOR, what, remedy)];
    }
    let told = programs
        .iter()
        .map(|(name, path)| match version(&said(path)) {
            Some(version) => judge(name, version),
            None => {
                let what = format!("{name} doesn't say its version");
                let remedy = format!("see whether {path:?} --version works");
                Diagnosis::note(MONITOR, what, &remedy)
            }
        });
    told.collect()
}

/// The monitors in these directories, by name; the first of each counts, as for a shell.
fn programs(path: &OsStr) -> BTreeMap<String, PathBuf> {
    let mut found = BTreeMap::new();
    for folder in std::env::split_paths(path) {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        for entry in entries {
            let name = entry.file_name().to_string_lossy().into_owned();
            if (name.starts_with(QEMU) || OTHERS.contains(&&*name)) && entry.path().is_file() {
                found.entry(name).or_insert_with(|| entry.path());
            }
        }
    }
    found
}

/// What a program prints when asked for its version; nothing if it takes too long.
fn said(program: &Path) -> String {
    let started = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = started else {
        return String::new();
    };
    let deadline = Instant::now() + PATIENCE;
    while matches!(child.try_wait(), Ok(None)) && Instant::now() < deadline {
        thread::sleep(LOOK_EVERY);
    }
    let ended = matches!(child.try_wait(), Ok(Some(_)));
    if !ended {
        let _ = child.kill();
        let _ = child.wait();
        return String::new();
    }
    let mut bytes = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        // It has ended, but a process that it left may have the pipe.
        let _ = rustix::io::ioctl_fionbio(&stdout, true);
        let _ = stdout.take(MOST_SAID).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The first word that is a version: `QEMU emulator version 7.2.22 (Debian ...)`, `cloud-hypervisor
/// v37.0`, `Firecracker v1.5.0`, `libvirtd (libvirt) 9.0.0`.
fn version(said: &str) -> Option<Version> {
    said.split_whitespace().find_map(|word| {
        let word = word.trim_start_matches(['v', '(']);
        let mut parts = word.split(|c: char| !c.is_ascii_digit());
        let major = parts.next()?.parse().ok()?;
        let minor = parts.next()?.parse().ok()?;
        Some((major, minor))
    })
}

/// What a monitor of this version needs.
fn judge(name: &str, version: Version) -> Diagnosis {
    let what = format!("{name} {}.{}", version.0, version.1);
    let too_old = |oldest: Version, why: &str| {
        let what = format!("{what} is older than {}.{}, {why}", oldest.0, oldest.1);
        Diagnosis::warning(MONITOR, what, "install a newer one")
    };
    let fine = |needs: &str| Diagnosis::ok(MONITOR, format!("{what} needs {needs}"));
    match name {
        "cloud-hypervisor" => fine("--memory shared=on and --disk vhost_user=on"),
        "crosvm" => fine("--vhost-user block,socket=PATH"),
        "firecracker" if version < (1, 6) => {
            too_old((1, 6), "the first one with vhost-user block devices")
        }
        "firecracker" => fine("drives with a socket, and a PATCH of a drive after a resize"),
        "libvirtd" if version < (7, 1) => {
            too_old((7, 1), "the first one with disks over vhost-user")
        }
        "libvirtd" => fine("<access mode='shared'/> and <reconnect enabled='yes' timeout='1'/>"),
        _ if version < (5, 0) => too_old((5, 0), "the first one with -machine memory-backend="),
        _ if version < (9, 2) => fine("memory with share=on, and reconnect=1 at the chardev"),
        _ => fine("memory with share=on, and reconnect-ms=1000 at the chardev (not reconnect=)"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::daemon::check::diagnosis::Severity::{Note, Ok, Warning};

    #[test]
    fn versions_are_read_as_programs_print_them() {
        for (said, wanted) in [
            (
                "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)\n",
                Some((7, 2)),
            ),
            (
                "QEMU emulator version 10.0.0\nCopyright (c) 2003-2025\n",
                Some((10, 0)),
            ),
            ("cloud-hypervisor v37.0\n", Some((37, 0))),
            ("crosvm 0.1.0-abcdef\n", Some((0, 1))),
            (
                "Firecracker v1.5.0\n\nSupported snapshot data format versions: v1.0\n",
                Some((1, 5)),
            ),
            ("libvirtd (libvirt) 9.0.0\n", Some((9, 0))),
            ("nonsense 7\n", None),
            ("", None),
        ] {
            assert_eq!(version(said), wanted, "{said}");
        }
    }

    #[test]
    fn what_a_version_needs_is_told() {
        for (name, version, severity, wanted) in [
            ("qemu-system-x86_64", (4, 2), Warning, "older than 5.0"),
            ("qemu-system-x86_64", (9, 1), Ok, "reconnect=1"),
            ("qemu-system-aarch64", (9, 2), Ok, "reconnect-ms=1000"),
            ("firecracker", (1, 5), Warning, "older than 1.6"),
            ("firecracker", (1, 13), Ok, "PATCH"),
            ("libvirtd", (6, 9), Warning, "older than 7.1"),
            ("libvirtd", (11, 0), Ok, "shared"),
            ("cloud-hypervisor", (37, 0), Ok, "shared=on"),
            ("crosvm", (0, 1), Ok, "--vhost-user"),
        ] {
            let told = judge(name, version);
            assert_eq!(told.severity, severity, "{told}");
            assert!(told.found.contains(wanted), "{told}");
        }
    }

    #[test]
    fn programs_are_found_in_path_and_one_that_hangs_is_given_up() {
        let folder = tempfile::tempdir().unwrap();
        for (name, script) in [
            ("qemu-system-x86_64", "echo QEMU emulator version 9.2.1"),
            ("firecracker", "exec sleep 60"),
            ("crosvm", "exit 1"),
            ("ls", "echo 1.1"),
        ] {
            let path = folder.path().join(name);
            std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let began = Instant::now();
        let told = look(folder.path().as_os_str());
        assert!(began.elapsed() < PATIENCE * 3);
        let severities: Vec<_> = told.iter().map(|it| it.severity).collect();
        assert_eq!(severities, [Note, Note, Ok], "{told:#?}");
        assert!(told[2].found.contains("9.2 needs"), "{told:#?}");
        assert_eq!(look(OsStr::new("/nowhere"))[0].severity, Note);
    }
}
