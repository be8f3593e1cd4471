//! QEMU: a command line, and QMP commands for a running machine.

use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::ids;
use super::shared::{QUEUE_SIZE, comments, notes, queues, quoted};
use crate::model::Disk;

/// How often QEMU tries to connect again, in milliseconds.
const RECONNECT_MS: u32 = 1000;

/// A version of QEMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::cli) struct Version {
    major: u32,
    minor: u32,
}

impl Version {
    /// The first one with `reconnect-ms`; it deprecates `reconnect`, which is in seconds.
    const MILLISECONDS: Self = Self { major: 9, minor: 2 };

    /// `7.2`, `9.2.1`, `10`.
    pub(in crate::cli) fn parse(text: &str) -> Result<Self, String> {
        let mut parts = text.split('.').map(str::parse);
        let version = match (parts.next(), parts.next().unwrap_or(Ok(0))) {
            (Some(Ok(major)), Ok(minor)) if parts.all(|part| part.is_ok()) => {
                Some(Self { major, minor })
            }
            _ => None,
        };
        version.ok_or_else(|| "write a version as in 7.2 or 9.2".into())
    }

    /// That of the installed QEMU, or else the oldest of the present syntax.
    pub(in crate::cli) fn here() -> Self {
        Self::installed().unwrap_or(Self::MILLISECONDS)
    }

    fn installed() -> Option<Self> {
        let output = Command::new("qemu-system-x86_64")
            .arg("--version")
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .ok()?;
        Self::said(&String::from_utf8_lossy(&output.stdout))
    }

    /// Out of `QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)`.
    fn said(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        words.find(|word| *word == "version")?;
        let number = words.next()?;
        let end = number.find(|c: char| !c.is_ascii_digit() && c != '.');
        Self::parse(&number[..end.unwrap_or(number.len())]).ok()
    }
}

/// A disk for a QEMU of some version.
#[derive(Debug)]
pub(super) struct Qemu<'a> {
    disk: &'a Disk,
    version: Version,
    /// Where a PCI device may be plugged in while the machine runs.
    bus: Option<&'a str>,
}

impl<'a> Qemu<'a> {
    pub(super) fn new(disk: &'a Disk, version: Version, bus: Option<&'a str>) -> Self {
        Self { disk, version, bus }
    }

    /// The words for one more disk of a machine.
    pub(super) fn arguments(&self) -> [String; 4] {
        let id = ids::qemu(&self.disk.name);
        // A comma ends a value in QEMU's options; two are one.
        let socket = self.disk.socket.replace(',', ",,");
        let reconnect = match self.counts_milliseconds() {
            true => format!("reconnect-ms={RECONNECT_MS}"),
            false => format!("reconnect={}", RECONNECT_MS / 1000),
        };
        let queues = queues(self.disk);
        [
            "-chardev".into(),
            format!("socket,id={id},path={socket},{reconnect}"),
            "-device".into(),
            format!(
                "vhost-user-blk-pci,id={id},chardev={id},num-queues={queues},\
                 queue-size={QUEUE_SIZE}"
            ),
        ]
    }

    /// QMP commands that add the disk to a running machine.
    pub(super) fn add(&self) -> [Value; 2] {
        let id = ids::qemu(&self.disk.name);
        let mut socket = json!({
            "server": false,
            "addr": { "type": "unix", "data": { "path": self.disk.socket } },
        });
        match self.counts_milliseconds() {
            true => socket["reconnect-ms"] = RECONNECT_MS.into(),
            false => socket["reconnect"] = (RECONNECT_MS / 1000).into(),
        }
        let backend = json!({ "type": "socket", "data": socket });
        let mut device = json!({
            "driver": "vhost-user-blk-pci",
            "id": id,
            "chardev": id,
            "num-queues": queues(self.disk),
            "queue-size": QUEUE_SIZE,
        });
        if let Some(bus) = self.bus {
            device["bus"] = bus.into();
        }
        [
            json!({ "execute": "chardev-add", "arguments": { "id": id, "backend": backend } }),
            json!({ "execute": "device_add", "arguments": device }),
        ]
    }

    /// QMP commands that remove it again; the second one is for after `DEVICE_DELETED`.
    pub(super) fn remove(&self) -> [Value; 2] {
        let id = ids::qemu(&self.disk.name);
        [
            json!({ "execute": "device_del", "arguments": { "id": id } }),
            json!({ "execute": "chardev-remove", "arguments": { "id": id } }),
        ]
    }

    /// A command that starts a machine, with all the rest as comments.
    pub(super) fn text(&self) -> String {
        let name = quoted(&self.disk.name);
        let mut notes = notes(self.disk);
        notes.push("-m and size= must be equal; the guest's memory must be shared.".into());
        notes.push(match self.counts_milliseconds() {
            true => "For QEMU 9.2 and newer; use --qemu-version 7.2 for older ones.".into(),
            false => "For QEMU before 9.2; use --qemu-version 9.2 for newer ones.".into(),
        });
        let [chardev, socket, device, front] = self.arguments().map(|word| quoted(&word));
        format!(
            "{}qemu-system-x86_64 -m 2G -machine q35,accel=kvm:tcg,memory-backend=mem \\\n  \
             -object memory-backend-memfd,id=mem,size=2G,share=on \\\n  \
             -device pcie-root-port,id=port1,chassis=1 \\\n  \
             {chardev} {socket} \\\n  \
             {device} {front}\n\
             # For another disk of this machine, add its -chardev and -device here.\n\
             # To attach it to a running machine over QMP, at the free port above:\n\
             #   ramblk attach {name} --print qmp --bus port1\n\
             # To remove it again:\n\
             #   ramblk attach {name} --print qmp --remove\n",
            comments(&notes),
        )
    }

    fn counts_milliseconds(&self) -> bool {
        self.version >= Version::MILLISECONDS
    }
}

/// QMP commands, one per line.
pub(super) fn lines(commands: &[Value]) -> String {
    commands
        .iter()
        .map(|command| format!("{command}\n"))
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::cli::print::samples;

    #[test]
    fn reconnecting_is_spelled_as_each_qemu_knows_it() {
        let disk = samples::disk("scratch");
        for (version, words, key, value) in [
            ("7.2", ",reconnect=1", "reconnect", 1),
            ("9.1.3", ",reconnect=1", "reconnect", 1),
            ("9.2", ",reconnect-ms=1000", "reconnect-ms", 1000),
            ("10", ",reconnect-ms=1000", "reconnect-ms", 1000),
        ] {
            let qemu = Qemu::new(&disk, Version::parse(version).unwrap(), None);
            assert!(qemu.arguments()[1].ends_with(words), "{version}");
            let socket = &qemu.add()[0]["arguments"]["backend"]["data"];
            assert_eq!(socket[key], value, "{version}: {socket}");
            assert_eq!(socket.as_object().unwrap().len(), 3, "{version}: {socket}");
        }
    }

    #[test]
    fn a_version_is_read_out_of_what_qemu_says() {
        for (text, version) in [
            ("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)", "7.2"),
            (
                "QEMU emulator version 9.2.50 (v9.2.0-1-gabc)\nCopyright",
                "9.2",
            ),
            ("QEMU emulator version 10.0.0-rc1", "10.0"),
        ] {
            assert_eq!(Version::said(text), Version::parse(version).ok());
        }
        assert_eq!(Version::said("no such thing"), None);
        for text in ["", "x", "7.x", "7.2.x", "-1"] {
            assert!(Version::parse(text).is_err(), "{text}");
        }
    }
}
