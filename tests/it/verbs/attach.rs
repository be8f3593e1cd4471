//! `attach`: its output is passed to QEMU, if there is one.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::{Value, json};

use super::Daemon;
use crate::harness::eventually;

#[test]
fn attach_prints_the_disk_s_own_socket() {
    let daemon = Daemon::start();
    daemon.ok("create a --size 1M --queues 1 --read-only");
    let socket = daemon.socket("a").display().to_string();
    for vmm in [
        "qemu",
        "qmp",
        "libvirt",
        "cloud-hypervisor",
        "crosvm",
        "firecracker",
    ] {
        let text = daemon.ok(&format!("attach a --print {vmm}"));
        assert!(text.contains(&socket), "{text}");
    }
    for version in ["7.2", "9.2"] {
        let line = format!("attach a --print qmp --qemu-version {version}");
        let (text, found) = (daemon.ok(&line), daemon.json(&line));
        let printed: Vec<Value> = text
            .lines()
            .map(|it| serde_json::from_str(it).unwrap())
            .collect();
        assert_eq!(found["add"], json!(printed), "{found}");
        assert_eq!(text.contains("reconnect-ms"), version == "9.2", "{text}");
    }
    daemon.refused("attach a --print qemu --remove", 2);
    daemon.refused("attach a --print qemu --qemu-version new", 2);
}

/// A machine that is not running, and its QMP output.
struct Qemu {
    child: Child,
    stdin: ChildStdin,
    said: Receiver<Value>,
}

/// Without QEMU there is nothing to compare with; scripts/setup installs it.
fn is_there() -> bool {
    let asked = Command::new("qemu-system-x86_64").arg("--version").output();
    asked.is_ok_and(|output| output.status.success())
}

impl Qemu {
    /// Run the printed command in a shell, with more options.
    fn start(printed: &str, more: &str) -> Self {
        let command = printed.lines().filter(|line| !line.starts_with('#'));
        let command = command.collect::<Vec<_>>().join("\n");
        // Ports are used directly: through ACPI, a guest would have to agree.
        let line = format!(
            "exec {command} {more} -S -display none -monitor none -qmp stdio \
             -global ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off"
        );
        let mut child = Command::new("sh")
            .args(["-c", &line])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (tell, said) = channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if let Ok(value) = serde_json::from_str(&line)
                    && tell.send(value).is_err()
                {
                    return;
                }
            }
        });
        let mut qemu = Self { child, stdin, said };
        qemu.until("QMP");
        qemu.say("{\"execute\":\"qmp_capabilities\"}\n");
        qemu
    }

    /// Wait for a message with this member.
    fn until(&mut self, member: &str) -> Value {
        loop {
            let said = self
                .said
                .recv_timeout(Duration::from_secs(60))
                .expect(member);
            assert_eq!(said.get("error"), None, "{said}");
            if said.get(member).is_some() {
                return said;
            }
        }
    }

    /// Send these lines; each must succeed.
    fn say(&mut self, lines: &str) {
        for line in lines.lines() {
            writeln!(self.stdin, "{line}").unwrap();
            self.until("return");
        }
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().unwrap();
    }
}

impl Daemon {
    fn is_attached(&self, disk: &str) -> bool {
        self.json(&format!("show {disk}"))["attached"] == true
    }
}

#[test]
fn two_disks_of_one_machine_are_what_is_printed_for_each() {
    if !is_there() {
        return;
    }
    let daemon = Daemon::start();
    // Names that are not valid QEMU identifiers, and that are equal if a dot becomes a dash.
    for name in ["0.1", "0-1"] {
        daemon.ok(&format!("create {name} --size 1M"));
    }
    let printed = daemon.ok("attach 0.1 --print qemu");
    let other = daemon.json("attach 0-1 --print qemu");
    let words = other["arguments"].as_array().unwrap().iter();
    let words: Vec<&str> = words.map(|word| word.as_str().unwrap()).collect();
    let _qemu = Qemu::start(&printed, &words.join(" "));
    eventually("both are connected", || {
        daemon.is_attached("0.1") && daemon.is_attached("0-1")
    });
}

#[test]
fn a_machine_that_runs_gets_a_disk_over_qmp_and_loses_it() {
    if !is_there() {
        return;
    }
    let daemon = Daemon::start();
    daemon.ok("create a --size 1M");
    daemon.ok("create b.2 --size 1M");
    let mut qemu = Qemu::start(&daemon.ok("attach a --print qemu"), "");
    for _ in 0..2 {
        qemu.say(&daemon.ok("attach b.2 --print qmp --bus port1"));
        eventually("it is connected", || daemon.is_attached("b.2"));
        let remove = daemon.ok("attach b.2 --print qmp --remove");
        let (device, chardev) = remove.split_once('\n').unwrap();
        writeln!(qemu.stdin, "{device}").unwrap();
        let gone = qemu.until("event");
        assert_eq!(gone["event"], "DEVICE_DELETED", "{gone}");
        qemu.say("{\"execute\":\"query-status\"}");
        qemu.say(chardev);
        daemon.eventually_detached("b.2");
    }
    assert!(daemon.is_attached("a"));
}
