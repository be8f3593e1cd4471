//! How to attach a disk to a virtual machine: `ramblk attach --print`.
//!
//! Each text can be piped to its destination: everything but commands is a comment there.
//!
//! | file | what it holds |
//! |---|---|
//! | `qemu` | QEMU's command line, and QMP |
//! | `shared` | queues, quoting and comments |
//! | `ids` | names of disks as identifiers of others |

mod ids;
mod qemu;
mod shared;

use clap::ValueEnum;
use serde::Serialize;
use serde_json::Value;

use self::qemu::{Qemu, lines};
use self::shared::{QUEUE_SIZE, comments, notes, queues, quoted};
use crate::model::Disk;

pub(super) use self::qemu::Version;

/// Virtual machine monitors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Vmm {
    /// A command line
    Qemu,
    /// QMP commands for a running QEMU
    Qmp,
    /// XML of the device, for virsh attach-device
    Libvirt,
    /// A command line, and a command for a running machine
    CloudHypervisor,
    /// A command line
    Crosvm,
    /// A call of the API before the machine starts
    Firecracker,
}

/// The recipe to print.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) vmm: Vmm,
    /// The version of QEMU.
    pub(super) qemu_version: Version,
    /// The bus of a running QEMU to plug the disk into.
    pub(super) bus: Option<String>,
    /// With QMP: how to remove the disk, not how to add it.
    pub(super) remove: bool,
}

/// A recipe, for people as a text and for programs in parts.
#[derive(Debug, Serialize)]
pub(super) struct Recipe {
    disk: String,
    vmm: Vmm,
    socket: String,
    pub(super) text: String,
    /// Arguments for QEMU's command line.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    arguments: Vec<String>,
    /// QMP commands that add the disk.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    add: Vec<Value>,
    /// QMP commands that remove the disk.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    remove: Vec<Value>,
}

/// The recipe for a disk.
pub(super) fn recipe(wanted: &Wanted, disk: &Disk) -> Recipe {
    let qemu = Qemu::new(disk, wanted.qemu_version, wanted.bus.as_deref());
    let text = match wanted.vmm {
        Vmm::Qemu => qemu.text(),
        Vmm::Qmp if wanted.remove => lines(&qemu.remove()),
        Vmm::Qmp => lines(&qemu.add()),
        Vmm::Libvirt => libvirt(disk),
        Vmm::CloudHypervisor => cloud_hypervisor(disk),
        Vmm::Crosvm => crosvm(disk),
        Vmm::Firecracker => firecracker(disk),
    };
    let mut recipe = Recipe {
        disk: disk.name.clone(),
        vmm: wanted.vmm,
        socket: disk.socket.clone(),
        text,
        arguments: Vec::new(),
        add: Vec::new(),
        remove: Vec::new(),
    };
    if matches!(wanted.vmm, Vmm::Qemu | Vmm::Qmp) {
        recipe.arguments = qemu.arguments().into();
        recipe.add = qemu.add().into();
        recipe.remove = qemu.remove().into();
    }
    recipe
}

fn xml(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    text.replace('\'', "&apos;")
}

fn libvirt(disk: &Disk) -> String {
    let mut notes = notes(disk);
    notes
        .push("libvirt refuses serial, readonly, iotune and more here; set them in ramblk.".into());
    notes.push("Replace vdb by a target that the domain does not have yet.".into());
    notes.push("The domain's memory must be shared:".into());
    notes.push(
        "  <memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>".into(),
    );
    notes.push("To attach it to a domain and to detach it, with this text in FILE:".into());
    notes.push("  virsh attach-device DOMAIN FILE".into());
    notes.push("  virsh detach-device DOMAIN FILE".into());
    // Two dashes end a comment.
    let notes = notes.join("\n     ").replace("--", "- -");
    format!(
        "<!-- {notes} -->\n\
         <disk type='vhostuser' device='disk'>\n  \
           <driver name='qemu' type='raw' queues='{}'/>\n  \
           <source type='unix' path='{}'>\n    \
             <reconnect enabled='yes' timeout='1'/>\n  \
           </source>\n  \
           <target dev='vdb' bus='virtio'/>\n  \
           <alias name='{}'/>\n\
         </disk>\n",
        queues(disk),
        xml(&disk.socket),
        ids::libvirt(&disk.name),
    )
}

fn cloud_hypervisor(disk: &Disk) -> String {
    let options = format!(
        "vhost_user=on,socket={},num_queues={},queue_size={QUEUE_SIZE},id={}",
        disk.socket,
        queues(disk),
        disk.name
    );
    let options = quoted(&options);
    let mut notes = notes(disk);
    notes.push("The guest's memory must be shared. Add its boot disk and kernel.".into());
    format!(
        "{}cloud-hypervisor --api-socket /tmp/ch.sock --memory size=2G,shared=on --disk {options}\n\
         # To attach it to a running machine that was started with shared=on:\n\
         # ch-remote --api-socket /tmp/ch.sock add-disk {options}\n\
         # To remove it again:\n\
         # ch-remote --api-socket /tmp/ch.sock remove-device {}\n",
        comments(&notes),
        quoted(&disk.name),
    )
}

fn crosvm(disk: &Disk) -> String {
    let mut notes = notes(disk);
    notes.push("crosvm does not reconnect: when ramblk ends, the guest loses its disk.".into());
    notes.push("Replace vmlinux by the guest's kernel.".into());
    format!(
        "{}crosvm run --mem 2048 --vhost-user {} --vhost-user-connect-timeout-ms 5000 vmlinux\n",
        comments(&notes),
        quoted(&format!(
            "block,socket={},max-queue-size={QUEUE_SIZE}",
            disk.socket
        )),
    )
}

fn firecracker(disk: &Disk) -> String {
    let id = ids::firecracker(&disk.name);
    let drive = serde_json::json!({
        "drive_id": id,
        "socket": disk.socket,
        "is_root_device": false,
    });
    let after = serde_json::json!({ "drive_id": id });
    let put = "curl --unix-socket /tmp/firecracker.sock -H 'Content-Type: application/json'";
    let url = format!("http://localhost/drives/{id}");
    let mut notes = notes(disk);
    notes.push("It has one queue and no discard: deleted files still take memory.".into());
    notes.push("Before the machine is started:".into());
    format!(
        "{}{put} -X PUT {url} -d {}\n\
         # After 'ramblk resize', so that the guest sees the new size:\n\
         # {put} -X PATCH {url} -d {}\n",
        comments(&notes),
        quoted(&drive.to_string()),
        quoted(&after.to_string()),
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::cli::print::samples::{self, compare};

    fn text(vmm: Vmm, disk: &Disk) -> String {
        recipe(&wanted(vmm), disk).text
    }

    fn wanted(vmm: Vmm) -> Wanted {
        Wanted {
            vmm,
            qemu_version: Version::parse("9.2").unwrap(),
            bus: Some("port1".into()),
            remove: false,
        }
    }

    #[test]
    fn each_vmm_has_its_recipe() {
        for vmm in Vmm::value_variants() {
            let name = format!("attach-{vmm:?}").to_lowercase();
            compare(&name, &text(*vmm, &samples::disk("scratch")));
        }
        let mut remove = wanted(Vmm::Qmp);
        remove.remove = true;
        compare(
            "attach-qmp-remove",
            &recipe(&remove, &samples::disk("scratch")).text,
        );
    }

    #[test]
    fn a_recipe_fits_its_disk() {
        let mut disk = samples::disk("golden.v1");
        disk.attached = false;
        for vmm in Vmm::value_variants() {
            assert!(!text(*vmm, &disk).contains("read-only"), "{vmm:?}");
        }
        (disk.read_only, disk.queues) = (true, 1);
        for vmm in Vmm::value_variants() {
            let text = text(*vmm, &disk);
            // QMP has no comments.
            assert!(*vmm == Vmm::Qmp || text.contains("read-only"), "{text}");
            assert!(text.contains("/run/ramblk/golden.v1/vhost.sock"), "{text}");
        }
        assert!(text(Vmm::Qemu, &disk).contains("num-queues=1,"));
        assert!(text(Vmm::CloudHypervisor, &disk).contains("num_queues=1,"));
        assert!(text(Vmm::Libvirt, &disk).contains("queues='1'"));
        assert!(text(Vmm::Firecracker, &disk).contains("/drives/golden_dv1 "));
    }

    #[test]
    fn odd_paths_survive_shell_qemu_and_xml() {
        let mut disk = samples::disk("a");
        disk.socket = "/tmp/it's, <here>/s".into();
        let qemu = text(Vmm::Qemu, &disk);
        assert!(
            qemu.contains(r"'socket,id=ramblk-a,path=/tmp/it'\''s,, <here>/s,reconnect-ms=1000'"),
            "{qemu}"
        );
        let libvirt = text(Vmm::Libvirt, &disk);
        assert!(
            libvirt.contains("path='/tmp/it&apos;s, &lt;here>/s'"),
            "{libvirt}"
        );
        assert_eq!(quoted("plain/word-1"), "plain/word-1");
    }
}
